//! Signatures that no key has made, for tests.

use libverity::digest::{Digest, RootHash};
use proptest::prelude::*;

use super::{ArtifactError, Claim, Format, LayerSignature, SignatureArtifact, parse};
use crate::descriptor::Descriptor;
use crate::manifest::Manifest;
use crate::media_type::MediaType;

pub(crate) fn root_hash(byte: u8) -> RootHash {
    RootHash::from_bytes([byte; 32])
}

pub(crate) fn subject() -> Descriptor {
    Descriptor::of(MediaType::OCI_MANIFEST, b"manifest")
}

/// Makes a signature that says only what it must.
pub(crate) fn signature(layer: u8) -> LayerSignature {
    let claim = Claim::new(Digest::of(&[layer]), root_hash(layer));
    LayerSignature { claim, signature: vec![0x30, layer] }
}

/// Makes a signature that says all it can.
pub(crate) fn full_signature(layer: u8) -> LayerSignature {
    let mut signature = signature(layer);
    signature.claim.diff_id = Some(Digest::of(b"tar"));
    signature.claim.image_size_bytes = Some(4096);
    signature.claim.profile = Some("containerd-full-v1".to_owned());
    signature.claim.signer = Some("00ff".to_owned());
    signature
}

/// Makes any signatures that can be written.
pub(crate) fn signatures() -> impl Strategy<Value = Vec<LayerSignature>> {
    let facts = (
        any::<u8>(),
        proptest::option::of(any::<u8>()),
        proptest::option::of(any::<u64>()),
        proptest::option::of("[A-Za-z0-9._-]{1,20}"),
        proptest::option::of("[0-9a-f]{1,40}"),
        proptest::collection::vec(any::<u8>(), 0..50),
    );
    let signature = facts.prop_map(|(layer, diff_id, image_size_bytes, profile, signer, bytes)| {
        let claim = Claim {
            diff_id: diff_id.map(|byte| Digest::of(&[byte])),
            image_size_bytes,
            profile,
            signer,
            ..Claim::new(Digest::of(&[layer]), root_hash(layer))
        };
        LayerSignature { claim, signature: bytes }
    });
    proptest::collection::vec(signature, 1..8)
}

/// Writes an artifact with one full signature, replaces a part of its text, and returns what is
/// wrong with it then.
pub(crate) fn error_after(format: Format, from: &str, to: &str) -> ArtifactError {
    let artifact = SignatureArtifact { subject: subject(), signatures: vec![full_signature(1)] };
    let bytes = artifact.encode(format).unwrap().manifest.bytes().to_vec();
    let text = String::from_utf8(bytes).unwrap();
    assert!(text.contains(from), "{from}");
    let bytes = text.replace(from, to).into_bytes();
    parse(&Manifest::parse(None, bytes).unwrap()).unwrap_err()
}
