//! `osguard push`.

use std::io::{self, Write};

use libverity::digest::Digest;
use libverity::layer::Profile;
use libverity::signer::Signer;
use osguard_registry::artifact::Format;
use osguard_registry::copy::copy;
use osguard_registry::embedding::EmbeddingError;
use osguard_registry::push::{PushError, PushedManifest, Signing, push};
use serde::Serialize;

use crate::conversion::{warn_of_divergences, warn_of_profiles};
use crate::exit_status::ExitStatus;
use crate::failure::Failure;
use crate::output::{Output, Report};
use crate::signed_manifest::SignedManifestReport;
use crate::signing::SigningArguments;
use crate::transfer::{TransferArguments, TransferReport, print, watch};

/// Copy an image to a registry, and sign it on the way
///
/// With --sign each layer is read once, to be sent and to be signed. The tag is written last, so that nobody
/// finds the image without its signatures. Signatures that the image has already come along.
#[derive(Debug, clap::Args)]
#[command(mut_arg("key", |key| key.required(false).requires("sign")))]
#[command(mut_arg("cert", |cert| cert.requires("sign")))]
#[command(mut_arg("passphrase_fd", |number| number.requires("sign")))]
#[command(mut_arg("passphrase_file", |file| file.requires("sign")))]
#[command(mut_arg("plugin_config", |config| config.requires("sign")))]
// Without this the group that tells whether there is a key stays empty, for it has groups within.
#[command(mut_group("SigningArguments", |group| group.arg("key")))]
pub(crate) struct Arguments {
    #[command(flatten)]
    transfer: TransferArguments,
    /// Sign every layer, as `osguard sign` does
    #[arg(long, requires = "key")]
    sign: bool,
    #[command(flatten)]
    signing: Option<SigningArguments>,
    /// By which profile to convert the layers; may be repeated [default: containerd-full-v1]
    #[arg(long, value_name = "NAME", requires = "sign")]
    profile: Vec<Profile>,
    /// In which form to attach the signatures: standard, or prototype for older tools [default: standard]
    #[arg(long, value_name = "NAME", requires = "sign")]
    artifact_format: Option<Format>,
    /// Write root hashes and signatures into the manifests of the images, too
    ///
    /// They are then there with every way of pulling. The manifests are new ones, and so is the image's digest; both
    /// are printed.
    #[arg(long, requires = "sign")]
    embed: bool,
}

#[derive(Serialize)]
struct PushReport {
    #[serde(flatten)]
    transfer: TransferReport,
    #[serde(skip_serializing_if = "Option::is_none")]
    signer: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    artifact_format: Option<Format>,
    /// The image before and after its signatures were written into it.
    #[serde(skip_serializing_if = "Option::is_none")]
    embedded: Option<EmbeddedReport>,
    /// What was signed.
    manifests: Vec<SignedManifestReport>,
}

#[derive(Serialize)]
struct EmbeddedReport {
    old_digest: Digest,
    new_digest: Digest,
}

impl Report for PushReport {
    const SCHEMA: &'static str = "osguard.push.v1";

    fn text(&self, out: &mut dyn Write) -> io::Result<()> {
        self.transfer.text(out)?;
        if let Some(EmbeddedReport { old_digest, new_digest }) = &self.embedded {
            match old_digest == new_digest {
                true => writeln!(out, "Its signatures were in its manifest before: {new_digest}")?,
                false => {
                    writeln!(out, "With its signatures in its manifest it is a new image")?;
                    writeln!(out, "  before {old_digest}")?;
                    writeln!(out, "  now    {new_digest}")?;
                }
            }
        }
        if let Some(signer) = &self.signer {
            writeln!(out, "Signer {signer}")?;
        }
        for manifest in &self.manifests {
            manifest.text(out)?;
        }
        if !self.manifests.is_empty() {
            writeln!(out)?;
        }
        self.transfer.text_of_volume(out)
    }
}

pub(crate) fn run(arguments: &Arguments, output: &Output) -> Result<ExitStatus, Failure> {
    let signer = arguments.signer()?;
    let transfer = arguments.transfer.find(output)?;
    let to = transfer.to()?;
    let progress = output.progress();
    let (from, image, listing) = (transfer.from(), &transfer.image, to.listing());
    let (copied, embedded, manifests) = match &signer {
        None => (copy(from, image, &*to.place, listing, &watch(&progress))?, None, Vec::new()),
        Some(signer) => {
            let format = arguments.artifact_format();
            let signing = Signing {
                profiles: &arguments.profiles(),
                signer: &**signer,
                format,
                embeds: arguments.embed,
            };
            let pushed = push(from, image, &*to.place, listing, &signing, &watch(&progress))?;
            (pushed.copied, pushed.embedded, pushed.images)
        }
    };
    for layer in manifests.iter().flat_map(|manifest| &manifest.signed.layers) {
        warn_of_divergences(&layer.divergences, output);
    }
    if signer.is_some() {
        warn_of_profiles(&arguments.profiles(), output);
    }
    let digest = embedded.as_ref().map_or(image.digest, |embedded| embedded.root.digest());
    let report = PushReport {
        transfer: transfer.report(&to, &copied, digest),
        embedded: embedded.map(|embedded| EmbeddedReport {
            old_digest: embedded.old_root,
            new_digest: embedded.root.digest(),
        }),
        artifact_format: signer.is_some().then(|| arguments.artifact_format()),
        signer: signer.map(|signer| signer.certificate().subject()),
        manifests: manifests.iter().map(|manifest| arguments.describe(manifest)).collect(),
    };
    print(&report, &to, output)?;
    report.transfer.check_complete()?;
    Ok(ExitStatus::Done)
}

impl Arguments {
    /// Opens the key, if the image is to be signed.
    fn signer(&self) -> Result<Option<Box<dyn Signer>>, Failure> {
        match &self.signing {
            Some(signing) => signing.signer().map(Some),
            None if self.sign => Err(Failure::new(ExitStatus::Usage, "--sign needs --key")),
            None => Ok(None),
        }
    }

    fn describe(&self, manifest: &PushedManifest) -> SignedManifestReport {
        let PushedManifest { image, signed, published } = manifest;
        let published = (!self.transfer.dry_run).then_some(published);
        SignedManifestReport::of(image, signed, published)
    }

    fn artifact_format(&self) -> Format {
        self.artifact_format.unwrap_or(Format::Standard)
    }

    fn profiles(&self) -> Vec<Profile> {
        let mut profiles = self.profile.clone();
        profiles.sort();
        profiles.dedup();
        if profiles.is_empty() { vec![Profile::default()] } else { profiles }
    }
}

impl From<PushError> for Failure {
    fn from(error: PushError) -> Self {
        match error {
            PushError::Embedding(EmbeddingError::Place(error)) | PushError::Place(error) => {
                error.into()
            }
            PushError::Signing(error) => error.into(),
            other => Self::from_error(ExitStatus::Failure, other),
        }
    }
}
