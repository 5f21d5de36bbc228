//! Layers of container images: from a blob to an EROFS image under a hash tree.
//!
//! [`convert`] reads a blob once, from its first byte to its last. On the way the bytes are
//! hashed as they come and again as they are inflated, become members of a tar archive, blocks of
//! an image, and leaves of a hash tree. At the end stand the layer digest, the diffID and, for
//! every [`Profile`], the root hash.
//!
//! ```text
//! blob → inflate → archive ┬─ members ┬→ full image ──────┬→ blocks, leaf digests → hash tree
//!                          │          └→ index image ─────┤
//!                          └─ bytes ──→ digests of blocks ┘
//! ```
//!
//! A [`LayerFile`] is what comes out, read again. Who wants the members and no image has
//! [`read_archive`].
//!
//! A conversion has up to four threads, or where there is one processor only that of its caller.
//! Nothing of a layer is kept in memory but the names and attributes of its members, for each
//! [`Mode`]: with most layers 220 bytes for each file, and never more than 64 MiB beyond 600 bytes for
//! each. Everything else takes less than 64 MiB, whatever the size of the layer, of which 4 MiB are for
//! what is on its way between the threads; the rest is of digests, which go to a temporary file when
//! they are more than 8 MiB. A layer that is compressed by zstd with a large window takes up to 128 MiB
//! on top.

mod archive;
mod built_image;
mod compression;
mod convert;
mod directory;
mod error;
mod expected;
mod file;
mod full_image;
mod hash_area;
mod hash_offset;
mod image_sink;
mod images;
mod index_image;
mod profile;
mod side_file;
mod stream;

pub use archive::{ReadArchive, read_archive};
pub use compression::Compression;
pub use convert::{ConvertedLayer, ProfileImage, convert};
pub use directory::{DirectoryArchive, DirectoryError, DirectoryOptions, Times};
pub use error::LayerError;
pub use expected::ExpectedLayer;
pub use file::{HashedFile, LayerFile, LayerFileError};
pub use hash_area::HashAreaFault;
pub use image_sink::{Discard, ImageFile, ImageSink, Part};
pub use profile::{Mode, Profile, UnknownProfile};
pub use side_file::SideFile;

/// Is how long the archive in a layer may be: 1 TiB, far above any layer and as far below what a
/// blob of the same size in zeros would inflate to.
pub const MAX_ARCHIVE_BYTES: u64 = 1 << 40;
/// Is how long the archive in a layer may be where an image points into it: 32 GiB, whose blocks of
/// 512 bytes have digests of 2 GiB, in a temporary file.
pub const MAX_INDEXED_ARCHIVE_BYTES: u64 = 32 << 30;
/// Is the largest window of a zstd frame: 2^27 bytes (128 MiB), what `zstd` itself takes without
/// `--long`.
pub const MAX_ZSTD_WINDOW_LOG: u32 = 27;
