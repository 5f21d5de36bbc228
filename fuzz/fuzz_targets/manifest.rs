//! A manifest or configuration is refused or read within its limits, and a manifest is the same
//! with its own media type for an announcement.
#![no_main]

use libfuzzer_sys::fuzz_target;
use osguard_registry::config::ImageConfig;
use osguard_registry::manifest::{MAX_LAYERS, Manifest};

fuzz_target!(|bytes: &[u8]| {
    let _ = ImageConfig::parse(bytes);
    let Ok(manifest) = Manifest::parse(None, bytes.to_vec()) else { return };
    assert_eq!(manifest.bytes(), bytes);
    let descriptor = manifest.descriptor();
    assert_eq!(descriptor.size, bytes.len() as u64);
    if descriptor.media_type.is_manifest() {
        assert!(manifest.children().count() <= 1 + MAX_LAYERS);
    }
    let again = Manifest::parse(Some(&descriptor.media_type), bytes.to_vec());
    assert_eq!(again.expect("its own media type fits"), manifest);
});
