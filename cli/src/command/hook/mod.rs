//! `osguard hook`.

mod serve;

use clap::Subcommand;

use crate::exit_status::ExitStatus;
use crate::failure::Failure;
use crate::output::Output;

/// Sign what is pushed to a registry
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    Serve(serve::Arguments),
}

impl Command {
    pub(crate) fn run(&self, output: &Output) -> Result<ExitStatus, Failure> {
        match self {
            Self::Serve(arguments) => serve::run(arguments, output),
        }
    }
}
