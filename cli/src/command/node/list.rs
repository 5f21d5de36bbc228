//! `osguard node list`.

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use libverity::digest::RootHash;
use osguard_node::containerd::config::CONTAINERD_SOCKET;
use osguard_node::generations::generations;
use osguard_node::image_mount::{self, MountState};
use osguard_node::state_directory::StateDirectory;
use serde::Serialize;

use super::Places;
use super::generations_report::GenerationsReport;
use crate::exit_status::ExitStatus;
use crate::failure::Failure;
use crate::image;
use crate::output::{Output, Report};

/// List the images that are mounted on this machine, or all that is here of one image
///
/// With --image, it is the images of one repository that are shown, whatever their tags and digests: those that containerd
/// has, and those that are mounted by `osguard node mount`. Of each it tells which layers it shares with others, and
/// which verity devices are active. A new image that shares all but one layer with the one before needs one device more.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Show the generations of this image instead: HOST/REPOSITORY, oci:DIR or oci-archive:FILE; a tag makes no difference
    #[arg(long, value_name = "IMAGE")]
    image: Option<String>,
    /// The socket of containerd [default: /run/containerd/containerd.sock, if there is one]
    #[arg(long, value_name = "SOCKET", requires = "image")]
    containerd: Option<PathBuf>,
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
    if let Some(image) = &arguments.image {
        let image = image::parse(image)?;
        let containerd = match &arguments.containerd {
            Some(socket) if !socket.exists() => {
                let what = format!("there is no socket {}", socket.display());
                return Err(Failure::new(ExitStatus::NotFound, what));
            }
            Some(socket) => socket,
            None => Path::new(CONTAINERD_SOCKET),
        };
        let found = generations(&image, &state, containerd)?;
        output.report(&GenerationsReport::of(&image, found))?;
        return Ok(ExitStatus::Done);
    }
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
