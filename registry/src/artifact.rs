//! Signature artifacts: the signatures of one image's layers, as they lie beside the image.
//!
//! The standard form is a manifest whose subject is the image's manifest:
//!
//! ```json
//! {"schemaVersion":2,
//!  "mediaType":"application/vnd.oci.image.manifest.v1+json",
//!  "artifactType":"application/vnd.cncf.notary.signature.dm-verity",
//!  "config":{"mediaType":"application/vnd.oci.empty.v1+json","size":2,"digest":"sha256:44136f…"},
//!  "layers":[{"mediaType":"application/pkcs7-signature","digest":"sha256:…","size":1479,
//!    "annotations":{"io.cncf.notary.layer.digest":"sha256:…",
//!                   "io.cncf.notary.dm-verity.root-hash":"<hex>",
//!                   "org.opencontainers.image.title":"layer-0.pkcs7.sig",
//!                   "org.osguard.diff-id":"sha256:…",
//!                   "org.osguard.image-size":"<bytes>",
//!                   "org.osguard.profile":"containerd-full-v1",
//!                   "org.osguard.signer":"<hex>"}}],
//!  "subject":{"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":"sha256:…","size":1234},
//!  "annotations":{"io.cncf.notary.dm-verity.signature":"true"}}
//! ```
//!
//! It is written without white space and with the fields in this order, so that the same
//! signatures always make the same bytes and the same digest.
//!
//! Source: the dm-verity proposal of the Notary Project's `notation`, `specs/proposals/dm-verity.md`;
//! the annotations `org.osguard.*` are ours.

use std::collections::BTreeMap;

use libverity::digest::{Digest, DigestError, RootHash};
use serde::Serialize;

use crate::descriptor::Descriptor;
use crate::manifest::{MAX_LAYERS, Manifest, ManifestError, ManifestKind, SCHEMA_VERSION};
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

/// Is what an artifact says about one of its signatures.
///
/// None of it is signed but the root hash. It tells where to look; whoever uses it computes the
/// root hash from the layer and verifies the signature over that.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    /// The layer's blob in the image.
    pub layer_digest: Digest,
    /// The root hash of the layer's EROFS image.
    pub root_hash: RootHash,
    /// The digest of the layer's tar archive.
    pub diff_id: Option<Digest>,
    /// The length of the layer's EROFS image without its hash tree, in bytes.
    pub image_size_bytes: Option<u64>,
    /// The name of the profile by which the layer was converted.
    pub profile: Option<String>,
    /// The subject key identifier of the signer's certificate, in lower-case hexadecimal.
    pub signer: Option<String>,
}

impl Claim {
    /// Tells whether two signatures would be interchangeable: same layer, root hash, profile and
    /// signer.
    pub fn is_same_statement(&self, other: &Self) -> bool {
        self.layer_digest == other.layer_digest
            && self.root_hash == other.root_hash
            && self.profile == other.profile
            && self.signer.is_some()
            && self.signer == other.signer
    }
}

impl SignatureArtifact {
    /// Returns the manifest and the blobs of the artifact, ready to be pushed.
    ///
    /// # Errors
    ///
    /// Returns an error if there are no signatures or more than [`MAX_SIGNATURES`], or if one of
    /// them is longer than [`MAX_SIGNATURE_BYTES`].
    pub fn encode(&self) -> Result<EncodedArtifact, ArtifactError> {
        check_count(self.signatures.len())?;
        for signature in &self.signatures {
            check_signature_size(signature.signature.len() as u64)?;
        }
        let document = ManifestDocument {
            schema_version: SCHEMA_VERSION,
            media_type: MediaType::OCI_MANIFEST,
            artifact_type: ARTIFACT_TYPE,
            config: ConfigDocument {
                media_type: MediaType::OCI_EMPTY,
                size: EMPTY.len() as u64,
                digest: Digest::of(EMPTY),
            },
            layers: self.layer_documents(),
            subject: DescriptorDocument::of(&self.subject),
            annotations: BTreeMap::from([(SIGNATURE_ANNOTATION, "true")]),
        };
        let bytes =
            serde_json::to_vec(&document).map_err(|source| ArtifactError::Json { source })?;
        let manifest = Manifest::parse(Some(&MediaType::OCI_MANIFEST), bytes)
            .map_err(|source| ArtifactError::Manifest { source })?;
        let mut blobs = vec![(Descriptor::of(MediaType::OCI_EMPTY, EMPTY), EMPTY.to_vec())];
        blobs.extend(self.signatures.iter().map(|signature| {
            let bytes = signature.signature.clone();
            (Descriptor::of(MediaType::PKCS7_SIGNATURE, &bytes), bytes)
        }));
        Ok(EncodedArtifact { manifest, blobs })
    }

