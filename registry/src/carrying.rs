//! Signatures that pass from an image to another one with the same layers.
//!
//! A signature is over the root hash of a layer and knows nothing of images: where a layer goes, its
//! signature can go too. What passes was judged before, and held against the very layer
//! ([`verification`](crate::verification)); this only says which signature fits which layer.

use libverity::digest::Digest;
use libverity::layer::Profile;

use crate::artifact::annotations::{self, Keys};
use crate::artifact::{Claim, LayerSignature};
use crate::descriptor::Descriptor;
use crate::image::ImageLayer;

/// Holds layers whose signatures were found good.
#[derive(Clone, Debug, Default)]
pub struct SignedLayers {
    layers: Vec<(ImageLayer, Vec<GoodSignature>)>,
}

/// Is a signature by somebody trusted over the root hash that the layer was found to have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GoodSignature {
    /// The signature.
    pub signature: LayerSignature,
    /// The profile by which the layer has the root hash.
    pub profile: Profile,
}

/// Says what signatures there are for a layer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Carried {
    /// These.
    Signed(Vec<LayerSignature>),
    /// None, but the same archive was signed in the layer of this digest, where it is compressed in another way.
    Recompressed {
        /// The digest of the layer that was signed.
        signed: Digest,
        /// By which profiles it was signed.
        profiles: Vec<Profile>,
    },
    /// None.
    Unsigned,
}

impl GoodSignature {
    /// Returns the profile that the signature is for: the one that it names, if `layer` has the root hash by that one, too.
    ///
    /// Two profiles give a layer that is not compressed the same root hash, for its digest is its diffID. They part where it is
    /// compressed, and nodes work by the one that was meant.
    fn intended_profile(&self, layer: &ImageLayer) -> Profile {
        let named = self.signature.claim.profile.as_deref().and_then(|name| name.parse().ok());
        let uuid = |profile: Profile| profile.uuid(layer.descriptor.digest, layer.diff_id);
        let is_same = |named: &Profile| {
            named.mode() == self.profile.mode() && uuid(*named) == uuid(self.profile)
        };
        named.filter(is_same).unwrap_or(self.profile)
    }
}

impl SignedLayers {
    /// Adds a layer with its signatures.
    pub fn add(&mut self, layer: ImageLayer, signatures: Vec<GoodSignature>) {
        self.layers.push((layer, signatures));
    }

    /// Returns the signatures that are good for `layer`.
    ///
    /// A layer is the same if it has the same digest and the same diffID. One with the diffID alone was
    /// compressed again: the signatures by profiles whose root hashes do not depend on that still fit.
    pub fn of(&self, layer: &ImageLayer) -> Carried {
        let mut signatures: Vec<LayerSignature> = Vec::new();
        let mut recompressed = None;
        for (known, good) in self.layers.iter().filter(|(known, _)| known.diff_id == layer.diff_id)
        {
            let (old, new) = (known.descriptor.digest, layer.descriptor.digest);
            for good in good {
                let profile = good.intended_profile(known);
                if profile.uuid(old, known.diff_id) != profile.uuid(new, layer.diff_id) {
                    continue;
                }
                let claim = Claim { layer_digest: new, ..good.signature.claim.clone() };
                let signature = LayerSignature { claim, ..good.signature.clone() };
                if !signatures.contains(&signature) {
                    signatures.push(signature);
                }
            }
            if old != new && !good.is_empty() {
                let mut profiles: Vec<_> =
                    good.iter().map(|good| good.intended_profile(known)).collect();
                profiles.sort();
                profiles.dedup();
                recompressed.get_or_insert(Carried::Recompressed { signed: old, profiles });
            }
        }
        match (signatures.is_empty(), recompressed) {
            (false, _) => Carried::Signed(signatures),
            (true, Some(recompressed)) => recompressed,
            (true, None) => Carried::Unsigned,
        }
    }

