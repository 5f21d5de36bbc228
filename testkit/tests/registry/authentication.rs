//! Passwords and tokens: who gets them, what they are good for, and what clients make of them.

use std::fs;

use osguard_testkit::clients::Clients;
use osguard_testkit::command::run;
use osguard_testkit::registry::{Answer, Bearer, Fault, Registry};
use osguard_testkit::{Error, or_skip};

use crate::client::Client;

/// Is `user:password`.
const BASIC: &str = "Basic dXNlcjpwYXNzd29yZA==";

const FORM: (&str, &str) = ("Content-Type", "application/x-www-form-urlencoded");

fn with_bearer(bearer: Bearer) -> (Registry, Client) {
    let registry = Registry::builder().bearer(bearer).start().expect("a registry");
    let client = Client::connect(&registry);
    (registry, client)
}

fn user() -> Bearer {
    Bearer::new("user", "password")
}

/// Asks for a token by GET.
fn token(client: &mut Client, authorization: Option<&str>, scope: &str) -> String {
    let target = format!("/token?service={}&scope={scope}", Bearer::SERVICE);
    let headers: Vec<_> = authorization.map(|value| ("Authorization", value)).into_iter().collect();
    let answer = client.send("GET", &target, &headers, b"");
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.json()["token"].as_str().expect("a token").to_owned()
}

fn get(client: &mut Client, target: &str, token: &str) -> (u16, String) {
    let shown = format!("Bearer {token}");
    let answer = client.send("GET", target, &[("Authorization", &shown)], b"");
    (answer.status, answer.header("WWW-Authenticate").unwrap_or_default().to_owned())
}

#[test]
fn a_password_is_asked_for_and_checked() {
    let registry = Registry::builder().basic("user", "password").start().expect("a registry");
    let mut client = Client::connect(&registry);
    let refused = client.get("/v2/");
    assert_eq!((refused.status, refused.code().as_str()), (401, "UNAUTHORIZED"));
    assert_eq!(refused.header("WWW-Authenticate"), Some("Basic realm=\"osguard-testkit\""));
    let mut status = |value| client.send("GET", "/v2/", &[("Authorization", value)], b"").status;
    assert_eq!(status(BASIC), 200);
    assert_eq!(status("basic dXNlcjpwYXNzd29yZA=="), 200);
    assert_eq!(status("Basic dXNlcjpwYXNzd29yZB=="), 401);
    assert_eq!(status("Basic dXNlcjp3cm9uZw=="), 401);
    assert_eq!(status("Bearer dXNlcjpwYXNzd29yZA=="), 401);
    assert_eq!(registry.requests()[1].header("authorization"), Some(BASIC));
}

#[test]
fn a_token_is_good_for_what_it_was_asked_for() {
    let (registry, mut client) = with_bearer(user());
    registry.put_manifest("a", Some("v1"), "text/plain", b"{}");
    let realm = format!("realm=\"{}/token\",service=\"osguard-testkit\"", registry.url());
    let bare = client.get("/v2/a/tags/list");
    let challenge = format!("Bearer {realm},scope=\"repository:a:pull\"");
    assert_eq!((bare.status, bare.header("WWW-Authenticate")), (401, Some(challenge.as_str())));
    let pull = token(&mut client, Some(BASIC), "repository:a:pull");
    assert_eq!(get(&mut client, "/v2/", &pull).0, 200);
    assert_eq!(get(&mut client, "/v2/a/tags/list", &pull).0, 200);
    let (status, challenge) = get(&mut client, "/v2/b/tags/list", &pull);
    assert_eq!(status, 401);
    let expected =
        format!("Bearer {realm},scope=\"repository:b:pull\",error=\"insufficient_scope\"");
    assert_eq!(challenge, expected);
    let (status, challenge) = get(&mut client, "/v2/", "invented");
    assert_eq!((status, challenge), (401, format!("Bearer {realm},error=\"invalid_token\"")));
}

