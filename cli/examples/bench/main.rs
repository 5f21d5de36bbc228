//! What `osguard` costs, beside the tools that do the same part, in one run on one machine.
//!
//! `scripts/bench` builds this and runs it with the path of the `osguard` binary, and with the names
//! of the parts that are to be measured, or with none for all of them. It prints tables as
//! `docs/benchmarks.md` has them.

mod admission;
mod admission_load;
mod audit;
mod hook;
mod image;
mod keys;
mod lanes;
mod layers;
mod measure;
mod moving;
mod node;
mod patching;
mod policy;
mod signing;
mod simulating;
mod verifying;
mod verity;
mod verity_parity;

use std::error::Error;
use std::path::PathBuf;

use osguard_testkit::clients::Clients;

/// Is what all measurements share.
struct Bench {
    osguard: PathBuf,
    clients: Clients,
    directory: tempfile::TempDir,
}

/// Is a part of the benchmark: its name, and what measures it.
type Part = (&'static str, fn(&Bench) -> Result<(), Box<dyn Error>>);

const PARTS: [Part; 19] = [
    ("admission", admission::measure),
    ("admission-load", admission_load::measure_load),
    ("admission-trouble", admission_load::measure_trouble),
    ("admission-crowd", admission_load::measure_crowd),
    ("audit", audit::measure),
    ("lanes", |_| {
        lanes::measure();
        Ok(())
    }),
    ("keys", keys::measure),
    ("layers", layers::measure),
    ("patch", patching::measure),
    ("policy", |_| policy::measure()),
    ("simulate", simulating::measure),
    ("signing", signing::measure),
    ("moving", moving::measure),
    ("hook", hook::measure),
    ("node", node::containerd),
    ("node-memory", |_| node::memory()),
    ("verifying", verifying::measure),
    ("verity", verity::measure),
    ("verity-parity", verity_parity::measure),
];

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let osguard: PathBuf = arguments.next().ok_or("the path of osguard is missing")?.into();
    let wanted: Vec<String> = arguments.collect();
    if let Some(unknown) = wanted.iter().find(|name| !PARTS.iter().any(|part| part.0 == **name)) {
        return Err(format!("there is no part {unknown}").into());
    }
    let bench = Bench {
        osguard: osguard.canonicalize()?,
        clients: Clients::new()?,
        directory: tempfile::tempdir()?,
    };
    measure::machine()?;
    for (name, measure) in PARTS {
        if wanted.is_empty() || wanted.iter().any(|wanted| wanted == name) {
            measure(&bench)?;
        }
    }
    Ok(())
}