    fn layer_documents<'a>(&'a self) -> Vec<LayerDocument<'a>> {
        // The signatures of one layer follow each other under its number.
        let mut numbers = BTreeMap::new();
        let document = |LayerSignature { claim, signature }: &'a LayerSignature| {
            let next = numbers.len();
            let (layer, count) = numbers.entry(claim.layer_digest).or_insert((next, 0));
            let title = match *count {
                0 => format!("layer-{layer}.pkcs7.sig"),
                count => format!("layer-{layer}.{count}.pkcs7.sig"),
            };
            *count += 1;
            LayerDocument {
                descriptor: DescriptorDocument {
                    media_type: MediaType::PKCS7_SIGNATURE,
                    digest: Digest::of(signature),
                    size: signature.len() as u64,
                },
                annotations: AnnotationsDocument {
                    layer_digest: claim.layer_digest,
                    root_hash: &claim.root_hash,
                    title,
                    diff_id: claim.diff_id,
                    image_size: claim.image_size_bytes.map(|size| size.to_string()),
                    profile: claim.profile.as_deref(),
                    signer: claim.signer.as_deref(),
                },
            }
        };
        self.signatures.iter().map(document).collect()
    }
}

/// Is a signature artifact as it is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EncodedArtifact {
    /// The manifest, to be pushed last.
    pub manifest: Manifest,
    /// The empty configuration and the signatures.
    pub blobs: Vec<(Descriptor, Vec<u8>)>,
}

/// Reads from an artifact's manifest where its signatures are and what is claimed of them.
///
/// # Errors
///
/// Everything that [`ArtifactError`] lists: the whole artifact is refused if any of its entries is
/// not what it must be.
pub fn parse(manifest: &Manifest) -> Result<Vec<(Descriptor, Claim)>, ArtifactError> {
    let ManifestKind::Image(image) = manifest.kind() else {
        return Err(ArtifactError::NotAnArtifact { found: None });
    };
    if image.artifact_type() != Some(ARTIFACT_TYPE) {
        return Err(ArtifactError::NotAnArtifact {
            found: image.artifact_type().map(str::to_owned),
        });
    }
    if image.subject.is_none() {
        return Err(ArtifactError::NoSubject);
    }
    check_count(image.layers.len())?;
    image.layers.iter().map(|layer| Ok((layer.clone(), parse_claim(layer)?))).collect()
}

fn parse_claim(layer: &Descriptor) -> Result<Claim, ArtifactError> {
    if layer.media_type != MediaType::PKCS7_SIGNATURE {
        return Err(ArtifactError::MediaType { found: layer.media_type.clone() });
    }
    check_signature_size(layer.size)?;
    let required =
        |key: &'static str| layer.annotation(key).ok_or(ArtifactError::MissingAnnotation { key });
    let wrong = |key: &'static str, value: &str| ArtifactError::WrongAnnotation {
        key,
        value: value.to_owned(),
    };
    let digest = |key: &'static str, text: &str| {
        text.parse().map_err(|source| ArtifactError::Digest { key, source })
    };
    let root_hash_text = required(ROOT_HASH)?;
    let root_hash = root_hash_text
        .parse::<RootHash>()
        .ok()
        // What is signed is the lower-case text; another spelling cannot have been signed.
        .filter(|root_hash| root_hash.signed_text() == root_hash_text)
        .ok_or_else(|| wrong(ROOT_HASH, root_hash_text))?;
    let image_size_bytes = match layer.annotation(IMAGE_SIZE) {
        Some(text) => {
            let size = text.parse::<u64>().ok().filter(|size| size.to_string() == text);
            Some(size.ok_or_else(|| wrong(IMAGE_SIZE, text))?)
        }
        None => None,
    };
    let short_text = |key: &'static str, is_allowed: fn(u8) -> bool| match layer.annotation(key) {
        Some(text)
            if text.is_empty() || text.len() > MAX_NAME_BYTES || !text.bytes().all(is_allowed) =>
        {
            Err(wrong(key, text))
        }
        text => Ok(text.map(str::to_owned)),
    };
    Ok(Claim {
        layer_digest: digest(LAYER_DIGEST, required(LAYER_DIGEST)?)?,
        root_hash,
        diff_id: layer.annotation(DIFF_ID).map(|text| digest(DIFF_ID, text)).transpose()?,
        image_size_bytes,
        profile: short_text(PROFILE, |byte| {
            byte.is_ascii_alphanumeric() || b"-._".contains(&byte)
        })?,
        signer: short_text(SIGNER, |byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))?,
    })
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

