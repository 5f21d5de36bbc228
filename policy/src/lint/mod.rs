//! Policies that the kernel takes and nobody means.
//!
//! Each [`Lint`] has a number that never changes and is described, with a bad and a good example, in
//! `docs/policy-lints.md`.

mod condition;
mod order;
mod outside;
mod rules;
mod text;

use crate::diagnostic::{Diagnostic, Severity};
use crate::kernel_config::KernelConfig;
use crate::kernel_version::KernelVersion;
use crate::syntax::{Span, parse};

/// Is what a policy is looked at with.
#[derive(Clone, Debug, Default)]
pub struct Linter {
    kernel: KernelVersion,
    config: Option<KernelConfig>,
    blob_bytes: Option<usize>,
    file_stem: Option<String>,
}

impl Linter {
    /// Looks at policies for `kernel`.
    pub fn new(kernel: KernelVersion) -> Self {
        Self { kernel, ..Self::default() }
    }

    /// Looks for what this kernel was built without, too.
    #[must_use]
    pub fn config(mut self, config: KernelConfig) -> Self {
        self.config = Some(config);
        self
    }

    /// Takes into account that the text is part of a signed policy of this size, in a file whose name
    /// without the ending is `file_stem`.
    #[must_use]
    pub fn blob(mut self, bytes: usize, file_stem: Option<&str>) -> Self {
        self.blob_bytes = Some(bytes);
        self.file_stem = file_stem.map(str::to_owned);
        self
    }

    /// Returns what is wrong with the text: what the kernel refuses, or else what the lints find, in the
    /// order of the text.
    pub fn lint(&self, text: &[u8]) -> Vec<Diagnostic> {
        let policy = match parse(text, self.kernel) {
            Ok(policy) => policy,
            Err(errors) => return errors.all().iter().map(Diagnostic::from).collect(),
        };
        let mut findings = Findings { found: Vec::new() };
        text::lint(text, &policy, &mut findings);
        rules::lint(&policy, &mut findings);
        order::lint(&policy, &mut findings);
        outside::lint(self, text, &policy, &mut findings);
        findings.found.sort_by_key(|finding| (finding.span, finding.code));
        findings.found
    }
}

/// Is one thing that is looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Lint {
    /// A NUL byte ends the policy, whatever follows.
    NulByte,
    /// A comment starts inside a word.
    CommentInWord,
    /// No volume and no file has a digest of this algorithm.
    UnknownAlgorithm,
    /// A digest has another length than its algorithm's.
    DigestLength,
    /// The properties of a rule are never true together.
    Contradiction,
    /// An earlier rule decides otherwise, always.
    Unreachable,
    /// The rule changes nothing.
    Redundant,
    /// An exception is denied after a rule that has allowed it already.
    LateDenial,
    /// There is no default for operations to come.
    NoGlobalDefault,
    /// A property stands in a rule twice.
    RepeatedProperty,
    /// The kernel was built without a property.
    PropertyNotBuilt,
    /// The kernel was built without IPE.
    KernelWithoutIpe,
    /// The kernel reads no signed policy of this size.
    TooLong,
    /// With a certificate in it, the signed policy may be too long.
    NearlyTooLong,
    /// The name makes trouble where it is used.
    TroublesomeName,
    /// The version is not written as the kernel shows it.
    OddVersion,
    /// What nobody vouches for is allowed, memory included.
    AllowsUnverified,
    /// Nothing at all can be executed.
    NothingRuns,
    /// The file is not named after the policy.
    FileName,
}

impl Lint {
    /// Lists all of them in the order of their numbers.
    pub const ALL: [Self; 19] = [
        Self::NulByte,
        Self::CommentInWord,
        Self::UnknownAlgorithm,
        Self::DigestLength,
        Self::Contradiction,
        Self::Unreachable,
        Self::Redundant,
        Self::LateDenial,
        Self::NoGlobalDefault,
        Self::RepeatedProperty,
        Self::PropertyNotBuilt,
        Self::KernelWithoutIpe,
        Self::TooLong,
        Self::NearlyTooLong,
        Self::TroublesomeName,
        Self::OddVersion,
        Self::AllowsUnverified,
        Self::NothingRuns,
        Self::FileName,
    ];

    /// Returns its number.
    pub const fn code(self) -> &'static str {
        match self {
            Self::NulByte => "OSG001",
            Self::CommentInWord => "OSG002",
            Self::UnknownAlgorithm => "OSG003",
            Self::DigestLength => "OSG004",
            Self::Contradiction => "OSG005",
            Self::Unreachable => "OSG006",
            Self::Redundant => "OSG007",
            Self::LateDenial => "OSG008",
            Self::NoGlobalDefault => "OSG009",
            Self::RepeatedProperty => "OSG010",
            Self::PropertyNotBuilt => "OSG011",
            Self::KernelWithoutIpe => "OSG012",
            Self::TooLong => "OSG013",
            Self::NearlyTooLong => "OSG014",
            Self::TroublesomeName => "OSG015",
            Self::OddVersion => "OSG016",
            Self::AllowsUnverified => "OSG017",
            Self::NothingRuns => "OSG018",
            Self::FileName => "OSG019",
        }
    }

    /// Tells how bad it is.
    pub const fn severity(self) -> Severity {
        match self {
            Self::CommentInWord
            | Self::FileName
            | Self::NearlyTooLong
            | Self::NoGlobalDefault
            | Self::OddVersion
            | Self::Redundant
            | Self::RepeatedProperty
            | Self::TroublesomeName => Severity::Warning,
            _ => Severity::Error,
        }
    }
}

/// Collects what the lints find.
struct Findings {
    found: Vec<Diagnostic>,
}

impl Findings {
    fn push(
        &mut self,
        lint: Lint,
        span: Span,
        message: impl Into<String>,
        help: impl Into<String>,
    ) {
        self.found.push(Diagnostic {
            severity: lint.severity(),
            code: Some(lint.code()),
            errno: None,
            message: message.into(),
            span: Some(span),
            help: help.into(),
        });
    }
}
