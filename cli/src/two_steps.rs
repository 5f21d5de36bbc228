//! Signing in two steps: the bytes to be signed go out, and signatures made elsewhere come back.

use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use libverity::certificate::Certificate;
use libverity::digest::Digest;
use libverity::layer::Profile;
use libverity::pkcs7::{Embedding, sign_root_hash};
use libverity::signer::SignatureAlgorithm;
use osguard_registry::image::Image;
use osguard_registry::signing_request::{RequestedMessage, SigningRequest, SigningRequestError};
use osguard_signer::by_hand::GivenSignatures;
use serde::Serialize;

use crate::conversion::watch;
use crate::exit_status::ExitStatus;
use crate::failure::Failure;
use crate::image::Found;
use crate::output::{Output, Report};
use crate::small_file;

/// The flags of both steps.
#[derive(Debug, clap::Args)]
pub(crate) struct TwoStepArguments {
    /// Sign nothing, but write what is to be signed to this file, as JSON
    ///
    /// Whatever has the key then signs each root hash, as its lower-case hexadecimal digits without a newline: RSA
    /// PKCS#1 v1.5 with SHA-256, or ECDSA with SHA-256, SHA-384 or SHA-512 as the curve has it. The signatures go
    /// into the file's `signature` fields in base64, or beside it as ROOT_HASH.sig. --assemble takes it from there.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["assemble", "key", "dry_run"])]
    pub(crate) prepare: Option<PathBuf>,
    /// Take the signatures that were made for this file of --prepare, check them and attach them
    #[arg(long, value_name = "FILE", conflicts_with_all = ["key", "profile", "platform"])]
    pub(crate) assemble: Option<PathBuf>,
}

#[derive(Serialize)]
struct PrepareReport {
    file: PathBuf,
    image: String,
    digest: Digest,
    manifests: usize,
    messages: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    algorithm: Option<String>,
    /// How OpenSSL is told the digest that goes with the key.
    #[serde(skip)]
    digest_option: &'static str,
}

impl Report for PrepareReport {
    const SCHEMA: &'static str = "osguard.sign.prepare.v1";

    fn text(&self, out: &mut dyn Write) -> io::Result<()> {
        let file = self.file.display();
        writeln!(out, "Image {}", self.image)?;
        writeln!(out, "Root hashes to be signed: {}, in {file}", self.messages)?;
        writeln!(out, "\nSign them where the key is, for example:")?;
        writeln!(out, "  for hash in $(jq -r '.messages[].root_hash' {file}); do")?;
        writeln!(
            out,
            "      printf %s $hash | openssl dgst {} -sign KEY -out $hash.sig; done",
            self.digest_option
        )?;
        writeln!(out, "and, with the signatures beside the file or in it:")?;
        writeln!(out, "  osguard sign {} --assemble {file} --cert CERTIFICATE", self.image)
    }
}

/// Does the first step.
pub(crate) fn prepare(
    file: &Path,
    found: &Found,
    images: &[Image],
    profiles: &[Profile],
    certificates: &[Certificate],
    output: &Output,
) -> Result<ExitStatus, Failure> {
    let (reference, digest) = (found.reference.to_string(), found.descriptor.digest);
    let mut request = SigningRequest::new(reference, digest, profiles, certificates.first());
    for image in images {
        let progress = output.progress();
        request.add(&*found.place, image, &watch(&progress))?;
    }
    let json = serde_json::to_vec_pretty(&request).map_err(io::Error::from);
    json.and_then(|json| write_new(file, &json)).map_err(|error| match error.kind() {
        io::ErrorKind::AlreadyExists => Failure::from_error(ExitStatus::Usage, error)
            .context(format!("cannot write {}", file.display()))
            .hint("Signatures may be in it already: choose another name, or remove the file."),
        _ => Failure::writing(file, error),
    })?;
    output.report(&PrepareReport {
        file: file.to_owned(),
        image: request.reference,
        digest,
        manifests: request.manifests.len(),
        messages: request.messages.len(),
        algorithm: request.algorithm,
        digest_option: digest_option(certificates.first()),
    })?;
    Ok(ExitStatus::Done)
}

fn digest_option(certificate: Option<&Certificate>) -> &'static str {
    match certificate.map(|certificate| SignatureAlgorithm::for_key(certificate.public_key())) {
        Some(Ok(SignatureAlgorithm::EcdsaP384Sha384)) => "-sha384",
        Some(Ok(SignatureAlgorithm::EcdsaP521Sha512)) => "-sha512",
        _ => "-sha256",
    }
}

