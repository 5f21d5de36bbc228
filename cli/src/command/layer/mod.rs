//! `osguard layer`.

mod build;
pub(crate) mod directory_options;
mod inspect;
mod source;
mod tree;

use clap::Subcommand;

use crate::exit_status::ExitStatus;
use crate::failure::Failure;
use crate::output::Output;

/// Turn image layers into EROFS images with their hash trees, and inspect those
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    Build(build::Arguments),
    Inspect(inspect::Arguments),
}

impl Command {
    pub(crate) fn run(&self, output: &Output) -> Result<ExitStatus, Failure> {
        match self {
            Self::Build(arguments) => build::run(arguments, output),
            Self::Inspect(arguments) => inspect::run(arguments, output),
        }
    }
}
