//! `osguard diff`.

use insta::assert_snapshot;
use osguard_testkit::image::{Compression, LayerSource, TarMaker};

use crate::environment::Environment;
use crate::fixtures::{index, layer, layout, tar};

fn with_packages(files: &[(&str, &str)]) -> LayerSource {
    let archive = files
        .iter()
        .fold(TarMaker::new(), |archive, (path, text)| archive.file(path, text.as_bytes()));
    LayerSource::new(archive.finish(), Compression::Plain).unwrap()
}

#[test]
fn layers_files_and_packages_are_told() {
    let environment = Environment::with_keys();
    let mut made = layout(&environment);
    let dpkg = |version: &str| {
        format!(
            "Package: libssl3\nStatus: install ok installed\nArchitecture: amd64\nVersion: {version}\n\n"
        )
    };
    let base = with_packages(&[
        ("var/lib/dpkg/status", &dpkg("3.0.1")),
        ("lib/apk/db/installed", "P:musl\nV:1.2\nA:x86_64\n\n"),
        ("usr/lib/a", "a"),
        ("usr/lib/b", "b"),
    ]);
    let fix = with_packages(&[
        ("var/lib/dpkg/status", &dpkg("3.0.2")),
        ("lib/apk/db/installed", "no database\n"),
        ("var/lib/rpm/Packages", "of any form"),
        ("usr/lib/a", "A"),
        ("usr/lib/.wh.b", ""),
    ]);
    let again = LayerSource::new(tar("again"), Compression::Gzip).unwrap();
    made.image("old", &[base.clone(), layer("gone"), layer("again")]).unwrap();
    made.image("new", &[base, again, fix]).unwrap();
    for tag in ["old", "new"] {
        environment.run(["sign", &format!("oci:image:{tag}"), "--key", "alice.key"]).done();
    }
    // The digest of what is compressed depends on the compressor.
    let again = LayerSource::new(tar("again"), Compression::Gzip).unwrap();
    let ran = environment.run(["diff", "oci:image:old", "oci:image:new"]).done();
    let lines: Vec<_> = ran
        .lines()
        .filter(|line| line.starts_with("  "))
        .map(|line| line.replace(&again.digest[7..19], "RECOMPRESSED"))
        .map(|line| line.replace(&format!("{} bytes", again.blob.len()), "SIZE"))
        .collect();
    assert_snapshot!(lines.join("\n"), @"
    layer 840a401115c0  kept, 5120 bytes, signature kept
    layer RECOMPRESSED  recompressed, SIZE, signature kept, before 7ef0eb7bd13b
    layer d8284295deff  added, 5632 bytes, signature added
    layer 90474a9975d4  removed, 2560 bytes, signature lost
    file /lib/apk/db/installed  changed
    file /usr/lib/a  changed
    file /usr/lib/b  removed
    file /var/lib/dpkg/status  changed
    file /var/lib/rpm/Packages  added
    package libssl3:amd64 (dpkg)  3.0.1 → 3.0.2
    not read: /lib/apk/db/installed: line 1 is no field
    not read: /var/lib/rpm/Packages: databases of rpm in the form of Berkeley DB are not read
    root hash 657fa8f870564fc45b1ec01916ab21696cbf446d82649432872f2d411c7eb9ee  out of use
    root hash 7c838aadfbc88bb599b550e8eac9a8e3dbcc3d114334add8726ff04a8533d0a6  out of use
    ");
}

#[test]
fn an_image_does_not_differ_from_itself() {
    let environment = Environment::new();
    index(&environment);
    environment.run(["copy", "oci:image:multi", "oci-archive:copy.tar"]).done();
    let diff = ["diff", "oci:image:multi", "oci-archive:copy.tar:multi", "--output", "json"];
    let report = environment.run(diff).json();
    assert_eq!(report["images"].as_array().unwrap().len(), 2);
    for image in report["images"].as_array().unwrap() {
        assert_eq!(image["old"], image["new"]);
        for nothing in ["files", "packages", "unread", "root_hashes_out_of_use"] {
            assert_eq!(image[nothing].as_array().unwrap().len(), 0, "{nothing}");
        }
        assert!(image["layers"].as_array().unwrap().iter().all(|layer| layer["change"] == "kept"));
    }
}

#[test]
fn what_cannot_be_compared_is_refused() {
    let environment = Environment::new();
    let mut made = layout(&environment);
    made.image("amd64", &[layer("a")]).unwrap();
    made.image_for(("linux", "arm64"), "arm64", &[layer("a")]).unwrap();
    let noise = LayerSource::new(vec![0x5e; 2048], Compression::Plain).unwrap();
    made.image("noise", &[noise]).unwrap();
    let ran = environment.run(["diff", "oci:image:amd64", "oci:image:arm64"]);
    assert_eq!(ran.code, 3, "{ran}");
    assert!(ran.stderr.contains("have no platform in common"), "{ran}");
    let ran = environment.refused(["diff", "oci:image:amd64", "oci:image:noise"]);
    assert_eq!(ran.code, 1, "{ran}");
    assert_eq!(environment.refused(["diff", "oci:image:amd64", "oci:image:missing"]).code, 3);
}
