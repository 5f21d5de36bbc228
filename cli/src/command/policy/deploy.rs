//! `osguard policy deploy`.

use std::io::{self, Write};
use std::path::PathBuf;

use libverity::digest::Digest;
use osguard_node::deploy::{Activation, Load, deploy};
use osguard_node::securityfs::IpeTree;
use osguard_policy::blob::SignedPolicy;
use serde::Serialize;

use crate::exit_status::ExitStatus;
use crate::failure::Failure;
use crate::output::{Output, Report};
use crate::small_file;

/// Load a signed policy into the kernel and put it in force
///
/// It holds until the next reboot, and only a policy of the same or a higher version can follow it. From the moment
/// it is active, programs that it does not allow do not start, this machine's own included.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// The signed policy
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Load it, but leave in force what is; an update of the active policy is in force at once
    #[arg(long)]
    no_activate: bool,
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
}

impl Report for DeployReport {
    const SCHEMA: &'static str = "osguard.policy.deploy.v1";

    fn text(&self, out: &mut dyn Write) -> io::Result<()> {
        let from = self.updated_from.as_ref().map(|from| format!(" from {from}"));
        let from = from.unwrap_or_default();
        writeln!(out, "Policy {} {}: {}{from}", self.name, self.version, self.load)?;
        let state = if self.active { "It is in force" } else { "It is not in force" };
        match &self.previous {
            None => writeln!(out, "{state}"),
            Some(previous) => writeln!(out, "{state}, in place of {previous}"),
        }
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
    let deployment = deploy(&tree, &policy, !arguments.no_activate)?;
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
    })?;
    Ok(ExitStatus::Done)
}
