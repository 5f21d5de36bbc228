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
    for image in &layer.images {
        let block_bytes = image.profile.verity_parameters().data_block_size.bytes();
        assert_eq!(image.image_size_bytes % u64::from(block_bytes), 0);
    }
    let expected = ExpectedLayer {
        media_type: None,
        layer_digest: Some(layer.layer_digest),
        size_bytes: Some(blob.len() as u64),
        diff_id: Some(layer.diff_id),
    };
    let again = convert(blob, &expected, &Profile::ALL, &mut Discard);
    assert_eq!(again.expect("the same blob"), layer);
});
