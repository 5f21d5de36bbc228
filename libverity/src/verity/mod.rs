//! dm-verity: hash trees, the superblock before them, and the table line that starts a device.
//!
//! Data is cut into blocks. Each is hashed with the salt; the digests fill hash blocks, which are
//! hashed in turn, until a single block is left. Its digest is the root hash, and whoever knows
//! that can check any block with the hash blocks on its path:
//!
//! ```text
//!                      root hash
//!                          │
//! level 1            [ hash block ]               first on disk
//!                    ╱            ╲
//! level 0    [ hash block ]  [ hash block ]       leaf digests, last on disk
//!             ╱    │    ╲      ╱    │
//! data       ▒     ▒     ▒    ▒     ▒
//! ```
//!
//! * [`Parameters`] are everything besides the data that the root hash depends on.
//! * [`Geometry`] says how many levels and blocks there are, and where.
//! * [`TreeHasher`] hashes data while it streams by and hands the hash blocks on;
//!   [`TreeBuilder`] keeps them and ends in a [`HashTree`].
//! * [`HashArea`] places [`Superblock`] and tree on disk, as `veritysetup` does.
//! * [`Verifier`] checks data and tree against a root hash and says what is wrong where.
//! * [`fec`] works parity out and brings corrupt blocks back with it.
//! * [`VerityTable`] is what the kernel is told about a device.
//!
//! Source: `drivers/md/dm-verity-target.c` and `Documentation/admin-guide/device-mapper/verity.rst`
//! in the kernel; for the superblock, `lib/verity/verity.c` in cryptsetup.

mod algorithm;
mod block_hasher;
#[cfg(test)]
mod damage_tests;
pub mod fec;
mod format;
mod geometry;
mod leaf_digests;
mod parallel;
mod parameters;
mod superblock;
mod table;
mod tree;
mod tree_hasher;
mod verify;

pub use algorithm::{Algorithm, UnknownAlgorithm};
pub use format::{HashArea, HashAreaError, Header};
pub use geometry::{Geometry, GeometryError, Level};
pub use leaf_digests::LeafDigests;
pub use parallel::ReadAt;
pub use parameters::{
    BlockSize, BlockSizeError, HashType, Parameters, Salt, SaltError, UnknownHashType,
};
pub use superblock::{Superblock, SuperblockError};
pub use table::{
    Device, ErrorCorrection, KeyDescription, KeyDescriptionError, OnCorruption, OnInputError,
    TableOptions, VerityTable, WeakenedTable,
};
pub use tree::{DataError, HashTree, TreeBuilder, UpdateError};
pub use tree_hasher::{FirstPath, HashBlockSink, ReplaceError, TreeError, TreeHasher};
pub use verify::{Fault, FaultyBlock, Verifier, VerifyError};
