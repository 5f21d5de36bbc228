//! Two images beside each other: their layers, files and packages.
//!
//! Files are compared as a container would see them, with all layers on top of each other: kind, owner, permissions,
//! attributes and content; times are not. Layers that both images start with are read once, and of them only names and
//! digests are kept. What is kept of an image takes at most [`MAX_TREE_BYTES`].

mod files;
mod layers;
pub mod packages;
mod tree;

use libverity::digest::Digest;

pub use self::files::{Difference, FileChange};
pub use self::layers::{LayerChange, LayerComparison};
use self::packages::{Package, PackageChange, Unread};
use self::tree::{Files, Tree};
use crate::conversion::{ConversionError, Watch, read_members};
use crate::image::{ImageLayer, PlacedImage};

/// Compares two images.
///
/// # Errors
///
/// Fails where a layer cannot be read, or there are more files than are kept. A database of packages that cannot be
/// read is told and is no error.
pub fn compare(
    old: PlacedImage<'_>,
    new: PlacedImage<'_>,
    watch: Watch<'_>,
) -> Result<Comparison, ComparisonError> {
    let (old_layers, new_layers) = (&old.image.layers, &new.image.layers);
    let is_same = |one: &ImageLayer, other: &ImageLayer| {
        one.descriptor.digest == other.descriptor.digest && one.diff_id == other.diff_id
    };
    let shared =
        old_layers.iter().zip(new_layers).take_while(|(one, other)| is_same(one, other)).count();
    let mut below = Tree::new(None);
    read(old, &old_layers[..shared], &mut below, watch)?;
    let below = below.into_files();
    let mut trees = [Tree::new(Some(&below)), Tree::new(Some(&below))];
    let [old_tree, new_tree] = &mut trees;
    read(old, &old_layers[shared..], old_tree, watch)?;
    read(new, &new_layers[shared..], new_tree, watch)?;

    let [old_packages, new_packages] = [&*old_tree, &*new_tree].map(packages::read);
    let mut unread = old_packages.1;
    unread
        .extend(new_packages.1.into_iter().filter(|new| !unread.contains(new)).collect::<Vec<_>>());
    Ok(Comparison {
        layers: layers::compare(old_layers, new_layers),
        files: files::compare(old_tree, new_tree),
        packages: packages::compare(&old_packages.0, &new_packages.0, &unread),
        unread,
    })
}

/// Is what two images differ in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Comparison {
    /// The layers of the new image, lowest first, and then those that only the old one has.
    pub layers: Vec<LayerComparison>,
    /// The files that are not the same, by their paths.
    pub files: Vec<FileChange>,
    /// The packages that are not the same, by their names.
    pub packages: Vec<PackageChange>,
    /// The databases of packages that were not read.
    pub unread: Vec<Unread>,
}

/// Says why images cannot be compared.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ComparisonError {
    /// A layer cannot be read.
    #[error(transparent)]
    Conversion(#[from] ConversionError),
    /// There are more files than are kept in memory.
    #[error(
        "the image has more files than can be compared: from layer {layer} on they take more than {limit_bytes} bytes of memory"
    )]
    TooManyFiles {
        /// The layer that has too many.
        layer: Digest,
        /// How much memory they may take.
        limit_bytes: usize,
    },
}

/// How much memory the files of one image may take while they are compared: that of about a million files. Large
/// images have a tenth of that.
pub const MAX_TREE_BYTES: usize = 256 << 20;

fn read(
    image: PlacedImage<'_>,
    layers: &[ImageLayer],
    tree: &mut Tree<'_>,
    watch: Watch<'_>,
) -> Result<(), ComparisonError> {
    for layer in layers {
        let files = read_members(image.place, layer, watch, |members| Files::read(members, tree))?;
        let applied = files.is_some_and(|files| tree.apply(files));
        if !applied {
            return Err(ComparisonError::TooManyFiles {
                layer: layer.descriptor.digest,
                limit_bytes: MAX_TREE_BYTES,
            });
        }
    }
    Ok(())
}

/// Lists packages of one database with the manager whose database it is.
type Packages = Vec<Package>;
