//! Verifying an image: what each signature of each layer is worth, and why.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use libverity::certificate::Certificate;
use libverity::digest::{Digest, RootHash};
use libverity::layer::{ConvertedLayer, Discard, Profile};
use libverity::pkcs7::{Accepted, Refusal, verify_root_hash};

use crate::artifact::Claim;
use crate::conversion::{ConversionError, Watch, convert_layer};
use crate::descriptor::Descriptor;
use crate::error::Error;
use crate::image::Image;
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

    let mut converted: BTreeMap<Digest, ConvertedLayer> = BTreeMap::new();
    let mut layers = Vec::new();
    for layer in &image.layers {
        let digest = layer.descriptor.digest;
        let conversion: &ConvertedLayer = match converted.entry(digest) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(unknown) => {
                let sink = &mut Discard;
                unknown.insert(convert_layer(place, layer, &Profile::ALL, sink, watch)?)
            }
        };
        let candidates = claims
            .iter()
            .filter(|(_, signature)| signature.claim.layer_digest == digest)
            .map(|(origin, signature)| JudgedSignature {
                origin: origin.clone(),
                claim: signature.claim.clone(),
                profile: profile_of(&signature.claim.root_hash, conversion),
                signer: verify_root_hash(&signature.claim.root_hash, &signature.signature, anchors),
            })
            .collect();
        layers.push(JudgedLayer { descriptor: layer.descriptor.clone(), candidates });
    }
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

fn profile_of(root_hash: &RootHash, conversion: &ConvertedLayer) -> Option<Profile> {
    conversion.images.iter().find(|image| image.root_hash == *root_hash).map(|image| image.profile)
}
