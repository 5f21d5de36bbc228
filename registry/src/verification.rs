//! Verifying an image: what each signature of each layer is worth, and why.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};

use libverity::certificate::Certificate;
use libverity::digest::{Digest, RootHash};
use libverity::layer::{ConvertedLayer, Discard, Profile, ProfileImage};
use libverity::pkcs7::{Accepted, Refusal, verify_root_hash};

use crate::ahead::ahead;
use crate::artifact::Claim;
use crate::conversion::{ConversionError, Watch, convert_layer};
use crate::descriptor::Descriptor;
use crate::error::Error;
use crate::image::{Image, ImageLayer};
use crate::place::Place;
use crate::signatures::{self, Origin};

/// Converts every layer of `image` and judges each signature of the image, in whatever form it is.
///
/// `anchors` are the certificates that are trusted, as they would be in the kernel's keyrings.
///
/// # Errors
///
/// Returns why a layer or the signatures cannot be read. That is never the same as an image without
/// signatures.
pub fn verify(
    place: &dyn Place,
    image: &Image,
    anchors: &[Certificate],
    watch: Watch<'_>,
) -> Result<Verdict, ConversionError> {
    let mut claims = Vec::new();
    let mut unusable = Vec::new();
    for candidate in signatures::find(place, &image.manifest)? {
        match candidate.outcome {
            Ok(artifact) => claims.extend(
                artifact
                    .signatures
                    .into_iter()
                    .map(|signature| (candidate.origin.clone(), signature)),
            ),
            Err(error) => unusable.push((candidate.origin, error)),
        }
    }

    let candidates = |layer: &ImageLayer| -> Vec<JudgedSignature> {
        claims
            .iter()
            .filter(|(_, signature)| signature.claim.layer_digest == layer.descriptor.digest)
            .map(|(origin, signature)| JudgedSignature {
                origin: origin.clone(),
                claim: signature.claim.clone(),
                profile: None,
                signer: verify_root_hash(&signature.claim.root_hash, &signature.signature, anchors),
            })
            .collect()
    };
    let convert = |layer: &ImageLayer, watch: Watch<'_>| {
        images_for(&candidates(layer), |profiles: &[Profile]| {
            convert_layer(place, layer, profiles, &mut Discard, watch)
        })
    };
    let layers = ahead(&image.layers, watch, convert, |converted| {
        let mut known: BTreeMap<Digest, Vec<ProfileImage>> = BTreeMap::new();
        let mut layers = Vec::new();
        for layer in &image.layers {
            let images: &[ProfileImage] = match known.entry(layer.descriptor.digest) {
                Entry::Occupied(known) => known.into_mut(),
                Entry::Vacant(unknown) => unknown.insert(converted(layer)?),
            };
            let mut candidates = candidates(layer);
            for candidate in &mut candidates {
                candidate.profile = profile_of(&candidate.claim.root_hash, images);
            }
            layers.push(JudgedLayer { descriptor: layer.descriptor.clone(), candidates });
        }
        Ok::<_, ConversionError>(layers)
    })?;
    Ok(Verdict { layers, unusable })
}

/// Says what is known of an image's signatures.
#[derive(Debug)]
pub struct Verdict {
    /// The layers, lowest first.
    pub layers: Vec<JudgedLayer>,
    /// What calls itself a signature of the image and is damaged or malformed.
    pub unusable: Vec<(Origin, Error)>,
}

impl Verdict {
    /// Returns the standing of the image: that of its worst layer.
    ///
    /// Where a signature is missing that may have been in something unusable, there are
    /// signatures and none is valid.
    pub fn standing(&self) -> Standing {
        match self.layers.iter().map(JudgedLayer::standing).max() {
            None | Some(Standing::NotSigned) if !self.unusable.is_empty() => Standing::NotTrusted,
            None => Standing::NotSigned,
            Some(worst) => worst,
        }
    }
}

/// Is one layer with all of its signatures.
#[derive(Debug)]
pub struct JudgedLayer {
    /// The blob.
    pub descriptor: Descriptor,
    /// The signatures, valid or not.
    pub candidates: Vec<JudgedSignature>,
}

impl JudgedLayer {
    /// Returns the standing of the layer: that of its best signature, for one good one is enough.
    pub fn standing(&self) -> Standing {
        self.candidates.iter().map(JudgedSignature::standing).min().unwrap_or(Standing::NotSigned)
    }
}

/// Is one signature with what was found of it.
#[derive(Debug)]
pub struct JudgedSignature {
    /// Where it was found.
    pub origin: Origin,
    /// What is said of it there.
    pub claim: Claim,
    /// The profile by which the layer has the signed root hash; `None` if it has it by none.
    pub profile: Option<Profile>,
    /// Who signed, or why the kernel would refuse the signature.
    pub signer: Result<Accepted, Refusal>,
}

impl JudgedSignature {
    /// Returns what the signature is worth.
    pub fn standing(&self) -> Standing {
        match (&self.signer, self.profile) {
            (Ok(_), Some(_)) => Standing::Signed,
            (Ok(_), None) => Standing::ContentDiffers,
            (Err(_), _) => Standing::NotTrusted,
        }
    }
}

/// Says where a signature, a layer or an image stands; best first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Standing {
    /// A trusted signer signed just this content.
    Signed,
    /// A trusted signer signed other content.
    ContentDiffers,
    /// There are signatures, and none is valid and by a trusted signer.
    NotTrusted,
    /// There is no signature.
    NotSigned,
}

/// Converts a layer by those profiles that its signatures say they are for.
///
/// What they say saves work and decides nothing: where a trusted signature does not say it, or does
/// not fit, the layer is converted by all profiles.
fn images_for(
    candidates: &[JudgedSignature],
    convert: impl Fn(&[Profile]) -> Result<ConvertedLayer, ConversionError>,
) -> Result<Vec<ProfileImage>, ConversionError> {
    let trusted = || candidates.iter().filter(|candidate| candidate.signer.is_ok());
    let named = |candidate: &JudgedSignature| {
        let name = candidate.claim.profile.as_deref()?;
        Some(name.parse::<Profile>().ok()?.mode())
    };
    let modes = match trusted().map(named).collect::<Option<BTreeSet<_>>>() {
        Some(modes) if modes.is_empty() => BTreeSet::from([Profile::default().mode()]),
        Some(modes) => modes,
        None => Profile::ALL.iter().map(|profile| profile.mode()).collect(),
    };
    let (first, others): (Vec<_>, Vec<_>) =
        Profile::ALL.into_iter().partition(|profile| modes.contains(&profile.mode()));
    let mut images = convert(&first)?.images;
    let fit =
        |candidate: &JudgedSignature| profile_of(&candidate.claim.root_hash, &images).is_some();
    if !others.is_empty() && !trusted().all(fit) {
        images.extend(convert(&others)?.images);
    }
    Ok(images)
}

fn profile_of(root_hash: &RootHash, images: &[ProfileImage]) -> Option<Profile> {
    images.iter().find(|image| image.root_hash == *root_hash).map(|image| image.profile)
}
