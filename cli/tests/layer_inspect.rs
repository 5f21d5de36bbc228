//! `osguard layer inspect` of what `osguard layer build` writes, whole and damaged.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;

#[test]
fn shows_what_was_built() {
    let directory = tempfile::tempdir().unwrap();
    let image = build(directory.path(), "g05_types");
    let built =
        json(&osguard(&["layer", "build", "--output=json"], &[&layer("g05_types"), &image]));
    let shown = json(&osguard(&["layer", "inspect", "--tree", "--output=json"], &[&image]));
    assert_eq!(shown["schema"], "osguard.layer.inspect.v1");
    for field in ["root_hash", "uuid", "inodes"] {
        assert_eq!(shown[field], built[field], "{field}");
    }
    assert_eq!(shown["hash_offset_bytes"], built["image_size_bytes"]);
    assert_eq!(shown["names"], 7);
    assert_eq!(shown["hash_area"]["state"], "whole");
    assert_eq!(shown["hash_area"]["superblock"]["uuid"], built["uuid"]);
    assert!(shown.get("image_fault").is_none());
    let tree = shown["tree"].as_array().unwrap();
    let paths: Vec<&str> = tree.iter().map(|file| file["path"].as_str().unwrap()).collect();
    assert_eq!(paths, ["/", "/b", "/c", "/f", "/h", "/l", "/p"]);
    assert_eq!(tree[1]["device"], serde_json::json!([8, 300]));
    assert_eq!(tree[3]["inode"], tree[4]["inode"]);
    assert_eq!(tree[5]["target"], "c");

    let listed = osguard(&["layer", "inspect", "--tree"], &[&image]);
    let text = String::from_utf8(listed.stdout).unwrap();
    assert!(text.contains("Structure:     whole, 7 names, 3 bytes of content\n"), "{text}");
    assert!(text.contains("Hash area:     whole"), "{text}");
    let line = "-rw-r--r--   2     0     0           3 1970-01-01T00:00:00Z /f\n";
    assert!(text.contains(line), "{text}");
}

#[test]
fn tells_damage_by_its_exit_code() {
    let directory = tempfile::tempdir().unwrap();
    let image = build(directory.path(), "g04_noparent");
    let whole = fs::read(&image).unwrap();
    let inspect = |bytes: &[u8]| {
        fs::write(&image, bytes).unwrap();
        let output = osguard(&["layer", "inspect"], &[&image]);
        let stderr = String::from_utf8(output.stderr).unwrap();
        (output.status.code(), String::from_utf8(output.stdout).unwrap(), stderr)
    };
    let flipped = |place: usize| {
        let mut bytes = whole.clone();
        bytes[place] ^= 1;
        inspect(&bytes)
    };
    // The content of a file: the image is whole, and another than the tree's.
    let (code, stdout, stderr) = flipped(5000);
    assert_eq!(code, Some(12), "{stderr}");
    assert!(stdout.contains("Structure:     whole"), "{stdout}");
    assert!(stderr.contains("the hash tree is not that of the image"), "{stderr}");
    let (code, _, stderr) = flipped(1200);
    assert_eq!(code, Some(1), "{stderr}");
    assert!(stderr.contains("checksum"), "{stderr}");
    let hash_offset = whole.len() - 8192;
    let (code, stdout, _) = inspect(&whole[..hash_offset]);
    assert_eq!(code, Some(0));
    assert!(stdout.contains("Hash area:     none"), "{stdout}");
    let (code, _, stderr) = inspect(&whole[..hash_offset - 1]);
    assert_eq!(code, Some(1));
    assert!(stderr.contains("the image is cut off"), "{stderr}");
    fs::remove_file(&image).unwrap();
    let output = osguard(&["layer", "inspect"], &[&image]);
    assert_eq!(output.status.code(), Some(3));
}

fn build(directory: &Path, name: &str) -> PathBuf {
    let image = directory.join("image");
    let output = osguard(&["layer", "build"], &[&layer(name), &image]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    image
}

fn layer(name: &str) -> PathBuf {
    let file = format!("../testdata/erofs/{name}.tar.zst");
    Path::new(env!("CARGO_MANIFEST_DIR")).join(file)
}

fn osguard(words: &[&str], files: &[&Path]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_osguard")).args(words).args(files).output().unwrap()
}

fn json(output: &Output) -> Value {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}
