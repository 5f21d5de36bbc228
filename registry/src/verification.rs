//! The signatures of an image, each held against the layer that it is for.
//!
//! Who is trusted is not asked here: that is for the trust configuration to say, or for the kernel.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};

use libverity::digest::{Digest, RootHash};
use libverity::layer::{Discard, Profile};

use crate::ahead::ahead;
use crate::artifact::{Claim, LayerSignature};
use crate::conversion::{ConversionError, Watch, convert_layer};
use crate::descriptor::Descriptor;
use crate::error::Error;
use crate::image::{Image, ImageLayer};
use crate::place::Place;
use crate::root_hash_cache::RootHashCache;
use crate::signatures::{self, Origin};

/// Says where the root hashes of layers come from, with which those in the signatures are compared.
#[derive(Clone, Copy, Debug, Default)]
pub enum RootHashes<'a> {
    /// From the cache, and what is not in there from the layer, to be in there the next time.
    Cached(&'a RootHashCache),
    /// From the layer, which is read and converted.
    #[default]
    Recompute,
    /// From nowhere: nothing is compared.
    Skip,
}

/// Finds the signatures of `image`, in whatever form they are, and compares the root hash of each
/// with that of its layer.
///
/// A layer is converted by the profiles that those signatures name which `counts` accepts, and by all
/// where one of them names none or does not fit: what others say costs nothing.
///
/// # Errors
///
/// Returns why a layer or the signatures cannot be read. That is never the same as an image without
/// signatures.
pub fn examine(
    place: &dyn Place,
    image: &Image,
    root_hashes: RootHashes<'_>,
    counts: &(dyn Fn(&LayerSignature) -> bool + Sync),
    watch: Watch<'_>,
) -> Result<Examined, ConversionError> {
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

    let of_layer = |layer: &ImageLayer| -> Vec<&(Origin, LayerSignature)> {
        let digest = layer.descriptor.digest;
        claims.iter().filter(|(_, signature)| signature.claim.layer_digest == digest).collect()
    };
    let known_of = |layer: &ImageLayer, watch: Watch<'_>| {
        let claims = of_layer(layer);
        let claims = claims.iter().map(|(_, signature)| signature);
        let counting: Vec<_> =
            claims.filter(|signature| counts(signature)).map(|one| &one.claim).collect();
        root_hashes.of(place, layer, &counting, watch)
    };
    let layers = ahead(&image.layers, watch, known_of, |known_of| {
        let mut known: BTreeMap<Digest, Option<KnownRootHashes>> = BTreeMap::new();
        let mut layers = Vec::new();
        for layer in &image.layers {
            let root_hashes = match known.entry(layer.descriptor.digest) {
                Entry::Occupied(known) => known.into_mut(),
                Entry::Vacant(unknown) => unknown.insert(known_of(layer)?),
            };
            let signatures =
                of_layer(layer).into_iter().map(|(origin, signature)| ExaminedSignature {
                    origin: origin.clone(),
                    claim: signature.claim.clone(),
                    signature: signature.signature.clone(),
                    content: Content::of(&signature.claim.root_hash, root_hashes.as_deref()),
                });
            let signatures = signatures.collect();
            layers.push(ExaminedLayer { descriptor: layer.descriptor.clone(), signatures });
        }
        Ok::<_, ConversionError>(layers)
    })?;
    Ok(Examined { layers, unusable })
}

/// Holds what was found of an image's signatures.
#[derive(Debug)]
pub struct Examined {
    /// The layers, lowest first.
    pub layers: Vec<ExaminedLayer>,
    /// What calls itself a signature of the image and is damaged or malformed.
    pub unusable: Vec<(Origin, Error)>,
}

/// Is one layer with all of its signatures.
#[derive(Debug)]
pub struct ExaminedLayer {
    /// The blob.
    pub descriptor: Descriptor,
    /// The signatures, valid or not.
    pub signatures: Vec<ExaminedSignature>,
}

/// Is one signature with what was found of it.
#[derive(Debug)]
pub struct ExaminedSignature {
    /// Where it was found.
    pub origin: Origin,
    /// What is said of it there.
    pub claim: Claim,
    /// The PKCS#7 message.
    pub signature: Vec<u8>,
    /// Whether the layer has the root hash of the claim.
    pub content: Content,
}

/// Says whether a layer has a root hash.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Content {
    /// It has another one by every profile.
    Differs,
    /// It has this one by the profile.
    Has(Profile),
    /// Nobody has looked.
    Skipped,
}

impl Content {
    fn of(root_hash: &RootHash, known: Option<&[(Profile, RootHash)]>) -> Self {
        let Some(known) = known else { return Self::Skipped };
        match known.iter().find(|(_, known)| known == root_hash) {
            Some((profile, _)) => Self::Has(*profile),
            None => Self::Differs,
        }
    }
}

/// Holds root hashes of a layer, each with the profile by which the layer has it.
type KnownRootHashes = Vec<(Profile, RootHash)>;

impl RootHashes<'_> {
    /// Returns the root hashes with which the `claims` are compared, `None` if they are with none.
    fn of(
        self,
        place: &dyn Place,
        layer: &ImageLayer,
        claims: &[&Claim],
        watch: Watch<'_>,
    ) -> Result<Option<KnownRootHashes>, ConversionError> {
        let cache = match self {
            Self::Cached(cache) => Some(cache),
            Self::Recompute => None,
            Self::Skip => return Ok(None),
        };
        let mut known = cache.map(|cache| cache.find(layer)).unwrap_or_default();
        let (first, others) = profiles_of(claims);
        for profiles in [first, others] {
            let fits = |claim: &&Claim| known.iter().any(|(_, known)| *known == claim.root_hash);
            if !known.is_empty() && claims.iter().all(fits) {
                break;
            }
            let is_known = |profile: &Profile| known.iter().any(|(known, _)| known == profile);
            let missing: Vec<_> =
                profiles.into_iter().filter(|profile| !is_known(profile)).collect();
            if missing.is_empty() {
                continue;
            }
            let converted = convert_layer(place, layer, &missing, &mut Discard, watch)?;
            known
                .extend(converted.images.into_iter().map(|image| (image.profile, image.root_hash)));
            if let Some(cache) = cache {
                // What cannot be kept is computed again the next time.
                let _ = cache.keep(layer, &known);
            }
        }
        Ok(Some(known))
    }
}

/// Returns the profiles that a layer is converted by at first, and those that remain.
///
/// What signatures say of themselves saves work and decides nothing.
fn profiles_of(claims: &[&Claim]) -> (Vec<Profile>, Vec<Profile>) {
    let named = |claim: &&Claim| {
        let name = claim.profile.as_deref()?;
        Some(name.parse::<Profile>().ok()?.mode())
    };
    let modes = match claims.iter().map(named).collect::<Option<BTreeSet<_>>>() {
        Some(modes) if modes.is_empty() => BTreeSet::from([Profile::default().mode()]),
        Some(modes) => modes,
        None => Profile::ALL.iter().map(|profile| profile.mode()).collect(),
    };
    Profile::ALL.into_iter().partition(|profile| modes.contains(&profile.mode()))
}
