//! What a patch adds, and for which platform.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::str::FromStr;

use libverity::layer::DirectoryOptions;
use osguard_registry::image::Image;
use osguard_registry::image_path::ImagePath;
use osguard_registry::patch::{Addition, Change};
use osguard_registry::platform::Platform;

use crate::exit_status::ExitStatus;
use crate::failure::Failure;

/// A directory or an archive, for one platform or for the only one: `[PLATFORM=]PATH`.
#[derive(Clone, Debug)]
pub(super) struct Added {
    platform: Option<Platform>,
    path: PathBuf,
}

impl FromStr for Added {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (platform, path) = match text.split_once('=') {
            Some((platform, path)) => match platform.parse() {
                Ok(platform) => (Some(platform), path),
                Err(_) => (None, text),
            },
            None => (None, text),
        };
        match path.is_empty() {
            true => Err("it names no file"),
            false => Ok(Self { platform, path: path.into() }),
        }
    }
}

impl Added {
    fn addition(&self, options: DirectoryOptions) -> Result<Addition, Failure> {
        let metadata =
            std::fs::metadata(&self.path).map_err(|error| Failure::reading(&self.path, error))?;
        Ok(match metadata.is_dir() {
            true => Addition::Directory(self.path.clone(), options),
            false => Addition::Archive(self.path.clone()),
        })
    }
}

/// Says what changes in each of `images`, in their order.
///
/// Either there is one image and one addition, or each image of an index has an addition of its own; what is removed is
/// removed from all.
pub(super) fn changes(
    images: &[Image],
    added: &[Added],
    removed: &BTreeSet<ImagePath>,
    options: DirectoryOptions,
) -> Result<Vec<Change>, Failure> {
    let usage = |message: String| Failure::new(ExitStatus::Usage, message);
    if added.is_empty() && removed.is_empty() {
        return Err(usage("nothing is to be added, and nothing to be removed".to_owned())
            .hint("--add names a directory or an archive, --remove a file of the image."));
    }
    let platforms =
        || images.iter().map(|image| image.platform.to_string()).collect::<Vec<_>>().join(", ");
    for one in added {
        let Some(wanted) = &one.platform else { continue };
        if !images.iter().any(|image| image.platform.satisfies(wanted)) {
            return Err(Failure::new(
                ExitStatus::NotFound,
                format!(
                    "something is to be added for {wanted}, and the image is for {}",
                    platforms()
                ),
            ));
        }
    }
    let change = |image: &Image| {
        let fits = |one: &&Added| {
            one.platform.as_ref().is_none_or(|wanted| image.platform.satisfies(wanted))
        };
        let fitting: Vec<_> = added.iter().filter(fits).collect();
        let added = match fitting[..] {
            [] if added.is_empty() => None,
            [] => {
                return Err(usage(format!("nothing is to be added for {}", image.platform)).hint(
                    "An index is patched as a whole, with --add PLATFORM=DIR for each image; --platform chooses one.",
                ));
            }
            [one] if one.platform.is_none() && images.len() > 1 => {
                return Err(usage(format!(
                    "{} is for one image, and there are several: {}",
                    one.path.display(),
                    platforms()
                ))
                .hint("--add PLATFORM=DIR says for which each is; --platform chooses one image."));
            }
            [one] => Some(one.addition(options)?),
            [one, other, ..] => {
                return Err(usage(format!(
                    "{} and {} are both for {}",
                    one.path.display(),
                    other.path.display(),
                    image.platform
                ))
                .hint("Put everything into one directory."));
            }
        };
        Ok(Change { added, removed: removed.clone() })
    };
    images.iter().map(change).collect()
}

/// Parses a path in an image.
pub(super) fn image_path(text: &str) -> Result<ImagePath, String> {
    ImagePath::parse(text.as_bytes()).map_err(|error| error.reason.to_owned())
}
