//! Pushing images: copying them, and signing their layers in the same pass over the bytes.

mod tee;

use std::collections::BTreeMap;
use std::sync::atomic::AtomicBool;
use std::sync::{Mutex, PoisonError};

use libverity::digest::Digest;
use libverity::layer::{ConvertedLayer, Discard, LayerError, Profile};
use libverity::signer::Signer;

use self::tee::tee;
use crate::ahead::PARALLEL_LAYERS;
use crate::artifact::annotations::Keys;
use crate::artifact::{Format, LayerSignature};
use crate::conversion::{ConversionError, convert_blob, convert_layer};
use crate::copy::{Copied, PlacedBlob, Plan, WatchBlob, for_each_blob};
use crate::descriptor::Descriptor;
use crate::embedding::{Embedded, EmbeddingError, Former, embed};
use crate::error::{Error, ErrorKind};
use crate::image::{Image, ImageLayer};
use crate::place::{Listing, Place, Pushed};
use crate::signatures::Published;
use crate::signing::{self, SignedImage, SigningError, sign_converted};

/// Copies the image or index `descriptor` as [`copy`](crate::copy::copy) does, and signs the layers
/// of all of its platforms on the way.
///
/// Each layer is read once: its bytes go to the place and into the conversion at the same time, and
/// into the conversion alone if the place has the layer already. The image is listed after its
/// signatures.
///
/// # Errors
///
/// Returns the first error of either place, of a layer or of the signer; then the image may be there
/// in part and is not listed.
pub fn push(
    from: &dyn Place,
    descriptor: &Descriptor,
    to: &dyn Place,
    listing: Listing<'_>,
    signing: &Signing<'_>,
    watch: WatchBlob<'_>,
) -> Result<PushedImage, PushError> {
    let images = Image::all(from, descriptor, None)?;
    for image in &images {
        signing::check_layers(image)?;
    }
    let plan = Plan::of(from, descriptor)?;
    let source = Source { from, profiles: signing.profiles, watch };
    let layers = source.push_blobs(&plan, &images, to)?;

    let sign =
        |image| sign_converted(image, signing.signer, |layer| source.converted(&layers, layer));
    let mut signed = images.iter().map(sign).collect::<Result<Vec<_>, _>>()?;
    plan.push_manifests(to)?;
    let (embedded, signed) = match signing.embeds {
        true => {
            let mut former = Former::read(to, listing, Keys::Osguard)?;
            let is_by = signing::is_by(signing.signer);
            for signed in &mut signed {
                former.restore(&mut signed.artifact, &is_by);
            }
            let (embedded, signed) = push_embedded(from, descriptor, to, signed, &is_by)?;
            (Some(embedded), signed)
        }
        false => (None, signed),
    };
    let publish = |signed| signing::publish(to, signed, signing.format, signing.signer);
    let published = signed.iter().map(publish).collect::<Result<Vec<_>, _>>()?;
    let copied = plan.list(to, embedded.as_ref().map(|embedded| &embedded.root), listing)?;
    let images = images.into_iter().zip(signed).zip(published);
    let images = images
        .map(|((image, signed), published)| PushedManifest { image, signed, published })
        .collect();
    Ok(PushedImage { copied, embedded, images })
}

/// Writes the signatures into the manifests, and stores these without listing them. The signatures
/// come back for the new manifests.
fn push_embedded(
    from: &dyn Place,
    descriptor: &Descriptor,
    to: &dyn Place,
    signed: Vec<SignedImage>,
    is_valid: &dyn Fn(&LayerSignature) -> bool,
) -> Result<(Embedded, Vec<SignedImage>), PushError> {
    let artifacts: Vec<_> = signed.iter().map(|signed| signed.artifact.clone()).collect();
    let embedded = embed(from, descriptor, &artifacts, Keys::Osguard, is_valid)?;
    for rewritten in &embedded.manifests {
        to.push_manifest(&rewritten.new, Listing::Child)?;
    }
    // The signatures of an image are attached to what is there.
    to.push_manifest(&embedded.root, Listing::Child)?;
    let retarget = |signed: SignedImage| SignedImage {
        artifact: embedded.retarget(&signed.artifact),
        ..signed
    };
    let signed = signed.into_iter().map(retarget).collect();
    Ok((embedded, signed))
}

/// Says how the layers are signed that are pushed.
#[derive(Clone, Copy)]
pub struct Signing<'a> {
    /// By which profiles the layers are converted.
    pub profiles: &'a [Profile],
    /// Who signs.
    pub signer: &'a dyn Signer,
    /// In which form the signatures are attached.
    pub format: Format,
    /// Whether they are written into the manifests as well, which makes new ones.
    pub embeds: bool,
}

/// Says what a push has done.
#[derive(Debug)]
pub struct PushedImage {
    /// What was copied, without the new signatures.
    pub copied: Copied,
    /// What became of the image whose signatures were written into it.
    pub embedded: Option<Embedded>,
    /// The images of all platforms, with their signatures.
    pub images: Vec<PushedManifest>,
}