#[test]
fn whoever_mounts_has_to_read_the_source() {
    let (registry, mut client) = with_bearer(user());
    let digest = registry.put_blob("a", b"hello").expect("a blob");
    let target = format!("/v2/b/blobs/uploads/?mount={digest}&from=a");
    let mut post = |token: &str| {
        let shown = format!("Bearer {token}");
        client.send("POST", &target, &[("Authorization", &shown)], b"")
    };
    let scope = "repository:b:pull,push";
    let refused = post("");
    let challenge = refused.header("WWW-Authenticate").expect("a challenge");
    assert!(
        challenge.contains("scope=\"repository:b:pull,push repository:a:pull\""),
        "{challenge}"
    );
    let mut tokens = Client::connect(&registry);
    assert_eq!(post(&token(&mut tokens, Some(BASIC), scope)).status, 401);
    let both = format!("{scope}&scope=repository:a:pull");
    assert_eq!(post(&token(&mut tokens, Some(BASIC), &both)).status, 201);
    let joined = format!("{scope}+repository:a:pull");
    assert_eq!(post(&token(&mut tokens, Some(BASIC), &joined)).status, 201);
}

#[test]
fn strangers_get_what_they_may() {
    for (bearer, expected) in [(user(), 401), (user().anonymous_pull(), 200)] {
        let (registry, mut client) = with_bearer(bearer);
        registry.put_manifest("a", Some("v1"), "text/plain", b"{}");
        let token = token(&mut client, None, "repository:a:pull,push");
        assert_eq!(get(&mut client, "/v2/a/tags/list", &token).0, expected);
        let shown = format!("Bearer {token}");
        let post = client.send("POST", "/v2/a/blobs/uploads/", &[("Authorization", &shown)], b"");
        assert_eq!(post.status, 401);
    }
    let (_registry, mut client) = with_bearer(user().anonymous_pull());
    let target = format!("/token?service={}", Bearer::SERVICE);
    let wrong = [("Authorization", "Basic dXNlcjp3cm9uZw==")];
    assert_eq!(client.send("GET", &target, &wrong, b"").status, 401);
    assert_eq!(client.get("/token?service=other").status, 400);
}

#[test]
fn some_may_only_pull() {
    let (registry, mut client) = with_bearer(user().only_pull());
    registry.put_manifest("a", Some("v1"), "text/plain", b"{}");
    let token = token(&mut client, Some(BASIC), "repository:a:pull,push");
    assert_eq!(get(&mut client, "/v2/a/tags/list", &token).0, 200);
    let shown = format!("Bearer {token}");
    let post = client.send("POST", "/v2/a/blobs/uploads/", &[("Authorization", &shown)], b"");
    assert_eq!(post.status, 401);
}

#[test]
fn tokens_expire() {
    let (registry, mut client) = with_bearer(user().expiring_after(2));
    let first = token(&mut client, Some(BASIC), "");
    let statuses = [(); 3].map(|()| get(&mut client, "/v2/", &first).0);
    assert_eq!(statuses, [200, 200, 401]);
    let second = token(&mut client, Some(BASIC), "");
    assert_ne!(first, second);
    assert_eq!(get(&mut client, "/v2/", &second).0, 200);
    registry.expire_tokens();
    assert_eq!(get(&mut client, "/v2/", &second).0, 401);
}

#[test]
fn tokens_are_handed_out_for_forms() {
    let (_registry, mut client) = with_bearer(user());
    let mut post = |form: &str| {
        let form = format!("service={}&scope=repository:a:push,pull&{form}", Bearer::SERVICE);
        client.send("POST", "/token", &[FORM], form.as_bytes())
    };
    let password = "client_id=test&grant_type=password&username=user&password=password";
    let answer = post(password);
    assert_eq!((answer.status, answer.json()["refresh_token"].is_null()), (200, true));
    let answer = post(&format!("{password}&access_type=offline")).json();
    assert_eq!(answer["refresh_token"], Bearer::IDENTITY_TOKEN);
    let refresh = format!("grant_type=refresh_token&refresh_token={}", Bearer::IDENTITY_TOKEN);
    let answer = post(&format!("{refresh}&client_id=test"));
    assert_eq!(answer.status, 200);
    assert_eq!(post(&refresh).status, 400);
    assert_eq!(post("client_id=test&grant_type=refresh_token&refresh_token=x").status, 401);
    assert_eq!(post("client_id=test&grant_type=password&username=user&password=x").status, 401);
    assert_eq!(post("client_id=test&grant_type=x").status, 400);
    let token = answer.json()["access_token"].as_str().expect("a token").to_owned();
    let shown = format!("Bearer {token}");
    let upload = client.send("POST", "/v2/a/blobs/uploads/", &[("Authorization", &shown)], b"");
    assert_eq!(upload.status, 202);
}

