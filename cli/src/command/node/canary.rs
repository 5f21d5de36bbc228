//! `osguard node canary`.

use std::io::{self, Write};
use std::path::PathBuf;

use osguard_node::canary::{Attempt, Canary};
use serde::Serialize;

use crate::exit_status::ExitStatus;
use crate::failure::Failure;
use crate::output::{Output, Report};
use crate::printable::Printable;

/// Try whether the kernel denies an unsigned program, and runs a signed one
///
/// A policy may be loaded and nothing be enforced all the same. The unsigned program is made in memory and ends at once; its
/// denial leaves one audit record (`/memfd:osguard-canary`). `osguard node run` does the same at an interval.
#[derive(Debug, clap::Args)]
#[command(after_long_help = EXIT_CODES)]
pub(crate) struct Arguments {
    /// A program on a signed volume that succeeds and changes nothing [default: osguard itself]
    #[arg(long, value_name = "FILE")]
    signed_program: Option<PathBuf>,
    /// An argument for it; may be repeated
    #[arg(long, value_name = "TEXT", requires = "signed_program", allow_hyphen_values = true)]
    argument: Vec<String>,
}

#[derive(Serialize)]
struct CanaryReport {
    enforced: bool,
    unsigned: &'static str,
    signed: &'static str,
    /// All of it in a sentence.
    summary: String,
}

impl Report for CanaryReport {
    const SCHEMA: &'static str = "osguard.node.canary.v1";

    fn text(&self, out: &mut dyn Write) -> io::Result<()> {
        let state = if self.enforced { "ok" } else { "FOUND" };
        writeln!(out, "{state:<8} {}", Printable(&self.summary))
    }
}

pub(super) fn run(arguments: &Arguments, output: &Output) -> Result<ExitStatus, Failure> {
    let canary = match &arguments.signed_program {
        Some(program) => Canary::with_program(program, &arguments.argument),
        None => Canary::default(),
    };
    let probe = canary.probe();
    output.report(&CanaryReport {
        enforced: probe.is_enforced(),
        unsigned: word(&probe.unsigned),
        signed: word(&probe.signed),
        summary: probe.to_string(),
    })?;
    Ok(if probe.is_enforced() { ExitStatus::Done } else { ExitStatus::Refused })
}

fn word(attempt: &Attempt) -> &'static str {
    match attempt {
        Attempt::Denied => "denied",
        Attempt::Ran => "ran",
        Attempt::Unclear { .. } => "unknown",
    }
}

const EXIT_CODES: &str = "\
Exit codes:
  0   the unsigned program was denied, and the signed one ran
  13  anything else";