/// Is a request that has come back, with all its signatures.
pub(crate) struct Assembly {
    request: SigningRequest,
    /// Hands out the signatures, each of which the kernel would take.
    pub(crate) signer: GivenSignatures,
}

impl Assembly {
    /// Reads request and signatures. Without `certificates`, the one in the request counts.
    pub(crate) fn read(file: &Path, certificates: Vec<Certificate>) -> Result<Self, Failure> {
        let refused = |error: SigningRequestError| {
            Failure::from_error(ExitStatus::Usage, error)
                .context(file.display())
                .hint("`osguard sign --prepare FILE` writes such a file.")
        };
        let request = SigningRequest::parse(&small_file::read(file)?).map_err(refused)?;
        let certificates = match certificates.is_empty() {
            true => request.certificates().map_err(refused)?,
            false => certificates,
        };
        let mut signer = given_signatures(&certificates)?;
        let mut missing = Vec::new();
        for message in &request.messages {
            let in_file = message.signature().map_err(refused)?;
            let beside = file.with_file_name(format!("{}.sig", message.root_hash));
            match in_file {
                Some(signature) => add(&mut signer, message, &signature, file)?,
                None if beside.exists() => {
                    add(&mut signer, message, &read_signature(&beside)?, &beside)?;
                }
                None => missing.push(beside),
            }
        }
        if let Some(first) = missing.first() {
            let all = request.messages.len();
            return Err(Failure::new(
                ExitStatus::Usage,
                format!(
                    "{} of {all} signatures are missing, and {} is the first",
                    missing.len(),
                    first.display()
                ),
            )
            .hint(format!("A signature lies there, or stands in {} in base64.", file.display())));
        }
        Ok(Self { request, signer })
    }

    /// Returns the profiles of the first step.
    pub(crate) fn profiles(&self) -> Vec<Profile> {
        self.request.profiles.clone()
    }

    /// Chooses of the image what the first step has seen; it has to be the same image.
    pub(crate) fn images(&self, found: &Found) -> Result<Vec<Image>, Failure> {
        let (expected, digest) = (self.request.image, found.descriptor.digest);
        if digest != expected {
            return Err(Failure::new(
                ExitStatus::ContentDiffers,
                format!("{} is not the image {expected} that was to be signed", found.reference),
            )
            .hint("Name that image by its digest, or begin again with --prepare."));
        }
        let wanted = &self.request.manifests;
        let mut images = Image::all(&*found.place, &found.descriptor, None)?;
        images.retain(|image| wanted.iter().any(|one| one.digest == image.manifest.digest()));
        match images.len() == wanted.len() {
            true => Ok(images),
            false => Err(Failure::new(
                ExitStatus::ContentDiffers,
                format!("{} has not all of the manifests that were to be signed", found.reference),
            )),
        }
    }
}

/// Begins a signer whose signatures were made elsewhere.
pub(crate) fn given_signatures(certificates: &[Certificate]) -> Result<GivenSignatures, Failure> {
    let [certificate, others @ ..] = certificates else {
        return Err(Failure::new(ExitStatus::Usage, "the certificate of the key is missing")
            .hint("--cert names it."));
    };
    GivenSignatures::new(certificate.clone(), others)
        .map_err(|error| Failure::from_error(ExitStatus::Usage, error))
}

/// Reads a signature as programs write them: its bytes, or these in base64.
pub(crate) fn read_signature(path: &Path) -> Result<Vec<u8>, Failure> {
    let bytes = small_file::read(path)?;
    let text: Option<String> =
        std::str::from_utf8(&bytes).ok().map(|text| text.split_whitespace().collect());
    Ok(text.and_then(|text| osguard_signer::by_hand::decode_base64(&text)).unwrap_or(bytes))
}

/// Adds a signature, once it is known to be one of the root hash that the kernel would take.
fn add(
    signer: &mut GivenSignatures,
    message: &RequestedMessage,
    signature: &[u8],
    from: &Path,
) -> Result<(), Failure> {
    let root_hash = &message.root_hash;
    let refused = |error: &dyn std::fmt::Display| {
        Failure::new(ExitStatus::Usage, format!("{}: signature of {root_hash}: {error}", from.display()))
            .hint(
                "What is signed are the hexadecimal digits without a newline, with the digest that fits the key.",
            )
    };
    let text = root_hash.signed_text().into_bytes();
    signer.insert(text, signature).map_err(|error| refused(&error))?;
    sign_root_hash(root_hash, signer, Embedding::Nothing).map_err(|error| refused(&error))?;
    Ok(())
}

fn write_new(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = File::create_new(path)?;
    file.write_all(bytes)
        .and_then(|()| file.sync_all())
        .inspect_err(|_| _ = std::fs::remove_file(path))
}
