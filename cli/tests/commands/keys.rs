//! `osguard key`.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use insta::assert_snapshot;
use libverity::certificate::Certificate;
use osguard_testkit::{command, or_skip};

use crate::environment::Environment;

#[test]
fn a_new_key_is_its_owners_alone() {
    let environment = Environment::new();
    let ran = environment.run(["key", "generate", "keys", "--kind", "ec-p256"]);
    let shown = environment.run(["key", "show", "keys.crt", "--output", "json"]).json();
    let certificate = &shown["certificates"][0];
    let key_id = certificate["subject_key_identifier"].as_str().unwrap();
    assert_snapshot!(ran.naming(key_id, "<key id>"), @"
    Private key:  keys.key
    Certificate:  keys.crt
    Subject:      CN=keys (ec-p256)
    Key id:       <key id>

    The kernel trusts signatures by this key once it has the certificate:
      in DER       openssl x509 -in keys.crt -outform der -out keys.der
      UEFI db      enrol keys.der in the firmware set-up
      MOK          mokutil --import keys.der, then reboot (needs Secure Boot)
      Linux 7.0+   keyctl padd asymmetric '' %keyring:.dm-verity < keys.der, booted with
                   dm_verity.keyring_unsealed=1, then keyctl restrict_keyring %keyring:.dm-verity
                   (for layers only, not for policies)
      own kernel   CONFIG_SYSTEM_TRUSTED_KEYS=keys.crt
    ");
    let serial = certificate["serial"].as_str().unwrap();
    let shown = environment.run(["key", "show", "keys.crt"]);
    assert_snapshot!(shown.naming(key_id, "<key id>").naming(serial, "<serial>"), @"
    Certificate of CN=keys
      issued by  CN=keys (itself)
      serial     <serial>
      key id     <key id>
      key        EC P-256
      the kernel would load it into a keyring
    ");

    let mode = |name| fs::metadata(environment.path(name)).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode("keys.key"), 0o600);
    assert_eq!(mode("keys.crt") & 0o133, 0, "anyone may read it, nobody else may write it");
}

#[test]
fn a_new_key_as_json() {
    let environment = Environment::new();
    let generate = ["key", "generate", "v1.2", "--kind", "ec-p256", "--output", "json"];
    let ran = environment.run(generate);
    let report: serde_json::Value = serde_json::from_str(&ran.stdout).unwrap();
    let key_id = report["subject_key_identifier"].as_str().unwrap();
    assert_snapshot!(ran.naming(key_id, "<key id>"), @r#"
    {
      "schema": "osguard.key.generate.v1",
      "key": "v1.2.key",
      "certificate": "v1.2.crt",
      "kind": "ec-p256",
      "subject": "CN=v1.2",
      "subject_key_identifier": "<key id>",
      "authority": false
    }
    "#);
}

#[test]
fn keys_of_every_kind_sign() {
    let environment = Environment::new();
    environment.run(["policy", "new", "policy"]).done();
    for kind in ["ec-p256", "ec-p384", "ec-p521", "rsa-2048", "rsa-3072", "rsa-4096"] {
        environment.run(["key", "generate", kind, "--kind", kind, "--subject", "me"]).done();
        let (key, signed) = (format!("{kind}.key"), format!("{kind}.p7b"));
        environment.run(["policy", "sign", "policy", &signed, "--key", &key]).done();
        let shown = environment.run(["key", "show", &signed]).done();
        assert!(shown.contains("CN=me") && shown.contains("would load it"), "{shown}");
    }
}

#[test]
fn what_is_there_is_not_overwritten() {
    let environment = Environment::new();
    environment.write("one.key", b"a key");
    environment.write("two.crt", b"a certificate");
    let generate = |name| environment.refused(["key", "generate", name, "--kind", "ec-p256"]);
    assert_snapshot!(generate("one"), @"
    --- standard error ---
    Error: one.key: it could not be created: File exists (os error 17)
    Hint: A key is never overwritten: choose another name.
    --- exit code 2 ---
    ");
    assert_snapshot!(generate("two"), @"
    --- standard error ---
    Error: two.crt: it could not be created: File exists (os error 17)
    Hint: A key is never overwritten: choose another name.
    --- exit code 2 ---
    ");
    assert_snapshot!(generate("nowhere/three"), @"
    --- standard error ---
    Error: nowhere/three.key: it could not be created: No such file or directory (os error 2)
    Hint: The directory does not exist: make it, or choose another one.
    --- exit code 3 ---
    ");
    assert_eq!(generate("..").code, 2);
}

#[test]
fn names_that_fit_no_certificate_are_refused() {
    let environment = Environment::new();
    let long = "x".repeat(65);
    assert_snapshot!(environment.refused(["key", "generate", "key", "--subject", ""]), @r#"
    --- standard error ---
    Error: "" cannot be a common name: it needs 1 to 64 characters
    Hint: --subject gives the certificate another name than the file.
    --- exit code 2 ---
    "#);
    let ran = environment.refused(["key", "generate", &long]);
    assert_snapshot!(ran.naming(&long, "<65 letters>"), @r#"
    --- standard error ---
    Error: "<65 letters>" cannot be a common name: it needs 1 to 64 characters
    Hint: --subject gives the certificate another name than the file.
    --- exit code 2 ---
    "#);
    assert_snapshot!(environment.refused(["key", "generate", "key", "--days", "4000000"]), @"
    --- standard error ---
    Error: the validity lies outside the years 1970 to 9999
    Hint: --days is counted from today.
    --- exit code 2 ---
    ");
}

#[test]
fn a_key_is_encrypted_under_the_passphrase_of_a_file_or_of_the_environment() {
    let environment = Environment::new();
    environment.write("passphrase", b"correct horse\nbattery staple\n");
    let generate = ["key", "generate", "keys", "--kind", "ec-p256"];
    let with_file = ["--passphrase-file", "passphrase"];
    environment.run(generate.iter().chain(&with_file)).done();
    let pem = String::from_utf8(environment.read("keys.key")).unwrap();
    assert!(pem.starts_with("-----BEGIN ENCRYPTED PRIVATE KEY-----"), "{pem}");

    environment.run(["policy", "new", "policy"]).done();
    let sign = |signed| ["policy", "sign", "policy", signed, "--key", "keys.key"];
    environment.run(sign("1.p7b").iter().chain(&with_file)).done();
    let with_variable = |value| {
        let mut command = environment.osguard();
        command.env("OSGUARD_PASSPHRASE", value);
        command
    };
    environment.ran(with_variable("correct horse").args(sign("2.p7b"))).done();
    assert_snapshot!(environment.refuses(with_variable("battery").args(sign("3.p7b"))), @"
    --- standard error ---
    Error: keys.key: it cannot be decrypted: either the passphrase is wrong, or it is encrypted otherwise than with PBES2 and AES (PKCS#5 decryption failed)
    Hint: --passphrase-file, --passphrase-fd or OSGUARD_PASSPHRASE gives the passphrase.
    --- exit code 2 ---
    ");
    let ran = environment.refused(sign("3.p7b").iter().chain(&["--passphrase-file", "policy"]));
    assert_snapshot!(ran, @"
    --- standard error ---
    Error: keys.key: it cannot be decrypted: either the passphrase is wrong, or it is encrypted otherwise than with PBES2 and AES (PKCS#5 decryption failed)
    Hint: --passphrase-file, --passphrase-fd or OSGUARD_PASSPHRASE gives the passphrase.
    --- exit code 2 ---
    ");
    let ran = environment.refused(sign("3.p7b").iter().chain(&["--passphrase-file", "nothing"]));
    assert_snapshot!(ran, @"
    --- standard error ---
    Error: keys.key: it is encrypted, and there is no passphrase for it: cannot read nothing: No such file or directory (os error 2)
    Hint: --passphrase-file, --passphrase-fd or OSGUARD_PASSPHRASE gives the passphrase.
    --- exit code 2 ---
    ");

    let generate = ["key", "generate", "second", "--kind", "ec-p256"];
    environment.ran(with_variable("by variable").args(generate)).done();
    let pem = String::from_utf8(environment.read("second.key")).unwrap();
    assert!(pem.starts_with("-----BEGIN ENCRYPTED PRIVATE KEY-----"), "{pem}");
}

/// Without a terminal nobody can be asked.
#[test]
fn a_passphrase_that_nobody_gives_is_missed() {
    let environment = Environment::new();
    let generate = ["key", "generate", "keys", "--kind", "ec-p256"];
    environment
        .ran(environment.osguard().env("OSGUARD_PASSPHRASE", "secret").args(generate))
        .done();
    environment.run(["policy", "new", "policy"]).done();
    let Some(setsid) = or_skip(command::command("setsid")) else { return };
    let mut sign = environment.wrapped(&setsid);
    sign.args(["policy", "sign", "policy", "--key", "keys.key"]);
    assert_snapshot!(environment.refuses(&mut sign), @"
    --- standard error ---
    Error: keys.key: it is encrypted, and there is no passphrase for it: cannot read it from a terminal: No such device or address (os error 6)
    Hint: --passphrase-file, --passphrase-fd or OSGUARD_PASSPHRASE gives the passphrase.
    --- exit code 2 ---
    ");
}

#[test]
fn everything_that_a_key_makes_can_be_shown() {
    let environment = Environment::with_keys();
    assert_snapshot!(environment.run(["key", "show", "alice.crt"]), @"
    Certificate of CN=alice
      issued by  CN=alice (itself)
      serial     5445995a6fab314d493dd9f0cb1fe9e3
      key id     49b5d94dd761adbdc539207d98c9f8c3772cea1d
      key        RSA-2048
      the kernel would load it into a keyring
    ");
    assert_snapshot!(environment.run(["key", "show", "alice.crt", "--output", "json"]), @r#"
    {
      "schema": "osguard.key.show.v1",
      "file": "alice.crt",
      "kind": "certificates",
      "certificates": [
        {
          "subject": "CN=alice",
          "issuer": "CN=alice",
          "serial": "5445995a6fab314d493dd9f0cb1fe9e3",
          "subject_key_identifier": "49b5d94dd761adbdc539207d98c9f8c3772cea1d",
          "public_key": "RSA-2048",
          "self_signed": true,
          "expired": false
        }
      ]
    }
    "#);
    environment.run(["policy", "new", "policy"]).done();
    environment.run(["policy", "sign", "policy", "--key", "alice.key"]).done();
    assert_snapshot!(environment.run(["key", "show", "policy.p7b"]), @"
    policy.p7b: a signed policy
    Signed by the certificate 5445995a6fab314d493dd9f0cb1fe9e3 of CN=alice
    The kernel would take it where it trusts the signer
    Policy:
      policy_name=osguard policy_version=1.0.0
      DEFAULT action=ALLOW
      
      DEFAULT op=EXECUTE action=DENY
      op=EXECUTE dmverity_signature=TRUE action=ALLOW
    Certificate of CN=alice
      issued by  CN=alice (itself)
      serial     5445995a6fab314d493dd9f0cb1fe9e3
      key id     49b5d94dd761adbdc539207d98c9f8c3772cea1d
      key        RSA-2048
      the kernel would load it into a keyring
    ");
}

#[test]
fn nothing_else_is_shown() {
    let environment = Environment::with_keys();
    environment.write("junk", b"junk");
    environment.write("empty", b"");
    assert_snapshot!(environment.refused(["key", "show", "junk"]), @"
    --- standard error ---
    Error: junk: neither a certificate nor a signature: it is not a PKCS#7 message in DER: an element has the tag 0x6a where 0x30 is required (the kernel: EBADMSG)
    --- exit code 2 ---
    ");
    assert_snapshot!(environment.refused(["key", "show", "empty"]), @"
    --- standard error ---
    Error: empty: neither a certificate nor a signature: it is not a PKCS#7 message in DER: it is cut short (the kernel: EBADMSG)
    --- exit code 2 ---
    ");
    assert_snapshot!(environment.refused(["key", "show", "nothing"]), @"
    --- standard error ---
    Error: cannot read nothing: No such file or directory (os error 2)
    --- exit code 3 ---
    ");
    assert_snapshot!(environment.refused(["key", "show", "."]), @"
    --- standard error ---
    Error: cannot read .: Is a directory (os error 21)
    --- exit code 1 ---
    ");
}

#[test]
fn private_keys_are_explained_by_their_certificates() {
    let environment = Environment::with_keys();
    assert_snapshot!(environment.run(["key", "show", "alice.key"]), @"
    alice.key: a private key; it signs with RSA PKCS#1 v1.5 with SHA-256
    Certificate of CN=alice
      issued by  CN=alice (itself)
      serial     5445995a6fab314d493dd9f0cb1fe9e3
      key id     49b5d94dd761adbdc539207d98c9f8c3772cea1d
      key        RSA-2048
      the kernel would load it into a keyring
    ");
    let ran = environment.refused(["key", "show", "alice.key", "--cert", "mallory.crt"]);
    assert_snapshot!(ran, @"
    --- standard error ---
    Error: alice.key: it is not the key of the certificate: their public keys differ
    --- exit code 2 ---
    ");
    environment.write("lonely.key", &environment.read("alice.key"));
    assert_snapshot!(environment.run(["key", "show", "lonely.key"]), @"lonely.key: a private key, without a certificate beside it");
    let mut generate = environment.osguard();
    generate.args(["key", "generate", "secret", "--kind", "ec-p256"]);
    environment.ran(generate.env("OSGUARD_PASSPHRASE", "secret")).done();
    let shown = environment.run(["key", "show", "secret.key"]).done();
    let first = "secret.key: a private key, encrypted; it signs with ECDSA P-256 with SHA-256\n";
    assert!(shown.starts_with(first), "{shown}");
}

#[test]
fn a_policy_that_was_changed_is_told_from_one_that_was_not() {
    let environment = Environment::with_keys();
    environment.run(["policy", "new", "policy"]).done();
    environment.run(["policy", "sign", "policy", "--key", "alice.key"]).done();
    let mut signed = environment.read("policy.p7b");
    let place = signed.windows(4).position(|four| four == b"DENY").unwrap();
    signed[place..place + 4].copy_from_slice(b"deny");
    environment.write("policy.p7b", &signed);
    let shown = environment.run(["key", "show", "policy.p7b"]).done();
    assert!(shown.contains("The kernel would refuse it: the signature of "), "{shown}");
    assert!(shown.contains("(EKEYREJECTED)"), "{shown}");
}

#[test]
fn an_authority_issues_keys_that_are_trusted_through_it() {
    let environment = Environment::with_keys();
    let generated =
        environment.run(["key", "generate", "root", "--ca", "--kind", "ec-p384"]).done();
    assert!(generated.contains("osguard key generate SIGNER --issuer root.key"), "{generated}");
    let issued = ["key", "generate", "build", "--kind", "ec-p521", "--issuer", "root.key"];
    let issued = environment.run(issued).done();
    assert!(issued.contains("Issued by:    CN=root"), "{issued}");
    crate::fixtures::image(&environment);
    environment.run(["sign", "oci:image:v1", "--key", "build.key"]).done();
    environment.run(["verify", "oci:image:v1", "--trust", "root.crt"]).done();
    environment.run(["verify", "oci:image:v1", "--trust", "build.crt"]).done();
    let verified = environment.run(["verify", "oci:image:v1", "--trust", "alice.crt"]);
    assert_eq!(verified.code, 11, "{verified}");
    if let Some(mut openssl) = or_skip(command::command("openssl")) {
        let path = |name| environment.path(name);
        openssl.args(["verify", "-x509_strict", "-CAfile"]).arg(path("root.crt"));
        command::run(openssl.arg(path("build.crt"))).unwrap();
    }
    let no_authority = ["key", "generate", "other", "--issuer", "alice.key"];
    assert_snapshot!(environment.refused(no_authority), @"
    --- standard error ---
    Error: the certificate of CN=alice cannot issue others: it is not that of an authority
    Hint: `osguard key generate --ca` makes an authority.
    --- exit code 2 ---
    ");
}

#[test]
fn an_issued_certificate_ends_with_its_authority() {
    let environment = Environment::new();
    let root = ["key", "generate", "root", "--ca", "--kind", "ec-p256", "--days", "10"];
    environment.run(root).done();
    let issued = ["key", "generate", "build", "--kind", "ec-p256", "--issuer", "root.key"];
    environment.run(issued).done();
    let end = |name| {
        let certificate = Certificate::from_file_contents(&environment.read(name)).unwrap();
        certificate.not_after()
    };
    assert_eq!(end("build.crt"), end("root.crt"));
}

#[test]
fn the_passphrases_of_authority_and_key_have_places_of_their_own() {
    let environment = Environment::new();
    let with = |variables: &[(&str, &str)], arguments: &[&str]| {
        let mut command = environment.osguard();
        command.envs(variables.iter().copied()).args(arguments);
        command
    };
    let root = ["key", "generate", "root", "--ca", "--kind", "ec-p256"];
    environment.ran(&mut with(&[("OSGUARD_PASSPHRASE", "of the root")], &root)).done();
    let issue = ["key", "generate", "build", "--kind", "ec-p256", "--issuer", "root.key"];
    let both = [("OSGUARD_PASSPHRASE", "of build"), ("OSGUARD_ISSUER_PASSPHRASE", "of the root")];
    let wrong = [("OSGUARD_ISSUER_PASSPHRASE", "wrong")];
    let refused = environment.refuses(&mut with(&wrong, &issue));
    assert!(refused.stderr.contains("root.key: it cannot be decrypted"), "{refused}");
    environment.ran(&mut with(&both, &issue)).done();
    let pem = String::from_utf8(environment.read("build.key")).unwrap();
    assert!(pem.contains("ENCRYPTED"), "{pem}");
    environment.write("passphrase", b"of the root\n");
    let by_file = ["key", "generate", "again", "--kind", "ec-p256", "--issuer", "root.key"];
    let by_file = [&by_file[..], &["--issuer-passphrase-file", "passphrase"]].concat();
    environment.run(by_file).done();
}
