//! The form of signature artifacts that came before the standard one.
//!
//! ```json
//! {"schemaVersion":2,
//!  "mediaType":"application/vnd.oci.image.manifest.v1+json",
//!  "artifactType":"application/vnd.oci.mt.pkcs7",
//!  "config":{"mediaType":"application/vnd.oci.empty.v1+json","size":2,"digest":"sha256:44136f…"},
//!  "layers":[{"mediaType":"application/vnd.oci.image.layer.v1.erofs.sig","digest":"sha256:…","size":1479,
//!    "annotations":{"image.layer.digest":"sha256:…",
//!                   "image.layer.root_hash":"<hex>",
//!                   "image.layer.signature":"<base64 of the signature>",
//!                   "signature.blob.name":"layer-0.pkcs7.sig",
//!                   "org.osguard.diff-id":"sha256:…",
//!                   "org.osguard.image-size":"<bytes>",
//!                   "org.osguard.profile":"containerd-full-v1",
//!                   "org.osguard.signer":"<hex>"}}],
//!  "subject":{"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":"sha256:…","size":1234},
//!  "annotations":{"org.opencontainers.image.created":"1970-01-01T00:00:00Z"}}
//! ```
//!
//! The signature is there twice, and the annotation counts. Where it is missing, the blob does: it
//! is the signature in DER, or base64 text of it, or a JSON document with such a text in its field
//! `signature`, by whichever tool wrote it.
//!
//! `created` is always the same, so that the same signatures make the same bytes: no date in there
//! could be believed, and none is read.
//!
//! Sources: the prototypes of dm-verity signatures in `notation` and containerd, and
//! `sign-oci-layer-root-hashes` of Kata Containers; the annotations `org.osguard.*` are ours.

use libverity::digest::{Digest, RootHash};
use serde::{Deserialize, Serialize};

use super::claim::{Annotations, Facts};
use super::{
    ArtifactError, Entry, Format, Location, SignatureArtifact, check_signature_size, document, text,
};
use crate::descriptor::Descriptor;

pub(super) fn write(artifact: &SignatureArtifact) -> serde_json::Result<Vec<u8>> {
    let signatures = artifact.signatures.iter().zip(artifact.titles());
    let annotations = signatures.map(|(signature, title)| AnnotationsDocument {
        layer_digest: signature.claim.layer_digest,
        root_hash: &signature.claim.root_hash,
        signature: text::encode(&signature.signature),
        title,
        facts: signature.claim.facts(),
    });
    document::write(artifact, Format::Prototype, annotations, (CREATED, EPOCH))
}

pub(super) fn parse_entry(layer: &Descriptor) -> Result<Entry, ArtifactError> {
    let annotations = Annotations(layer);
    let layer_digest = annotations.digest(LAYER_DIGEST)?;
    let claim = annotations.claim(layer_digest, annotations.root_hash(ROOT_HASH)?)?;
    let location = match annotations.signature(SIGNATURE)? {
        Some(signature) => Location::Inline(signature),
        None if layer.size > MAX_BLOB_BYTES => {
            return Err(ArtifactError::TooLong {
                limit_bytes: MAX_BLOB_BYTES,
                found_bytes: layer.size,
            });
        }
        None => Location::Blob(Box::new(layer.clone())),
    };
    Ok(Entry { claim, location })
}

pub(super) fn signature_from_blob(content: Vec<u8>) -> Result<Vec<u8>, ArtifactError> {
    let wrong = || ArtifactError::Blob;
    match content.first() {
        // A SEQUENCE, as a signature in DER is; no text of one starts so.
        Some(0x30) => {
            check_signature_size(content.len() as u64)?;
            Ok(content)
        }
        Some(b'{') => {
            let document: BlobDocument = serde_json::from_slice(&content).map_err(|_| wrong())?;
            text::decode(&document.signature, wrong)
        }
        _ => {
            // Files of base64 have line breaks.
            let is_text = |byte: &u8| !byte.is_ascii_whitespace();
            let text = String::from_utf8(content.into_iter().filter(is_text).collect());
            text::decode(&text.map_err(|_| wrong())?, wrong)
        }
    }
}

