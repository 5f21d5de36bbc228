//! Images that others have taken the place of: which root hashes go out of use, and who still needs them.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use libverity::digest::RootHash;
use libverity::layer::Profile;
use osguard_registry::image::{Image, PlacedImage};
use osguard_registry::superseded::{SupersededLayer, still_needed, superseded};

use super::volumes::Volumes;
use crate::conversion::watch;
use crate::exit_status::ExitStatus;
use crate::failure::Failure;
use crate::image::Found;
use crate::network::NetworkArguments;
use crate::output::Output;

/// What takes the place of the images, and what is still in use.
#[derive(Debug, clap::Args)]
pub(super) struct SupersededArguments {
    /// Deny only those layers of the images that this one does not have, which takes their place; may be repeated, for
    /// every image that is still supported
    #[arg(long, value_name = "IMAGE", conflicts_with = "signed_by")]
    superseded_by: Vec<String>,
    /// Refuse if one of these is still needed: a file with images, or root hashes of 64 digits, one a line; - is standard
    /// input
    ///
    /// Such a list is for example what `kubectl get pods` or `osguard node list` tells of all nodes. What is behind a # is
    /// passed over.
    #[arg(long, value_name = "LIST", requires = "superseded_by")]
    running: Option<PathBuf>,
}

impl SupersededArguments {
    pub(super) fn is_given(&self) -> bool {
        !self.superseded_by.is_empty()
    }

    /// Returns the root hashes of `old` that are out of use.
    pub(super) fn root_hashes(
        &self,
        old: &[Volumes],
        network: &NetworkArguments,
        output: &Output,
    ) -> Result<Vec<RootHash>, Failure> {
        let old = old.iter().map(|one| match one {
            Volumes::Image(image) => Images::find(image, network),
            _ => Err(Failure::new(
                ExitStatus::Usage,
                "--superseded-by compares images, and something else is to be denied as well",
            )),
        });
        let old = old.collect::<Result<Vec<_>, _>>()?;
        let supported = self.superseded_by.iter().map(|image| Images::find(image, network));
        let supported = supported.collect::<Result<Vec<_>, _>>()?;
        let progress = output.progress();
        let gone =
            superseded(&placed(&old), &placed(&supported), &Profile::ALL, &watch(&progress))?;
        if gone.is_empty() {
            output.warning(
                "all layers of these images are in supported ones: nothing goes out of use",
            );
        }
        let root_hashes: Vec<_> = gone
            .iter()
            .flat_map(|layer| &layer.root_hashes)
            .map(|(_, root_hash)| root_hash.clone())
            .collect();
        if let Some(list) = &self.running {
            check_running(list, &gone, &root_hashes, network)?;
        }
        Ok(root_hashes)
    }
}

/// Is an image with those of all its platforms.
struct Images {
    found: Found,
    images: Vec<Image>,
}

impl Images {
    fn find(image: &str, network: &NetworkArguments) -> Result<Self, Failure> {
        let found = Found::parse(image, network)?;
        let images = Image::all(&*found.place, &found.descriptor, None)?;
        Ok(Self { found, images })
    }

    fn placed(&self) -> impl Iterator<Item = PlacedImage<'_>> {
        self.images.iter().map(|image| PlacedImage { place: &*self.found.place, image })
    }
}

fn placed(images: &[Images]) -> Vec<PlacedImage<'_>> {
    images.iter().flat_map(Images::placed).collect()
}

/// Refuses to deny what something on the list still needs.
fn check_running(
    list: &Path,
    gone: &[SupersededLayer],
    root_hashes: &[RootHash],
    network: &NetworkArguments,
) -> Result<(), Failure> {
    let text = read_list(list)?;
    let mut needed = Vec::new();
    for line in text.lines() {
        let line = line.split('#').next().unwrap_or_default().trim();
        if line.is_empty() {
            continue;
        }
        let parsed = Volumes::parse(line).map_err(|error| {
            Failure::new(ExitStatus::Usage, format!("{line:?}: {error}")).context(list.display())
        })?;
        match parsed {
            Volumes::RootHash(root_hash) if root_hashes.contains(&root_hash) => {
                needed.push(format!("the volume {root_hash}"));
            }
            Volumes::RootHash(_) => {}
            Volumes::Image(name) => {
                let running = Images::find(&name, network)
                    .map_err(|failure| failure.context(list.display()))?;
                for image in running.placed() {
                    let layers = still_needed(image, gone).into_iter();
                    needed
                        .extend(layers.map(|(layer, _)| format!("{name} with the layer {layer}")));
                }
            }
            Volumes::Device(_) | Volumes::File(_) => {
                return Err(Failure::new(
                    ExitStatus::Usage,
                    format!("{line:?} is neither an image nor a root hash"),
                )
                .context(list.display()));
            }
        }
    }
    let Some(first) = needed.first() else { return Ok(()) };
    let others = match needed.len() {
        1 => String::new(),
        count => format!(" (and {} more)", count - 1),
    };
    let failure = Failure::new(
        ExitStatus::Refused,
        format!("what is to be denied is still in use: {first}{others}"),
    );
    Err(failure.hint(
        "Roll the new image out first, and deny the old one when nothing runs on it any more.",
    ))
}

fn read_list(path: &Path) -> Result<String, Failure> {
    let mut text = String::new();
    let read = match path == Path::new("-") {
        true => io::stdin().lock().take(MAX_LIST_BYTES + 1).read_to_string(&mut text),
        false => File::open(path)
            .and_then(|file| file.take(MAX_LIST_BYTES + 1).read_to_string(&mut text)),
    };
    read.map_err(|error| Failure::reading(path, error))?;
    match text.len() as u64 > MAX_LIST_BYTES {
        true => Err(Failure::new(
            ExitStatus::Usage,
            format!("{} is longer than {MAX_LIST_BYTES} bytes", path.display()),
        )),
        false => Ok(text),
    }
}

/// The longest list that is read: 100,000 images with long names.
const MAX_LIST_BYTES: u64 = 16 << 20;
