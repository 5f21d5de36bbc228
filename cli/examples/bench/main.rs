//! What `osguard` costs, beside the tools that do the same part, in one run on one machine.
//!
//! `scripts/bench` builds this and runs it with the path of the `osguard` binary. It prints tables
//! as `docs/benchmarks.md` has them.

mod hook;
mod image;
mod lanes;
mod measure;
mod moving;
mod signing;

use std::error::Error;
use std::path::PathBuf;

use osguard_testkit::clients::Clients;

/// Is what all measurements share.
struct Bench {
    osguard: PathBuf,
    clients: Clients,
    directory: tempfile::TempDir,
}

fn main() -> Result<(), Box<dyn Error>> {
    let osguard: PathBuf =
        std::env::args_os().nth(1).ok_or("the path of osguard is missing")?.into();
    let bench = Bench {
        osguard: osguard.canonicalize()?,
        clients: Clients::new()?,
        directory: tempfile::tempdir()?,
    };
    measure::machine()?;
    lanes::measure();
    signing::measure(&bench)?;
    moving::measure(&bench)?;
    hook::measure(&bench)?;
    Ok(())
}
