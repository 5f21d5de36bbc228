//! containerd's snapshotter test suite on the real kernels.

mod programs;

use std::time::Duration;

use osguard_testkit::vm::{Kernel, Outcome, Vm};
use osguard_testkit::{Result, or_skip};

use self::programs::{beside, example};

#[test]
fn vm_6_12_passes_the_snapshotter_suite() {
    passes(Kernel::V6_12);
}

#[test]
fn vm_7_2_passes_the_snapshotter_suite() {
    passes(Kernel::V7_2);
}

fn passes(kernel: Kernel) {
    let Some(outcome) = or_skip(run(kernel)) else { return };
    let step = outcome.step("suite");
    assert!(step.stdout_text().contains("21 of 21 cases are good"), "{step:?}");
    assert_eq!(step.exit_code, 0);
    let left = outcome.step("left");
    assert_eq!(left.stdout_text(), "", "devices and mounts go with what is unmounted");
}

fn run(kernel: Kernel) -> Result<Outcome> {
    Vm::new(kernel)
        .program(beside("osguard"))
        .program(example("snapshotter_suite"))
        .time_limit(Duration::from_secs(540))
        .script(
            r#"
mkdir -p /tmp
mount -t tmpfs suite /tmp
step suite snapshotter_suite /usr/bin/osguard
left() {
    for path in /sys/block/dm-* /sys/block/loop*/loop /run/l/*; do
        [ ! -e "$path" ] || echo "$path"
    done
}
step left left
"#,
        )
        .run()
}
