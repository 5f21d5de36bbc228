//! `osguard policy`.

mod deploy;
mod failure;
mod new;
mod sign;
mod status;

use std::fs::File;
use std::io::{self, Write as _};
use std::path::Path;

use clap::Subcommand;

use crate::exit_status::ExitStatus;
use crate::failure::Failure;
use crate::output::Output;

/// Write, sign and deploy IPE policies
///
/// The policy decides which files the kernel executes on this machine. `new` writes one as text,
/// `sign` wraps it in a signature that the kernel accepts, `deploy` loads and activates it,
/// `status` shows what is in force.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    Deploy(deploy::Arguments),
    New(new::Arguments),
    Sign(sign::Arguments),
    Status(status::Arguments),
}

impl Command {
    pub(crate) fn run(&self, output: &Output) -> Result<ExitStatus, Failure> {
        match self {
            Self::Deploy(arguments) => deploy::run(arguments, output),
            Self::New(arguments) => new::run(arguments, output),
            Self::Sign(arguments) => sign::run(arguments, output),
            Self::Status(arguments) => status::run(arguments, output),
        }
    }
}

/// Writes a file that must not exist yet; a policy in use is not overwritten by a slip.
fn write_new(path: &Path, bytes: &[u8]) -> Result<(), Failure> {
    let written = File::create_new(path).and_then(|mut file| {
        file.write_all(bytes)
            .and_then(|()| file.sync_all())
            .inspect_err(|_| _ = std::fs::remove_file(path))
    });
    written.map_err(|error| match error.kind() {
        io::ErrorKind::AlreadyExists => Failure::from_error(ExitStatus::Usage, error)
            .context(format!("cannot write {}", path.display()))
            .hint("A policy is never overwritten: choose another name, or remove the file."),
        _ => Failure::writing(path, error),
    })
}
