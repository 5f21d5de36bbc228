//! A place to run `osguard` in that has nothing from the machine but the kernel.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fmt;
use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use libverity::digest::Digest;
use osguard_testkit::{command, or_skip};
use tempfile::TempDir;

/// Holds directories for home, temporary files, state, store and work, and is gone afterwards.
pub(crate) struct Environment {
    directory: TempDir,
}

impl Environment {
    /// Makes an environment with empty directories.
    pub(crate) fn new() -> Self {
        let directory = TempDir::with_prefix("osguard-test-").expect("a temporary directory");
        // Other users shall be able to work in it.
        fs::set_permissions(directory.path(), PermissionsExt::from_mode(0o755)).unwrap();
        for name in ["home", "tmp", "work"] {
            fs::create_dir(directory.path().join(name)).unwrap();
        }
        Self { directory }
    }

    /// Makes an environment in which the keys `alice.key` and `mallory.key` lie, each with its
    /// certificate.
    pub(crate) fn with_keys() -> Self {
        let environment = Self::new();
        for (name, contents) in KEYS {
            environment.write(name, contents);
        }
        environment
    }

    /// Returns the path of a file in the working directory.
    pub(crate) fn path(&self, name: impl AsRef<Path>) -> PathBuf {
        self.directory.path().join("work").join(name)
    }

    /// Writes a file into the working directory.
    pub(crate) fn write(&self, name: impl AsRef<Path>, contents: &[u8]) {
        fs::write(self.path(name), contents).unwrap();
    }

    /// Reads a file in the working directory.
    pub(crate) fn read(&self, name: impl AsRef<Path>) -> Vec<u8> {
        fs::read(self.path(name)).unwrap()
    }

    /// Runs `osguard` with these arguments and nothing on its standard input.
    pub(crate) fn run<A: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = A>) -> Ran {
        self.ran(self.osguard().args(arguments))
    }

    /// Runs `osguard` and checks that it fails with one line that says why, followed by hints only,
    /// and that no file has changed, come or gone.
    pub(crate) fn refused<A: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = A>) -> Ran {
        self.refuses(self.osguard().args(arguments))
    }

    /// As [`refused`](Self::refused), of a command with more to it than arguments.
    pub(crate) fn refuses(&self, command: &mut Command) -> Ran {
        let before = self.files();
        let ran = self.ran(command);
        assert_eq!(self.files(), before, "something has changed: {ran}");
        assert_ne!(ran.code, 0, "{ran}");
        let mut lines = ran.stderr.lines();
        assert!(lines.next().is_some_and(|line| line.starts_with("Error: ")), "{ran}");
        assert!(lines.all(|line| line.starts_with("Hint: ")), "{ran}");
        ran
    }

    /// Runs a command that [`osguard`](Self::osguard) or [`wrapped`](Self::wrapped) began.
    pub(crate) fn ran(&self, command: &mut Command) -> Ran {
        self.describe(&command.output().unwrap())
    }

    /// Runs `osguard` with `input` on its standard input.
    pub(crate) fn run_with_input<A: AsRef<OsStr>>(
        &self,
        arguments: impl IntoIterator<Item = A>,
        input: &[u8],
    ) -> Ran {
        self.write(".input", input);
        let file = fs::File::open(self.path(".input")).unwrap();
        fs::remove_file(self.path(".input")).unwrap();
        self.ran(self.osguard().args(arguments).stdin(file))
    }

    /// Begins a command that runs `osguard`.
    pub(crate) fn osguard(&self) -> Command {
        self.program(OSGUARD)
    }

    /// Begins a command that runs `osguard` by another program, which takes a command line at its
    /// end, such as `setpriv`.
    pub(crate) fn wrapped(&self, wrapper: &Command) -> Command {
        let mut command = self.program(wrapper.get_program());
        command.args(wrapper.get_args()).arg(OSGUARD);
        command
    }

    /// Begins a command that runs `osguard` in a mount namespace of its own, after a shell has run
    /// `before` there; `after` follows. [`in_namespace`](Self::in_namespace) runs it.
    pub(crate) fn unshared(&self, before: &str, after: &str) -> Option<Command> {
        let mut unshare = or_skip(command::command("unshare"))?;
        if !self.is_root() {
            // Where the machine lets its users have one, a namespace of users gives the right.
            unshare.arg("--map-root-user");
        }
        unshare.args(["--mount", "sh", "-c"]);
        unshare.arg(format!("{{ {before}; }} || exit 99; \"$@\"; code=$?; {after}; exit $code"));
        let mut command = self.wrapped(unshare.arg("sh"));
        command.env("PATH", "/usr/bin:/bin:/usr/sbin:/sbin");
        Some(command)
    }

    /// Runs a command of [`unshared`](Self::unshared), unless this machine does not allow it.
    pub(crate) fn in_namespace(&self, command: &mut Command) -> Option<Ran> {
        let ran = self.ran(command);
        if ran.code == 99 || ran.stderr.starts_with("unshare") {
            osguard_testkit::skip("the right to mount in a namespace");
            return None;
        }
        Some(ran)
    }

    /// Begins a command that runs another program.
    pub(crate) fn program(&self, program: impl AsRef<OsStr>) -> Command {
        let directory = |name| self.directory.path().join(name);
        let mut command = Command::new(program);
        command
            .env_clear()
            .env("HOME", directory("home"))
            .env("TMPDIR", directory("tmp"))
            .env("OSGUARD_STATE", directory("state"))
            .env("OSGUARD_STORE", directory("store"))
            .current_dir(directory("work"))
            .stdin(Stdio::null());
        command
    }

    /// Tells whether this process is root's: what it makes belongs to its user.
    pub(crate) fn is_root(&self) -> bool {
        fs::metadata(self.directory.path()).unwrap().uid() == 0
    }

    /// Lists everything in the environment, with permissions and contents.
    pub(crate) fn files(&self) -> BTreeMap<PathBuf, Listed> {
        let mut files = BTreeMap::new();
        list(self.directory.path(), &mut files);
        files
    }

    fn describe(&self, output: &Output) -> Ran {
        let directory = self.directory.path().to_str().unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).replace(directory, "$TEST");
        Ran {
            stdout: text(&output.stdout),
            stderr: text(&output.stderr),
            code: output.status.code().unwrap_or(-1),
        }
    }
}

