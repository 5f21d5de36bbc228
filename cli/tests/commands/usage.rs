//! What somebody sees who mistypes.

use std::collections::BTreeSet;

use insta::assert_snapshot;
use libverity::sha256::Backend;

use crate::environment::Environment;

#[test]
fn a_mistyped_command_is_told_from_the_one_that_was_meant() {
    let environment = Environment::new();
    assert_snapshot!(environment.run(["sing"]), @"
    --- standard error ---
    error: unrecognized subcommand 'sing'

      tip: a similar subcommand exists: 'sign'

    Usage: osguard [OPTIONS] <COMMAND>

    For more information, try '--help'.
    --- exit code 2 ---
    ");
    assert_snapshot!(environment.run(["key", "generat", "alice"]), @"
    --- standard error ---
    error: unrecognized subcommand 'generat'

      tip: a similar subcommand exists: 'generate'

    Usage: osguard key [OPTIONS] <COMMAND>

    For more information, try '--help'.
    --- exit code 2 ---
    ");
    assert_snapshot!(environment.run(["sign", "oci:image", "--keys", "alice.key"]), @"
    --- standard error ---
    error: unexpected argument '--keys' found

      tip: a similar argument exists: '--key'

    Usage: osguard sign --key <KEY> <IMAGE>

    For more information, try '--help'.
    --- exit code 2 ---
    ");
}

#[test]
fn what_is_missing_is_named() {
    let environment = Environment::new();
    assert_snapshot!(environment.run(["sign"]), @"
    --- standard error ---
    error: the following required arguments were not provided:
      --key <KEY>
      <IMAGE>

    Usage: osguard sign --key <KEY> <IMAGE>

    For more information, try '--help'.
    --- exit code 2 ---
    ");
    assert_snapshot!(environment.run(["verify", "oci:image"]), @"
    --- standard error ---
    Error: nothing says which signers are trusted
    Hint: --trust names certificates, --trust-config a file that says who may sign what.
    Hint: Without them, the first of these is read: $TEST/home/.config/osguard/trust.toml, /etc/osguard/trust.toml.
    --- exit code 2 ---
    ");
    assert_eq!(environment.run(["key"]).code, 2);
    assert_eq!(environment.run::<&str>([]).code, 2);
}

#[test]
fn wrong_values_are_named_with_the_right_ones() {
    let environment = Environment::new();
    assert_snapshot!(environment.run(["version", "--output", "jsn"]), @"
    --- standard error ---
    error: invalid value 'jsn' for '--output <FORMAT>'
      [possible values: json, text]

      tip: a similar value exists: 'json'

    For more information, try '--help'.
    --- exit code 2 ---
    ");
    assert_snapshot!(environment.run(["sign", "oci:a", "--key", "k", "--profile", "full"]), @r#"
    --- standard error ---
    error: invalid value 'full' for '--profile <NAME>': there is no profile "full", only containerd-full-v1, diffid-full-v1, containerd-index-v1, osguard-ci-v1

    For more information, try '--help'.
    --- exit code 2 ---
    "#);
    assert_snapshot!(environment.run(["inspect", "oci:a", "--platform", "linux"]), @r#"
    --- standard error ---
    error: invalid value 'linux' for '--platform <PLATFORM>': "linux" is not a platform; write OS/ARCHITECTURE or OS/ARCHITECTURE/VARIANT, such as linux/amd64

    For more information, try '--help'.
    --- exit code 2 ---
    "#);
    assert_snapshot!(environment.run(["layer", "build", "a", "b", "--diff-id", "md5:0"]), @r#"
    --- standard error ---
    error: invalid value 'md5:0' for '--diff-id <DIGEST>': "md5:0" does not start with `sha256:`, the only digest algorithm supported

    For more information, try '--help'.
    --- exit code 2 ---
    "#);
    assert_snapshot!(environment.run(["policy", "new", "--revoke", "5e5e"]), @r#"
    --- standard error ---
    error: invalid value '5e5e' for '--revoke <VOLUME>': a root hash has 64 digits, and this has 4

    For more information, try '--help'.
    --- exit code 2 ---
    "#);
    assert_snapshot!(environment.run(["policy", "new", "--policy-version", "1.0"]), @r#"
    --- standard error ---
    error: invalid value '1.0' for '--policy-version <MAJOR.MINOR.REVISION>': the version "1.0" does not have three parts, as in 1.0.7

    For more information, try '--help'.
    --- exit code 2 ---
    "#);
    assert_snapshot!(environment.run(["policy", "new", "--name", "a b"]), @r#"
    --- standard error ---
    error: invalid value 'a b' for '--name <NAME>': "a b" cannot name a policy here: a letter or digit is needed, then at most 63 letters, digits, `_`, `.` or `-`

    For more information, try '--help'.
    --- exit code 2 ---
    "#);
}

/// veritysetup ends with 1 where the other commands end with 2.
#[test]
fn verity_keeps_the_exit_code_of_veritysetup() {
    let environment = Environment::new();
    assert_eq!(environment.run(["verity", "fromat"]).code, 1);
    assert_eq!(environment.run(["--output", "json", "verity", "fromat"]).code, 1);
    assert_eq!(environment.run(["layer", "verity"]).code, 2);
}

#[test]
fn failures_are_json_where_results_are() {
    let environment = Environment::new();
    assert_snapshot!(environment.run(["--output=json", "sing"]), @r#"
    --- standard error ---
    {
      "schema": "osguard.failure.v1",
      "error": "unrecognized subcommand 'sing'",
      "hints": [
        "a similar subcommand exists: 'sign'",
        "Usage: osguard [OPTIONS] <COMMAND>",
        "For more information, try '--help'."
      ],
      "exit_code": 2
    }
    --- exit code 2 ---
    "#);
    assert_snapshot!(environment.run(["sign", "--output", "json"]), @r#"
    --- standard error ---
    {
      "schema": "osguard.failure.v1",
      "error": "the following required arguments were not provided: --key <KEY> <IMAGE>",
      "hints": [
        "Usage: osguard sign --output <FORMAT> --key <KEY> <IMAGE>",
        "For more information, try '--help'."
      ],
      "exit_code": 2
    }
    --- exit code 2 ---
    "#);
    assert_snapshot!(environment.run(["inspect", "oci:nothing", "--output", "json"]), @r#"
    --- standard error ---
    {
      "schema": "osguard.failure.v1",
      "error": "oci:nothing does not exist",
      "hints": [
        "An image gets into a layout directory for example by `osguard copy HOST/REPOSITORY:TAG oci:DIR`."
      ],
      "exit_code": 3
    }
    --- exit code 3 ---
    "#);
}

#[test]
fn quiet_prints_errors_only() {
    let environment = Environment::with_keys();
    assert_eq!(environment.run(["version", "--quiet"]).done(), "");
    assert_snapshot!(environment.run(["-q", "key", "show", "nothing"]), @"
    --- standard error ---
    Error: cannot read nothing: No such file or directory (os error 2)
    --- exit code 3 ---
    ");
    assert_snapshot!(environment.run(["version", "-qv"]), @"
    --- standard error ---
    error: the argument '--quiet' cannot be used with '--verbose'

    Usage: osguard version --quiet

    For more information, try '--help'.
    --- exit code 2 ---
    ");
}

#[test]
fn references_that_name_no_image_are_explained() {
    let environment = Environment::new();
    for (reference, expected) in [
        ("", "names no registry"),
        ("image", "names no registry"),
        ("oci:", "names no path"),
        ("oci:image:", "empty tag"),
        ("oci:image@sha256:12", "digest"),
        ("docker://registry.example/app", "docker"),
    ] {
        let ran = environment.refused(["inspect", reference]);
        assert_eq!(ran.code, 2, "{ran}");
        assert!(ran.stderr.contains(expected), "{ran}");
    }
    assert_snapshot!(environment.refused(["inspect", "image"]), @r#"
    --- standard error ---
    Error: image reference "image" names no registry: the part before the first `/` must hold a `.` or a `:` or be `localhost`; an image of Docker Hub is `docker.io/NAME`, a layout directory `oci:DIR`
    Hint: Images are named HOST/REPOSITORY:TAG, oci:DIR, oci:DIR:TAG, oci-archive:FILE:TAG or with @sha256:… in the place of the tag.
    --- exit code 2 ---
    "#);
}

#[test]
fn lanes_are_chosen_by_name_and_all_compute_the_same() {
    let environment = Environment::new();
    environment.write("data", &[7; 9 * 4096]);
    let mut root_hashes = BTreeSet::new();
    for backend in Backend::available() {
        let mut format = environment.osguard();
        format.env("OSGUARD_SHA256_BACKEND", backend.name());
        format.args(["verity", "format", "data", "tree", "--salt=-", "--uuid", UUID]);
        let ran = environment.ran(&mut format);
        assert_eq!(ran.code, 0, "{ran}");
        root_hashes.insert(ran.stdout);
    }
    assert_eq!(root_hashes.len(), 1);

    let ran = environment.ran(environment.osguard().args(["version", "--sha256-backend", "md5"]));
    assert_eq!(ran.code, 2, "{ran}");
    assert!(ran.stderr.contains("there is no SHA-256 backend \"md5\""), "{ran}");
}

const UUID: &str = "11111111-2222-3333-4444-555555555555";
