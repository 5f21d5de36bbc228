//! `osguard key show`.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use libverity::certificate::Certificate;
use libverity::pkcs7::{self, MAX_ROOT_HASH_SIGNATURE_BYTES, Refusal, verify_policy};
use libverity::signer::{FileSigner, OpenError, SignatureAlgorithm};
use osguard_signer::key_reference::KeyReference;
use serde::Serialize;
use zeroize::Zeroizing;

use crate::exit_status::ExitStatus;
use crate::failure::Failure;
use crate::output::{Output, Report};
use crate::passphrase::PassphraseArguments;
use crate::signing::{certificates, key_and_value, open_signer, parse_key};
use crate::small_file;

/// Explain a key, a certificate, a signature or a signed policy: who, what, and would the kernel take it
///
/// Of a private key only its certificate is shown, and whether the two belong together.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// A certificate in PEM or DER, the signature of a root hash, a signed policy, a private key; or a key in a token
    /// (pkcs11:…) or behind a plugin (plugin:NAME/KEYID)
    #[arg(value_name = "FILE|KEY")]
    file: String,
    /// The certificate of the key, where it is elsewhere than with the key
    #[arg(long, value_name = "FILE")]
    cert: Option<PathBuf>,
    /// Tell the plugin something; may be repeated
    #[arg(long, value_name = "KEY=VALUE", value_parser = key_and_value)]
    plugin_config: Vec<(String, String)>,
    #[command(flatten)]
    passphrase: PassphraseArguments,
}

#[derive(Serialize)]
struct ShowReport {
    file: String,
    #[serde(flatten)]
    contents: Contents,
}

