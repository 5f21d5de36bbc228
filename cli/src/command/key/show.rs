//! `osguard key show`.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use libverity::certificate::Certificate;
use libverity::pkcs7::{self, MAX_ROOT_HASH_SIGNATURE_BYTES};
use serde::Serialize;

use crate::exit_status::ExitStatus;
use crate::failure::Failure;
use crate::output::{Output, Report};
use crate::small_file;

/// Explain a certificate, a signature or a signed policy: who, what, and would the kernel take it
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// A certificate in PEM or DER, the signature of a root hash, or a signed policy
    #[arg(value_name = "FILE")]
    file: PathBuf,
}

#[derive(Serialize)]
struct ShowReport {
    file: PathBuf,
    #[serde(flatten)]
    contents: Contents,
}

#[derive(Serialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
enum Contents {
    Certificates { certificates: Vec<CertificateReport> },
    RootHashSignature { signers: Vec<String>, certificates: Vec<CertificateReport> },
    SignedPolicy { signers: Vec<String>, certificates: Vec<CertificateReport>, policy: String },
}

#[derive(Serialize)]
struct CertificateReport {
    subject: String,
    issuer: String,
    serial: String,
    subject_key_identifier: Option<String>,
    public_key: String,
    self_signed: bool,
    expired: bool,
    /// Why the kernel would not load it into a keyring, if so.
    #[serde(skip_serializing_if = "Option::is_none")]
    not_loadable: Option<String>,
}

impl Report for ShowReport {
    const SCHEMA: &'static str = "osguard.key.show.v1";

    fn text(&self, out: &mut dyn Write) -> io::Result<()> {
        let file = self.file.display();
        let certificates = match &self.contents {
            Contents::Certificates { certificates } => certificates,
            Contents::RootHashSignature { signers, certificates } => {
                writeln!(out, "{file}: a detached signature, as of a root hash")?;
                signed_by(signers, out)?;
                certificates
            }
            Contents::SignedPolicy { signers, certificates, policy } => {
                writeln!(out, "{file}: a signed policy")?;
                signed_by(signers, out)?;
                writeln!(out, "Policy:")?;
                policy.lines().try_for_each(|line| writeln!(out, "  {}", line.escape_debug()))?;
                certificates
            }
        };
        certificates.iter().try_for_each(|certificate| certificate.text(out))
    }
}

impl CertificateReport {
    fn new(certificate: &Certificate) -> Self {
        Self {
            subject: certificate.subject(),
            issuer: certificate.issuer(),
            serial: certificate.serial(),
            subject_key_identifier: certificate.subject_key_identifier(),
            public_key: certificate.public_key().to_string(),
            self_signed: certificate.is_self_signed(),
            expired: certificate.is_expired_at(SystemTime::now()),
            not_loadable: certificate.loadable().err().map(|reason| reason.to_string()),
        }
    }

    fn text(&self, out: &mut dyn Write) -> io::Result<()> {
        writeln!(out, "Certificate of {}", self.subject)?;
        let own = if self.self_signed { " (itself)" } else { "" };
        writeln!(out, "  issued by  {}{own}", self.issuer)?;
        writeln!(out, "  serial     {}", self.serial)?;
        if let Some(identifier) = &self.subject_key_identifier {
            writeln!(out, "  key id     {identifier}")?;
        }
        writeln!(out, "  key        {}", self.public_key)?;
        if self.expired {
            writeln!(out, "  expired, for which the kernel does not care")?;
        }
        match &self.not_loadable {
            None => writeln!(out, "  the kernel would load it into a keyring"),
            Some(reason) => writeln!(out, "  the kernel would not load it: {reason}"),
        }
    }
}

pub(super) fn run(arguments: &Arguments, output: &Output) -> Result<ExitStatus, Failure> {
    let path = &arguments.file;
    let bytes = small_file::read(path)?;
    let contents = explain(path, &bytes)?;
    if let Contents::RootHashSignature { .. } = contents
        && bytes.len() > MAX_ROOT_HASH_SIGNATURE_BYTES
    {
        output.warning(format_args!(
            "the kernel takes at most {MAX_ROOT_HASH_SIGNATURE_BYTES} bytes of signature, and this has {}",
            bytes.len()
        ));
    }
    output.report(&ShowReport { file: path.clone(), contents })?;
    Ok(ExitStatus::Done)
}

fn explain(path: &Path, bytes: &[u8]) -> Result<Contents, Failure> {
    if let Ok(certificates) = Certificate::all_from_file_contents(bytes) {
        let certificates = certificates.iter().map(CertificateReport::new).collect();
        return Ok(Contents::Certificates { certificates });
    }
    if bytes.windows(PRIVATE_KEY.len()).any(|window| window == PRIVATE_KEY) {
        return Err(Failure::new(
            ExitStatus::Usage,
            format!("{} holds a private key, which is shown to nobody", path.display()),
        )
        .hint("Show its certificate instead."));
    }
    let message = pkcs7::inspect(bytes).map_err(|refusal| {
        let errno = refusal.errno().map(|errno| format!(" (the kernel: {errno})"));
        let errno = errno.unwrap_or_default();
        Failure::new(
            ExitStatus::Usage,
            format!("{}: neither a certificate nor a signature: {refusal}{errno}", path.display()),
        )
    })?;
    let signers = message.signers.iter().map(ToString::to_string).collect();
    let certificates = message.certificates.iter().map(CertificateReport::new).collect();
    Ok(match message.content {
        None => Contents::RootHashSignature { signers, certificates },
        Some(content) => Contents::SignedPolicy {
            signers,
            certificates,
            policy: String::from_utf8_lossy(content).into_owned(),
        },
    })
}

fn signed_by(signers: &[String], out: &mut dyn Write) -> io::Result<()> {
    signers.iter().try_for_each(|signer| writeln!(out, "Signed by {signer}"))
}

/// What PEM files of private keys have in their first line, whatever their kind.
const PRIVATE_KEY: &[u8] = b"PRIVATE KEY-----";
