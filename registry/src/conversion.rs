//! Layers of an image, converted where they lie.

use std::io::{BufRead, Read};

use libverity::digest::Digest;
use libverity::layer::{
    ConvertedLayer, ExpectedLayer, ImageSink, LayerError, Profile, convert, read_archive,
};
use libverity::tar::{TarError, TarReader};

use crate::error::Error;
use crate::image::ImageLayer;
use crate::place::Place;

/// Sees the blob of a layer on its way into the conversion, to show progress for example.
pub type Watch<'a> = &'a (dyn Fn(&ImageLayer, Box<dyn Read>) -> Box<dyn Read> + Sync);

/// Reads the blob of `layer` once and converts it by each of `profiles`; the image goes to `sink`.
///
/// Size, digest and diffID are checked on the way: what comes back is what the image's manifest
/// and configuration name.
///
/// # Errors
///
/// Returns [`ConversionError::Place`] if the blob cannot be opened, and
/// [`ConversionError::Layer`] if it cannot be read to its end, is not what the image says it is,
/// or is no layer.
pub fn convert_layer(
    place: &dyn Place,
    layer: &ImageLayer,
    profiles: &[Profile],
    sink: &mut dyn ImageSink,
    watch: Watch<'_>,
) -> Result<ConvertedLayer, ConversionError> {
    let blob = place.blob(&layer.descriptor)?.without_hashing();
    convert_blob(watch(layer, Box::new(blob)), layer, profiles, sink)
}

/// As [`convert_layer`], of a blob that somebody else has opened.
pub(crate) fn convert_blob(
    blob: impl Read,
    layer: &ImageLayer,
    profiles: &[Profile],
    sink: &mut dyn ImageSink,
) -> Result<ConvertedLayer, ConversionError> {
    convert(blob, &expected(layer), profiles, sink)
        .map_err(|source| ConversionError::Layer { layer: layer.descriptor.digest, source })
}

/// Reads the blob of `layer` once and gives the members of its archive to `read`; size, digest and
/// diffID are checked on the way, as by [`convert_layer`].
///
/// # Errors
///
/// As [`convert_layer`].
pub(crate) fn read_members<T: Send>(
    place: &dyn Place,
    layer: &ImageLayer,
    watch: Watch<'_>,
    read: impl FnOnce(&mut TarReader<&mut dyn BufRead>) -> Result<T, TarError> + Send,
) -> Result<T, ConversionError> {
    let blob = place.blob(&layer.descriptor)?.without_hashing();
    let read = read_archive(watch(layer, Box::new(blob)), &expected(layer), read)
        .map_err(|source| ConversionError::Layer { layer: layer.descriptor.digest, source })?;
    Ok(read.result)
}

/// Returns what the image says about a layer.
fn expected(layer: &ImageLayer) -> ExpectedLayer {
    let descriptor = &layer.descriptor;
    ExpectedLayer {
        media_type: Some(descriptor.media_type.to_string()),
        layer_digest: Some(descriptor.digest),
        size_bytes: Some(descriptor.size),
        diff_id: Some(layer.diff_id),
    }
}

/// Says why a layer was not converted.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConversionError {
    /// The layer is not what it should be.
    #[error("layer {layer}: {source}")]
    Layer {
        /// The digest by which the image names the layer.
        layer: Digest,
        /// What is wrong with it.
        source: LayerError,
    },
    /// The layer is not to be had.
    #[error(transparent)]
    Place(#[from] Error),
}
