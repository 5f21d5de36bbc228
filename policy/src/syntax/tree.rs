//! What a policy says, piece by piece, and where.

use std::fmt;

use super::span::Span;
use crate::kernel_version::KernelVersion;
use crate::version::PolicyVersion;
use crate::vocabulary::{Action, Operation, PropertyName};

/// Is a policy that the kernel takes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    /// The kernel for which it was parsed.
    pub kernel: KernelVersion,
    /// The first line.
    pub header: HeaderLine,
    /// All other lines, in order; the order counts.
    pub statements: Vec<Statement>,
}

impl Policy {
    /// Returns the rules for an operation, in order: the first that matches decides.
    pub fn rules(&self, operation: Operation) -> impl Iterator<Item = &Rule> {
        self.statements.iter().filter_map(move |statement| match statement {
            Statement::Rule(rule) if rule.operation.value == operation => Some(rule),
            _ => None,
        })
    }

    /// Returns what holds for an operation where no rule matches, if the policy says so.
    pub fn default_of(&self, operation: Operation) -> Option<&DefaultRule> {
        self.defaults()
            .find(|default| default.operation.is_some_and(|named| named.value == operation))
    }

    /// Returns what holds for everything else.
    pub fn global_default(&self) -> Option<&DefaultRule> {
        self.defaults().find(|default| default.operation.is_none())
    }

    fn defaults(&self) -> impl Iterator<Item = &DefaultRule> {
        self.statements.iter().filter_map(|statement| match statement {
            Statement::Default(default) => Some(default),
            Statement::Rule(_) => None,
        })
    }
}

/// Is a value, and where in the text it stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Spanned<T> {
    /// The value.
    pub value: T,
    /// Where its word is.
    pub span: Span,
}

/// Is the line by which a policy names itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeaderLine {
    /// The name, which is any bytes but a few.
    pub name: Spanned<Vec<u8>>,
    /// The version.
    pub version: Spanned<PolicyVersion>,
    /// The whole line.
    pub span: Span,
}

/// Is a line after the first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Statement {
    /// What holds where no rule matches.
    Default(DefaultRule),
    /// A rule.
    Rule(Rule),
}

impl Statement {
    /// Returns where it stands.
    pub fn span(&self) -> Span {
        match self {
            Self::Default(default) => default.span,
            Self::Rule(rule) => rule.span,
        }
    }
}

/// Is `DEFAULT action=…` or `DEFAULT op=… action=…`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DefaultRule {
    /// The operation, none where it is for all.
    pub operation: Option<Spanned<Operation>>,
    /// What happens.
    pub action: Spanned<Action>,
    /// The whole line.
    pub span: Span,
}

impl fmt::Display for DefaultRule {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("DEFAULT ")?;
        if let Some(operation) = self.operation {
            write!(formatter, "op={} ", operation.value)?;
        }
        write!(formatter, "action={}", self.action.value)
    }
}

/// Is `op=… PROPERTY… action=…`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// The operation.
    pub operation: Spanned<Operation>,
    /// What has to be true, all of it; with none, the rule matches always.
    pub properties: Vec<Spanned<Property>>,
    /// What happens then.
    pub action: Spanned<Action>,
    /// The whole line.
    pub span: Span,
}

impl fmt::Display for Rule {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "op={} ", self.operation.value)?;
        for property in &self.properties {
            write!(formatter, "{} ", property.value)?;
        }
        write!(formatter, "action={}", self.action.value)
    }
}

/// Is something that is true of a file, or not.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Property {
    /// The file lies in the initramfs, or does not.
    BootVerified(bool),
    /// The file lies on the dm-verity volume of this root hash.
    DmVerityRootHash(DigestValue),
    /// The file lies on a dm-verity volume whose root hash is signed, or does not.
    DmVeritySignature(bool),
    /// The file has this fs-verity digest.
    FsVerityDigest(DigestValue),
    /// The file's fs-verity digest has a signature, or not.
    FsVeritySignature(bool),
}

impl Property {
    /// Returns its name.
    pub const fn name(&self) -> PropertyName {
        match self {
            Self::BootVerified(_) => PropertyName::BootVerified,
            Self::DmVerityRootHash(_) => PropertyName::DmVerityRootHash,
            Self::DmVeritySignature(_) => PropertyName::DmVeritySignature,
            Self::FsVerityDigest(_) => PropertyName::FsVerityDigest,
            Self::FsVeritySignature(_) => PropertyName::FsVeritySignature,
        }
    }

    /// Returns its digest, if it has one.
    pub const fn digest(&self) -> Option<&DigestValue> {
        match self {
            Self::DmVerityRootHash(digest) | Self::FsVerityDigest(digest) => Some(digest),
            _ => None,
        }
    }

    /// Returns its truth value, if it has one.
    pub const fn truth(&self) -> Option<bool> {
        match self {
            Self::BootVerified(truth)
            | Self::DmVeritySignature(truth)
            | Self::FsVeritySignature(truth) => Some(*truth),
            _ => None,
        }
    }
}

impl fmt::Display for Property {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}=", self.name())?;
        match (self.truth(), self.digest()) {
            (Some(true), _) => formatter.write_str("TRUE"),
            (Some(false), _) => formatter.write_str("FALSE"),
            (None, Some(digest)) => write!(formatter, "{digest}"),
            (None, None) => Ok(()),
        }
    }
}

/// Is a digest as the kernel takes it: any name of an algorithm, and any number of bytes.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DigestValue {
    /// What stands before the first colon.
    pub algorithm: Vec<u8>,
    /// The bytes.
    pub bytes: Vec<u8>,
}

impl fmt::Display for DigestValue {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let algorithm = String::from_utf8_lossy(&self.algorithm);
        write!(formatter, "{algorithm}:{}", hex::encode(&self.bytes))
    }
}