#[derive(Serialize)]
struct AnnotationsDocument<'a> {
    #[serde(rename = "image.layer.digest")]
    layer_digest: Digest,
    #[serde(rename = "image.layer.root_hash")]
    root_hash: &'a RootHash,
    #[serde(rename = "image.layer.signature")]
    signature: String,
    #[serde(rename = "signature.blob.name")]
    title: String,
    #[serde(flatten)]
    facts: Facts<'a>,
}

#[derive(Deserialize)]
struct BlobDocument {
    signature: String,
}

const LAYER_DIGEST: &str = "image.layer.digest";
const ROOT_HASH: &str = "image.layer.root_hash";
const SIGNATURE: &str = "image.layer.signature";
const CREATED: &str = "org.opencontainers.image.created";

/// The date that everything was created on which has none.
const EPOCH: &str = "1970-01-01T00:00:00Z";

/// The longest blob that is read for its signature: a JSON document with the base64 text of the
/// longest signature, 43,692 bytes, and room for what else it says.
pub const MAX_BLOB_BYTES: u64 = 65_536;

#[cfg(test)]
mod tests {
    use super::super::samples::{error_after, full_signature, root_hash, signature, subject};
    use super::super::{MAX_SIGNATURE_BYTES, parse};
    use super::*;
    use crate::manifest::Manifest;

    #[test]
    fn it_is_written_byte_for_byte() {
        let artifact = SignatureArtifact {
            subject: subject(),
            signatures: vec![full_signature(2), signature(1), signature(1)],
        };
        let encoded = artifact.encode(Format::Prototype).unwrap();
        let layer = |layer: u8, base64: &str, title: &str, more: &str| {
            format!(
                concat!(
                    r#"{{"mediaType":"application/vnd.oci.image.layer.v1.erofs.sig","#,
                    r#""digest":"{}","size":2,"#,
                    r#""annotations":{{"image.layer.digest":"{}","image.layer.root_hash":"{}","#,
                    r#""image.layer.signature":"{}","signature.blob.name":"{}"{}}}}}"#
                ),
                Digest::of(&[0x30, layer]),
                Digest::of(&[layer]),
                root_hash(layer),
                base64,
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
                r#""artifactType":"application/vnd.oci.mt.pkcs7","#,
                r#""config":{{"mediaType":"application/vnd.oci.empty.v1+json","size":2,"#,
                r#""digest":"sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"}},"#,
                r#""layers":[{},{},{}],"#,
                r#""subject":{{"mediaType":"application/vnd.oci.image.manifest.v1+json","#,
                r#""digest":"{}","size":8}},"#,
                r#""annotations":{{"org.opencontainers.image.created":"1970-01-01T00:00:00Z"}}}}"#
            ),
            layer(2, "MAI=", "layer-0.pkcs7.sig", &facts),
            layer(1, "MAE=", "layer-1.pkcs7.sig", ""),
            layer(1, "MAE=", "layer-1.1.pkcs7.sig", ""),
            Digest::of(b"manifest"),
        );
        assert_eq!(String::from_utf8_lossy(encoded.manifest.bytes()), expected);
        let blobs: Vec<&[u8]> = encoded.blobs.iter().map(|(_, bytes)| bytes.as_slice()).collect();
        assert_eq!(blobs, [b"{}".as_slice(), b"\x30\x02", b"\x30\x01", b"\x30\x01"]);
        let entries = parse(&encoded.manifest).unwrap().entries;
        for (entry, written) in entries.iter().zip(&artifact.signatures) {
            assert_eq!(entry.claim, written.claim);
            assert_eq!(entry.location, Location::Inline(written.signature.clone()));
        }
    }