/// Says why a manifest is no signature artifact, or why none can be made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ArtifactError {
    /// An annotation that must be a digest is none.
    #[error("the annotation {key} is wrong: {source}")]
    Digest {
        /// The key of the annotation.
        key: &'static str,
        /// What is wrong with the digest.
        source: DigestError,
    },
    /// The manifest cannot be written.
    #[error("it cannot be written: {source}")]
    Json {
        /// What the writer said.
        source: serde_json::Error,
    },
    /// The manifest that was made is not acceptable as one.
    #[error("{source}")]
    Manifest {
        /// What is wrong with it.
        source: ManifestError,
    },
    /// A layer of the artifact is no signature.
    #[error("a signature has the media type {found}, not {}", MediaType::PKCS7_SIGNATURE)]
    MediaType {
        /// The media type of the layer.
        found: MediaType,
    },
    /// A signature does not say what it is about.
    #[error("a signature lacks the annotation {key}")]
    MissingAnnotation {
        /// The key of the annotation.
        key: &'static str,
    },
    /// The artifact is not attached to anything.
    #[error("it has no subject")]
    NoSubject,
    /// The manifest is of another kind.
    #[error("its artifact type is {}, not {ARTIFACT_TYPE}", found.as_deref().unwrap_or("missing"))]
    NotAnArtifact {
        /// The artifact type of the manifest.
        found: Option<String>,
    },
    /// There are no signatures, or too many.
    #[error("it has {found} signatures, and 1 to {limit} are allowed")]
    SignatureCount {
        /// How many are allowed.
        limit: usize,
        /// How many there are.
        found: usize,
    },
    /// A signature is longer than what the kernel takes.
    #[error("a signature has {found_bytes} bytes, and {limit_bytes} are the limit of the kernel")]
    SignatureTooLong {
        /// How many bytes are allowed.
        limit_bytes: u64,
        /// How many there are.
        found_bytes: u64,
    },
    /// An annotation has a value that is not allowed.
    #[error("the annotation {key} is wrong: {value:?}")]
    WrongAnnotation {
        /// The key of the annotation.
        key: &'static str,
        /// Its value.
        value: String,
    },
}

/// The artifact type of signature artifacts.
pub const ARTIFACT_TYPE: &str = "application/vnd.cncf.notary.signature.dm-verity";

/// The most signatures in one artifact: every layer that can be mounted, by up to four profiles.
pub const MAX_SIGNATURES: usize = 4 * MAX_LAYERS;

/// The longest signature: what fits in a key of type `user`, by which dm-verity is handed it
/// (`user_preparse` in `security/keys/user_defined.c`).
pub const MAX_SIGNATURE_BYTES: u64 = 32_767;

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ManifestDocument<'a> {
    schema_version: u64,
    media_type: MediaType,
    artifact_type: &'a str,
    config: ConfigDocument,
    layers: Vec<LayerDocument<'a>>,
    subject: DescriptorDocument,
    annotations: BTreeMap<&'a str, &'a str>,
}

/// Is the configuration's descriptor, whose fields the standard form has in another order.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ConfigDocument {
    media_type: MediaType,
    size: u64,
    digest: Digest,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct DescriptorDocument {
    media_type: MediaType,
    digest: Digest,
    size: u64,
}

impl DescriptorDocument {
    fn of(descriptor: &Descriptor) -> Self {
        Self {
            media_type: descriptor.media_type.clone(),
            digest: descriptor.digest,
            size: descriptor.size,
        }
    }
}

#[derive(Serialize)]
struct LayerDocument<'a> {
    #[serde(flatten)]
    descriptor: DescriptorDocument,
    annotations: AnnotationsDocument<'a>,
}

#[derive(Serialize)]
struct AnnotationsDocument<'a> {
    #[serde(rename = "io.cncf.notary.layer.digest")]
    layer_digest: Digest,
    #[serde(rename = "io.cncf.notary.dm-verity.root-hash")]
    root_hash: &'a RootHash,
    #[serde(rename = "org.opencontainers.image.title")]
    title: String,
    #[serde(rename = "org.osguard.diff-id", skip_serializing_if = "Option::is_none")]
    diff_id: Option<Digest>,
    #[serde(rename = "org.osguard.image-size", skip_serializing_if = "Option::is_none")]
    image_size: Option<String>,
    #[serde(rename = "org.osguard.profile", skip_serializing_if = "Option::is_none")]
    profile: Option<&'a str>,
    #[serde(rename = "org.osguard.signer", skip_serializing_if = "Option::is_none")]
    signer: Option<&'a str>,
}

