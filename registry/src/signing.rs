//! Signing an image: a signature over the root hash of each of its layers.

use std::collections::BTreeSet;
use std::panic::resume_unwind;
use std::sync::mpsc;

use libverity::digest::Digest;
use libverity::layer::{ConvertedLayer, Discard, Profile, ProfileImage};
use libverity::pkcs7::{Embedding, sign_root_hash, verify_root_hash};
use libverity::signer::{SignError, Signer};

use crate::ahead::ahead;
use crate::artifact::{Claim, Format, LayerSignature, SignatureArtifact};
use crate::conversion::{ConversionError, Watch, convert_layer};
use crate::error::Error;
use crate::image::{Image, ImageLayer};
use crate::place::Place;
use crate::signatures::{self, Publication, Published};

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
    let convert = |layer: &ImageLayer, watch: Watch<'_>| {
        convert_layer(place, layer, profiles, &mut Discard, watch)
    };
    ahead(&image.layers, watch, convert, |converted| sign_converted(image, signer, converted))
}

/// Signs every layer of `image` and attaches the signatures, as [`sign`] and [`publish`] do one
/// after the other.
///
/// In a registry, which takes its time for each request, the signatures that are there already are
/// looked up while the first layers are converted, those of each layer are stored while the next ones
/// are, and an upload is open when the last one comes. If a layer is wrong, those before it stay behind as blobs that nothing refers to.
///
/// # Errors
///
/// As [`sign`] and [`publish`].
pub fn sign_and_publish(
    place: &dyn Place,
    image: &Image,
    profiles: &[Profile],
    signer: &dyn Signer,
    format: Format,
    watch: Watch<'_>,
) -> Result<(SignedImage, Published), SigningError> {
    if place.repository().is_none() {
        let signed = sign(place, image, profiles, signer, watch)?;
        let published = publish(place, &signed, format, signer)?;
        return Ok((signed, published));
    }
    let subject = image.subject();
    let layers: BTreeSet<Digest> =
        image.layers.iter().map(|layer| layer.descriptor.digest).collect();
    let is_valid = is_by(signer);
    std::thread::scope(|scope| {
        let (sender, receiver) = mpsc::channel();
        let publication = scope.spawn(|| -> Result<Publication<'_>, Error> {
            let is_valid = is_by(signer);
            let mut publication = Publication::begin(place, &subject, format)?;
            publication.prepare()?;
            let mut left = layers.len();
            for signatures in receiver {
                left -= 1;
                let part = SignatureArtifact { subject: subject.clone(), signatures };
                publication.store(&part, left == 0, &is_valid)?;
            }
            Ok(publication)
        });
        let convert = |layer: &ImageLayer, watch: Watch<'_>| {
            convert_layer(place, layer, profiles, &mut Discard, watch)
        };
        let signed = ahead(&image.layers, watch, convert, |converted| {
            sign_each(image, signer, converted, |signatures| {
                // If the other thread has failed, its error is told when all is done.
                let _ = sender.send(signatures.to_vec());
            })
        });
        drop(sender);
        let publication = publication.join().unwrap_or_else(|panic| resume_unwind(panic));
        let signed = signed?;
        let published = publication?.finish(&signed.artifact, &is_valid)?;
        Ok((signed, published))
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
    converted: impl FnMut(&ImageLayer) -> Result<ConvertedLayer, ConversionError>,
) -> Result<SignedImage, SigningError> {
    sign_each(image, signer, converted, |_| ())
}

/// As [`sign_converted`], and shows the signatures of each layer as soon as they are made.
fn sign_each(
    image: &Image,
    signer: &dyn Signer,
    mut converted: impl FnMut(&ImageLayer) -> Result<ConvertedLayer, ConversionError>,
    mut show: impl FnMut(&[LayerSignature]),
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
        let made = sign_layer(digest, &conversion, signer)?;
        show(&made);
        signatures.extend(made);
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

impl From<Error> for SigningError {
    fn from(error: Error) -> Self {
        Self::Conversion(error.into())
    }
}

/// Signs the root hashes of one layer, each of what it was converted to.
///
/// # Errors
///
/// Returns why the signer did not sign; each signature has passed the kernel's rules.
pub fn sign_layer(
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
            image_size_bytes: Some(image.image_size_bytes),
            profile: Some(image.profile.name().to_owned()),
            signer: signer.certificate().subject_key_identifier(),
        };
        Ok(LayerSignature { claim, signature })
    };
    conversion.images.iter().map(sign_one).collect()
}
