//! Signature artifacts: the signatures of one image's layers, as they lie beside the image.
//!
//! An artifact is a manifest whose subject is the image's manifest. It is written without white
//! space and with its fields in a fixed order, so that the same signatures always make the same
//! bytes and the same digest. There are two forms of it, [`standard`] and [`prototype`]; signatures
//! can also lie in the image's own manifest ([`annotations`]) and in local files ([`local`]).
//!
//! Nothing of what any of them says is trusted.

pub mod annotations;
mod claim;
mod document;
mod error;
mod format;
pub mod local;
pub mod prototype;
pub mod standard;
mod text;

use std::collections::BTreeMap;

pub use self::claim::Claim;
pub use self::error::ArtifactError;
pub use self::format::{Format, UnknownFormat};
use crate::descriptor::Descriptor;
use crate::manifest::{MAX_LAYERS, Manifest, ManifestKind};
use crate::media_type::MediaType;

/// Holds the signatures of one image manifest's layers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignatureArtifact {
    /// The image manifest.
    pub subject: Descriptor,
    /// The signatures, in the order of the image's layers.
    pub signatures: Vec<LayerSignature>,
}

/// Is one signature with what it says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LayerSignature {
    /// What the signature is said to be about.
    pub claim: Claim,
    /// The detached PKCS#7 SignedData in DER, at most [`MAX_SIGNATURE_BYTES`].
    pub signature: Vec<u8>,
}

impl SignatureArtifact {
    /// Returns the manifest and the blobs of the artifact in this form, ready to be pushed.
    ///
    /// # Errors
    ///
    /// Returns an error if there are no signatures or more than [`MAX_SIGNATURES`], if one of them
    /// is longer than [`MAX_SIGNATURE_BYTES`], or if the manifest would be longer than what is read.
    pub fn encode(&self, format: Format) -> Result<EncodedArtifact, ArtifactError> {
        check_count(self.signatures.len())?;
        for signature in &self.signatures {
            check_signature_size(signature.signature.len() as u64)?;
        }
        let bytes = match format {
            Format::Standard => standard::write(self),
            Format::Prototype => prototype::write(self),
        };
        let bytes = bytes.map_err(|source| ArtifactError::Json { source })?;
        let manifest = Manifest::parse(Some(&MediaType::OCI_MANIFEST), bytes)
            .map_err(|source| ArtifactError::Manifest { source })?;
        let mut blobs = vec![configuration()];
        blobs.extend(self.signatures.iter().map(|signature| {
            let bytes = signature.signature.clone();
            (Descriptor::of(format.signature_media_type(), &bytes), bytes)
        }));
        Ok(EncodedArtifact { manifest, blobs })
    }

    /// Returns a file name for each signature; those of one layer follow each other under its
    /// number.
    fn titles(&self) -> impl Iterator<Item = String> {
        let mut numbers = BTreeMap::new();
        self.signatures.iter().map(move |LayerSignature { claim, .. }| {
            let next = numbers.len();
            let (layer, count) = numbers.entry(claim.layer_digest).or_insert((next, 0));
            *count += 1;
            match *count {
                1 => format!("layer-{layer}.pkcs7.sig"),
                count => format!("layer-{layer}.{}.pkcs7.sig", count - 1),
            }
        })
    }
}

/// Returns the blob that stands for the configuration of every artifact.
pub(crate) fn configuration() -> (Descriptor, Vec<u8>) {
    (Descriptor::of(MediaType::OCI_EMPTY, EMPTY), EMPTY.to_vec())
}

/// Is a signature artifact as it is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EncodedArtifact {
    /// The manifest, to be pushed last.
    pub manifest: Manifest,
    /// The empty configuration and the signatures.
    pub blobs: Vec<(Descriptor, Vec<u8>)>,
}

/// Reads from an artifact's manifest where its signatures are and what is claimed of them, in
/// whatever form it is.
///
/// # Errors
///
/// Everything that [`ArtifactError`] lists: the whole artifact is refused if any of its entries is
/// not what it must be.
pub fn parse(manifest: &Manifest) -> Result<ParsedArtifact, ArtifactError> {
    let ManifestKind::Image(image) = manifest.kind() else {
        return Err(ArtifactError::NotAnArtifact { found: None });
    };
    let Some(format) = image.artifact_type().and_then(Format::of_artifact_type) else {
        return Err(ArtifactError::NotAnArtifact {
            found: image.artifact_type().map(str::to_owned),
        });
    };
    let Some(subject) = image.subject.clone() else {
        return Err(ArtifactError::NoSubject);
    };
    check_count(image.layers.len())?;
    let entry = |layer: &Descriptor| {
        let expected = format.signature_media_type();
        if layer.media_type != expected {
            return Err(ArtifactError::MediaType { expected, found: layer.media_type.clone() });
        }
        match format {
            Format::Standard => standard::parse_entry(layer),
            Format::Prototype => prototype::parse_entry(layer),
        }
    };
    let entries = image.layers.iter().map(entry).collect::<Result<_, _>>()?;
    Ok(ParsedArtifact { format, subject, entries })
}

