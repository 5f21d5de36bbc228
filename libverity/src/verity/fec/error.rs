//! What can be wrong with parity and with what it covers.

use std::io;

use crate::verity::{BlockSize, VerifyError};

/// Says that a code cannot have so many roots.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("error correction has 2 to 24 roots, not {count}")]
pub struct RootsError {
    /// The number as it was given.
    pub count: u32,
}

/// Says why a device can have no parity.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FecLayoutError {
    /// Data and tree have blocks of different sizes.
    #[error(
        "error correction needs data and hash blocks of one size, not of {data_block_size} and {hash_block_size} bytes"
    )]
    BlockSizes {
        /// The size of a data block.
        data_block_size: BlockSize,
        /// The size of a hash block.
        hash_block_size: BlockSize,
    },
    /// What is covered would be longer than any file or device on Linux.
    #[error("{blocks} blocks are more than error correction can cover")]
    TooManyBlocks {
        /// The number of blocks behind the start of the tree.
        blocks: u64,
    },
    /// The tree is longer than what is covered of its device.
    #[error("the hash tree has {tree_blocks} blocks, and its device only {found_blocks} for it")]
    TreeTooLong {
        /// The number of hash blocks.
        tree_blocks: u64,
        /// The number of whole blocks from the start of the tree on.
        found_blocks: u64,
    },
}

/// Says why parity could not be worked out or used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FecError {
    /// The caller did not want it any more.
    #[error("the work was cancelled")]
    Cancelled,
    /// A block that is covered cannot be read.
    #[error("block {block} of what error correction covers cannot be read")]
    Read {
        /// Its number: data blocks first, then those from the start of the tree on.
        block: u64,
        /// Why.
        source: io::Error,
    },
    /// The parity cannot be read.
    #[error("the parity of round {round} cannot be read")]
    ReadParity {
        /// The round.
        round: u64,
        /// Why.
        source: io::Error,
    },
    /// There are more corrupt blocks than any parity of this length could bring back, or than
    /// [`MAX_FAULTS`](super::MAX_FAULTS).
    #[error("more than {limit} blocks are corrupt, the most that can be brought back here")]
    TooManyFaults {
        /// The number of blocks.
        limit: u64,
    },
    /// Data and tree could not be verified to the end.
    #[error(transparent)]
    Verify(#[from] VerifyError),
    /// What was worked out cannot be written.
    #[error("what error correction worked out cannot be written")]
    Write {
        /// Why.
        source: io::Error,
    },
}
