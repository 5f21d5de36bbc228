//! `osguard sign`.

use std::io::{self, Write};

use libverity::digest::{Digest, RootHash};
use libverity::layer::{ConvertedLayer, Profile};
use osguard_registry::image::Image;
use osguard_registry::reference::{ArchiveFile, Reference};
use osguard_registry::signatures::Published;
use osguard_registry::signing::{self, SignedImage, SigningError};
use serde::Serialize;

use crate::conversion::{warn_of_divergences, watch};
use crate::exit_status::ExitStatus;
use crate::failure::Failure;
use crate::image::{ImageArguments, short};
use crate::output::{Output, Report};
use crate::signing::SigningArguments;

/// Sign every layer of an image
///
/// Each layer is converted to its EROFS image, and the root hash of that image's hash tree is signed. The
/// signatures are attached to the image's manifest, which does not change. Signing again with the same key
/// changes nothing. An archive from standard input goes to standard output with its signatures.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    image: ImageArguments,
    #[command(flatten)]
    signing: SigningArguments,
    /// By which profile to convert the layers; may be repeated
    #[arg(long, value_name = "NAME", default_value = Profile::ContainerdFullV1.name())]
    profile: Vec<Profile>,
    /// Do everything but attach the signatures
    #[arg(long)]
    dry_run: bool,
}

#[derive(Serialize)]
struct SignReport {
    image: String,
    signer: String,
    dry_run: bool,
    manifests: Vec<ManifestReport>,
}

#[derive(Serialize)]
struct ManifestReport {
    digest: Digest,
    platform: String,
    layers: Vec<LayerReport>,
    /// Whether the signatures were there before.
    already_signed: bool,
    /// The manifests of the artifacts that hold them; none after a dry run.
    artifacts: Vec<Digest>,
}

#[derive(Serialize)]
struct LayerReport {
    digest: Digest,
    diff_id: Digest,
    image_size_bytes: u64,
    root_hashes: Vec<RootHashReport>,
}

#[derive(Serialize)]
struct RootHashReport {
    profile: Profile,
    root_hash: RootHash,
}

impl Report for SignReport {
    const SCHEMA: &'static str = "osguard.sign.v1";

    fn text(&self, out: &mut dyn Write) -> io::Result<()> {
        writeln!(out, "Image {}", self.image)?;
        writeln!(out, "Signer {}", self.signer)?;
        for manifest in &self.manifests {
            writeln!(out, "\nManifest {} ({})", manifest.digest, manifest.platform)?;
            for layer in &manifest.layers {
                for made in &layer.root_hashes {
                    let digest = short(layer.digest);
                    writeln!(
                        out,
                        "  layer {digest}  root hash {}  {}",
                        made.root_hash, made.profile
                    )?;
                }
            }
            let done = match manifest.already_signed {
                true => "Signed before, the signatures are in",
                false => "Signed, the signatures are in",
            };
            for artifact in &manifest.artifacts {
                writeln!(out, "{done} {artifact}")?;
            }
        }
        if self.dry_run {
            writeln!(out, "\nNothing was attached: this was a dry run.")?;
        }
        Ok(())
    }
}

pub(crate) fn run(arguments: &Arguments, output: &Output) -> Result<ExitStatus, Failure> {
    let signer = arguments.signing.signer()?;
    let found = arguments.image.find()?;
    output.detail(format_args!("Resolved to {}", found.reference));
    let mut profiles = arguments.profile.clone();
    profiles.sort();
    profiles.dedup();

    let mut manifests = Vec::new();
    for image in arguments.image.images(&found)? {
        let progress = output.progress();
        let signed = signing::sign(&*found.place, &image, &profiles, &*signer, &watch(&progress))?;
        let published = match arguments.dry_run {
            true => None,
            false => Some(signing::publish(&*found.place, &signed, &*signer)?),
        };
        for layer in &signed.layers {
            warn_of_divergences(&layer.divergences, output);
        }
        manifests.push(describe(&image, signed, published));
    }
    let report = SignReport {
        image: found.reference.to_string(),
        signer: signer.certificate().subject(),
        dry_run: arguments.dry_run,
        manifests,
    };
    if arguments.dry_run {
        output.report(&report)?;
        return Ok(ExitStatus::Done);
    }
    found.place.finish()?;
    match &found.reference {
        // The signed archive has just gone there.
        Reference::Archive { file: ArchiveFile::StandardStream, .. } => {
            output.report_aside(&report)?;
        }
        _ => output.report(&report)?,
    }
    Ok(ExitStatus::Done)
}

fn describe(image: &Image, signed: SignedImage, published: Option<Published>) -> ManifestReport {
    let (already_signed, artifacts) = match published {
        None => (false, Vec::new()),
        Some(Published::AlreadySigned(holders)) => (true, holders),
        Some(Published::Written(artifact)) => (false, vec![artifact]),
    };
    ManifestReport {
        digest: image.manifest.digest(),
        platform: image.platform.to_string(),
        layers: signed.layers.into_iter().map(describe_layer).collect(),
        already_signed,
        artifacts,
    }
}

fn describe_layer(layer: ConvertedLayer) -> LayerReport {
    LayerReport {
        digest: layer.layer_digest,
        diff_id: layer.diff_id,
        image_size_bytes: layer.image_size_bytes,
        root_hashes: layer
            .images
            .into_iter()
            .map(|image| RootHashReport { profile: image.profile, root_hash: image.root_hash })
            .collect(),
    }
}

impl From<SigningError> for Failure {
    fn from(error: SigningError) -> Self {
        match error {
            SigningError::Conversion(error) => error.into(),
            other => Self::from_error(ExitStatus::Failure, other),
        }
    }
}
