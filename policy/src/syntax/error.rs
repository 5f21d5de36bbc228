//! What makes the kernel refuse a text.

use std::fmt;

use libverity::errno::Errno;

use super::span::Span;
use crate::kernel_version::KernelVersion;
use crate::version::VersionError;
use crate::vocabulary::{Operation, PropertyName};

/// Is all that is wrong with a text: one error at least, and the one that the kernel sees first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SyntaxErrors {
    pub(super) errors: Vec<SyntaxError>,
}

impl SyntaxErrors {
    /// Returns the errors in the order of the text.
    pub fn all(&self) -> &[SyntaxError] {
        &self.errors
    }

    /// Returns the number that the kernel answers, which is that of the first error.
    pub fn errno(&self) -> Errno {
        self.errors.first().map_or(Errno::EBADMSG, SyntaxError::errno)
    }
}

impl fmt::Display for SyntaxErrors {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(first) = self.errors.first() {
            first.fmt(formatter)?;
        }
        match self.errors.len().saturating_sub(1) {
            0 => Ok(()),
            more => write!(formatter, ", and {more} more"),
        }
    }
}

impl std::error::Error for SyntaxErrors {}

/// Is one thing that the kernel does not take.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{kind}")]
pub struct SyntaxError {
    /// What is wrong.
    pub kind: SyntaxErrorKind,
    /// Where.
    pub span: Span,
    /// The kernel whose words count.
    pub kernel: KernelVersion,
    /// Whether a comment begins in the middle of the last word.
    pub cut_by_comment: bool,
}

/// Says what is wrong with a line.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SyntaxErrorKind {
    /// The last word is no action.
    #[error("a rule ends with an action, and this line with `{found}`")]
    ActionExpected {
        /// The last word.
        found: String,
    },
    /// The text starts with the byte order mark of UTF-8.
    #[error("the text starts with a byte order mark")]
    ByteOrderMark,
    /// There is a second default for the same.
    #[error("this is the second default{}", of_operation(*operation))]
    DefaultRepeated {
        /// The operation, none for the default of all.
        operation: Option<Operation>,
    },
    /// There is a default that holds under a condition.
    #[error("a DEFAULT has no properties")]
    DefaultWithProperty,
    /// There is no default for some operations.
    #[error("there is no default for {}", list(missing))]
    DefaultsMissing {
        /// The operations.
        missing: Vec<Operation>,
    },
    /// A digest is not in hexadecimal digits.
    #[error("the digest is not hexadecimal: {reason}")]
    DigestNotHexadecimal {
        /// Which character, or how many digits.
        reason: String,
    },
    /// A digest does not say of what algorithm it is.
    #[error("the digest does not say by which algorithm it was made")]
    DigestWithoutAlgorithm,
    /// There is nothing but comments.
    #[error("there is nothing in the text but blank lines and comments")]
    Empty,
    /// The first line is something else.
    #[error("the first line is `policy_name=NAME policy_version=1.0.0`, and not `{found}`")]
    HeaderExpected {
        /// The word that does not fit in.
        found: String,
    },
    /// The first line ends too early.
    #[error("the first line lacks its {missing}")]
    HeaderIncomplete {
        /// `policy_name=NAME` or `policy_version=1.0.0`.
        missing: &'static str,
    },
    /// There is a second header.
    #[error("there is a header already, and only the first line is one")]
    HeaderRepeated,
    /// The name cannot be that of a directory in securityfs.
    #[error("a policy's name is that of a directory, and `{name}` cannot be")]
    NameNotADirectory {
        /// The name.
        name: String,
    },
    /// The name is too long for a directory.
    #[error("the name has {bytes} bytes, and a directory's has at most 255")]
    NameTooLong {
        /// How many it has.
        bytes: usize,
    },
    /// A rule does not start with an operation.
    #[error("a rule starts with an operation, and not with `{found}`")]
    OperationExpected {
        /// The word.
        found: String,
    },
    /// The kernel does not know the operation.
    #[error("`{found}` is no operation of the kernel")]
    OperationUnknown {
        /// The word behind `op=`.
        found: String,
    },
    /// The kernel does not know the property.
    #[error("`{found}` is no property of the kernel")]
    PropertyUnknown {
        /// The word.
        found: String,
    },
    /// The kernel knows the property, and not this value.
    #[error("`{property}` is either TRUE or FALSE, and not `{found}`")]
    PropertyValue {
        /// The property.
        property: PropertyName,
        /// The value.
        found: String,
    },
    /// The text is not in an encoding of single bytes.
    #[error("the text is in UTF-16, which the kernel does not read")]
    Utf16,
    /// The version is none.
    #[error(transparent)]
    Version(#[from] VersionError),
}

impl SyntaxError {
    /// Returns the number with which the kernel refuses it.
    pub fn errno(&self) -> Errno {
        match &self.kind {
            SyntaxErrorKind::DigestNotHexadecimal { .. } => Errno::EINVAL,
            SyntaxErrorKind::NameNotADirectory { .. } => Errno::EACCES,
            SyntaxErrorKind::NameTooLong { .. } => Errno::ENAMETOOLONG,
            SyntaxErrorKind::Version(error) => error.errno(),
            _ => Errno::EBADMSG,
        }
    }

