//! Two directories with the same files, in which either program works.

use std::fs::{self, File};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use osguard_testkit::command;
use osguard_testkit::tools::Veritysetup;
use tempfile::TempDir;

/// Is one of the two.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Program {
    Osguard,
    Veritysetup(Veritysetup),
}

impl Program {
    /// Returns the command that takes veritysetup's arguments.
    pub(crate) fn command(self) -> osguard_testkit::Result<Command> {
        Ok(match self {
            Self::Osguard => {
                let mut command = Command::new(env!("CARGO_BIN_EXE_osguard"));
                command.arg("verity");
                command
            }
            Self::Veritysetup(version) => version.command()?,
        })
    }
}

/// Is a directory in which a program works.
pub(crate) struct Workplace {
    pub(crate) program: Program,
    directory: TempDir,
}

/// Is what a program said.
#[derive(Debug)]
pub(crate) struct Said {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Workplace {
    pub(crate) fn new(program: Program) -> Self {
        Self { program, directory: TempDir::with_prefix("osguard-verity-").unwrap() }
    }

    pub(crate) fn path(&self, name: impl AsRef<Path>) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Runs the program of this place, or another one, with these arguments in here.
    pub(crate) fn run(&self, program: Program, arguments: &[String]) -> Said {
        let Output { status, stdout, stderr } = program
            .command()
            .unwrap()
            .args(arguments)
            .current_dir(self.directory.path())
            .output()
            .unwrap();
        Said {
            code: status.code(),
            stdout: String::from_utf8(stdout).unwrap(),
            stderr: String::from_utf8(stderr).unwrap(),
        }
    }

    pub(crate) fn write(&self, name: &str, contents: &[u8]) {
        fs::write(self.path(name), contents).unwrap();
    }

    /// Returns what a file has from `offset` on; nothing if it is not there.
    pub(crate) fn read_from(&self, name: &str, offset: u64) -> Vec<u8> {
        let Ok(file) = File::open(self.path(name)) else { return Vec::new() };
        let length = file.metadata().unwrap().len().saturating_sub(offset);
        let mut bytes = vec![0; length as usize];
        file.read_exact_at(&mut bytes, offset).unwrap();
        bytes
    }

    /// Changes a byte of a file.
    pub(crate) fn damage(&self, name: &str, offset: u64, difference: u8) {
        let file = File::options().read(true).write(true).open(self.path(name)).unwrap();
        let mut byte = [0];
        file.read_exact_at(&mut byte, offset).unwrap();
        file.write_all_at(&[byte[0] ^ difference], offset).unwrap();
    }
}

/// Tells whether a program is there; where it is not, says why a test is skipped.
pub(crate) fn available(version: Veritysetup) -> bool {
    osguard_testkit::or_skip(version.command().and_then(|mut command| {
        command::run(command.arg("--version"))?;
        Ok(())
    }))
    .is_some()
}
