//! Keys behind plugins of the notation project.

use osguard_testkit::clients::Clients;
use osguard_testkit::command::run;
use osguard_testkit::{notation_plugin, or_skip};

use crate::environment::{Environment, Ran};
use crate::fixtures;

/// Makes an environment with an image, the plugin, and the key that it shall sign with.
fn scene() -> Option<Environment> {
    let environment = Environment::with_keys();
    let home = environment.path("../home");
    or_skip(notation_plugin::install(&home))?;
    or_skip(osguard_testkit::command::command("openssl"))?;
    fixtures::image(&environment);
    environment.run(["key", "generate", "ec", "--kind", "ec-p256"]).done();
    Some(environment)
}

fn sign(environment: &Environment, key: &str, behaviour: &str) -> Vec<String> {
    let path = |name| environment.path(name).display().to_string();
    let mut arguments =
        vec!["sign".to_owned(), "oci:image:v1".to_owned(), "--key".to_owned(), key.to_owned()];
    for config in [
        format!("key={}", path("ec.key")),
        format!("certificate={}", path("ec.crt")),
        format!("behaviour={behaviour}"),
    ] {
        arguments.extend(["--plugin-config".to_owned(), config]);
    }
    arguments
}

fn refused(environment: &Environment, behaviour: &str) -> Ran {
    environment.refused(sign(environment, "plugin:test/key", behaviour))
}

#[test]
fn an_ec_key_behind_a_plugin_signs() {
    let Some(environment) = scene() else { return };
    let arguments = sign(&environment, "plugin:test/arn:aws:key/1", "");
    environment.run(&arguments).done();
    environment.run(["verify", "oci:image:v1", "--trust", "ec.crt"]).done();
    let again =
        environment.run(arguments.iter().map(String::as_str).chain(["--cert", "ec.crt"])).done();
    assert!(again.contains("Signed before"), "{again}");
    let mut show = sign(&environment, "plugin:test/key", "");
    show.splice(..4, ["key", "show", "plugin:test/key"].map(str::to_owned));
    let shown = environment.run(show).done();
    assert!(
        shown.starts_with("plugin:test/key: a private key; it signs with ECDSA P-256"),
        "{shown}"
    );
}

#[test]
fn rsa_keys_and_envelopes_are_refused_with_the_reason() {
    let Some(environment) = scene() else { return };
    let rsa = refused(&environment, "rsa");
    assert_eq!(rsa.code, 2, "{rsa}");
    assert!(rsa.stderr.contains("RSA-PSS, which the kernel does not take"), "{rsa}");
    assert!(rsa.stderr.contains("Hint: `osguard sign --prepare`"), "{rsa}");
    let envelope = refused(&environment, "envelope");
    assert!(envelope.stderr.contains("makes whole envelopes"), "{envelope}");
}

#[test]
fn a_plugin_that_misbehaves_is_told_on() {
    let Some(environment) = scene() else { return };
    for (behaviour, part) in [
        ("nonsense", "to get-plugin-metadata it answered no such JSON"),
        ("gigabyte", "get-plugin-metadata: it wrote more than 65536 bytes"),
        ("fails", "VALIDATION_ERROR: the key is not [31m for you"),
        ("silent", "ended with exit status: 7: it said nothing"),
        ("no-certificate", "gives no certificate"),
        ("other-signature", "the signature that was just made would be refused by the kernel"),
    ] {
        let ran = refused(&environment, behaviour);
        assert!(ran.stderr.contains(part), "{behaviour}: {ran}");
    }
    let ran = environment.refused(["sign", "oci:image:v1", "--key", "plugin:none/key"]);
    assert_eq!(ran.code, 3, "{ran}");
    assert!(ran.stderr.contains("plugins/none/notation-none"), "{ran}");
    let ran = environment.refused(["sign", "oci:image:v1", "--key", "plugin:none"]);
    assert_eq!(ran.code, 2, "{ran}");
    let other = sign(&environment, "plugin:test/key", "");
    let ran = environment.refused(other.iter().map(String::as_str).chain(["--cert", "alice.crt"]));
    assert!(
        ran.stderr.contains("its key is an EC-256, and the certificate's an RSA-2048"),
        "{ran}"
    );
}

/// The plugin keeps to the protocol where notation itself speaks it, with one key and one trust store.
#[test]
fn notation_and_osguard_share_plugin_key_and_trust_store() {
    let Some(environment) = scene() else { return };
    let clients = Clients::new().unwrap();
    notation_plugin::install(clients.home()).unwrap();
    let image = format!("{}:v1", environment.path("image").display());
    let path = |name| environment.path(name).display().to_string();
    let notation = |arguments: &[&str]| {
        let mut notation = or_skip(clients.notation())?;
        notation.env("NOTATION_EXPERIMENTAL", "1").args(arguments);
        Some(run(&mut notation).unwrap())
    };
    let (key, certificate) =
        (format!("key={}", path("ec.key")), format!("certificate={}", path("ec.crt")));
    let add = ["key", "add", "--plugin", "test", "--id", "key", "--plugin-config", &key];
    if notation(&[&add[..], &["--plugin-config", &certificate, "shared"]].concat()).is_none() {
        return;
    }
    notation(&["sign", "--oci-layout", "--key", "shared", &image]);
    notation(&["cert", "add", "--type", "ca", "--store", "team", &path("ec.crt")]);
    let policy = clients.home().join(".config/notation/trustpolicy.json");
    std::fs::write(policy, TRUST_POLICY).unwrap();
    environment.run(sign(&environment, "plugin:test/key", "")).done();
    notation(&["verify", "--oci-layout", "--scope", "team/app", &image]);
    let store = clients.home().join(".config/notation/truststore/x509/ca/team");
    let store = store.to_str().unwrap();
    environment.run(["verify", "oci:image:v1", "--trust", store]).done();
}

const TRUST_POLICY: &str = r#"{
    "version": "1.0",
    "trustPolicies": [{
        "name": "all",
        "registryScopes": ["*"],
        "signatureVerification": { "level": "strict" },
        "trustStores": ["ca:team"],
        "trustedIdentities": ["*"]
    }]
}"#;
