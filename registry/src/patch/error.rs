//! Why an image is not patched.

use std::io;
use std::path::PathBuf;

use libverity::digest::Digest;
use libverity::layer::{DirectoryError, LayerError};
use libverity::tar::EncodeError;

use crate::conversion::ConversionError;
use crate::draft::DraftError;
use crate::error::Error;
use crate::image_path::ImagePath;

/// Says why a patch cannot be made or does not fit an image.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PatchError {
    /// What is to be added is no archive that a layer can be made of.
    #[error("{path} cannot be added: {source}", path = path.display())]
    Archive {
        /// The archive.
        path: PathBuf,
        /// What is wrong with it.
        source: LayerError,
    },
    /// A path is removed and added at once.
    #[error("{removed} is to be removed, and {added} is to be added: one of them cannot be meant")]
    Contradiction {
        /// What is to be removed.
        removed: ImagePath,
        /// What is to be added.
        added: ImagePath,
    },
    /// A layer of the image cannot be read.
    #[error(transparent)]
    Conversion(#[from] ConversionError),
    /// What is to be added is no directory that a layer can be made of.
    #[error("{path} cannot be added: {source}", path = path.display())]
    Directory {
        /// The directory.
        path: PathBuf,
        /// What is wrong with it.
        source: DirectoryError,
    },
    /// The patched image cannot be described.
    #[error(transparent)]
    Draft(#[from] DraftError),
    /// A member of the archive has no form in a layer.
    #[error(transparent)]
    Encode(#[from] EncodeError),
    /// The image carries the label of another patching tool and does not say which layer is its patch.
    #[error(
        "the image {image} has the label BaseImage={base:?}, by which Copa marks what it has patched; which of its \
         layers is the patch is not said"
    )]
    ForeignPatch {
        /// The image.
        image: Digest,
        /// The value of the label.
        base: String,
    },
    /// Something is to be removed or added in what is no directory.
    #[error("nothing can be removed or added in {obstacle}, which is {} in the image", kind(target.as_deref()))]
    NotADirectory {
        /// The file in the place of a directory.
        obstacle: ImagePath,
        /// Where it leads, if it is a symbolic link.
        target: Option<String>,
    },
    /// What is to be removed is not in the image.
    #[error("{path} is to be removed, and the image {image} has no such file")]
    NothingToRemove {
        /// The path.
        path: ImagePath,
        /// The image.
        image: Digest,
    },
    /// The image cannot be read.
    #[error(transparent)]
    Place(#[from] Error),
    /// A temporary file failed.
    #[error("cannot write a temporary file: {0}")]
    Temporary(#[source] io::Error),
}

fn kind(target: Option<&str>) -> String {
    match target {
        Some(target) => format!("a symbolic link to {target}"),
        None => "a file".to_owned(),
    }
}
