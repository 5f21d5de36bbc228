//! `osguard node mount`.

use std::io::{self, Write};
use std::path::PathBuf;

use libverity::digest::{Digest, RootHash};
use libverity::layer::Profile;
use osguard_node::image_mount::{self, ImageMountError, MountOptions};
use osguard_node::image_store::ImageStore;
use osguard_node::probe::{device_mapper, require_root};
use osguard_node::provision::provision;
use osguard_node::record::{ImageRecord, UpperRecord};
use osguard_node::state_directory::StateDirectory;
use osguard_registry::image::Image;
use osguard_registry::platform::Platform;
use serde::Serialize;

use super::Places;
use crate::conversion::watch;
use crate::exit_status::ExitStatus;
use crate::failure::Failure;
use crate::image::{Found, IMAGE_HELP};
use crate::network::NetworkArguments;
use crate::output::{Output, Report};

/// Mount an image so that the kernel verifies every block of it
///
/// Each layer becomes a dm-verity device with its signature, checked by the kernel against its own
/// keyrings, and all of them are stacked at TARGET. A layer that several images share has one
/// device.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    #[arg(value_name = "IMAGE", help = IMAGE_HELP)]
    image: String,
    /// The directory to mount at; it is made if it does not exist
    #[arg(value_name = "TARGET")]
    target: PathBuf,
    /// Which image of an index [default: this machine's platform]
    #[arg(long, value_name = "PLATFORM")]
    platform: Option<Platform>,
    /// By which profile to convert the layers
    #[arg(long, value_name = "NAME", default_value_t)]
    profile: Profile,
    /// Mount layers without a signature as well; under an IPE policy nothing on them runs
    #[arg(long)]
    allow_unsigned: bool,
    /// Where new and changed files go [default: the mount is read-only]
    #[arg(long, value_name = "DIR", requires = "work")]
    upper: Option<PathBuf>,
    /// An empty directory on the file system of --upper
    #[arg(long, value_name = "DIR", requires = "upper")]
    work: Option<PathBuf>,
    #[command(flatten)]
    places: Places,
    #[command(flatten)]
    network: NetworkArguments,
}

#[derive(Serialize)]
struct MountReport {
    image: String,
    manifest: Digest,
    target: PathBuf,
    writable: bool,
    /// From the bottom up.
    layers: Vec<LayerReport>,
}

#[derive(Serialize)]
struct LayerReport {
    root_hash: RootHash,
    signed: bool,
}

impl Report for MountReport {
    const SCHEMA: &'static str = "osguard.node.mount.v1";

    fn text(&self, out: &mut dyn Write) -> io::Result<()> {
        let mode = if self.writable { "writable" } else { "read-only" };
        writeln!(out, "Mounted {} at {}, {mode}", self.image, self.target.display())?;
        for layer in &self.layers {
            let signed = if layer.signed { "signed" } else { "NOT SIGNED" };
            writeln!(out, "  root hash {}  {signed}", layer.root_hash)?;
        }
        Ok(())
    }
}

pub(super) fn run(arguments: &Arguments, output: &Output) -> Result<ExitStatus, Failure> {
    require_root().map_err(super::failure::privilege)?;
    let found = Found::parse(&arguments.image, &arguments.network)?;
    let place = &*found.place;
    let wanted = arguments.platform.clone().unwrap_or_else(Platform::host);
    let image = match arguments.platform {
        None if found.descriptor.media_type.is_manifest() => Image::load(place, &found.descriptor)?,
        _ => Image::choose(place, &found.descriptor, Some(&wanted))?,
    };

    // Before the layers are converted, which takes its time.
    device_mapper().map_err(ImageMountError::from)?;
    let store = ImageStore::new(&arguments.places.store);
    let progress = output.progress();
    let layers = provision(place, &image, arguments.profile, &store, &watch(&progress))?;
    let options = MountOptions {
        upper: arguments
            .upper
            .clone()
            .zip(arguments.work.clone())
            .map(|(directory, work)| UpperRecord { directory, work }),
        allow_unsigned: arguments.allow_unsigned,
        image: Some(ImageRecord {
            name: arguments.image.clone(),
            manifest: image.manifest.digest(),
        }),
    };
    let state = StateDirectory::new(&arguments.places.state);
    let record = image_mount::mount(&state, &layers, &arguments.target, &options)?;
    output.report(&MountReport {
        image: found.reference.to_string(),
        manifest: image.manifest.digest(),
        target: record.target,
        writable: record.upper.is_some(),
        layers: record
            .layers
            .into_iter()
            .map(|layer| LayerReport { root_hash: layer.root_hash, signed: layer.signed })
            .collect(),
    })?;
    Ok(ExitStatus::Done)
}
