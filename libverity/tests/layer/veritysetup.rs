//! Root hashes as veritysetup works them out.

use std::fs;
use std::io::Write as _;

use libverity::layer::{ExpectedLayer, ImageFile, Profile, convert};
use osguard_testkit::command::{command, run};
use osguard_testkit::or_skip;

#[test]
fn layers_have_the_root_hash_and_hash_area_of_veritysetup() {
    if or_skip(command("veritysetup")).is_none() {
        return;
    }
    let blob = blob();
    for profile in [Profile::ContainerdFullV1, Profile::ContainerdIndexV1] {
        let file = tempfile::NamedTempFile::new().unwrap();
        let mut sink = ImageFile::new(file.as_file(), &std::env::temp_dir()).unwrap();
        let layer = convert(&blob[..], &ExpectedLayer::default(), &[profile], &mut sink).unwrap();
        let [image] = &layer.images[..] else { panic!("{layer:?}") };
        let ours = fs::read(file.path()).unwrap();

        let mut other = tempfile::NamedTempFile::new().unwrap();
        other.write_all(&ours[..usize::try_from(image.image_size_bytes).unwrap()]).unwrap();
        let block_size = profile.verity_parameters().data_block_size;
        let printed = run(command("veritysetup")
            .unwrap()
            .arg("format")
            .args([other.path(), other.path()])
            .arg(format!("--data-block-size={block_size}"))
            .arg(format!("--hash-block-size={block_size}"))
            .arg(format!("--hash-offset={}", image.image_size_bytes))
            .arg(format!("--uuid={}", image.uuid))
            .arg(format!("--salt={}", "00".repeat(32))))
        .unwrap();
        let printed = String::from_utf8(printed).unwrap();
        let root_hash = printed
            .lines()
            .find_map(|line| line.strip_prefix("Root hash:"))
            .expect("veritysetup prints the root hash");
        assert_eq!(root_hash.trim(), image.root_hash.to_string());
        assert!(ours == fs::read(other.path()).unwrap(), "{profile}: the hash areas differ");
    }
}

/// Makes a compressed layer with a tree of three levels: more than 128 * 128 blocks.
fn blob() -> Vec<u8> {
    let mut builder = tar::Builder::new(zstd::Encoder::new(Vec::new(), 1).unwrap());
    for number in 0..70_u8 {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(tar::EntryType::Regular);
        header.set_size(1 << 20);
        header.set_mode(0o644);
        header.set_mtime(0);
        header.set_uid(0);
        header.set_gid(0);
        let content = vec![number; 1 << 20];
        builder.append_data(&mut header, format!("file-{number}"), &content[..]).unwrap();
    }
    builder.into_inner().unwrap().finish().unwrap()
}
