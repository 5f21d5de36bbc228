//! `osguard policy`.

mod activate;
mod boot;
mod deploy;
mod duration;
mod failure;
mod format;
mod guard;
mod image_uses;
mod lint;
mod new;
mod preflight;
mod revoke;
mod rollback;
mod show;
mod sign;
mod simulate;
mod soak;
pub(super) mod source;
mod status;
mod superseded;
mod trial;
mod volumes;
mod wanted;

use std::fs::File;
use std::io::{self, Write as _};
use std::path::Path;

use clap::Subcommand;

use crate::exit_status::ExitStatus;
use crate::failure::Failure;
use crate::output::Output;

/// Write, check, sign and deploy IPE policies
///
/// The policy decides which files the kernel executes on this machine. `new` writes one as text, `lint`
/// finds what is wrong with it, `format` puts it straight, `show` says in plain words what it does,
/// `revoke` adds denials to it.
/// `sign` wraps it in a signature that the kernel accepts, `simulate` tells what it would deny, `deploy` and `activate`
/// put it in force, on trial if you like, `rollback` brings former rules back, and `status` shows what is in force.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    Activate(activate::Arguments),
    Deploy(deploy::Arguments),
    Format(format::Arguments),
    #[command(hide = true)]
    Guard(guard::Arguments),
    Lint(lint::Arguments),
    New(new::Arguments),
    Revoke(revoke::Arguments),
    Rollback(rollback::Arguments),
    Show(show::Arguments),
    Sign(sign::Arguments),
    Simulate(simulate::Arguments),
    Status(status::Arguments),
}

impl Command {
    pub(crate) fn run(&self, output: &Output) -> Result<ExitStatus, Failure> {
        match self {
            Self::Activate(arguments) => activate::run(arguments, output),
            Self::Deploy(arguments) => deploy::run(arguments, output),
            Self::Format(arguments) => format::run(arguments, output),
            Self::Guard(arguments) => guard::run(arguments),
            Self::Lint(arguments) => lint::run(arguments, output),
            Self::New(arguments) => new::run(arguments, output),
            Self::Revoke(arguments) => revoke::run(arguments, output),
            Self::Rollback(arguments) => rollback::run(arguments, output),
            Self::Show(arguments) => show::run(arguments, output),
            Self::Sign(arguments) => sign::run(arguments, output),
            Self::Simulate(arguments) => simulate::run(arguments, output),
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
