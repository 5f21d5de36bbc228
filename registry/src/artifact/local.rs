//! Signatures in a file of their own, for images that nobody can attach anything to.
//!
//! ```json
//! [{"name":"registry.example/app:v1",
//!   "layers":[{"digest":"sha256:…","root_hash":"<hex>","signature":"<base64 of the signature>"}]}]
//! ```
//!
//! Source: `sign-oci-layer-root-hashes` of Kata Containers, whose snapshotter reads such files.

use std::borrow::Cow;

use libverity::digest::{Digest, RootHash};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};

use super::claim::parse_root_hash;
use super::{ArtifactError, Claim, LayerSignature, check_count, check_signature_size, text};

/// Holds the signatures of the layers of one image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LocalImage {
    /// How the image is called; nothing depends on it.
    pub name: String,
    /// The signatures. Of their claims only layer digest and root hash are written.
    pub signatures: Vec<LayerSignature>,
}

/// Reads the signatures in a file. Fields that are not known are passed over.
///
/// # Errors
///
/// Returns [`ArtifactError::TooLong`] if the file has more than [`MAX_FILE_BYTES`],
/// [`ArtifactError::Json`] with line and column if it is not of this form, and
/// [`ArtifactError::SignatureCount`] if an image has no signatures or too many.
pub fn parse(bytes: &[u8]) -> Result<Vec<LocalImage>, ArtifactError> {
    check_file_size(bytes)?;
    let images: Vec<ImageDocument<'_>> =
        serde_json::from_slice(bytes).map_err(|source| ArtifactError::Json { source })?;
    let image = |image: ImageDocument<'_>| {
        check_count(image.layers.len())?;
        let signatures = image.layers.into_iter().map(|layer| LayerSignature {
            claim: Claim::new(layer.digest, layer.root_hash),
            signature: layer.signature.0,
        });
        Ok(LocalImage { name: image.name.into_owned(), signatures: signatures.collect() })
    };
    images.into_iter().map(image).collect()
}

/// Returns the content of a file with these signatures: JSON without white space.
///
/// # Errors
///
/// Returns [`ArtifactError::SignatureCount`], [`ArtifactError::SignatureTooLong`] or
/// [`ArtifactError::TooLong`].
pub fn write(images: &[LocalImage]) -> Result<Vec<u8>, ArtifactError> {
    let mut documents = Vec::new();
    for image in images {
        check_count(image.signatures.len())?;
        let mut layers = Vec::new();
        for LayerSignature { claim, signature } in &image.signatures {
            check_signature_size(signature.len() as u64)?;
            layers.push(LayerDocument {
                digest: claim.layer_digest,
                root_hash: claim.root_hash.clone(),
                signature: Signature(signature.clone()),
            });
        }
        documents.push(ImageDocument { name: Cow::Borrowed(&image.name), layers });
    }
    let bytes = serde_json::to_vec(&documents).map_err(|source| ArtifactError::Json { source })?;
    check_file_size(&bytes)?;
    Ok(bytes)
}

fn check_file_size(bytes: &[u8]) -> Result<(), ArtifactError> {
    let found_bytes = bytes.len() as u64;
    if found_bytes > MAX_FILE_BYTES {
        return Err(ArtifactError::TooLong { limit_bytes: MAX_FILE_BYTES, found_bytes });
    }
    Ok(())
}

#[derive(Serialize, Deserialize)]
struct ImageDocument<'a> {
    name: Cow<'a, str>,
    layers: Vec<LayerDocument>,
}

#[derive(Serialize, Deserialize)]
struct LayerDocument {
    digest: Digest,
    #[serde(deserialize_with = "root_hash")]
    root_hash: RootHash,
    signature: Signature,
}

struct Signature(Vec<u8>);

impl Serialize for Signature {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&text::encode(&self.0))
    }
}

impl<'de> Deserialize<'de> for Signature {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let wrong = || ArtifactError::Base64 { key: "signature" };
        text::decode(&text, wrong).map(Self).map_err(D::Error::custom)
    }
}

fn root_hash<'de, D: Deserializer<'de>>(deserializer: D) -> Result<RootHash, D::Error> {
    let text = String::deserialize(deserializer)?;
    let wrong = || D::Error::custom(format_args!("{text:?} is not a root hash as it is signed"));
    parse_root_hash(&text).ok_or_else(wrong)
}

