//! Policies in files: texts, and signed ones.

use std::fs::File;
use std::path::{Path, PathBuf};

use libverity::pkcs7::{self, Refusal};
use osguard_policy::diagnostic::{Diagnostic, Severity};
use osguard_policy::kernel_version::KernelVersion;
use osguard_policy::syntax::{Policy, SyntaxErrors, parse, position};
use serde::Serialize;

use crate::exit_status::ExitStatus;
use crate::failure::Failure;
use crate::small_file;

/// Is a policy as it was found in a file.
pub(in crate::command) struct Source {
    /// What the file is called in messages.
    pub(super) name: String,
    pub(super) kind: Kind,
    /// The text, which of a signed policy is what was signed.
    pub(super) text: Vec<u8>,
    pub(super) signers: Vec<String>,
    /// How long the signed policy is.
    pub(super) blob_bytes: Option<usize>,
    /// Why a signed policy cannot be read.
    pub(super) refusal: Option<Refusal>,
}

/// Tells what was in the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Kind {
    Signed,
    Text,
}

impl Source {
    /// Reads a file; `-` is standard input.
    pub(in crate::command) fn read(path: &Path) -> Result<Self, Failure> {
        if path == Path::new("-") {
            let bytes = small_file::read(Path::new("/dev/stdin"))?;
            return Ok(Self::new("standard input".to_owned(), bytes));
        }
        // A policy is no device; and where there is no end, nothing is read.
        if File::open(path).and_then(|file| file.metadata()).is_ok_and(|found| found.is_dir()) {
            let error = std::io::ErrorKind::IsADirectory.into();
            return Err(Failure::reading(path, error));
        }
        Ok(Self::new(path.display().to_string(), small_file::read(path)?))
    }

    /// Takes bytes from elsewhere.
    pub(super) fn new(name: String, bytes: Vec<u8>) -> Self {
        let plain = |kind, text, refusal| Self {
            name,
            kind,
            text,
            signers: Vec::new(),
            blob_bytes: None,
            refusal,
        };
        // A DER sequence; no policy starts with a zero and a byte beyond ASCII.
        if !matches!(bytes[..], [0x30, 0x80..=0xff, ..]) {
            return plain(Kind::Text, bytes, None);
        }
        match pkcs7::inspect(&bytes) {
            Err(refusal) => plain(Kind::Signed, Vec::new(), Some(refusal)),
            Ok(message) => match message.content {
                None => plain(Kind::Signed, Vec::new(), Some(Refusal::ContentMissing)),
                Some(content) => Self {
                    kind: Kind::Signed,
                    text: content.to_vec(),
                    signers: message.signers.iter().map(ToString::to_string).collect(),
                    blob_bytes: Some(bytes.len()),
                    ..plain(Kind::Signed, Vec::new(), None)
                },
            },
        }
    }

    /// Returns why a signed policy cannot be read, as something to be said about it.
    pub(super) fn refused(&self) -> Option<Diagnostic> {
        let refusal = self.refusal.as_ref()?;
        Some(Diagnostic {
            severity: Severity::Error,
            code: None,
            errno: refusal.errno(),
            message: format!("there is no policy in this signature: {refusal}"),
            span: None,
            help: "`osguard policy sign` signs a policy as the kernel takes it".to_owned(),
        })
    }

    /// Parses the policy for a command that has no use for a wrong one.
    pub(in crate::command) fn policy(&self, kernel: KernelVersion) -> Result<Policy, Failure> {
        if let Some(refusal) = &self.refusal {
            let message = format!("{}: there is no policy in this signature", self.name);
            return Err(Failure::from_error(ExitStatus::Usage, refusal.clone()).context(message));
        }
        parse(&self.text, kernel).map_err(|errors| self.wrong(&errors))
    }

    /// Fails because the kernel would refuse the text.
    pub(super) fn wrong(&self, errors: &SyntaxErrors) -> Failure {
        let name = &self.name;
        let place = errors.all().first().map_or_else(String::new, |first| {
            let place = position(&self.text, first.span.start);
            format!(":{}:{}", place.line, place.column)
        });
        let message = format!("{name}{place}: {errors} (the kernel: {})", errors.errno());
        Failure::new(ExitStatus::Usage, message)
            .hint(format!("`osguard policy lint {name}` shows the line and a way out."))
    }

    /// Fails because the file has to be a text and is a signed policy.
    pub(super) fn must_be_text(&self) -> Result<(), Failure> {
        match self.kind {
            Kind::Text => Ok(()),
            Kind::Signed => Err(Failure::new(
                ExitStatus::Usage,
                format!("{} is a signed policy, and its text is needed", self.name),
            )
            .hint("What is signed cannot be changed; keep the text that was signed.")),
        }
    }
}

/// For which kernel a policy is meant.
#[derive(Debug, clap::Args)]
pub(in crate::command) struct KernelArguments {
    /// The kernel whose policy language counts: 6.12 or 7.2; newer kernels take what these take
    #[arg(long, value_name = "VERSION", default_value_t)]
    pub(in crate::command) kernel: KernelVersion,
}

/// The files that a command looks at.
#[derive(Debug, clap::Args)]
pub(super) struct FileArguments {
    /// Policies; - is standard input
    #[arg(value_name = "FILE", required = true)]
    pub(super) files: Vec<PathBuf>,
}
