//! Reference programs that our own work is compared with.

use std::process::Command;

use crate::debian::{Packages, Suite, Tree};
use crate::error::Result;

/// Is a version of erofs-utils.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErofsUtils {
    /// 1.8.6, of Debian 13.
    V1_8,
    /// 1.9.4, or what has followed it in Debian unstable.
    V1_9,
}

impl ErofsUtils {
    /// Are all versions, for what has to hold with each.
    pub const ALL: [Self; 2] = [Self::V1_8, Self::V1_9];

    /// Returns a command for the program that prints the structures of an image.
    pub fn dump(self) -> Result<Command> {
        self.command("dump.erofs")
    }

    /// Returns a command for the program that checks and unpacks an image.
    pub fn fsck(self) -> Result<Command> {
        self.command("fsck.erofs")
    }

    /// Returns a command for the program that makes an image.
    pub fn mkfs(self) -> Result<Command> {
        self.command("mkfs.erofs")
    }

    /// Returns the programs with all that they depend on.
    pub fn tree(self) -> Result<Tree> {
        let (name, suite) = match self {
            Self::V1_8 => ("tools/erofs-utils-1.8", Suite::Trixie),
            Self::V1_9 => ("tools/erofs-utils-1.9", Suite::Sid),
        };
        Tree::unpacked(name, suite, Packages::Whole("erofs-utils"))
    }

    fn command(self, program: &str) -> Result<Command> {
        self.tree()?.command(&format!("usr/bin/{program}"))
    }
}

/// Is a version of veritysetup.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Veritysetup {
    /// What is installed; 2.6.1 on Debian 12.
    OfTheMachine,
    /// 2.7.5, of Debian 13.
    V2_7,
    /// 2.8, or what has followed it in Debian unstable.
    V2_8,
}

impl Veritysetup {
    /// Are all versions.
    pub const ALL: [Self; 3] = [Self::OfTheMachine, Self::V2_7, Self::V2_8];

    /// Returns a command for the program.
    pub fn command(self) -> Result<Command> {
        let (name, suite) = match self {
            Self::OfTheMachine => return crate::command::command("veritysetup"),
            Self::V2_7 => ("tools/cryptsetup-2.7", Suite::Trixie),
            Self::V2_8 => ("tools/cryptsetup-2.8", Suite::Sid),
        };
        Tree::unpacked(name, suite, Packages::Whole("cryptsetup-bin"))?
            .command("usr/sbin/veritysetup")
    }
}

/// Returns a command for systemd-dissect 257 of Debian 13, the first in Debian that checks a volume with
/// its side files against a policy (`--validate`).
pub fn systemd_dissect() -> Result<Command> {
    systemd()?.command("usr/bin/systemd-dissect")
}

/// Returns the audit daemon of Debian 13 with all that it depends on.
pub fn auditd() -> Result<Tree> {
    Tree::unpacked("tools/auditd", Suite::Trixie, Packages::Whole("auditd"))
}

/// Returns systemd 257 of Debian 13 with all that it depends on; it is built with IPE.
pub fn systemd() -> Result<Tree> {
    Tree::unpacked("tools/systemd-257", Suite::Trixie, Packages::Whole("systemd-container"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::run;
    use crate::or_skip;

    #[test]
    fn each_version_runs_beside_the_system() {
        for (version, known_as) in ErofsUtils::ALL.iter().zip(["1.8.6", "1.9."]) {
            for program in [ErofsUtils::dump, ErofsUtils::fsck, ErofsUtils::mkfs] {
                let Some(mut command) = or_skip(program(*version)) else { return };
                let output = run(command.arg("-V")).expect("it runs");
                let output = String::from_utf8_lossy(&output).into_owned();
                assert!(output.contains(known_as), "{output}");
            }
        }
    }
}
