//! `osguard version`.

use std::io::{self, Write};

use serde::Serialize;

use crate::exit_status::ExitStatus;
use crate::failure::Failure;
use crate::output::{Output, Report};

/// Print the version of osguard
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {}

#[derive(Serialize)]
struct VersionReport {
    version: &'static str,
}

impl Report for VersionReport {
    const SCHEMA: &'static str = "osguard.version.v1";

    fn text(&self, out: &mut dyn Write) -> io::Result<()> {
        writeln!(out, "osguard {}", self.version)
    }
}

pub(crate) fn run(_: &Arguments, output: &Output) -> Result<ExitStatus, Failure> {
    output.report(&VersionReport { version: env!("CARGO_PKG_VERSION") })?;
    Ok(ExitStatus::Done)
}
