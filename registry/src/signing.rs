//! Signing an image: a signature over the root hash of each of its layers.

use std::collections::BTreeSet;

use libverity::digest::Digest;
use libverity::layer::{ConvertedLayer, Discard, Profile, ProfileImage};
use libverity::pkcs7::{Embedding, sign_root_hash, verify_root_hash};
use libverity::signer::{SignError, Signer};

use crate::artifact::{Claim, Format, LayerSignature, SignatureArtifact};
use crate::conversion::{ConversionError, Watch, convert_layer};
use crate::error::Error;
use crate::image::{Image, ImageLayer};
use crate::place::Place;
use crate::signatures::{self, Published};

/// Converts every layer of `image` by each of `profiles` and signs the root hashes. Nothing is
/// published yet.
///
/// A layer that occurs twice is converted once and signed once.
///
/// # Errors
///
/// Returns what is wrong with a layer, that there is none, or why the signer did not sign; each
/// signature has passed the kernel's rules.
pub fn sign(
    place: &dyn Place,
    image: &Image,
    profiles: &[Profile],
    signer: &dyn Signer,
    watch: Watch<'_>,
) -> Result<SignedImage, SigningError> {
    sign_converted(image, signer, |layer| {
        convert_layer(place, layer, profiles, &mut Discard, watch)
    })
}

/// Refuses an image with nothing that could be signed.
pub(crate) fn check_layers(image: &Image) -> Result<(), SigningError> {
    match image.layers.is_empty() {
        true => Err(SigningError::NoLayers { image: image.manifest.digest() }),
        false => Ok(()),
    }
}

/// As [`sign`], of layers that `converted` converts or has converted.
pub(crate) fn sign_converted(
    image: &Image,
    signer: &dyn Signer,
    mut converted: impl FnMut(&ImageLayer) -> Result<ConvertedLayer, ConversionError>,
) -> Result<SignedImage, SigningError> {
    check_layers(image)?;
    let mut seen = BTreeSet::new();
    let mut signatures = Vec::new();
    let mut layers = Vec::new();
    for layer in &image.layers {
        let digest = layer.descriptor.digest;
        if !seen.insert(digest) {
            continue;
        }
        let conversion = converted(layer)?;
        signatures.extend(sign_layer(digest, &conversion, signer)?);
        layers.push(conversion);
    }
    let artifact = SignatureArtifact { subject: image.subject(), signatures };
    Ok(SignedImage { layers, artifact })
}

/// Attaches the signatures to their image in the form `format`, unless valid ones by the same key
/// are there in this form already.
///
/// # Errors
///
/// Returns what the place returns.
pub fn publish(
    place: &dyn Place,
    signed: &SignedImage,
    format: Format,
    signer: &dyn Signer,
) -> Result<Published, Error> {
    signatures::publish(place, &signed.artifact, format, &is_by(signer))
}

/// Returns what tells signatures by `signer` from others, whatever they say of themselves.
pub fn is_by(signer: &dyn Signer) -> impl Fn(&LayerSignature) -> bool {
    let anchors = [signer.certificate().clone()];
    move |found| verify_root_hash(&found.claim.root_hash, &found.signature, &anchors).is_ok()
}

/// Is an image with its new signatures.
#[derive(Debug)]
pub struct SignedImage {
    /// What each layer was converted to, lowest first; one that occurs twice is in here once.
    pub layers: Vec<ConvertedLayer>,
    /// The signatures, ready to be published.
    pub artifact: SignatureArtifact,
}

/// Says why an image was not signed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SigningError {
    /// A layer could not be converted.
    #[error(transparent)]
    Conversion(#[from] ConversionError),
    /// There is nothing to sign.
    #[error("the image {image} has no layers, and so nothing that could be signed")]
    NoLayers {
        /// The digest of the image's manifest.
        image: Digest,
    },
    /// The signer did not sign.
    #[error(transparent)]
    Signer(#[from] SignError),
}

fn sign_layer(
    layer_digest: Digest,
    conversion: &ConvertedLayer,
    signer: &dyn Signer,
) -> Result<Vec<LayerSignature>, SignError> {
    let sign_one = |image: &ProfileImage| {
        let signature = sign_root_hash(&image.root_hash, signer, Embedding::Certificate)?;
        let claim = Claim {
            layer_digest,
            root_hash: image.root_hash.clone(),
            diff_id: Some(conversion.diff_id),
            image_size_bytes: Some(conversion.image_size_bytes),
            profile: Some(image.profile.name().to_owned()),
            signer: signer.certificate().subject_key_identifier(),
        };
        Ok(LayerSignature { claim, signature })
    };
    conversion.images.iter().map(sign_one).collect()
}
