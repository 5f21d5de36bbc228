//! Everything at random and at once, with kills in between: no container, device, mount or file is lost or left.

use std::time::Duration;

use osguard_testkit::node_guest::Containerd;
use osguard_testkit::vm::{Kernel, Outcome};
use osguard_testkit::{Result, or_skip};

use crate::images::Images;
use crate::node::{node, succeeded};

#[test]
fn vm_6_12_with_containerd_1_7_survives_chaos() {
    survives_chaos(Kernel::V6_12, Containerd::V1_7);
}

#[test]
fn vm_7_2_with_containerd_2_1_survives_chaos() {
    survives_chaos(Kernel::V7_2, Containerd::V2_1);
}

fn survives_chaos(kernel: Kernel, containerd: Containerd) {
    let Some(outcome) = or_skip(run(kernel, containerd)) else { return };
    println!("{kernel:?} took {:?}", outcome.wall_time);
    let text = |step: &str| outcome.step(step).stdout_text();
    println!("{}; {} snapshots mounted", text("counts"), text("mounted"));
    println!("{}", text("errors"));
    for step in ["node", "containerd", "chaos", "mounts"] {
        succeeded(&outcome, step);
    }
    println!("{}", outcome.step("mounts").stderr_text());
    assert_eq!((&*text("chaos"), &*text("mounts")), ("", ""), "{}", outcome.console);
    assert_eq!(outcome.step("left").exit_code, 0, "{}\n{}", text("left-what"), outcome.console);
}

fn run(kernel: Kernel, containerd: Containerd) -> Result<Outcome> {
    let images = Images::new()?;
    let number = |name: &str, default: u32| {
        let value = std::env::var(name).ok();
        value.map_or(default, |value| value.parse().expect("a number"))
    };
    let rounds = number("OSGUARD_CHAOS_ROUNDS", ROUNDS);
    let seed = number("OSGUARD_CHAOS_SEED", 1);
    let script = format!(
        ". /run/lab/prelude.sh\nstart_registry\nversion={} rounds={rounds} seed={seed}\n{CHAOS}\n\
         tail -n 60 /run/node.log\nexit 0\n",
        containerd.number()
    );
    // A round takes about three seconds on an emulated machine.
    let time_limit = Duration::from_secs(180) + Duration::from_secs(15) * rounds;
    node(kernel, &images)?.machine(|machine| machine.time_limit(time_limit)).run(&script)
}

/// Are 200 with both machines. By hand it may be thousands: `OSGUARD_CHAOS_ROUNDS`, and others of them: `OSGUARD_CHAOS_SEED`.
const ROUNDS: u32 = 100;

const CHAOS: &str = include_str!("chaos.sh");
