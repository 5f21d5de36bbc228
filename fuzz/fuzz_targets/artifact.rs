//! A signature artifact is refused, or what is read from it can be written and read again.
#![no_main]

use libfuzzer_sys::fuzz_target;
use osguard_registry::artifact::{self, LayerSignature, SignatureArtifact};
use osguard_registry::manifest::Manifest;

fuzz_target!(|bytes: &[u8]| {
    let Ok(manifest) = Manifest::parse(None, bytes.to_vec()) else { return };
    let Ok(entries) = artifact::parse(&manifest) else { return };
    let subject = manifest.subject().expect("an artifact has one").clone();
    let signatures = entries
        .into_iter()
        .map(|(_, claim)| LayerSignature { claim, signature: b"signature".to_vec() })
        .collect();
    let artifact = SignatureArtifact { subject, signatures };
    let encoded = artifact.encode().expect("what was read is within the limits");
    let entries = artifact::parse(&encoded.manifest).expect("what was written is well-formed");
    let claims = entries.into_iter().map(|(_, claim)| claim);
    assert!(claims.eq(artifact.signatures.into_iter().map(|signature| signature.claim)));
});
