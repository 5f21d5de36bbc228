//! `osguard admission`.

mod check;
mod evaluation;
mod report;
mod serve;

use clap::Subcommand;

use crate::exit_status::ExitStatus;
use crate::failure::Failure;
use crate::output::Output;

/// Keep unsigned images out of a Kubernetes cluster
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    Check(check::Arguments),
    Report(report::Arguments),
    Serve(serve::Arguments),
}

impl Command {
    pub(crate) fn run(&self, output: &Output) -> Result<ExitStatus, Failure> {
        match self {
            Self::Check(arguments) => check::run(arguments, output),
            Self::Report(arguments) => report::run(arguments, output),
            Self::Serve(arguments) => serve::run(arguments, output),
        }
    }
}