/// Is what the manifest of an artifact says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParsedArtifact {
    /// The form of the artifact.
    pub format: Format,
    /// The image manifest.
    pub subject: Descriptor,
    /// The signatures, at least one and at most [`MAX_SIGNATURES`].
    pub entries: Vec<Entry>,
}

/// Is one signature as the manifest of an artifact has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// What the signature is said to be about.
    pub claim: Claim,
    /// Where the signature is.
    pub location: Location,
}

/// Says where a signature is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Location {
    /// In the blob, from whose content [`signature_from_blob`] takes it.
    Blob(Box<Descriptor>),
    /// In the manifest itself: these are its bytes, in DER.
    Inline(Vec<u8>),
}

/// Takes a signature out of the content of a blob, at most [`max_blob_bytes`] bytes.
///
/// # Errors
///
/// Returns [`ArtifactError::Blob`] if it holds none, and [`ArtifactError::SignatureTooLong`].
pub fn signature_from_blob(format: Format, content: Vec<u8>) -> Result<Vec<u8>, ArtifactError> {
    match format {
        Format::Standard => {
            check_signature_size(content.len() as u64)?;
            Ok(content)
        }
        Format::Prototype => prototype::signature_from_blob(content),
    }
}

/// Returns how long a blob with a signature may be in this form, in bytes.
pub const fn max_blob_bytes(format: Format) -> u64 {
    match format {
        Format::Standard => MAX_SIGNATURE_BYTES,
        Format::Prototype => prototype::MAX_BLOB_BYTES,
    }
}

fn check_count(found: usize) -> Result<(), ArtifactError> {
    if found == 0 || found > MAX_SIGNATURES {
        return Err(ArtifactError::SignatureCount { limit: MAX_SIGNATURES, found });
    }
    Ok(())
}

fn check_signature_size(found_bytes: u64) -> Result<(), ArtifactError> {
    if found_bytes > MAX_SIGNATURE_BYTES {
        return Err(ArtifactError::SignatureTooLong {
            limit_bytes: MAX_SIGNATURE_BYTES,
            found_bytes,
        });
    }
    Ok(())
}

/// The most signatures in one artifact: every layer that can be mounted, by up to four profiles.
pub const MAX_SIGNATURES: usize = 4 * MAX_LAYERS;

/// The longest signature: what fits in a key of type `user`, by which dm-verity is handed it
/// (`user_preparse` in `security/keys/user_defined.c`).
pub const MAX_SIGNATURE_BYTES: u64 = 32_767;

/// The configuration of artifacts that have none.
const EMPTY: &[u8] = b"{}";

#[cfg(test)]
pub(crate) mod samples;

#[cfg(test)]
mod tests {
    use libverity::digest::Digest;
    use proptest::prelude::*;

    use super::samples::{error_after, full_signature, signature, signatures, subject};
    use super::*;
    use crate::manifest::ManifestError;

    #[test]
    fn artifacts_out_of_bounds_are_not_made() {
        let artifact = |signatures| SignatureArtifact { subject: subject(), signatures };
        for format in Format::ALL {
            assert!(matches!(
                artifact(Vec::new()).encode(format),
                Err(ArtifactError::SignatureCount { found: 0, .. })
            ));
            let mut long = signature(1);
            long.signature = vec![0; MAX_SIGNATURE_BYTES as usize + 1];
            assert!(matches!(
                artifact(vec![long]).encode(format),
                Err(ArtifactError::SignatureTooLong { found_bytes: 32_768, .. })
            ));
        }
    }

