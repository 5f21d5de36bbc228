//! Files that change, certificates that expire, clients that are slow, and curl.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::process::{Command, Stdio};
use std::time::Duration;

use osguard_testkit::command::command;
use osguard_testkit::or_skip;
use osguard_testkit::registry::Registry;
use osguard_testkit::test_pki::Identity;

use crate::client::Client;
use crate::scene::{Scene, create, pod, refusal};
use crate::webhook::{Webhook, until};

#[test]
fn curl_is_answered_by_tls_1_2_and_1_3_and_by_nothing_older() {
    let Some(_) = or_skip(command("curl")) else { return };
    let registry = Registry::start().unwrap();
    let scene = Scene::new(&registry.host());
    let image = scene.image("team/app:v1");
    scene.push(&image, Some("alice.key"));
    let webhook = scene.webhook();
    scene.write("review.json", &create("shop", &pod(&image)).to_string());
    let curl = |flags: &[&str], path: &str| {
        let mut curl = command("curl").unwrap();
        curl.args(["--silent", "--show-error", "--fail-with-body", "--cacert"]);
        curl.arg(scene.authority.certificate()).args(flags);
        curl.arg(format!("https://{}{path}", webhook.address)).current_dir(scene.directory.path());
        let ran = curl.output().unwrap();
        (ran.status.success(), String::from_utf8(ran.stdout).unwrap())
    };
    for version in [["--tlsv1.2", "--tls-max", "1.2"], ["--tlsv1.3", "--tls-max", "1.3"]] {
        let mut flags =
            vec!["--header", "Content-Type: application/json", "--data-binary", "@review.json"];
        flags.extend(version);
        let (succeeded, body) = curl(&flags, "/validate?timeout=10s");
        assert!(succeeded && body.contains("\"allowed\":true"), "{body}");
    }
    assert!(!curl(&["--tlsv1.0", "--tls-max", "1.1"], "/healthz").0);
    for path in ["/healthz", "/readyz", "/metrics"] {
        assert!(curl(&[], path).0, "{path}");
    }
    assert!(!curl(&[], "/validate").0);
    assert!(!curl(&["--data", "x"], "/validate").0);
}

#[test]
fn a_revocation_takes_effect_without_a_restart() {
    let registry = Registry::start().unwrap();
    let scene = Scene::new(&registry.host());
    let image = scene.image("team/app:v1");
    scene.push(&image, Some("alice.key"));
    let webhook = scene.webhook();
    let ask = || refusal(&webhook.validate(&create("shop", &pod(&image))));
    assert_eq!(ask(), None);
    // What cannot be used is not taken.
    scene.write("trust.toml", "version = 1\nnonsense = true\n");
    let failed = "osguard_admission_reloads_total{what=\"policy\",result=\"failed\"}";
    until("the file is looked at", || webhook.get("/metrics").body.contains(failed));
    assert_eq!(ask(), None);
    scene.trust(
        "[[revoked]]\nkey = \"49b5d94dd761adbdc539207d98c9f8c3772cea1d\"\nreason = \"stolen\"\n",
    );
    until("it is revoked", || ask().is_some());
    assert!(ask().unwrap().contains("is revoked: stolen"), "{:?}", ask());
}

#[test]
fn a_renewed_certificate_is_shown_and_an_expired_one_makes_it_not_ready() {
    let registry = Registry::start().unwrap();
    let scene = Scene::new(&registry.host());
    let path = |name: &str| scene.directory.path().join(name);
    let place = |identity: &Identity| {
        fs::copy(&identity.certificate, path("tls.crt")).unwrap();
        fs::copy(&identity.key, path("tls.key")).unwrap();
    };
    let [one, two] =
        ["one", "two"].map(|name| scene.authority.server_for(name, &["127.0.0.1"]).unwrap());
    place(&one);
    let served = Identity { certificate: path("tls.crt"), key: path("tls.key") };
    let webhook = Webhook::start_as(scene.directory.path(), &scene.authority, &served, &[]);
    // A connection that is open stays so, with the certificate that it has seen.
    let mut client = webhook.client();
    assert_eq!(client.get("/readyz").unwrap().status, 200);
    let first = client.certificate();
    place(&two);
    until("the newer one is shown", || {
        let mut client = webhook.client();
        client.get("/healthz").unwrap();
        client.certificate() != first
    });
    assert_eq!(client.get("/readyz").unwrap().status, 200);

    place(&scene.authority.expired_server_for("three", &["127.0.0.1"]).unwrap());
    until("it is not ready", || client.get("/readyz").unwrap().status == 503);
    let answer = client.get("/readyz").unwrap();
    assert_eq!(answer.body, "the serving certificate has expired\n");
    assert_eq!(client.get("/healthz").unwrap().status, 200);
}

