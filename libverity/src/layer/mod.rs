//! Layers of container images: from a blob to an EROFS image under a hash tree.
//!
//! [`convert`] reads a blob once, from its first byte to its last. On the way the bytes are
//! hashed as they come and again as they are inflated, become members of a tar archive, blocks of
//! an image, and leaves of a hash tree. At the end stand the layer digest, the diffID and, for
//! every [`Profile`], the root hash.
//!
//! A [`LayerFile`] is what comes out, read again.
//!
//! Nothing of a layer is kept but its names and 32 bytes for every 4096 of the image: a layer of 2
//! GiB takes less than 64 MiB of memory, and up to 128 MiB more where it is compressed by zstd
//! with a large window.

mod compression;
mod convert;
mod digest_reader;
mod error;
mod expected;
mod file;
mod image_sink;
mod profile;

pub use compression::Compression;
pub use convert::{ConvertedLayer, ProfileImage, convert};
pub use error::LayerError;
pub use expected::ExpectedLayer;
pub use file::{HashAreaFault, LayerFile, LayerFileError};
pub use image_sink::{Discard, ImageFile, ImageSink};
pub use profile::{Profile, UnknownProfile};

/// Is how long the archive in a layer may be: 1 TiB, far above any layer and as far below what a
/// blob of the same size in zeros would inflate to.
pub const MAX_ARCHIVE_BYTES: u64 = 1 << 40;
/// Is the largest window of a zstd frame: 2^27 bytes (128 MiB), what `zstd` itself takes without
/// `--long`.
pub const MAX_ZSTD_WINDOW_LOG: u32 = 27;
