//! `osguard sign`.

use std::fs;

use insta::assert_snapshot;

use crate::environment::{Environment, Ran};
use crate::fixtures::{image, index, layer, layout};

#[test]
fn every_layer_is_signed() {
    let environment = Environment::with_keys();
    let layout = image(&environment);
    let manifest = fs::read(layout.directory().join("index.json")).unwrap();
    assert_snapshot!(sign(&environment, &[]), @"
    Image oci:image@sha256:41932bc02fd62feb8618fb62fa3fc49aea527f60fe83a1fe95523ca9bf3e29ef
    Signer CN=alice

    Manifest sha256:41932bc02fd62feb8618fb62fa3fc49aea527f60fe83a1fe95523ca9bf3e29ef (linux/amd64)
      layer fc04dd24052b  root hash e143886f905f28bf0b420af45ad2e9f4bf38d53782ef9b174c36274873e59cd7  containerd-full-v1
      layer 204d62bcca13  root hash f3309ec5d66e790f8b80335e0b924185141de28b1ea0f6556ab6889ac52470f0  containerd-full-v1
    Signed, the signatures are in sha256:8d675f0a6b8eb37f5233e8a9f3538a5e0564bea5bff9ce40f5be36091a81f7d2
    ");
    let index = fs::read(layout.directory().join("index.json")).unwrap();
    assert_ne!(index, manifest, "the artifact is listed");
    assert!(String::from_utf8(index).unwrap().contains("v1"), "and so is the image still");
}

#[test]
fn the_result_as_json() {
    let environment = Environment::with_keys();
    image(&environment);
    assert_snapshot!(sign(&environment, &["--output", "json"]), @r#"
    {
      "schema": "osguard.sign.v1",
      "image": "oci:image@sha256:41932bc02fd62feb8618fb62fa3fc49aea527f60fe83a1fe95523ca9bf3e29ef",
      "signer": "CN=alice",
      "artifact_format": "standard",
      "dry_run": false,
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

#[test]
fn signing_again_changes_nothing() {
    let environment = Environment::with_keys();
    image(&environment);
    sign(&environment, &[]).done();
    let before = environment.files();
    assert_snapshot!(sign(&environment, &[]), @"
    Image oci:image@sha256:41932bc02fd62feb8618fb62fa3fc49aea527f60fe83a1fe95523ca9bf3e29ef
    Signer CN=alice

    Manifest sha256:41932bc02fd62feb8618fb62fa3fc49aea527f60fe83a1fe95523ca9bf3e29ef (linux/amd64)
      layer fc04dd24052b  root hash e143886f905f28bf0b420af45ad2e9f4bf38d53782ef9b174c36274873e59cd7  containerd-full-v1
      layer 204d62bcca13  root hash f3309ec5d66e790f8b80335e0b924185141de28b1ea0f6556ab6889ac52470f0  containerd-full-v1
    Signed before, the signatures are in sha256:8d675f0a6b8eb37f5233e8a9f3538a5e0564bea5bff9ce40f5be36091a81f7d2
    ");
    let report = sign(&environment, &["--output", "json"]).json();
    assert_eq!(report["manifests"][0]["already_signed"], true);
    assert_eq!(environment.files(), before);
}

#[test]
fn a_dry_run_changes_nothing() {
    let environment = Environment::with_keys();
    image(&environment);
    let before = environment.files();
    assert_snapshot!(sign(&environment, &["--dry-run"]), @"
    Image oci:image@sha256:41932bc02fd62feb8618fb62fa3fc49aea527f60fe83a1fe95523ca9bf3e29ef
    Signer CN=alice

    Manifest sha256:41932bc02fd62feb8618fb62fa3fc49aea527f60fe83a1fe95523ca9bf3e29ef (linux/amd64)
      layer fc04dd24052b  root hash e143886f905f28bf0b420af45ad2e9f4bf38d53782ef9b174c36274873e59cd7  containerd-full-v1
      layer 204d62bcca13  root hash f3309ec5d66e790f8b80335e0b924185141de28b1ea0f6556ab6889ac52470f0  containerd-full-v1

    Nothing was attached: this was a dry run.
    ");
    assert_eq!(environment.files(), before);
}

#[test]
fn a_second_signer_adds_signatures() {
    let environment = Environment::with_keys();
    image(&environment);
    sign(&environment, &[]).done();
    let ran = environment.run(["sign", "oci:image:v1", "--key", "mallory.key"]);
    assert_snapshot!(ran, @"
    Image oci:image@sha256:41932bc02fd62feb8618fb62fa3fc49aea527f60fe83a1fe95523ca9bf3e29ef
    Signer CN=mallory

    Manifest sha256:41932bc02fd62feb8618fb62fa3fc49aea527f60fe83a1fe95523ca9bf3e29ef (linux/amd64)
      layer fc04dd24052b  root hash e143886f905f28bf0b420af45ad2e9f4bf38d53782ef9b174c36274873e59cd7  containerd-full-v1
      layer 204d62bcca13  root hash f3309ec5d66e790f8b80335e0b924185141de28b1ea0f6556ab6889ac52470f0  containerd-full-v1
    Signed, the signatures are in sha256:dbe3c5a3f4c74f7c605c2fa7a84dc8bfa382fe62be545f8ee176310785f6e351
    ");
    let shown = environment.run(["inspect", "oci:image:v1", "--output", "json"]).json();
    assert_eq!(shown["manifests"][0]["artifacts"].as_array().unwrap().len(), 2);
}

#[test]
fn each_profile_has_its_signature() {
    let environment = Environment::with_keys();
    image(&environment);
    let both = ["--profile", "diffid-full-v1", "--profile", "containerd-full-v1"];
    assert_snapshot!(sign(&environment, &both), @"
    Image oci:image@sha256:41932bc02fd62feb8618fb62fa3fc49aea527f60fe83a1fe95523ca9bf3e29ef
    Signer CN=alice

    Manifest sha256:41932bc02fd62feb8618fb62fa3fc49aea527f60fe83a1fe95523ca9bf3e29ef (linux/amd64)
      layer fc04dd24052b  root hash e143886f905f28bf0b420af45ad2e9f4bf38d53782ef9b174c36274873e59cd7  containerd-full-v1
      layer fc04dd24052b  root hash e143886f905f28bf0b420af45ad2e9f4bf38d53782ef9b174c36274873e59cd7  diffid-full-v1
      layer 204d62bcca13  root hash f3309ec5d66e790f8b80335e0b924185141de28b1ea0f6556ab6889ac52470f0  containerd-full-v1
      layer 204d62bcca13  root hash f3309ec5d66e790f8b80335e0b924185141de28b1ea0f6556ab6889ac52470f0  diffid-full-v1
    Signed, the signatures are in sha256:711e58b115cd3fb3c833c14e5d4260aa9bd00638ddc3621987517e0a1596e80b
    ");
    let again = sign(&environment, &["--profile", "diffid-full-v1", "--output", "json"]).json();
    assert_eq!(again["manifests"][0]["already_signed"], true);
}

/// Statements about an image, which its builder lists beside it, are no images.
#[test]
fn every_platform_of_an_index_is_signed() {
    let environment = Environment::with_keys();
    index(&environment);
    let ran = environment.run(["sign", "oci:image:multi", "--key", "alice.key"]);
    assert_snapshot!(ran, @"
    Image oci:image@sha256:163963be02d87e1dbc4fad07e7a68a8f05b1823484f92583feb9cc4f471c382d
    Signer CN=alice

    Manifest sha256:5157c9e63249608646e0ffdc5c897f0efd1a9506b457290f85cb92ea004d41ee (linux/amd64)
      layer fc04dd24052b  root hash e143886f905f28bf0b420af45ad2e9f4bf38d53782ef9b174c36274873e59cd7  containerd-full-v1
      layer ec4d2350f929  root hash 96f9eddc0fd0596df188fc4814f1dc19029af580d3167c5264b2be37432af6b6  containerd-full-v1
    Signed, the signatures are in sha256:d5f9fc66aa14a6779730ccd758ef730c5498c3216ca75b194b29e355e62cdabe

    Manifest sha256:b06ff6f6791ae9755b34fc4be84bb74701a28f456afe833703324df0d72c06cc (linux/arm64)
      layer fc04dd24052b  root hash e143886f905f28bf0b420af45ad2e9f4bf38d53782ef9b174c36274873e59cd7  containerd-full-v1
      layer 824ac91079c2  root hash 49c1a3d765b06806139c151812923b886dadd1ad861b56e4d468c73ea99d5284  containerd-full-v1
    Signed, the signatures are in sha256:19bc2c6c206dfbbd3eebc3acad1a641bf5c8019c3081552fbb79491f6a9e1c03
    ");
}

#[test]
fn platforms_can_be_chosen() {
    let environment = Environment::with_keys();
    index(&environment);
    let sign = ["sign", "oci:image:multi", "--key", "alice.key", "--platform"];
    let chosen = environment.run(sign.iter().chain(&["linux/arm64"]));
    assert_snapshot!(chosen, @"
    Image oci:image@sha256:163963be02d87e1dbc4fad07e7a68a8f05b1823484f92583feb9cc4f471c382d
    Signer CN=alice

    Manifest sha256:b06ff6f6791ae9755b34fc4be84bb74701a28f456afe833703324df0d72c06cc (linux/arm64)
      layer fc04dd24052b  root hash e143886f905f28bf0b420af45ad2e9f4bf38d53782ef9b174c36274873e59cd7  containerd-full-v1
      layer 824ac91079c2  root hash 49c1a3d765b06806139c151812923b886dadd1ad861b56e4d468c73ea99d5284  containerd-full-v1
    Signed, the signatures are in sha256:19bc2c6c206dfbbd3eebc3acad1a641bf5c8019c3081552fbb79491f6a9e1c03
    ");
    let twice = ["linux/arm64", "--platform", "linux/arm64", "--output", "json"];
    let twice = environment.run(sign.iter().chain(&twice)).json();
    assert_eq!(twice["manifests"].as_array().unwrap().len(), 1);
    let unknown = environment.refused(sign.iter().chain(&["linux/s390x"]));
    assert_snapshot!(unknown, @"
    --- standard error ---
    Error: sha256:163963be02d87e1dbc4fad07e7a68a8f05b1823484f92583feb9cc4f471c382d in oci:image has no image for linux/s390x; it has: linux/amd64, linux/arm64
    --- exit code 3 ---
    ");
}

#[test]
fn a_layer_that_occurs_twice_is_signed_once() {
    let environment = Environment::with_keys();
    let twice = [layer("base"), layer("application"), layer("base")];
    layout(&environment).image("v1", &twice).unwrap();
    let report = sign(&environment, &["--output", "json"]).json();
    assert_eq!(report["manifests"][0]["layers"].as_array().unwrap().len(), 2);
    let trusted = environment.run(["verify", "oci:image:v1", "--trust", "alice.crt"]);
    assert_eq!(trusted.code, 0, "{trusted}");
}

#[test]
fn the_digest_that_a_tag_stands_for_is_told() {
    let environment = Environment::with_keys();
    image(&environment);
    let ran = sign(&environment, &["--verbose", "--dry-run"]);
    assert_snapshot!(ran.stderr, @"Resolved to oci:image@sha256:41932bc02fd62feb8618fb62fa3fc49aea527f60fe83a1fe95523ca9bf3e29ef");
    let by_digest = ran.stdout.lines().next().unwrap().trim_start_matches("Image ").to_owned();
    assert_eq!(environment.run(["inspect", &by_digest]).code, 0);
    assert_eq!(environment.run(["inspect", "oci:image"]).code, 0, "there is only one");
}

#[test]
fn keys_that_cannot_sign_are_refused() {
    let environment = Environment::with_keys();
    image(&environment);
    environment.write("junk.key", b"junk");
    environment.write("junk.crt", b"junk");
    environment.write("alone.key", &environment.read("alice.key"));
    let with = |arguments: &[&str]| {
        environment.refused(["sign", "oci:image:v1", "--key"].iter().chain(arguments))
    };
    assert_snapshot!(with(&["alice.key", "--cert", "mallory.crt"]), @"
    --- standard error ---
    Error: alice.key: it is not the key of the certificate: their public keys differ
    --- exit code 2 ---
    ");
    assert_snapshot!(with(&["nothing.key"]), @"
    --- standard error ---
    Error: nothing.key: it cannot be read: No such file or directory (os error 2)
    Hint: `osguard key generate` makes a key and its certificate; --cert names another certificate.
    --- exit code 3 ---
    ");
    assert_snapshot!(with(&["alone.key"]), @"
    --- standard error ---
    Error: alone.crt: it cannot be read: No such file or directory (os error 2)
    Hint: `osguard key generate` makes a key and its certificate; --cert names another certificate.
    --- exit code 3 ---
    ");
    assert_snapshot!(with(&["junk.key"]), @"
    --- standard error ---
    Error: junk.crt: it is not an X.509 certificate in DER: an element has the tag 0x6a where 0x30 is required
    --- exit code 2 ---
    ");
    assert_snapshot!(with(&["junk.key", "--cert", "alice.crt"]), @"
    --- standard error ---
    Error: junk.key: it is not a private key in PKCS#8, PKCS#1 or SEC 1
    --- exit code 2 ---
    ");
    assert_snapshot!(with(&["alice.crt"]), @"
    --- standard error ---
    Error: alice.crt: it is not a private key in PKCS#8, PKCS#1 or SEC 1
    --- exit code 2 ---
    ");
    assert_snapshot!(with(&["alice.key", "--cert", "alice.key"]), @"
    --- standard error ---
    Error: alice.key: there is no certificate in it, only other PEM blocks
    --- exit code 2 ---
    ");
}

fn sign(environment: &Environment, arguments: &[&str]) -> Ran {
    let mut command = environment.osguard();
    command.args(["sign", "oci:image:v1", "--key", "alice.key"]).args(arguments);
    environment.ran(&mut command)
}
