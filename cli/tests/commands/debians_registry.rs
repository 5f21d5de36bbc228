//! Commands on the registry that most people run, which has no referrers API.

use std::process::Stdio;

use osguard_testkit::docker_registry::DockerRegistry;
use osguard_testkit::or_skip;
use osguard_testkit::tls::TlsAuthority;
use serde_json::json;

use crate::environment::{Environment, Ran};
use crate::fixtures::{image, index};

#[test]
fn images_go_there_and_back() {
    let Some(registry) = or_skip(DockerRegistry::start()) else { return };
    let environment = Environment::with_keys();
    index(&environment);
    let at = |name: &str| format!("{}/{name}", registry.host());
    let push = ["push", "oci:image:multi", &at("team/app"), "--sign", "--key", "alice.key"];
    let _ = environment.run(push).done();
    assert_eq!(verify(&environment, &at("team/app:multi"), &[]).code, 0);
    let _ = environment.run(["copy", &at("team/app:multi"), &at("mirror/app:v2")]).done();
    assert_eq!(verify(&environment, &at("mirror/app:v2"), &[]).code, 0);
    let _ = environment.run(["copy", &at("mirror/app:v2"), "oci:back"]).done();
    assert_eq!(verify(&environment, "oci:back:v2", &[]).code, 0);
    let again = ["copy", "oci:back:v2", &at("mirror/app:v2"), "--output", "json"];
    assert_eq!(environment.run(again).json()["stored"], 0);
}

#[test]
fn only_who_has_the_password_is_let_in() {
    let Some(registry) = or_skip(DockerRegistry::builder().password().start()) else { return };
    let environment = Environment::with_keys();
    image(&environment);
    let app = format!("{}/app:v1", registry.host());
    let push = ["push", "oci:image:v1", &app, "--sign", "--key", "alice.key"];
    let with = |arguments: &[&str], password: &str| {
        let mut command = environment.osguard();
        command.args(arguments).env("OSGUARD_PASSWORD", password);
        environment.ran(command.args(["--username", DockerRegistry::USER]))
    };
    for refused in [environment.run(push), with(&push, "wrong")] {
        assert_eq!(refused.code, 4, "{refused}");
        assert!(
            refused.stderr.contains("wants other credentials for reading from app"),
            "{refused}"
        );
        assert!(!refused.stderr.contains("wrong\n"), "{refused}");
    }
    let _ = with(&push, DockerRegistry::PASSWORD).done();
    let sign = ["sign", &app, "--key", "mallory.key"];
    let _ = with(&sign, DockerRegistry::PASSWORD).done();
    let verify = ["verify", &app, "--trust", "mallory.crt"];
    assert_eq!(with(&verify, DockerRegistry::PASSWORD).code, 0);
    assert_eq!(environment.run(verify).code, 4, "and not \"not signed\"");

    // As podman and docker leave it.
    let auths = json!({ "auths": { registry.host(): {
        "username": DockerRegistry::USER, "password": DockerRegistry::PASSWORD,
    }}});
    environment.write("auth.json", auths.to_string().as_bytes());
    let _ = environment.run(["copy", &app, "oci:back", "--auth-file", "auth.json"]).done();
}

#[test]
fn its_certificate_is_checked() {
    let authority = TlsAuthority::new().unwrap();
    let builder = DockerRegistry::builder().tls(&authority).unwrap();
    let Some(registry) = or_skip(builder.start()) else { return };
    let environment = Environment::with_keys();
    image(&environment);
    let app = format!("{}/app:v1", registry.host());
    let push = ["push", "oci:image:v1", &app, "--sign", "--key", "alice.key"];
    let refused = environment.run(push);
    assert_eq!(refused.code, 4, "{refused}");
    assert!(refused.stderr.contains("invalid peer certificate: UnknownIssuer"), "{refused}");
    let certificate = authority.certificate();
    let trusting = ["--ca-file", certificate.to_str().unwrap()];
    let _ = environment.run(push.iter().chain(&trusting)).done();
    assert_eq!(verify(&environment, &app, &trusting).code, 0);
}

#[test]
fn two_pushes_of_one_image_at_once_both_succeed() {
    let Some(registry) = or_skip(DockerRegistry::start()) else { return };
    let environment = Environment::with_keys();
    index(&environment);
    let app = format!("{}/app", registry.host());
    let push = ["push", "oci:image:multi", &app, "--sign", "--key", "alice.key"];
    let push = || {
        let mut command = environment.osguard();
        command.args(push).stdout(Stdio::null()).stderr(Stdio::piped());
        command.spawn().unwrap()
    };
    for pushing in [push(), push()] {
        let pushed = pushing.wait_with_output().unwrap();
        assert!(pushed.status.success(), "{}", String::from_utf8_lossy(&pushed.stderr));
    }
    let image = format!("{app}:multi");
    assert_eq!(verify(&environment, &image, &[]).code, 0);
    let inspected = environment.run(["inspect", &image, "--output", "json"]).json();
    let manifests = inspected["manifests"].as_array().unwrap();
    assert_eq!(manifests.len(), 2);
    for manifest in manifests {
        assert_eq!(manifest["artifacts"].as_array().unwrap().len(), 1, "{inspected}");
    }
}

fn verify(environment: &Environment, image: &str, arguments: &[&str]) -> Ran {
    environment.run(["verify", image, "--trust", "alice.crt"].iter().chain(arguments))
}
