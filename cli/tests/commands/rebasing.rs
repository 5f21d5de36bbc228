//! `osguard rebase`.

use insta::assert_snapshot;
use osguard_testkit::image::{Compression, LayerSource};
use osguard_testkit::registry::Registry;
use serde_json::{Value, json};

use crate::environment::{Environment, Ran};
use crate::fixtures::{layer, layout, tar};
use crate::layouts::{described, document, manifest};

/// Makes the signed images `base`, `base2` and `app`, which was built on the first.
fn scene() -> Environment {
    let environment = Environment::with_keys();
    let mut made = layout(&environment);
    made.image("base", &[layer("base"), layer("libraries")]).unwrap();
    made.image("base2", &[layer("base"), layer("fixed libraries"), layer("more")]).unwrap();
    let config = json!({ "Env": ["A=b"] });
    let layers = [layer("base"), layer("libraries"), layer("application")];
    made.image_with(("linux", "amd64"), "app", &layers, &config).unwrap();
    for tag in ["base", "base2", "app"] {
        let image = format!("oci:image:{tag}");
        environment.run(["sign", &image, "--key", "alice.key"]).done();
    }
    environment
}

fn arguments<'a>(more: &[&'a str]) -> Vec<&'a str> {
    let rebase = ["rebase", "oci:image:app", "--tag", "app2", "--trust", "alice.crt"];
    [&rebase[..], more].concat()
}

fn rebase(environment: &Environment, more: &[&str]) -> Ran {
    environment.run(arguments(more))
}

const BASES: [&str; 4] = ["--old-base", "oci:image:base", "--new-base", "oci:image:base2"];

