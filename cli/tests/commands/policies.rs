//! `osguard policy`.

use insta::assert_snapshot;

use crate::environment::{Environment, Ran};

#[test]
fn a_policy_is_written_as_text() {
    let environment = Environment::new();
    assert_snapshot!(environment.run(["policy", "new"]), @"
    policy_name=osguard policy_version=1.0.0
    DEFAULT action=ALLOW

    DEFAULT op=EXECUTE action=DENY
    op=EXECUTE dmverity_signature=TRUE action=ALLOW
    ");
    let root_hash = "5e".repeat(32);
    let strict = [
        "policy",
        "new",
        "--name",
        "lab",
        "--policy-version",
        "3.2.1",
        "--strict",
        "--boot-verified",
        "--revoke",
        &root_hash,
    ];
    assert_snapshot!(environment.run(strict), @"
    policy_name=lab policy_version=3.2.1
    DEFAULT action=ALLOW

    DEFAULT op=EXECUTE action=DENY
    op=EXECUTE dmverity_roothash=sha256:5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e action=DENY
    op=EXECUTE dmverity_signature=TRUE action=ALLOW
    op=EXECUTE boot_verified=TRUE action=ALLOW

    DEFAULT op=FIRMWARE action=DENY
    op=FIRMWARE dmverity_roothash=sha256:5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e action=DENY
    op=FIRMWARE dmverity_signature=TRUE action=ALLOW
    op=FIRMWARE boot_verified=TRUE action=ALLOW

    DEFAULT op=KMODULE action=DENY
    op=KMODULE dmverity_roothash=sha256:5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e action=DENY
    op=KMODULE dmverity_signature=TRUE action=ALLOW
    op=KMODULE boot_verified=TRUE action=ALLOW

    DEFAULT op=KEXEC_IMAGE action=DENY
    op=KEXEC_IMAGE dmverity_roothash=sha256:5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e action=DENY
    op=KEXEC_IMAGE dmverity_signature=TRUE action=ALLOW
    op=KEXEC_IMAGE boot_verified=TRUE action=ALLOW

    DEFAULT op=KEXEC_INITRAMFS action=DENY
    op=KEXEC_INITRAMFS dmverity_roothash=sha256:5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e action=DENY
    op=KEXEC_INITRAMFS dmverity_signature=TRUE action=ALLOW
    op=KEXEC_INITRAMFS boot_verified=TRUE action=ALLOW
    ");
    assert_snapshot!(environment.run(["policy", "new", "--output", "json"]), @r#"
    {
      "schema": "osguard.policy.new.v1",
      "name": "osguard",
      "version": "1.0.0",
      "policy": "policy_name=osguard policy_version=1.0.0\nDEFAULT action=ALLOW\n\nDEFAULT op=EXECUTE action=DENY\nop=EXECUTE dmverity_signature=TRUE action=ALLOW\n"
    }
    "#);
    assert_snapshot!(environment.run(["policy", "new", "policy"]), @"Policy osguard 1.0.0: policy");
    let printed = environment.run(["policy", "new"]).done();
    assert_eq!(environment.read("policy"), printed.as_bytes());
    assert_snapshot!(environment.refused(["policy", "new", "policy"]), @"
    --- standard error ---
    Error: cannot write policy: File exists (os error 17)
    Hint: A policy is never overwritten: choose another name, or remove the file.
    --- exit code 2 ---
    ");
    assert_snapshot!(environment.refused(["policy", "new", "nowhere/policy"]), @"
    --- standard error ---
    Error: cannot write nowhere/policy: No such file or directory (os error 2)
    --- exit code 3 ---
    ");
}

#[test]
fn a_policy_is_signed() {
    let environment = Environment::with_keys();
    environment.run(["policy", "new", "lab.policy"]).done();
    let sign = ["policy", "sign", "lab.policy", "--key", "alice.key"];
    assert_snapshot!(environment.run(sign), @"
    Policy osguard 1.0.0, signed by CN=alice: lab.p7b
    1332 bytes, sha256:e8e46ed97568bcd1b1ba1a605e37c19078d6e0fffa06d4afdc5a61961f88afdc
    ");
    assert_snapshot!(environment.refused(sign), @"
    --- standard error ---
    Error: cannot write lab.p7b: File exists (os error 17)
    Hint: A policy is never overwritten: choose another name, or remove the file.
    --- exit code 2 ---
    ");
    let sign = ["policy", "sign", "lab.policy", "signed", "--key", "alice.key"];
    assert_snapshot!(environment.run(sign.iter().chain(&["--output", "json"])), @r#"
    {
      "schema": "osguard.policy.sign.v1",
      "name": "osguard",
      "version": "1.0.0",
      "file": "signed",
      "size_bytes": 1332,
      "digest": "sha256:e8e46ed97568bcd1b1ba1a605e37c19078d6e0fffa06d4afdc5a61961f88afdc",
      "signer": "CN=alice"
    }
    "#);
    assert_eq!(environment.read("signed"), environment.read("lab.p7b"));
}

#[test]
fn only_policies_are_signed() {
    let environment = Environment::with_keys();
    environment.write("text", b"This is no policy.\n");
    environment.write("version", b"policy_name=lab policy_version=1.0\nDEFAULT action=ALLOW\n");
    environment.write("empty", b"");
    environment.run(["policy", "new", "policy"]).done();
    let long = [environment.read("policy"), b"# a comment\n".repeat(10_000)].concat();
    environment.write("long", &long);
    environment.run(["policy", "sign", "policy", "--key", "alice.key"]).done();
    let sign = |text| environment.refused(["policy", "sign", text, "new", "--key", "alice.key"]);
    assert_snapshot!(sign("text"), @r#"
    --- standard error ---
    Error: text: the policy starts with "This is no policy.", and not with `policy_name=NAME policy_version=1.0.0`
    --- exit code 2 ---
    "#);
    assert_snapshot!(sign("version"), @r#"
    --- standard error ---
    Error: version: the version "1.0" does not have three parts, as in 1.0.7
    --- exit code 2 ---
    "#);
    assert_snapshot!(sign("empty"), @"
    --- standard error ---
    Error: empty: the policy is empty
    --- exit code 2 ---
    ");
    assert_snapshot!(sign("long"), @"
    --- standard error ---
    Error: long: the signed message has 120142 bytes, and the kernel reads at most 65535
    --- exit code 1 ---
    ");
    assert_snapshot!(sign("nothing"), @"
    --- standard error ---
    Error: cannot read nothing: No such file or directory (os error 2)
    --- exit code 3 ---
    ");
    assert_snapshot!(sign("policy.p7b"), @"
    --- standard error ---
    Error: policy.p7b: the policy has a NUL byte at offset 42; the kernel would ignore what follows
    Hint: This is a signed policy already; sign its text.
    --- exit code 2 ---
    ");
}

#[test]
fn only_signed_policies_are_deployed() {
    let environment = Environment::new();
    environment.run(["policy", "new", "policy"]).done();
    assert_snapshot!(environment.refused(["policy", "deploy", "policy"]), @"
    --- standard error ---
    Error: policy: it is not a signed policy: it is not a PKCS#7 message in DER: an element has the tag 0x70 where 0x30 is required
    Hint: `osguard policy sign` makes a signed policy of a text.
    --- exit code 2 ---
    ");
    assert_snapshot!(environment.refused(["policy", "deploy", "nothing"]), @"
    --- standard error ---
    Error: cannot read nothing: No such file or directory (os error 2)
    --- exit code 3 ---
    ");
}

/// In a mount namespace of its own, with nothing or an empty directory at the place of securityfs.
#[test]
fn a_machine_without_securityfs_is_told_from_a_kernel_without_ipe() {
    let environment = Environment::with_keys();
    let Some(hidden) = on_securityfs(&environment, "true", &["policy", "status"]) else { return };
    assert_snapshot!(hidden, @"
    --- standard error ---
    Error: securityfs is not mounted at /sys/kernel/security: No such file or directory (os error 2)
    Hint: `mount -t securityfs securityfs /sys/kernel/security` mounts it; a container needs the host's.
    --- exit code 1 ---
    ");
    environment.run(["policy", "new", "policy"]).done();
    environment.run(["policy", "sign", "policy", "--key", "alice.key"]).done();
    let deploy = ["policy", "deploy", "policy.p7b"];
    let Some(hidden) = on_securityfs(&environment, "true", &deploy) else { return };
    assert_snapshot!(hidden, @"
    --- standard error ---
    Error: securityfs is not mounted at /sys/kernel/security: No such file or directory (os error 2)
    Hint: `mount -t securityfs securityfs /sys/kernel/security` mounts it; a container needs the host's.
    --- exit code 1 ---
    ");
    if !std::path::Path::new(SECURITYFS).exists() {
        return osguard_testkit::skip("a kernel with securityfs");
    }
    let list = format!("echo -n lockdown,capability,yama > {SECURITYFS}/lsm");
    let Some(without) = on_securityfs(&environment, &list, &["policy", "status"]) else { return };
    assert_snapshot!(without, @"
    --- standard error ---
    Error: this kernel runs without IPE: its security modules are lockdown,capability,yama
    Hint: Linux 6.12 or newer is needed, built with CONFIG_SECURITY_IPE and, where its command line has lsm=, with ipe in that list.
    --- exit code 1 ---
    ");
}

/// Before anything else is looked at, let alone changed.
#[test]
fn deployment_without_rights_says_which_are_missing() {
    let environment = Environment::with_keys();
    if !environment.is_root() || !std::path::Path::new(SECURITYFS).exists() {
        return osguard_testkit::skip("root, and a kernel with securityfs");
    }
    environment.run(["policy", "new", "policy"]).done();
    environment.run(["policy", "sign", "policy", "--key", "alice.key"]).done();
    let ipe = format!("{SECURITYFS}/ipe");
    let prepare = format!(
        "mount -t tmpfs tmpfs {SECURITYFS} && echo -n lockdown,ipe > {SECURITYFS}/lsm && \
         mkdir -p {ipe}/policies && echo -n 1 > {ipe}/enforce"
    );
    let Some(unshared) = environment.unshared(&prepare, &format!("ls {ipe}/policies")) else {
        return;
    };
    for command in [&["policy", "deploy", "policy.p7b"][..], &["policy", "activate", "--confirm"]] {
        let mut without = environment.program("setpriv");
        without.args(["--bounding-set", "-mac_admin", "--inh-caps", "-mac_admin"]);
        without.arg(unshared.get_program()).args(unshared.get_args()).args(command);
        without.env("PATH", "/usr/bin:/bin:/usr/sbin:/sbin");
        let Some(ran) = environment.in_namespace(&mut without) else { return };
        let expected = "--- standard error ---\nError: CAP_MAC_ADMIN is needed; this process is root without it, as \
            in a container\nHint: Policies are changed by root of the machine itself";
        assert!(ran.code == 1 && ran.to_string().contains(expected), "{ran}");
    }
}

/// Runs `osguard` where an empty directory hides securityfs, after `prepare` has run there.
fn on_securityfs(environment: &Environment, prepare: &str, arguments: &[&str]) -> Option<Ran> {
    let hide = format!("[ ! -e {SECURITYFS} ] || mount -t tmpfs tmpfs {SECURITYFS}");
    let mut command = environment.unshared(&format!("{{ {hide}; }} && {prepare}"), "true")?;
    environment.in_namespace(command.args(arguments))
}

const SECURITYFS: &str = "/sys/kernel/security";
