//! The whole chain on real kernels: from an OCI image of Debian packages to a kernel that refuses
//! what nobody signed.

mod audit;
mod boot;
mod debian_packages;
mod host;
mod patching;
mod refusal;
mod script;
mod trial;
mod verity;

use host::Host;
use osguard_testkit::image::Tree;
use osguard_testkit::or_skip;
use osguard_testkit::vm::{Kernel, Outcome};

#[test]
fn vm_6_12_runs_what_is_signed_and_nothing_else() {
    runs_what_is_signed_and_nothing_else(Kernel::V6_12);
}

#[test]
fn vm_7_2_runs_what_is_signed_and_nothing_else() {
    runs_what_is_signed_and_nothing_else(Kernel::V7_2);
}

fn runs_what_is_signed_and_nothing_else(kernel: Kernel) {
    let Some((host, outcome)) = or_skip(run(kernel)) else { return };
    assert_eq!(outcome.exit_code, 0, "{}", outcome.console);
    the_tree_is_that_of_the_archives(&host, &outcome);
    veritysetup_takes_our_signatures(&outcome);
    signed_code_runs(&outcome);
    everything_else_is_denied(&outcome);
    policies_only_move_forward(&outcome);
    nothing_is_left(&outcome);
}

fn run(kernel: Kernel) -> osguard_testkit::Result<(Host, Outcome)> {
    let host = Host::with_real_image()?;
    let index = ["--profile", "containerd-index-v1"];
    host.osguard(&[&["sign", "oci:images:real", "--key", "trusted.key"], &index[..]].concat());
    let outcome = host.machine(kernel)?.script(script::ENFORCE).run()?;
    Ok((host, outcome))
}

/// Names, types, modes, owners, times, xattrs and contents, against GNU tar and the rules for
/// whiteouts.
fn the_tree_is_that_of_the_archives(host: &Host, outcome: &Outcome) {
    let expected = Tree::of(host.tree()).expect("the tree that GNU tar unpacked");
    assert!(expected.paths().count() > 3000, "the image is a real one");
    for (mount, tree) in [("mount", "tree"), ("mount-index", "tree-index")] {
        succeeded(outcome, mount);
        succeeded(outcome, tree);
        let found = Tree::parse(&outcome.step(tree).stdout).expect("the tree in the machine");
        assert_eq!(expected.differences(&found), Vec::<String>::new(), "{tree}");
    }
}

/// The certificate of the signer is in the signature, that of the authority in the kernel.
fn veritysetup_takes_our_signatures(outcome: &Outcome) {
    for step in ["veritysetup", "volume-content", "veritysetup-close"] {
        succeeded(outcome, step);
    }
    assert_eq!(outcome.step("volume-content").stdout, b"of the volume\n");
    for step in ["pin", "pinned"] {
        succeeded(outcome, step);
    }
    failed(outcome, "pin-foreign", 3, "/dev/vda");
    let foreign = outcome.step("veritysetup-foreign");
    assert_ne!(foreign.exit_code, 0, "{}", outcome.console);
}

fn signed_code_runs(outcome: &Outcome) {
    for (step, output) in [
        ("run-through-overlay", "Hello, world!"),
        ("run-from-index", "Hello, world!"),
        ("run-from-layer", "from the layer"),
        ("run-before-copy-up", "still signed"),
    ] {
        succeeded(outcome, step);
        assert_eq!(outcome.step(step).stdout_text(), output, "{step}");
    }
}

/// Each denial has its own record, which names the file.
fn everything_else_is_denied(outcome: &Outcome) {
    let records = outcome.audit_records(1420);
    for (step, path) in [
        ("deny-unsigned-image", "/unsigned/usr/bin/unsigned-busybox"),
        ("deny-copy-on-tmpfs", "/tmp/copy"),
        ("deny-new-in-upper", "/writable/usr/bin/new"),
        ("deny-copied-up", "/writable/usr/bin/busybox"),
    ] {
        assert_eq!(outcome.step(step).exit_code, 126, "{step}: {}", outcome.console);
        let of_path = |record: &&&str| record.contains(&format!("path=\"{path}\""));
        let record = records.iter().find(of_path);
        let record = record.unwrap_or_else(|| panic!("no record of {path} in {records:#?}"));
        assert!(record.contains("ipe_op=EXECUTE ipe_hook=BPRM_CHECK enforcing=1"), "{record}");
        assert!(record.contains("rule=\"DEFAULT op=EXECUTE action=DENY\""), "{record}");
    }
    assert_eq!(outcome.step("refuse-unsigned-mount").exit_code, 10);
    succeeded(outcome, "mount-unsigned");
}

fn policies_only_move_forward(outcome: &Outcome) {
    succeeded(outcome, "deploy");
    let status = outcome.step("status").stdout_text();
    assert_eq!(status, "spine 1.0.2  in force");
    failed(
        outcome,
        "deploy-older",
        1,
        "is loaded in version 1.0.2, and version 1.0.1 is not newer",
    );
    failed(outcome, "deploy-foreign", 1, "ENOKEY");
    failed(outcome, "deploy-foreign", 1, "no certificate in the kernel's keyrings");
}

fn nothing_is_left(outcome: &Outcome) {
    for step in ["unmount", "unmount-index", "unmount-unsigned", "unmount-writable"] {
        succeeded(outcome, step);
    }
    assert_eq!(outcome.step("left").stdout_text(), "", "mounts, verity and loop devices are gone");
}

fn succeeded(outcome: &Outcome, name: &str) {
    let step = outcome.step(name);
    assert_eq!(step.exit_code, 0, "{name}: {}\n{}", step.stderr_text(), outcome.console);
}

fn failed(outcome: &Outcome, name: &str, exit_code: i32, message: &str) {
    let step = outcome.step(name);
    assert_eq!(step.exit_code, exit_code, "{name}: {}", step.stderr_text());
    assert!(step.stderr_text().contains(message), "{name}: {}", step.stderr_text());
}
