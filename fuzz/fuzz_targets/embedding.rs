//! Signatures are written into any manifest that can be read, and nothing else in it changes.
#![no_main]

use libfuzzer_sys::fuzz_target;
use libverity::digest::RootHash;
use osguard_registry::artifact::annotations::{self, Keys};
use osguard_registry::artifact::{Claim, LayerSignature};
use osguard_registry::descriptor::Descriptor;
use osguard_registry::embedding::{EmbeddingError, embed_into};
use osguard_registry::manifest::{Manifest, ManifestError, ManifestKind};

fuzz_target!(|bytes: &[u8]| {
    let Ok(manifest) = Manifest::parse(None, bytes.to_vec()) else { return };
    let ManifestKind::Image(image) = manifest.kind() else { return };
    let signatures: Vec<LayerSignature> = image
        .layers
        .iter()
        .map(|layer| LayerSignature {
            claim: Claim::new(layer.digest, RootHash::from_bytes([7; 32])),
            signature: b"signature".to_vec(),
        })
        .collect();
    for keys in Keys::ALL {
        let embedded = match embed_into(&manifest, &signatures, keys, &|_| false) {
            Ok(embedded) => embedded,
            Err(EmbeddingError::Edit { .. }) => {
                assert!(std::str::from_utf8(bytes).is_err(), "only what is no text is refused");
                continue;
            }
            Err(EmbeddingError::Manifest { source: ManifestError::TooLong { .. }, .. }) => continue,
            Err(error) => panic!("{error}"),
        };
        let ManifestKind::Image(new) = embedded.kind() else { panic!("it was an image") };
        for (layer, wanted) in new.layers.iter().zip(&signatures) {
            let found = annotations::parse(layer, keys).expect("what was written is well-formed");
            assert_eq!(found.as_ref(), Some(wanted));
        }
        let without = |layers: &[Descriptor]| -> Vec<Descriptor> {
            let mut layers = layers.to_vec();
            for layer in &mut layers {
                layer.annotations.retain(|key, _| !keys.contains(key));
            }
            layers
        };
        assert_eq!(without(&new.layers), without(&image.layers));
        assert_eq!((&new.config, &new.subject), (&image.config, &image.subject));
        assert_eq!(new.annotations, image.annotations);
        let again = embed_into(&embedded, &signatures, keys, &|_| false).expect("it is a manifest");
        assert_eq!(again, embedded);
    }
});
