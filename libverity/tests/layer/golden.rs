//! Layer files that never change: those of mkfs.erofs 1.9.4 and veritysetup.
//!
//! testdata/layer/golden.py prints what is expected of them.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use libverity::digest::Digest;
use libverity::layer::{Discard, ExpectedLayer, ImageFile, Profile, convert};

#[test]
fn profiles_keep_their_bytes() {
    let table = table();
    for line in table.lines() {
        let [layer, profile, uuid, hash_offset, root_hash, sum] =
            line.split(' ').collect::<Vec<_>>().try_into().unwrap();
        let profile: Profile = profile.parse().unwrap();
        let file = tempfile::NamedTempFile::new().unwrap();
        let mut sink = ImageFile::new(file.as_file(), &std::env::temp_dir()).unwrap();
        let blob = File::open(blob(layer)).unwrap();
        let converted = convert(blob, &ExpectedLayer::default(), &[profile], &mut sink).unwrap();
        let [image] = &converted.images[..] else { panic!("{line}") };
        assert_eq!(image.uuid.to_string(), uuid, "{line}");
        assert_eq!(image.image_size_bytes.to_string(), hash_offset, "{line}");
        assert_eq!(image.root_hash.to_string(), root_hash, "{line}");
        assert_eq!(Digest::of(&fs::read(file.path()).unwrap()).hex(), sum, "{line}");
    }
    assert_eq!(table.lines().count(), 15 * Profile::ALL.len());
}

#[test]
fn one_pass_gives_what_each_profile_gives_alone() {
    let table = table();
    let layers = table.lines().filter(|line| line.contains(" containerd-full-v1 "));
    for layer in layers.map(|line| line.split(' ').next().unwrap()) {
        let blob = File::open(blob(layer)).unwrap();
        let all = &Profile::ALL;
        let converted = convert(blob, &ExpectedLayer::default(), all, &mut Discard).unwrap();
        for image in converted.images {
            let expected = format!(
                "{layer} {} {} {} {} ",
                image.profile, image.uuid, image.image_size_bytes, image.root_hash
            );
            assert!(table.contains(&expected), "{expected}");
        }
    }
}

fn table() -> String {
    fs::read_to_string(testdata().join("layer/root-hashes.txt")).unwrap()
}

fn blob(layer: &str) -> PathBuf {
    testdata().join("erofs").join(layer)
}

fn testdata() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../testdata")
}
