//! `osguard node preflight`.

use std::io::{self, Write};
use std::path::PathBuf;

use osguard_node::doctor::{Machine, Severity};
use osguard_node::preflight::preflight;
use osguard_node::probe::require_root;
use osguard_node::state_directory::StateDirectory;
use serde::Serialize;

use super::Places;
use super::doctor::CheckReport;
use crate::command::policy::source::{KernelArguments, Source};
use crate::exit_status::ExitStatus;
use crate::failure::Failure;
use crate::output::{Output, Report};

/// Find out whether this node is ready for a policy, before it is enforced
///
/// Looks at the kernel, at what the policy would deny of all that this machine has in use, at the ways on which containerd
/// unpacks and starts images, and whether osguard answers it. Nothing is changed. What is critical has to be mended before
/// `osguard policy deploy`.
#[derive(Debug, clap::Args)]
#[command(after_long_help = EXIT_CODES)]
pub(crate) struct Arguments {
    /// The policy: text or signed; - is standard input
    #[arg(value_name = "POLICY")]
    policy: PathBuf,
    #[command(flatten)]
    kernel: KernelArguments,
    #[command(flatten)]
    places: Places,
}

#[derive(Serialize)]
struct PreflightReport {
    /// `ready`, `unknown` where something could not be looked at, or `blocked`.
    verdict: &'static str,
    checks: Vec<CheckReport>,
}

impl Report for PreflightReport {
    const SCHEMA: &'static str = "osguard.node.preflight.v1";

    fn text(&self, out: &mut dyn Write) -> io::Result<()> {
        self.checks.iter().try_for_each(|check| check.text(out))?;
        match self.verdict {
            "ready" => writeln!(out, "This node is ready for the policy"),
            "blocked" => writeln!(out, "This node is NOT ready: mend what is critical first"),
            _ => writeln!(out, "Whether this node is ready is not known"),
        }
    }
}

pub(super) fn run(arguments: &Arguments, output: &Output) -> Result<ExitStatus, Failure> {
    require_root().map_err(super::failure::privilege)?;
    let policy = Source::read(&arguments.policy)?.policy(arguments.kernel.kernel)?;
    let machine = Machine::here(StateDirectory::new(&arguments.places.state));
    let steps = preflight(&machine, &policy);
    let mut findings = steps.iter().filter_map(|step| step.outcome.as_ref().ok()).flatten();
    let is_blocked = findings.any(|finding| finding.severity == Severity::Critical);
    let is_known = steps.iter().all(|step| step.outcome.is_ok());
    let (verdict, status) = match (is_blocked, is_known) {
        (true, _) => ("blocked", ExitStatus::Refused),
        (false, false) => ("unknown", ExitStatus::Failure),
        (false, true) => ("ready", ExitStatus::Done),
    };
    let checks =
        steps.into_iter().map(|step| CheckReport::new(step.name, step.title, step.outcome));
    output.report(&PreflightReport { verdict, checks: checks.collect() })?;
    Ok(status)
}

const EXIT_CODES: &str = "\
Exit codes:
  0   nothing stands in the way
  1   something could not be looked at
  13  something has to be mended first";
