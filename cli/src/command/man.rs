//! `osguard man`.

use std::path::PathBuf;

use clap::CommandFactory as _;

use crate::exit_status::ExitStatus;
use crate::failure::Failure;

/// Write the manual pages, one for each command
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// The directory that the pages are written to; it is made if it does not exist
    #[arg(value_name = "DIR")]
    directory: PathBuf,
}

pub(crate) fn run(arguments: &Arguments) -> Result<ExitStatus, Failure> {
    let directory = &arguments.directory;
    std::fs::create_dir_all(directory)
        .and_then(|()| clap_mangen::generate_to(crate::args::Arguments::command(), directory))
        .map_err(|error| Failure::writing(directory, error))?;
    Ok(ExitStatus::Done)
}
