//! `osguard node unmount`.

use std::io::{self, Write};
use std::path::PathBuf;

use osguard_node::image_mount;
use osguard_node::state_directory::StateDirectory;
use serde::Serialize;

use super::Places;
use crate::exit_status::ExitStatus;
use crate::failure::Failure;
use crate::output::{Output, Report};

/// Unmount an image and remove every device that only it used
///
/// Works as well on what a killed `osguard node mount` left behind. Where nothing is mounted, nothing happens.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// The directory at which the image is mounted
    #[arg(value_name = "TARGET")]
    target: PathBuf,
    #[command(flatten)]
    places: Places,
}

#[derive(Serialize)]
struct UnmountReport {
    target: PathBuf,
    /// Whether anything was mounted there.
    found: bool,
    /// The layers whose devices are gone.
    removed_layers: Vec<String>,
    /// The layers whose devices go with their last user elsewhere.
    layers_in_use_elsewhere: Vec<String>,
}

impl Report for UnmountReport {
    const SCHEMA: &'static str = "osguard.node.unmount.v1";

    fn text(&self, out: &mut dyn Write) -> io::Result<()> {
        let target = self.target.display();
        if !self.found {
            return writeln!(out, "Nothing of osguard is mounted at {target}");
        }
        writeln!(out, "Unmounted {target}; removed {} layers", self.removed_layers.len())?;
        for layer in &self.layers_in_use_elsewhere {
            writeln!(out, "  still in use in another mount namespace: {layer}")?;
        }
        Ok(())
    }
}

pub(super) fn run(arguments: &Arguments, output: &Output) -> Result<ExitStatus, Failure> {
    let state = StateDirectory::new(&arguments.places.state);
    let unmounted = image_mount::unmount(&state, &arguments.target)?;
    output.report(&UnmountReport {
        target: arguments.target.clone(),
        found: unmounted.found,
        removed_layers: unmounted.layers.iter().map(ToString::to_string).collect(),
        layers_in_use_elsewhere: unmounted
            .in_use_elsewhere
            .iter()
            .map(ToString::to_string)
            .collect(),
    })?;
    Ok(ExitStatus::Done)
}
