//! `osguard node doctor`.

use std::io::{self, Write};
use std::path::PathBuf;

use osguard_node::doctor::{CHECKS, Finding, Machine, Severity};
use osguard_node::state_directory::StateDirectory;
use osguard_policy::trust::TrustStore;
use serde::Serialize;

use super::Places;
use crate::exit_status::ExitStatus;
use crate::failure::Failure;
use crate::output::{Output, Report};
use crate::printable::Printable;

/// Find out what undermines IPE and dm-verity on this machine
///
/// Looks for what neither of them tells by itself: tables that ignore corruption, devices that run something else than
/// what was activated, images with content outside of what is verified, enforcement that is switched off, keyrings
/// that trust too much, a kernel without what is needed, a containerd that goes past osguard, a runtime that cannot start
/// anything under a policy. Each finding comes with what to do about it. Nothing is
/// changed.
#[derive(Debug, clap::Args)]
#[command(after_long_help = EXIT_CODES)]
pub(crate) struct Arguments {
    /// The certificates that the kernel shall trust, in this file or in all files of this directory; others are
    /// found; may be repeated
    #[arg(long, value_name = "FILE|DIR")]
    trust: Vec<PathBuf>,
    #[command(flatten)]
    places: Places,
}

#[derive(Serialize)]
struct DoctorReport {
    /// `healthy`, `unknown` where something could not be looked at, or the severity of the worst finding.
    verdict: &'static str,
    checks: Vec<CheckReport>,
}

/// Is what came of one check.
#[derive(Serialize)]
pub(super) struct CheckReport {
    check: &'static str,
    /// What is right where nothing was found.
    title: &'static str,
    findings: Vec<FindingReport>,
    /// Why it could not be looked at.
    unchecked: Option<String>,
}

#[derive(Serialize)]
struct FindingReport {
    severity: String,
    what: String,
    remedy: String,
}

impl Report for DoctorReport {
    const SCHEMA: &'static str = "osguard.node.doctor.v1";

    fn text(&self, out: &mut dyn Write) -> io::Result<()> {
        self.checks.iter().try_for_each(|check| check.text(out))
    }
}

impl CheckReport {
    pub(super) fn new(
        check: &'static str,
        title: &'static str,
        found: Result<Vec<Finding>, impl ToString>,
    ) -> Self {
        let (findings, unchecked) = match found {
            Ok(mut findings) => {
                findings.sort_by_key(|finding| std::cmp::Reverse(finding.severity));
                (findings, None)
            }
            Err(reason) => (Vec::new(), Some(reason.to_string())),
        };
        let report = |Finding { severity, what, remedy }| FindingReport {
            severity: severity.to_string(),
            what,
            remedy,
        };
        let findings = findings.into_iter().map(report).collect();
        Self { check, title, findings, unchecked }
    }

    pub(super) fn text(&self, out: &mut dyn Write) -> io::Result<()> {
        let state = match (&self.unchecked, &self.findings[..]) {
            (Some(_), _) => "unknown",
            (None, []) => "ok",
            (None, _) => "FOUND",
        };
        writeln!(out, "{state:<8} {}", self.title)?;
        if let Some(reason) = &self.unchecked {
            writeln!(out, "         not looked at: {}", Printable(reason))?;
        }
        for finding in &self.findings {
            writeln!(out, "         {}: {}", finding.severity, Printable(&finding.what))?;
            writeln!(out, "           {}", Printable(&finding.remedy))?;
        }
        Ok(())
    }
}

pub(super) fn run(arguments: &Arguments, output: &Output) -> Result<ExitStatus, Failure> {
    let mut machine = Machine::here(StateDirectory::new(&arguments.places.state));
    if !arguments.trust.is_empty() {
        machine = machine.expecting(TrustStore::read("--trust", &arguments.trust)?.anchors);
    }
    let checks: Vec<_> = CHECKS.iter().map(|check| (check, check.run(&machine))).collect();
    let worst = checks.iter().filter_map(|(_, found)| found.as_ref().ok()).flatten();
    let worst = worst.map(|finding| finding.severity).max();
    let has_unchecked = checks.iter().any(|(_, found)| found.is_err());
    let (verdict, status) = match (worst, has_unchecked) {
        (Some(Severity::Critical), _) => ("critical", ExitStatus::Refused),
        (_, true) => ("unknown", ExitStatus::Failure),
        (Some(Severity::Warning), _) => ("warning", ExitStatus::Done),
        (Some(Severity::Note), _) => ("note", ExitStatus::Done),
        (None, _) => ("healthy", ExitStatus::Done),
    };
    let checks =
        checks.into_iter().map(|(check, found)| CheckReport::new(check.name, check.title, found));
    output.report(&DoctorReport { verdict, checks: checks.collect() })?;
    Ok(status)
}

const EXIT_CODES: &str = "\
Exit codes:
  0   nothing critical was found, and everything was looked at
  1   something could not be looked at; root sees everything
  13  something critical was found";
