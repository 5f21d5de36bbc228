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

/// Returns a directory with the packages of `suite` unpacked that `start` depends on and whose
/// names satisfy `wanted`; it is kept as `name` in the target directory.
///
/// # Errors
///
/// [`Error::Missing`] where there is no apt, no mirror, or no such package.
pub fn unpacked(
    name: &str,
    suite: Suite,
    start: &str,
    wanted: impl Fn(&str) -> bool,
) -> Result<PathBuf> {
    cache::made_once(name, &format!("{} {start}", suite.name()), |directory| {
        let apt = Apt::new(suite)?;
        let packages = apt.closure(start, wanted)?;
        for package in apt.download(&packages)? {
            run(command("dpkg-deb")?.arg("--extract").arg(package).arg(directory))?;
        }
        Ok(())
    })
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

    fn closure(&self, start: &str, wanted: impl Fn(&str) -> bool) -> Result<Vec<String>> {
        let mut depends = self.command("apt-cache")?;
        let output = run(depends.args(["depends", "--recurse", "--important", start]))?;
        let packages: Vec<String> = String::from_utf8_lossy(&output)
            .lines()
            .filter(|line| !line.starts_with([' ', '<']) && wanted(line))
            .map(str::to_owned)
            .collect();
        if packages.is_empty() {
            return Err(Error::Missing(format!("the package {start}")));
        }
        Ok(packages)
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