    /// Tells whether the signature that the descriptor of a layer has under `keys` is among the good ones.
    pub(crate) fn has_annotated(&self, layer: &Descriptor, keys: Keys) -> bool {
        let Ok(Some(found)) = annotations::parse(layer, keys) else { return false };
        let is_found = |good: &GoodSignature| {
            good.signature.signature == found.signature
                && good.signature.claim.root_hash == found.claim.root_hash
        };
        self.layers.iter().any(|(known, good)| {
            known.descriptor.digest == layer.digest && good.iter().any(is_found)
        })
    }
}

#[cfg(test)]
mod tests {
    use libverity::digest::RootHash;

    use super::*;
    use crate::media_type::MediaType;

    fn layer(blob: &[u8]) -> ImageLayer {
        let descriptor = Descriptor::of(MediaType::OCI_LAYER, blob);
        ImageLayer { descriptor, diff_id: Digest::of(b"archive") }
    }

    fn good(layer: &ImageLayer, profile: Profile) -> GoodSignature {
        let root_hash = RootHash::from_bytes([profile as u8; 32]);
        let claim = Claim::new(layer.descriptor.digest, root_hash);
        GoodSignature { signature: LayerSignature { claim, signature: vec![0x30] }, profile }
    }

    fn signed(profiles: &[Profile]) -> (SignedLayers, ImageLayer) {
        let layer = layer(b"blob");
        let mut signed = SignedLayers::default();
        let good = profiles.iter().map(|profile| good(&layer, *profile)).collect();
        signed.add(layer.clone(), good);
        (signed, layer)
    }

    #[test]
    fn signatures_stay_with_their_layer() {
        let (signed, layer) = signed(&Profile::ALL);
        let Carried::Signed(signatures) = signed.of(&layer) else { panic!("it is signed") };
        assert_eq!(signatures.len(), Profile::ALL.len());
        let other = ImageLayer { diff_id: Digest::of(b"other"), ..layer };
        assert_eq!(signed.of(&other), Carried::Unsigned, "another archive in the same blob");
        assert_eq!(SignedLayers::default().of(&other), Carried::Unsigned);
    }

    #[test]
    fn of_a_layer_that_was_compressed_again_those_remain_that_still_fit() {
        let again = layer(b"blob, compressed in another way");
        let (by_digest, _) = signed(&[Profile::ContainerdFullV1]);
        let expected = Carried::Recompressed {
            signed: layer(b"blob").descriptor.digest,
            profiles: vec![Profile::ContainerdFullV1],
        };
        assert_eq!(by_digest.of(&again), expected);
        let (by_both, old) = signed(&[Profile::ContainerdFullV1, Profile::DiffidFullV1]);
        let Carried::Signed(signatures) = by_both.of(&again) else { panic!("one still fits") };
        let [signature] = &*signatures else { panic!("only one still fits") };
        assert_eq!(signature.claim.layer_digest, again.descriptor.digest);
        assert_ne!(signature.claim.layer_digest, old.descriptor.digest);
        assert_eq!(
            signature.claim.root_hash,
            good(&old, Profile::DiffidFullV1).signature.claim.root_hash
        );
    }

    /// The digest of a layer that is not compressed is its diffID, and so is the UUID of its image.
    #[test]
    fn a_signature_of_a_plain_layer_is_for_the_profile_that_it_names() {
        let plain = layer(b"archive");
        let compressed = layer(b"compressed");
        let signed_as = |name: &str| {
            let mut good = good(&plain, Profile::ContainerdFullV1);
            good.signature.claim.profile = Some(name.to_owned());
            let mut signed = SignedLayers::default();
            signed.add(plain.clone(), vec![good]);
            signed.of(&compressed)
        };
        assert!(matches!(signed_as("diffid-full-v1"), Carried::Signed(_)));
        // By these the compressed layer has another root hash, or nobody knows.
        for other in ["containerd-full-v1", "containerd-index-v1", "osguard-ci-v1", "x"] {
            assert!(matches!(signed_as(other), Carried::Recompressed { .. }), "{other}");
        }
    }
}