    /// Without the name of the blob, with an annotation that is not known, and with another date.
    #[test]
    fn what_other_tools_write_is_read() {
        let text = format!(
            r#"{{
              "schemaVersion": 2,
              "mediaType": "application/vnd.oci.image.manifest.v1+json",
              "artifactType": "application/vnd.oci.mt.pkcs7",
              "config": {{
                "mediaType": "application/vnd.oci.empty.v1+json",
                "digest": "sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a",
                "size": 2,
                "data": "e30="
              }},
              "layers": [{{
                "mediaType": "application/vnd.oci.image.layer.v1.erofs.sig",
                "digest": "{}",
                "size": 70000,
                "annotations": {{
                  "image.layer.digest": "{}",
                  "image.layer.root_hash": "{}",
                  "image.layer.signature": "MAE=",
                  "image.layer.color": "blue"
                }}
              }}],
              "subject": {{
                "mediaType": "application/vnd.oci.image.manifest.v1+json",
                "digest": "{}",
                "size": 8
              }},
              "annotations": {{
                "image.ref.name": "registry.example/app:v1",
                "org.opencontainers.image.created": "2025-06-05T18:42:25.123456789+00:00"
              }}
            }}"#,
            Digest::of(b"a JSON document that is not looked at"),
            Digest::of(&[1]),
            root_hash(1),
            Digest::of(b"manifest")
        );
        let artifact = parse(&Manifest::parse(None, text.clone().into_bytes()).unwrap()).unwrap();
        assert_eq!(artifact.format, Format::Prototype);
        assert_eq!(artifact.subject, subject());
        assert_eq!(artifact.entries[0].claim, signature(1).claim);
        assert_eq!(artifact.entries[0].location, Location::Inline(vec![0x30, 1]));

        let text = text.replace("image.layer.signature", "image.layer.taste");
        let parse = |text: &str| parse(&Manifest::parse(None, text.as_bytes().to_vec()).unwrap());
        assert!(matches!(
            parse(&text),
            Err(ArtifactError::TooLong { found_bytes: 70_000, limit_bytes: MAX_BLOB_BYTES })
        ));
        let entry = parse(&text.replace("70000", "65536")).unwrap().entries.remove(0);
        assert!(matches!(entry.location, Location::Blob(blob) if blob.size == 65_536));
    }

    #[test]
    fn wrong_artifacts_say_what_is_wrong() {
        let hex = root_hash(1).to_string();
        let layer = Digest::of(&[1]).to_string();
        let long = "A".repeat(43_696);
        for (from, to, expected) in [
            (LAYER_DIGEST, "x", LAYER_DIGEST),
            (&layer, "sha256:00", LAYER_DIGEST),
            (ROOT_HASH, "x", ROOT_HASH),
            (&hex, "00", ROOT_HASH),
            (&hex, &"AB".repeat(32), ROOT_HASH),
            ("\"MAE=\"", "\"MAE\"", SIGNATURE),
            ("\"MAE=\"", "\"M AE=\"", SIGNATURE),
            ("MAE=", &long, "long"),
        ] {
            let found = match error_after(Format::Prototype, from, to) {
                ArtifactError::Base64 { key }
                | ArtifactError::Digest { key, .. }
                | ArtifactError::MissingAnnotation { key }
                | ArtifactError::WrongAnnotation { key, .. } => key,
                ArtifactError::SignatureTooLong { .. } => "long",
                other => panic!("{other}"),
            };
            assert_eq!(found, expected, "{from} → {:.20}", to);
        }
    }

    #[test]
    fn a_blob_is_der_or_base64_or_json() {
        let signature = b"\x30\x01\xff";
        for content in [
            signature.as_slice(),
            b"MAH/",
            b"MAH/\n",
            b"MA\r\nH/\r\n",
            br#"{"signature":"MAH/"}"#,
            b"{\n  \"layer_digest\": 1, \"root_hash\": null, \"signature\": \"MAH\\/\"\n}\n",
        ] {
            assert_eq!(signature_from_blob(content.to_vec()).unwrap(), signature);
        }
        for content in [
            b"\xff\xfe".as_slice(),
            b"MAH",
            b"[\"MAH/\"]",
            b"{",
            b"{}",
            br#"{"signature":"MAH"}"#,
            br#"{"signature":"MAH/\n"}"#,
            br#"{"signature":"MAH/"}{}"#,
            b"-----BEGIN PKCS7-----\nMAH/\n-----END PKCS7-----\n",
        ] {
            let error = signature_from_blob(content.to_vec());
            assert!(matches!(error, Err(ArtifactError::Blob)), "{content:?}");
        }
        let long = vec![0x30; MAX_SIGNATURE_BYTES as usize + 1];
        let text = text::encode(&long);
        let json = serde_json::json!({ "signature": text }).to_string();
        for content in [long, text.into_bytes(), json.into_bytes()] {
            let error = signature_from_blob(content);
            assert!(matches!(error, Err(ArtifactError::SignatureTooLong { .. })));
        }
    }
}
