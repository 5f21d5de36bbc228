//! `osguard verity`: a stand-in for veritysetup.

mod block_files;
mod close;
mod device;
mod dump;
mod error_correction;
mod fault_report;
mod format;
mod header;
mod open;
mod opened_tree;
mod parameters;
mod repair;
mod root_hash;
mod running;
mod status;
mod superblock;
mod verify;

use std::error::Error;
use std::ops::ControlFlow;

use clap::Subcommand;

use crate::exit_status::ExitStatus;
use crate::failure::Failure;
use crate::output::Output;

/// Make, verify, repair, open and show dm-verity hash trees, in the words of veritysetup
#[derive(Debug, Subcommand)]
#[command(after_help = EXIT_CODES)]
pub(crate) enum Command {
    Close(close::Arguments),
    Dump(dump::Arguments),
    Format(format::Arguments),
    Open(open::Arguments),
    Repair(repair::Arguments),
    Status(status::Arguments),
    Verify(verify::Arguments),
}

impl Command {
    pub(crate) fn run(&self, output: &Output) -> Result<ExitStatus, Failure> {
        match self {
            Self::Close(arguments) => close::run(arguments),
            Self::Dump(arguments) => dump::run(arguments, output),
            Self::Format(arguments) => format::run(arguments, output),
            Self::Open(arguments) => open::run(arguments, output),
            Self::Repair(arguments) => repair::run(arguments, output),
            Self::Status(arguments) => status::run(arguments, output),
            Self::Verify(arguments) => verify::run(arguments, output),
        }
    }
}

/// Shows how far the work is, and never ends it.
fn shown(mut on_progress: impl FnMut(u64)) -> impl FnMut(u64) -> ControlFlow<()> {
    move |bytes| {
        on_progress(bytes);
        ControlFlow::Continue(())
    }
}

/// Fails as veritysetup does on parameters that it cannot use.
fn refused(error: impl Error + Send + Sync + 'static) -> Failure {
    Failure::from_error(WRONG_PARAMETERS, error)
}

/// veritysetup's code for wrong parameters, and for a root hash that is not the one of the tree.
pub(crate) const WRONG_PARAMETERS: ExitStatus = ExitStatus::Veritysetup(1);

/// veritysetup's code for blocks that are not what the tree says, and for a missing permission.
const NOT_VERIFIED: ExitStatus = ExitStatus::Veritysetup(2);

/// veritysetup's code for a device that does not exist or cannot be used.
const WRONG_DEVICE: ExitStatus = ExitStatus::Veritysetup(4);

/// veritysetup's code for a device that exists already or is in use.
const BUSY: ExitStatus = ExitStatus::Veritysetup(5);

const EXIT_CODES: &str = "\
Exit codes, as of veritysetup:
  0  done
  1  wrong parameters, or the root hash is not that of the tree
  2  no permission, or blocks are not what the tree says
  4  wrong device
  5  the device exists already, or is in use";
