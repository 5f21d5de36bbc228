//! `osguard node describe`.

use std::io::{self, Write};
use std::path::PathBuf;

use libverity::layer::Profile;
use osguard_node::description::describe;
use osguard_node::doctor::Machine;
use osguard_node::state_directory::StateDirectory;
use osguard_policy::node_description::{NODE_DESCRIPTION_SCHEMA, NodeDescription};
use serde::Serialize;

use super::run::daemon_config;
use crate::exit_status::ExitStatus;
use crate::failure::Failure;
use crate::output::{Output, Report};
use crate::printable::Printable;

/// Tell how this node converts layers, and whose signatures its kernel takes
///
/// For `osguard admission`, which lets an image start only where every node would take it: `[nodes]` in its configuration
/// reads the JSON of all nodes. Nothing is changed.
#[derive(Debug, clap::Args)]
#[command(after_long_help = EXAMPLE)]
pub(crate) struct Arguments {
    /// The name of the node in its cluster [default: the host's name]
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// The profile by which layers are converted; may be repeated [default: that of the daemon's configuration]
    #[arg(long, value_name = "NAME", conflicts_with = "config")]
    profile: Vec<Profile>,
    /// The daemon's configuration
    #[arg(long, value_name = "FILE", env = "OSGUARD_NODE_CONFIG")]
    config: Option<PathBuf>,
}

#[derive(Serialize)]
#[serde(transparent)]
struct DescriptionReport(NodeDescription);

impl Report for DescriptionReport {
    const SCHEMA: &'static str = NODE_DESCRIPTION_SCHEMA;

    fn text(&self, out: &mut dyn Write) -> io::Result<()> {
        let NodeDescription { name, os, architecture, kernel, profiles, certificates } = &self.0;
        writeln!(out, "{}: {os}/{architecture}, kernel {kernel}", Printable(name))?;
        for profile in profiles {
            writeln!(out, "  converts layers by {profile}")?;
        }
        for certificate in certificates {
            let subject = Printable(&certificate.subject);
            writeln!(
                out,
                "  takes signatures by {subject} ({}) in {}",
                certificate.identifier, certificate.keyring
            )?;
        }
        if certificates.is_empty() {
            writeln!(out, "  takes nobody's signatures")?;
        }
        Ok(())
    }
}

pub(super) fn run(arguments: &Arguments, output: &Output) -> Result<ExitStatus, Failure> {
    let name = match &arguments.name {
        Some(name) => name.clone(),
        None => host_name().map_err(|error| {
            Failure::from_error(ExitStatus::Failure, error).hint("Name the node with --name.")
        })?,
    };
    let profiles = match &arguments.profile[..] {
        [] => vec![daemon_config(arguments.config.as_deref())?.profile],
        profiles => profiles.to_vec(),
    };
    let description =
        describe(&Machine::here(StateDirectory::default()), name, profiles).map_err(|error| {
            Failure::new(ExitStatus::Failure, error.to_string())
                .hint("Root of the host sees the keyrings and the kernel's configuration.")
        })?;
    output.report(&DescriptionReport(description))?;
    Ok(ExitStatus::Done)
}

fn host_name() -> io::Result<String> {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname")?;
    Ok(name.trim_end().to_ascii_lowercase())
}

const EXAMPLE: &str = "\
Example:
  osguard node describe --name worker-1 --output json >nodes/worker-1.json";
