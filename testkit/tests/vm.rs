//! The virtual machine boots real kernels, trusts our certificate, and its kernel denies.

use osguard_testkit::pki::Signer;
use osguard_testkit::vm::{Kernel, Outcome, Vm};
use osguard_testkit::{Error, Result, command, or_skip};

/// Executables come from the initramfs alone.
const POLICY: &str = "policy_name=testkit policy_version=0.0.1
DEFAULT action=ALLOW
DEFAULT op=EXECUTE action=DENY
op=EXECUTE boot_verified=TRUE action=ALLOW
";

const SCRIPT: &str = r#"
step version uname -r
step lsm cat /sys/kernel/security/lsm
step keys cat /proc/keys
step disk head -c 5 /dev/vda
step keyctl keyctl show @s
step both sh -c 'echo out; echo err >&2; exit 3'
cp /usr/bin/busybox /tmp/busybox
step before /tmp/busybox true
step load sh -c 'cat /etc/policy.p7b > /sys/kernel/security/ipe/new_policy'
step activate sh -c 'echo 1 > /sys/kernel/security/ipe/policies/testkit/active'
step denied /tmp/busybox true
step allowed busybox true
exit 5
"#;

#[test]
fn vm_6_12_trusts_the_certificate_and_denies() {
    boots_trusts_and_denies(Kernel::V6_12, (6, 12));
}

#[test]
fn vm_7_2_trusts_the_certificate_and_denies() {
    boots_trusts_and_denies(Kernel::V7_2, (7, 2));
}

#[test]
fn vm_that_panics_gives_no_result() {
    let machine = Vm::new(Kernel::V7_2).script("echo c > /proc/sysrq-trigger");
    let console = match machine.run() {
        Err(Error::NoResult { console, .. }) => Ok(console),
        other => other.map(|outcome| panic!("no panic: {}", outcome.console)),
    };
    let Some(console) = or_skip(console) else { return };
    assert!(console.contains("Kernel panic"), "{console}");
}

fn boots_trusts_and_denies(kernel: Kernel, at_least: (u32, u32)) {
    let Some(outcome) = or_skip(boot(kernel)) else { return };
    println!("{kernel:?} took {:?}", outcome.wall_time);
    assert_eq!(outcome.exit_code, 5, "{}", outcome.console);
    let release = outcome.step("version").stdout_text();
    let mut numbers = release.split('.').map(|number| number.parse().expect("a number"));
    assert!((numbers.next(), numbers.next()) >= (Some(at_least.0), Some(at_least.1)), "{release}");
    assert!(outcome.step("lsm").stdout_text().split(',').any(|module| module == "ipe"));
    assert!(outcome.step("keys").stdout_text().contains("testkit certificate"));
    assert_eq!(outcome.step("disk").stdout, b"bytes");
    assert_eq!(outcome.step("keyctl").exit_code, 0, "{}", outcome.step("keyctl").stderr_text());
    let both = outcome.step("both");
    assert_eq!(
        (both.exit_code, &both.stdout[..], &both.stderr[..]),
        (3, &b"out\n"[..], &b"err\n"[..])
    );
    for step in ["before", "load", "activate", "allowed"] {
        assert_eq!(outcome.step(step).exit_code, 0, "{step}: {}", outcome.step(step).stderr_text());
    }
    assert_eq!(outcome.step("denied").exit_code, 126);
    let denials = outcome.audit_records(1420);
    assert_eq!(denials.len(), 1, "{denials:?}");
    assert!(denials[0].contains("path=\"/tmp/busybox\""), "{denials:?}");
}

fn boot(kernel: Kernel) -> Result<Outcome> {
    let signer = Signer::generate("testkit certificate")?;
    let disk = tempfile::NamedTempFile::new().expect("a temporary file");
    std::fs::write(disk.path(), [&b"bytes"[..], &[0; 507]].concat()).expect("a disk");
    Vm::new(kernel)
        .certificate(signer.certificate()?)
        .contents("/etc/policy.p7b", signer.sign_policy(POLICY)?)
        .disk(disk.path())
        .program(command::find("keyctl")?)
        .script(SCRIPT)
        .run()
}
