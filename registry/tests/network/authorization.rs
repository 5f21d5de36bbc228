//! Who may do what: challenges, tokens, and where credentials go.

use osguard_registry::credentials::{Credentials, Login, Secret, Source};
use osguard_registry::descriptor::Descriptor;
use osguard_registry::distribution::RegistryError;
use osguard_registry::error::ErrorKind;
use osguard_registry::media_type::MediaType;
use osguard_registry::network::Network;
use osguard_registry::place::{Listing, Repository};
use osguard_registry::reference::Selector;
use osguard_testkit::registry::{Answer, Bearer, Fault, Registry};

use crate::support::*;

#[test]
fn names_and_passwords_are_shown_when_they_are_asked_for() {
    let registry = Registry::builder().basic("user", "password").start().unwrap();
    let place = open_with(&registry, REPOSITORY, &login(&registry, "password"));
    push_image(&*place, &content(500_000), Listing::Tag(&tag("v1")));
    let requests = registry.requests();
    let bare: Vec<_> =
        requests.iter().filter(|request| request.header("Authorization").is_none()).collect();
    // The first one, whose answer says that something is wanted.
    assert_eq!(bare.len(), 1, "{bare:?}");
    assert_eq!(requests[1].header("Authorization"), Some("Basic dXNlcjpwYXNzd29yZA=="));
}

#[test]
fn wrong_ones_and_none_are_told_apart_and_never_printed() {
    let registry = Registry::builder().basic("user", "password").start().unwrap();
    let resolve = |network: &Network| {
        let place = open_with(&registry, REPOSITORY, network);
        refusal(place.resolve(&Selector::Tag(tag("v1"))))
    };
    let error = resolve(&network());
    assert_eq!(error.kind(), ErrorKind::Registry);
    let text = error.to_string();
    assert!(text.starts_with(&format!("{} wants other credentials", registry.host())), "{text}");
    assert!(text.ends_with("credentials: none configured"), "{text}");

    let error = resolve(&login(&registry, "s3cret"));
    assert!(matches!(error, RegistryError::Unauthorized { .. }), "{error}");
    let text = format!("{error} {error:?}");
    assert!(text.contains("credentials: --username") && !text.contains("s3cret"), "{text}");
    // It is not asked again and again.
    assert!(registry.requests().len() <= 4);
}

#[test]
fn a_token_is_asked_for_once_and_for_what_is_needed() {
    let registry = with_bearer(user());
    let place = open_with(&registry, REPOSITORY, &login(&registry, "password"));
    let image = push_image(&*place, &content(100_000), Listing::Tag(&tag("v1")));
    attach(&*place, &image, "01").unwrap();
    assert_eq!(scopes(&registry), ["repository:team/app:pull", "repository:team/app:pull,push"]);

    registry.forget_requests();
    let blob = Descriptor::of(MediaType::OCI_LAYER, &content(100_000));
    let other = open_with(&registry, "team/other", &login(&registry, "password"));
    let bytes = content(100_000);
    let source = Elsewhere {
        repository: Repository { registry: registry.host(), name: REPOSITORY.to_owned() },
        bytes: &bytes,
    };
    other.push_blob(&blob, &source).unwrap();
    assert_eq!(
        scopes(&registry),
        ["repository:team/other:pull", "repository:team/other:pull,push repository:team/app:pull"]
    );
    let sent: u64 = registry.requests().iter().map(|request| request.received_bytes).sum();
    assert_eq!(sent, 0);
}

#[test]
fn tokens_that_run_out_half_way_are_renewed() {
    // An upload takes three: to open it, to send the blob, and to give it up.
    for requests in 3..8 {
        let registry = with_bearer(user().expiring_after(requests));
        let place = open_with(&registry, REPOSITORY, &login(&registry, "password"));
        let image = push_image(&*place, &content(1_000_000), Listing::Tag(&tag("v1")));
        attach(&*place, &image, "01").unwrap();
        assert_eq!(attached(&*place, &image).unwrap().len(), 1);
        assert_eq!(registry.open_uploads(), 0, "{requests}");
    }
    // All of them at a bad moment: before a blob is sent, and before it is fetched.
    let registry = with_bearer(user());
    let place = open_with(&registry, REPOSITORY, &login(&registry, "password"));
    let first = push_blob(&*place, MediaType::OCI_LAYER, b"first");
    for method in ["HEAD", "POST", "PUT", "GET"] {
        registry.fault(Fault::new().method(method).path_contains("/blobs/").answer(
            Answer::error(401, "UNAUTHORIZED", "too late").header(
                "WWW-Authenticate",
                &format!(
                    "Bearer realm=\"{}/token\",service=\"{}\",error=\"invalid_token\"",
                    registry.url(),
                    Bearer::SERVICE
                ),
            ),
        ));
        registry.expire_tokens();
        push_blob(&*place, MediaType::OCI_LAYER, method.as_bytes());
        assert_eq!(place.blob(&first).unwrap().read_all(10).unwrap(), b"first");
    }
    assert_eq!(registry.open_uploads(), 0);
}

