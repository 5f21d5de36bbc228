//! `osguard policy status`.

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use osguard_node::boot_policy::{BootPolicies, is_started_by_systemd};
use osguard_node::securityfs::IpeTree;
use osguard_node::status::IpeStatus;
use serde::Serialize;

use super::trial::Pending;
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
    #[serde(skip_serializing_if = "Option::is_none")]
    trial: Option<Pending>,
    /// What systemd loads at boot, in order.
    boot_files: Vec<BootReport>,
    /// What would freeze the machine at its next start.
    boot_hazards: Vec<String>,
}

#[derive(Serialize)]
struct BootReport {
    path: PathBuf,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    version: Option<String>,
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
        if let Some(pending) = &self.trial {
            pending.text(out)?;
        }
        for BootReport { path, name, version } in &self.boot_files {
            let path = path.display();
            let (name, version) = (name.as_deref(), version.as_deref());
            match (name, version) {
                (Some(name), Some(version)) => {
                    writeln!(out, "At boot: {name} {version} from {path}")?
                }
                _ => writeln!(out, "At boot: {path}")?,
            }
        }
        for hazard in &self.boot_hazards {
            writeln!(out, "At its next start this machine would FREEZE: {hazard}")?;
        }
        Ok(())
    }
}

pub(super) fn run(_: &Arguments, output: &Output) -> Result<ExitStatus, Failure> {
    let tree = IpeTree::open().map_err(super::failure::unavailable)?;
    let status = IpeStatus::read(&tree)?;
    let policies = status.policies.iter().map(|policy| PolicyReport {
        name: policy.name.to_string(),
        version: policy.version.to_string(),
        active: policy.active,
        signed: policy.signed,
    });
    let boot = BootPolicies::read(Path::new("/"))
        .map_err(|error| Failure::reading(Path::new("/etc/ipe"), error))?;
    let boot_files = boot.files().map(|file| {
        let header = file.policy.as_ref().map(|policy| policy.header());
        BootReport {
            path: file.path.clone(),
            name: header.map(|header| header.name.to_string()),
            version: header.map(|header| header.version.to_string()),
        }
    });
    let hazards = match is_started_by_systemd() {
        true => boot.hazards(super::boot::built_in(&status)),
        false => Vec::new(),
    };
    output.report(&StatusReport {
        enforce: status.enforce,
        policies: policies.collect(),
        trial: super::trial::pending()?,
        boot_files: boot_files.collect(),
        boot_hazards: hazards.iter().map(ToString::to_string).collect(),
    })?;
    Ok(ExitStatus::Done)
}
