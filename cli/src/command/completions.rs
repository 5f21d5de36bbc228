//! `osguard completions`.

use std::io::{self, Write as _};

use clap::CommandFactory as _;

use crate::exit_status::ExitStatus;
use crate::failure::Failure;

/// Print a completion script for a shell
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// The shell that will read the script
    shell: clap_complete::Shell,
}

pub(crate) fn run(arguments: &Arguments) -> Result<ExitStatus, Failure> {
    let mut command = crate::args::Arguments::command();
    // In one piece: the generator panics when it cannot write.
    let mut script = Vec::new();
    clap_complete::generate(arguments.shell, &mut command, "osguard", &mut script);
    io::stdout().write_all(&script).map_err(|error| {
        Failure::from_error(ExitStatus::Failure, error).context("standard output")
    })?;
    Ok(ExitStatus::Done)
}
