//! `osguard push`.

use std::fs::{self, File};

use insta::assert_snapshot;
use osguard_testkit::image::LayerSource;
use serde_json::{Value, json};

use crate::environment::{Environment, Ran};
use crate::fixtures::{image, index, layer, layout};

#[test]
fn an_image_is_signed_on_its_way() {
    let environment = Environment::with_keys();
    image(&environment);
    let before = fs::read(environment.path("image/index.json")).unwrap();
    assert_snapshot!(push(&environment, &[]), @"
    Image oci:image@sha256:41932bc02fd62feb8618fb62fa3fc49aea527f60fe83a1fe95523ca9bf3e29ef
    Copied to oci:copy@sha256:41932bc02fd62feb8618fb62fa3fc49aea527f60fe83a1fe95523ca9bf3e29ef as v1
    Signer CN=alice

    Manifest sha256:41932bc02fd62feb8618fb62fa3fc49aea527f60fe83a1fe95523ca9bf3e29ef (linux/amd64)
      layer fc04dd24052b  root hash e143886f905f28bf0b420af45ad2e9f4bf38d53782ef9b174c36274873e59cd7  containerd-full-v1
      layer 204d62bcca13  root hash f3309ec5d66e790f8b80335e0b924185141de28b1ea0f6556ab6889ac52470f0  containerd-full-v1
    Signed, the signatures are in sha256:8d675f0a6b8eb37f5233e8a9f3538a5e0564bea5bff9ce40f5be36091a81f7d2

    Stored 4 blobs and manifests of 5904 bytes; 0 were there before
    ");
    assert_eq!(verify(&environment, "oci:copy:v1"), 0);
    assert_eq!(fs::read(environment.path("image/index.json")).unwrap(), before);
}

#[test]
fn signatures_are_written_into_the_manifest_as_well() {
    let environment = Environment::with_keys();
    image(&environment);
    let embed = ["push", "--embed", "--sign", "--key", "alice.key", "oci:image:v1", "oci:copy:v1"];
    assert_snapshot!(environment.run(embed), @"
    Image oci:image@sha256:41932bc02fd62feb8618fb62fa3fc49aea527f60fe83a1fe95523ca9bf3e29ef
    Copied to oci:copy@sha256:833a2aaf9ffa9cc10b6e844ab5853b00593253f02277dbb9c341747e6b7ad01f as v1
    With its signatures in its manifest it is a new image
      before sha256:41932bc02fd62feb8618fb62fa3fc49aea527f60fe83a1fe95523ca9bf3e29ef
      now    sha256:833a2aaf9ffa9cc10b6e844ab5853b00593253f02277dbb9c341747e6b7ad01f
    Signer CN=alice

    Manifest sha256:833a2aaf9ffa9cc10b6e844ab5853b00593253f02277dbb9c341747e6b7ad01f (linux/amd64)
      layer fc04dd24052b  root hash e143886f905f28bf0b420af45ad2e9f4bf38d53782ef9b174c36274873e59cd7  containerd-full-v1
      layer 204d62bcca13  root hash f3309ec5d66e790f8b80335e0b924185141de28b1ea0f6556ab6889ac52470f0  containerd-full-v1
    Signed, the signatures are in sha256:f7c480c6d2cc3d7fefe460e470d99201857b391c0cdab373357b154271d80cdf

    Stored 4 blobs and manifests of 5904 bytes; 0 were there before
    ");
    assert_eq!(verify(&environment, "oci:copy:v1"), 0);

    // The image without its artifact, as a tool that carries no signatures brings it.
    let json = [&["--output", "json"], &embed[..]].concat();
    let pushed = environment.run(json).json();
    let new = pushed["embedded"]["new_digest"].as_str().unwrap();
    assert_ne!(pushed["embedded"]["old_digest"], pushed["embedded"]["new_digest"]);
    let copied = Environment::with_keys();
    let blob = |digest: &str| format!("blobs/sha256/{}", digest.strip_prefix("sha256:").unwrap());
    fs::create_dir_all(copied.path("bare/blobs/sha256")).unwrap();
    copied.write("bare/oci-layout", br#"{"imageLayoutVersion":"1.0.0"}"#);
    let manifest = environment.read(format!("copy/{}", blob(new)));
    copied.write(format!("bare/{}", blob(new)), &manifest);
    let listed = json!({ "schemaVersion": 2, "manifests": [{
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "digest": new, "size": manifest.len(),
    }]});
    copied.write("bare/index.json", listed.to_string().as_bytes());
    let manifest: Value = serde_json::from_slice(&manifest).unwrap();
    let layers = manifest["layers"].as_array().unwrap().iter();
    for part in layers.chain([&manifest["config"]]) {
        let name = blob(part["digest"].as_str().unwrap());
        let content = environment.read(format!("copy/{name}"));
        copied.write(format!("bare/{name}"), &content);
    }
    assert_eq!(verify(&copied, "oci:bare"), 0);
    assert_eq!(copied.run(["verify", "--trust", "mallory.crt", "oci:bare"]).code, 11);
}

/// Although each ECDSA signature differs from the one before.
#[test]
fn signatures_are_written_into_the_manifest_once() {
    let environment = Environment::with_keys();
    index(&environment);
    environment.run(["key", "generate", "elliptic", "--kind", "ec-p256"]).done();
    let embed = |key: &str| {
        let push = ["push", "--embed", "--sign", "--key", key, "--output", "json"];
        environment.run(push.iter().chain(&["oci:image:multi", "oci:copy"])).json()
    };
    let first = embed("elliptic.key");
    assert_ne!(first["embedded"]["new_digest"], first["embedded"]["old_digest"]);
    let before = environment.files();
    let second = embed("elliptic.key");
    assert_eq!(second["embedded"], first["embedded"]);
    assert_eq!(second["manifests"][0]["already_signed"], true);
    assert_eq!(environment.files(), before);

    // Whoever else signs takes nothing over.
    assert_ne!(embed("alice.key")["embedded"], first["embedded"]);
    assert_eq!(verify(&environment, "oci:copy:multi"), 0);
}

#[test]
fn the_result_as_json() {
    let environment = Environment::with_keys();
    image(&environment);
    assert_snapshot!(push(&environment, &["--output", "json"]), @r#"
    {
      "schema": "osguard.push.v1",
      "image": "oci:image@sha256:41932bc02fd62feb8618fb62fa3fc49aea527f60fe83a1fe95523ca9bf3e29ef",
      "destination": "oci:copy@sha256:41932bc02fd62feb8618fb62fa3fc49aea527f60fe83a1fe95523ca9bf3e29ef",
      "digest": "sha256:41932bc02fd62feb8618fb62fa3fc49aea527f60fe83a1fe95523ca9bf3e29ef",
      "tag": "v1",
      "dry_run": false,
      "stored": 4,
      "stored_bytes": 5904,
      "present": 0,
      "referrers": [],
      "left_behind": [],
      "signer": "CN=alice",
      "artifact_format": "standard",
      "manifests": [
        {
          "digest": "sha256:41932bc02fd62feb8618fb62fa3fc49aea527f60fe83a1fe95523ca9bf3e29ef",
          "platform": "linux/amd64",
          "layers": [
            {
              "digest": "sha256:fc04dd24052be6fd5fa47a05c4608550e6783e03feff53183fb8f6c2fdcc67f7",
              "diff_id": "sha256:fc04dd24052be6fd5fa47a05c4608550e6783e03feff53183fb8f6c2fdcc67f7",
              "root_hashes": [
                {
                  "profile": "containerd-full-v1",
                  "root_hash": "e143886f905f28bf0b420af45ad2e9f4bf38d53782ef9b174c36274873e59cd7",
                  "image_size_bytes": 8192
                }
              ]
            },
            {
              "digest": "sha256:204d62bcca139800af84ce20f56afd8506469a7c30ec9f678d7b1c52e22820b3",
              "diff_id": "sha256:204d62bcca139800af84ce20f56afd8506469a7c30ec9f678d7b1c52e22820b3",
              "root_hashes": [
                {
                  "profile": "containerd-full-v1",
                  "root_hash": "f3309ec5d66e790f8b80335e0b924185141de28b1ea0f6556ab6889ac52470f0",
                  "image_size_bytes": 8192
                }
              ]
            }
          ],
          "already_signed": false,
          "artifacts": [
            "sha256:8d675f0a6b8eb37f5233e8a9f3538a5e0564bea5bff9ce40f5be36091a81f7d2"
          ]
        }
      ]
    }
    "#);
}

/// In the same bytes.
#[test]
fn a_push_does_what_sign_and_copy_do() {
    let environment = Environment::with_keys();
    index(&environment);
    let sign = ["--sign", "--key", "alice.key", "--profile", "diffid-full-v1", "--output", "json"];
    let pushed = environment.run(["push", "oci:image:multi", "oci:pushed"].iter().chain(&sign));
    let signed = environment.run(["sign", "oci:image:multi"].iter().chain(&sign[1..]));
    environment.run(["copy", "oci:image:multi", "oci:copied"]).done();
    let manifests = |mut report: Value| report["manifests"].take();
    assert_eq!(manifests(pushed.json()), manifests(signed.json()));
    let blobs = |layout: &str| {
        let blobs = environment.path(layout).join("blobs/sha256").read_dir().unwrap();
        let mut blobs: Vec<_> = blobs.map(|blob| blob.unwrap().file_name()).collect();
        blobs.sort();
        blobs
    };
    assert_eq!(blobs("pushed"), blobs("copied"));
    assert_eq!(verify(&environment, "oci:pushed:multi"), 0);
}

#[test]
fn pushing_again_changes_nothing() {
    let environment = Environment::with_keys();
    image(&environment);
    push(&environment, &[]).done();
    let before = environment.files();
    let report = push(&environment, &["--output", "json"]).json();
    assert_eq!(report["manifests"][0]["already_signed"], true);
    assert_eq!(report["stored"], 0);
    assert_eq!(environment.files(), before);
}

#[test]
fn signatures_of_others_come_along() {
    let environment = Environment::with_keys();
    image(&environment);
    environment.run(["sign", "oci:image:v1", "--key", "mallory.key"]).done();
    let report = push(&environment, &["--output", "json"]).json();
    assert_eq!(report["referrers"].as_array().unwrap().len(), 1);
    assert_eq!(report["manifests"][0]["already_signed"], false);
    for trusted in ["alice.crt", "mallory.crt"] {
        let verified = environment.run(["verify", "oci:copy:v1", "--trust", trusted]);
        assert_eq!(verified.code, 0, "{verified}");
    }
}

#[test]
fn without_sign_a_push_is_a_copy() {
    let environment = Environment::with_keys();
    image(&environment);
    assert_snapshot!(environment.run(["push", "oci:image:v1", "oci:copy"]), @"
    Image oci:image@sha256:41932bc02fd62feb8618fb62fa3fc49aea527f60fe83a1fe95523ca9bf3e29ef
    Copied to oci:copy@sha256:41932bc02fd62feb8618fb62fa3fc49aea527f60fe83a1fe95523ca9bf3e29ef as v1
    Stored 4 blobs and manifests of 5904 bytes; 0 were there before
    ");
    assert_eq!(verify(&environment, "oci:copy:v1"), 10);
}

#[test]
fn a_pipeline_signs() {
    let environment = Environment::with_keys();
    image(&environment);
    environment.run(["copy", "oci:image:v1", "oci-archive:image.tar"]).done();
    let signed = File::create(environment.path("signed.tar")).unwrap();
    let mut command = environment.osguard();
    command
        .args(["push", "oci-archive:-:v1", "oci-archive:-", "--sign", "--key", "alice.key"])
        .stdin(File::open(environment.path("image.tar")).unwrap())
        .stdout(signed);
    let ran = environment.ran(&mut command);
    assert_snapshot!(ran, @"
    --- standard error ---
    Image oci-archive:-@sha256:41932bc02fd62feb8618fb62fa3fc49aea527f60fe83a1fe95523ca9bf3e29ef
    Copied to oci-archive:-@sha256:41932bc02fd62feb8618fb62fa3fc49aea527f60fe83a1fe95523ca9bf3e29ef as v1
    Signer CN=alice

    Manifest sha256:41932bc02fd62feb8618fb62fa3fc49aea527f60fe83a1fe95523ca9bf3e29ef (linux/amd64)
      layer fc04dd24052b  root hash e143886f905f28bf0b420af45ad2e9f4bf38d53782ef9b174c36274873e59cd7  containerd-full-v1
      layer 204d62bcca13  root hash f3309ec5d66e790f8b80335e0b924185141de28b1ea0f6556ab6889ac52470f0  containerd-full-v1
    Signed, the signatures are in sha256:8d675f0a6b8eb37f5233e8a9f3538a5e0564bea5bff9ce40f5be36091a81f7d2

    Stored 4 blobs and manifests of 5904 bytes; 0 were there before
    ");
    assert_eq!(verify(&environment, "oci-archive:signed.tar:v1"), 0);
}

#[test]
fn a_dry_run_writes_nothing() {
    let environment = Environment::with_keys();
    image(&environment);
    let before = environment.files();
    assert_snapshot!(push(&environment, &["--dry-run"]), @"
    Image oci:image@sha256:41932bc02fd62feb8618fb62fa3fc49aea527f60fe83a1fe95523ca9bf3e29ef
    Would be copied to oci:copy@sha256:41932bc02fd62feb8618fb62fa3fc49aea527f60fe83a1fe95523ca9bf3e29ef as v1
    Signer CN=alice

    Manifest sha256:41932bc02fd62feb8618fb62fa3fc49aea527f60fe83a1fe95523ca9bf3e29ef (linux/amd64)
      layer fc04dd24052b  root hash e143886f905f28bf0b420af45ad2e9f4bf38d53782ef9b174c36274873e59cd7  containerd-full-v1
      layer 204d62bcca13  root hash f3309ec5d66e790f8b80335e0b924185141de28b1ea0f6556ab6889ac52470f0  containerd-full-v1

    Would store 4 blobs and manifests of 5904 bytes; 0 were there before
    Nothing was written: this was a dry run.
    ");
    assert_eq!(environment.files(), before);
}

#[test]
fn flags_of_signing_belong_to_sign() {
    let environment = Environment::with_keys();
    image(&environment);
    let push = |arguments: &[&str]| {
        environment.run(["push", "oci:image:v1", "oci:copy"].iter().chain(arguments))
    };
    assert_snapshot!(push(&["--sign"]), @"
    --- standard error ---
    error: the following required arguments were not provided:
      --key <KEY>

    Usage: osguard push --sign --key <KEY> <SRC> <DST>

    For more information, try '--help'.
    --- exit code 2 ---
    ");
    assert_snapshot!(push(&["--key", "alice.key"]), @"
    --- standard error ---
    error: the following required arguments were not provided:
      --sign

    Usage: osguard push --key <KEY> --sign <SRC> <DST>

    For more information, try '--help'.
    --- exit code 2 ---
    ");
    for lonely in [["--cert", "alice.crt"], ["--profile", "diffid-full-v1"]] {
        assert_eq!(push(&lonely).code, 2);
    }
    assert!(!environment.path("copy").exists());
}

#[test]
fn a_key_that_cannot_sign_is_told_before_anything_is_written() {
    let environment = Environment::with_keys();
    image(&environment);
    let push = ["push", "oci:image:v1", "oci:copy", "--sign", "--key"];
    let wrong = push.iter().chain(&["alice.key", "--cert", "mallory.crt"]);
    assert_snapshot!(environment.refused(wrong), @"
    --- standard error ---
    Error: alice.key: it is not the key of the certificate: their public keys differ
    --- exit code 2 ---
    ");
    assert_snapshot!(environment.refused(push.iter().chain(&["nothing.key"])), @"
    --- standard error ---
    Error: nothing.key: it cannot be read: No such file or directory (os error 2)
    Hint: `osguard key generate` makes a key and its certificate; --cert names another certificate.
    --- exit code 3 ---
    ");
}

#[test]
fn an_image_that_cannot_be_signed_is_not_listed() {
    let environment = Environment::with_keys();
    let diff_id = layer("other").diff_id;
    let wrong = LayerSource { diff_id, ..layer("application") };
    layout(&environment).image("v1", &[layer("base"), wrong]).unwrap();
    assert_snapshot!(push(&environment, &[]), @"
    --- standard error ---
    Error: layer sha256:204d62bcca139800af84ce20f56afd8506469a7c30ec9f678d7b1c52e22820b3: the archive in the layer has the diffID sha256:204d62bcca139800af84ce20f56afd8506469a7c30ec9f678d7b1c52e22820b3 and should have sha256:597ce0291e2c5d02758a12fa633b4a1f314b9565e1ee53e95bfff15b8ab947d8
    Hint: The image's configuration belongs to other layers: build the image again.
    --- exit code 1 ---
    ");
    assert_eq!(environment.run(["inspect", "oci:copy:v1"]).code, 3);
    layout(&environment).image("v1", &[]).unwrap();
    assert_snapshot!(push(&environment, &[]), @"
    --- standard error ---
    Error: the image sha256:a2191213e61bc0d0c8cd31173e44d51f247a770c5716a38b6291b305b8af2b3a has no layers, and so nothing that could be signed
    --- exit code 1 ---
    ");
}

#[test]
fn platforms_that_are_chosen_are_signed_alone() {
    let environment = Environment::with_keys();
    index(&environment);
    let push = ["push", "oci:image:multi", "oci:copy", "--platform", "linux/arm64"];
    let sign = ["--sign", "--key", "alice.key", "--output", "json"];
    let report = environment.run(push.iter().chain(&sign)).json();
    assert_eq!(report["manifests"].as_array().unwrap().len(), 1);
    assert_eq!(report["manifests"][0]["platform"], json!("linux/arm64"));
    assert_eq!(report["manifests"][0]["digest"], report["digest"]);
    assert_eq!(verify(&environment, "oci:copy:multi"), 0);
}

fn push(environment: &Environment, arguments: &[&str]) -> Ran {
    let push = ["push", "oci:image:v1", "oci:copy", "--sign", "--key", "alice.key"];
    environment.run(push.iter().chain(arguments))
}

fn verify(environment: &Environment, image: &str) -> i32 {
    environment.run(["verify", image, "--trust", "alice.crt"]).code
}
