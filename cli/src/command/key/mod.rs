//! `osguard key`.

mod generate;
mod show;

use clap::Subcommand;

use crate::exit_status::ExitStatus;
use crate::failure::Failure;
use crate::output::Output;

/// Make signing keys, and explain keys, certificates and signatures
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    Generate(generate::Arguments),
    Show(show::Arguments),
}

impl Command {
    pub(crate) fn run(&self, output: &Output) -> Result<ExitStatus, Failure> {
        match self {
            Self::Generate(arguments) => generate::run(arguments, output),
            Self::Show(arguments) => show::run(arguments, output),
        }
    }
}