/// Is what a command printed and how it ended.
#[must_use = "either look at what was printed or check the exit code"]
pub(crate) struct Ran {
    pub(crate) stdout: String,
    pub(crate) stderr: String,
    pub(crate) code: i32,
}

impl Ran {
    /// Checks that the command did what it should, and returns what it printed.
    #[track_caller]
    pub(crate) fn done(self) -> String {
        assert!(self.code == 0 && self.stderr.is_empty(), "{self}");
        self.stdout
    }

    /// Checks that the command did what it should, and parses the JSON that it printed.
    #[track_caller]
    pub(crate) fn json(self) -> serde_json::Value {
        serde_json::from_str(&self.done()).unwrap()
    }

    /// Puts `name` in the place of a `text` that is another one in every run.
    pub(crate) fn naming(mut self, text: &str, name: &str) -> Self {
        assert!(!text.is_empty());
        self.stdout = self.stdout.replace(text, name);
        self.stderr = self.stderr.replace(text, name);
        self
    }
}

impl fmt::Display for Ran {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.stdout)?;
        if !self.stderr.is_empty() {
            write!(formatter, "--- standard error ---\n{}", self.stderr)?;
        }
        if self.code != 0 {
            write!(formatter, "--- exit code {} ---", self.code)?;
        }
        Ok(())
    }
}

/// Is what is known of a file or directory; contents come as their length and a digest.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Listed {
    mode: u32,
    contents: Option<(usize, Digest)>,
}

fn list(directory: &Path, files: &mut BTreeMap<PathBuf, Listed>) {
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        let metadata = fs::symlink_metadata(&path).unwrap();
        if metadata.is_dir() {
            list(&path, files);
        }
        let contents = metadata.is_file().then(|| {
            let contents = fs::read(&path).unwrap();
            (contents.len(), Digest::of(&contents))
        });
        files.insert(path, Listed { mode: metadata.permissions().mode(), contents });
    }
}

const OSGUARD: &str = env!("CARGO_BIN_EXE_osguard");

const KEYS: [(&str, &[u8]); 4] = [
    ("alice.crt", include_bytes!("../../../testdata/keys/alice.crt")),
    ("alice.key", include_bytes!("../../../testdata/keys/alice.key")),
    ("mallory.crt", include_bytes!("../../../testdata/keys/mallory.crt")),
    ("mallory.key", include_bytes!("../../../testdata/keys/mallory.key")),
];
