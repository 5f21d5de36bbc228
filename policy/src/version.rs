//! Versions of policies.

use std::fmt;
use std::str::FromStr;

use libverity::errno::Errno;

/// Is the version of a policy: three numbers that the kernel compares as one, the first counting
/// most.
///
/// A loaded policy gives way only to a higher version of itself, and the active one only to another
/// of at least its version.
///
/// Source: `security/ipe/policy.c`, `ver_to_u64`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PolicyVersion {
    /// The number that counts most.
    pub major: u16,
    /// The number in the middle.
    pub minor: u16,
    /// The number that counts least.
    pub revision: u16,
}

impl PolicyVersion {
    /// Puts three numbers together.
    pub const fn new(major: u16, minor: u16, revision: u16) -> Self {
        Self { major, minor, revision }
    }

    /// Returns the next higher version, `None` after the highest that there is.
    pub fn next(self) -> Option<Self> {
        let carried = |number: u16| (number.wrapping_add(1), number == u16::MAX);
        let (revision, carry) = carried(self.revision);
        let (minor, carry) = if carry { carried(self.minor) } else { (self.minor, false) };
        let major = if carry { self.major.checked_add(1)? } else { self.major };
        Some(Self { major, minor, revision })
    }
}

impl fmt::Display for PolicyVersion {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}.{}.{}", self.major, self.minor, self.revision)
    }
}

impl FromStr for PolicyVersion {
    type Err = VersionError;

    /// Reads a version as the kernel does: each number may start with a `+` and with zeros.
    ///
    /// Source: `security/ipe/policy_parser.c`, `parse_version`, and `lib/kstrtox.c`.
    fn from_str(text: &str) -> Result<Self, VersionError> {
        let mut numbers = [0; 3];
        let mut count = 0;
        for part in text.split('.') {
            let number = numbers
                .get_mut(count)
                .ok_or_else(|| VersionError::Count { text: excerpt(text) })?;
            *number = parse_number(part)?;
            count += 1;
        }
        if count != numbers.len() {
            return Err(VersionError::Count { text: excerpt(text) });
        }
        let [major, minor, revision] = numbers;
        Ok(Self { major, minor, revision })
    }
}

/// Says why a text is not a version.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum VersionError {
    /// There are not three numbers.
    #[error("the version {text:?} does not have three parts, as in 1.0.7")]
    Count {
        /// The start of the text.
        text: String,
    },
    /// A part is not a number.
    #[error("{part:?} in the version is not a number")]
    NotANumber {
        /// The start of the part.
        part: String,
    },
    /// A part is greater than 65,535.
    #[error("{part:?} in the version is greater than 65535")]
    TooLarge {
        /// The start of the part.
        part: String,
    },
}

impl VersionError {
    /// Returns the error that the kernel gives for such a version.
    pub fn errno(&self) -> Errno {
        match self {
            Self::Count { .. } => Errno::EBADMSG,
            Self::NotANumber { .. } => Errno::EINVAL,
            Self::TooLarge { .. } => Errno::ERANGE,
        }
    }
}

/// Reads one number as `kstrtou16` does, which finds a number beyond 64 bits too large before it
/// sees what follows the digits.
fn parse_number(part: &str) -> Result<u16, VersionError> {
    let digits = part.strip_prefix('+').unwrap_or(part);
    let end = digits.find(|digit: char| !digit.is_ascii_digit()).unwrap_or(digits.len());
    let (number, rest) = digits.split_at(end);
    let not_a_number = || VersionError::NotANumber { part: excerpt(part) };
    let too_large = || VersionError::TooLarge { part: excerpt(part) };
    if number.is_empty() {
        return Err(not_a_number());
    }
    let number: u64 = number.parse().map_err(|_| too_large())?;
    if !rest.is_empty() {
        return Err(not_a_number());
    }
    number.try_into().map_err(|_| too_large())
}

/// Shortens what an error quotes.
fn excerpt(text: &str) -> String {
    text.chars().take(40).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn errno(text: &str) -> Errno {
        text.parse::<PolicyVersion>().unwrap_err().errno()
    }

    #[test]
    fn what_the_kernel_reads_is_read() {
        for (text, expected) in [
            ("1.0.7", PolicyVersion::new(1, 0, 7)),
            ("+1.02.003", PolicyVersion::new(1, 2, 3)),
            ("65535.65535.65535", PolicyVersion::new(65535, 65535, 65535)),
            ("0.0.00000000000000000000000000", PolicyVersion::new(0, 0, 0)),
        ] {
            assert_eq!(text.parse(), Ok(expected), "{text}");
        }
    }

    #[test]
    fn what_the_kernel_refuses_is_refused_with_its_error() {
        for (text, expected) in [
            ("-1236.0.0", Errno::EINVAL),
            ("999999.0.0", Errno::ERANGE),
            ("255.0", Errno::EBADMSG),
            ("111.0.0.0", Errno::EBADMSG),
            ("1.2.3.x", Errno::EBADMSG),
            ("x.2.3.4", Errno::EINVAL),
            ("", Errno::EINVAL),
            ("1..3", Errno::EINVAL),
            ("1.2.", Errno::EINVAL),
            ("0x1.0.0", Errno::EINVAL),
            ("++1.0.0", Errno::EINVAL),
            ("1.0.0 ", Errno::EINVAL),
            ("65536.0.0", Errno::ERANGE),
            ("70000x.0.0", Errno::EINVAL),
            ("18446744073709551616x.0.0", Errno::ERANGE),
        ] {
            assert_eq!(errno(text), expected, "{text:?}");
        }
    }

    #[test]
    fn the_next_version_carries() {
        let next = |major, minor, revision| PolicyVersion::new(major, minor, revision).next();
        assert_eq!(next(1, 0, 7), Some(PolicyVersion::new(1, 0, 8)));
        assert_eq!(next(1, 0, 65535), Some(PolicyVersion::new(1, 1, 0)));
        assert_eq!(next(1, 65535, 65535), Some(PolicyVersion::new(2, 0, 0)));
        assert_eq!(next(65535, 65535, 65535), None);
    }

    proptest! {
        #[test]
        fn versions_are_read_back_and_ordered(one: [u16; 3], other: [u16; 3]) {
            let version = |[major, minor, revision]: [u16; 3]| {
                PolicyVersion::new(major, minor, revision)
            };
            let (first, second) = (version(one), version(other));
            prop_assert_eq!(first.to_string().parse(), Ok(first));
            prop_assert_eq!(first.cmp(&second), one.cmp(&other));
            if let Some(next) = first.next() {
                prop_assert!(next > first);
            }
        }
    }
}
