//! `osguard hook serve`: what it refuses to start with. What it does is in `cli/tests/hook`.

use std::net::TcpListener;

use insta::assert_snapshot;

use crate::environment::{Environment, Ran};

const REQUIRED: [&str; 8] =
    ["hook", "serve", "--registry", "localhost:1", "--allow", "team/**", "--key", "alice.key"];

const TOKEN: &[u8] = b"0123456789abcdef\n";

fn refused(environment: &Environment, arguments: &[&str]) -> Ran {
    environment.refused(REQUIRED.iter().chain(arguments))
}

#[test]
fn nobody_is_believed_without_a_token() {
    let environment = Environment::with_keys();
    environment.write("short", b"0123456789abcde\n");
    environment.write("spaced", b"0123456789 abcdef\n");
    assert_snapshot!(refused(&environment, &[]), @"
    --- standard error ---
    Error: there is no token
    Hint: Put one into a file for --token-file, or into OSGUARD_HOOK_TOKEN: `openssl rand -hex 32` makes one.
    --- exit code 2 ---
    ");
    assert_snapshot!(refused(&environment, &["--token-file", "short"]), @"
    --- standard error ---
    Error: short: the token has 15 bytes, and 16 are the least
    --- exit code 2 ---
    ");
    assert_snapshot!(refused(&environment, &["--token-file", "spaced"]), @"
    --- standard error ---
    Error: spaced: the token has characters other than printable ASCII without blanks
    --- exit code 2 ---
    ");
    assert_snapshot!(refused(&environment, &["--token-file", "nowhere"]), @"
    --- standard error ---
    Error: cannot read nowhere: No such file or directory (os error 2)
    --- exit code 3 ---
    ");
    assert_snapshot!(
        refused(&environment, &["--no-token", "--listen", "0.0.0.0:0", "--state", "state"]),
        @"
        --- standard error ---
        Error: without a token, 0.0.0.0:0 is open to other machines; only loopback addresses may be
        Hint: Give a token by --token-file, or listen on 127.0.0.1.
        --- exit code 2 ---
        "
    );
    let mut by_variable = environment.osguard();
    by_variable.args(REQUIRED).env("OSGUARD_HOOK_TOKEN", "short");
    assert_snapshot!(environment.refuses(&mut by_variable), @"
    --- standard error ---
    Error: OSGUARD_HOOK_TOKEN: the token has 5 bytes, and 16 are the least
    --- exit code 2 ---
    ");
}

#[test]
fn what_is_to_be_signed_must_be_said_clearly() {
    let environment = Environment::with_keys();
    let required = |registry, pattern| {
        environment.run([
            "hook",
            "serve",
            "--registry",
            registry,
            "--allow",
            pattern,
            "--key",
            "alice.key",
        ])
    };
    assert_snapshot!(environment.run(["hook", "serve", "--registry", "localhost"]), @"
    --- standard error ---
    error: the following required arguments were not provided:
      --allow <PATTERN>
      --key <KEY>

    Usage: osguard hook serve --registry <HOST[:PORT]> --allow <PATTERN> --key <KEY>

    For more information, try '--help'.
    --- exit code 2 ---
    ");
    assert_snapshot!(required("https://registry.example", "team/**"), @"
    --- standard error ---
    error: invalid value 'https://registry.example' for '--registry <HOST[:PORT]>': write HOST or HOST:PORT in lower case, such as registry.example, localhost or registry:5000

    For more information, try '--help'.
    --- exit code 2 ---
    ");
    assert_snapshot!(required("localhost", "Team"), @r#"
    --- standard error ---
    error: invalid value 'Team' for '--allow <PATTERN>': "Team" is not a pattern of repositories; write a name such as team/app, team/* for what is one level below, or team/** for everything below

    For more information, try '--help'.
    --- exit code 2 ---
    "#);
}

#[test]
fn what_cannot_be_used_is_named() {
    let environment = Environment::with_keys();
    environment.write("token", TOKEN);
    environment.write("file", b"");
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let token = ["--token-file", "token"];
    let state = refused(&environment, &[&token[..], &["--state", "file"]].concat());
    assert_snapshot!(state, @"
    --- standard error ---
    Error: cannot use the directory file for the queue: File exists (os error 17)
    --- exit code 1 ---
    ");
    let mut listen = environment.osguard();
    listen.args(REQUIRED).args(token).args(["--state", "state", "--listen", &address]);
    assert_snapshot!(environment.ran(&mut listen).naming(&address, "ADDRESS"), @"
    --- standard error ---
    Error: cannot listen on ADDRESS: Address already in use (os error 98)
    --- exit code 1 ---
    ");
    let key =
        ["hook", "serve", "--registry", "localhost", "--allow", "team/**", "--key", "bob.key"];
    assert_snapshot!(environment.refused(key.iter().chain(&token)), @"
    --- standard error ---
    Error: bob.key: it cannot be read: No such file or directory (os error 2)
    Hint: `osguard key generate` makes a key and its certificate; --cert names another certificate.
    --- exit code 3 ---
    ");
}
