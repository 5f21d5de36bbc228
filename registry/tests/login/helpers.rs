//! Real programs as credential helpers, with all that can be wrong with them.

use std::path::PathBuf;
use std::time::Duration;

use osguard_registry::credentials::{CredentialError, Credentials, HelperError};

use crate::sandbox::{Sandbox, line, message};

/// Longer than any machine takes to start a shell, and no test waits for it.
const LONG: Duration = Duration::from_secs(600);

fn answer(username: &str, secret: &str) -> String {
    format!(
        r#"echo '{{"ServerURL": "r.example", "Username": "{username}", "Secret": "{secret}"}}'"#
    )
}

fn ask(sandbox: &Sandbox, config: &str, registry: &str) -> Result<String, CredentialError> {
    let file = sandbox.file("config.json", config);
    let credentials = sandbox.credentials().with_file(file).with_helper_time_limit(LONG);
    let found = credentials.for_repository(registry, "org/app")?;
    Ok(line(&found, &sandbox.path("")))
}

fn ask_for_message(script: &str) -> String {
    let sandbox = Sandbox::new();
    sandbox.helper("x", script);
    let error = ask(&sandbox, r#"{"credsStore": "x"}"#, "r.example").unwrap_err();
    let message = message(&error, &sandbox.path(""));
    let start = "credential helper docker-credential-x, named in ~config.json, gave no answer for \
                 r.example: ";
    message.strip_prefix(start).unwrap_or_else(|| panic!("{message}")).to_owned()
}

#[test]
fn answers_are_understood() {
    let not_found = "echo 'credentials not found in native keychain'; exit 1";
    let none = "anonymous from none configured";
    for (script, expected) in [
        (answer("user", "a:b"), "user:a:b from credential helper docker-credential-x"),
        (answer("<token>", "t"), "identity t from credential helper docker-credential-x"),
        (answer("", ""), none),
        (not_found.to_owned(), none),
        // Neither is the name read, nor is anything said but the answer.
        (
            format!("exec <&-; {}", answer("u", "p")),
            "u:p from credential helper docker-credential-x",
        ),
        (
            format!("head -c 300000 /dev/zero >&2; {}", answer("u", "p")),
            "u:p from credential helper docker-credential-x",
        ),
        (
            format!(r#"[ "$*" = get ] && {}"#, answer("u", "p")),
            "u:p from credential helper docker-credential-x",
        ),
    ] {
        let sandbox = Sandbox::new();
        sandbox.helper("x", &script);
        let found = ask(&sandbox, r#"{"credsStore": "x"}"#, "r.example").unwrap();
        assert_eq!(found, expected, "{script}");
    }
}

#[test]
fn helpers_come_in_order() {
    let auths = r#""auths": {"r.example": {"username": "file"}, "empty.example": {}}"#;
    let both = r#""credHelpers": {"r.example": "own", "none.example": ""}, "credsStore": "all""#;
    let own = r#""credHelpers": {"https://r.example": "own"}"#;
    let unable = r#""credHelpers": {"r.example": "unable"}"#;
    let all = r#""credsStore": "all""#;
    let sandbox = Sandbox::new();
    sandbox.helper("own", &answer("own", ""));
    sandbox.helper("all", &answer("all", ""));
    sandbox.helper("unable", "echo 'credentials not found in native keychain'; exit 1");
    for (config, registry, expected) in [
        (
            format!("{{{auths}, {both}}}"),
            "r.example",
            "own: from credential helper docker-credential-own",
        ),
        (
            format!("{{{auths}, {own}}}"),
            "r.example",
            "own: from credential helper docker-credential-own",
        ),
        (format!("{{{auths}, {own}}}"), "r.example:5000", "anonymous from none configured"),
        (format!("{{{auths}, {unable}}}"), "r.example", "file: from ~config.json"),
        (format!("{{{unable}, {all}}}"), "r.example", "anonymous from none configured"),
        (format!("{{{auths}, {all}}}"), "r.example", "file: from ~config.json"),
        (
            format!("{{{auths}, {all}}}"),
            "empty.example",
            "all: from credential helper docker-credential-all",
        ),
        (format!("{{{auths}, {both}}}"), "none.example", "anonymous from none configured"),
    ] {
        assert_eq!(ask(&sandbox, &config, registry).unwrap(), expected, "{config} for {registry}");
    }
}

#[test]
fn a_helper_is_asked_for_the_name_that_it_knows() {
    for (registry, expected) in [
        ("r.example:5000", "r.example:5000\n"),
        ("docker.io", "https://index.docker.io/v1/\ndocker.io\n"),
        ("registry-1.docker.io", "https://index.docker.io/v1/\ndocker.io\n"),
    ] {
        let sandbox = Sandbox::new();
        let script = r#"
            cat >> "$0.asked"
            echo >> "$0.asked"
            echo 'credentials not found in native keychain'
            exit 1"#;
        sandbox.helper("x", script);
        let found = ask(&sandbox, r#"{"credsStore": "x"}"#, registry).unwrap();
        assert_eq!(found, "anonymous from none configured");
        let asked = std::fs::read_to_string(sandbox.path("bin/docker-credential-x.asked")).unwrap();
        assert_eq!(asked, expected);
    }
}

#[test]
fn a_helper_that_fails_is_an_error() {
    let unexpected = "its answer is not a credential: a missing or unexpected value at line";
    let credential = r#"echo '{"Username": "u", "Secret": "s3cret"}'"#;
    let cases = [
        ("exit 1".to_owned(), "it ended with exit status: 1".to_owned()),
        (
            "echo cannot reach the keyring; exit 3".to_owned(),
            "it ended with exit status: 3: cannot reach the keyring".to_owned(),
        ),
        (
            r"printf 'no\n\033[31m  keyring\n' >&2; exit 1".to_owned(),
            "it ended with exit status: 1: no [31m keyring".to_owned(),
        ),
        // Not in the words of the protocol, so it may be anything.
        (
            "echo AWS credentials not found; exit 1".to_owned(),
            "it ended with exit status: 1: AWS credentials not found".to_owned(),
        ),
        (format!("{credential}; exit 1"), "it ended with exit status: 1".to_owned()),
        (
            "head -c 2000 /dev/zero | tr '\\0' x; exit 1".to_owned(),
            format!("it ended with exit status: 1: {}…", "x".repeat(300)),
        ),
        ("kill -TERM $$".to_owned(), "it ended with signal: 15 (SIGTERM)".to_owned()),
        (
            "true".to_owned(),
            "its answer is not a credential: EOF while parsing a value at line 1 column 0"
                .to_owned(),
        ),
        (
            "echo s3cret".to_owned(),
            "its answer is not a credential: expected value at line 1 column 1".to_owned(),
        ),
        (r#"echo '{"Username": "s3cret"}'"#.to_owned(), format!("{unexpected} 1 column 22")),
        (
            r#"echo '{"Username": "u", "Secret": 1}'"#.to_owned(),
            format!("{unexpected} 1 column 29"),
        ),
        (r#"echo '"s3cret"'"#.to_owned(), format!("{unexpected} 1 column 8")),
        ("exec yes".to_owned(), "its answer is longer than 65536 bytes".to_owned()),
        ("head -c 65537 /dev/zero".to_owned(), "its answer is longer than 65536 bytes".to_owned()),
    ];
    for (script, expected) in cases {
        let message = ask_for_message(&script);
        assert_eq!(message, expected, "{script}");
        assert!(!message.contains("s3cret"), "{message}");
    }
}

#[test]
fn a_helper_that_hangs_is_killed() {
    // It ends with the directory even if it is not killed.
    let wait = r#"while [ -e "$0" ]; do sleep 0.1; done"#;
    for script in [wait.to_owned(), format!("exec >&- 2>&-; {wait}")] {
        let sandbox = Sandbox::new();
        sandbox.helper("x", &format!(r#"echo $$ > "$0.pid"; {script}"#));
        let file = sandbox.file("config.json", r#"{"credsStore": "x"}"#);
        let limit = Duration::from_secs(1);
        let credentials = sandbox.credentials().with_file(file).with_helper_time_limit(limit);
        let error = credentials.for_repository("r.example", "app").unwrap_err();
        assert!(error.to_string().ends_with("r.example: it took longer than 1 seconds"), "{error}");
        // A machine that takes a second to start a shell has nothing to be killed.
        if let Ok(pid) = std::fs::read_to_string(sandbox.path("bin/docker-credential-x.pid")) {
            let process = PathBuf::from("/proc").join(pid.trim());
            assert!(pid.is_empty() || !process.exists(), "{pid} is still there");
        }
    }
}

#[test]
fn what_a_helper_leaves_behind_is_not_waited_for() {
    let sandbox = Sandbox::new();
    let script = format!(r#"(while [ -e "$0" ]; do sleep 0.1; done) & {}"#, answer("u", "p"));
    sandbox.helper("x", &script);
    let found = ask(&sandbox, r#"{"credsStore": "x"}"#, "r.example").unwrap();
    assert_eq!(found, "u:p from credential helper docker-credential-x");
}

#[test]
fn only_programs_in_path_are_helpers() {
    let sandbox = Sandbox::new();
    sandbox.helper("x", &answer("u", "p"));
    let reason = |name: &str, path: PathBuf| {
        let file = sandbox.file("config.json", format!(r#"{{"credsStore": "{name}"}}"#));
        let environment = sandbox.environment().with_variable("PATH", path);
        let credentials = Credentials::of(environment).with_file(file);
        match credentials.for_repository("r.example", "app") {
            Ok(found) => line(&found, &sandbox.path("")),
            Err(CredentialError::Helper { source: HelperError::Missing, .. }) => {
                "missing".to_owned()
            }
            Err(CredentialError::Helper { source: HelperError::Name, .. }) => "name".to_owned(),
            Err(CredentialError::Helper { source: HelperError::Run(error), .. }) => {
                error.to_string()
            }
            Err(error) => panic!("{error}"),
        }
    };
    let bin = sandbox.path("bin");
    let helper = "u:p from credential helper docker-credential-x";
    assert_eq!(reason("x", bin.clone()), helper);
    assert_eq!(reason("x", format!("/nowhere:{}", bin.display()).into()), helper);
    assert_eq!(reason("y", bin.clone()), "missing");
    assert_eq!(reason("../bin/docker-credential-x", bin.clone()), "name");
    assert_eq!(reason(r"a\u0000b", bin.clone()), "name");

    let depth = std::env::current_dir().unwrap().components().count() - 1;
    let relative = PathBuf::from("../".repeat(depth)).join(bin.strip_prefix("/").unwrap());
    assert!(relative.join("docker-credential-x").is_file());
    assert_eq!(reason("x", relative), "missing");

    sandbox.file("bin/docker-credential-plain", "no program");
    assert_eq!(reason("plain", bin), "Permission denied (os error 13)");
}