    /// Says what to write instead.
    pub fn help(&self) -> String {
        if self.cut_by_comment {
            return "a `#` starts a comment even inside a word: what follows it is not read"
                .to_owned();
        }
        match &self.kind {
            SyntaxErrorKind::ActionExpected { found } => match nearest(found, ACTIONS) {
                Some(action) => format!("did you mean `{action}`?"),
                None => "end the line with `action=ALLOW` or `action=DENY`".to_owned(),
            },
            SyntaxErrorKind::ByteOrderMark => {
                "save the file as UTF-8 without a byte order mark".to_owned()
            }
            SyntaxErrorKind::DefaultRepeated { .. } => {
                "keep one of the two, as the kernel does not choose".to_owned()
            }
            SyntaxErrorKind::DefaultWithProperty => {
                "leave DEFAULT out to make it a rule, or leave the property out".to_owned()
            }
            SyntaxErrorKind::DefaultsMissing { .. } => {
                "write `DEFAULT action=ALLOW` or `DEFAULT action=DENY` behind the first line"
                    .to_owned()
            }
            SyntaxErrorKind::DigestNotHexadecimal { .. } => {
                "write two digits of 0-9 and a-f for each byte".to_owned()
            }
            SyntaxErrorKind::DigestWithoutAlgorithm => {
                "put the algorithm in front of it, as in `sha256:0123…`".to_owned()
            }
            SyntaxErrorKind::Empty
            | SyntaxErrorKind::HeaderExpected { .. }
            | SyntaxErrorKind::HeaderIncomplete { .. } => {
                "start with `policy_name=NAME policy_version=1.0.0`, both in this order and nothing \
                 else; `osguard policy new` writes a whole policy"
                    .to_owned()
            }
            SyntaxErrorKind::HeaderRepeated => "leave this line out".to_owned(),
            SyntaxErrorKind::NameNotADirectory { .. } | SyntaxErrorKind::NameTooLong { .. } => {
                "choose up to 64 letters, digits, `_`, `.` and `-`, a letter or digit first"
                    .to_owned()
            }
            SyntaxErrorKind::OperationExpected { found } => {
                if nearest(found, &["DEFAULT"]).is_some() {
                    "did you mean `DEFAULT`?".to_owned()
                } else {
                    "start the line with `op=…`, or with `DEFAULT`; properties follow the operation"
                        .to_owned()
                }
            }
            SyntaxErrorKind::OperationUnknown { found } => {
                let known: Vec<_> =
                    self.kernel.operations().iter().map(|operation| operation.keyword()).collect();
                match nearest(found, &known) {
                    Some(operation) => format!("did you mean `op={operation}`?"),
                    None => format!("Linux {} knows {}", self.kernel, known.join(", ")),
                }
            }
            SyntaxErrorKind::PropertyUnknown { found } => self.help_for_property(found),
            SyntaxErrorKind::PropertyValue { property, found } => {
                match nearest(found, &["TRUE", "FALSE"]) {
                    Some(truth) => format!("did you mean `{property}={truth}`?"),
                    None => format!("write `{property}=TRUE` or `{property}=FALSE`"),
                }
            }
            SyntaxErrorKind::Utf16 => "save the file as UTF-8".to_owned(),
            SyntaxErrorKind::Version(_) => {
                "write three numbers from 0 to 65535, as in `policy_version=1.0.7`".to_owned()
            }
        }
    }

    fn help_for_property(&self, found: &str) -> String {
        if found.starts_with("action=") {
            return "the action is the last word of its line".to_owned();
        }
        if found.starts_with("op=") {
            return "a line has one operation: write another line for this one".to_owned();
        }
        let key = found.split('=').next().unwrap_or_default();
        let known: Vec<_> =
            self.kernel.properties().iter().map(|property| property.keyword()).collect();
        match nearest(key, &known) {
            Some(property) if property == key => format!("write a value: `{property}=…`"),
            Some(property) => format!("did you mean `{property}`?"),
            None => format!("Linux {} knows {}", self.kernel, known.join(", ")),
        }
    }
}

/// Finds the word that somebody meant, whatever the case of the letters.
fn nearest<'a>(found: &str, known: &[&'a str]) -> Option<&'a str> {
    let found: String = found.chars().take(80).collect();
    let distance = |word: &str| {
        strsim::damerau_levenshtein(&found.to_ascii_lowercase(), &word.to_ascii_lowercase())
    };
    let (word, distance) =
        known.iter().map(|word| (*word, distance(word))).min_by_key(|(_, distance)| *distance)?;
    (distance <= word.len() / 4).then_some(word)
}

fn of_operation(operation: Option<Operation>) -> String {
    operation.map_or_else(|| " of all".to_owned(), |operation| format!(" of {operation}"))
}

fn list(operations: &[Operation]) -> String {
    if operations.len() == Operation::ALL.len() {
        return "any operation".to_owned();
    }
    let names: Vec<_> = operations.iter().map(|operation| operation.keyword()).collect();
    names.join(", ")
}

const ACTIONS: &[&str] = &["action=ALLOW", "action=DENY"];
