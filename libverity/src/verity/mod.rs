//! dm-verity: hash trees.
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
//! * [`TreeBuilder`] hashes data while it streams by and ends in a [`HashTree`].
//!
//! Source: `drivers/md/dm-verity-target.c` and `Documentation/admin-guide/device-mapper/verity.rst`
//! in the kernel.

mod algorithm;
mod block_hasher;
mod geometry;
mod parameters;
mod tree;

pub use algorithm::{Algorithm, UnknownAlgorithm};
pub use geometry::{Geometry, GeometryError, Level};
pub use parameters::{
    BlockSize, BlockSizeError, HashType, Parameters, Salt, SaltError, UnknownHashType,
};
pub use tree::{HashTree, ReplaceError, TreeBuilder};
