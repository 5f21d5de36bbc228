//! The daemon's memory, with 200 layers and after 10,000 cycles of snapshots, on this machine and its disk.

use std::error::Error;
use std::time::Instant;

use super::cycles::{cycle, unpack_many};
use super::daemon::Daemon;

const LAYERS: usize = 200;
const CYCLES: usize = 10_000;
const ROWS: usize = 5;

pub(crate) fn measure() -> Result<(), Box<dyn Error>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let daemon = Daemon::start_in_memory("prefer").await;
        println!("\n### Memory of the daemon\n\n| | resident | its own |\n|---|---|---|");
        row(&daemon, "at the start");
        unpack_many(&daemon, LAYERS).await;
        row(&daemon, &format!("with {LAYERS} layers"));
        let begun = Instant::now();
        for number in 0..CYCLES {
            cycle(&daemon, number).await;
            if (number + 1) % (CYCLES / ROWS) == 0 {
                row(&daemon, &format!("after {} cycles", number + 1));
            }
        }
        let milliseconds = begun.elapsed().as_secs_f64() * 1e3 / CYCLES as f64;
        println!(
            "\nA cycle: a layer is converted, committed, and removed; a container's snapshot is prepared, asked for \
             and removed; {milliseconds:.1} ms, with what containerd would have to do."
        );
    });
    Ok(())
}

fn row(daemon: &Daemon, what: &str) {
    let (own, resident) = daemon.memory_kib();
    let mebibytes = |kibibytes: u64| kibibytes as f64 / 1024.0;
    println!("| {what} | {:.1} MiB | {:.1} MiB |", mebibytes(resident), mebibytes(own));
}
