//! `osguard verity`: a stand-in for veritysetup.

mod device;
mod dump;
mod format;
mod header;
mod parameters;
mod superblock;
mod verify;

use std::error::Error;

use clap::Subcommand;

use crate::exit_status::ExitStatus;
use crate::failure::Failure;
use crate::output::Output;

/// Make, verify and show dm-verity hash trees, in the words of veritysetup
#[derive(Debug, Subcommand)]
#[command(after_help = EXIT_CODES)]
pub(crate) enum Command {
    Dump(dump::Arguments),
    Format(format::Arguments),
    Verify(verify::Arguments),
}

impl Command {
    pub(crate) fn run(&self, output: &Output) -> Result<ExitStatus, Failure> {
        match self {
            Self::Dump(arguments) => dump::run(arguments, output),
            Self::Format(arguments) => format::run(arguments, output),
            Self::Verify(arguments) => verify::run(arguments, output),
        }
    }
}

/// Fails as veritysetup does on parameters that it cannot use.
fn refused(error: impl Error + Send + Sync + 'static) -> Failure {
    Failure::from_error(WRONG_PARAMETERS, error)
}

/// veritysetup's code for wrong parameters and for a verification that failed.
pub(crate) const WRONG_PARAMETERS: ExitStatus = ExitStatus::Veritysetup(1);

/// veritysetup's code for a device that does not exist or cannot be used.
const WRONG_DEVICE: ExitStatus = ExitStatus::Veritysetup(4);

const EXIT_CODES: &str = "\
Exit codes, as of veritysetup:
  0  done
  1  wrong parameters, or the data are not what the root hash says
  4  wrong device";
