//! `osguard policy sign`.

use std::io::{self, Write};
use std::path::PathBuf;

use libverity::digest::Digest;
use libverity::pkcs7::Embedding;
use libverity::signer::Signer;
use osguard_policy::blob::SignedPolicy;
use osguard_policy::sign::{SignPolicyError, sign};
use serde::Serialize;

use crate::exit_status::ExitStatus;
use crate::failure::Failure;
use crate::output::{Output, Report};
use crate::signing::SigningArguments;
use crate::small_file;
use crate::two_steps::{given_signatures, read_signature};

/// Sign the text of a policy so that the kernel takes it
///
/// The kernel accepts policies by keys in its builtin, secondary and platform keyrings.
#[derive(Debug, clap::Args)]
#[command(mut_arg("key", |key| key.required(false).required_unless_present("signature")))]
pub(crate) struct Arguments {
    /// The text of the policy
    #[arg(value_name = "POLICY")]
    policy: PathBuf,
    /// The file to write, which must not exist [default: POLICY with the ending .p7b]
    #[arg(value_name = "FILE")]
    file: Option<PathBuf>,
    #[command(flatten)]
    signing: SigningArguments,
    /// Take the signature that was made elsewhere of the file POLICY as it is
    ///
    /// For example by `openssl dgst -sha256 -sign KEY POLICY`: RSA PKCS#1 v1.5 with SHA-256, or ECDSA with SHA-256,
    /// SHA-384 or SHA-512 as the curve has it; as bytes or in base64.
    #[arg(long, value_name = "FILE", conflicts_with = "key", requires = "cert")]
    signature: Option<PathBuf>,
}

#[derive(Serialize)]
struct SignReport {
    name: String,
    version: String,
    file: PathBuf,
    size_bytes: usize,
    /// By which audit records name the policy.
    digest: Digest,
    signer: String,
}

impl Report for SignReport {
    const SCHEMA: &'static str = "osguard.policy.sign.v1";

    fn text(&self, out: &mut dyn Write) -> io::Result<()> {
        let Self { name, version, file, size_bytes, digest, signer } = self;
        writeln!(out, "Policy {name} {version}, signed by {signer}: {}", file.display())?;
        writeln!(out, "{size_bytes} bytes, {digest}")
    }
}

pub(super) fn run(arguments: &Arguments, output: &Output) -> Result<ExitStatus, Failure> {
    let path = &arguments.policy;
    let text = small_file::read(path)?;
    let signer: Box<dyn Signer> = match &arguments.signature {
        None => arguments.signing.signer()?,
        Some(signature) => {
            let mut signer = given_signatures(&arguments.signing.certificates()?)?;
            let inserted = signer.insert(text.clone(), &read_signature(signature)?);
            inserted.map_err(|error| {
                Failure::from_error(ExitStatus::Usage, error).context(signature.display())
            })?;
            Box::new(signer)
        }
    };
    let signed = sign(&text, &*signer, Embedding::Certificate).map_err(|error| {
        let status = match error {
            SignPolicyError::Sign(_) => ExitStatus::Failure,
            _ => ExitStatus::Usage,
        };
        let is_syntax = matches!(error, SignPolicyError::Syntax(_));
        let failure = Failure::from_error(status, error).context(path.display());
        if is_syntax {
            let lint = format!("`osguard policy lint {}`", path.display());
            return failure.hint(format!("{lint} shows the line and a way out."));
        }
        match SignedPolicy::read(text.clone()) {
            Ok(_) => failure.hint("This is a signed policy already; sign its text."),
            Err(_) => failure,
        }
    })?;
    let file = arguments.file.clone().unwrap_or_else(|| path.with_extension("p7b"));
    super::write_new(&file, signed.as_bytes())?;
    output.report(&SignReport {
        name: signed.header().name.to_string(),
        version: signed.header().version.to_string(),
        file,
        size_bytes: signed.as_bytes().len(),
        digest: signed.digest(),
        signer: signer.certificate().subject(),
    })?;
    Ok(ExitStatus::Done)
}
