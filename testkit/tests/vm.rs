//! The virtual machine boots real kernels, trusts our certificate, and its kernel denies.

use std::time::Duration;

use osguard_testkit::image::{RealImage, Tree, real};
use osguard_testkit::pki::Signer;
use osguard_testkit::tools::ErofsUtils;
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

#[test]
fn vm_reads_a_copy_of_a_directory_and_writes_to_an_empty_disk() {
    let directory = tempfile::tempdir().expect("a directory");
    std::fs::create_dir(directory.path().join("below")).expect("a directory");
    std::fs::write(directory.path().join("below/file"), "contents").expect("a file");
    let outcome = Vm::new(Kernel::V6_12)
        .directory_disk(directory.path())
        .empty_disk(8)
        .script(
            "mkdir -p /mnt/copy /mnt/empty
            mount -o ro /dev/vda /mnt/copy && mount /dev/vdb /mnt/empty || exit
            step copy cp /mnt/copy/below/file /mnt/empty
            step read cat /mnt/empty/file",
        )
        .run_or_skip();
    let Some(outcome) = outcome else { return };
    assert_eq!(outcome.step("copy").exit_code, 0, "{}", outcome.step("copy").stderr_text());
    assert_eq!(outcome.step("read").stdout, b"contents");
}

/// GNU tar and the kernel agree on the tree of the real image, when the reference writer makes
/// its layers: so it is the right tree to measure our own writer by.
#[test]
fn vm_mounts_the_real_image_of_the_reference_writer_as_gnu_tar_unpacks_it() {
    let Some(image) = or_skip(real()) else { return };
    let layers = tempfile::tempdir().expect("a directory");
    let mut machine = Vm::new(Kernel::V7_2).time_limit(Duration::from_secs(240));
    let mut mounts = String::new();
    let mut lowers = Vec::new();
    for (number, layer) in image.layers.iter().enumerate() {
        let erofs = layers.path().join(number.to_string());
        let Some(mut mkfs) = or_skip(ErofsUtils::V1_9.mkfs()) else { return };
        mkfs.args(["--quiet", "--tar=f", "--aufs", "-Enoinline_data"]).arg(&erofs).arg(&layer.tar);
        command::run(&mut mkfs).expect("an image");
        machine = machine.disk(erofs);
        let letter = char::from(b'a' + number as u8);
        mounts +=
            &format!("mkdir -p /run/{number}; mount -t erofs /dev/vd{letter} /run/{number}\n");
        lowers.insert(0, format!("/run/{number}"));
    }
    let Some(program) = or_skip(Tree::program()) else { return };
    let script = format!(
        "{mounts}
        mount -t overlay -o lowerdir={} overlay /mnt || exit
        step hello chroot /mnt {}
        step tree osguard-tree /mnt",
        lowers.join(":"),
        RealImage::PROGRAM
    );
    let Some(outcome) = machine.program(program).script(script).run_or_skip() else { return };
    println!("it took {:?}", outcome.wall_time);
    assert_eq!(outcome.step("hello").stdout_text(), "Hello, world!");
    assert_eq!(outcome.step("tree").exit_code, 0, "{}", outcome.step("tree").stderr_text());
    let expected = Tree::of(&image.tree).expect("a tree");
    let found = Tree::parse(&outcome.step("tree").stdout).expect("a tree");
    let differences = expected.differences(&found);
    assert!(differences.is_empty(), "{}", differences.join("\n"));
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
