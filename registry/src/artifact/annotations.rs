//! Signatures in the image's own manifest: annotations of its layers' descriptors.
//!
//! ```json
//! {"mediaType":"application/vnd.oci.image.layer.v1.tar+gzip","digest":"sha256:…","size":1234,
//!  "annotations":{"org.osguard.root-hash":"<hex>",
//!                 "org.osguard.signature":"<base64 of the signature>",
//!                 "org.osguard.diff-id":"sha256:…",
//!                 "org.osguard.image-size":"<bytes>",
//!                 "org.osguard.profile":"containerd-full-v1",
//!                 "org.osguard.signer":"<hex>"}}
//! ```
//!
//! Kata Containers have `io.katacontainers.dm-verity.root-hash` and
//! `io.katacontainers.dm-verity.root-hash-sig` with the same values.
//!
//! containerd hands the annotations of a layer's descriptor to whatever unpacks the layer, by every
//! way of pulling. Keys that start with `containerd.io/snapshot/` become labels besides, which may
//! have 4096 bytes; an image that has more in one cannot be pulled. So ours do not start like that.
//!
//! Each key occurs once in a descriptor, and so a layer has one signature by each set of keys. Who
//! has several of them attaches the others as an artifact.
//!
//! Source: `sign-oci-layer-root-hashes` of Kata Containers; the annotations `org.osguard.*` are ours.

use std::fmt;

use serde::{Serialize, Serializer};

use super::claim::{Annotations, DIFF_ID, IMAGE_SIZE, PROFILE, SIGNER};
use super::{ArtifactError, Claim, LayerSignature, check_signature_size, text};
use crate::descriptor::Descriptor;

/// Tells the sets of keys apart under which signatures are in manifests.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Keys {
    /// Those of osguard.
    Osguard,
    /// Those of Kata Containers, whose root hashes are those of other images than ours.
    Kata,
}

impl Keys {
    /// All sets, in the order of preference.
    pub const ALL: [Self; 2] = [Self::Osguard, Self::Kata];

    /// Returns the name by which the set is shown.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Osguard => "osguard",
            Self::Kata => "kata",
        }
    }

    /// Tells whether `key` belongs to the set.
    pub fn contains(self, key: &str) -> bool {
        let is_fact = || [DIFF_ID, IMAGE_SIZE, PROFILE, SIGNER].contains(&key);
        key == self.root_hash() || key == self.signature() || (self == Self::Osguard && is_fact())
    }

    const fn root_hash(self) -> &'static str {
        match self {
            Self::Osguard => "org.osguard.root-hash",
            Self::Kata => "io.katacontainers.dm-verity.root-hash",
        }
    }

    const fn signature(self) -> &'static str {
        match self {
            Self::Osguard => "org.osguard.signature",
            Self::Kata => "io.katacontainers.dm-verity.root-hash-sig",
        }
    }
}

impl fmt::Display for Keys {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(self.name())
    }
}

impl Serialize for Keys {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

/// Reads the signature that the descriptor of a layer has under `keys`, if any. A root hash without
/// a signature says nothing.
///
/// # Errors
///
/// Returns [`ArtifactError::MissingAnnotation`], [`ArtifactError::WrongAnnotation`],
/// [`ArtifactError::Digest`], [`ArtifactError::Base64`] or [`ArtifactError::SignatureTooLong`].
pub fn parse(layer: &Descriptor, keys: Keys) -> Result<Option<LayerSignature>, ArtifactError> {
    let annotations = Annotations(layer);
    let Some(signature) = annotations.signature(keys.signature())? else { return Ok(None) };
    let root_hash = annotations.root_hash(keys.root_hash())?;
    let claim = match keys {
        Keys::Osguard => annotations.claim(layer.digest, root_hash)?,
        Keys::Kata => Claim::new(layer.digest, root_hash),
    };
    Ok(Some(LayerSignature { claim, signature }))
}

/// Returns the annotations that [`parse`] makes `signature` of, in the order in which they are
/// written.
///
/// # Errors
///
/// Returns [`ArtifactError::SignatureTooLong`].
pub fn write(
    LayerSignature { claim, signature }: &LayerSignature,
    keys: Keys,
) -> Result<Vec<(&'static str, String)>, ArtifactError> {
    check_signature_size(signature.len() as u64)?;
    let mut annotations = vec![
        (keys.root_hash(), claim.root_hash.signed_text()),
        (keys.signature(), text::encode(signature)),
    ];
    if keys == Keys::Osguard {
        let facts = [
            (DIFF_ID, claim.diff_id.map(|digest| digest.to_string())),
            (IMAGE_SIZE, claim.image_size_bytes.map(|size| size.to_string())),
            (PROFILE, claim.profile.clone()),
            (SIGNER, claim.signer.clone()),
        ];
        annotations.extend(facts.into_iter().filter_map(|(key, value)| Some((key, value?))));
    }
    Ok(annotations)
}

#[cfg(test)]
mod tests {
    use libverity::digest::Digest;
    use proptest::prelude::*;

