//! Names of policies.

use std::fmt;
use std::str::FromStr;

/// Is the name of a policy: a letter or digit, then up to 63 letters, digits, `_`, `.` or `-`.
///
/// The kernel takes almost any 255 bytes, but a name becomes a directory in securityfs, the stem of
/// the file that systemd loads at boot, and, unescaped, a part of audit records. This is what is
/// safe in all three.
///
/// Source: `security/ipe/policy_parser.c`, `security/ipe/audit.c`; systemd `src/core/ipe-setup.c`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PolicyName(String);

impl PolicyName {
    /// Returns the name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for PolicyName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl FromStr for PolicyName {
    type Err = NameError;

    fn from_str(name: &str) -> Result<Self, NameError> {
        let error = || NameError { name: name.chars().take(MAX_NAME_BYTES + 1).collect() };
        let begins_well = name.starts_with(|first: char| first.is_ascii_alphanumeric());
        let goes_on_well =
            name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte));
        if begins_well && goes_on_well && name.len() <= MAX_NAME_BYTES {
            Ok(Self(name.to_owned()))
        } else {
            Err(error())
        }
    }
}

/// Says that a text cannot be the name of a policy here.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{name:?} cannot name a policy here: a letter or digit is needed, then at most 63 letters, \
     digits, `_`, `.` or `-`"
)]
pub struct NameError {
    /// The start of the text.
    pub name: String,
}

/// The longest name that osguard gives to a policy.
pub const MAX_NAME_BYTES: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn safe_names_are_taken_as_they_are() {
        for name in ["osguard", "a", "7", "azl_ipe_boot_policy", "a.b-c", &"n".repeat(64)] {
            assert_eq!(name.parse::<PolicyName>().unwrap().as_str(), name);
        }
    }

    #[test]
    fn what_is_unsafe_somewhere_is_refused() {
        let long = "n".repeat(65);
        for name in ["", ".", "..", "-a", "_a", "a/b", "a b", "a\"b", "ä", "a\0", "a#", &long] {
            assert!(name.parse::<PolicyName>().is_err(), "{name:?}");
        }
    }
}
