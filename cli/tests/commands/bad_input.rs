//! Images that are damaged, hostile or not what they say: one clear line, and nothing left behind.

use std::fs;

use insta::assert_snapshot;
use osguard_testkit::image::{Compression, LayerSource};
use osguard_testkit::or_skip;
use serde_json::json;

use crate::environment::{Environment, Ran};
use crate::fixtures::{image, layer, layout, tar};

#[test]
fn an_image_that_is_not_there_is_named_with_those_that_are() {
    let environment = Environment::with_keys();
    let mut layout = image(&environment);
    assert_snapshot!(sign(&environment, "oci:nothing:v1"), @"
    --- standard error ---
    Error: oci:nothing does not exist
    Hint: An image gets into a layout directory for example by `osguard copy HOST/REPOSITORY:TAG oci:DIR`.
    --- exit code 3 ---
    ");
    assert_snapshot!(sign(&environment, "oci:image:v2"), @"
    --- standard error ---
    Error: oci:image has no image with the tag v2; it has: v1
    --- exit code 3 ---
    ");
    let digest = format!("oci:image@sha256:{}", "0".repeat(64));
    assert_snapshot!(sign(&environment, &digest), @"
    --- standard error ---
    Error: manifest sha256:0000000000000000000000000000000000000000000000000000000000000000 is missing in oci:image
    --- exit code 3 ---
    ");
    layout.image("v2", &[layer("other")]).unwrap();
    assert_snapshot!(sign(&environment, "oci:image"), @"
    --- standard error ---
    Error: oci:image holds several images where one is meant; choose one: :v1, :v2
    Hint: Append :TAG or @DIGEST to the image's name.
    --- exit code 2 ---
    ");
}

#[test]
fn what_is_no_layout_is_told() {
    let environment = Environment::with_keys();
    environment.write("file", b"no directory");
    fs::create_dir(environment.path("empty")).unwrap();
    let layout = layout(&environment);
    assert_snapshot!(sign(&environment, "oci:file"), @"
    --- standard error ---
    Error: oci:file is not an OCI layout: it is not a directory
    Hint: An image gets into a layout directory for example by `osguard copy HOST/REPOSITORY:TAG oci:DIR`.
    --- exit code 1 ---
    ");
    assert_snapshot!(sign(&environment, "oci:empty"), @"
    --- standard error ---
    Error: oci:empty is not an OCI layout: it has no oci-layout
    Hint: An image gets into a layout directory for example by `osguard copy HOST/REPOSITORY:TAG oci:DIR`.
    --- exit code 1 ---
    ");
    assert_snapshot!(sign(&environment, "oci:image"), @"
    --- standard error ---
    Error: oci:image holds no image
    --- exit code 3 ---
    ");
    fs::write(layout.directory().join("index.json"), b"{").unwrap();
    assert_snapshot!(sign(&environment, "oci:image"), @"
    --- standard error ---
    Error: index.json of oci:image is not a manifest that can be used: it is not valid: EOF while parsing an object at line 1 column 1
    --- exit code 1 ---
    ");
    fs::write(layout.directory().join("oci-layout"), br#"{"imageLayoutVersion":"9"}"#).unwrap();
    assert_snapshot!(sign(&environment, "oci:image"), @r#"
    --- standard error ---
    Error: oci:image is not an OCI layout: its version is "9", and only "1.0.0" is supported
    Hint: An image gets into a layout directory for example by `osguard copy HOST/REPOSITORY:TAG oci:DIR`.
    --- exit code 1 ---
    "#);
}

#[test]
fn a_layer_with_other_bytes_is_refused() {
    let good = layer("base");
    let blob = [&good.blob[..1100], b"?", &good.blob[1101..]].concat();
    assert_snapshot!(signed_with(LayerSource { blob, ..good.clone() }), @"
    --- standard error ---
    Error: layer sha256:fc04dd24052be6fd5fa47a05c4608550e6783e03feff53183fb8f6c2fdcc67f7: the layer's blob has the digest sha256:29a774a575cb7aa6b3c1d340baeb6230b13c593da3f2ed467c4fd78b14934ebc and should have sha256:fc04dd24052be6fd5fa47a05c4608550e6783e03feff53183fb8f6c2fdcc67f7
    Hint: The copy is damaged or was changed: fetch the image again.
    --- exit code 1 ---
    ");
    let blob = good.blob[..1024].to_vec();
    assert_snapshot!(signed_with(LayerSource { blob, ..good.clone() }), @"
    --- standard error ---
    Error: blob sha256:fc04dd24052be6fd5fa47a05c4608550e6783e03feff53183fb8f6c2fdcc67f7 in oci:image has 1024 bytes, and 2560 were announced
    Hint: The copy is damaged or was changed: fetch the image again.
    --- exit code 1 ---
    ");
    let blob = [&good.blob[..], b"more"].concat();
    assert_snapshot!(signed_with(LayerSource { blob, ..good }), @"
    --- standard error ---
    Error: blob sha256:fc04dd24052be6fd5fa47a05c4608550e6783e03feff53183fb8f6c2fdcc67f7 in oci:image has more than the 2560 bytes that were announced
    Hint: The copy is damaged or was changed: fetch the image again.
    --- exit code 1 ---
    ");
}

#[test]
fn a_layer_that_is_missing_is_named() {
    let environment = Environment::with_keys();
    let mut layout = layout(&environment);
    let missing = layer("base");
    layout.image("v1", std::slice::from_ref(&missing)).unwrap();
    fs::remove_file(layout.blob_path(&missing.digest)).unwrap();
    assert_snapshot!(sign(&environment, "oci:image:v1"), @"
    --- standard error ---
    Error: blob sha256:fc04dd24052be6fd5fa47a05c4608550e6783e03feff53183fb8f6c2fdcc67f7 is missing in oci:image
    --- exit code 1 ---
    ");
}

#[test]
fn a_layer_with_another_diff_id_is_refused() {
    let diff_id = layer("other").diff_id;
    assert_snapshot!(signed_with(LayerSource { diff_id, ..layer("base") }), @"
    --- standard error ---
    Error: layer sha256:fc04dd24052be6fd5fa47a05c4608550e6783e03feff53183fb8f6c2fdcc67f7: the archive in the layer has the diffID sha256:fc04dd24052be6fd5fa47a05c4608550e6783e03feff53183fb8f6c2fdcc67f7 and should have sha256:597ce0291e2c5d02758a12fa633b4a1f314b9565e1ee53e95bfff15b8ab947d8
    Hint: The image's configuration belongs to other layers: build the image again.
    --- exit code 1 ---
    ");
}

#[test]
fn a_truncated_stream_is_refused() {
    let compressed = or_skip(LayerSource::new(tar("base"), Compression::Gzip));
    let Some(LayerSource { mut blob, media_type, diff_id, .. }) = compressed else { return };
    blob.truncate(60);
    let truncated = LayerSource { media_type, diff_id, ..raw(blob) };
    let digest = truncated.digest.clone();
    assert_snapshot!(signed_with(truncated).naming(&digest, "<layer>"), @"
    --- standard error ---
    Error: layer <layer>: the layer's blob is no valid gzip stream after 517 bytes of it: incomplete deflate stream
    Hint: The layer was damaged or cut off before it got its digest: build it again.
    --- exit code 1 ---
    ");
}

#[test]
fn a_layer_that_is_no_archive_is_refused() {
    assert_snapshot!(signed_with(raw(b"This is no archive.\n".repeat(50))), @r#"
    --- standard error ---
    Error: layer sha256:6d4be66fcd8a95a78274f605a5e8f96001af7305dc2c9c47d7097e879294f1b2: cannot read the layer's archive: at byte 0: this is no tar archive: it begins with "This is no archi"
    Hint: A layer is a tar archive, plain or compressed with gzip or zstd.
    --- exit code 1 ---
    "#);
}

#[test]
fn media_types_that_are_no_layers_are_refused() {
    let with = |media_type: &str| {
        signed_with(LayerSource { media_type: media_type.to_owned(), ..layer("base") })
    };
    assert_snapshot!(with("application/vnd.oci.image.layer.v1.tar+gzip"), @"
    --- standard error ---
    Error: layer sha256:fc04dd24052be6fd5fa47a05c4608550e6783e03feff53183fb8f6c2fdcc67f7: a layer of media type application/vnd.oci.image.layer.v1.tar+gzip is gzip, and its blob is plain tar
    Hint: The image's manifest describes the layer wrongly: build the image again.
    --- exit code 1 ---
    ");
    assert_snapshot!(with("application/vnd.oci.image.layer.v1.tar+zip"), @r#"
    --- standard error ---
    Error: layer sha256:fc04dd24052be6fd5fa47a05c4608550e6783e03feff53183fb8f6c2fdcc67f7: media type "application/vnd.oci.image.layer.v1.tar+zip" is not that of a layer: a tar archive, plain or compressed with gzip or zstd
    Hint: Build the image again without this layer, or with a tar archive in its place.
    --- exit code 1 ---
    "#);
    assert_snapshot!(with("application/vnd.oci.image.layer.v1.tar+gzip+encrypted"), @"
    --- standard error ---
    Error: layer sha256:fc04dd24052be6fd5fa47a05c4608550e6783e03feff53183fb8f6c2fdcc67f7: a layer of media type application/vnd.oci.image.layer.v1.tar+gzip+encrypted is encrypted
    Hint: Decrypt the image first.
    --- exit code 1 ---
    ");
    assert_snapshot!(with("application/vnd.docker.image.rootfs.foreign.diff.tar.gzip"), @"
    --- standard error ---
    Error: layer sha256:fc04dd24052be6fd5fa47a05c4608550e6783e03feff53183fb8f6c2fdcc67f7: a layer of media type application/vnd.docker.image.rootfs.foreign.diff.tar.gzip is foreign: its content may not be distributed
    Hint: Build the image again without this layer, or with a tar archive in its place.
    --- exit code 1 ---
    ");
}

#[test]
fn manifests_that_are_no_images_are_refused() {
    let environment = Environment::with_keys();
    let mut layout = layout(&environment);
    let image = layout.image("v1", &[layer("base")]).unwrap();
    let manifest = fs::read(layout.blob_path(&image)).unwrap();
    let manifest: serde_json::Value = serde_json::from_slice(&manifest).unwrap();
    let changed = |key: &str, value: serde_json::Value| {
        let mut manifest = manifest.clone();
        manifest[key] = value;
        manifest
    };
    let layers = json!([manifest["layers"][0], manifest["layers"][0]]);
    layout.manifest("count", &changed("layers", layers)).unwrap();
    let mut configuration = manifest["config"].clone();
    configuration["mediaType"] = json!("application/vnd.cncf.helm.config.v1+json");
    layout.manifest("chart", &changed("config", configuration)).unwrap();
    layout.manifest("version", &changed("schemaVersion", json!(1))).unwrap();
    layout.manifest("kind", &changed("mediaType", json!("text/plain"))).unwrap();
    for (tag, expected) in [
        ("count", "diffIDs"),
        ("chart", "helm"),
        ("version", "schemaVersion"),
        ("kind", "text/plain"),
    ] {
        let ran = sign(&environment, &format!("oci:image:{tag}"));
        assert!(ran.stderr.contains(expected), "{ran}");
        assert_eq!(ran.code, 1, "{ran}");
    }
}

#[test]
fn an_image_without_layers_cannot_be_signed() {
    let environment = Environment::with_keys();
    layout(&environment).image("v1", &[]).unwrap();
    assert_snapshot!(sign(&environment, "oci:image:v1"), @"
    --- standard error ---
    Error: the image sha256:a2191213e61bc0d0c8cd31173e44d51f247a770c5716a38b6291b305b8af2b3a has no layers, and so nothing that could be signed
    --- exit code 1 ---
    ");
}

/// Signs an image with one good layer and this one.
fn signed_with(layer_source: LayerSource) -> Ran {
    let environment = Environment::with_keys();
    layout(&environment).image("v1", &[layer("good"), layer_source]).unwrap();
    sign(&environment, "oci:image:v1")
}

fn sign(environment: &Environment, image: &str) -> Ran {
    environment.refused(["sign", image, "--key", "alice.key"])
}

/// Makes a layer of any bytes, and describes it truthfully.
fn raw(blob: Vec<u8>) -> LayerSource {
    LayerSource::new(blob, Compression::Plain).unwrap()
}
