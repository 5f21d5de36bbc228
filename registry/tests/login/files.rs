//! What is found in configuration files, and in which of them.

use osguard_registry::credentials::{Credentials, Login, Secret, Source};

use crate::sandbox::{Sandbox, USER, line, message};

/// The entry of `user:secret`.
const ENTRY: &str = r#"{"auth": "dXNlcjpzZWNyZXQ="}"#;

fn found(sandbox: &Sandbox, credentials: &Credentials, registry: &str, repository: &str) -> String {
    match credentials.for_repository(registry, repository) {
        Ok(found) => line(&found, &sandbox.path("")),
        Err(error) => format!("error: {}", message(&error, &sandbox.path(""))),
    }
}

fn in_file(content: &str, registry: &str, repository: &str) -> String {
    let sandbox = Sandbox::new();
    let file = sandbox.file("auth.json", content);
    let found = found(&sandbox, &sandbox.credentials().with_file(file), registry, repository);
    found.strip_suffix(" from ~auth.json").unwrap_or(&found).to_owned()
}

#[test]
fn an_entry_is_for_one_registry() {
    let basic = "user:secret";
    let none = "anonymous from none configured";
    for (key, registry, expected) in [
        ("r.example", "r.example", basic),
        ("r.example:5000", "r.example:5000", basic),
        ("https://r.example", "r.example", basic),
        ("https://r.example/", "r.example", basic),
        ("https://r.example/v1/", "r.example", basic),
        ("http://r.example:5000/v2/", "r.example:5000", basic),
        ("r.example/", "r.example", basic),
        ("r.example/v2/", "r.example", basic),
        ("R.Example", "r.example", basic),
        ("[::1]:5000", "[::1]:5000", basic),
        ("https://index.docker.io/v1/", "docker.io", basic),
        ("https://index.docker.io/v1/", "index.docker.io", basic),
        ("https://index.docker.io/v1/", "registry-1.docker.io", basic),
        ("docker.io", "registry-1.docker.io", basic),
        ("index.docker.io", "docker.io", basic),
        ("r.example", "r.example:5000", none),
        ("r.example:5000", "r.example", none),
        ("r.example:5000", "r.example:50", none),
        ("r.example", "r.example.evil", none),
        ("r.example", "my.r.example", none),
        ("example", "r.example", none),
        ("https://r.example@evil.example", "r.example", none),
        ("https://evil.example/r.example", "r.example", none),
        ("", "r.example", none),
        ("https://", "r.example", none),
        ("/", "r.example", none),
    ] {
        let content = format!(r#"{{"auths": {{"{key}": {ENTRY}}}}}"#);
        assert_eq!(in_file(&content, registry, "org/app"), expected, "{key:?} for {registry}");
    }
}

#[test]
fn the_most_specific_entry_comes_first() {
    // The user names tell the entries apart; all passwords are empty.
    let content = r#"{"auths": {
        "http://r.example": {"auth": "aHR0cDo="},
        "https://r.example": {"auth": "aHR0cHM6"},
        "r.example": {"auth": "aG9zdDo="},
        "r.example/org": {"auth": "b3JnOg=="},
        "r.example/org/app": {"auth": "YXBwOg=="},
        "r.example/org/empty": {},
        "r.example/null": null,
        "other.example/org/app": {"auth": "b3RoZXI6"}
    }}"#;
    for (repository, expected) in [
        ("org/app", "app:"),
        ("org/app/debug", "app:"),
        ("org/application", "org:"),
        ("org", "org:"),
        ("org/empty", "org:"),
        ("organisation/app", "host:"),
        ("my/org/app", "host:"),
        ("null", "host:"),
    ] {
        assert_eq!(in_file(content, "r.example", repository), expected, "{repository}");
    }
    let without_host = content.replace(r#""r.example":"#, r#""unused.example":"#);
    assert_eq!(in_file(&without_host, "r.example", "app"), "https:");
}