#[test]
fn the_token_server_can_be_elsewhere() {
    let (registry, mut client) = with_bearer(user().on_another_port());
    assert_ne!(registry.token_host(), registry.host());
    let challenge = client.get("/v2/").header("WWW-Authenticate").unwrap_or_default().to_owned();
    assert!(challenge.contains(&format!("realm=\"http://{}/token\"", registry.token_host())));
    assert_eq!(client.get(&format!("/token?service={}", Bearer::SERVICE)).status, 404);
    let mut tokens = Client::connect_to(&registry.token_host());
    let token = token(&mut tokens, Some(BASIC), "");
    assert_eq!(get(&mut client, "/v2/", &token).0, 200);
    let ports: Vec<bool> =
        registry.requests().iter().map(|request| request.port == registry.port()).collect();
    assert_eq!(ports, [true, true, false, true]);
}

/// Pushes something with oras; `None` where there is no oras.
fn push(clients: &Clients, registry: &Registry) -> Option<Result<(), String>> {
    fs::write(clients.home().join("file"), "contents").expect("a file");
    let mut oras = or_skip(clients.oras())?;
    let image = format!("{}/app:v1", registry.host());
    Some(match run(oras.args(["push", "--plain-http", &image, "file:text/plain"])) {
        Ok(_) => Ok(()),
        Err(Error::Command { message, .. }) => Err(message),
        Err(error) => panic!("{error}"),
    })
}

#[test]
fn oras_logs_in_with_each_kind_of_credentials() {
    let basic = || Registry::builder().basic("user", "password");
    let bearer = |bearer| Registry::builder().bearer(bearer);
    for builder in [basic(), bearer(user()), bearer(user().on_another_port())] {
        let registry = builder.start().expect("a registry");
        let clients = Clients::new().expect("a home");
        let Some(refused) = push(&clients, &registry) else { return };
        assert!(refused.is_err());
        clients.log_in(&registry.host(), "user", "password").expect("a file");
        assert_eq!(push(&clients, &registry), Some(Ok(())));
    }
    let registry = bearer(user()).start().expect("a registry");
    let clients = Clients::new().expect("a home");
    clients.log_in_with_token(&registry.host(), Bearer::IDENTITY_TOKEN).expect("a file");
    assert_eq!(push(&clients, &registry), Some(Ok(())));
    let requests = registry.requests();
    assert!(requests.iter().any(|it| (it.method.as_str(), it.path.as_str()) == ("POST", "/token")));
}

#[test]
fn skopeo_shows_nothing_to_the_host_that_it_is_sent_to() {
    let elsewhere = Registry::start().expect("a registry");
    let registry = Registry::builder().basic("user", "password").start().expect("a registry");
    let clients = Clients::new().expect("a home");
    let image = format!("docker://{}/app:v1", registry.host());
    clients.log_in(&registry.host(), "user", "password").expect("a file");
    let Some(pushed) = push(&clients, &registry) else { return };
    assert_eq!(pushed, Ok(()));
    for digest in registry.blobs() {
        elsewhere.put_blob("app", &registry.blob(&digest).expect("a blob")).expect("a blob");
    }
    registry.fault(
        Fault::new()
            .always()
            .method("GET")
            .path_contains("/blobs/")
            .answer(Answer::redirect_to(307, &elsewhere)),
    );
    let Some(mut skopeo) = or_skip(clients.skopeo()) else { return };
    let here = format!("dir:{}", clients.home().join("copy").display());
    skopeo.args(["--insecure-policy", "copy", "--src-tls-verify=false", &image, &here]);
    run(&mut skopeo).expect("skopeo copies");
    assert!(!elsewhere.requests().is_empty());
    assert!(elsewhere.requests().iter().all(|request| request.header("Authorization").is_none()));
}
