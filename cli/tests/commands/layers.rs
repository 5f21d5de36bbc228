//! `osguard layer`.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};

use insta::assert_snapshot;
use osguard_testkit::image::{Compression, LayerSource, TarMaker};
use osguard_testkit::or_skip;

use crate::environment::Environment;
use crate::fixtures::{layer, tar};

#[test]
fn a_layer_becomes_an_image() {
    let environment = Environment::new();
    environment.write("layer.tar", &tar("hello"));
    assert_snapshot!(environment.run(["layer", "build", "layer.tar", "image"]), @"
    Image:         image
    Root hash:     24cb08c6a5c87ec0e44abf9926bbf4f2feb7d58dbbffa56b3173a205c78c2901
    Profile:       containerd-full-v1
    Layer digest:  sha256:d2c958244f6ef58d687c1a809ee142479ff5583c39ead1449f49c31f5461a8ea
    diffID:        sha256:d2c958244f6ef58d687c1a809ee142479ff5583c39ead1449f49c31f5461a8ea
    UUID:          21b91a00-e907-50d6-b45d-31403f2f93b9
    Compression:   plain tar
    Layer size:    2560 bytes
    Archive size:  2560 bytes, 2 members
    Hash offset:   8192 bytes, 3 files
    ");
    let ran = environment.run(["layer", "build", "layer.tar", "image", "--output", "json"]);
    assert_snapshot!(ran, @r#"
    {
      "schema": "osguard.layer.build.v1",
      "image": "image",
      "profile": "containerd-full-v1",
      "root_hash": "24cb08c6a5c87ec0e44abf9926bbf4f2feb7d58dbbffa56b3173a205c78c2901",
      "layer_digest": "sha256:d2c958244f6ef58d687c1a809ee142479ff5583c39ead1449f49c31f5461a8ea",
      "diff_id": "sha256:d2c958244f6ef58d687c1a809ee142479ff5583c39ead1449f49c31f5461a8ea",
      "uuid": "21b91a00-e907-50d6-b45d-31403f2f93b9",
      "compression": "plain tar",
      "layer_size_bytes": 2560,
      "archive_size_bytes": 2560,
      "image_size_bytes": 8192,
      "members": 2,
      "inodes": 3
    }
    "#);
    let ran = environment.run(["layer", "build", "layer.tar", "i", "--profile", "diffid-full-v1"]);
    assert!(ran.done().contains("diffid-full-v1"));
}

/// The kernel takes the image and its hash tree as they lie in the file.
#[test]
fn the_root_hash_is_that_of_the_file() {
    let environment = Environment::new();
    environment.write("layer.tar", &tar("hello"));
    let report = environment.run(["layer", "build", "layer.tar", "image", "--output", "json"]);
    let report = report.json();
    let offset = report["image_size_bytes"].to_string();
    let root_hash = report["root_hash"].as_str().unwrap();
    let verify = ["verity", "verify", "image", "image", root_hash, "--hash-offset", &offset];
    assert_eq!(environment.run(verify).done(), "");
}

#[test]
fn compression_and_the_way_of_the_bytes_change_nothing_but_the_layer_digest() {
    let environment = Environment::new();
    let root_hash = |environment: &Environment, layer: &[u8]| {
        environment.write("layer", layer);
        let build = ["layer", "build", "layer", "image", "--profile", "diffid-full-v1"];
        let report = environment.run(build.iter().chain(&["--output", "json"])).json();
        report["root_hash"].as_str().unwrap().to_owned()
    };
    let expected = root_hash(&environment, &tar("hello"));
    for compression in [Compression::Gzip, Compression::Zstd] {
        let layer = or_skip(LayerSource::new(tar("hello"), compression));
        let Some(layer) = layer else { return };
        assert_eq!(root_hash(&environment, &layer.blob), expected);
    }
    let build = ["layer", "build", "-", "image", "--profile", "diffid-full-v1"];
    let ran = environment.run_with_input(build, &tar("hello"));
    assert!(ran.done().contains(&expected));
}

#[test]
fn digests_that_are_expected_are_checked() {
    let environment = Environment::new();
    let layer = layer("hello");
    environment.write("layer.tar", &layer.blob);
    environment.write("image", b"what was there before");
    let other = format!("sha256:{}", "0".repeat(64));
    let build = |flag, digest| ["layer", "build", "layer.tar", "image", flag, digest];
    assert_snapshot!(environment.refused(build("--layer-digest", &other)), @"
    --- standard error ---
    Error: layer.tar: the layer's blob has the digest sha256:d2c958244f6ef58d687c1a809ee142479ff5583c39ead1449f49c31f5461a8ea and should have sha256:0000000000000000000000000000000000000000000000000000000000000000
    Hint: The copy is damaged or was changed: fetch the image again.
    --- exit code 1 ---
    ");
    assert_snapshot!(environment.refused(build("--diff-id", &other)), @"
    --- standard error ---
    Error: layer.tar: the archive in the layer has the diffID sha256:d2c958244f6ef58d687c1a809ee142479ff5583c39ead1449f49c31f5461a8ea and should have sha256:0000000000000000000000000000000000000000000000000000000000000000
    Hint: The image's configuration belongs to other layers: build the image again.
    --- exit code 1 ---
    ");
    environment.run(build("--layer-digest", &layer.digest)).done();
    environment.run(build("--diff-id", &layer.diff_id)).done();
}

#[test]
fn an_image_has_the_permissions_of_any_new_file() {
    let environment = Environment::new();
    environment.write("layer.tar", &tar("hello"));
    environment.run(["layer", "build", "layer.tar", "image"]).done();
    let mode = |name| fs::metadata(environment.path(name)).unwrap().permissions().mode();
    assert_eq!(mode("image"), mode("layer.tar"));
}

/// A node with an older mkfs.erofs would compute another root hash.
#[test]
fn warns_of_what_nodes_may_see_differently() {
    let environment = Environment::new();
    environment.write("layer.tar", &TarMaker::new().file("hello", b"world").unfinished());
    let ran = environment.run(["layer", "build", "layer.tar", "image"]);
    assert_snapshot!(ran.stderr, @"Warning: nodes that convert layers with erofs-utils 1.8 will compute another root hash: no two zero blocks at the end of the archive");
    assert_eq!(ran.code, 0);
    let ran = environment.run(["layer", "build", "layer.tar", "image", "--quiet"]);
    assert_eq!(ran.done(), "");
}

#[test]
fn only_archives_are_layers() {
    let environment = Environment::new();
    environment.write("text", b"This is no archive.\n".repeat(50).as_slice());
    let build = |layer| environment.refused(["layer", "build", layer, "image"]);
    assert_snapshot!(build("text"), @r#"
    --- standard error ---
    Error: text: cannot read the layer's archive: at byte 0: this is no tar archive: it begins with "This is no archi"
    Hint: A layer is a tar archive, plain or compressed with gzip or zstd.
    --- exit code 1 ---
    "#);
    assert_snapshot!(build("nothing"), @"
    --- standard error ---
    Error: cannot read nothing: No such file or directory (os error 2)
    --- exit code 3 ---
    ");
}

#[test]
fn only_files_are_written() {
    let environment = Environment::new();
    environment.write("layer.tar", &tar("hello"));
    fs::create_dir(environment.path("directory")).unwrap();
    symlink("/dev/null", environment.path("null")).unwrap();
    let build = |image| environment.refused(["layer", "build", "layer.tar", image]);
    assert_snapshot!(build("directory"), @"
    --- standard error ---
    Error: cannot write directory: is a directory
    --- exit code 1 ---
    ");
    assert_snapshot!(build("null"), @"
    --- standard error ---
    Error: cannot write null: it is a device or a pipe, and a file is needed
    --- exit code 1 ---
    ");
    assert_snapshot!(build("nowhere/image"), @"
    --- standard error ---
    Error: cannot write nowhere/image: No such file or directory (os error 2)
    --- exit code 3 ---
    ");
    assert_snapshot!(build(".."), @"
    --- standard error ---
    Error: cannot write ..: is a directory
    --- exit code 1 ---
    ");
}

#[test]
fn a_truncated_layer_is_refused() {
    let environment = Environment::new();
    let Some(layer) = or_skip(LayerSource::new(tar("hello"), Compression::Gzip)) else { return };
    environment.write("layer.gz", &layer.blob[..60]);
    let ran = environment.refused(["layer", "build", "layer.gz", "image"]);
    assert_snapshot!(ran, @"
    --- standard error ---
    Error: layer.gz: the layer's blob is no valid gzip stream after 517 bytes of it: incomplete deflate stream
    Hint: The layer was damaged or cut off before it got its digest: build it again.
    --- exit code 1 ---
    ");
    environment.write("layer.tar", &tar("hello")[..1100]);
    assert_snapshot!(environment.refused(["layer", "build", "layer.tar", "image"]), @r#"
    --- standard error ---
    Error: layer.tar: cannot read the layer's archive: tar member "bin/program" at byte 512: the archive ends 436 bytes too early
    --- exit code 1 ---
    "#);
}

#[test]
fn an_index_image_has_its_archive_behind_it() {
    let environment = Environment::new();
    let archive = tar("hello");
    environment.write("layer.tar", &archive);
    let build = ["layer", "build", "layer.tar", "image", "--profile", "containerd-index-v1"];
    let ran = environment.run(build.iter().chain(&["--side-file", "--output", "json"]));
    assert_snapshot!(ran.stderr, @"Warning: nodes that convert layers with erofs-utils 1.8 will compute another root hash for every layer by containerd-index-v1: they leave out the image's checksum");
    let report: serde_json::Value = serde_json::from_str(&ran.stdout).unwrap();
    let hash_offset = report["image_size_bytes"].as_u64().unwrap() as usize;
    let image = fs::read(environment.path("image")).unwrap();
    assert!(image[..hash_offset].ends_with(&archive));
    assert!(image[hash_offset..].starts_with(b"verity\0\0"));
    assert_eq!(
        fs::read_to_string(environment.path("image.dmverity")).unwrap(),
        format!(r#"{{"roothash":{},"hashoffset":{hash_offset}}}"#, report["root_hash"])
    );

    let root_hash = report["root_hash"].as_str().unwrap();
    let verify = ["verity", "verify", "image", "image", root_hash, "--hash-offset"];
    assert_eq!(environment.run(verify.iter().chain(&[&hash_offset.to_string()[..]])).done(), "");
    let shown = environment.run(["layer", "inspect", "image", "--tree", "--output", "json"]).json();
    for (field, built) in [
        ("root_hash", "root_hash"),
        ("uuid", "uuid"),
        ("inodes", "inodes"),
        ("hash_offset_bytes", "image_size_bytes"),
    ] {
        assert_eq!(shown[field], report[built], "{field}");
    }
    assert_eq!(shown["mode"], "index");
    assert_eq!(shown["hash_area"]["state"], "whole");
}

/// containerd would take the root hash of an older image for that of the new one.
#[test]
fn the_side_file_is_there_with_the_image_or_not_at_all() {
    let environment = Environment::new();
    environment.write("layer.tar", &tar("hello"));
    fs::create_dir(environment.path("image.dmverity")).unwrap();
    let build = ["layer", "build", "layer.tar", "image", "--side-file"];
    assert_snapshot!(environment.refused(build), @"
    --- standard error ---
    Error: cannot write image.dmverity: is a directory
    --- exit code 1 ---
    ");
    assert!(!environment.path("image").exists());
}

/// An archive without members and without an end, as far as mkfs.erofs is concerned.
#[test]
fn nothing_at_all_is_a_layer_without_files() {
    let environment = Environment::new();
    assert_snapshot!(environment.run(["layer", "build", "-", "image"]), @"
    Image:         image
    Root hash:     10b73399ca09a8b34c21b036d1944a68f7bc857da26492f174a43ddc9b6f8f4d
    Profile:       containerd-full-v1
    Layer digest:  sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855
    diffID:        sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855
    UUID:          0f8a237d-48ca-5305-ba9f-d2efb00fcd98
    Compression:   plain tar
    Layer size:    0 bytes
    Archive size:  0 bytes, 0 members
    Hash offset:   4096 bytes, 1 files
    --- standard error ---
    Warning: nodes that convert layers with erofs-utils 1.8 will compute another root hash: no two zero blocks at the end of the archive
    ");
}

/// In a mount namespace of its own, so that nothing of it is seen outside.
#[test]
fn a_full_disk_leaves_nothing() {
    let environment = Environment::new();
    let contents: Vec<u8> = (0..1_000_000_u32).flat_map(u32::to_le_bytes).collect();
    environment.write("layer.tar", &TarMaker::new().file("large", &contents).finish());
    fs::create_dir(environment.path("disk")).unwrap();
    let mount = "mount -t tmpfs -o size=1m tmpfs disk";
    let Some(mut build) = environment.unshared(mount, "ls -A disk") else { return };
    build.args(["layer", "build", "layer.tar", "disk/image"]);
    let Some(ran) = environment.in_namespace(&mut build) else { return };
    assert_snapshot!(ran, @"
    --- standard error ---
    Error: cannot write disk/image: No space left on device (os error 28)
    --- exit code 1 ---
    ");
}
