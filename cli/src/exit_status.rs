//! The exit codes, the same for every command but `osguard verity`.

use std::process::ExitCode;

/// Tells how a command ended; scripts rely on the numbers, which never change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ExitStatus {
    /// All was done.
    Done,
    /// A failure that no other code names.
    Failure,
    /// Wrong usage or configuration.
    Usage,
    /// No such image, tag, file or device.
    NotFound,
    /// The registry could not be reached, refused, or answered nonsense.
    Registry,
    /// Not signed.
    NotSigned,
    /// A signature is there, but none is valid and trusted.
    NotTrusted,
    /// The content is not what was signed.
    ContentDiffers,
    /// The kernel would take it, but the trust configuration does not.
    Refused,
    /// One of veritysetup's own codes, which `osguard verity` keeps.
    Veritysetup(u8),
}

impl ExitStatus {
    /// Returns the number that the shell sees.
    pub(crate) const fn code(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::Failure => 1,
            Self::Usage => 2,
            Self::NotFound => 3,
            Self::Registry => 4,
            Self::NotSigned => 10,
            Self::NotTrusted => 11,
            Self::ContentDiffers => 12,
            Self::Refused => 13,
            Self::Veritysetup(code) => code,
        }
    }
}

impl From<ExitStatus> for ExitCode {
    fn from(status: ExitStatus) -> Self {
        Self::from(status.code())
    }
}
