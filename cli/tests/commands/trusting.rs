//! Trust configurations, caches of root hashes, and what a key still protects.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use insta::assert_snapshot;
use osguard_testkit::or_skip;
use osguard_testkit::test_pki::{TestPki, Wanted};

use crate::environment::{Environment, Ran};
use crate::fixtures::{image, index};

#[test]
fn somebody_must_be_trusted() {
    let environment = signed(&["alice"]);
    assert_snapshot!(environment.refused(["verify", "oci:image:v1"]), @"
    --- standard error ---
    Error: nothing says which signers are trusted
    Hint: --trust names certificates, --trust-config a file that says who may sign what.
    Hint: Without them, the first of these is read: $TEST/home/.config/osguard/trust.toml, /etc/osguard/trust.toml.
    --- exit code 2 ---
    ");
    let both = ["verify", "oci:image:v1", "--trust", "alice.crt", "--trust-config", "trust.toml"];
    assert_eq!(environment.run(both).code, 2);
    configure(&environment, "");
    fs::create_dir_all(environment.path("../home/.config/osguard")).unwrap();
    for name in ["trust.toml", "alice.crt", "mallory.crt"] {
        let file = environment.path("../home/.config/osguard").join(name);
        fs::copy(environment.path(name), file).unwrap();
    }
    let ran = environment.run(["verify", "oci:image:v1"]);
    assert_snapshot!(ran, @r#"
    Image oci:image@sha256:41932bc02fd62feb8618fb62fa3fc49aea527f60fe83a1fe95523ca9bf3e29ef
    Trust $TEST/home/.config/osguard/trust.toml, scope "everything", signatures needed: any
    Dates and revocations are checked here; the kernel asks for neither.

    Manifest sha256:41932bc02fd62feb8618fb62fa3fc49aea527f60fe83a1fe95523ca9bf3e29ef (linux/amd64)
      layer fc04dd24052b  signed
        signed: root hash e143886f905f28bf0b420af45ad2e9f4bf38d53782ef9b174c36274873e59cd7 (containerd-full-v1), by CN=alice, in artifact 8d675f0a6b8e (standard)
      layer 204d62bcca13  signed
        signed: root hash f3309ec5d66e790f8b80335e0b924185141de28b1ea0f6556ab6889ac52470f0 (containerd-full-v1), by CN=alice, in artifact 8d675f0a6b8e (standard)

    Verdict: signed
    "#);
}

#[test]
fn the_system_may_say_who_is_trusted() {
    let environment = signed(&["alice"]);
    configure(&environment, "");
    let before = "mount -t tmpfs none /etc && mkdir /etc/osguard && \
                  cp trust.toml alice.crt mallory.crt /etc/osguard";
    let Some(mut command) = environment.unshared(before, "true") else { return };
    let verify = command.args(["verify", "oci:image:v1"]);
    let Some(ran) = environment.in_namespace(verify) else { return };
    assert_eq!(ran.code, 0, "{ran}");
    assert!(ran.stdout.contains("Trust /etc/osguard/trust.toml, scope \"everything\""), "{ran}");
}

#[test]
fn a_configuration_says_who_may_sign_what() {
    let environment = signed(&["alice"]);
    configure(&environment, "");
    assert_snapshot!(verify(&environment, &["--output", "json"]), @r#"
    {
      "schema": "osguard.verify.v1",
      "image": "oci:image@sha256:41932bc02fd62feb8618fb62fa3fc49aea527f60fe83a1fe95523ca9bf3e29ef",
      "trust": {
        "source": "trust.toml",
        "scope": "everything",
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
                    "alice"
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
                    "alice"
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
    assert_eq!(verify(&environment, &["--scope", "registry.example/team/app"]).code, 0);
    let ran = verify(&environment, &["--scope", "registry.example/vault/app"]);
    assert_eq!(ran.code, 11, "{ran}");

    let narrow = environment.read("trust.toml");
    let narrow = String::from_utf8(narrow).unwrap().replace("\"**\"", "\"registry.example/*/app\"");
    environment.write("trust.toml", narrow.as_bytes());
    assert_snapshot!(environment.refused(VERIFY), @"
    --- standard error ---
    Error: trust.toml trusts nobody for images that lie in no registry
    Hint: --scope names the repository as which the image is judged; a scope for `**` covers all images.
    --- exit code 13 ---
    ");
    let scope = ["--scope", "other.example/team/app"];
    assert_snapshot!(environment.refused(VERIFY.iter().chain(&scope)), @"
    --- standard error ---
    Error: trust.toml trusts nobody for other.example/team/app
    Hint: Add a scope for it if its signers are to be trusted.
    --- exit code 13 ---
    ");
    let scope = ["--scope", "registry.example/team/app:v1"];
    assert_eq!(verify(&environment, &scope).code, 2);
}

#[test]
fn several_signatures_may_be_required() {
    let environment = signed(&["alice"]);
    configure(&environment, "");
    let vault = ["--scope", "registry.example/both/app"];
    let ran = verify(&environment, &vault);
    assert_eq!(ran.code, 13);
    assert_snapshot!(ran, @r#"
    Image oci:image@sha256:41932bc02fd62feb8618fb62fa3fc49aea527f60fe83a1fe95523ca9bf3e29ef
    Trust trust.toml, scope "both", signatures needed: all
    Dates and revocations are checked here; the kernel asks for neither.

    Manifest sha256:41932bc02fd62feb8618fb62fa3fc49aea527f60fe83a1fe95523ca9bf3e29ef (linux/amd64)
      layer fc04dd24052b  refused: 1 of 2 required signatures by different keys are good (all)
        signed: root hash e143886f905f28bf0b420af45ad2e9f4bf38d53782ef9b174c36274873e59cd7 (containerd-full-v1), by CN=alice, in artifact 8d675f0a6b8e (standard)
      layer 204d62bcca13  refused: 1 of 2 required signatures by different keys are good (all)
        signed: root hash f3309ec5d66e790f8b80335e0b924185141de28b1ea0f6556ab6889ac52470f0 (containerd-full-v1), by CN=alice, in artifact 8d675f0a6b8e (standard)

    Verdict: refused
    --- standard error ---
    Error: oci:image@sha256:41932bc02fd62feb8618fb62fa3fc49aea527f60fe83a1fe95523ca9bf3e29ef is refused by the trust configuration: 1 of 2 required signatures by different keys are good (all)
    Hint: Have those sign whose signatures are missing.
    --- exit code 13 ---
    "#);
    environment.run(["sign", "oci:image:v1", "--key", "mallory.key"]).done();
    assert_eq!(verify(&environment, &vault).code, 0);
}

#[test]
fn revoked_keys_and_root_hashes_are_refused() {
    let environment = signed(&["alice"]);
    configure(
        &environment,
        "[[revoked]]\nkey = \"49:b5:d9:4d:d7:61:ad:bd:c5:39:20:7d:98:c9:f8:c3:77:2c:ea:1d\"\n\
         reason = \"laptop stolen\"\n",
    );
    let ran = verify(&environment, &[]);
    assert_eq!(ran.code, 13);
    assert_snapshot!(ran, @r#"
    Image oci:image@sha256:41932bc02fd62feb8618fb62fa3fc49aea527f60fe83a1fe95523ca9bf3e29ef
    Trust trust.toml, scope "everything", signatures needed: any
    Dates and revocations are checked here; the kernel asks for neither.

    Manifest sha256:41932bc02fd62feb8618fb62fa3fc49aea527f60fe83a1fe95523ca9bf3e29ef (linux/amd64)
      layer fc04dd24052b  refused
        refused: root hash e143886f905f28bf0b420af45ad2e9f4bf38d53782ef9b174c36274873e59cd7 (containerd-full-v1), by CN=alice, in artifact 8d675f0a6b8e (standard)
          because the key of CN=alice is revoked: laptop stolen (the kernel does not ask)
      layer 204d62bcca13  refused
        refused: root hash f3309ec5d66e790f8b80335e0b924185141de28b1ea0f6556ab6889ac52470f0 (containerd-full-v1), by CN=alice, in artifact 8d675f0a6b8e (standard)
          because the key of CN=alice is revoked: laptop stolen (the kernel does not ask)

    Verdict: refused
    --- standard error ---
    Error: oci:image@sha256:41932bc02fd62feb8618fb62fa3fc49aea527f60fe83a1fe95523ca9bf3e29ef is refused by the trust configuration: the key of CN=alice is revoked: laptop stolen (the kernel does not ask)
    Hint: Sign it again with another key; `osguard key coverage` shows what else the key has signed.
    --- exit code 13 ---
    "#);
    configure(
        &environment,
        "[[revoked]]\nroot-hash = \"f3309ec5d66e790f8b80335e0b924185141de28b1ea0f6556ab6889ac52470f0\"\n",
    );
    let ran = verify(&environment, &["--quiet"]);
    assert_eq!(ran.code, 13);
    assert_snapshot!(ran, @"
    --- standard error ---
    Error: oci:image@sha256:41932bc02fd62feb8618fb62fa3fc49aea527f60fe83a1fe95523ca9bf3e29ef is refused by the trust configuration: this root hash is revoked (the kernel does not ask, IPE's policy may)
    Hint: Do not run it: take a version that was mended.
    --- exit code 13 ---
    ");
}

#[test]
fn an_expired_certificate_is_refused_by_a_configuration_alone() {
    let Some(pki) = or_skip(TestPki::new()) else { return };
    let wanted = Wanted::signer("old", "ec:P-256").with_arguments(&["-days", "-1"]);
    let old = pki.identity(wanted).unwrap();
    let environment = signed(&[]);
    environment.write("alice.crt", &old.certificate_pem().unwrap());
    environment.write("alice.key", &old.key_pem().unwrap());
    environment.run(["sign", "oci:image:v1", "--key", "alice.key"]).done();
    let ran = environment.run(["verify", "oci:image:v1", "--trust", "alice.crt"]);
    assert_eq!(ran.code, 0, "{ran}");
    assert!(ran.stdout.contains("although the certificate of CN=old,O=osguard is expired on 20"));
    configure(&environment, "");
    let ran = verify(&environment, &[]);
    assert_eq!(ran.code, 13, "{ran}");
    assert!(ran.stdout.contains("because the certificate of CN=old,O=osguard is expired on 20"));
    assert!(ran.stderr.contains("have the scope say validity = \"log\""), "{ran}");
}

#[test]
fn a_configuration_with_a_mistake_is_refused() {
    let environment = signed(&["alice"]);
    configure(&environment, "[settings]\nstrict = true\n");
    assert_snapshot!(environment.refused(VERIFY), @"
    --- standard error ---
    Error: trust.toml, line 18, column 2: unknown field `settings`, expected one of `version`, `dbx`, `stores`, `scopes`, `revoked`
    --- exit code 2 ---
    ");
    environment.write(
        "trust.toml",
        b"{\n  \"version\": \"1.0\",\n  \"trustPolicies\": [],\n  \"x\": 1\n}\n",
    );
    assert_snapshot!(environment.refused(VERIFY), @"
    --- standard error ---
    Error: trust.toml, line 4, column 5: unknown field `x`, expected `version` or `trustPolicies`
    --- exit code 2 ---
    ");
    fs::remove_file(environment.path("trust.toml")).unwrap();
    assert_snapshot!(environment.refused(VERIFY), @"
    --- standard error ---
    Error: cannot read trust.toml: No such file or directory (os error 2)
    --- exit code 3 ---
    ");
}

#[test]
fn under_the_level_skip_nothing_is_verified() {
    let environment = signed(&[]);
    environment.write(
        "trust.toml",
        br#"{ "version": "1.0", "trustPolicies": [{ "name": "anything", "registryScopes": ["*"],
              "signatureVerification": { "level": "skip" } }] }"#,
    );
    let ran = verify(&environment, &[]);
    assert_eq!(ran.code, 0);
    assert_snapshot!(ran, @r#"
    Image oci:image@sha256:41932bc02fd62feb8618fb62fa3fc49aea527f60fe83a1fe95523ca9bf3e29ef
    Trust trust.toml, scope "anything", signatures needed: any
    Dates and revocations are checked here; the kernel asks for neither.

    Manifest sha256:41932bc02fd62feb8618fb62fa3fc49aea527f60fe83a1fe95523ca9bf3e29ef (linux/amd64)
      layer fc04dd24052b  skipped
      layer 204d62bcca13  skipped

    Verdict: skipped
    --- standard error ---
    Warning: nothing was verified: the trust configuration skips "anything"
    "#);
}

#[test]
fn root_hashes_are_kept_and_a_damaged_cache_is_none() {
    let environment = signed(&["alice"]);
    let cached = ["verify", "oci:image:v1", "--trust", "alice.crt", "--root-hash", "cached"];
    let first = environment.run(cached).done();
    let cache = environment.path("../home/.cache/osguard/root-hashes");
    let files: Vec<_> = fs::read_dir(&cache).unwrap().map(|file| file.unwrap().path()).collect();
    assert_eq!(files.len(), 2);

    // The layers are not read any more.
    let layers: Vec<_> = files
        .iter()
        .map(|file| environment.path("image/blobs/sha256").join(file.file_stem().unwrap()))
        .collect();
    let aside = |layer: &std::path::PathBuf| layer.with_extension("aside");
    layers.iter().for_each(|layer| fs::rename(layer, aside(layer)).unwrap());
    assert_eq!(environment.run(cached).done(), first);
    let recompute = ["verify", "oci:image:v1", "--trust", "alice.crt"];
    assert_eq!(environment.run(recompute).code, 1);

    let record = fs::read_to_string(&files[0]).unwrap();
    fs::write(&files[0], record.replacen("root_hashes\":{\"", "root_hashes\":{\" ", 1)).unwrap();
    assert_eq!(
        environment.run(cached).code,
        1,
        "it is looked for in the layer, which is not there"
    );
    layers.iter().for_each(|layer| fs::rename(aside(layer), layer).unwrap());
    assert_eq!(environment.run(cached).done(), first);
    assert_eq!(fs::read_to_string(&files[0]).unwrap(), record, "it was mended");

    fs::set_permissions(&cache, PermissionsExt::from_mode(0o777)).unwrap();
    let ran = environment.run(cached);
    assert_eq!(ran.code, 0);
    assert_snapshot!(ran.stderr, @"Warning: the cache $TEST/home/.cache/osguard/root-hashes is not used, and layers are read: others may write to it");
}

#[test]
fn without_the_layers_only_the_signatures_are_judged() {
    let environment = signed(&["alice"]);
    let ran =
        environment.run(["verify", "oci:image:v1", "--trust", "alice.crt", "--root-hash", "skip"]);
    assert_eq!(ran.code, 0);
    assert_snapshot!(ran, @"
    Image oci:image@sha256:41932bc02fd62feb8618fb62fa3fc49aea527f60fe83a1fe95523ca9bf3e29ef

    Manifest sha256:41932bc02fd62feb8618fb62fa3fc49aea527f60fe83a1fe95523ca9bf3e29ef (linux/amd64)
      layer fc04dd24052b  signed
        signed: root hash e143886f905f28bf0b420af45ad2e9f4bf38d53782ef9b174c36274873e59cd7, by CN=alice, in artifact 8d675f0a6b8e (standard)
      layer 204d62bcca13  signed
        signed: root hash f3309ec5d66e790f8b80335e0b924185141de28b1ea0f6556ab6889ac52470f0, by CN=alice, in artifact 8d675f0a6b8e (standard)

    Verdict: signed
    --- standard error ---
    Warning: the layers were not read: whether they have the signed root hashes is for the kernel to find out
    ");
    let ran = environment.run([
        "verify",
        "oci:image:v1",
        "--trust",
        "mallory.crt",
        "--root-hash",
        "skip",
    ]);
    assert_eq!(ran.code, 11);
}

#[test]
fn a_key_is_retired_when_no_layer_needs_it() {
    let environment = Environment::with_keys();
    index(&environment);
    let sign = |key: &str, more: &[&str]| {
        let sign = ["sign", "oci:image:multi", "--key", key];
        environment.run(sign.iter().chain(more)).done();
    };
    let coverage = |more: &[&str]| {
        let trust = ["--trust", "alice.crt", "--trust", "mallory.crt"];
        let coverage = ["key", "coverage", "oci:image:multi"];
        environment.run(coverage.iter().chain(&trust).chain(more))
    };
    sign("alice.key", &[]);
    assert_snapshot!(coverage(&[]), @"
    Key 49b5d94dd761adbdc539207d98c9f8c3772cea1d of CN=alice
      oci:image@sha256:163963be02d87e1dbc4fad07e7a68a8f05b1823484f92583feb9cc4f471c382d (linux/amd64)
        layer fc04dd24052b  needs it
        layer ec4d2350f929  needs it
      oci:image@sha256:163963be02d87e1dbc4fad07e7a68a8f05b1823484f92583feb9cc4f471c382d (linux/arm64)
        layer fc04dd24052b  needs it
        layer 824ac91079c2  needs it
      needed by 4 of the 4 layers that it has signed
    ");
    sign("mallory.key", &["--platform", "linux/amd64"]);
    assert_snapshot!(coverage(&["--cert", "alice.crt"]), @"
    Key 49b5d94dd761adbdc539207d98c9f8c3772cea1d of CN=alice
      oci:image@sha256:163963be02d87e1dbc4fad07e7a68a8f05b1823484f92583feb9cc4f471c382d (linux/amd64)
        layer fc04dd24052b  also signed by CN=mallory
        layer ec4d2350f929  also signed by CN=mallory
      oci:image@sha256:163963be02d87e1dbc4fad07e7a68a8f05b1823484f92583feb9cc4f471c382d (linux/arm64)
        layer fc04dd24052b  needs it
        layer 824ac91079c2  needs it
      needed by 2 of the 4 layers that it has signed
    ");
    sign("mallory.key", &[]);
    let report = coverage(&["--cert", "alice.crt", "--output", "json"]).json();
    assert_eq!(report["schema"], "osguard.key.coverage.v1");
    assert_eq!(report["keys"].as_array().unwrap().len(), 1);
    assert_eq!(report["keys"][0]["retirable"], true);
    assert_eq!(report["keys"][0]["layers"].as_array().unwrap().len(), 4);
    assert_eq!(report["keys"][0]["layers"][0]["others"][0], "CN=mallory");
    assert_eq!(report["refused"].as_array().unwrap().len(), 0);

    // Who is not trusted protects nothing, and what nobody trusted has signed is told.
    let stranger =
        ["key", "coverage", "oci:image:amd64", "--trust", "stranger.crt", "--cert", "alice.crt"];
    environment.run(["key", "generate", "stranger", "--kind", "ec-p256"]).done();
    assert_snapshot!(environment.run(stranger), @"
    Key 49b5d94dd761adbdc539207d98c9f8c3772cea1d of CN=alice
      has no good signature of these layers
    Refused with all of their signatures, whatever key is retired:
      oci:image@sha256:5157c9e63249608646e0ffdc5c897f0efd1a9506b457290f85cb92ea004d41ee (linux/amd64)  layer fc04dd24052b  not trusted
      oci:image@sha256:5157c9e63249608646e0ffdc5c897f0efd1a9506b457290f85cb92ea004d41ee (linux/amd64)  layer ec4d2350f929  not trusted
    ");
}

/// Makes an image that these have signed.
fn signed(signers: &[&str]) -> Environment {
    let environment = Environment::with_keys();
    image(&environment);
    for signer in signers {
        environment.run(["sign", "oci:image:v1", "--key", &format!("{signer}.key")]).done();
    }
    environment
}

/// Writes a configuration by which Alice signs everything but a vault, and where both must sign.
fn configure(environment: &Environment, more: &str) {
    let text = format!(
        r#"version = 1
[stores]
alice = {{ certificates = ["alice.crt"] }}
mallory = {{ certificates = ["mallory.crt"] }}
[[scopes]]
name = "everything"
repositories = ["**"]
stores = ["alice"]
[[scopes]]
name = "vault"
repositories = ["registry.example/vault/**"]
stores = ["mallory"]
[[scopes]]
name = "both"
repositories = ["registry.example/both/*"]
stores = ["alice", "mallory"]
require = "all"
{more}"#
    );
    environment.write("trust.toml", text.as_bytes());
}

fn verify(environment: &Environment, more: &[&str]) -> Ran {
    environment.run(VERIFY.iter().chain(more))
}

const VERIFY: [&str; 4] = ["verify", "oci:image:v1", "--trust-config", "trust.toml"];
