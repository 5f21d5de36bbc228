//! oras, notation and cosign take it for a registry, with the referrers API and without.

use std::fs;
use std::process::Command;

use osguard_testkit::clients::Clients;
use osguard_testkit::command::run;
use osguard_testkit::or_skip;
use osguard_testkit::registry::Registry;
use serde_json::Value;

const KIND: &str = "application/x.osguard.test";

/// Pushes an artifact `v1`, attaches three more to it, and returns its digest.
fn push_and_attach(clients: &Clients, repository: &str) -> Option<String> {
    let oras = |arguments: &[&str]| -> Option<Vec<u8>> {
        let mut oras: Command = or_skip(clients.oras())?;
        Some(run(oras.args(arguments)).expect("oras succeeds"))
    };
    fs::write(clients.home().join("file"), "contents").expect("a file");
    let tag = format!("{repository}:v1");
    oras(&["push", "--plain-http", &tag, "file:text/plain"])?;
    for number in ["1", "2", "3"] {
        fs::write(clients.home().join("statement"), number).expect("a file");
        let kind = if number == "2" { "application/other" } else { KIND };
        oras(&["attach", "--plain-http", "--artifact-type", kind, &tag, "statement:text/plain"])?;
    }
    let digest = oras(&["resolve", "--plain-http", &tag])?;
    Some(String::from_utf8_lossy(&digest).trim().to_owned())
}

fn discovered(clients: &Clients, repository: &str, digest: &str) -> usize {
    let mut oras = clients.oras().expect("oras");
    let image = format!("{repository}@{digest}");
    let found = run(oras.args([
        "discover",
        "--plain-http",
        "--format",
        "json",
        "--artifact-type",
        KIND,
        &image,
    ]))
    .expect("oras discovers");
    let found: Value = serde_json::from_slice(&found).expect("JSON");
    found["manifests"].as_array().expect("a list").len()
}

#[test]
fn oras_attaches_and_discovers_with_the_referrers_api() {
    let registry = Registry::builder().page_size(1).start().expect("a registry");
    let clients = Clients::new().expect("a home");
    let repository = format!("{}/some/artifact", registry.host());
    let Some(digest) = push_and_attach(&clients, &repository) else { return };
    assert_eq!(discovered(&clients, &repository, &digest), 2);
    assert_eq!(registry.tags("some/artifact"), ["v1"]);
    assert_eq!(registry.manifests("some/artifact").len(), 4);
}

#[test]
fn oras_attaches_and_discovers_without_the_referrers_api() {
    let registry = Registry::builder().without_referrers_api().start().expect("a registry");
    let clients = Clients::new().expect("a home");
    let repository = format!("{}/some/artifact", registry.host());
    let Some(digest) = push_and_attach(&clients, &repository) else { return };
    assert_eq!(discovered(&clients, &repository, &digest), 2);
    let fallback = digest.replace(':', "-");
    assert_eq!(registry.tags("some/artifact"), [fallback.as_str(), "v1"]);
    let index = registry.manifest("some/artifact", &fallback).expect("an index").json();
    assert_eq!(index["manifests"].as_array().expect("a list").len(), 3);
}

#[test]
fn notation_signs_and_verifies() {
    let registry = Registry::start().expect("a registry");
    let clients = Clients::new().expect("a home");
    let repository = format!("{}/app", registry.host());
    let Some(digest) = push_and_attach(&clients, &repository) else { return };
    let Some(mut generate) = or_skip(clients.notation()) else { return };
    run(generate.args(["cert", "generate-test", "--default", "osguard.test"])).expect("a key");
    let image = format!("{repository}@{digest}");
    let mut sign = clients.notation().expect("notation");
    run(sign.args(["sign", "--insecure-registry", &image])).expect("notation signs");
    let policy = clients.home().join("trustpolicy.json");
    let statement = serde_json::json!({ "version": "1.0", "trustPolicies": [{
        "name": "all",
        "registryScopes": ["*"],
        "signatureVerification": { "level": "strict" },
        "trustStores": ["ca:osguard.test"],
        "trustedIdentities": ["*"],
    }] });
    fs::write(&policy, statement.to_string()).expect("a file");
    let mut import = clients.notation().expect("notation");
    run(import.args(["policy", "import"]).arg(&policy)).expect("notation imports a policy");
    let mut verify = clients.notation().expect("notation");
    run(verify.args(["verify", "--insecure-registry", &image])).expect("notation verifies");
    let signatures = registry.manifests("app").into_iter().filter(|manifest| {
        manifest.json()["config"]["mediaType"] == "application/vnd.cncf.notary.signature"
    });
    assert_eq!(signatures.count(), 1);
}

#[test]
fn cosign_signs_and_verifies() {
    let registry = Registry::start().expect("a registry");
    let clients = Clients::new().expect("a home");
    let repository = format!("{}/app", registry.host());
    let Some(digest) = push_and_attach(&clients, &repository) else { return };
    let Some(mut generate) = or_skip(clients.cosign()) else { return };
    run(generate.arg("generate-key-pair").env("COSIGN_PASSWORD", "")).expect("a key");
    let image = format!("{repository}@{digest}");
    let mut sign = clients.cosign().expect("cosign");
    sign.args(["sign", "--key", "cosign.key", "--tlog-upload=false", "--yes", &image]);
    run(sign.env("COSIGN_PASSWORD", "")).expect("cosign signs");
    let mut verify = clients.cosign().expect("cosign");
    verify.args(["verify", "--key", "cosign.pub", "--insecure-ignore-tlog=true", &image]);
    run(&mut verify).expect("cosign verifies");
    assert_eq!(registry.tags("app"), [format!("{}.sig", digest.replace(':', "-")), "v1".into()]);
}
