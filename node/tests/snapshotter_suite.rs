//! containerd's snapshotter test suite on a real kernel.

mod programs;

use std::time::Duration;

use osguard_testkit::vm::{Kernel, Outcome, Vm};
use osguard_testkit::{Result, or_skip};

use self::programs::{beside, example};

#[test]
fn vm_6_12_passes_the_snapshotter_suite() {
    let Some(outcome) = or_skip(run(Kernel::V6_12)) else { return };
    let step = outcome.step("suite");
    assert!(step.stdout_text().contains("21 of 21 cases are good"), "{step:?}");
    assert_eq!(step.exit_code, 0);
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
"#,
        )
        .run()
}
