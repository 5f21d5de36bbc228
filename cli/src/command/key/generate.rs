//! `osguard key generate`.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use clap::ValueEnum;
use libverity::certificate::{self, GenerateError, KeyKind, Role};
use libverity::signer::Signer;
use serde::Serialize;

use crate::exit_status::ExitStatus;
use crate::failure::Failure;
use crate::output::{Output, Report};
use crate::passphrase::{PassphraseArguments, Source};
use crate::signing::open_signer;

/// Make a private key and a certificate that the kernel and UEFI accept
///
/// Writes NAME.key (readable by you alone) and NAME.crt, both in PEM. Existing files are never overwritten. The
/// certificate signs itself, or is signed by an authority: make that one with --ca, have the kernel trust it alone,
/// and give each signer a key of its own with --issuer.
#[derive(Debug, clap::Args)]
#[command(after_help = TRUST)]
pub(crate) struct Arguments {
    /// Where to write, without the endings
    #[arg(value_name = "NAME")]
    name: PathBuf,
    /// The kind of key
    #[arg(long, value_enum, default_value_t)]
    kind: Kind,
    /// The subject of the certificate [default: the last part of NAME]
    #[arg(long, value_name = "COMMON_NAME")]
    subject: Option<String>,
    /// Make an authority: its key signs certificates, and neither images nor policies
    #[arg(long, conflicts_with = "issuer")]
    ca: bool,
    /// Have the certificate signed by this key of an authority: a file, pkcs11:… or plugin:NAME/KEYID
    #[arg(long, value_name = "KEY")]
    issuer: Option<String>,
    /// The authority's certificate [default: the file with the name of its key and the ending .crt]
    #[arg(long, value_name = "FILE", requires = "issuer")]
    issuer_cert: Option<PathBuf>,
    /// Read the passphrase or the PIN of the authority's key from the first line of this file
    ///
    /// Without it the environment variable OSGUARD_ISSUER_PASSPHRASE is taken where it is set, and else the terminal
    /// is asked.
    #[arg(long, value_name = "FILE", requires = "issuer")]
    issuer_passphrase_file: Option<PathBuf>,
    /// How long tools other than the kernel take the certificate for valid
    #[arg(long, value_name = "DAYS", default_value_t = 3650)]
    days: u32,
    /// Encrypt the private key under a passphrase
    #[arg(long)]
    encrypt: bool,
    #[command(flatten)]
    passphrase: PassphraseArguments,
}

/// The kinds of keys, by the names that the library prints.
#[derive(Clone, Copy, Debug, Default, ValueEnum)]
enum Kind {
    EcP256,
    EcP384,
    EcP521,
    #[default]
    #[value(name = "rsa-2048")]
    Rsa2048,
    #[value(name = "rsa-3072")]
    Rsa3072,
    #[value(name = "rsa-4096")]
    Rsa4096,
}

impl From<Kind> for KeyKind {
    fn from(kind: Kind) -> Self {
        match kind {
            Kind::EcP256 => Self::EcP256,
            Kind::EcP384 => Self::EcP384,
            Kind::EcP521 => Self::EcP521,
            Kind::Rsa2048 => Self::Rsa2048,
            Kind::Rsa3072 => Self::Rsa3072,
            Kind::Rsa4096 => Self::Rsa4096,
        }
    }
}

#[derive(Serialize)]
struct GenerateReport {
    key: PathBuf,
    certificate: PathBuf,
    kind: String,
    subject: String,
    subject_key_identifier: Option<String>,
    /// The subject of the authority that signed the certificate, where it is another.
    #[serde(skip_serializing_if = "Option::is_none")]
    issuer: Option<String>,
    /// Whether the key signs certificates alone.
    authority: bool,
}

impl Report for GenerateReport {
    const SCHEMA: &'static str = "osguard.key.generate.v1";

    fn text(&self, out: &mut dyn Write) -> io::Result<()> {
        writeln!(out, "Private key:  {}", self.key.display())?;
        writeln!(out, "Certificate:  {}", self.certificate.display())?;
        writeln!(out, "Subject:      {} ({})", self.subject, self.kind)?;
        if let Some(identifier) = &self.subject_key_identifier {
            writeln!(out, "Key id:       {identifier}")?;
        }
        if let Some(issuer) = &self.issuer {
            writeln!(out, "Issued by:    {issuer}")?;
            writeln!(
                out,
                "\nWhere the kernel trusts the certificate of {issuer}, it trusts this one, too. To have it \
                 trusted alone:"
            )?;
        }
        if self.authority {
            let key = self.key.display();
            writeln!(out, "\nA key for each signer: osguard key generate SIGNER --issuer {key}")?;
            writeln!(out, "Keep {key} offline otherwise.")?;
        }
        let name = self.certificate.with_extension("");
        writeln!(out, "\n{}", TRUST.replace("NAME", &name.display().to_string()))
    }
}

