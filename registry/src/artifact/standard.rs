//! The standard form of signature artifacts.
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
//! Source: the dm-verity proposal of the Notary Project's `notation`, `specs/proposals/dm-verity.md`;
//! the annotations `org.osguard.*` are ours.

use libverity::digest::{Digest, RootHash};
use serde::Serialize;

use super::claim::{Annotations, Facts};
use super::{
    ArtifactError, Entry, Format, Location, SignatureArtifact, check_signature_size, document,
};
use crate::descriptor::Descriptor;

pub(super) fn write(artifact: &SignatureArtifact) -> serde_json::Result<Vec<u8>> {
    let signatures = artifact.signatures.iter().zip(artifact.titles());
    let annotations = signatures.map(|(signature, title)| AnnotationsDocument {
        layer_digest: signature.claim.layer_digest,
        root_hash: &signature.claim.root_hash,
        title,
        facts: signature.claim.facts(),
    });
    document::write(artifact, Format::Standard, annotations, (SIGNATURE_ANNOTATION, "true"))
}

pub(super) fn parse_entry(layer: &Descriptor) -> Result<Entry, ArtifactError> {
    check_signature_size(layer.size)?;
    let annotations = Annotations(layer);
    let layer_digest = annotations.digest(LAYER_DIGEST)?;
    let claim = annotations.claim(layer_digest, annotations.root_hash(ROOT_HASH)?)?;
    Ok(Entry { claim, location: Location::Blob(Box::new(layer.clone())) })
}

#[derive(Serialize)]
struct AnnotationsDocument<'a> {
    #[serde(rename = "io.cncf.notary.layer.digest")]
    layer_digest: Digest,
    #[serde(rename = "io.cncf.notary.dm-verity.root-hash")]
    root_hash: &'a RootHash,
    #[serde(rename = "org.opencontainers.image.title")]
    title: String,
    #[serde(flatten)]
    facts: Facts<'a>,
}

const LAYER_DIGEST: &str = "io.cncf.notary.layer.digest";
const ROOT_HASH: &str = "io.cncf.notary.dm-verity.root-hash";
const SIGNATURE_ANNOTATION: &str = "io.cncf.notary.dm-verity.signature";

#[cfg(test)]
mod tests {
    use super::super::samples::{error_after, full_signature, root_hash, signature, subject};
    use super::super::{Claim, parse};
    use super::*;

    #[test]
    fn it_is_written_byte_for_byte() {
        let artifact = SignatureArtifact {
            subject: Descriptor { platform: Some("linux/amd64".parse().unwrap()), ..subject() },
            signatures: vec![signature(1), full_signature(2), signature(1)],
        };
        let encoded = artifact.encode(Format::Standard).unwrap();
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
        let read = parse(&encoded.manifest).unwrap().entries;
        let claims: Vec<Claim> = read.into_iter().map(|entry| entry.claim).collect();
        let written: Vec<Claim> =
            artifact.signatures.into_iter().map(|signature| signature.claim).collect();
        assert_eq!(claims, written);
    }

    #[test]
    fn wrong_artifacts_say_what_is_wrong() {
        let hex = root_hash(1).to_string();
        let layer = Digest::of(&[1]).to_string();
        for (from, to, expected) in [
            ("\"size\":2,\"annotations\"", "\"size\":32768,\"annotations\"", "long"),
            (LAYER_DIGEST, "x", LAYER_DIGEST),
            (&layer, "sha512:00", LAYER_DIGEST),
            (ROOT_HASH, "x", ROOT_HASH),
            (&hex, "00", ROOT_HASH),
            (&hex, &"AB".repeat(32), ROOT_HASH),
        ] {
            let found = match error_after(Format::Standard, from, to) {
                ArtifactError::Digest { key, .. }
                | ArtifactError::MissingAnnotation { key }
                | ArtifactError::WrongAnnotation { key, .. } => key,
                ArtifactError::SignatureTooLong { .. } => "long",
                other => panic!("{other}"),
            };
            assert_eq!(found, expected, "{from} → {to}");
        }
    }
}