#[test]
fn an_entry_has_a_credential_in_one_of_several_forms() {
    for (entry, expected) in [
        (ENTRY, "user:secret"),
        (r#"{"auth": "dXNlcjpzZWNyZXQ"}"#, "user:secret"),
        (r#"{"auth": "dXNlcjpz\r\nZWNyZXQ=\n"}"#, "user:secret"),
        (r#"{"auth": "dXNlcjpzZWNyZXQAAAA="}"#, "user:secret"),
        (r#"{"auth": "dXNlcjphOmI6"}"#, "user:a:b:"),
        (r#"{"auth": "dXNlcjrDpMO2"}"#, "user:äö"),
        (r#"{"auth": "dXNlcjo="}"#, "user:"),
        (r#"{"username": "user", "password": "a\"b"}"#, "user:a\"b"),
        (r#"{"auth": "", "username": "user", "password": "secret"}"#, "user:secret"),
        (r#"{"auth": "dXNlcjpzZWNyZXQ=", "username": "x", "password": "y"}"#, "user:secret"),
        (r#"{"auth": "dXNlcjo=", "identitytoken": "token"}"#, "identity token"),
        (r#"{"identitytoken": "token"}"#, "identity token"),
        (r#"{"auth": "dXNlcjpzZWNyZXQ=", "identitytoken": ""}"#, "user:secret"),
        (r#"{"identitytoken": "token", "registrytoken": "bearer"}"#, "bearer bearer"),
        (r#"{}"#, "anonymous from none configured"),
        ("null", "anonymous from none configured"),
        (r#"{"auth": null, "email": "user@example.com"}"#, "anonymous from none configured"),
        (r#"{"auth": "Og=="}"#, "anonymous from none configured"),
    ] {
        let content = format!(r#"{{"auths": {{"r.example": {entry}}}, "HttpHeaders": {{}}}}"#);
        assert_eq!(in_file(&content, "r.example", "app"), expected, "{entry}");
    }
    for content in ["", " \n", "{}", r#"{"auths": null}"#, r#"{"credHelpers": null}"#] {
        let found = in_file(content, "r.example", "app");
        assert_eq!(found, "anonymous from none configured", "{content:?}");
    }
}

#[test]
fn what_is_malformed_is_never_anonymous() {
    let entry = r#"error: the credential for "r.example" in ~auth.json cannot be used: "#;
    let file = "error: ~auth.json is not a configuration of credentials: ";
    let name = "error: the user name from ~auth.json cannot be used: ";
    for (content, start, reason) in [
        (
            r#"{"auths": {"r.example": {"auth": "c2Vjcm*V0"}}}"#,
            entry,
            "its member auth is not Base64",
        ),
        (
            r#"{"auths": {"r.example": {"auth": "c2VjcmV0"}}}"#,
            entry,
            "its member auth is not USER:PASSWORD in Base64",
        ),
        (
            r#"{"auths": {"r.example": {"auth": "//86c2VjcmV0"}}}"#,
            entry,
            "its member auth is not UTF-8 in Base64",
        ),
        (
            r#"{"auths": {"r.example": {"auth": ["secret"]}}}"#,
            file,
            "a missing or unexpected value at line 1 column 33",
        ),
        (r#"{"auths": "secret"}"#, file, "a missing or unexpected value at line 1 column 18"),
        (r#"["secret"]"#, file, "a missing or unexpected value at line 1 column 9"),
        (r#"{"auths": {"secret"}}"#, file, "expected `:` at line 1 column 20"),
        (r#"{"auths": {}"#, file, "EOF while parsing an object at line 1 column 12"),
        ("{} secret", file, "trailing characters at line 1 column 4"),
        (r#"{"auths": {"r.example": {"auth": "OnNlY3JldA=="}}}"#, name, "it is empty"),
        (
            r#"{"auths": {"r.example": {"username": "a:b", "password": "secret"}}}"#,
            name,
            "it has a colon",
        ),
        (
            r#"{"auths": {"r.example": {"username": "a\nb", "password": "secret"}}}"#,
            name,
            "it has a control character",
        ),
    ] {
        let found = in_file(content, "r.example", "app");
        assert_eq!(found, format!("{start}{reason}"), "{content}");
        assert!(!found.contains("secret"), "{found}");
    }
    // Somebody else's malformed entry stops nobody.
    let content =
        format!(r#"{{"auths": {{"other.example": {{"auth": "*"}}, "r.example": {ENTRY}}}}}"#);
    assert_eq!(in_file(&content, "r.example", "app"), "user:secret");
}

#[test]
fn files_that_cannot_be_read_are_errors() {
    let sandbox = Sandbox::new();
    let long = sandbox.file("long.json", " ".repeat((1 << 20) + 1));
    for (path, expected) in [
        (sandbox.path("missing.json"), "No such file or directory (os error 2)"),
        (sandbox.path("home"), "Is a directory (os error 21)"),
        (long, "it is longer than 1048576 bytes"),
    ] {
        let credentials = Credentials::none().with_file(&path);
        let error = credentials.for_repository("r.example", "app").unwrap_err();
        assert_eq!(error.to_string(), format!("cannot read {}: {expected}", path.display()));
    }
    // The user's own file is optional, but not one of another kind.
    assert_eq!(
        found(&sandbox, &sandbox.credentials(), "r.example", "app"),
        "anonymous from none configured"
    );
    std::fs::create_dir_all(sandbox.path("home/.docker/config.json")).unwrap();
    assert_eq!(
        found(&sandbox, &sandbox.credentials(), "r.example", "app"),
        "error: cannot read ~home/.docker/config.json: Is a directory (os error 21)"
    );
}

#[test]
fn places_are_searched_in_order() {
    let sandbox = Sandbox::new();
    let runtime = format!("root/run/containers/{USER}/auth.json");
    let default_places = [
        ("runtime:", runtime.as_str()),
        ("config:", "home/.config/containers/auth.json"),
        ("docker:", "home/.docker/config.json"),
    ];
    let content = |user: &str| format!(r#"{{"auths": {{"r.example": {{"username": "{user}"}}}}}}"#);
    for (user, file) in default_places {
        sandbox.file(file, content(user.trim_end_matches(':')));
    }
    for (user, file) in default_places {
        let found = found(&sandbox, &sandbox.credentials(), "r.example", "app");
        assert_eq!(found, format!("{user} from ~{file}"));
        // A file that knows other registries alone does not end the search.
        sandbox.file(file, content(user).replace("r.example", "other.example"));
    }
    let environment = sandbox.environment();
    let none = found(&sandbox, &Credentials::of(environment.clone()), "r.example", "app");
    assert_eq!(none, "anonymous from none configured");

    sandbox.file("runtime/containers/auth.json", content("xdg-runtime"));
    sandbox.file("config/containers/auth.json", content("xdg-config"));
    sandbox.file("docker/config.json", content("docker-config"));
    sandbox.file("podman.json", content("podman"));
    let variables = [
        ("XDG_CONFIG_HOME", "config", "xdg-config: from ~config/containers/auth.json"),
        ("XDG_RUNTIME_DIR", "runtime", "xdg-runtime: from ~runtime/containers/auth.json"),
        ("DOCKER_CONFIG", "docker", "docker-config: from ~docker/config.json"),
        ("REGISTRY_AUTH_FILE", "podman.json", "podman: from ~podman.json"),
    ];
    let mut environment = environment;
    for (name, value, expected) in variables {
        // Empty is as good as not set.
        let empty = environment.clone().with_variable(name, "");
        let before = found(&sandbox, &Credentials::of(environment.clone()), "r.example", "app");
        assert_eq!(found(&sandbox, &Credentials::of(empty), "r.example", "app"), before);
        environment = environment.with_variable(name, sandbox.path(value));
        let credentials = Credentials::of(environment.clone());
        assert_eq!(found(&sandbox, &credentials, "r.example", "app"), expected);
    }
    environment = environment.with_variable("DOCKER_AUTH_CONFIG", content("variable"));
    let credentials = Credentials::of(environment);
    let in_variable = "variable: from DOCKER_AUTH_CONFIG";
    assert_eq!(found(&sandbox, &credentials, "r.example", "app"), in_variable);

    let named = credentials.clone().with_file(sandbox.file("named.json", content("named")));
    assert_eq!(found(&sandbox, &named, "r.example", "app"), "named: from ~named.json");
    // Who names a file means this file.
    let other = credentials.with_file(sandbox.file("other.json", "{}"));
    let none = "anonymous from none configured";
    assert_eq!(found(&sandbox, &other, "r.example", "app"), none);
    assert_eq!(found(&sandbox, &Credentials::none(), "r.example", "app"), none);
}

#[test]
fn a_file_that_a_variable_names_replaces_the_default_ones() {
    let sandbox = Sandbox::new();
    let content = format!(r#"{{"auths": {{"r.example": {ENTRY}}}}}"#);
    sandbox.file("home/.docker/config.json", &content);
    sandbox.file("empty.json", "{}");
    let environment = sandbox.environment();
    for (name, value, expected) in [
        ("DOCKER_CONFIG", "nowhere", "anonymous from none configured"),
        ("REGISTRY_AUTH_FILE", "empty.json", "anonymous from none configured"),
        (
            "REGISTRY_AUTH_FILE",
            "nowhere.json",
            "error: cannot read ~nowhere.json: No such file or directory (os error 2)",
        ),
        ("HOME", "nowhere", "anonymous from none configured"),
    ] {
        let environment = environment.clone().with_variable(name, sandbox.path(value));
        let credentials = Credentials::of(environment);
        assert_eq!(found(&sandbox, &credentials, "r.example", "app"), expected, "{name}");
    }
    let malformed = environment.with_variable("DOCKER_AUTH_CONFIG", "secret");
    assert_eq!(
        found(&sandbox, &Credentials::of(malformed), "r.example", "app"),
        "error: DOCKER_AUTH_CONFIG is not a configuration of credentials: \
         expected value at line 1 column 1"
    );
}

#[test]
fn a_login_is_for_one_registry() {
    let sandbox = Sandbox::new();
    sandbox.file(
        "home/.docker/config.json",
        format!(r#"{{"auths": {{"r.example": {ENTRY}, "r.example:5000": {ENTRY}}}}}"#),
    );
    let password = |username: &str| Login::Password {
        username: username.to_owned(),
        password: Secret::new("password".to_owned()),
        source: Source::Flag("--username"),
    };
    let token = Login::Token {
        token: Secret::new("token".to_owned()),
        source: Source::Variable("OSGUARD_TOKEN"),
    };
    let credentials = sandbox
        .credentials()
        .with_login("r.example", password("first"))
        .with_login("r.example", password("second"))
        .with_login("docker.io", token)
        .with_login("colon.example", password("a:b"));
    for (registry, expected) in [
        ("r.example", "second:password from --username"),
        ("R.example", "second:password from --username"),
        ("index.docker.io", "bearer token from OSGUARD_TOKEN"),
        ("r.example:5000", "user:secret from ~home/.docker/config.json"),
        ("r.example:443", "anonymous from none configured"),
        ("colon.example", "error: the user name from --username cannot be used: it has a colon"),
    ] {
        assert_eq!(found(&sandbox, &credentials, registry, "app"), expected);
    }
}

#[test]
fn secrets_are_not_printed() {
    let sandbox = Sandbox::new();
    let file = sandbox.file("auth.json", format!(r#"{{"auths": {{"r.example": {ENTRY}}}}}"#));
    let login = Login::Token { token: Secret::new("secret".to_owned()), source: Source::None };
    let environment = sandbox
        .environment()
        .with_variable("DOCKER_AUTH_CONFIG", r#"{"auths": {"a": {"password": "secret"}}}"#);
    let credentials = Credentials::of(environment).with_file(file).with_login("a.example", login);
    let found = credentials.for_repository("r.example", "app").unwrap();
    for text in [format!("{credentials:?}"), format!("{found:#?}")] {
        assert!(text.contains("Secret(…)") && !text.contains("secret"), "{text}");
    }
}
