//! How the conversion of layers shows, and fails.

use std::io::Read;

use libverity::layer::{LayerError, Profile};
use libverity::tar::{Divergences, Refusal, TarError};
use osguard_registry::conversion::ConversionError;
use osguard_registry::image::ImageLayer;

use crate::exit_status::ExitStatus;
use crate::failure::Failure;
use crate::image::short;
use crate::output::Output;
use crate::progress::Progress;

/// Shows on a bar of its own how much of each layer was read.
pub(crate) fn watch(
    progress: &Progress,
) -> impl Fn(&ImageLayer, Box<dyn Read>) -> Box<dyn Read> + Sync + use<'_> {
    |layer, blob| {
        let label = format!("layer {}", short(layer.descriptor.digest));
        Box::new(progress.reading(&label, layer.descriptor.size, blob))
    }
}

/// Warns of what makes nodes with an older erofs-utils compute another root hash.
pub(crate) fn warn_of_divergences(divergences: &Divergences, output: &Output) {
    for (first, count) in divergences.iter() {
        let others = match count {
            1 => String::new(),
            _ => format!(" (and {} more)", count - 1),
        };
        output.warning(format_args!(
            "nodes that convert layers with erofs-utils 1.8 will compute another root hash: \
             {first}{others}"
        ));
    }
}

/// Warns, once for all layers, of profiles by which nodes with an older erofs-utils compute another
/// root hash whatever is in a layer.
pub(crate) fn warn_of_profiles(profiles: &[Profile], output: &Output) {
    let names: Vec<_> = profiles
        .iter()
        .filter(|profile| !profile.mode().is_alike_in_erofs_utils_1_8())
        .map(|profile| profile.name())
        .collect();
    if !names.is_empty() {
        output.warning(format_args!(
            "nodes that convert layers with erofs-utils 1.8 will compute another root hash for every \
             layer by {}: they leave out the image's checksum",
            names.join(" and ")
        ));
    }
}

impl From<ConversionError> for Failure {
    fn from(error: ConversionError) -> Self {
        match error {
            ConversionError::Place(error) => error.into(),
            ConversionError::Layer { layer, source } => {
                Self::from(source).context(format!("layer {layer}"))
            }
            other => Self::from_error(ExitStatus::Failure, other),
        }
    }
}

impl From<LayerError> for Failure {
    fn from(error: LayerError) -> Self {
        let hint = match &error {
            LayerError::BlobTooLong { .. }
            | LayerError::BlobTooShort { .. }
            | LayerError::LayerDigest { .. } => {
                Some("The copy is damaged or was changed: fetch the image again.")
            }
            LayerError::CompressionMismatch { .. } => {
                Some("The image's manifest describes the layer wrongly: build the image again.")
            }
            LayerError::DiffId { .. } => {
                Some("The image's configuration belongs to other layers: build the image again.")
            }
            LayerError::Encrypted { .. } => Some("Decrypt the image first."),
            LayerError::Foreign { .. } | LayerError::UnknownMediaType { .. } => Some(
                "Build the image again without this layer, or with a tar archive in its place.",
            ),
            LayerError::Inflate { .. } => {
                Some("The layer was damaged or cut off before it got its digest: build it again.")
            }
            LayerError::Tar {
                source: TarError::Refused { reason: Refusal::NotTar { .. }, .. },
            } => Some("A layer is a tar archive, plain or compressed with gzip or zstd."),
            _ => None,
        };
        let failure = Self::from_error(ExitStatus::Failure, error);
        match hint {
            Some(hint) => failure.hint(hint),
            None => failure,
        }
    }
}
