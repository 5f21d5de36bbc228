//! `osguard node`.

mod affected;
mod canary;
mod describe;
mod doctor;
mod failure;
mod generations_report;
mod list;
mod mount;
mod preflight;
mod run;
mod signatures;
mod unmount;

use std::path::PathBuf;

use clap::Subcommand;

use crate::exit_status::ExitStatus;
use crate::failure::Failure;
use crate::output::Output;

/// Mount signed images on this machine so that the kernel verifies every block, and see that nothing undermines it
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    Affected(affected::Arguments),
    Canary(canary::Arguments),
    Describe(describe::Arguments),
    Doctor(doctor::Arguments),
    List(list::Arguments),
    Mount(Box<mount::Arguments>),
    Preflight(preflight::Arguments),
    Run(run::Arguments),
    #[command(subcommand)]
    Signatures(signatures::Command),
    Unmount(unmount::Arguments),
}

impl Command {
    pub(crate) fn run(&self, output: &Output) -> Result<ExitStatus, Failure> {
        match self {
            Self::Affected(arguments) => affected::run(arguments, output),
            Self::Canary(arguments) => canary::run(arguments, output),
            Self::Describe(arguments) => describe::run(arguments, output),
            Self::Doctor(arguments) => doctor::run(arguments, output),
            Self::List(arguments) => list::run(arguments, output),
            Self::Mount(arguments) => mount::run(arguments, output),
            Self::Preflight(arguments) => preflight::run(arguments, output),
            Self::Run(arguments) => run::run(arguments, output),
            Self::Signatures(command) => command.run(output),
            Self::Unmount(arguments) => unmount::run(arguments, output),
        }
    }
}

/// Where the node keeps its records and its layers.
#[derive(Debug, clap::Args)]
struct Places {
    /// Where records of mounts are kept; must be empty after a reboot
    #[arg(long, value_name = "DIR", default_value = "/run/osguard", env = "OSGUARD_STATE")]
    state: PathBuf,
    /// Where converted layers are kept
    #[arg(long, value_name = "DIR", default_value = "/var/lib/osguard", env = "OSGUARD_STORE")]
    store: PathBuf,
}
