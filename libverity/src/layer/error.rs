//! Why a layer is not converted.

use std::io;
use std::path::PathBuf;

use super::Compression;
use crate::digest::Digest;
use crate::erofs::ErofsError;
use crate::tar::TarError;

/// Says why a layer is not converted.
///
/// Where the bytes of a blob are not those that its descriptor names, that is what is said, and
/// not what the wrong bytes led to.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LayerError {
    /// The blob is longer than its descriptor says.
    #[error("the layer's blob is longer than the {expected_bytes} bytes that its descriptor says")]
    BlobTooLong {
        /// The size in the descriptor.
        expected_bytes: u64,
    },
    /// The blob is shorter than its descriptor says.
    #[error("the layer's blob has {found_bytes} bytes, and its descriptor says {expected_bytes}")]
    BlobTooShort {
        /// The size in the descriptor.
        expected_bytes: u64,
        /// The size of the blob.
        found_bytes: u64,
    },
    /// The blob is compressed in another way than its media type says.
    #[error("a layer of media type {media_type} is {expected}, and its blob is {found}")]
    CompressionMismatch {
        /// The media type in the descriptor.
        media_type: String,
        /// The compression that it stands for.
        expected: Compression,
        /// The compression by the first bytes of the blob.
        found: Compression,
    },
    /// The archive in the layer is another one than the image's configuration says.
    #[error("the archive in the layer has the diffID {found} and should have {expected}")]
    DiffId {
        /// The diffID in the image's configuration.
        expected: Digest,
        /// The digest of the archive.
        found: Digest,
    },
    /// The layer is encrypted.
    #[error("a layer of media type {media_type} is encrypted")]
    Encrypted {
        /// The media type in the descriptor.
        media_type: String,
    },
    /// A member of the archive cannot be part of an image.
    #[error("cannot make an image of the layer")]
    Erofs {
        /// Which member, and why.
        #[from]
        source: ErofsError,
    },
    /// The layer's content is not in registries.
    #[error("a layer of media type {media_type} is foreign: its content may not be distributed")]
    Foreign {
        /// The media type in the descriptor.
        media_type: String,
    },
    /// The blob cannot be decompressed, most often because its end is missing.
    #[error("the layer's blob is no valid {compression} stream after {inflated_bytes} bytes of it")]
    Inflate {
        /// How it is compressed.
        compression: Compression,
        /// How much could be decompressed.
        inflated_bytes: u64,
        /// What is wrong.
        source: io::Error,
    },
    /// The blob is another one than the manifest says.
    #[error("the layer's blob has the digest {found} and should have {expected}")]
    LayerDigest {
        /// The digest in the descriptor.
        expected: Digest,
        /// The digest of the blob.
        found: Digest,
    },
    /// The blob cannot be read.
    #[error("cannot read the layer's blob beyond byte {offset_bytes}")]
    Read {
        /// How much was read before.
        offset_bytes: u64,
        /// What the reader said.
        source: io::Error,
    },
    /// The archive is not read.
    #[error("cannot read the layer's archive")]
    Tar {
        /// Which member, where, and why.
        source: TarError,
    },
    /// A temporary file cannot be written or read again.
    #[error("cannot keep the digests of the archive in a temporary file in {}", directory.display())]
    Temporary {
        /// Where the file is, without a name.
        directory: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The archive is too long.
    #[error("the layer decompresses to more than {limit_bytes} bytes")]
    TooLong {
        /// [`super::MAX_ARCHIVE_BYTES`].
        limit_bytes: u64,
    },
    /// No layer of a file system has this media type.
    #[error(
        "media type {media_type:?} is not that of a layer: a tar archive, plain or compressed with \
         gzip or zstd"
    )]
    UnknownMediaType {
        /// The media type in the descriptor.
        media_type: String,
    },
    /// The image cannot be written.
    #[error("cannot write the image")]
    Write {
        /// What the sink said.
        source: io::Error,
    },
}

impl LayerError {
    /// Takes the error out that a stage below the archive has put into an [`io::Error`].
    pub(super) fn from_archive(error: TarError) -> Self {
        match error {
            TarError::Read { offset_bytes, source } => match source.downcast() {
                Ok(error) => error,
                Err(source) => Self::Tar { source: TarError::Read { offset_bytes, source } },
            },
            source => Self::Tar { source },
        }
    }

    /// Takes the error out that a stage below the image has put into an [`io::Error`].
    pub(super) fn from_image(error: ErofsError) -> Self {
        match error {
            ErofsError::Read { path, source } => match source.downcast::<Self>() {
                Ok(error) => error,
                Err(source) => match source.downcast::<TarError>() {
                    Ok(source) => Self::Tar { source },
                    Err(source) => ErofsError::Read { path, source }.into(),
                },
            },
            ErofsError::Write { source } => Self::Write { source },
            source => Self::Erofs { source },
        }
    }
}

/// Lets an error pass through the readers of other stages; the two functions above take it out.
impl From<LayerError> for io::Error {
    fn from(error: LayerError) -> Self {
        Self::other(error)
    }
}
