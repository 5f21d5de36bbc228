//! A blob is refused or converted, without a panic and with little memory; one that is converted
//! is converted again to the same root hashes.
#![no_main]

use libfuzzer_sys::fuzz_target;
use libverity::digest::Digest;
use libverity::layer::{Discard, ExpectedLayer, Profile, convert};

fuzz_target!(|blob: &[u8]| {
    let Ok(layer) = convert(blob, &ExpectedLayer::default(), &Profile::ALL, &mut Discard) else {
        return;
    };
    assert_eq!(layer.layer_digest, Digest::of(blob));
    assert_eq!(layer.image_size_bytes % 4096, 0);
    let expected = ExpectedLayer {
        media_type: None,
        layer_digest: Some(layer.layer_digest),
        size_bytes: Some(blob.len() as u64),
        diff_id: Some(layer.diff_id),
    };
    let again = convert(blob, &expected, &Profile::ALL, &mut Discard);
    assert_eq!(again.expect("the same blob"), layer);
});
