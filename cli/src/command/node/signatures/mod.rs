//! `osguard node signatures`.

mod add;
mod added;
mod fetch;
mod list;

use std::path::PathBuf;

use clap::Subcommand;
use osguard_node::containerd::signature_directory::{SignatureDirectory, SignatureDirectoryError};

use crate::exit_status::ExitStatus;
use crate::failure::Failure;
use crate::output::Output;

/// Keep signatures on this machine: for images of others, and for machines without a network
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    Add(add::Arguments),
    Fetch(Box<fetch::Arguments>),
    List(list::Arguments),
}

impl Command {
    pub(super) fn run(&self, output: &Output) -> Result<ExitStatus, Failure> {
        match self {
            Self::Add(arguments) => add::run(arguments, output),
            Self::Fetch(arguments) => fetch::run(arguments, output),
            Self::List(arguments) => list::run(arguments, output),
        }
    }
}

/// Where signatures are kept.
#[derive(Debug, clap::Args)]
struct StoreArguments {
    /// The directory of the signatures, one of those in the daemon's configuration
    #[arg(long, value_name = "DIR", default_value = "/var/lib/osguard/signatures")]
    directory: PathBuf,
}

impl StoreArguments {
    fn directory(&self) -> SignatureDirectory {
        SignatureDirectory::new(&self.directory)
    }
}

impl From<SignatureDirectoryError> for Failure {
    fn from(error: SignatureDirectoryError) -> Self {
        Self::from_error(ExitStatus::Failure, error)
    }
}
