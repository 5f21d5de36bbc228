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
    assert_snapshot!(environment.refused(["verify", "oci:image:v1"]), @"");
    let both = ["verify", "oci:image:v1", "--trust", "alice.crt", "--trust-config", "trust.toml"];
    assert_eq!(environment.run(both).code, 2);
    configure(&environment, "");
    fs::create_dir_all(environment.path("../home/.config/osguard")).unwrap();
    for name in ["trust.toml", "alice.crt", "mallory.crt"] {
        let file = environment.path("../home/.config/osguard").join(name);
        fs::copy(environment.path(name), file).unwrap();
    }
    let ran = environment.run(["verify", "oci:image:v1"]);
    assert_snapshot!(ran, @"");
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
    assert_snapshot!(verify(&environment, &["--output", "json"]), @"");
    assert_eq!(verify(&environment, &["--scope", "registry.example/team/app"]).code, 0);
    let ran = verify(&environment, &["--scope", "registry.example/vault/app"]);
    assert_eq!(ran.code, 11, "{ran}");

    let narrow = environment.read("trust.toml");
    let narrow = String::from_utf8(narrow).unwrap().replace("\"**\"", "\"registry.example/*/app\"");
    environment.write("trust.toml", narrow.as_bytes());
    assert_snapshot!(environment.refused(VERIFY), @"");
    let scope = ["--scope", "other.example/team/app"];
    assert_snapshot!(environment.refused(VERIFY.iter().chain(&scope)), @"");
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
    assert_snapshot!(ran, @"");
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
    assert_snapshot!(ran, @"");
    configure(
        &environment,
        "[[revoked]]\nroot-hash = \"f3309ec5d66e790f8b80335e0b924185141de28b1ea0f6556ab6889ac52470f0\"\n",
    );
    let ran = verify(&environment, &["--quiet"]);
    assert_eq!(ran.code, 13);
    assert_snapshot!(ran, @"");
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
    assert_snapshot!(environment.refused(VERIFY), @"");
    environment.write(
        "trust.toml",
        b"{\n  \"version\": \"1.0\",\n  \"trustPolicies\": [],\n  \"x\": 1\n}\n",
    );
    assert_snapshot!(environment.refused(VERIFY), @"");
    fs::remove_file(environment.path("trust.toml")).unwrap();
    assert_snapshot!(environment.refused(VERIFY), @"");
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
    assert_snapshot!(ran, @"");
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
    assert_eq!(environment.run(recompute).code, 3);

    let record = fs::read_to_string(&files[0]).unwrap();
    fs::write(&files[0], record.replacen("root_hashes\":{\"", "root_hashes\":{\" ", 1)).unwrap();
    assert_eq!(
        environment.run(cached).code,
        3,
        "it is looked for in the layer, which is not there"
    );
    layers.iter().for_each(|layer| fs::rename(aside(layer), layer).unwrap());
    assert_eq!(environment.run(cached).done(), first);
    assert_eq!(fs::read_to_string(&files[0]).unwrap(), record, "it was mended");

    fs::set_permissions(&cache, PermissionsExt::from_mode(0o777)).unwrap();
    let ran = environment.run(cached);
    assert_eq!(ran.code, 0);
    assert_snapshot!(ran.stderr, @"");
}

#[test]
fn without_the_layers_only_the_signatures_are_judged() {
    let environment = signed(&["alice"]);
    let ran =
        environment.run(["verify", "oci:image:v1", "--trust", "alice.crt", "--root-hash", "skip"]);
    assert_eq!(ran.code, 0);
    assert_snapshot!(ran, @"");
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
    assert_snapshot!(coverage(&[]), @"");
    sign("mallory.key", &["--platform", "linux/amd64"]);
    assert_snapshot!(coverage(&["--cert", "alice.crt"]), @"");
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
    assert_snapshot!(environment.run(stranger), @"");
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
