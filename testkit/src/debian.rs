//! Packages of other Debian suites than the machine's own, unpacked beside the system.
//!
//! They come from the mirror that the machine already uses; apt gets a list of sources, a state
//! and a cache of its own, so that nothing on the machine changes and no privilege is needed.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::cache;
use crate::command::{command, run};
use crate::error::{Error, Result};

/// Is a suite of Debian that tests take packages from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Suite {
    /// Debian unstable.
    Sid,
    /// Debian 13.
    Trixie,
}

impl Suite {
    fn name(self) -> &'static str {
        match self {
            Self::Sid => "sid",
            Self::Trixie => "trixie",
        }
    }
}

/// Says which packages are wanted.
#[derive(Clone, Copy, Debug)]
pub enum Packages<'a> {
    /// These alone, without what they depend on.
    Alone(&'a [&'a str]),
    /// Those behind a package whose names begin with one of these words and a version: what the
    /// package of a kernel stands for.
    Behind(&'a str, &'a [&'a str]),
    /// One with all that it depends on, the C library included.
    Whole(&'a str),
    /// These with all that they depend on, the C library included.
    WholeAll(&'a [&'a str]),
}

/// Is a directory with unpacked packages.
#[derive(Clone, Debug)]
pub struct Tree {
    root: PathBuf,
}

impl Tree {
    /// Returns packages of `suite`, unpacked once and kept as `name` in the target directory.
    ///
    /// # Errors
    ///
    /// [`Error::Missing`] where there is no apt, no mirror, or no such package.
    pub fn unpacked(name: &str, suite: Suite, packages: Packages<'_>) -> Result<Self> {
        let recipe = format!("{} {packages:?}", suite.name());
        let root = cache::made_once(name, &recipe, |directory| {
            let apt = Apt::new(suite)?;
            for package in apt.download(&apt.names(packages)?)? {
                run(command("dpkg-deb")?.arg("--extract").arg(package).arg(directory))?;
            }
            Ok(())
        })?;
        Ok(Self { root })
    }

    /// Returns the directory.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Returns a command that runs the program at `path`, such as `usr/bin/mkfs.erofs`, with the C
    /// library and all others of this tree, which [`Packages::Whole`] has brought along.
    pub fn command(&self, path: &str) -> Result<Command> {
        let loader = self.root.join("usr/lib64/ld-linux-x86-64.so.2");
        let program = self.root.join(path);
        for file in [&loader, &program] {
            if !file.exists() {
                return Err(Error::Missing(file.display().to_string()));
            }
        }
        let mut command = Command::new(loader);
        let libraries = self.root.join("usr/lib/x86_64-linux-gnu");
        // systemd has one of its own below.
        let path = format!("{0}:{0}/systemd", libraries.display());
        command.arg("--library-path").arg(path).arg(program);
        Ok(command)
    }
}

/// Is one package as it is in the archive of Debian.
#[derive(Clone, Debug)]
pub struct Package {
    file: PathBuf,
}

impl Package {
    /// Returns packages of `suite`, fetched once and kept as `name` in the target directory, in the
    /// order of their names.
    ///
    /// # Errors
    ///
    /// As [`Tree::unpacked`].
    pub fn fetched(name: &str, suite: Suite, packages: &[Packages<'_>]) -> Result<Vec<Self>> {
        let recipe = format!("{} {packages:?}", suite.name());
        let directory = cache::made_once(name, &recipe, |directory| {
            let apt = Apt::new(suite)?;
            let names: Result<Vec<_>> = packages.iter().map(|some| apt.names(*some)).collect();
            for file in apt.download(&names?.concat())? {
                let kept = directory.join(file.file_name().unwrap_or_default());
                fs::copy(&file, &kept).map_err(Error::io(&kept))?;
            }
            Ok(())
        })?;
        Ok(files_in(&directory)?.into_iter().map(|file| Self { file }).collect())
    }

    /// Returns its name.
    pub fn name(&self) -> String {
        let file = self.file.file_name().unwrap_or_default().to_string_lossy();
        file.split('_').next().unwrap_or_default().to_owned()
    }

    /// Returns its file, of the form `.deb`.
    pub fn file(&self) -> &Path {
        &self.file
    }

    /// Returns the tar with its files, not compressed.
    pub fn data_archive(&self) -> Result<Vec<u8>> {
        run(command("dpkg-deb")?.arg("--fsys-tarfile").arg(&self.file))
    }
}

/// An apt that knows one suite and considers nothing installed.
struct Apt {
    options: Vec<String>,
    /// Where downloaded packages go; removed with everything else when this is dropped.
    state: tempfile::TempDir,
}

impl Apt {
    fn new(suite: Suite) -> Result<Self> {
        let state = tempfile::tempdir().map_err(Error::io(&std::env::temp_dir()))?;
        let at = |path: &str| state.path().join(path);
        for directory in ["lists/partial", "cache/archives/partial", "packages"] {
            cache::create_directories(&at(directory))?;
        }
        cache::write(&at("status"), b"")?;
        cache::write(&at("suite.sources"), Self::source(suite)?.as_bytes())?;
        let options = [
            format!("Dir::Etc::sourcelist={}", at("suite.sources").display()),
            "Dir::Etc::sourceparts=-".to_owned(),
            format!("Dir::State::Lists={}", at("lists").display()),
            format!("Dir::State::status={}", at("status").display()),
            format!("Dir::Cache={}", at("cache").display()),
            "Acquire::Languages=none".to_owned(),
            "Acquire::Retries=3".to_owned(),
            "Acquire::IndexTargets::deb::DEP-11::DefaultEnabled=false".to_owned(),
            // The directory of a private file is closed to apt's own user.
            "APT::Sandbox::User=root".to_owned(),
        ]
        .to_vec();
        let apt = Self { options, state };
        run(apt.command("apt-get")?.args(["update", "--quiet", "--error-on=any"])).map_err(
            |error| Error::Missing(format!("Debian's suite {} ({error})", suite.name())),
        )?;
        Ok(apt)
    }

    /// Writes the source of `suite` on the mirror of the machine's own main archive.
    fn source(suite: Suite) -> Result<String> {
        let targets = run(command("apt-get")?.args([
            "indextargets",
            "--format",
            "$(REPO_URI) $(RELEASE) $(COMPONENT)",
            "Created-By: Packages",
        ]))?;
        let mirror = String::from_utf8_lossy(&targets)
            .lines()
            .filter_map(|line| {
                let [uri, release, component] =
                    line.split(' ').collect::<Vec<_>>().try_into().ok()?;
                let own = component == "main" && !release.contains(['-', '/']);
                (own && uri.trim_end_matches('/').ends_with("/debian")).then(|| uri.to_owned())
            })
            .next()
            .ok_or_else(|| Error::Missing("a mirror of Debian in apt's sources".to_owned()))?;
        Ok(format!(
            "Types: deb\nURIs: {mirror}\nSuites: {}\nComponents: main\nSigned-By: {KEYRING}\n",
            suite.name()
        ))
    }

    fn names(&self, packages: Packages<'_>) -> Result<Vec<String>> {
        match packages {
            Packages::Alone(names) => Ok(names.iter().map(|name| (*name).to_owned()).collect()),
            Packages::Behind(start, words) => self.behind(start, words),
            Packages::Whole(name) => self.with_dependencies(&[name]),
            Packages::WholeAll(names) => self.with_dependencies(names),
        }
    }

    fn behind(&self, start: &str, words: &[&str]) -> Result<Vec<String>> {
        let wanted = |name: &&str| {
            words.iter().filter_map(|word| name.strip_prefix(word)).any(|rest| {
                rest.starts_with('-') && rest[1..].starts_with(|first: char| first.is_ascii_digit())
            })
        };
        let output =
            run(self.command("apt-cache")?.args(["depends", "--recurse", "--important", start]))?;
        let names: Vec<String> =
            String::from_utf8_lossy(&output).lines().filter(wanted).map(str::to_owned).collect();
        if names.is_empty() {
            return Err(Error::Missing(format!("what stands behind the package {start}")));
        }
        Ok(names)
    }

    /// Asks what would be installed where nothing is.
    fn with_dependencies(&self, names: &[&str]) -> Result<Vec<String>> {
        let install = ["install", "--print-uris", "-qq", "--yes", "--no-install-recommends"];
        let output = run(self.command("apt-get")?.args(install).args(names))?;
        // 'URI' NAME_VERSION_ARCHITECTURE.deb SIZE HASH
        let name = |line: &str| Some(line.split(' ').nth(1)?.split_once('_')?.0.to_owned());
        Ok(String::from_utf8_lossy(&output).lines().filter_map(name).collect())
    }

    fn download(&self, packages: &[String]) -> Result<Vec<PathBuf>> {
        let directory = self.state.path().join("packages");
        run(self
            .command("apt-get")?
            .args(["download", "--quiet"])
            .args(packages)
            .current_dir(&directory))?;
        files_in(&directory)
    }

    fn command(&self, name: &str) -> Result<Command> {
        let mut command = command(name)?;
        for option in &self.options {
            command.args(["-o", option]);
        }
        Ok(command)
    }
}

/// Lists a directory in the order of the names.
pub(crate) fn files_in(directory: &Path) -> Result<Vec<PathBuf>> {
    let mut files: Vec<PathBuf> = fs::read_dir(directory)
        .and_then(|entries| entries.map(|entry| Ok(entry?.path())).collect())
        .map_err(Error::io(directory))?;
    files.sort();
    Ok(files)
}

/// Is where Debian's package `debian-archive-keyring` puts the keys of all living suites.
const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";
