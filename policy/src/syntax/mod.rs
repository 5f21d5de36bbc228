//! The text of a policy: what the kernel's parser makes of it, and where in the text.
//!
//! ```text
//! # a comment, up to the end of the line
//! policy_name=NAME policy_version=1.0.0
//! DEFAULT action=ALLOW
//! DEFAULT op=EXECUTE action=DENY
//! op=EXECUTE dmverity_roothash=sha256:HEX dmverity_signature=TRUE action=ALLOW
//! ```
//!
//! [`parse`] takes exactly what the kernel takes, and refuses everything else with the kernel's own
//! error number. It differs in going on after an error, so that all are found at once.

mod error;
mod lexer;
mod parse;
mod span;
mod tree;

pub use error::{SyntaxError, SyntaxErrorKind, SyntaxErrors};
pub use parse::parse;
pub use span::{Position, Span, position};
pub use tree::{DefaultRule, DigestValue, HeaderLine, Policy, Property, Rule, Spanned, Statement};

pub(crate) use lexer::{lines, until_nul};
