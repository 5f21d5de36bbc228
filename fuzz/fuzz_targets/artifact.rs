//! A signature artifact is refused, or what is read from it can be written in every form and read
//! again; so can signatures in annotations and in local files.
#![no_main]

use libfuzzer_sys::fuzz_target;
use osguard_registry::artifact::annotations::{self, Keys};
use osguard_registry::artifact::{
    self, Format, LayerSignature, Location, SignatureArtifact, local, signature_from_blob,
};
use osguard_registry::manifest::{Manifest, ManifestKind};

fuzz_target!(|bytes: &[u8]| {
    read_local_file(bytes);
    for format in Format::ALL {
        let _ = signature_from_blob(format, bytes.to_vec());
    }
    let Ok(manifest) = Manifest::parse(None, bytes.to_vec()) else { return };
    read_annotations(&manifest);
    read_artifact(&manifest);
});

fn read_artifact(manifest: &Manifest) {
    let Ok(parsed) = artifact::parse(manifest) else { return };
    let signatures = parsed
        .entries
        .into_iter()
        .map(|entry| LayerSignature {
            claim: entry.claim,
            signature: match entry.location {
                Location::Blob(_) => b"signature".to_vec(),
                Location::Inline(signature) => signature,
            },
        })
        .collect();
    let artifact = SignatureArtifact { subject: parsed.subject, signatures };
    for format in Format::ALL {
        // Written in another form, it may be too long.
        let Ok(encoded) = artifact.encode(format) else {
            assert_ne!(format, parsed.format, "what was read can be written");
            continue;
        };
        let again = artifact::parse(&encoded.manifest).expect("what was written is well-formed");
        assert_eq!(again.format, format);
        for (entry, written) in again.entries.iter().zip(&artifact.signatures) {
            assert_eq!(entry.claim, written.claim);
            if let Location::Inline(signature) = &entry.location {
                assert_eq!(signature, &written.signature);
            }
        }
    }
}

fn read_annotations(manifest: &Manifest) {
    let ManifestKind::Image(image) = manifest.kind() else { return };
    for layer in &image.layers {
        for keys in Keys::ALL {
            let Ok(Some(signature)) = annotations::parse(layer, keys) else { continue };
            let mut again = layer.clone();
            again.annotations.retain(|key, _| !keys.contains(key));
            let written = annotations::write(&signature, keys).expect("it is within the limits");
            again.annotations.extend(written.into_iter().map(|(key, value)| (key.into(), value)));
            let read = annotations::parse(&again, keys).expect("what was written is well-formed");
            assert_eq!(read, Some(signature));
        }
    }
}

fn read_local_file(bytes: &[u8]) {
    let Ok(images) = local::parse(bytes) else { return };
    // Escapes take more room than what they stand for, but never the other way round.
    let written = local::write(&images).expect("what was read can be written");
    assert_eq!(local::parse(&written).expect("what was written is well-formed"), images);
}