    #[test]
    fn the_largest_artifacts_can_be_read_back() {
        let mut largest = full_signature(1);
        largest.claim.image_size_bytes = Some(u64::MAX);
        largest.claim.profile = Some("p".repeat(claim::MAX_NAME_BYTES));
        largest.claim.signer = Some("a".repeat(claim::MAX_NAME_BYTES));
        // RSA-4096 with a certificate makes less than this.
        largest.signature = vec![0x30; 4096];
        let signatures = vec![largest; MAX_LAYERS];
        let mut artifact = SignatureArtifact { subject: subject(), signatures };
        for format in Format::ALL {
            let encoded = artifact.encode(format).unwrap();
            assert_eq!(parse(&encoded.manifest).unwrap().entries.len(), MAX_LAYERS);
        }
        artifact.signatures[0].signature = vec![0x30; MAX_SIGNATURE_BYTES as usize];
        artifact.signatures = vec![artifact.signatures[0].clone(); MAX_LAYERS];
        assert_eq!(artifact.encode(Format::Standard).unwrap().blobs.len(), MAX_LAYERS + 1);
        assert!(matches!(
            artifact.encode(Format::Prototype),
            Err(ArtifactError::Manifest { source: ManifestError::TooLong { .. } })
        ));
    }

    #[test]
    fn what_is_wrong_in_every_form_is_named() {
        for format in Format::ALL {
            assert!(matches!(
                error_after(format, format.artifact_type(), "application/x"),
                ArtifactError::NotAnArtifact { found: Some(found) } if found == "application/x"
            ));
            assert!(matches!(
                error_after(format, "\"subject\"", "\"object\""),
                ArtifactError::NoSubject
            ));
            let media_type = format.signature_media_type();
            assert!(matches!(
                error_after(format, media_type.as_str(), "application/x"),
                ArtifactError::MediaType { expected, .. } if expected == media_type
            ));
            for (from, to, expected) in [
                (
                    "org.osguard.image-size\":\"4096",
                    "org.osguard.image-size\":\"+1",
                    claim::IMAGE_SIZE,
                ),
                ("org.osguard.signer\":\"00ff", "org.osguard.signer\":\"00FF", claim::SIGNER),
                ("org.osguard.profile\":\"", "org.osguard.profile\":\"a b", claim::PROFILE),
                ("org.osguard.diff-id\":\"", "org.osguard.diff-id\":\"x", claim::DIFF_ID),
            ] {
                match error_after(format, from, to) {
                    ArtifactError::Digest { key, .. }
                    | ArtifactError::WrongAnnotation { key, .. } => assert_eq!(key, expected),
                    other => panic!("{from}: {other}"),
                }
            }
            let artifact = SignatureArtifact { subject: subject(), signatures: vec![signature(1)] };
            let bytes = artifact.encode(format).unwrap().manifest.bytes().to_vec();
            let text = String::from_utf8(bytes).unwrap();
            let layers =
                &text[text.find("\"layers\"").unwrap()..text.find(",\"subject\"").unwrap()];
            assert!(matches!(
                error_after_layers(&text, layers),
                ArtifactError::SignatureCount { found: 0, .. }
            ));
        }
    }

    fn error_after_layers(text: &str, layers: &str) -> ArtifactError {
        let bytes = text.replace(layers, "\"layers\":[]").into_bytes();
        parse(&Manifest::parse(None, bytes).unwrap()).unwrap_err()
    }

    proptest! {
        #[test]
        fn what_is_encoded_is_parsed_back(signatures in signatures()) {
            let artifact = SignatureArtifact { subject: subject(), signatures };
            for format in Format::ALL {
                let encoded = artifact.encode(format).unwrap();
                prop_assert_eq!(&encoded, &artifact.encode(format).unwrap());
                let read = parse(&encoded.manifest).unwrap();
                prop_assert_eq!((read.format, &read.subject), (format, &artifact.subject));
                let blobs = &encoded.blobs[1..];
                prop_assert_eq!(read.entries.len(), artifact.signatures.len());
                for ((entry, blob), written) in read.entries.iter().zip(blobs).zip(&artifact.signatures) {
                    prop_assert_eq!(&entry.claim, &written.claim);
                    match &entry.location {
                        Location::Inline(signature) => prop_assert_eq!(signature, &written.signature),
                        Location::Blob(descriptor) => {
                            prop_assert_eq!(descriptor.plain(), blob.0.clone());
                            prop_assert_eq!(descriptor.digest, Digest::of(&written.signature));
                            let signature = signature_from_blob(format, blob.1.clone()).unwrap();
                            prop_assert_eq!(&signature, &written.signature);
                        }
                    }
                }
            }
        }
    }
}
