//! What was signed of an image.

use std::io::{self, Write};

use libverity::digest::{Digest, RootHash};
use libverity::layer::{ConvertedLayer, Profile, ProfileImage};
use osguard_registry::image::Image;
use osguard_registry::signatures::Published;
use osguard_registry::signing::{SignedImage, SigningError};
use serde::Serialize;

use crate::exit_status::ExitStatus;
use crate::failure::Failure;
use crate::image::short;

/// Describes the image for one platform with its signatures.
#[derive(Serialize)]
pub(crate) struct SignedManifestReport {
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
    root_hashes: Vec<RootHashReport>,
}

#[derive(Serialize)]
struct RootHashReport {
    profile: Profile,
    root_hash: RootHash,
    image_size_bytes: u64,
}

impl SignedManifestReport {
    /// Describes `image`; without `published`, its signatures were not attached.
    pub(crate) fn of(image: &Image, signed: &SignedImage, published: Option<&Published>) -> Self {
        let (already_signed, artifacts) = match published {
            None => (false, Vec::new()),
            Some(Published::AlreadySigned(holders)) => (true, holders.clone()),
            Some(Published::Written(artifact)) => (false, vec![*artifact]),
        };
        Self {
            // The image's own, unless its signatures were written into it.
            digest: signed.artifact.subject.digest,
            platform: image.platform.to_string(),
            layers: signed.layers.iter().map(LayerReport::of).collect(),
            already_signed,
            artifacts,
        }
    }

    /// Writes for people what was signed, after an empty line.
    pub(crate) fn text(&self, out: &mut dyn Write) -> io::Result<()> {
        writeln!(out, "\nManifest {} ({})", self.digest, self.platform)?;
        for layer in &self.layers {
            for made in &layer.root_hashes {
                let digest = short(layer.digest);
                writeln!(out, "  layer {digest}  root hash {}  {}", made.root_hash, made.profile)?;
            }
        }
        let done = match self.already_signed {
            true => "Signed before, the signatures are in",
            false => "Signed, the signatures are in",
        };
        for artifact in &self.artifacts {
            writeln!(out, "{done} {artifact}")?;
        }
        Ok(())
    }
}

impl LayerReport {
    fn of(layer: &ConvertedLayer) -> Self {
        let root_hash = |image: &ProfileImage| RootHashReport {
            profile: image.profile,
            root_hash: image.root_hash.clone(),
            image_size_bytes: image.image_size_bytes,
        };
        Self {
            digest: layer.layer_digest,
            diff_id: layer.diff_id,
            root_hashes: layer.images.iter().map(root_hash).collect(),
        }
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