/// The longest file that is read or written: some 2,000 signatures of 1,500 bytes.
pub const MAX_FILE_BYTES: u64 = 4 << 20;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::MAX_SIGNATURE_BYTES;
    use super::super::samples::{full_signature, root_hash, signature, signatures};
    use super::*;

    #[test]
    fn it_is_written_byte_for_byte() {
        let images = [
            LocalImage { name: "app\u{e9}:\"1\"".to_owned(), signatures: vec![full_signature(1)] },
            LocalImage { name: String::new(), signatures: vec![signature(2), signature(3)] },
        ];
        let layer = |layer: u8, base64: &str| {
            let (digest, root_hash) = (Digest::of(&[layer]), root_hash(layer));
            format!(r#"{{"digest":"{digest}","root_hash":"{root_hash}","signature":"{base64}"}}"#)
        };
        let expected = format!(
            r#"[{{"name":"appé:\"1\"","layers":[{}]}},{{"name":"","layers":[{},{}]}}]"#,
            layer(1, "MAE="),
            layer(2, "MAI="),
            layer(3, "MAM="),
        );
        let written = write(&images).unwrap();
        assert_eq!(String::from_utf8_lossy(&written), expected);
        let read = parse(&written).unwrap();
        assert_eq!(read[0].name, images[0].name);
        assert_eq!(read[0].signatures, [signature(1)], "and nothing more is said");
        assert_eq!(read[1], images[1]);
        let foreign = expected.replace("\"name\"", " \"kind\": 7,\n\"name\"");
        assert_eq!(parse(foreign.as_bytes()).unwrap(), read);
        assert_eq!(parse(b" [ ] ").unwrap(), []);
    }

    #[test]
    fn wrong_files_say_what_is_wrong() {
        let image = LocalImage { name: "app".to_owned(), signatures: vec![signature(1)] };
        let text = String::from_utf8(write(&[image]).unwrap()).unwrap();
        let message = |from: &str, to: &str| {
            assert!(text.contains(from), "{from}");
            parse(text.replace(from, to).as_bytes()).unwrap_err().to_string()
        };
        let hex = root_hash(1).to_string();
        for (from, to, expected) in [
            ("[{\"name", "{\"name", "it is not valid: invalid type: map, expected a sequence"),
            ("\"name\"", "\"nom\"", "it is not valid: missing field `name`"),
            ("\"layers\"", "\"beds\"", "it is not valid: missing field `layers`"),
            ("\"signature\"", "\"sig\"", "it is not valid: missing field `signature`"),
            ("sha256:", "sha512:", "it is not valid: \"sha512:"),
            (&hex, "00", "it is not valid: \"00\" is not a root hash as it is signed"),
            (&hex, &"AB".repeat(32), "it is not valid: \"ABAB"),
            ("MAE=", "MAE", "it is not valid: the value of signature is not base64 text at line 1"),
            ("MAE=", &"A".repeat(43_696), "it is not valid: a signature has "),
        ] {
            let found = message(from, to);
            assert!(found.starts_with(expected), "{found}");
        }
        let layers = &text[text.find("[{\"digest").unwrap()..text.len() - 2];
        assert_eq!(message(layers, "[]"), "it has 0 signatures, and 1 to 2000 are allowed");
        let long = vec![b' '; MAX_FILE_BYTES as usize + 1];
        assert!(matches!(parse(&long), Err(ArtifactError::TooLong { found_bytes: 4_194_305, .. })));
    }

    #[test]
    fn files_out_of_bounds_are_not_written() {
        let with = |signatures| write(&[LocalImage { name: String::new(), signatures }]);
        assert!(matches!(with(Vec::new()), Err(ArtifactError::SignatureCount { found: 0, .. })));
        let bytes = vec![0x30; MAX_SIGNATURE_BYTES as usize + 1];
        let long = LayerSignature { signature: bytes, ..signature(1) };
        assert!(matches!(with(vec![long]), Err(ArtifactError::SignatureTooLong { .. })));
        let bytes = vec![0x30; MAX_SIGNATURE_BYTES as usize];
        let longest = LayerSignature { signature: bytes, ..signature(1) };
        assert!(matches!(with(vec![longest; 100]), Err(ArtifactError::TooLong { .. })));
    }

    proptest! {
        #[test]
        fn what_is_written_is_parsed_back(name in ".*", signatures in signatures()) {
            let written = write(&[LocalImage { name: name.clone(), signatures: signatures.clone() }]);
            let read = parse(&written.unwrap()).unwrap().remove(0);
            prop_assert_eq!(read.name, name);
            prop_assert_eq!(read.signatures.len(), signatures.len());
            for (read, written) in read.signatures.iter().zip(&signatures) {
                prop_assert_eq!(&read.signature, &written.signature);
                prop_assert_eq!(read.claim.layer_digest, written.claim.layer_digest);
                prop_assert_eq!(&read.claim.root_hash, &written.claim.root_hash);
            }
        }
    }
}
