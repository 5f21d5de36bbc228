//! Root hashes as veritysetup works them out.

use std::fs;
use std::io::Write as _;

use libverity::layer::{ExpectedLayer, ImageFile, Profile, convert};
use osguard_testkit::command::{command, run};
use osguard_testkit::or_skip;

#[test]
fn layers_have_the_root_hash_and_hash_area_of_veritysetup() {
    let Some(mut veritysetup) = or_skip(command("veritysetup")) else { return };
    let file = tempfile::NamedTempFile::new().unwrap();
    let mut sink = ImageFile::new(file.as_file()).unwrap();
    let blob = blob();
    let layer = convert(&blob[..], &ExpectedLayer::default(), &Profile::ALL, &mut sink).unwrap();
    let ours = fs::read(file.path()).unwrap();

    let mut other = tempfile::NamedTempFile::new().unwrap();
    other.write_all(&ours[..usize::try_from(layer.image_size_bytes).unwrap()]).unwrap();
    let printed = run(veritysetup
        .arg("format")
        .args([other.path(), other.path()])
        .arg(format!("--hash-offset={}", layer.image_size_bytes))
        .arg(format!("--uuid={}", layer.images[0].uuid))
        .arg(format!("--salt={}", "00".repeat(32))))
    .unwrap();
    let printed = String::from_utf8(printed).unwrap();
    let root_hash = printed
        .lines()
        .find_map(|line| line.strip_prefix("Root hash:"))
        .expect("veritysetup prints the root hash");
    assert_eq!(root_hash.trim(), layer.images[0].root_hash.to_string());
    assert!(ours == fs::read(other.path()).unwrap(), "the hash areas differ");
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
