//! The error numbers with which the kernel answers.

use std::fmt;

/// Is an error number of the kernel, as it stands in a log or comes back from a system call.
///
/// Only those have a name here that the kernel gives while it judges certificates, signatures and
/// policies. The numbers are the generic ones (`include/uapi/asm-generic/errno*.h`), which x86-64,
/// arm64 and riscv64 share.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Errno(i32);

impl Errno {
    /// Operation not permitted.
    pub const EPERM: Self = Self(1);
    /// No such file or directory.
    pub const ENOENT: Self = Self(2);
    /// Out of memory.
    pub const ENOMEM: Self = Self(12);
    /// Permission denied.
    pub const EACCES: Self = Self(13);
    /// File exists.
    pub const EEXIST: Self = Self(17);
    /// Invalid argument.
    pub const EINVAL: Self = Self(22);
    /// Numerical result out of range.
    pub const ERANGE: Self = Self(34);
    /// File name too long.
    pub const ENAMETOOLONG: Self = Self(36);
    /// No data available.
    pub const ENODATA: Self = Self(61);
    /// Package not installed: an algorithm that this kernel does not have.
    pub const ENOPKG: Self = Self(65);
    /// Bad message.
    pub const EBADMSG: Self = Self(74);
    /// Message too long.
    pub const EMSGSIZE: Self = Self(90);
    /// Stale file handle: for policies, a version that is not newer.
    pub const ESTALE: Self = Self(116);
    /// Required key not available.
    pub const ENOKEY: Self = Self(126);
    /// Key was rejected by service.
    pub const EKEYREJECTED: Self = Self(129);

    /// Takes the number as the kernel gave it, with either sign.
    pub const fn from_number(number: i32) -> Self {
        Self(number.wrapping_abs())
    }

    /// Returns the positive number.
    pub const fn number(self) -> i32 {
        self.0
    }

    /// Returns the symbolic name, where it has one here.
    pub const fn name(self) -> Option<&'static str> {
        Some(match self {
            Self::EPERM => "EPERM",
            Self::ENOENT => "ENOENT",
            Self::ENOMEM => "ENOMEM",
            Self::EACCES => "EACCES",
            Self::EEXIST => "EEXIST",
            Self::EINVAL => "EINVAL",
            Self::ERANGE => "ERANGE",
            Self::ENAMETOOLONG => "ENAMETOOLONG",
            Self::ENODATA => "ENODATA",
            Self::ENOPKG => "ENOPKG",
            Self::EBADMSG => "EBADMSG",
            Self::EMSGSIZE => "EMSGSIZE",
            Self::ESTALE => "ESTALE",
            Self::ENOKEY => "ENOKEY",
            Self::EKEYREJECTED => "EKEYREJECTED",
            _ => return None,
        })
    }
}

impl fmt::Display for Errno {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => formatter.write_str(name),
            None => write!(formatter, "errno {}", self.0),
        }
    }
}

impl fmt::Debug for Errno {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, formatter)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn either_sign_gives_the_name() {
        assert_eq!(Errno::from_number(-129).to_string(), "EKEYREJECTED");
        assert_eq!(Errno::from_number(126), Errno::ENOKEY);
        assert_eq!(Errno::from_number(4095).to_string(), "errno 4095");
        assert_eq!(Errno::from_number(i32::MIN).number(), i32::MIN);
    }
}
