//! Root hashes that never change: those of mkfs.erofs 1.9.4 and veritysetup.
//!
//! testdata/layer/golden.py prints them.

use std::fs::{self, File};
use std::path::Path;

use libverity::layer::{Discard, ExpectedLayer, Profile, convert};

#[test]
fn profiles_keep_their_root_hashes() {
    let testdata = Path::new(env!("CARGO_MANIFEST_DIR")).join("../testdata");
    let table = fs::read_to_string(testdata.join("layer/root-hashes.txt")).unwrap();
    for line in table.lines() {
        let [layer, profile, uuid, size, root_hash] =
            line.split(' ').collect::<Vec<_>>().try_into().unwrap();
        let blob = File::open(testdata.join("erofs").join(layer)).unwrap();
        let profile: Profile = profile.parse().unwrap();
        let converted = convert(blob, &ExpectedLayer::default(), &[profile], &mut Discard).unwrap();
        let [image] = &converted.images[..] else { panic!("{line}") };
        assert_eq!(image.uuid.to_string(), uuid, "{line}");
        assert_eq!(converted.image_size_bytes.to_string(), size, "{line}");
        assert_eq!(image.root_hash.to_string(), root_hash, "{line}");
    }
    assert_eq!(table.lines().count(), 14 * Profile::ALL.len());
}