#[test]
fn the_base_below_an_application_is_another_one() {
    let environment = scene();
    assert_snapshot!(rebase(&environment, &BASES), @"
    Image oci:image@sha256:c09e7559f68cf1a136775130efa18c61bd4eaa1a4874d42c0e723c0f3209bc86
      on oci:image@sha256:092b7e31bd257fb021c69e0be5775ee5862aa800344dd0262fbbaddf8881ec2e instead of oci:image@sha256:3b1f88bd8784ad7cdef251aa2e96f862f603e9afe6bd611aded667446dac4c17
    Rebased to oci:image@sha256:2072da31a32d1a8e50db1782bb26b141dd83bba76a2507fe53d5c8cfda001950 as app2

    Manifest sha256:2072da31a32d1a8e50db1782bb26b141dd83bba76a2507fe53d5c8cfda001950 (linux/amd64)
      of sha256:c09e7559f68cf1a136775130efa18c61bd4eaa1a4874d42c0e723c0f3209bc86
      layer e7660eaf3c43  gone
      layer fc04dd24052b  signatures carried over
      layer c41d88c12db5  signatures carried over
      layer 01f9c3e6f7d6  signatures carried over
      layer 204d62bcca13  signatures carried over
    The signatures are in sha256:64577c39a6183e41674a96c433fb1cfc46f3be1ec49e0b2966f1b104881a4174

    Stored 1 blob of 398 bytes
    ");
    assert_eq!(environment.run(["verify", "oci:image:app2", "--trust", "alice.crt"]).code, 0);
    let new = manifest(&environment, "app2");
    let digests: Vec<_> =
        new["layers"].as_array().unwrap().iter().map(|layer| layer["digest"].clone()).collect();
    let expected =
        ["base", "fixed libraries", "more", "application"].map(|text| layer(text).digest);
    assert_eq!(digests, expected);
    assert_eq!(
        new["annotations"]["org.opencontainers.image.base.digest"],
        described(&environment, "base2")
    );
    let config = document(&environment, &new["config"]);
    assert_eq!(config["config"]["Env"], json!(["A=b"]));
    assert_eq!(config["rootfs"]["diff_ids"].as_array().unwrap().len(), 4);
}

#[test]
fn the_base_is_known_by_its_diff_ids_and_may_lie_anywhere() {
    let environment = scene();
    // A registry has compressed the base again, and there the application was built.
    let mut made = osguard_testkit::image::LayoutMaker::new(environment.path("other")).unwrap();
    let gzip = |text: &str| LayerSource::new(tar(text), Compression::Gzip).unwrap();
    made.image("base", &[gzip("base"), gzip("libraries")]).unwrap();
    let registry = Registry::start().unwrap();
    let new_base = format!("{}/base:v2", registry.host());
    environment.run(["copy", "oci:image:base2", &new_base]).done();
    let bases = ["--old-base", "oci:other:base", "--new-base", &new_base, "--output", "json"];
    let report = rebase(&environment, &bases).json();
    assert_eq!(report["manifests"][0]["carried"].as_array().unwrap().len(), 4);
    assert_eq!(
        manifest(&environment, "app2")["annotations"]["org.opencontainers.image.base.name"],
        new_base.as_str()
    );
    assert_eq!(environment.run(["verify", "oci:image:app2", "--trust", "alice.crt"]).code, 0);
}

#[test]
fn the_history_is_that_of_the_new_base_and_of_the_application() {
    let environment = Environment::with_keys();
    let mut made = layout(&environment);
    let step = |name: &str| json!({ "created_by": name });
    let empty = |name: &str| json!({ "created_by": name, "empty_layer": true });
    let image = |layers: &[&str], history: &[Value]| {
        let layers: Vec<_> = layers.iter().map(|text| layer(text)).collect();
        json!({ "layers": layers.iter().map(|layer| json!({
                    "mediaType": layer.media_type, "digest": layer.digest, "size": layer.size_bytes,
                })).collect::<Vec<_>>(),
                "diff_ids": layers.iter().map(|layer| layer.diff_id.clone()).collect::<Vec<_>>(),
                "history": history })
    };
    for text in ["old", "new", "own"] {
        made.image(text, &[layer(text)]).unwrap();
    }
    let write = |made: &mut osguard_testkit::image::LayoutMaker, tag: &str, image: &Value| {
        let config = json!({ "architecture": "amd64", "os": "linux", "history": image["history"],
            "rootfs": { "type": "layers", "diff_ids": image["diff_ids"] } })
        .to_string();
        let digest = osguard_testkit::digest::sha256(config.as_bytes());
        std::fs::write(made.blob_path(&digest), &config).unwrap();
        made.manifest(tag, &json!({ "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": { "mediaType": "application/vnd.oci.image.config.v1+json", "digest": digest, "size": config.len() },
            "layers": image["layers"] })).unwrap();
    };
    write(&mut made, "base", &image(&["old"], &[step("FROM"), empty("CMD")]));
    write(&mut made, "base2", &image(&["new"], &[empty("ARG"), step("FROM 2")]));
    let own = [step("FROM"), empty("CMD"), empty("ENV"), step("COPY")];
    write(&mut made, "app", &image(&["old", "own"], &own));
    let unsigned = ["rebase", "oci:image:app", "--tag", "app2", "--unsigned"];
    environment.run([&unsigned[..], &BASES].concat()).done();
    let config = document(&environment, &manifest(&environment, "app2")["config"]);
    let steps: Vec<_> = config["history"]
        .as_array()
        .unwrap()
        .iter()
        .map(|step| step["created_by"].as_str().unwrap())
        .collect();
    assert_eq!(steps, ["ARG", "FROM 2", "ENV", "COPY"]);
}

#[test]
fn what_the_layers_do_not_prove_is_refused() {
    let environment = scene();
    let mut other = osguard_testkit::image::LayoutMaker::new(environment.path("other")).unwrap();
    other.image_for(("linux", "arm64"), "arm", &[layer("base")]).unwrap();
    other.image("empty", &[]).unwrap();
    other
        .image("longer", &[layer("base"), layer("libraries"), layer("application"), layer("x")])
        .unwrap();
    other.image("unsigned", &[layer("new")]).unwrap();
    let mut refusals = String::new();
    for (old, new) in [
        ("oci:image:base2", "oci:image:base"),
        ("oci:other:longer", "oci:image:base2"),
        ("oci:other:empty", "oci:image:base2"),
        ("oci:other:arm", "oci:image:base2"),
        ("oci:image:base", "oci:other:unsigned"),
        ("oci:image:nothing", "oci:image:base2"),
    ] {
        let ran = environment.refused(arguments(&["--old-base", old, "--new-base", new]));
        refusals.push_str(&format!("{old} {new}\n{ran}\n\n"));
    }
    assert_snapshot!(refusals, @"
    oci:image:base2 oci:image:base
    --- standard error ---
    Error: sha256:c09e7559f68cf1a136775130efa18c61bd4eaa1a4874d42c0e723c0f3209bc86 was not built on sha256:092b7e31bd257fb021c69e0be5775ee5862aa800344dd0262fbbaddf8881ec2e: layer 2 of the base has the diffID sha256:c41d88c12db5c634f5bb565a4635aaed9264a48e012563f9d90e8225a3bf171a, and that of the application sha256:e7660eaf3c43ef507ba4b07912275acb0d55312362929168880966309896387f
    Hint: --old-base takes the very image that the application was built on.
    --- exit code 2 ---

    oci:other:longer oci:image:base2
    --- standard error ---
    Error: sha256:c09e7559f68cf1a136775130efa18c61bd4eaa1a4874d42c0e723c0f3209bc86 was not built on sha256:f4e9c222aa6655e3c3732a6d222bba839fc3f653f617ee94decd4eb01ce23874: the base has a layer 4 (sha256:7ecfa28a84ebebae7dd19927b5b4c2035c59ea3d75567e8608b7a79c64d8ea4c), and the application has none
    Hint: --old-base takes the very image that the application was built on.
    --- exit code 2 ---

    oci:other:empty oci:image:base2
    --- standard error ---
    Error: sha256:a2191213e61bc0d0c8cd31173e44d51f247a770c5716a38b6291b305b8af2b3a has no layers, and so nothing is built on it
    --- exit code 2 ---

    oci:other:arm oci:image:base2
    --- standard error ---
    Error: oci:other@sha256:1c0a7b5e6e437ec4427ebf31c56b42cabf75fac4bc4a80e07fc7ced9b0c73430 has nothing for linux/amd64; it is for linux/arm64
    --- exit code 3 ---

    oci:image:base oci:other:unsigned
    --- standard error ---
    Error: oci:other@sha256:5549a32b1427eb041e5cce76971119e59e4d2f3b0c57e8850bd8a3bebad20abc has layers without a signature
    Hint: `osguard sign` signs every layer of an image.
    Hint: --unsigned makes the new image all the same, and leaves all signatures behind.
    --- exit code 10 ---

    oci:image:nothing oci:image:base2
    --- standard error ---
    Error: oci:image has no image with the tag nothing; it has: base, base2, app
    --- exit code 3 ---
    ");
    // Whom nobody trusts has signed the new base.
    environment.run(["sign", "oci:other:unsigned", "--key", "mallory.key"]).done();
    let untrusted = ["--old-base", "oci:image:base", "--new-base", "oci:other:unsigned"];
    assert_eq!(environment.refused(arguments(&untrusted)).code, 11);
}
