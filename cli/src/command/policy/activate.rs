//! `osguard policy activate`.

use std::io::{self, Write};
use std::path::PathBuf;

use osguard_node::deploy::{Activation, activate, loaded_policy};
use osguard_node::securityfs::{IpeTree, PolicyFile};
use osguard_node::status::IpeStatus;
use osguard_node::trial_guard::{Request, Return};
use serde::Serialize;

use super::boot;
use super::preflight::{self, SimulationArguments};
use super::trial::{self, Ended, Pending, TrialArguments, TrialTerms};
use crate::exit_status::ExitStatus;
use crate::failure::Failure;
use crate::output::{Output, Report};

/// Put a loaded policy in force, for good or on trial
///
/// With --try the former state comes back by itself unless --confirm is given in time: by a process that runs already when the
/// policy comes into force, so that no policy can stop it.
#[derive(Debug, clap::Args)]
#[command(group = clap::ArgGroup::new("subject").required(true))]
pub(crate) struct Arguments {
    /// The name of a loaded policy
    #[arg(value_name = "NAME", group = "subject")]
    name: Option<String>,
    /// Let the policy on trial stay, and have it loaded at boot
    #[arg(long, group = "subject", conflicts_with_all = ["for_try", "fallback"])]
    confirm: bool,
    /// End the trial: bring the former state back now
    #[arg(long, group = "subject", conflicts_with_all = ["for_try", "fallback"])]
    abort: bool,
    #[command(flatten)]
    trial: TrialArguments,
    #[command(flatten)]
    simulation: SimulationArguments,
}

#[derive(Serialize)]
struct ActivateReport {
    /// `activated`, `already active`, `confirmed` or `returned`.
    outcome: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    version: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    previous: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    boot_file: Option<PathBuf>,
    #[serde(skip_serializing_if = "Option::is_none")]
    trial: Option<Pending>,
}

impl Report for ActivateReport {
    const SCHEMA: &'static str = "osguard.policy.activate.v1";

    fn text(&self, out: &mut dyn Write) -> io::Result<()> {
        let (name, version) = (self.name.as_deref(), self.version.as_deref());
        let (name, version) = (name.unwrap_or_default(), version.unwrap_or_default());
        match (self.outcome, &self.previous) {
            ("activated", Some(previous)) => {
                writeln!(out, "Policy {name} {version} is in force, in place of {previous}")?;
            }
            ("activated", None) => writeln!(out, "Policy {name} {version} is in force")?,
            ("confirmed", _) => writeln!(out, "Policy {name} {version} stays in force")?,
            ("returned", _) => writeln!(out, "The trial is over, and the former state is back")?,
            _ => writeln!(out, "Policy {name} {version} was in force already")?,
        }
        trial::what_follows(out, self.boot_file.as_deref(), self.trial.as_ref())
    }
}

pub(super) fn run(arguments: &Arguments, output: &Output) -> Result<ExitStatus, Failure> {
    let tree = IpeTree::open().map_err(super::failure::unavailable)?;
    let rights = osguard_node::probe::require_policy_rights();
    rights.map_err(super::failure::privilege)?;
    let report = match &arguments.name {
        Some(name) => put_in_force(name, arguments, &tree, output)?,
        None if arguments.confirm => confirm(&tree, output)?,
        None => match trial::end(Request::Abort)? {
            Ended::Returned(Return::Emergency { error }) => {
                return Err(Failure::new(
                    ExitStatus::Failure,
                    format!(
                        "the former policy did not come back: {error}; denials are recorded only"
                    ),
                ));
            }
            _ => empty("returned"),
        },
    };
    output.report(&report)?;
    Ok(ExitStatus::Done)
}

fn put_in_force(
    name: &str,
    arguments: &Arguments,
    tree: &IpeTree,
    output: &Output,
) -> Result<ActivateReport, Failure> {
    let status = IpeStatus::read(tree)?;
    let not_loaded = || {
        Failure::new(ExitStatus::NotFound, format!("no policy {name:?} is loaded")).hint(
            "`osguard policy deploy` loads one; `osguard policy status` lists those that are.",
        )
    };
    let loaded =
        status.policies.iter().find(|policy| policy.name == name).ok_or_else(not_loaded)?;
    let policy = loaded_policy(tree, name)?;
    if !loaded.active {
        // The text, which the unsigned policy of the kernel's build has as well.
        let text = tree.read_policy(name, PolicyFile::Text)?;
        preflight::simulate_host(&text.ok_or_else(not_loaded)?, &arguments.simulation, output)?;
    }
    if arguments.trial.is_wanted() {
        arguments.trial.begin(
            tree,
            &TrialTerms {
                name,
                version: loaded.version,
                soak: std::time::Duration::ZERO,
                at_boot: policy.is_some(),
            },
        )?;
    }
    let (outcome, previous) = match activate(tree, name)? {
        Activation::Activated { previous } => ("activated", previous),
        _ => ("already active", None),
    };
    Ok(ActivateReport {
        name: Some(name.to_owned()),
        version: Some(loaded.version.to_string()),
        previous: previous.map(|(name, version)| format!("{name} {version}")),
        trial: match arguments.trial.is_wanted() {
            true => Some(trial::pending()?.ok_or_else(trial::over)?),
            false => None,
        },
        ..empty(outcome)
    })
}

/// Lets the policy on trial stay. What is loaded at boot from now on are the bytes that the kernel has.
fn confirm(tree: &IpeTree, output: &Output) -> Result<ActivateReport, Failure> {
    let Ended::Confirmed(trial) = trial::end(Request::Confirm)? else {
        return Ok(empty("returned"));
    };
    let boot_file = match loaded_policy(tree, &trial.name)?.filter(|_| trial.at_boot) {
        None => None,
        Some(policy) => {
            let status = IpeStatus::read(tree)?;
            boot::Plan::new(&status, &policy, true)?.install(&policy, output)?
        }
    };
    Ok(ActivateReport {
        name: Some(trial.name),
        version: Some(trial.version),
        boot_file,
        ..empty("confirmed")
    })
}

fn empty(outcome: &'static str) -> ActivateReport {
    ActivateReport {
        outcome,
        name: None,
        version: None,
        previous: None,
        boot_file: None,
        trial: None,
    }
}
