//! `osguard verity close`.

use osguard_node::verity_device::{Closing, close};

use super::running::{mapper, of_device};
use crate::exit_status::ExitStatus;
use crate::failure::Failure;

/// Remove a device that `open` made
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// What the device is called
    #[arg(value_name = "NAME")]
    name: String,
    /// Remove it as soon as nothing uses it any more
    #[arg(long, conflicts_with = "cancel_deferred")]
    deferred: bool,
    /// Take --deferred back
    #[arg(long)]
    cancel_deferred: bool,
}

pub(super) fn run(arguments: &Arguments) -> Result<ExitStatus, Failure> {
    let closing = match (arguments.deferred, arguments.cancel_deferred) {
        (true, _) => Closing::Deferred,
        (_, true) => Closing::CancelDeferred,
        _ => Closing::Now,
    };
    close(&mapper()?, &arguments.name, closing).map_err(of_device)?;
    Ok(ExitStatus::Done)
}