#[test]
fn certificates_are_made_by_an_authority_in_a_directory() {
    let registry = Registry::start().unwrap();
    let scene = Scene::new(&registry.host());
    let mut child = Command::new(env!("CARGO_BIN_EXE_osguard"))
        .args(["admission", "serve", "--config", "admission.toml", "--listen", "127.0.0.1:0"])
        .args(["--self-made", "authority", "--name", "127.0.0.1", "--log-format", "json"])
        .current_dir(scene.directory.path())
        .env_clear()
        .env("HOME", scene.directory.path())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stderr = child.stderr.take().unwrap();
    let mut log = Vec::new();
    let mut byte = [0];
    while byte != *b"\n" && stderr.read(&mut byte).unwrap() == 1 {
        log.push(byte[0]);
    }
    let first: serde_json::Value = serde_json::from_slice(&log).unwrap();
    let address = first["address"].as_str().unwrap().parse().unwrap();
    let authority = scene.directory.path().join("authority/ca.crt");
    let mut client = Client::connect(address, &authority).unwrap();
    let answer = client.get("/readyz").unwrap();
    child.kill().unwrap();
    child.wait().unwrap();
    assert_eq!(answer.status, 200);
}

/// Connections that say nothing, that begin a handshake, or that send a request bit by bit, more of
/// them than are kept.
#[test]
fn slow_clients_and_many_of_them_are_in_nobodys_way() {
    let registry = Registry::start().unwrap();
    let scene = Scene::new(&registry.host());
    let image = scene.image("team/app:v1");
    scene.push(&image, Some("alice.key"));
    let webhook = scene.webhook();
    let mut idle = Vec::new();
    for number in 0..1500 {
        let Ok(mut stream) = TcpStream::connect(webhook.address) else {
            // Fewer files are allowed here than the test would like to open.
            break;
        };
        if number % 2 == 0 {
            let _ = stream.write_all(&[0x16, 0x03, 0x01]);
        }
        idle.push(stream);
    }
    let mut slow: Vec<Client> = (0..20).map(|_| webhook.client()).collect();
    for client in &mut slow {
        assert_eq!(client.get("/healthz").unwrap().status, 200);
    }
    assert_eq!(refusal(&webhook.validate(&create("shop", &pod(&image)))), None);
    assert!(webhook.metric("osguard_admission_connections") <= 1024);
    assert!(webhook.peak_memory_bytes() < 200 << 20);
    drop(idle);
    std::thread::sleep(Duration::from_millis(100));
    assert_eq!(refusal(&webhook.validate(&create("shop", &pod(&image)))), None);
}

/// Each asks for all the room that there is for long requests, and sends next to nothing.
#[test]
fn who_sends_long_requests_slowly_does_not_keep_others_waiting() {
    let registry = Registry::start().unwrap();
    let scene = Scene::new(&registry.host());
    let image = scene.image("team/app:v1");
    scene.push(&image, Some("alice.key"));
    let webhook = scene.webhook_with(&["--timeout", "3"]);
    let mut slow: Vec<Client> = (0..50).map(|_| webhook.client()).collect();
    for client in &mut slow {
        client.begin("/validate?timeout=30s", 8 << 20).unwrap();
        client.go_on(b"{").unwrap();
    }
    let mut object = pod(&image);
    object["metadata"]["annotations"] = serde_json::json!({ "note": "x".repeat(40_000) });
    let review = create("shop", &object).to_string();
    for _ in 0..20 {
        // One second is all that it may take; the slow ones have three.
        let answer = webhook.post("/validate?timeout=1s", review.as_bytes());
        assert_eq!(refusal(&answer.response()), None);
    }
    // A long one from somebody else has to wait, and gets an answer.
    object["metadata"]["annotations"] = serde_json::json!({ "note": "x".repeat(1 << 20) });
    let review = create("shop", &object).to_string();
    until("there is room for a long one", || {
        webhook.post("/validate?timeout=10s", review.as_bytes()).status == 200
    });
    assert!(webhook.peak_memory_bytes() < 200 << 20);
}

#[test]
fn a_configuration_that_cannot_be_used_is_said_at_the_start() {
    let registry = Registry::start().unwrap();
    let scene = Scene::new(&registry.host());
    let start = || {
        let ran = Command::new(env!("CARGO_BIN_EXE_osguard"))
            .args(["admission", "serve", "--config", "admission.toml", "--listen", "127.0.0.1:0"])
            .args(["--self-made", "authority", "--name", "localhost"])
            .current_dir(scene.directory.path())
            .env_clear()
            .output()
            .unwrap();
        (ran.status.code(), String::from_utf8(ran.stderr).unwrap())
    };
    scene.configure("platform = []", "");
    let (code, said) = start();
    assert!(code == Some(2) && said.contains("unknown field `platform`"), "{said}");
    scene.configure("", "");
    scene.write("trust.toml", "version = 1");
    let (code, said) = start();
    assert!(code == Some(2) && said.contains("trust.toml"), "{said}");
    fs::remove_file(scene.directory.path().join("admission.toml")).unwrap();
    let (code, said) = start();
    assert!(code == Some(3) && said.contains("admission.toml"), "{said}");
}
