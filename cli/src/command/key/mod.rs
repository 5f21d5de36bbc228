//! `osguard key`.

mod coverage;
mod generate;
mod show;

use clap::Subcommand;

use crate::exit_status::ExitStatus;
use crate::failure::Failure;
use crate::output::Output;

/// Make signing keys, explain keys and signatures, and tell what a key still protects
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    Coverage(Box<coverage::Arguments>),
    Generate(generate::Arguments),
    Show(show::Arguments),
}

impl Command {
    pub(crate) fn run(&self, output: &Output) -> Result<ExitStatus, Failure> {
        match self {
            Self::Coverage(arguments) => coverage::run(arguments, output),
            Self::Generate(arguments) => generate::run(arguments, output),
            Self::Show(arguments) => show::run(arguments, output),
        }
    }
}