#[derive(Serialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
enum Contents {
    Certificates {
        certificates: Vec<CertificateReport>,
    },
    PrivateKey {
        algorithm: Option<String>,
        /// Encrypted under a passphrase; whether the certificate is its own is then not known.
        encrypted: bool,
        certificates: Vec<CertificateReport>,
    },
    RootHashSignature {
        signers: Vec<String>,
        certificates: Vec<CertificateReport>,
    },
    SignedPolicy {
        signers: Vec<String>,
        certificates: Vec<CertificateReport>,
        policy: String,
        /// Why the kernel would refuse it, even where it trusts the certificates in it.
        #[serde(skip_serializing_if = "Option::is_none")]
        refused: Option<String>,
    },
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
        let file = &self.file;
        let certificates = match &self.contents {
            Contents::Certificates { certificates } => certificates,
            Contents::RootHashSignature { signers, certificates } => {
                writeln!(out, "{file}: a detached signature, as of a root hash")?;
                signed_by(signers, out)?;
                certificates
            }
            Contents::PrivateKey { algorithm, encrypted, certificates } => {
                let is_encrypted = if *encrypted { ", encrypted" } else { "" };
                match algorithm {
                    Some(algorithm) => writeln!(
                        out,
                        "{file}: a private key{is_encrypted}; it signs with {algorithm}"
                    )?,
                    None => writeln!(
                        out,
                        "{file}: a private key{is_encrypted}, without a certificate beside it"
                    )?,
                }
                certificates
            }
            Contents::SignedPolicy { signers, certificates, policy, refused } => {
                writeln!(out, "{file}: a signed policy")?;
                signed_by(signers, out)?;
                match refused {
                    None => writeln!(out, "The kernel would take it where it trusts the signer")?,
                    Some(reason) => writeln!(out, "The kernel would refuse it: {reason}")?,
                }
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
    let file = &arguments.file;
    let contents = match parse_key(file)? {
        KeyReference::File(path) => {
            let bytes = Zeroizing::new(small_file::read(&path)?);
            let contents = arguments.explain(&path, &bytes)?;
            if let Contents::RootHashSignature { .. } = contents
                && bytes.len() > MAX_ROOT_HASH_SIGNATURE_BYTES
            {
                output.warning(format_args!(
                    "the kernel takes at most {MAX_ROOT_HASH_SIGNATURE_BYTES} bytes of signature, and this has {}",
                    bytes.len()
                ));
            }
            contents
        }
        _ => arguments.explain_elsewhere()?,
    };
    output.report(&ShowReport { file: file.clone(), contents })?;
    Ok(ExitStatus::Done)
}

impl Arguments {
    /// Explains what a file holds.
    fn explain(&self, path: &Path, bytes: &[u8]) -> Result<Contents, Failure> {
        if let Ok(certificates) = Certificate::all_from_file_contents(bytes) {
            return Ok(Contents::Certificates { certificates: reports(&certificates) });
        }
        match bytes.windows(PRIVATE_KEY.len()).any(|window| window == PRIVATE_KEY) {
            true => self.explain_private_key(path, bytes),
            false => explain_message(path, bytes),
        }
    }

    /// Explains a private key by its certificate. No passphrase is asked for: what it would show stays hidden.
    fn explain_private_key(&self, path: &Path, bytes: &[u8]) -> Result<Contents, Failure> {
        let beside = path.with_extension("crt");
        let certificates = match &self.cert {
            Some(file) => certificates(file)?,
            None if beside.exists() => certificates(&beside)?,
            None => {
                let encrypted = bytes.windows(ENCRYPTED.len()).any(|window| window == ENCRYPTED);
                let (algorithm, certificates) = (None, Vec::new());
                return Ok(Contents::PrivateKey { algorithm, encrypted, certificates });
            }
        };
        let certificate = certificates[0].clone();
        let algorithm = SignatureAlgorithm::for_key(certificate.public_key());
        let mut is_encrypted = false;
        let mut nobody = || {
            is_encrypted = true;
            Err(io::ErrorKind::Unsupported.into())
        };
        match FileSigner::from_contents(path, bytes, certificate, &mut nobody) {
            Ok(_) | Err(OpenError::Passphrase { .. }) => {}
            Err(error) => return Err(Failure::from_error(ExitStatus::Usage, error)),
        }
        Ok(Contents::PrivateKey {
            algorithm: algorithm.ok().map(|algorithm| algorithm.to_string()),
            encrypted: is_encrypted,
            certificates: reports(&certificates),
        })
    }

    /// Explains a key in a token or behind a plugin.
    fn explain_elsewhere(&self) -> Result<Contents, Failure> {
        let config = self.plugin_config.iter().cloned().collect();
        let certificate = self.cert.as_deref();
        let mut ask = |prompt: &str| self.passphrase.obtain(prompt);
        let signer = open_signer(&self.file, certificate, config, &mut ask)?;
        let certificates =
            [std::slice::from_ref(signer.certificate()), signer.intermediates()].concat();
        Ok(Contents::PrivateKey {
            algorithm: Some(signer.algorithm().to_string()),
            encrypted: false,
            certificates: reports(&certificates),
        })
    }
}

fn reports(certificates: &[Certificate]) -> Vec<CertificateReport> {
    certificates.iter().map(CertificateReport::new).collect()
}

fn explain_message(path: &Path, bytes: &[u8]) -> Result<Contents, Failure> {
    let message = pkcs7::inspect(bytes).map_err(|refusal| {
        let errno = refusal.errno().map(|errno| format!(" (the kernel: {errno})"));
        let errno = errno.unwrap_or_default();
        Failure::new(
            ExitStatus::Usage,
            format!("{}: neither a certificate nor a signature: {refusal}{errno}", path.display()),
        )
    })?;
    let signers = message.signers.iter().map(ToString::to_string).collect();
    let certificates = reports(&message.certificates);
    Ok(match message.content {
        None => Contents::RootHashSignature { signers, certificates },
        Some(content) => Contents::SignedPolicy {
            signers,
            certificates,
            policy: String::from_utf8_lossy(content).into_owned(),
            refused: verify_policy(bytes, &message.certificates)
                .err()
                .filter(|refusal| !matches!(refusal, Refusal::UnknownSigner { .. }))
                .map(in_words),
        },
    })
}

/// Tells why a message is refused, with the kernel's error. A signer whose certificate is not in it is no
/// reason: it may be in the kernel's keyring.
fn in_words(refusal: Refusal) -> String {
    match refusal.errno() {
        Some(errno) => format!("{refusal} ({errno})"),
        None => refusal.to_string(),
    }
}

fn signed_by(signers: &[String], out: &mut dyn Write) -> io::Result<()> {
    signers.iter().try_for_each(|signer| writeln!(out, "Signed by {signer}"))
}

/// What PEM files of private keys have in their first line, whatever their kind.
const PRIVATE_KEY: &[u8] = b"PRIVATE KEY-----";

/// What those have that are encrypted.
const ENCRYPTED: &[u8] = b"ENCRYPTED";
