//! `osguard policy status`.

use std::io::{self, Write};

use osguard_node::securityfs::IpeTree;
use osguard_node::status::IpeStatus;
use serde::Serialize;

use crate::exit_status::ExitStatus;
use crate::failure::Failure;
use crate::output::{Output, Report};

/// Show which policies the kernel has, and which one is in force
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {}

#[derive(Serialize)]
struct StatusReport {
    /// Whether denials are enforced, or recorded only.
    enforce: bool,
    policies: Vec<PolicyReport>,
}

#[derive(Serialize)]
struct PolicyReport {
    name: String,
    version: String,
    active: bool,
    /// The boot policy that is built into a kernel is not.
    signed: bool,
}

impl Report for StatusReport {
    const SCHEMA: &'static str = "osguard.policy.status.v1";

    fn text(&self, out: &mut dyn Write) -> io::Result<()> {
        if self.policies.is_empty() {
            writeln!(out, "No policy is loaded: the kernel runs everything")?;
        }
        for policy in &self.policies {
            let active = if policy.active { "  in force" } else { "" };
            let signed = if policy.signed { "" } else { "  built into the kernel" };
            writeln!(out, "{} {}{active}{signed}", policy.name, policy.version)?;
        }
        if !self.enforce {
            writeln!(out, "Enforcement is switched OFF: denials are recorded only")?;
        }
        Ok(())
    }
}

pub(super) fn run(_: &Arguments, output: &Output) -> Result<ExitStatus, Failure> {
    let tree = IpeTree::open().map_err(super::failure::unavailable)?;
    let status = IpeStatus::read(&tree)?;
    let policies = status.policies.into_iter().map(|policy| PolicyReport {
        name: policy.name.to_string(),
        version: policy.version.to_string(),
        active: policy.active,
        signed: policy.signed,
    });
    output.report(&StatusReport { enforce: status.enforce, policies: policies.collect() })?;
    Ok(ExitStatus::Done)
}
