//! `osguard policy deploy`.

use std::io::{self, Write};
use std::path::PathBuf;
use std::time::Duration;

use libverity::digest::Digest;
use osguard_node::deploy::{Activation, Load, deploy};
use osguard_node::policy_history::PolicyHistory;
use osguard_node::securityfs::IpeTree;
use osguard_node::status::IpeStatus;
use osguard_node::trial_guard::Request;
use osguard_policy::blob::SignedPolicy;
use serde::Serialize;

use super::preflight::{self, Preflight, SimulationArguments};
use super::trial::{Pending, TrialArguments, TrialTerms};
use super::{boot, soak, trial};
use crate::exit_status::ExitStatus;
use crate::failure::Failure;
use crate::output::{Output, Report};
use crate::small_file;

/// Check a signed policy, load it into the kernel, put it in force, and have it loaded at boot
///
/// First the policy is linted, its signature checked, and this machine asked what it would deny: where the machine could not be
/// run or mended any more, nothing is changed. Then it is loaded, activated and read back, and last the file is written
/// that systemd loads at boot. From the moment it is active, programs that it does not allow do not start, and only a policy
/// of the same or a higher version can follow it.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// The signed policy
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Load it, but leave in force what is; an update of the active policy is in force at once
    #[arg(long, conflicts_with_all = ["for_try", "soak"])]
    no_activate: bool,
    #[command(flatten)]
    trial: TrialArguments,
    /// First have denials recorded only for this long, as 10m; if there are any, the former state comes back
    ///
    /// Nothing is enforced meanwhile. What runs now is found by the simulation; this finds what starts in that time.
    #[arg(long, value_name = "TIME", value_parser = super::duration::parse)]
    soak: Option<Duration>,
    #[command(flatten)]
    simulation: SimulationArguments,
    /// Do not have it loaded at boot
    #[arg(long)]
    until_reboot: bool,
    /// Take it though the policy in force has another name; a node should keep to one name and one sequence of versions
    #[arg(long)]
    other_name: bool,
}

#[derive(Serialize)]
struct DeployReport {
    name: String,
    version: String,
    digest: Digest,
    load: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    updated_from: Option<String>,
    active: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    previous: Option<String>,
    /// How many objects of this machine the policy denies; none of them is vital.
    #[serde(skip_serializing_if = "Option::is_none")]
    denied: Option<usize>,
    /// The file that systemd loads.
    #[serde(skip_serializing_if = "Option::is_none")]
    boot_file: Option<PathBuf>,
    #[serde(skip_serializing_if = "Option::is_none")]
    trial: Option<Pending>,
}

impl Report for DeployReport {
    const SCHEMA: &'static str = "osguard.policy.deploy.v1";

    fn text(&self, out: &mut dyn Write) -> io::Result<()> {
        let from = self.updated_from.as_ref().map(|from| format!(" from {from}"));
        let from = from.unwrap_or_default();
        writeln!(out, "Policy {} {}: {}{from}", self.name, self.version, self.load)?;
        let state = if self.active { "It is in force" } else { "It is not in force" };
        match &self.previous {
            None => writeln!(out, "{state}")?,
            Some(previous) => writeln!(out, "{state}, in place of {previous}")?,
        }
        trial::what_follows(out, self.boot_file.as_deref(), self.trial.as_ref())
    }
}

pub(super) fn run(arguments: &Arguments, output: &Output) -> Result<ExitStatus, Failure> {
    let path = &arguments.file;
    let bytes = small_file::read(path)?;
    let policy = SignedPolicy::read(bytes).map_err(|error| {
        Failure::from_error(ExitStatus::Usage, error)
            .context(path.display())
            .hint("`osguard policy sign` makes a signed policy of a text.")
    })?;
    let tree = IpeTree::open().map_err(super::failure::unavailable)?;
    let rights = osguard_node::probe::require_policy_rights();
    rights.map_err(super::failure::privilege)?;
    preflight::lint(path, &policy, output)?;
    preflight::signature(path, &policy)?;
    let status = IpeStatus::read(&tree)?;
    one_name(&status, &policy, arguments.other_name)?;
    let boot =
        boot::Plan::new(&status, &policy, !arguments.no_activate && !arguments.until_reboot)?;
    // An update of the active policy is in force as soon as it is loaded, whatever was asked for.
    let is_active =
        status.active().is_some_and(|active| active.name == policy.header().name.as_str());
    let Preflight { denied } = match arguments.no_activate && !is_active {
        true => Preflight::default(),
        false => preflight::simulate_host(policy.text(), &arguments.simulation, output)?,
    };

    let guarded = arguments.trial.is_wanted() || arguments.soak.is_some();
    if guarded {
        let terms = TrialTerms {
            name: policy.header().name.as_str(),
            version: policy.header().version,
            soak: arguments.soak.unwrap_or_default(),
            at_boot: boot.is_wanted(),
        };
        arguments.trial.begin(&tree, &terms)?;
    }
    keep_former(&status, &tree, output)?;
    if let Some(time) = arguments.soak {
        soak::soak(&tree, &policy, time, status.enforce, output)?;
    }
    let deployment = deploy(&tree, &policy, !arguments.no_activate)?;
    let pending = match arguments.trial.is_wanted() {
        true => Some(trial::pending()?.ok_or_else(trial::over)?),
        false if guarded => {
            trial::end(Request::Confirm)?;
            None
        }
        false => None,
    };
    let boot_file = match pending {
        None => boot.install(&policy, output)?,
        Some(_) => None,
    };
    let (load, updated_from) = match deployment.load {
        Load::Loaded => ("loaded", None),
        Load::Updated { from } => ("updated", Some(from.to_string())),
        _ => ("already loaded", None),
    };
    let (active, previous) = match deployment.activation {
        Activation::NotAsked => (false, None),
        Activation::Activated { previous } => {
            (true, previous.map(|(name, version)| format!("{name} {version}")))
        }
        _ => (true, None),
    };
    output.report(&DeployReport {
        name: policy.header().name.to_string(),
        version: policy.header().version.to_string(),
        digest: policy.digest(),
        load,
        updated_from,
        active,
        previous,
        denied,
        boot_file,
        trial: pending,
    })?;
    Ok(ExitStatus::Done)
}

/// Refuses a second name: versions count across names, and whatever the higher one is called, the kernel goes back to no
/// lower one.
fn one_name(status: &IpeStatus, policy: &SignedPolicy, other_name: bool) -> Result<(), Failure> {
    let name = policy.header().name.as_str();
    match status.active().filter(|active| active.signed && active.name != name && !other_name) {
        None => Ok(()),
        Some(active) => Err(Failure::new(
            ExitStatus::Refused,
            format!(
                "{} {} is in force, and this policy is named {name}",
                active.name, active.version
            ),
        )
        .hint(format!(
            "Sign it under the name {} with a higher version; --other-name takes it as it is.",
            active.name
        ))),
    }
}

/// Keeps the policy in force, so that `policy rollback` finds it; a disk that is full or read-only is no reason to leave a node
/// without its new policy.
fn keep_former(status: &IpeStatus, tree: &IpeTree, output: &Output) -> Result<(), Failure> {
    let Some(active) = status.active() else { return Ok(()) };
    let former = osguard_node::deploy::loaded_policy(tree, &active.name)?;
    if let Some(former) = former
        && let Err(error) = PolicyHistory::default().keep(&former)
    {
        output.warning(format_args!("the former policy is not kept for a rollback: {error}"));
    }
    Ok(())
}