#[test]
fn a_token_that_never_suffices_is_not_asked_for_forever() {
    let registry = with_bearer(user().only_pull());
    let place = open_with(&registry, REPOSITORY, &login(&registry, "password"));
    let blob = Descriptor::of(MediaType::OCI_LAYER, b"layer");
    let error = refusal(place.push_blob(&blob, &&b"layer"[..]));
    assert!(
        matches!(error, RegistryError::Unauthorized { .. } | RegistryError::Denied { .. }),
        "{error}"
    );
    assert!(error.to_string().contains("writing to team/app"), "{error}");
    assert!(registry.requests().len() < 10);
}

#[test]
fn everyone_may_read_where_everyone_may_read() {
    let registry = with_bearer(user().anonymous_pull());
    let place = open_with(&registry, REPOSITORY, &login(&registry, "password"));
    let image = push_image(&*place, b"layer", Listing::Tag(&tag("v1")));
    let place = open(&registry);
    assert_eq!(place.resolve(&Selector::Tag(tag("v1"))).unwrap().digest, image.digest());
    let error = refusal(place.push_manifest(&image, Listing::Tag(&tag("v2"))));
    assert!(error.to_string().ends_with("credentials: none configured"), "{error}");
}

#[test]
fn identity_tokens_are_exchanged() {
    let registry = with_bearer(user());
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("config.json");
    let config = serde_json::json!({
        "auths": { registry.host(): { "identitytoken": Bearer::IDENTITY_TOKEN, "auth": "" } }
    });
    std::fs::write(&file, config.to_string()).unwrap();
    let network = Network { credentials: Credentials::none().with_file(&file), ..network() };
    let place = open_with(&registry, REPOSITORY, &network);
    push_image(&*place, b"layer", Listing::Tag(&tag("v1")));
    let requests = registry.requests();
    let exchanged: Vec<_> = requests.iter().filter(|request| request.path == "/token").collect();
    assert!(exchanged.iter().all(|request| request.method == "POST"), "{exchanged:?}");
    assert!(!exchanged.is_empty());
}

#[test]
fn a_login_is_for_one_registry() {
    let registry = Registry::builder().basic("user", "password").start().unwrap();
    let other = Registry::builder().basic("user", "password").start().unwrap();
    let network = login(&registry, "password");
    let error = refusal(
        open_with(&other, REPOSITORY, &network)
            .has(&Descriptor::of(MediaType::OCI_LAYER, b"layer")),
    );
    assert!(matches!(error, RegistryError::Unauthorized { .. }), "{error}");
    assert!(other.requests().iter().all(|request| request.header("Authorization").is_none()));
}

#[test]
fn credentials_do_not_follow_redirects_or_uploads_elsewhere() {
    for bearer in [false, true] {
        let builder = Registry::builder();
        let builder = match bearer {
            true => builder.bearer(user()),
            false => builder.basic("user", "password"),
        };
        let registry = builder.start().unwrap();
        let storage = Registry::start().unwrap();
        let bytes = content(10_000);
        let place = open_with(&registry, REPOSITORY, &login(&registry, "password"));
        let blob = push_blob(&*place, MediaType::OCI_LAYER, &bytes);
        storage.put_blob(REPOSITORY, &bytes).unwrap();
        registry.fault(
            Fault::new()
                .method("GET")
                .path_contains("/blobs/")
                .answer(Answer::redirect_to(307, &storage)),
        );
        assert_eq!(place.blob(&blob).unwrap().read_all(1 << 20).unwrap(), bytes);

        // An upload may be opened on another host: the bytes go there, and nothing else does.
        let other = content(20_000);
        let session = format!("{}/v2/{REPOSITORY}/blobs/uploads/elsewhere", storage.url());
        registry.fault(
            Fault::new().method("POST").answer(Answer::status(202).header("Location", &session)),
        );
        storage.fault(Fault::new().method("PUT").answer(Answer::status(201)));
        push_blob(&*place, MediaType::OCI_LAYER, &other);
        let seen = storage.requests();
        assert_eq!(seen.len(), 2, "{seen:?}");
        assert!(seen.iter().all(|request| request.header("Authorization").is_none()));
    }
}

