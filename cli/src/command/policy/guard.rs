//! `osguard policy guard`: the process behind `--try`, which no one starts by hand.

use osguard_node::state_directory::StateDirectory;
use osguard_node::trial_guard;

use crate::exit_status::ExitStatus;
use crate::failure::Failure;

/// Bring the former state back when a trial ends; started by `deploy` and `activate`
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {}

pub(super) fn run(_: &Arguments) -> Result<ExitStatus, Failure> {
    trial_guard::run(&StateDirectory::default())?;
    Ok(ExitStatus::Done)
}
