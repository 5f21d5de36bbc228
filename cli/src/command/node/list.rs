//! `osguard node list`.

use std::io::{self, Write};
use std::path::PathBuf;

use libverity::digest::RootHash;
use osguard_node::image_mount::{self, MountState};
use osguard_node::state_directory::StateDirectory;
use serde::Serialize;

use super::Places;
use crate::exit_status::ExitStatus;
use crate::failure::Failure;
use crate::output::{Output, Report};

/// List the images that are mounted on this machine
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    places: Places,
}

#[derive(Serialize)]
struct ListReport {
    mounts: Vec<MountReport>,
}

#[derive(Serialize)]
struct MountReport {
    target: PathBuf,
    /// `complete`, `incomplete`, or `elsewhere`: in another mount namespace.
    state: &'static str,
    writable: bool,
    /// From the bottom up.
    layers: Vec<LayerReport>,
}

#[derive(Serialize)]
struct LayerReport {
    root_hash: RootHash,
    signed: bool,
    image: PathBuf,
}

impl Report for ListReport {
    const SCHEMA: &'static str = "osguard.node.list.v1";

    fn text(&self, out: &mut dyn Write) -> io::Result<()> {
        if self.mounts.is_empty() {
            writeln!(out, "Nothing of osguard is mounted")?;
        }
        for mount in &self.mounts {
            let state = match mount.state {
                "incomplete" => "  INCOMPLETE: unmount it",
                "elsewhere" => "  in another mount namespace",
                _ => "",
            };
            let mode = if mount.writable { "writable" } else { "read-only" };
            writeln!(out, "{}  {mode}{state}", mount.target.display())?;
            for layer in &mount.layers {
                let signed = if layer.signed { "signed" } else { "NOT SIGNED" };
                writeln!(out, "  root hash {}  {signed}", layer.root_hash)?;
            }
        }
        Ok(())
    }
}

pub(super) fn run(arguments: &Arguments, output: &Output) -> Result<ExitStatus, Failure> {
    let state = StateDirectory::new(&arguments.places.state);
    let mounts = image_mount::list(&state)?
        .into_iter()
        .map(|mount| MountReport {
            target: mount.record.target,
            state: match mount.state {
                MountState::Complete => "complete",
                MountState::Elsewhere => "elsewhere",
                MountState::Incomplete => "incomplete",
            },
            writable: mount.record.upper.is_some(),
            layers: mount
                .record
                .layers
                .into_iter()
                .map(|layer| LayerReport {
                    root_hash: layer.root_hash,
                    signed: layer.signed,
                    image: layer.image,
                })
                .collect(),
        })
        .collect();
    output.report(&ListReport { mounts })?;
    Ok(ExitStatus::Done)
}
