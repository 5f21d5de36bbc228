//! `osguard verify` and `osguard inspect`.

use std::fs;

use insta::assert_snapshot;
use libverity::layer::Profile;
use libverity::pkcs7::{Embedding, sign_root_hash};
use libverity::signer::FileSigner;
use osguard_registry::artifact::{Claim, Format, LayerSignature, SignatureArtifact};
use osguard_registry::image::Image;
use osguard_registry::network::Network;
use osguard_registry::place::{self, Place};
use osguard_registry::reference::Reference;
use osguard_registry::signatures;

use crate::environment::{Environment, Ran};
use crate::fixtures::{image, index};

#[test]
fn what_a_trusted_signer_signed_is_accepted() {
    let environment = signed();
    assert_snapshot!(verify(&environment, &["alice.crt"]), @"
    Image oci:image@sha256:41932bc02fd62feb8618fb62fa3fc49aea527f60fe83a1fe95523ca9bf3e29ef

    Manifest sha256:41932bc02fd62feb8618fb62fa3fc49aea527f60fe83a1fe95523ca9bf3e29ef (linux/amd64)
      layer fc04dd24052b  signed
        signed: root hash e143886f905f28bf0b420af45ad2e9f4bf38d53782ef9b174c36274873e59cd7 (containerd-full-v1), by CN=alice, in artifact 8d675f0a6b8e (standard)
      layer 204d62bcca13  signed
        signed: root hash f3309ec5d66e790f8b80335e0b924185141de28b1ea0f6556ab6889ac52470f0 (containerd-full-v1), by CN=alice, in artifact 8d675f0a6b8e (standard)

    Verdict: signed
    ");
    assert_snapshot!(verify(&environment, &["alice.crt", "--output", "json"]), @r#"
    {
      "schema": "osguard.verify.v1",
      "image": "oci:image@sha256:41932bc02fd62feb8618fb62fa3fc49aea527f60fe83a1fe95523ca9bf3e29ef",
      "trust": {
        "source": "--trust",
        "scope": "--trust",
        "requirement": "any"
      },
      "root_hashes": "recompute",
      "verdict": "signed",
      "manifests": [
        {
          "digest": "sha256:41932bc02fd62feb8618fb62fa3fc49aea527f60fe83a1fe95523ca9bf3e29ef",
          "platform": "linux/amd64",
          "verdict": "signed",
          "layers": [
            {
              "digest": "sha256:fc04dd24052be6fd5fa47a05c4608550e6783e03feff53183fb8f6c2fdcc67f7",
              "verdict": "signed",
              "signatures": [
                {
                  "verdict": "signed",
                  "origin": "artifact",
                  "artifact": "sha256:8d675f0a6b8eb37f5233e8a9f3538a5e0564bea5bff9ce40f5be36091a81f7d2",
                  "form": "standard",
                  "root_hash": "e143886f905f28bf0b420af45ad2e9f4bf38d53782ef9b174c36274873e59cd7",
                  "profile": "containerd-full-v1",
                  "signer": "CN=alice",
                  "key": "49b5d94dd761adbdc539207d98c9f8c3772cea1d",
                  "stores": [
                    "--trust"
                  ],
                  "expired": false
                }
              ]
            },
            {
              "digest": "sha256:204d62bcca139800af84ce20f56afd8506469a7c30ec9f678d7b1c52e22820b3",
              "verdict": "signed",
              "signatures": [
                {
                  "verdict": "signed",
                  "origin": "artifact",
                  "artifact": "sha256:8d675f0a6b8eb37f5233e8a9f3538a5e0564bea5bff9ce40f5be36091a81f7d2",
                  "form": "standard",
                  "root_hash": "f3309ec5d66e790f8b80335e0b924185141de28b1ea0f6556ab6889ac52470f0",
                  "profile": "containerd-full-v1",
                  "signer": "CN=alice",
                  "key": "49b5d94dd761adbdc539207d98c9f8c3772cea1d",
                  "stores": [
                    "--trust"
                  ],
                  "expired": false
                }
              ]
            }
          ],
          "unusable": []
        }
      ]
    }
    "#);
    assert_eq!(verify(&environment, &["mallory.crt", "--trust", "alice.crt"]).code, 0);
    assert_eq!(verify(&environment, &["alice.crt", "--quiet"]).done(), "");
}

#[test]
fn certificates_may_lie_in_a_directory() {
    let environment = signed();
    fs::create_dir(environment.path("trusted")).unwrap();
    assert_snapshot!(environment.refused(VERIFY.iter().chain(&["trusted"])), @"
    --- standard error ---
    Error: --trust names no certificate
    --- exit code 2 ---
    ");
    for name in ["alice.crt", "mallory.crt"] {
        environment.write(format!("trusted/{name}"), &environment.read(name));
    }
    assert_eq!(verify(&environment, &["trusted"]).code, 0);
    environment.write("trusted/notes", b"no certificate");
    assert_snapshot!(environment.refused(VERIFY.iter().chain(&["trusted"])), @"
    --- standard error ---
    Error: trusted/notes: it is not an X.509 certificate in DER: an element has the tag 0x6e where 0x30 is required
    Hint: Certificates are read in PEM or DER, and of a directory all files.
    --- exit code 2 ---
    ");
    assert_snapshot!(environment.refused(VERIFY.iter().chain(&["nothing"])), @"
    --- standard error ---
    Error: cannot read nothing: No such file or directory (os error 2)
    --- exit code 3 ---
    ");
}

#[test]
fn the_signature_of_a_stranger_is_not_trusted() {
    let environment = signed();
    let ran = verify(&environment, &["mallory.crt"]);
    assert_eq!(ran.code, 11);
    assert_snapshot!(ran, @"
    Image oci:image@sha256:41932bc02fd62feb8618fb62fa3fc49aea527f60fe83a1fe95523ca9bf3e29ef

    Manifest sha256:41932bc02fd62feb8618fb62fa3fc49aea527f60fe83a1fe95523ca9bf3e29ef (linux/amd64)
      layer fc04dd24052b  not trusted
        not trusted: root hash e143886f905f28bf0b420af45ad2e9f4bf38d53782ef9b174c36274873e59cd7 (containerd-full-v1), in artifact 8d675f0a6b8e (standard)
          because no trusted certificate is that of a signer or of its issuer; it is signed by the certificate 5445995a6fab314d493dd9f0cb1fe9e3 of CN=alice (the kernel: ENOKEY)
      layer 204d62bcca13  not trusted
        not trusted: root hash f3309ec5d66e790f8b80335e0b924185141de28b1ea0f6556ab6889ac52470f0 (containerd-full-v1), in artifact 8d675f0a6b8e (standard)
          because no trusted certificate is that of a signer or of its issuer; it is signed by the certificate 5445995a6fab314d493dd9f0cb1fe9e3 of CN=alice (the kernel: ENOKEY)

    Verdict: not trusted
    --- standard error ---
    Error: oci:image@sha256:41932bc02fd62feb8618fb62fa3fc49aea527f60fe83a1fe95523ca9bf3e29ef has signatures, but none that is valid and trusted for every layer
    Hint: --trust names the certificates of the signers that you trust.
    --- exit code 11 ---
    ");
}

#[test]
fn one_good_signature_for_each_layer_is_enough() {
    let environment = signed();
    environment.run(["sign", "oci:image:v1", "--key", "mallory.key"]).done();
    assert_snapshot!(verify(&environment, &["mallory.crt"]), @"
    Image oci:image@sha256:41932bc02fd62feb8618fb62fa3fc49aea527f60fe83a1fe95523ca9bf3e29ef

    Manifest sha256:41932bc02fd62feb8618fb62fa3fc49aea527f60fe83a1fe95523ca9bf3e29ef (linux/amd64)
      layer fc04dd24052b  signed
        not trusted: root hash e143886f905f28bf0b420af45ad2e9f4bf38d53782ef9b174c36274873e59cd7 (containerd-full-v1), in artifact 8d675f0a6b8e (standard)
          because no trusted certificate is that of a signer or of its issuer; it is signed by the certificate 5445995a6fab314d493dd9f0cb1fe9e3 of CN=alice (the kernel: ENOKEY)
        signed: root hash e143886f905f28bf0b420af45ad2e9f4bf38d53782ef9b174c36274873e59cd7 (containerd-full-v1), by CN=mallory, in artifact dbe3c5a3f4c7 (standard)
      layer 204d62bcca13  signed
        not trusted: root hash f3309ec5d66e790f8b80335e0b924185141de28b1ea0f6556ab6889ac52470f0 (containerd-full-v1), in artifact 8d675f0a6b8e (standard)
          because no trusted certificate is that of a signer or of its issuer; it is signed by the certificate 5445995a6fab314d493dd9f0cb1fe9e3 of CN=alice (the kernel: ENOKEY)
        signed: root hash f3309ec5d66e790f8b80335e0b924185141de28b1ea0f6556ab6889ac52470f0 (containerd-full-v1), by CN=mallory, in artifact dbe3c5a3f4c7 (standard)

    Verdict: signed
    ");
}

#[test]
fn an_image_without_signatures_is_not_signed() {
    let environment = Environment::with_keys();
    image(&environment);
    let ran = verify(&environment, &["alice.crt"]);
    assert_eq!(ran.code, 10);
    assert_snapshot!(ran, @"
    Image oci:image@sha256:41932bc02fd62feb8618fb62fa3fc49aea527f60fe83a1fe95523ca9bf3e29ef

    Manifest sha256:41932bc02fd62feb8618fb62fa3fc49aea527f60fe83a1fe95523ca9bf3e29ef (linux/amd64)
      layer fc04dd24052b  not signed
      layer 204d62bcca13  not signed

    Verdict: not signed
    --- standard error ---
    Error: oci:image@sha256:41932bc02fd62feb8618fb62fa3fc49aea527f60fe83a1fe95523ca9bf3e29ef has layers without a signature
    Hint: `osguard sign` signs every layer of an image.
    --- exit code 10 ---
    ");
    let ran = verify(&environment, &["alice.crt", "--output", "json"]);
    assert_snapshot!(ran.stderr, @r#"
    {
      "schema": "osguard.failure.v1",
      "error": "oci:image@sha256:41932bc02fd62feb8618fb62fa3fc49aea527f60fe83a1fe95523ca9bf3e29ef has layers without a signature",
      "hints": [
        "`osguard sign` signs every layer of an image."
      ],
      "exit_code": 10
    }
    "#);
}

/// A layer that nobody signed makes the image one that nobody signed.
#[test]
fn every_layer_must_be_signed() {
    let environment = Environment::with_keys();
    image(&environment);
    attach(&environment, |claims| claims.truncate(1));
    let ran = verify(&environment, &["alice.crt"]);
    assert_eq!(ran.code, 10);
    assert_snapshot!(ran, @"
    Image oci:image@sha256:41932bc02fd62feb8618fb62fa3fc49aea527f60fe83a1fe95523ca9bf3e29ef

    Manifest sha256:41932bc02fd62feb8618fb62fa3fc49aea527f60fe83a1fe95523ca9bf3e29ef (linux/amd64)
      layer fc04dd24052b  signed
        signed: root hash e143886f905f28bf0b420af45ad2e9f4bf38d53782ef9b174c36274873e59cd7 (containerd-full-v1), by CN=alice, in artifact cb38548196b4 (standard)
      layer 204d62bcca13  not signed

    Verdict: not signed
    --- standard error ---
    Error: oci:image@sha256:41932bc02fd62feb8618fb62fa3fc49aea527f60fe83a1fe95523ca9bf3e29ef has layers without a signature
    Hint: `osguard sign` signs every layer of an image.
    --- exit code 10 ---
    ");
}

/// Alice has signed both root hashes, but each of the other layer.
#[test]
fn a_signature_over_other_content_is_told_from_a_bad_one() {
    let environment = Environment::with_keys();
    image(&environment);
    attach(&environment, |claims| {
        let first = claims[0].root_hash.clone();
        claims[0].root_hash = std::mem::replace(&mut claims[1].root_hash, first);
    });
    let ran = verify(&environment, &["alice.crt"]);
    assert_eq!(ran.code, 12);
    assert_snapshot!(ran, @"
    Image oci:image@sha256:41932bc02fd62feb8618fb62fa3fc49aea527f60fe83a1fe95523ca9bf3e29ef

    Manifest sha256:41932bc02fd62feb8618fb62fa3fc49aea527f60fe83a1fe95523ca9bf3e29ef (linux/amd64)
      layer fc04dd24052b  content differs
        content differs: root hash f3309ec5d66e790f8b80335e0b924185141de28b1ea0f6556ab6889ac52470f0, by CN=alice, in artifact ecf1605da824 (standard)
          because the layer has another root hash by every profile
      layer 204d62bcca13  content differs
        content differs: root hash e143886f905f28bf0b420af45ad2e9f4bf38d53782ef9b174c36274873e59cd7, by CN=alice, in artifact ecf1605da824 (standard)
          because the layer has another root hash by every profile

    Verdict: content differs
    --- standard error ---
    Error: oci:image@sha256:41932bc02fd62feb8618fb62fa3fc49aea527f60fe83a1fe95523ca9bf3e29ef is not what was signed: a root hash differs
    Hint: Sign it again if you know why it changed; if not, do not run it.
    --- exit code 12 ---
    ");
}

#[test]
fn the_platforms_of_an_index_stand_and_fall_together() {
    let environment = Environment::with_keys();
    index(&environment);
    let sign = ["sign", "oci:image:multi", "--key", "alice.key", "--platform", "linux/arm64"];
    environment.run(sign).done();
    let verify = ["verify", "oci:image:multi", "--trust", "alice.crt"];
    let ran = environment.run(verify);
    assert_eq!(ran.code, 10);
    assert_snapshot!(ran, @"
    Image oci:image@sha256:163963be02d87e1dbc4fad07e7a68a8f05b1823484f92583feb9cc4f471c382d

    Manifest sha256:5157c9e63249608646e0ffdc5c897f0efd1a9506b457290f85cb92ea004d41ee (linux/amd64)
      layer fc04dd24052b  not signed
      layer ec4d2350f929  not signed

    Manifest sha256:b06ff6f6791ae9755b34fc4be84bb74701a28f456afe833703324df0d72c06cc (linux/arm64)
      layer fc04dd24052b  signed
        signed: root hash e143886f905f28bf0b420af45ad2e9f4bf38d53782ef9b174c36274873e59cd7 (containerd-full-v1), by CN=alice, in artifact 19bc2c6c206d (standard)
      layer 824ac91079c2  signed
        signed: root hash 49c1a3d765b06806139c151812923b886dadd1ad861b56e4d468c73ea99d5284 (containerd-full-v1), by CN=alice, in artifact 19bc2c6c206d (standard)

    Verdict: not signed
    --- standard error ---
    Error: oci:image@sha256:163963be02d87e1dbc4fad07e7a68a8f05b1823484f92583feb9cc4f471c382d has layers without a signature
    Hint: `osguard sign` signs every layer of an image.
    --- exit code 10 ---
    ");
    assert_eq!(environment.run(verify.iter().chain(&["--platform", "linux/arm64"])).code, 0);
}

#[test]
fn a_damaged_artifact_is_named_and_hides_no_other() {
    let environment = signed();
    let inspected = environment.run(["inspect", "oci:image:v1", "--output", "json"]).json();
    let artifact = inspected["manifests"][0]["artifacts"][0]["digest"].as_str().unwrap();
    let path = format!("image/blobs/{}", artifact.replace(':', "/"));
    let mut manifest = environment.read(&path);
    manifest[20] ^= 1;
    environment.write(&path, &manifest);
    let ran = verify(&environment, &["alice.crt"]);
    assert_eq!(ran.code, 11);
    assert_snapshot!(ran, @"
    Image oci:image@sha256:41932bc02fd62feb8618fb62fa3fc49aea527f60fe83a1fe95523ca9bf3e29ef

    Manifest sha256:41932bc02fd62feb8618fb62fa3fc49aea527f60fe83a1fe95523ca9bf3e29ef (linux/amd64)
      layer fc04dd24052b  not signed
      layer 204d62bcca13  not signed
      artifact 8d675f0a6b8e (standard) is unusable: manifest sha256:8d675f0a6b8eb37f5233e8a9f3538a5e0564bea5bff9ce40f5be36091a81f7d2 in oci:image has the digest sha256:8e56b0c143c9a8fcea4baabe8a34147f6e1873065ee9b551415bf225d374d1ef and should have sha256:8d675f0a6b8eb37f5233e8a9f3538a5e0564bea5bff9ce40f5be36091a81f7d2: it was changed or damaged

    Verdict: not trusted
    --- standard error ---
    Error: oci:image@sha256:41932bc02fd62feb8618fb62fa3fc49aea527f60fe83a1fe95523ca9bf3e29ef has signatures, but none that is valid and trusted for every layer
    Hint: --trust names the certificates of the signers that you trust.
    --- exit code 11 ---
    ");
    assert_snapshot!(environment.run(["inspect", "oci:image:v1"]), @"
    Image oci:image@sha256:41932bc02fd62feb8618fb62fa3fc49aea527f60fe83a1fe95523ca9bf3e29ef

    Manifest sha256:41932bc02fd62feb8618fb62fa3fc49aea527f60fe83a1fe95523ca9bf3e29ef (linux/amd64)
      layer fc04dd24052b  2560 bytes  application/vnd.oci.image.layer.v1.tar
      layer 204d62bcca13  2560 bytes  application/vnd.oci.image.layer.v1.tar
      artifact sha256:8d675f0a6b8eb37f5233e8a9f3538a5e0564bea5bff9ce40f5be36091a81f7d2 is unusable: manifest sha256:8d675f0a6b8eb37f5233e8a9f3538a5e0564bea5bff9ce40f5be36091a81f7d2 in oci:image has the digest sha256:8e56b0c143c9a8fcea4baabe8a34147f6e1873065ee9b551415bf225d374d1ef and should have sha256:8d675f0a6b8eb37f5233e8a9f3538a5e0564bea5bff9ce40f5be36091a81f7d2: it was changed or damaged
    ");
    environment.run(["sign", "oci:image:v1", "--key", "mallory.key"]).done();
    assert_eq!(verify(&environment, &["mallory.crt"]).code, 0);
}

#[test]
fn a_changed_layer_is_not_even_read_to_its_signature() {
    let environment = signed();
    let report = environment.run(["inspect", "oci:image:v1", "--output", "json"]).json();
    let layer = report["manifests"][0]["layers"][1]["digest"].as_str().unwrap();
    let path = format!("image/blobs/{}", layer.replace(':', "/"));
    let mut blob = environment.read(&path);
    blob[1100] ^= 1;
    environment.write(&path, &blob);
    assert_snapshot!(environment.refused(VERIFY.iter().chain(&["alice.crt"])), @"
    --- standard error ---
    Error: layer sha256:204d62bcca139800af84ce20f56afd8506469a7c30ec9f678d7b1c52e22820b3: the layer's blob has the digest sha256:97efef950b5c93eecf96d6e4a53424855056eb4a6abd89eb45ddaa5deca8d1fb and should have sha256:204d62bcca139800af84ce20f56afd8506469a7c30ec9f678d7b1c52e22820b3
    Hint: The copy is damaged or was changed: fetch the image again.
    --- exit code 1 ---
    ");
}

#[test]
fn layers_and_signatures_are_shown() {
    let environment = Environment::with_keys();
    image(&environment);
    assert_snapshot!(environment.run(["inspect", "oci:image:v1"]), @"
    Image oci:image@sha256:41932bc02fd62feb8618fb62fa3fc49aea527f60fe83a1fe95523ca9bf3e29ef

    Manifest sha256:41932bc02fd62feb8618fb62fa3fc49aea527f60fe83a1fe95523ca9bf3e29ef (linux/amd64)
      layer fc04dd24052b  2560 bytes  application/vnd.oci.image.layer.v1.tar
      layer 204d62bcca13  2560 bytes  application/vnd.oci.image.layer.v1.tar
      no signatures
    ");
    environment.run(["sign", "oci:image:v1", "--key", "alice.key"]).done();
    assert_snapshot!(environment.run(["inspect", "oci:image:v1"]), @"
    Image oci:image@sha256:41932bc02fd62feb8618fb62fa3fc49aea527f60fe83a1fe95523ca9bf3e29ef

    Manifest sha256:41932bc02fd62feb8618fb62fa3fc49aea527f60fe83a1fe95523ca9bf3e29ef (linux/amd64)
      layer fc04dd24052b  2560 bytes  application/vnd.oci.image.layer.v1.tar
        root hash e143886f905f28bf0b420af45ad2e9f4bf38d53782ef9b174c36274873e59cd7  containerd-full-v1
        signer    49b5d94dd761adbdc539207d98c9f8c3772cea1d
        in        artifact 8d675f0a6b8e (standard)
      layer 204d62bcca13  2560 bytes  application/vnd.oci.image.layer.v1.tar
        root hash f3309ec5d66e790f8b80335e0b924185141de28b1ea0f6556ab6889ac52470f0  containerd-full-v1
        signer    49b5d94dd761adbdc539207d98c9f8c3772cea1d
        in        artifact 8d675f0a6b8e (standard)
      artifact sha256:8d675f0a6b8eb37f5233e8a9f3538a5e0564bea5bff9ce40f5be36091a81f7d2 (standard)
    ");
    assert_snapshot!(environment.run(["inspect", "oci:image:v1", "--output", "json"]), @r#"
    {
      "schema": "osguard.inspect.v1",
      "image": "oci:image@sha256:41932bc02fd62feb8618fb62fa3fc49aea527f60fe83a1fe95523ca9bf3e29ef",
      "manifests": [
        {
          "digest": "sha256:41932bc02fd62feb8618fb62fa3fc49aea527f60fe83a1fe95523ca9bf3e29ef",
          "platform": "linux/amd64",
          "layers": [
            {
              "digest": "sha256:fc04dd24052be6fd5fa47a05c4608550e6783e03feff53183fb8f6c2fdcc67f7",
              "diff_id": "sha256:fc04dd24052be6fd5fa47a05c4608550e6783e03feff53183fb8f6c2fdcc67f7",
              "media_type": "application/vnd.oci.image.layer.v1.tar",
              "size_bytes": 2560,
              "signatures": [
                {
                  "origin": "artifact",
                  "artifact": "sha256:8d675f0a6b8eb37f5233e8a9f3538a5e0564bea5bff9ce40f5be36091a81f7d2",
                  "form": "standard",
                  "root_hash": "e143886f905f28bf0b420af45ad2e9f4bf38d53782ef9b174c36274873e59cd7",
                  "profile": "containerd-full-v1",
                  "signer": "49b5d94dd761adbdc539207d98c9f8c3772cea1d"
                }
              ]
            },
            {
              "digest": "sha256:204d62bcca139800af84ce20f56afd8506469a7c30ec9f678d7b1c52e22820b3",
              "diff_id": "sha256:204d62bcca139800af84ce20f56afd8506469a7c30ec9f678d7b1c52e22820b3",
              "media_type": "application/vnd.oci.image.layer.v1.tar",
              "size_bytes": 2560,
              "signatures": [
                {
                  "origin": "artifact",
                  "artifact": "sha256:8d675f0a6b8eb37f5233e8a9f3538a5e0564bea5bff9ce40f5be36091a81f7d2",
                  "form": "standard",
                  "root_hash": "f3309ec5d66e790f8b80335e0b924185141de28b1ea0f6556ab6889ac52470f0",
                  "profile": "containerd-full-v1",
                  "signer": "49b5d94dd761adbdc539207d98c9f8c3772cea1d"
                }
              ]
            }
          ],
          "artifacts": [
            {
              "digest": "sha256:8d675f0a6b8eb37f5233e8a9f3538a5e0564bea5bff9ce40f5be36091a81f7d2",
              "form": "standard"
            }
          ],
          "annotations": []
        }
      ]
    }
    "#);
}

#[test]
fn an_index_is_shown_platform_by_platform() {
    let environment = Environment::with_keys();
    index(&environment);
    assert_snapshot!(environment.run(["inspect", "oci:image:multi"]), @"
    Image oci:image@sha256:163963be02d87e1dbc4fad07e7a68a8f05b1823484f92583feb9cc4f471c382d

    Manifest sha256:5157c9e63249608646e0ffdc5c897f0efd1a9506b457290f85cb92ea004d41ee (linux/amd64)
      layer fc04dd24052b  2560 bytes  application/vnd.oci.image.layer.v1.tar
      layer ec4d2350f929  2560 bytes  application/vnd.oci.image.layer.v1.tar
      no signatures

    Manifest sha256:b06ff6f6791ae9755b34fc4be84bb74701a28f456afe833703324df0d72c06cc (linux/arm64)
      layer fc04dd24052b  2560 bytes  application/vnd.oci.image.layer.v1.tar
      layer 824ac91079c2  2560 bytes  application/vnd.oci.image.layer.v1.tar
      no signatures
    ");
}

/// Makes an image that Alice has signed.
fn signed() -> Environment {
    let environment = Environment::with_keys();
    image(&environment);
    environment.run(["sign", "oci:image:v1", "--key", "alice.key"]).done();
    environment
}

/// Attaches signatures by Alice for what becomes of the true claims by `change`.
fn attach(environment: &Environment, change: impl FnOnce(&mut Vec<Claim>)) {
    attach_by(environment, Profile::default(), change);
}

/// As [`attach`], of claims by another profile.
pub(crate) fn attach_by(
    environment: &Environment,
    profile: Profile,
    change: impl FnOnce(&mut Vec<Claim>),
) {
    let ran = environment.run([
        "sign",
        "oci:image:v1",
        "--key",
        "alice.key",
        "--profile",
        profile.name(),
        "--dry-run",
        "--output",
        "json",
    ]);
    let report: serde_json::Value = serde_json::from_str(&ran.stdout).unwrap();
    let reference = format!("oci:{}:v1", environment.path("image").display());
    let reference: Reference = reference.parse().unwrap();
    let place: Box<dyn Place> = place::open(&reference, &Network::default()).unwrap();
    let descriptor = place.resolve(reference.selector()).unwrap();
    let image = Image::load(&*place, &descriptor).unwrap();
    let layers = report["manifests"][0]["layers"].as_array().unwrap();
    let claims = layers.iter().map(|layer| Claim {
        layer_digest: layer["digest"].as_str().unwrap().parse().unwrap(),
        root_hash: layer["root_hashes"][0]["root_hash"].as_str().unwrap().parse().unwrap(),
        diff_id: None,
        image_size_bytes: None,
        profile: None,
        signer: None,
    });
    let mut claims = claims.collect();
    change(&mut claims);
    let path = |name| environment.path(name);
    let alice = FileSigner::open(&path("alice.key"), &path("alice.crt"), &mut || unreachable!());
    let alice = alice.unwrap();
    let sign = |claim: Claim| {
        let signature = sign_root_hash(&claim.root_hash, &alice, Embedding::Certificate).unwrap();
        LayerSignature { claim, signature }
    };
    let signatures = claims.into_iter().map(sign).collect();
    let artifact = SignatureArtifact { subject: image.subject(), signatures };
    signatures::publish(&*place, &artifact, Format::Standard, &|_| true).unwrap();
}

fn verify(environment: &Environment, arguments: &[&str]) -> Ran {
    environment.run(VERIFY.iter().chain(arguments))
}

const VERIFY: [&str; 3] = ["verify", "oci:image:v1", "--trust"];
