//! `osguard policy lint`, `format`, `show` and `revoke`, and what they do with bad input.

use insta::assert_snapshot;

use crate::environment::Environment;
use crate::fixtures::{image, tar};

const NODE: &[u8] = b"policy_name=node policy_version=1.0.7\nDEFAULT action=ALLOW\n\n\
    DEFAULT op=EXECUTE action=DENY\nop=EXECUTE dmverity_signature=TRUE action=ALLOW\n";

/// Has a wrong operation, a digest with a wrong digit, and a comment inside a word.
const WRONG: &[u8] = b"policy_name=node policy_version=1.0.7\nDEFAULT action=ALLOW\n\
    DEFAULT op=execute action=DENY\n\
    \top=EXECUTE dmverity_roothash=sha256:2cf2x4 action=DENY\nop=EXECUTE action=#DENY\n";

/// Allows first what it denies then.
const LATE: &[u8] = b"policy_name=node policy_version=1.0.7\nDEFAULT action=ALLOW\n\
    DEFAULT op=EXECUTE action=DENY\nop=EXECUTE dmverity_signature=TRUE action=ALLOW\n\
    op=EXECUTE dmverity_roothash=sha256:2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824 action=DENY\n";

#[test]
fn what_the_kernel_refuses_is_shown_with_line_and_caret() {
    let environment = Environment::with_keys();
    environment.write("node.policy", WRONG);
    assert_snapshot!(environment.run(["policy", "lint", "node.policy"]), @r"
    error[EBADMSG]: `execute` is no operation of the kernel
     --> node.policy:3:9
      |
    3 | DEFAULT op=execute action=DENY
      |         ^^^^^^^^^^
      = help: did you mean `op=EXECUTE`?

    error[EINVAL]: the digest is not hexadecimal: 'x' is no digit
     --> node.policy:4:42
      |
    4 |  op=EXECUTE dmverity_roothash=sha256:2cf2x4 action=DENY
      |                                          ^
      = help: write two digits of 0-9 and a-f for each byte

    error[EBADMSG]: a rule ends with an action, and this line with `action=`
     --> node.policy:5:12
      |
    5 | op=EXECUTE action=#DENY
      |            ^^^^^^^
      = help: a `#` starts a comment even inside a word: what follows it is not read

    1 file, for Linux 6.12: 3 errors, no warnings
    --- exit code 1 ---
    ");
    let sign = ["policy", "sign", "node.policy", "--key", "alice.key"];
    assert_snapshot!(environment.refused(sign), @"
    --- standard error ---
    Error: node.policy: `execute` is no operation of the kernel, and 2 more
    Hint: `osguard policy lint node.policy` shows the line and a way out.
    --- exit code 2 ---
    ");
    let lint = ["policy", "lint", "node.policy", "--output", "json"];
    let ran = environment.run(lint);
    assert_eq!(ran.code, 1);
    let report: serde_json::Value = serde_json::from_str(&ran.stdout).unwrap();
    assert_eq!(report["schema"], "osguard.policy.lint.v1");
    let first = &report["files"][0]["diagnostics"][0];
    assert_eq!(first["errno"], "EBADMSG");
    assert_eq!((&first["place"]["line"], &first["place"]["column"]), (&3.into(), &9.into()));
    assert_eq!((&first["place"]["offset"], &first["place"]["length"]), (&67.into(), &10.into()));
}

#[test]
fn what_nobody_means_is_found_in_texts_and_signed_policies() {
    let environment = Environment::with_keys();
    environment.write("node.policy", NODE);
    environment.write("late.policy", LATE);
    assert_snapshot!(environment.run(["policy", "lint", "node.policy", "--kernel", "7.2"]), @"1 file, for Linux 7.2: no errors, no warnings");
    let sign = ["policy", "sign", "late.policy", "late.p7b", "--key", "alice.key"];
    environment.run(sign).done();
    assert_snapshot!(environment.run(["policy", "lint", "late.p7b"]), @r"
    warning[OSG019]: the file is named `late.p7b`, and systemd takes that for the policy's name
     --> late.p7b:1:13
      |
    1 | policy_name=node policy_version=1.0.7
      |             ^^^^
      = help: name it `node.p7b` where it is loaded at boot: otherwise it does not boot

    error[OSG008]: what this denies may be allowed already, by `op=EXECUTE dmverity_signature=TRUE action=ALLOW`
     --> late.p7b:5:1
      |
    5 | op=EXECUTE dmverity_roothash=sha256:2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824 action=DENY
      | ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
      = help: the first rule that matches decides: put denials in front

    1 file, for Linux 6.12: 1 error, 1 warning
    --- exit code 1 ---
    ");
    environment.write("odd.policy", b"policy_name=a policy_version=1.0.07\nDEFAULT action=ALLOW\n");
    assert_eq!(environment.run(["policy", "lint", "odd.policy"]).code, 0);
    let strict = ["policy", "lint", "node.policy", "odd.policy", "--deny-warnings", "--quiet"];
    let ran = environment.run(strict);
    assert_eq!((ran.code, ran.stdout.as_str()), (1, ""));
}

#[test]
fn a_kernel_is_known_by_its_configuration() {
    let environment = Environment::new();
    environment.write("node.policy", NODE);
    environment.write("config", b"CONFIG_SECURITY_IPE=y\n# CONFIG_IPE_PROP_DM_VERITY is not set\n");
    let lint =
        |config| environment.run(["policy", "lint", "node.policy", "--kernel-config", config]);
    let ran = lint("config");
    assert!(ran.code == 1 && ran.stdout.contains("error[OSG011]"), "{ran}");
    assert!(ran.stdout.contains("CONFIG_IPE_PROP_DM_VERITY_SIGNATURE=y"), "{ran}");
    assert_snapshot!(lint("node.policy"), @"
    --- standard error ---
    Error: node.policy: it is no configuration of a kernel: no line is like CONFIG_SECURITY_IPE=y
    --- exit code 2 ---
    ");
}

#[test]
fn bad_input_gets_one_clear_line() {
    let environment = Environment::with_keys();
    let utf16: Vec<u8> = NODE.iter().flat_map(|&byte| [byte, 0]).collect();
    environment.write("utf16", &[b"\xff\xfe", &utf16[..]].concat());
    environment.write("utf16-bare", &utf16);
    environment.write("utf16-big-endian", &[b"\0", &utf16[..utf16.len() - 1]].concat());
    environment.write("bom", &[b"\xef\xbb\xbf", NODE].concat());
    environment.write("comments", b"# nothing\n\n# but comments\n");
    environment.write("empty", b"");
    let errors = |name: &str| {
        let ran = environment.run(["policy", "lint", name]);
        assert_eq!(ran.code, 1, "{ran}");
        let lines = ran.stdout.lines();
        lines.filter(|line| line.starts_with("error")).map(str::to_owned).collect::<Vec<_>>()
    };
    let is_utf16 = "error[EBADMSG]: the text is in UTF-16, which the kernel does not read";
    assert_eq!(errors("utf16"), [is_utf16]);
    assert_eq!(errors("utf16-bare"), [is_utf16]);
    assert_eq!(errors("utf16-big-endian"), [is_utf16]);
    assert_eq!(errors("bom"), ["error[EBADMSG]: the text starts with a byte order mark"]);
    let nothing = "error[EBADMSG]: there is nothing in the text but blank lines and comments";
    assert_eq!(errors("comments"), [nothing]);
    assert_eq!(errors("empty"), [nothing]);
    // Signatures: of a certificate, cut off, of something else.
    let certificate =
        libverity::certificate::Certificate::from_file_contents(&environment.read("alice.crt"))
            .unwrap();
    environment.write("certificate", certificate.as_der());
    let [error] = &errors("certificate")[..] else { panic!("one error") };
    assert!(error.contains("there is no policy in this signature"), "{error}");
    environment.write("node.policy", NODE);
    environment.run(["policy", "sign", "node.policy", "node.p7b", "--key", "alice.key"]).done();
    let signed = environment.read("node.p7b");
    environment.write("cut", &signed[..signed.len() / 2]);
    let [error] = &errors("cut")[..] else { panic!("one error") };
    assert!(error.starts_with("error[EBADMSG]"), "{error}");

    let file = std::fs::File::create(environment.path("long")).unwrap();
    file.set_len(100 << 20).unwrap();
    for command in ["lint", "format", "show"] {
        insta::allow_duplicates! {
            assert_snapshot!(environment.run(["policy", command, "long"]), @"
            --- standard error ---
            Error: cannot read long: it is longer than 1048576 bytes
            --- exit code 1 ---
            ");
        }
    }
    assert_snapshot!(environment.refused(["policy", "lint", "nothing"]), @"
    --- standard error ---
    Error: cannot read nothing: No such file or directory (os error 2)
    --- exit code 3 ---
    ");
    assert_snapshot!(environment.refused(["policy", "lint", "."]), @"
    --- standard error ---
    Error: cannot read .: is a directory
    --- exit code 1 ---
    ");
    assert_snapshot!(environment.refused(["policy", "show", "bom"]), @"
    --- standard error ---
    Error: bom:1:1: the text starts with a byte order mark (the kernel: EBADMSG)
    Hint: `osguard policy lint bom` shows the line and a way out.
    --- exit code 2 ---
    ");
}

#[test]
fn policies_are_put_straight() {
    let environment = Environment::with_keys();
    environment.write("node.policy", NODE);
    environment.write(
        "odd.policy",
        b"\n# ours\r\n\tpolicy_name=node  policy_version=1.00.7\r\nDEFAULT\taction=ALLOW # all\r\n\r\n\r\n",
    );
    assert_snapshot!(environment.run(["policy", "format", "odd.policy"]), @r"
    # ours
    policy_name=node policy_version=1.0.7
    DEFAULT action=ALLOW  # all
    ");
    let check = ["policy", "format", "--check", "node.policy", "odd.policy"];
    assert_snapshot!(environment.run(check), @"
    odd.policy has another form
    --- exit code 1 ---
    ");
    let write = ["policy", "format", "--write", "node.policy", "odd.policy"];
    assert_snapshot!(environment.run(write), @"odd.policy is rewritten");
    assert_eq!(environment.run(check).done(), "");
    assert_eq!(environment.read("node.policy"), NODE);
    environment.write("wrong.policy", WRONG);
    assert_snapshot!(environment.refused(["policy", "format", "--write", "odd.policy", "wrong.policy"]), @"
    --- standard error ---
    Error: wrong.policy:3:9: `execute` is no operation of the kernel, and 2 more (the kernel: EBADMSG)
    Hint: `osguard policy lint wrong.policy` shows the line and a way out.
    --- exit code 2 ---
    ");
    environment.run(["policy", "sign", "node.policy", "--key", "alice.key"]).done();
    assert_snapshot!(environment.refused(["policy", "format", "node.p7b"]), @"
    --- standard error ---
    Error: node.p7b is a signed policy, and its text is needed
    Hint: What is signed cannot be changed; keep the text that was signed.
    --- exit code 2 ---
    ");
    let ran = environment.run_with_input(["policy", "format", "-"], NODE);
    assert_eq!(ran.done().as_bytes(), NODE);
}

#[test]
fn policies_are_explained_in_plain_words() {
    let environment = Environment::with_keys();
    let new = ["policy", "new", "node.policy", "--strict", "--revoke", &"5e".repeat(32)];
    environment.run(new).done();
    environment.run(["policy", "sign", "node.policy", "--key", "alice.key"]).done();
    let shown = environment.run(["policy", "show", "node.p7b"]).done();
    assert!(shown.starts_with("Policy osguard 1.0.0\nSigned by "), "{shown}");
    assert!(
        shown.contains(
            "\nEXECUTE: executing programs and libraries, and making memory executable\n  what lies on the \
             dm-verity volume with the root hash sha256:5e5e"
        ),
        "{shown}"
    );
    assert!(
        shown.contains(
            "  what lies on a dm-verity volume whose root hash is signed: allowed  (line 6)\n  \
             everything else: denied\n"
        ),
        "{shown}"
    );
    assert!(
        shown.ends_with("\nPOLICY, X509_CERT, and what newer kernels know besides: allowed\n"),
        "{shown}"
    );
    let report = environment.run(["policy", "show", "node.policy", "--output", "json"]).json();
    assert_eq!(report["schema"], "osguard.policy.show.v1");
    assert_eq!(report["signers"].as_array().unwrap().len(), 0);
    assert_eq!(report["operations"].as_array().unwrap().len(), 5);
}

#[test]
fn policies_are_made_of_a_file() {
    let environment = Environment::new();
    environment.write(
        "node.toml",
        b"name = \"node\"\nversion = \"2.0.0\"\nboot-verified = true\nguard = [\"KMODULE\"]\n\
          pin = [\"5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e\"]\n",
    );
    assert_snapshot!(environment.run(["policy", "new", "--from", "node.toml", "--name", "lab"]), @"
    policy_name=lab policy_version=2.0.0
    DEFAULT action=ALLOW

    DEFAULT op=EXECUTE action=DENY
    op=EXECUTE dmverity_roothash=sha256:5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e action=ALLOW
    op=EXECUTE boot_verified=TRUE action=ALLOW

    DEFAULT op=KMODULE action=DENY
    op=KMODULE dmverity_roothash=sha256:5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e action=ALLOW
    op=KMODULE boot_verified=TRUE action=ALLOW
    ");
    for (text, error) in [
        ("names = \"node\"\n", "bad.toml:1:1: unknown field `names`, expected one of"),
        ("name = \"a b\"\n", "bad.toml:1:8: \"a b\" cannot name a policy here"),
        ("guard = [\"KMODUL\"]\n", "\"KMODUL\" is no operation; EXECUTE, FIRMWARE, KMODULE"),
        ("pin = [\"5e\"]\n", "\"5e\": a root hash has 64 digits, and this has 2"),
        ("name = \n", "bad.toml:1:"),
    ] {
        environment.write("bad.toml", text.as_bytes());
        let ran = environment.refused(["policy", "new", "--from", "bad.toml"]);
        assert!(ran.code == 2 && ran.stderr.contains(error), "{ran}");
    }
}

#[test]
fn volumes_of_images_and_files_are_pinned_and_revoked() {
    let environment = Environment::with_keys();
    environment.write("layer.tar", &tar("hello"));
    let build = ["layer", "build", "layer.tar", "layer.erofs", "--output", "json"];
    let root_hash = environment.run(build).json()["root_hash"].as_str().unwrap().to_owned();
    let pinned = environment.run(["policy", "new", "--pin", "./layer.erofs"]).done();
    assert!(
        pinned.contains(&format!("op=EXECUTE dmverity_roothash=sha256:{root_hash} action=ALLOW\n")),
        "{pinned}"
    );
    environment.write("node.policy", NODE);
    let revoke = ["policy", "revoke", "node.policy", "./layer.erofs"];
    assert_eq!(
        environment.run(revoke).done(),
        format!("Denied {root_hash}\nPolicy node 1.0.8: node.policy\n")
    );
    let expected = format!(
        "policy_name=node policy_version=1.0.8\nDEFAULT action=ALLOW\n\nDEFAULT op=EXECUTE action=DENY\n\
         op=EXECUTE dmverity_roothash=sha256:{root_hash} action=DENY\n\
         op=EXECUTE dmverity_signature=TRUE action=ALLOW\n"
    );
    assert_eq!(environment.read("node.policy"), expected.as_bytes());
    assert_eq!(
        environment.run(revoke).done(),
        "All of that is denied already: policy node stays at 1.0.8\n"
    );
    let elsewhere = ["policy", "revoke", "node.policy", &"ab".repeat(32), "--to", "-"];
    assert!(environment.run(elsewhere).done().contains("policy_version=1.0.9\n"));
    assert_eq!(environment.read("node.policy"), expected.as_bytes());
    let lower = ["policy", "revoke", "node.policy", &"ab".repeat(32), "--policy-version", "1.0.8"];
    assert_snapshot!(environment.refused(lower), @"
    --- standard error ---
    Error: node.policy: the version 1.0.8 is not higher than 1.0.8, and no kernel that has 1.0.8 takes it
    --- exit code 2 ---
    ");
    let _image = image(&environment);
    let of_image = ["policy", "revoke", "node.policy", "oci:image:v1", "--to", "next.policy"];
    let report = environment.run(of_image.iter().chain(&["--output", "json"])).json();
    // Of two layers: one in full, on which both profiles agree where nothing is compressed, and two
    // of their indexes.
    assert_eq!(report["revoked"].as_array().unwrap().len(), 2 * 3, "{report}");
    assert_eq!(environment.run(["policy", "lint", "next.policy"]).code, 0);
    let device = environment.refused(["policy", "new", "--pin", "/dev/null"]);
    assert!(
        device.code == 3 && device.stderr.contains("/dev/null is no dm-verity volume"),
        "{device}"
    );
    let noise = environment.refused(["policy", "revoke", "node.policy", "./node.policy"]);
    assert!(noise.stderr.contains("Hint: A layer's image is needed"), "{noise}");
}

#[test]
fn what_a_key_has_signed_is_revoked() {
    let environment = Environment::with_keys();
    environment.run(["key", "generate", "retired"]).done();
    let _image = image(&environment);
    environment.run(["sign", "oci:image:v1", "--key", "alice.key"]).done();
    let sign = ["sign", "oci:image:v1", "--key", "retired.key", "--profile", "containerd-index-v1"];
    // It warns that erofs-utils 1.8 computes other root hashes.
    assert_eq!(environment.run(sign).code, 0);
    environment.write("node.policy", NODE);
    let revoke = |certificate| {
        let revoke = ["policy", "revoke", "node.policy", "oci:image:v1", "--to", "-"];
        let report =
            environment.run(revoke.iter().chain(&["--signed-by", certificate, "--output", "json"]));
        let revoked = report.json()["revoked"].as_array().unwrap().clone();
        revoked.iter().map(|root_hash| root_hash.as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    // Each has signed two layers, by another profile.
    let (alice, retired) = (revoke("alice.crt"), revoke("retired.crt"));
    assert_eq!((alice.len(), retired.len()), (2, 2));
    assert!(alice.iter().all(|root_hash| !retired.contains(root_hash)), "{alice:?} {retired:?}");
    environment.run(["key", "generate", "other"]).done();
    let revoke = ["policy", "revoke", "node.policy", "oci:image:v1", "--signed-by", "other.crt"];
    assert_snapshot!(environment.refused(revoke), @"
    --- standard error ---
    Error: no signature in these images is by such a key
    Hint: `osguard inspect IMAGE` shows who has signed.
    --- exit code 10 ---
    ");
    assert_eq!(environment.read("node.policy"), NODE);
}
