//! From an image in a place to layers that can be mounted: converted into the store, each with the
//! signatures that fit it.

use std::error::Error;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use libverity::digest::{Digest, RootHash};
use libverity::layer::{ImageFile, LayerError, LayerFile, Profile, SideFile};
use libverity::verity::GeometryError;
use osguard_registry::ahead::ahead;
use osguard_registry::artifact::LayerSignature;
use osguard_registry::conversion::{ConversionError, Watch, convert_layer};
use osguard_registry::error::Error as PlaceError;
use osguard_registry::image::{Image, ImageLayer};
use osguard_registry::place::Place;
use osguard_registry::signatures;

use crate::image_store::{Entry, ImageStore, StoreError};
use crate::layer_device::LayerImage;

/// Converts those layers of `image` that the store does not have yet, and finds the signatures of
/// all of them; bottom layer first.
///
/// A layer that has signatures over other root hashes only is refused here, with both root hashes:
/// the kernel would say no more than that the signature is wrong. A layer without any signature is
/// returned as one; whether it may be mounted is decided there.
///
/// # Errors
///
/// Fails when the image, its signatures or a layer cannot be read, when a layer is not what was
/// signed, and when the store cannot be written.
pub fn provision(
    place: &dyn Place,
    image: &Image,
    profile: Profile,
    store: &ImageStore,
    watch: Watch<'_>,
) -> Result<Vec<LayerImage>, ProvisionError> {
    let mut known = Vec::new();
    for candidate in signatures::find(place, &image.manifest)? {
        // What cannot be read can sign nothing; others may.
        known.extend(candidate.outcome.into_iter().flat_map(|artifact| artifact.signatures));
    }
    let obtain = |layer: &ImageLayer, watch: Watch<'_>| obtain(place, layer, profile, store, watch);
    ahead(&image.layers, watch, obtain, |obtained| {
        let provided = |layer: &ImageLayer| {
            let stored = obtained(layer)?;
            let signatures = fitting(&known, layer.descriptor.digest, &stored.side_file.root_hash)?;
            stored.into_layer_image(profile, signatures)
        };
        image.layers.iter().map(provided).collect()
    })
}

/// Is a converted layer in the store.
struct StoredLayer {
    path: PathBuf,
    /// What the store keeps beside a layer.
    side_file: SideFile,
}

impl StoredLayer {
    fn into_layer_image(
        self,
        profile: Profile,
        signatures: Vec<Vec<u8>>,
    ) -> Result<LayerImage, ProvisionError> {
        let SideFile { root_hash, hash_offset_bytes } = self.side_file;
        let path = self.path.clone();
        LayerImage::of_profile(self.path, profile, root_hash, hash_offset_bytes, signatures)
            .map_err(|source| ProvisionError::Shape { path, source })
    }
}

/// Finds a layer in the store, or converts it into it.
fn obtain(
    place: &dyn Place,
    layer: &ImageLayer,
    profile: Profile,
    store: &ImageStore,
    watch: Watch<'_>,
) -> Result<StoredLayer, ProvisionError> {
    let digest = layer.descriptor.digest;
    loop {
        let partial = match store.find_or_begin(&digest, profile.name())? {
            Entry::Missing(partial) => partial,
            Entry::Found(path) => match read_side_file(&path) {
                Ok(side_file) => return Ok(StoredLayer { path, side_file }),
                // Somebody took the file away or damaged it: convert again.
                Err(_) => {
                    let failed = |source| ProvisionError::Store { path: path.clone(), source };
                    fs::remove_file(&path).map_err(failed)?;
                    continue;
                }
            },
        };
        let file = partial.file();
        let mut sink = ImageFile::new(file, partial.directory()).map_err(|source| {
            ProvisionError::Store { path: partial.beside().to_owned(), source }
        })?;
        let converted = convert_layer(place, layer, &[profile], &mut sink, watch)
            .map_err(|error| of_conversion(partial.beside(), error))?;
        check(file).map_err(|source| ProvisionError::NotWhole { layer: digest, source })?;
        let Some(built) = converted.images.into_iter().next() else { continue };
        let side_file = SideFile::of(&built);
        write_side_file(&store.path(&digest, profile.name()), &side_file)?;
        return Ok(StoredLayer { path: partial.commit()?, side_file });
    }
}

/// Reads a new image again before it is handed to the kernel.
fn check(file: &File) -> Result<(), Box<dyn Error + Send + Sync>> {
    LayerFile::open(file)?.image().check()?;
    Ok(())
}

/// Tells a store that cannot be written from a layer that is wrong.
fn of_conversion(path: &Path, error: ConversionError) -> ProvisionError {
    match error {
        ConversionError::Layer { source: LayerError::Write { source }, .. } => {
            ProvisionError::Store { path: path.to_owned(), source }
        }
        other => ProvisionError::Conversion(other),
    }
}

/// Picks the signatures over just this root hash.
fn fitting(
    known: &[LayerSignature],
    layer: Digest,
    root_hash: &RootHash,
) -> Result<Vec<Vec<u8>>, ProvisionError> {
    let of_layer: Vec<_> =
        known.iter().filter(|signature| signature.claim.layer_digest == layer).collect();
    let fitting: Vec<_> = of_layer
        .iter()
        .filter(|signature| signature.claim.root_hash == *root_hash)
        .map(|signature| signature.signature.clone())
        .collect();
    match of_layer.first() {
        Some(other) if fitting.is_empty() => Err(ProvisionError::NotWhatWasSigned {
            layer,
            signed: other.claim.root_hash.clone(),
            found: root_hash.clone(),
        }),
        _ => Ok(fitting),
    }
}

fn read_side_file(image: &Path) -> io::Result<SideFile> {
    Ok(serde_json::from_slice(&fs::read(SideFile::path(image))?)?)
}

/// Writes the side file before the image gets its name, so that no image is without.
fn write_side_file(image: &Path, side_file: &SideFile) -> Result<(), ProvisionError> {
    let path = SideFile::path(image);
    let failed = |source| ProvisionError::Store { path: path.clone(), source };
    let text = serde_json::to_vec(side_file).map_err(|error| failed(error.into()))?;
    fs::write(&path, text).map_err(failed)
}

/// Says why an image is not ready to be mounted.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ProvisionError {
    /// A layer cannot be read or converted.
    #[error(transparent)]
    Conversion(#[from] ConversionError),
    /// Signatures of a layer are there, and all are over another root hash.
    #[error(
        "layer {layer} is not what was signed: its root hash is {found}, and {signed} was signed"
    )]
    NotWhatWasSigned {
        /// The layer.
        layer: Digest,
        /// The root hash of one of the signatures.
        signed: RootHash,
        /// The root hash that the layer has.
        found: RootHash,
    },
    /// The image that was made of a layer cannot be read.
    #[error(
        "the image that was made of layer {layer} is not whole, by a mistake of this program, or of memory or disk"
    )]
    NotWhole {
        /// The layer.
        layer: Digest,
        /// What is wrong with its image.
        source: Box<dyn Error + Send + Sync>,
    },
    /// The image or its signatures cannot be read.
    #[error(transparent)]
    Place(#[from] PlaceError),
    /// What the store says of a layer cannot be.
    #[error("{path}: the side file describes no layer", path = path.display())]
    Shape {
        /// The image file.
        path: PathBuf,
        /// What is wrong.
        source: GeometryError,
    },
    /// The store cannot be written.
    #[error("cannot write {path}", path = path.display())]
    Store {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The store cannot be used.
    #[error(transparent)]
    StoreDirectory(#[from] StoreError),
}
