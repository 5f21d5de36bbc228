//! The `osguard` command: signs container images so that the Linux kernel refuses what is
//! unsigned.

mod args;
mod command;
mod conversion;
mod destination;
mod exit_status;
mod failure;
mod image;
mod log;
mod network;
mod new_file;
mod origin;
mod output;
mod passphrase;
mod printable;
mod progress;
mod registry_failure;
mod root_hash;
mod signed_manifest;
mod signing;
mod small_file;
mod transfer;
mod trust;
mod two_steps;

use std::process::ExitCode;

use args::Arguments;
use clap::Parser as _;
use output::Output;

fn main() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => return args::usage(&error).into(),
    };
    if let Some(backend) = arguments.global.sha256_backend {
        backend.choose().expect("nothing was hashed yet");
    }
    let output = Output::new(&arguments.global);
    match arguments.command.run(&output) {
        Ok(status) => status.into(),
        Err(failure) => output.failure(&failure).into(),
    }
}
