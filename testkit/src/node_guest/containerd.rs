//! Both versions of containerd, outside of a virtual machine too.

use std::process::Command;

use super::root::{sid, trixie};
use crate::error::Result;

/// Is a version of containerd.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Containerd {
    /// 1.7.24, of Debian 13.
    V1_7,
    /// 2.1.9, or what has followed it in Debian unstable.
    V2_1,
}

impl Containerd {
    /// Are both versions, for what has to hold with each.
    pub const ALL: [Self; 2] = [Self::V1_7, Self::V2_1];

    /// Returns the number as the functions of the guest take it, such as `1.7`.
    pub fn number(self) -> &'static str {
        match self {
            Self::V1_7 => "1.7",
            Self::V2_1 => "2.1",
        }
    }

    /// Returns a command for the program itself, such as `containerd config dump`, which needs no privilege.
    ///
    /// # Errors
    ///
    /// [`Error::Missing`](crate::Error::Missing) where packages are not to be had.
    pub fn command(self) -> Result<Command> {
        // Both are content with the newer C library.
        let libraries = sid()?;
        match self {
            Self::V1_7 => {
                libraries.command(&trixie()?.root().join("usr/bin/containerd").to_string_lossy())
            }
            Self::V2_1 => libraries.command("usr/bin/containerd"),
        }
    }
}