const LAYER_DIGEST: &str = "io.cncf.notary.layer.digest";
const ROOT_HASH: &str = "io.cncf.notary.dm-verity.root-hash";
const SIGNATURE_ANNOTATION: &str = "io.cncf.notary.dm-verity.signature";
const DIFF_ID: &str = "org.osguard.diff-id";
const IMAGE_SIZE: &str = "org.osguard.image-size";
const PROFILE: &str = "org.osguard.profile";
const SIGNER: &str = "org.osguard.signer";

/// The longest profile name or key identifier that is taken.
const MAX_NAME_BYTES: usize = 128;

/// The configuration of artifacts that have none.
const EMPTY: &[u8] = b"{}";

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn root_hash(byte: u8) -> RootHash {
        RootHash::from_bytes([byte; 32])
    }

    fn subject() -> Descriptor {
        Descriptor::of(MediaType::OCI_MANIFEST, b"manifest")
    }

    fn claim(layer: u8) -> Claim {
        Claim {
            layer_digest: Digest::of(&[layer]),
            root_hash: root_hash(layer),
            diff_id: None,
            image_size_bytes: None,
            profile: None,
            signer: None,
        }
    }

    fn signature(layer: u8) -> LayerSignature {
        LayerSignature { claim: claim(layer), signature: vec![0x30, layer] }
    }

    #[test]
    fn the_standard_form_is_written_byte_for_byte() {
        let mut full = signature(2);
        full.claim.diff_id = Some(Digest::of(b"tar"));
        full.claim.image_size_bytes = Some(4096);
        full.claim.profile = Some("containerd-full-v1".to_owned());
        full.claim.signer = Some("00ff".to_owned());
        let artifact = SignatureArtifact {
            subject: Descriptor { platform: Some("linux/amd64".parse().unwrap()), ..subject() },
            signatures: vec![signature(1), full, signature(1)],
        };
        let encoded = artifact.encode().unwrap();
        let layer = |layer: u8, title: &str, more: &str| {
            format!(
                concat!(
                    r#"{{"mediaType":"application/pkcs7-signature","digest":"{}","size":2,"#,
                    r#""annotations":{{"io.cncf.notary.layer.digest":"{}","#,
                    r#""io.cncf.notary.dm-verity.root-hash":"{}","#,
                    r#""org.opencontainers.image.title":"{}"{}}}}}"#
                ),
                Digest::of(&[0x30, layer]),
                Digest::of(&[layer]),
                root_hash(layer),
                title,
                more
            )
        };
        let facts = format!(
            concat!(
                r#","org.osguard.diff-id":"{}","org.osguard.image-size":"4096","#,
                r#""org.osguard.profile":"containerd-full-v1","org.osguard.signer":"00ff""#
            ),
            Digest::of(b"tar")
        );
        let expected = format!(
            concat!(
                r#"{{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","#,
                r#""artifactType":"application/vnd.cncf.notary.signature.dm-verity","#,
                r#""config":{{"mediaType":"application/vnd.oci.empty.v1+json","size":2,"#,
                r#""digest":"sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"}},"#,
                r#""layers":[{},{},{}],"#,
                r#""subject":{{"mediaType":"application/vnd.oci.image.manifest.v1+json","#,
                r#""digest":"{}","size":8}},"#,
                r#""annotations":{{"io.cncf.notary.dm-verity.signature":"true"}}}}"#
            ),
            layer(1, "layer-0.pkcs7.sig", ""),
            layer(2, "layer-1.pkcs7.sig", &facts),
            layer(1, "layer-0.1.pkcs7.sig", ""),
            Digest::of(b"manifest"),
        );
        assert_eq!(String::from_utf8_lossy(encoded.manifest.bytes()), expected);
        let read = parse(&encoded.manifest).unwrap();
        let claims: Vec<Claim> = read.into_iter().map(|(_, claim)| claim).collect();
        let written: Vec<Claim> =
            artifact.signatures.into_iter().map(|signature| signature.claim).collect();
        assert_eq!(claims, written);
    }

    #[test]
    fn artifacts_out_of_bounds_are_not_made() {
        let artifact = |signatures| SignatureArtifact { subject: subject(), signatures };
        assert!(matches!(
            artifact(Vec::new()).encode(),
            Err(ArtifactError::SignatureCount { found: 0, .. })
        ));
        let mut long = signature(1);
        long.signature = vec![0; MAX_SIGNATURE_BYTES as usize + 1];
        assert!(matches!(
            artifact(vec![long]).encode(),
            Err(ArtifactError::SignatureTooLong { found_bytes: 32_768, .. })
        ));
    }

    #[test]
    fn the_largest_artifact_can_be_read_back() {
        let mut largest = signature(1);
        largest.claim.diff_id = Some(Digest::of(b""));
        largest.claim.image_size_bytes = Some(u64::MAX);
        largest.claim.profile = Some("p".repeat(MAX_NAME_BYTES));
        largest.claim.signer = Some("a".repeat(MAX_NAME_BYTES));
        let signatures = vec![largest; MAX_LAYERS];
        let encoded = SignatureArtifact { subject: subject(), signatures }.encode().unwrap();
        assert_eq!(parse(&encoded.manifest).unwrap().len(), MAX_LAYERS);
    }

    #[test]
    fn wrong_artifacts_say_what_is_wrong() {
        let artifact = SignatureArtifact { subject: subject(), signatures: vec![signature(1)] };
        let text = String::from_utf8(artifact.encode().unwrap().manifest.bytes().to_vec()).unwrap();
        let hex = root_hash(1).to_string();
        let layer = Digest::of(&[1]).to_string();
        let kind = |from: &str, to: &str| {
            assert!(text.contains(from), "{from}");
            let bytes = text.replace(from, to).into_bytes();
            match parse(&Manifest::parse(None, bytes).unwrap()).unwrap_err() {
                ArtifactError::Digest { key, .. }
                | ArtifactError::MissingAnnotation { key }
                | ArtifactError::WrongAnnotation { key, .. } => key,
                ArtifactError::MediaType { .. } => "media type",
                ArtifactError::NoSubject => "subject",
                ArtifactError::NotAnArtifact { .. } => "type",
                ArtifactError::SignatureCount { .. } => "count",
                ArtifactError::SignatureTooLong { .. } => "long",
                other => panic!("{other}"),
            }
        };
        for (from, to, expected) in [
            (ARTIFACT_TYPE, "application/x", "type"),
            ("\"subject\"", "\"object\"", "subject"),
            ("application/pkcs7-signature", "application/x", "media type"),
            ("\"size\":2,\"annotations\"", "\"size\":32768,\"annotations\"", "long"),
            (LAYER_DIGEST, "x", LAYER_DIGEST),
            (&layer, "sha512:00", LAYER_DIGEST),
            (ROOT_HASH, "x", ROOT_HASH),
            (&hex, "00", ROOT_HASH),
            (&hex, &"AB".repeat(32), ROOT_HASH),
            (
                "org.opencontainers.image.title\":\"layer-0.pkcs7.sig",
                "org.osguard.image-size\":\"+1",
                IMAGE_SIZE,
            ),
            (
                "org.opencontainers.image.title\":\"layer-0.pkcs7.sig",
                "org.osguard.signer\":\"XY",
                SIGNER,
            ),
            (
                "org.opencontainers.image.title\":\"layer-0.pkcs7.sig",
                "org.osguard.profile\":\"a b",
                PROFILE,
            ),
            (
                "org.opencontainers.image.title\":\"layer-0.pkcs7.sig",
                "org.osguard.diff-id\":\"x",
                DIFF_ID,
            ),
        ] {
            assert_eq!(kind(from, to), expected, "{from} → {to}");
        }
        let layers = &text[text.find("\"layers\":[").unwrap()..text.find(",\"subject\"").unwrap()];
        assert_eq!(kind(layers, "\"layers\":[]"), "count");
    }

    proptest! {
        #[test]
        fn what_is_encoded_is_parsed_back(
            claims in proptest::collection::vec(
                (
                    any::<u8>(),
                    proptest::option::of(any::<u8>()),
                    proptest::option::of(any::<u64>()),
                    proptest::option::of("[a-z0-9.-]{1,20}"),
                    proptest::option::of("[0-9a-f]{1,40}"),
                ),
                1..8,
            )
        ) {
            let signatures: Vec<LayerSignature> = claims
                .into_iter()
                .map(|(layer, diff_id, image_size_bytes, profile, signer)| LayerSignature {
                    claim: Claim {
                        diff_id: diff_id.map(|byte| Digest::of(&[byte])),
                        image_size_bytes,
                        profile,
                        signer,
                        ..claim(layer)
                    },
                    signature: vec![layer],
                })
                .collect();
            let artifact = SignatureArtifact { subject: subject(), signatures };
            let encoded = artifact.encode().unwrap();
            let read = parse(&encoded.manifest).unwrap();
            prop_assert_eq!(read.len(), artifact.signatures.len());
            for ((descriptor, claim), signature) in read.iter().zip(&artifact.signatures) {
                prop_assert_eq!(claim, &signature.claim);
                prop_assert_eq!(descriptor.digest, Digest::of(&signature.signature));
            }
        }
    }
}
