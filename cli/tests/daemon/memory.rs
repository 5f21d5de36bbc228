//! The memory of the daemon: how much it has when nothing is to be done, and that it does not grow.

use crate::cycles::{cycle, unpack_many};
use crate::daemon::{Daemon, until};

/// By hand 10,000 cycles and more are as good: `OSGUARD_SNAPSHOT_CYCLES`.
#[tokio::test]
async fn cycles_of_snapshots_do_not_make_it_grow() {
    let cycles = std::env::var("OSGUARD_SNAPSHOT_CYCLES").ok();
    let cycles = cycles.map_or(CYCLES, |cycles| cycles.parse().expect("a number"));
    let daemon = Daemon::start_in_memory("prefer").await;
    unpack_many(&daemon, LAYERS).await;
    let idle = daemon.memory_kib();
    for number in 0..WARM_UP {
        cycle(&daemon, number).await;
    }
    let warm = daemon.memory_kib();
    for number in 0..cycles {
        cycle(&daemon, WARM_UP + number).await;
    }
    let after = daemon.memory_kib();
    println!(
        "own memory and resident, KiB: with {LAYERS} layers {idle:?}, warm {warm:?}, after {cycles} cycles {after:?}"
    );
    assert!(idle.0 < IDLE_LIMIT_KIB, "{idle:?}");
    assert!(after.0 < warm.0 + GROWTH_LIMIT_KIB, "{warm:?} {after:?}");
    until(|| daemon.files("root/layers").len() == LAYERS).await;
    until(|| daemon.files("root/snapshots").is_empty()).await;
}

const LAYERS: usize = 200;
const WARM_UP: usize = 300;
const CYCLES: usize = 700;
/// The aim is 40 MiB with the pages of the program, of which a build for tests has more.
const IDLE_LIMIT_KIB: u64 = 40 << 10;
/// The cache of the records, 2 MiB, is not full before some thousand cycles.
const GROWTH_LIMIT_KIB: u64 = 3 << 10;
