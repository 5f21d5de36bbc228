//! Tar archives as container layers use them, read strictly.
//!
//! [`TarReader`] reads one archive from a stream, once, without seeking. Every archive has one of
//! two outcomes: exactly the members that `mkfs.erofs --tar=f` of erofs-utils 1.9.4 takes from
//! it, or a [`TarError`] that names the member, the byte and the reason. An archive that programs
//! in use read in different ways is refused, because a signature over one reading of it would be
//! shown beside another. What remains is read alike by all of them, except where erofs-utils 1.8
//! differs: such archives are read, and [`Divergences`] say so.
//!
//! | typeflag | meaning | what happens |
//! |---|---|---|
//! | `0`, `7` | regular file | read; the content follows through [`TarReader::read_payload`] |
//! | `1` | hard link | read |
//! | `2` | symbolic link | read |
//! | `3`, `4` | character device, block device | read |
//! | `5` | directory | read |
//! | `6` | named pipe | read |
//! | `x` | PAX header for the next member | applied |
//! | `g` | PAX header for all that follow | a comment alone is taken |
//! | `L`, `K` | GNU long name, long link target | applied |
//! | all others | old regular files (NUL), sparse files (`S`), volume labels (`V`), … | refused |
//!
//! Whether a path means a whiteout, and where it leads, is decided by [`crate::erofs`]: names
//! pass through here as opaque bytes.
//!
//! Sources: POSIX.1-2017 `pax`, "ustar Interchange Format" and "pax Header"; GNU tar manual,
//! "Basic Tar Format"; erofs-utils 1.9.4, `lib/tar.c`.

mod divergence;
mod encode;
mod entry;
mod error;
mod extensions;
mod header;
mod libarchive;
mod number;
mod pax;
mod reader;
#[cfg(test)]
pub(crate) mod test_archive;

pub use divergence::{Divergence, DivergenceKind, Divergences};
pub use encode::{EncodeError, encode_member};
pub use entry::{DeviceNumber, Entry, EntryKind, Timestamp, Xattr};
pub use error::{Refusal, TarError};
pub use reader::TarReader;

/// Is the size of a header, and what everything in an archive is padded to: 512 bytes.
pub const BLOCK_BYTES: usize = 512;
/// Is how many zeros end an archive: two blocks.
pub const END_MARKER_BYTES: usize = 2 * BLOCK_BYTES;
/// Is how long the payload of one `x` or `g` header may be: 1 MiB, enough for eight attributes of
/// the largest size beside all other keywords.
pub const MAX_EXTENSION_BYTES: u64 = 1 << 20;
/// Is how long the target of a symbolic link may be: 4095 bytes, where the kernel cuts a longer
/// one off (`fs/namei.c`, `page_get_link`).
pub const MAX_LINK_TARGET_BYTES: usize = 4095;
/// Is how many members an archive may have: four million.
pub const MAX_MEMBERS: u64 = 4 << 20;
/// Is how many bytes names, link targets and attributes of all members may take together beyond
/// [`METADATA_BYTES_PER_MEMBER`] for each: 64 MiB. They are held in memory until the last member is
/// known, and this is half of what a layer with a few members may take.
pub const MAX_METADATA_BYTES: u64 = 64 << 20;
/// Is how many bytes the name, link target and attributes of a member may take, on average and
/// with [`XATTR_BYTES`] for each attribute: 300, a name with two labels of security. It is half of
/// what each member may take in memory. Of a path, its last component is the name.
pub const METADATA_BYTES_PER_MEMBER: u64 = 300;
/// Is what an extended attribute takes in memory besides its name and value: 112 bytes.
pub const XATTR_BYTES: u64 = 112;
/// Is how long the path of a member may be: 4096 bytes (`PATH_MAX`).
pub const MAX_PATH_BYTES: usize = 4096;
/// Is how many extended attributes a member may have: 512.
pub const MAX_XATTRS: usize = 512;
/// Is how long the full name of an extended attribute may be: 255 bytes (`XATTR_NAME_MAX`).
pub const MAX_XATTR_NAME_BYTES: usize = 255;
/// Is how long the value of an extended attribute may be: 65535 bytes, the most that the `u16` of
/// an EROFS attribute can say.
pub const MAX_XATTR_VALUE_BYTES: usize = 65535;