#[test]
fn tokens_are_not_fetched_from_just_anywhere() {
    let registry = Registry::start().unwrap();
    let network = login(&registry, "password");
    let challenged = |challenge: &str| {
        registry.fault(
            Fault::new().always().answer(Answer::status(401).header("WWW-Authenticate", challenge)),
        );
        let place = open_with(&registry, REPOSITORY, &network);
        let error = refusal(place.resolve(&Selector::Tag(tag("v1"))));
        registry.clear_faults();
        error
    };
    let error = challenged("Bearer realm=\"file:///etc/passwd\",service=\"x\"");
    assert!(matches!(error, RegistryError::Nonsense { .. }), "{error}");
    for challenge in ["Negotiate", "Bearer", "Bearer realm=\"a\",realm=\"b\"", "???"] {
        let error = challenged(challenge);
        assert!(matches!(error, RegistryError::Challenge { .. }), "{challenge}: {error}");
    }
    registry.fault(Fault::new().always().answer(Answer::status(401)));
    let place = open_with(&registry, REPOSITORY, &network);
    let error = refusal(place.resolve(&Selector::Tag(tag("v1"))));
    assert!(matches!(error, RegistryError::Challenge { .. }), "{error}");
}

#[test]
fn what_a_token_server_says_is_bounded_and_told() {
    let registry = with_bearer(user());
    let resolve = || {
        let place = open_with(&registry, REPOSITORY, &login(&registry, "password"));
        refusal(place.resolve(&Selector::Tag(tag("v1"))))
    };
    let fails = |answer: Answer| {
        registry.fault(Fault::new().path_contains("/token").always().answer(answer));
        let error = resolve();
        registry.clear_faults();
        error
    };
    let error = fails(Answer::error(401, "UNAUTHORIZED", "unknown user"));
    assert!(error.to_string().contains("UNAUTHORIZED: unknown user"), "{error}");
    assert!(matches!(error, RegistryError::Unauthorized { .. }), "{error}");
    let error = fails(Answer::status(200).repeat(b' ', 1 << 30));
    assert!(matches!(error, RegistryError::Nonsense { .. }), "{error}");
    for body in ["", "{}", "[]", r#"{"token":""}"#, r#"{"token":"a\nb"}"#] {
        let error = fails(Answer::status(200).body(body));
        assert!(matches!(error, RegistryError::Nonsense { .. }), "{body}: {error}");
    }
    let error = fails(Answer::status(429).retry_after_seconds(600));
    assert!(matches!(error, RegistryError::TooManyRequests { .. }), "{error}");
    let error = fails(Answer::redirect(302, "/elsewhere"));
    assert!(matches!(error, RegistryError::Status { status: 302, .. }), "{error}");
}

fn user() -> Bearer {
    Bearer::new("user", "password")
}

fn with_bearer(bearer: Bearer) -> Registry {
    Registry::builder().bearer(bearer).start().unwrap()
}

fn login(registry: &Registry, password: &str) -> Network {
    let login = Login::Password {
        username: "user".to_owned(),
        password: Secret::new(password.to_owned()),
        source: Source::Flag("--username"),
    };
    let credentials = Credentials::none().with_login(&registry.host(), login);
    Network { credentials, ..network() }
}

/// Returns what tokens were asked for, in order.
fn scopes(registry: &Registry) -> Vec<String> {
    let requests = registry.requests();
    let tokens = requests.iter().filter(|request| request.path == "/token");
    tokens
        .map(|request| {
            let query = request.query.as_str();
            let scopes: Vec<String> = url::form_urlencoded::parse(query.as_bytes())
                .filter(|(name, _)| name == "scope")
                .map(|(_, scope)| scope.into_owned())
                .collect();
            scopes.join(" ")
        })
        .collect()
}
