//! Debian's registry runs beside the tests as they want it.

use std::fs;
use std::process::Command;

use osguard_testkit::clients::Clients;
use osguard_testkit::command::run;
use osguard_testkit::docker_registry::DockerRegistry;
use osguard_testkit::registry::{Answer, Fault, Gate, Registry};
use osguard_testkit::tls::TlsAuthority;
use osguard_testkit::{Error, or_skip};

/// Pushes an artifact `app:v1` with oras; says what is wrong if it cannot.
fn push(
    clients: &Clients,
    registry: &DockerRegistry,
    options: &[&str],
) -> Option<Result<(), String>> {
    fs::write(clients.home().join("file"), "contents").expect("a file");
    let image = format!("{}/app:v1", registry.host());
    let mut oras: Command = or_skip(clients.oras())?;
    Some(match run(oras.arg("push").args(options).args([&image, "file:text/plain"])) {
        Ok(_) => Ok(()),
        Err(Error::Command { message, .. }) => Err(message),
        Err(error) => panic!("{error}"),
    })
}

#[test]
fn it_takes_what_is_pushed_and_tells_of_it() {
    let listener = Registry::start().expect("something that listens");
    let told = Gate::new();
    listener.fault(Fault::new().always().method("POST").hold(&told).answer(Answer::status(200)));
    let started = DockerRegistry::builder().notify(&format!("{}/events", listener.url()), "secret");
    let Some(registry) = or_skip(started.start()) else { return };
    let clients = Clients::new().expect("a home");
    let Some(pushed) = push(&clients, &registry, &["--plain-http"]) else { return };
    assert_eq!(pushed, Ok(()));
    told.wait_for(1);
    let requests = listener.requests();
    assert_eq!((requests[0].method.as_str(), requests[0].path.as_str()), ("POST", "/events"));
    assert_eq!(requests[0].header("Authorization"), Some("Bearer secret"));
    let log = registry.log().expect("a log");
    assert!(log.contains("PUT /v2/app/manifests/") || log.contains("manifests/v1"), "{log}");
}

#[test]
fn it_asks_for_a_password() {
    let Some(registry) = or_skip(DockerRegistry::builder().password().start()) else { return };
    let stranger = Clients::new().expect("a home");
    let Some(refused) = push(&stranger, &registry, &["--plain-http"]) else { return };
    let refused = refused.expect_err("no password");
    assert!(refused.contains("basic credential not found"), "{refused}");
    let clients = Clients::new().expect("a home");
    clients
        .log_in(registry.host(), DockerRegistry::USER, DockerRegistry::PASSWORD)
        .expect("a file of credentials");
    assert_eq!(push(&clients, &registry, &["--plain-http"]), Some(Ok(())));
}

#[test]
fn it_speaks_tls() {
    let authority = TlsAuthority::new().expect("an authority");
    let started = DockerRegistry::builder().tls(&authority).expect("a certificate");
    let Some(registry) = or_skip(started.start()) else { return };
    assert!(registry.url().starts_with("https://127.0.0.1:"));
    let stranger = Clients::new().expect("a home");
    let Some(refused) = push(&stranger, &registry, &[]) else { return };
    assert!(refused.expect_err("no trust").contains("unknown authority"));
    let clients = Clients::new().expect("a home").trusting(&authority);
    assert_eq!(push(&clients, &registry, &[]), Some(Ok(())));
}

#[test]
fn it_asks_for_a_certificate() {
    let authority = TlsAuthority::new().expect("an authority");
    let started = DockerRegistry::builder().tls(&authority).expect("a certificate");
    let Some(registry) = or_skip(started.client_certificates(&authority).start()) else { return };
    let client = authority.client("client").expect("an identity");
    let [certificate, key] =
        [client.certificate, client.key].map(|path| path.display().to_string());
    let clients = Clients::new().expect("a home").trusting(&authority);
    let Some(refused) = push(&clients, &registry, &[]) else { return };
    assert!(refused.is_err());
    let options = ["--cert-file", &certificate, "--key-file", &key];
    assert_eq!(push(&clients, &registry, &options), Some(Ok(())));
}

#[test]
fn what_keeps_it_from_starting_is_told() {
    let Some(_) = or_skip(DockerRegistry::start()) else { return };
    let authority = TlsAuthority::new().expect("an authority");
    let broken = DockerRegistry::builder().tls(&authority).expect("a certificate");
    drop(authority);
    let error = broken.start().expect_err("no certificate").to_string();
    assert!(error.contains("no such file"), "{error}");
}