    use super::super::MAX_SIGNATURE_BYTES;
    use super::super::samples::{full_signature, root_hash, signatures};
    use super::*;
    use crate::media_type::MediaType;

    fn layer(digest: Digest, annotations: &[(&'static str, String)]) -> Descriptor {
        let mut layer = Descriptor::new(MediaType::OCI_LAYER, digest, 1);
        layer.annotations =
            annotations.iter().map(|(key, value)| ((*key).to_owned(), value.clone())).collect();
        layer
    }

    #[test]
    fn the_annotations_are_these() {
        let signature = full_signature(1);
        let kata = [
            ("io.katacontainers.dm-verity.root-hash", root_hash(1).to_string()),
            ("io.katacontainers.dm-verity.root-hash-sig", "MAE=".to_owned()),
        ];
        assert_eq!(write(&signature, Keys::Kata).unwrap(), kata);
        let ours = [
            ("org.osguard.root-hash", root_hash(1).to_string()),
            ("org.osguard.signature", "MAE=".to_owned()),
            ("org.osguard.diff-id", Digest::of(b"tar").to_string()),
            ("org.osguard.image-size", "4096".to_owned()),
            ("org.osguard.profile", "containerd-full-v1".to_owned()),
            ("org.osguard.signer", "00ff".to_owned()),
        ];
        assert_eq!(write(&signature, Keys::Osguard).unwrap(), ours);
        for (key, _) in &ours {
            assert!(Keys::Osguard.contains(key) && !Keys::Kata.contains(key));
            // With this prefix containerd makes a label of it.
            assert!(!key.starts_with("containerd.io/snapshot/"));
        }
        for (key, _) in &kata {
            assert!(Keys::Kata.contains(key) && !Keys::Osguard.contains(key));
        }
        assert!(!Keys::Osguard.contains("org.osguard.other"));
        let long = vec![0; MAX_SIGNATURE_BYTES as usize + 1];
        let long = LayerSignature { signature: long, ..signature };
        assert!(matches!(
            write(&long, Keys::Osguard),
            Err(ArtifactError::SignatureTooLong { found_bytes: 32_768, .. })
        ));
    }

    #[test]
    fn only_a_signature_makes_one() {
        let both: Vec<_> = Keys::ALL
            .into_iter()
            .flat_map(|keys| write(&full_signature(1), keys).unwrap())
            .collect();
        for keys in Keys::ALL {
            let other: Vec<_> =
                both.iter().filter(|(key, _)| !keys.contains(key)).cloned().collect();
            assert_eq!(parse(&layer(Digest::of(&[1]), &other), keys).unwrap(), None);
            let without: Vec<_> =
                both.iter().filter(|(key, _)| *key != keys.signature()).cloned().collect();
            assert_eq!(parse(&layer(Digest::of(&[1]), &without), keys).unwrap(), None);
        }
    }

    #[test]
    fn wrong_annotations_say_what_is_wrong() {
        for keys in Keys::ALL {
            let written = write(&full_signature(1), keys).unwrap();
            let error = |key: &str, value: Option<&str>| {
                let mut layer = layer(Digest::of(&[1]), &written);
                match value {
                    Some(value) => layer.annotations.insert(key.to_owned(), value.to_owned()),
                    None => layer.annotations.remove(key),
                };
                parse(&layer, keys).unwrap_err()
            };
            let missing = error(keys.root_hash(), None);
            assert!(
                matches!(missing, ArtifactError::MissingAnnotation { key } if key == keys.root_hash())
            );
            for value in ["", "00", &"AB".repeat(32)] {
                let wrong = error(keys.root_hash(), Some(value));
                assert!(
                    matches!(wrong, ArtifactError::WrongAnnotation { key, .. } if key == keys.root_hash())
                );
            }
            for value in ["x", "MAE", "MAE=\n"] {
                let wrong = error(keys.signature(), Some(value));
                assert!(matches!(wrong, ArtifactError::Base64 { key } if key == keys.signature()));
            }
            let long = error(keys.signature(), Some(&"A".repeat(43_696)));
            assert!(matches!(long, ArtifactError::SignatureTooLong { .. }));
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_parsed_back(signatures in signatures()) {
            for written in signatures {
                let digest = written.claim.layer_digest;
                let ours = layer(digest, &write(&written, Keys::Osguard).unwrap());
                prop_assert_eq!(parse(&ours, Keys::Osguard).unwrap(), Some(written.clone()));
                let kata = layer(digest, &write(&written, Keys::Kata).unwrap());
                let claim = Claim::new(digest, written.claim.root_hash.clone());
                let less = LayerSignature { claim, ..written };
                prop_assert_eq!(parse(&kata, Keys::Kata).unwrap(), Some(less));
            }
        }
    }
}
