//! The kernels whose policy language is known.

use std::fmt;
use std::str::FromStr;

use crate::vocabulary::{Operation, PropertyName};

/// Is a kernel, for which a policy is written; what its parser takes was tried on the kernel itself.
///
/// The language can only grow: a policy for an older kernel means the same to a newer one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum KernelVersion {
    /// Linux 6.12, the first with IPE.
    #[default]
    V6_12,
    /// Linux 7.2.
    V7_2,
}

impl KernelVersion {
    /// Lists all of them, oldest first.
    pub const ALL: [Self; 2] = [Self::V6_12, Self::V7_2];

    /// Returns the operations that this kernel's policies can name.
    pub const fn operations(self) -> &'static [Operation] {
        match self {
            Self::V6_12 | Self::V7_2 => &Operation::ALL,
        }
    }

    /// Returns the properties that this kernel's rules can ask for.
    pub const fn properties(self) -> &'static [PropertyName] {
        match self {
            Self::V6_12 | Self::V7_2 => &PropertyName::ALL,
        }
    }
}

impl fmt::Display for KernelVersion {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::V6_12 => "6.12",
            Self::V7_2 => "7.2",
        })
    }
}

impl FromStr for KernelVersion {
    type Err = UnknownKernelVersion;

    fn from_str(text: &str) -> Result<Self, UnknownKernelVersion> {
        Self::ALL
            .into_iter()
            .find(|version| version.to_string() == text)
            .ok_or_else(|| UnknownKernelVersion { version: text.chars().take(40).collect() })
    }
}

/// Says that the language of a kernel is not known.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the policy language of {version:?} is not known; 6.12 and 7.2 are, and each holds for newer kernels"
)]
pub struct UnknownKernelVersion {
    /// What was asked for.
    pub version: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read_back() {
        for version in KernelVersion::ALL {
            assert_eq!(version.to_string().parse(), Ok(version));
        }
        assert!("6.11".parse::<KernelVersion>().is_err());
    }
}
