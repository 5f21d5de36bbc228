//! The line by which a policy names itself.

use libverity::errno::Errno;

use crate::name::{NameError, PolicyName};
use crate::version::{PolicyVersion, VersionError};

/// Is the name and the version that a policy gives itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    /// The name, under which the kernel keeps the policy.
    pub name: PolicyName,
    /// The version, by which the kernel tells newer from older.
    pub version: PolicyVersion,
}

impl Header {
    /// Reads the header of a policy's text: the first line that is neither blank nor a comment.
    ///
    /// The lexical rules are the kernel's: lines end at LF or CR, `#` starts a comment anywhere,
    /// spaces and tabs separate. A text with a NUL byte is refused, for the kernel would silently
    /// stop reading there.
    ///
    /// Source: `security/ipe/policy_parser.c`, `ipe_parse_policy` and `parse_header`.
    pub fn parse(text: &[u8]) -> Result<Self, HeaderError> {
        if let Some(offset) = text.iter().position(|&byte| byte == 0) {
            return Err(HeaderError::Nul { offset });
        }
        let line = text
            .split(|byte| b"\n\r".contains(byte))
            .map(without_comment)
            .find(|line| !line.is_empty())
            .ok_or(HeaderError::Missing)?;
        let malformed =
            || HeaderError::Malformed { line: String::from_utf8_lossy(excerpt(line)).into_owned() };
        let mut tokens = line.split(|byte| b" \t".contains(byte)).filter(|token| !token.is_empty());
        let (Some(name), Some(version), None) = (tokens.next(), tokens.next(), tokens.next())
        else {
            return Err(malformed());
        };
        let value = |token: &[u8], key: &[u8]| -> Result<String, HeaderError> {
            let value = token.strip_prefix(key).ok_or_else(malformed)?;
            Ok(String::from_utf8_lossy(value).into_owned())
        };
        let name = value(name, b"policy_name=")?;
        let version = value(version, b"policy_version=")?;
        Ok(Self { name: name.parse()?, version: version.parse()? })
    }
}

/// Says why a text has no header.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum HeaderError {
    /// The first line is something else.
    #[error(
        "the policy starts with {line:?}, and not with `policy_name=NAME policy_version=1.0.0`"
    )]
    Malformed {
        /// The start of the first line.
        line: String,
    },
    /// There is no line.
    #[error("the policy is empty")]
    Missing,
    /// The name is one that osguard does not take.
    #[error(transparent)]
    Name(#[from] NameError),
    /// There is a NUL byte, at which the kernel would stop reading.
    #[error("the policy has a NUL byte at offset {offset}; the kernel would ignore what follows")]
    Nul {
        /// Where the byte is.
        offset: usize,
    },
    /// The version is none.
    #[error(transparent)]
    Version(#[from] VersionError),
}

impl HeaderError {
    /// Returns the error that the kernel gives for such a policy, or `None` where it might accept
    /// it.
    pub fn errno(&self) -> Option<Errno> {
        match self {
            Self::Malformed { .. } | Self::Missing => Some(Errno::EBADMSG),
            Self::Name(_) | Self::Nul { .. } => None,
            Self::Version(error) => Some(error.errno()),
        }
    }
}

/// Takes off a comment, and then the white space at the end.
fn without_comment(line: &[u8]) -> &[u8] {
    let code = line.split(|&byte| byte == b'#').next().unwrap_or_default();
    let end = code.iter().rposition(|byte| !KERNEL_SPACES.contains(byte));
    end.map_or(&[], |end| &code[..=end])
}

/// Shortens what an error quotes.
fn excerpt(line: &[u8]) -> &[u8] {
    &line[..line.len().min(80)]
}

/// The kernel's `isspace`, which counts the no-break space of Latin-1.
const KERNEL_SPACES: &[u8] = b" \t\n\x0b\x0c\r\xa0";

#[cfg(test)]
mod tests {
    use super::*;

    fn header(text: &str) -> Result<(String, String), HeaderError> {
        Header::parse(text.as_bytes())
            .map(|header| (header.name.to_string(), header.version.to_string()))
    }

    #[test]
    fn headers_are_found_where_the_kernel_finds_them() {
        let expected = Ok(("test".to_owned(), "0.0.1".to_owned()));
        for text in [
            "policy_name=test policy_version=0.0.1\nDEFAULT action=ALLOW",
            "policy_name=test policy_version=0.0.1",
            "# what\n\n \t\r\npolicy_name=test policy_version=0.0.1 # which",
            "\tpolicy_name=test \t policy_version=+0.00.1\x0b\rDEFAULT action=ALLOW",
        ] {
            assert_eq!(header(text), expected, "{text:?}");
        }
    }

    #[test]
    fn other_first_lines_are_refused() {
        for text in [
            "",
            "# only a comment",
            "DEFAULT action=ALLOW\npolicy_name=test policy_version=0.0.1",
            "policy_name=test",
            "policy_version=0.0.1 policy_name=test",
            "policy_name=test policy_version=0.0.1 DEFAULT",
            "POLICY_NAME=test policy_version=0.0.1",
            "\u{feff}policy_name=test policy_version=0.0.1",
            "policy_name=test#policy_version=0.0.1",
        ] {
            assert_eq!(header(text).unwrap_err().errno(), Some(Errno::EBADMSG), "{text:?}");
        }
        let error = header("policy_name=test policy_version=1.0.99999").unwrap_err();
        assert_eq!(error.errno(), Some(Errno::ERANGE));
        let nul = header("policy_name=test policy_version=0.0.1\nDEFAULT\0").unwrap_err();
        assert_eq!(nul, HeaderError::Nul { offset: 45 });
        assert!(matches!(
            header("policy_name=a/b policy_version=0.0.1"),
            Err(HeaderError::Name(_))
        ));
    }
}