pub(super) fn run(arguments: &Arguments, output: &Output) -> Result<ExitStatus, Failure> {
    let Arguments { name, kind, subject, days, encrypt, passphrase, .. } = arguments;
    let file_name = name.file_name().ok_or_else(|| {
        Failure::new(ExitStatus::Usage, format!("{} does not name a file", name.display()))
    })?;
    let common_name = match subject {
        Some(subject) => subject.clone(),
        None => file_name.to_string_lossy().into_owned(),
    };
    let passphrase = passphrase.for_new_key(*encrypt)?;
    let validity = Duration::from_secs(u64::from(*days) * 24 * 60 * 60);
    let kind = KeyKind::from(*kind);
    let issuer = arguments.issuer()?;
    let role = match &issuer {
        Some(issuer) => Role::IssuedBy(&**issuer),
        None if arguments.ca => Role::Authority,
        None => Role::SelfSigned,
    };
    let generated = certificate::generate_as(role, kind, &common_name, SystemTime::now(), validity)
        .map_err(failure)?;
    let key = with_ending(name, "key");
    let certificate = with_ending(name, "crt");
    let secret = passphrase.as_ref().map(|secret| secret.as_slice());
    generated.write(&key, &certificate, secret).map_err(failure)?;
    output.report(&GenerateReport {
        key,
        certificate,
        kind: kind.to_string(),
        subject: generated.certificate().subject(),
        subject_key_identifier: generated.certificate().subject_key_identifier(),
        issuer: issuer.map(|issuer| issuer.certificate().subject()),
        authority: arguments.ca,
    })?;
    Ok(ExitStatus::Done)
}

impl Arguments {
    /// Opens the key of the authority, if there is one.
    fn issuer(&self) -> Result<Option<Box<dyn Signer>>, Failure> {
        let Some(key) = &self.issuer else { return Ok(None) };
        let source = Source {
            file: self.issuer_passphrase_file.clone(),
            variable: "OSGUARD_ISSUER_PASSPHRASE",
        };
        let mut passphrase = |prompt: &str| source.obtain(&format!("{key}: {prompt}"));
        let certificate = self.issuer_cert.as_deref();
        open_signer(key, certificate, BTreeMap::new(), &mut passphrase).map(Some)
    }
}

/// Appends an ending; one that the name has already stays, `v1.2` becomes `v1.2.key`.
fn with_ending(name: &Path, ending: &str) -> PathBuf {
    let mut path = name.as_os_str().to_owned();
    path.push(".");
    path.push(ending);
    path.into()
}

fn failure(error: GenerateError) -> Failure {
    match error {
        GenerateError::Validity => {
            Failure::from_error(ExitStatus::Usage, error).hint("--days is counted from today.")
        }
        GenerateError::Issuer { .. } => Failure::from_error(ExitStatus::Usage, error)
            .hint("`osguard key generate --ca` makes an authority."),
        GenerateError::CommonName { .. } => Failure::from_error(ExitStatus::Usage, error)
            .hint("--subject gives the certificate another name than the file."),
        GenerateError::Create { ref source, .. }
            if source.kind() == io::ErrorKind::AlreadyExists =>
        {
            Failure::from_error(ExitStatus::Usage, error)
                .hint("A key is never overwritten: choose another name.")
        }
        GenerateError::Create { ref source, .. } if source.kind() == io::ErrorKind::NotFound => {
            Failure::from_error(ExitStatus::NotFound, error)
                .hint("The directory does not exist: make it, or choose another one.")
        }
        _ => Failure::from_error(ExitStatus::Failure, error),
    }
}

const TRUST: &str = "\
The kernel trusts signatures by this key once it has the certificate:
  in DER       openssl x509 -in NAME.crt -outform der -out NAME.der
  UEFI db      enrol NAME.der in the firmware set-up
  MOK          mokutil --import NAME.der, then reboot (needs Secure Boot)
  Linux 7.0+   keyctl padd asymmetric '' %keyring:.dm-verity < NAME.der, booted with
               dm_verity.keyring_unsealed=1, then keyctl restrict_keyring %keyring:.dm-verity
               (for layers only, not for policies)
  own kernel   CONFIG_SYSTEM_TRUSTED_KEYS=NAME.crt";
