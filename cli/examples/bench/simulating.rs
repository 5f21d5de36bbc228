//! What it costs to ask a machine with many processes what a policy would deny.

use std::error::Error;
use std::process::{Child, Command, Stdio};

use osguard_testkit::command::{command, find};

use crate::Bench;
use crate::measure::{median, run};

const PROCESSES: usize = 300;
const ROUNDS: usize = 9;

pub(crate) fn measure(bench: &Bench) -> Result<(), Box<dyn Error>> {
    let policy = bench.directory.path().join("simulated.policy");
    // Every object is looked at under any policy; under this one nothing is denied, and the program succeeds.
    std::fs::write(&policy, "policy_name=bench policy_version=1.0.0\nDEFAULT action=ALLOW\n")?;
    // Perl maps seven files, as an ordinary program does.
    let perl = find("perl")?;
    let mut processes = Processes(Vec::new());
    for _ in 0..PROCESSES {
        let mut process = Command::new(&perl);
        process.args(["-MPOSIX", "-e", "sleep 3600"]).stdin(Stdio::null()).stdout(Stdio::null());
        processes.0.push(process.spawn()?);
    }
    let mut simulate = command("env")?;
    simulate.arg(&bench.osguard).args(["policy", "simulate"]).arg(&policy).arg("--host");
    let costs = (0..ROUNDS).map(|_| run(&simulate)).collect::<Result<Vec<_>, _>>()?;
    let cost = median(costs);
    println!(
        "\n### `osguard policy simulate --host`, of {PROCESSES} processes of perl and what else runs\n"
    );
    println!("| | time (median of {ROUNDS}) | peak memory |\n|---|---|---|");
    let memory = cost.memory_kib as f64 / 1024.0;
    println!("| a machine with {PROCESSES} processes | {:.3} s | {memory:.0} MiB |", cost.seconds);
    Ok(())
}

/// Are processes that do not outlive the measurement.
struct Processes(Vec<Child>);

impl Drop for Processes {
    fn drop(&mut self) {
        for process in &mut self.0 {
            // Both fail only if it has ended already, which is what is wanted.
            let _ = process.kill();
            let _ = process.wait();
        }
    }
}
