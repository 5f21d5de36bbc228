//! `osguard completions`.

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
    clap_complete::generate(arguments.shell, &mut command, "osguard", &mut std::io::stdout());
    Ok(ExitStatus::Done)
}