/// Is the image for one platform that was pushed and signed.
#[derive(Debug)]
pub struct PushedManifest {
    /// The image.
    pub image: Image,
    /// The signatures of its layers.
    pub signed: SignedImage,
    /// Where the signatures are.
    pub published: Published,
}

/// Says why an image was not pushed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PushError {
    /// The signatures could not be written into the manifests.
    #[error(transparent)]
    Embedding(#[from] EmbeddingError),
    /// A place failed.
    #[error(transparent)]
    Place(#[from] Error),
    /// A layer could not be signed.
    #[error(transparent)]
    Signing(#[from] SigningError),
}

impl From<ConversionError> for PushError {
    fn from(error: ConversionError) -> Self {
        match error {
            ConversionError::Place(error) => Self::Place(error),
            error => Self::Signing(error.into()),
        }
    }
}

/// Is where layers come from, and what is made of them.
struct Source<'a> {
    from: &'a dyn Place,
    profiles: &'a [Profile],
    watch: WatchBlob<'a>,
}

impl Source<'_> {
    /// Pushes all blobs and converts those that are layers.
    fn push_blobs(
        &self,
        plan: &Plan<'_>,
        images: &[Image],
        to: &dyn Place,
    ) -> Result<BTreeMap<Digest, Conversion>, PushError> {
        let layers = images.iter().flat_map(|image| &image.layers);
        let layers: BTreeMap<Digest, &ImageLayer> =
            layers.map(|layer| (layer.descriptor.digest, layer)).collect();
        let conversions = Mutex::new(BTreeMap::new());
        for_each_blob(
            plan.blobs(),
            to,
            PARALLEL_LAYERS,
            |blob, is_stopped| -> Result<(), PushError> {
                let pushed = match layers.get(&blob.digest) {
                    None => to.push_blob(blob, &self.placed(blob, is_stopped)),
                    Some(&layer) => {
                        let (pushed, converted) = self.push_layer(layer, to, is_stopped)?;
                        let conversion = Conversion { layer: layer.clone(), converted };
                        let mut conversions =
                            conversions.lock().unwrap_or_else(PoisonError::into_inner);
                        conversions.insert(blob.digest, conversion);
                        Ok(pushed)
                    }
                };
                Ok(plan.note(blob, pushed)?)
            },
        )?;
        Ok(conversions.into_inner().unwrap_or_else(PoisonError::into_inner))
    }

    /// Reads a layer once, for `to` and for the conversion.
    fn push_layer(
        &self,
        layer: &ImageLayer,
        to: &dyn Place,
        is_stopped: &AtomicBool,
    ) -> Result<(Pushed, ConvertedLayer), ConversionError> {
        let blob = layer.descriptor.plain();
        let source = self.placed(&blob, is_stopped);
        let (source, copy) = tee(&source, blob.size);
        std::thread::scope(|scope| {
            let conversion = scope.spawn(|| convert_blob(copy, layer, self.profiles, &mut Discard));
            let pushed = to.push_blob(&blob, &source).and_then(|pushed| {
                // What was there already was not read.
                source.finish()?;
                Ok(pushed)
            });
            drop(source);
            let converted =
                conversion.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            match (pushed, converted) {
                (Ok(pushed), converted) => Ok((pushed, converted?)),
                // Either the blob is not what it should be, which explains all else, or the
                // conversion ended because the push did.
                (Err(error), Ok(_)) => Err(error.into()),
                (Err(error), Err(_)) if error.kind() == ErrorKind::Content => Err(error.into()),
                (
                    Err(error),
                    Err(ConversionError::Layer { source: LayerError::Read { .. }, .. }),
                ) => Err(error.into()),
                (Err(_), Err(error)) => Err(error),
            }
        })
    }

    fn placed<'b>(&'b self, blob: &'b Descriptor, is_stopped: &'b AtomicBool) -> PlacedBlob<'b> {
        PlacedBlob { from: self.from, blob, watch: self.watch, is_stopped }
    }

    /// Returns what the layer was converted to, or converts it if another image describes the same
    /// blob in another way.
    fn converted(
        &self,
        conversions: &BTreeMap<Digest, Conversion>,
        layer: &ImageLayer,
    ) -> Result<ConvertedLayer, ConversionError> {
        match conversions.get(&layer.descriptor.digest) {
            Some(conversion) if conversion.is_of(layer) => Ok(conversion.converted.clone()),
            _ => {
                let watch: crate::conversion::Watch<'_> =
                    &|layer, blob| (self.watch)(&layer.descriptor, blob);
                convert_layer(self.from, layer, self.profiles, &mut Discard, watch)
            }
        }
    }
}

/// Is a layer as one image describes it, with what it was converted to.
struct Conversion {
    layer: ImageLayer,
    converted: ConvertedLayer,
}

impl Conversion {
    fn is_of(&self, layer: &ImageLayer) -> bool {
        let facts = |layer: &ImageLayer| {
            (layer.diff_id, layer.descriptor.size, layer.descriptor.media_type.clone())
        };
        facts(&self.layer) == facts(layer)
    }
}
