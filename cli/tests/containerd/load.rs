//! Many layers at once, and many containers.

use std::time::Duration;

use osguard_testkit::node_guest::Containerd;
use osguard_testkit::vm::{Kernel, Outcome};
use osguard_testkit::{Result, or_skip};

use crate::images::Images;
use crate::node::{node, succeeded};

/// 500 processes do not fit into the machine; their file systems do, and a signed program is started from each.
#[test]
#[ignore = "long; by hand, with --run-ignored all, before what is mounted or recorded changes"]
fn vm_7_2_holds_500_containers_of_20_images() {
    let Some(outcome) = or_skip(run(Kernel::V7_2, Containerd::V2_1)) else { return };
    let text = |step: &str| outcome.step(step).stdout_text();
    println!("took {:?}\n{}", outcome.wall_time, text("numbers"));
    for step in ["node", "containerd", "pulls", "at-once", "containers"] {
        succeeded(&outcome, step);
    }
    // One for busybox, and those of the images.
    assert_eq!(text("devices-before"), "0");
    assert_eq!(text("devices"), (1 + IMAGES * LAYERS).to_string(), "{}", outcome.console);
    assert_eq!((&*text("at-once"), &*text("containers")), ("", ""), "{}", outcome.console);
    assert_eq!(text("mounted"), CONTAINERS.to_string());
    assert_eq!(outcome.step("left").exit_code, 0, "{}\n{}", text("left-what"), outcome.console);
}

fn run(kernel: Kernel, containerd: Containerd) -> Result<Outcome> {
    let images = Images::many(IMAGES, LAYERS)?;
    let script = format!(
        ". /run/lab/prelude.sh\nstart_registry\nversion={} images={IMAGES} containers={CONTAINERS}\n{LOAD}\n\
         tail -n 20 /run/node.log\nexit 0\n",
        containerd.number()
    );
    node(kernel, &images)?
        .machine(|machine| machine.memory_mebibytes(2048).time_limit(Duration::from_secs(1500)))
        .run(&script)
}

const IMAGES: usize = 20;
const LAYERS: usize = 7;
const CONTAINERS: usize = 500;

const LOAD: &str = include_str!("load.sh");
