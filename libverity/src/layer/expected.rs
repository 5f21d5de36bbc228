//! What is known about a layer before it is read.

use super::{Compression, LayerError};
use crate::digest::Digest;

/// Holds what an image's manifest and configuration say about a layer.
///
/// What is known is checked; what is not known (of a file that is no part of an image) is left
/// `None`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ExpectedLayer {
    /// The media type in the layer's descriptor.
    pub media_type: Option<String>,
    /// The digest in the layer's descriptor.
    pub layer_digest: Option<Digest>,
    /// The size in the layer's descriptor, in bytes.
    pub size_bytes: Option<u64>,
    /// The digest of the archive, in the image's configuration.
    pub diff_id: Option<Digest>,
}

impl ExpectedLayer {
    /// Checks that the media type is one of a layer, before anything is read.
    ///
    /// # Errors
    ///
    /// As [`Compression::of_media_type`].
    pub(super) fn check_media_type(&self) -> Result<(), LayerError> {
        match &self.media_type {
            Some(media_type) => Compression::of_media_type(media_type).map(drop),
            None => Ok(()),
        }
    }

    /// Checks the compression that the blob has.
    pub(super) fn check_compression(&self, found: Compression) -> Result<(), LayerError> {
        let Some(media_type) = &self.media_type else { return Ok(()) };
        match Compression::of_media_type(media_type)? {
            Some(expected) if expected != found => Err(LayerError::CompressionMismatch {
                media_type: media_type.clone(),
                expected,
                found,
            }),
            _ => Ok(()),
        }
    }

    /// Checks size and digest of a blob that was read to its end.
    pub(super) fn check_blob(&self, found_bytes: u64, found: Digest) -> Result<(), LayerError> {
        if let Some(expected_bytes) = self.size_bytes {
            if found_bytes > expected_bytes {
                return Err(LayerError::BlobTooLong { expected_bytes });
            }
            if found_bytes < expected_bytes {
                return Err(LayerError::BlobTooShort { expected_bytes, found_bytes });
            }
        }
        match self.layer_digest {
            Some(expected) if expected != found => Err(LayerError::LayerDigest { expected, found }),
            _ => Ok(()),
        }
    }

    /// Checks the digest of an archive that was read to its end.
    pub(super) fn check_diff_id(&self, found: Digest) -> Result<(), LayerError> {
        match self.diff_id {
            Some(expected) if expected != found => Err(LayerError::DiffId { expected, found }),
            _ => Ok(()),
        }
    }
}
