//! How many levels and blocks a tree has, and where they lie.

use std::ops::Range;

use super::{BlockSize, HashType, Parameters};

/// Is the shape of a hash tree: a value worked out from the parameters and the number of data
/// blocks, without any data.
///
/// Levels count from the leaves up, as in the kernel: level 0 holds the digests of data blocks,
/// the top level is a single hash block, and its digest is the root hash. On disk the top level
/// comes first and level 0 last. A single data block needs no level at all: its digest is the
/// root hash.
///
/// Source: `verity_ctr`, `verity_position_at_level` and `verity_hash_at_level` in
/// `drivers/md/dm-verity-target.c`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Geometry {
    data_block_size: BlockSize,
    data_blocks: u64,
    slots: Slots,
    levels: Vec<Level>,
}

impl Geometry {
    /// Works out the shape of a tree over `data_blocks` blocks.
    ///
    /// # Errors
    ///
    /// Fails if there are no data blocks, or so many that their bytes have no offset on Linux.
    pub fn new(parameters: &Parameters, data_blocks: u64) -> Result<Self, GeometryError> {
        let data_block_size = parameters.data_block_size;
        if data_blocks == 0 {
            return Err(GeometryError::NoData);
        }
        if data_blocks > Self::MAX_DATA_BYTES / u64::from(data_block_size.bytes()) {
            return Err(GeometryError::TooManyBlocks { data_blocks, data_block_size });
        }

        let slots = Slots::new(parameters);
        let mut blocks_of_levels = Vec::new();
        let mut blocks = data_blocks;
        while blocks > 1 {
            blocks = blocks.div_ceil(slots.per_block);
            blocks_of_levels.push(blocks);
        }
        let mut first_block = 0;
        let mut levels: Vec<_> = blocks_of_levels
            .into_iter()
            .rev()
            .map(|blocks| {
                let level = Level { first_block, blocks };
                first_block += blocks;
                level
            })
            .collect();
        levels.reverse();
        Ok(Self { data_block_size, data_blocks, slots, levels })
    }

    /// Returns the number of data blocks.
    pub fn data_blocks(&self) -> u64 {
        self.data_blocks
    }

    /// Returns the length of all data blocks in bytes.
    pub fn data_bytes(&self) -> u64 {
        self.data_blocks * u64::from(self.data_block_size.bytes())
    }

    /// Returns the number of hash blocks in all levels.
    pub fn hash_blocks(&self) -> u64 {
        self.levels.iter().map(|level| level.blocks).sum()
    }

    /// Returns the length of the tree on disk, in bytes, without a superblock.
    pub fn tree_bytes(&self) -> u64 {
        self.hash_blocks() * self.slots.hash_block_bytes()
    }

    /// Returns the size of a hash block.
    pub fn hash_block_size(&self) -> BlockSize {
        self.slots.hash_block_size()
    }

    /// Returns the number of digests that a full hash block holds: 128 with SHA-256 in 4096 bytes.
    pub fn digests_per_block(&self) -> u64 {
        self.slots.per_block
    }

    /// Returns the levels from the leaves up; the order on disk is the reverse.
    pub fn levels(&self) -> &[Level] {
        &self.levels
    }

    /// Returns the data blocks below one hash block, empty if there is no such hash block.
    pub fn data_blocks_below(&self, level: usize, index: u64) -> Range<u64> {
        let per_index = u32::try_from(level + 1)
            .ok()
            .and_then(|height| self.slots.per_block.checked_pow(height))
            .unwrap_or(u64::MAX);
        let start = index.saturating_mul(per_index).min(self.data_blocks);
        start..start.saturating_add(per_index).min(self.data_blocks)
    }

    pub(super) fn slots(&self) -> &Slots {
        &self.slots
    }

    /// The most data that a tree can cover, in bytes: Linux has no larger offsets.
    pub const MAX_DATA_BYTES: u64 = i64::MAX as u64;
}

/// Is one level of a tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Level {
    /// The place of its first block, in hash blocks from the start of the tree on disk.
    pub first_block: u64,
    /// The number of its hash blocks.
    pub blocks: u64,
}

/// Says why there can be no tree.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum GeometryError {
    /// There is nothing to hash.
    #[error("there is no data: a hash tree covers at least one block")]
    NoData,
    /// The data would be longer than any file or device on Linux.
    #[error("{data_blocks} data blocks of {data_block_size} bytes are more than 2^63 - 1 bytes")]
    TooManyBlocks {
        /// The number of data blocks asked for.
        data_blocks: u64,
        /// The size of each.
        data_block_size: BlockSize,
    },
}

/// Is the layout of digests within the blocks of a level.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Slots {
    digest_bytes: usize,
    hash_block_size: BlockSize,
    per_block: u64,
    stride_bytes: usize,
}

impl Slots {
    /// A hash block holds a power of two of digests even where more would fit, so that the path
    /// of a block can be cut out of its number (`verity_ctr`: `hash_per_block_bits`). With blocks
    /// of 512 bytes and digests of 64 that is 8, never fewer.
    pub(super) fn new(parameters: &Parameters) -> Self {
        let digest_bytes = parameters.algorithm.digest_bytes();
        let hash_block_bytes = parameters.hash_block_size.bytes_usize();
        let per_block = 1 << (hash_block_bytes / digest_bytes).ilog2();
        let stride_bytes = match parameters.hash_type {
            HashType::ChromeOs => digest_bytes,
            HashType::Normal => hash_block_bytes / per_block,
        };
        Self {
            digest_bytes,
            hash_block_size: parameters.hash_block_size,
            per_block: per_block as u64,
            stride_bytes,
        }
    }

    /// Returns the size of a hash block.
    pub(super) fn hash_block_size(&self) -> BlockSize {
        self.hash_block_size
    }

    /// Returns how many digests a hash block holds.
    pub(super) fn per_block(&self) -> usize {
        self.per_block as usize
    }

    /// Returns whether the digests fill their blocks without any gap, so that a run of digests is
    /// a run of bytes.
    pub(super) fn are_gapless(&self) -> bool {
        self.per_block() * self.digest_bytes == self.hash_block_size.bytes_usize()
    }

    /// Returns where the digest of the `index`th block below lies within the bytes of a level.
    pub(super) fn digest_range(&self, index: usize) -> Range<usize> {
        let block = index / self.per_block();
        let slot = index % self.per_block();
        let start = block * self.hash_block_size.bytes_usize() + slot * self.stride_bytes;
        start..start + self.digest_bytes
    }

    fn hash_block_bytes(&self) -> u64 {
        u64::from(self.hash_block_size.bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::verity::{Algorithm, Salt};

    fn usual() -> Parameters {
        Parameters::with_salt(Salt::EMPTY)
    }

    fn blocks_of_levels(parameters: &Parameters, data_blocks: u64) -> Vec<u64> {
        let geometry = Geometry::new(parameters, data_blocks).unwrap();
        geometry.levels().iter().map(|level| level.blocks).collect()
    }

    #[test]
    fn levels_are_added_just_beyond_full_blocks() {
        assert_eq!(blocks_of_levels(&usual(), 1), []);
        assert_eq!(blocks_of_levels(&usual(), 2), [1]);
        assert_eq!(blocks_of_levels(&usual(), 128), [1]);
        assert_eq!(blocks_of_levels(&usual(), 129), [2, 1]);
        assert_eq!(blocks_of_levels(&usual(), 16_384), [128, 1]);
        assert_eq!(blocks_of_levels(&usual(), 16_385), [129, 2, 1]);
    }

    #[test]
    fn the_top_level_is_first_on_disk() {
        let geometry = Geometry::new(&usual(), 16_385).unwrap();
        assert_eq!(
            geometry.levels(),
            [
                Level { first_block: 3, blocks: 129 },
                Level { first_block: 1, blocks: 2 },
                Level { first_block: 0, blocks: 1 },
            ]
        );
        assert_eq!(geometry.hash_blocks(), 132);
        assert_eq!(geometry.tree_bytes(), 132 * 4096);
        assert_eq!(geometry.data_bytes(), 16_385 * 4096);
    }

    #[test]
    fn a_block_holds_a_power_of_two_of_digests() {
        for (algorithm, hash_block_size, expected) in [
            (Algorithm::Sha224, BlockSize::B4096, 128),
            (Algorithm::Sha256, BlockSize::B512, 16),
            (Algorithm::Sha384, BlockSize::B4096, 64),
            (Algorithm::Sha512, BlockSize::B512, 8),
        ] {
            let parameters = Parameters { algorithm, hash_block_size, ..usual() };
            let geometry = Geometry::new(&parameters, 2).unwrap();
            assert_eq!(geometry.digests_per_block(), expected, "{algorithm}");
        }
    }

    #[test]
    fn data_below_a_hash_block_ends_with_the_data() {
        let geometry = Geometry::new(&usual(), 16_385).unwrap();
        assert_eq!(geometry.data_blocks_below(0, 0), 0..128);
        assert_eq!(geometry.data_blocks_below(0, 128), 16_384..16_385);
        assert_eq!(geometry.data_blocks_below(1, 1), 16_384..16_385);
        assert_eq!(geometry.data_blocks_below(2, 0), 0..16_385);
        assert!(geometry.data_blocks_below(0, 129).is_empty());
        assert!(geometry.data_blocks_below(99, 7).is_empty());
    }

    #[test]
    fn trees_over_nothing_or_too_much_are_refused() {
        assert_eq!(Geometry::new(&usual(), 0), Err(GeometryError::NoData));
        let most = Geometry::MAX_DATA_BYTES / 4096;
        assert!(Geometry::new(&usual(), most).is_ok());
        for data_blocks in [most + 1, u64::MAX] {
            let data_block_size = BlockSize::B4096;
            assert_eq!(
                Geometry::new(&usual(), data_blocks),
                Err(GeometryError::TooManyBlocks { data_blocks, data_block_size })
            );
        }
    }

    #[test]
    fn the_largest_tree_of_the_smallest_blocks_has_a_size() {
        let parameters = Parameters {
            algorithm: Algorithm::Sha512,
            data_block_size: BlockSize::B512,
            hash_block_size: BlockSize::B512,
            ..usual()
        };
        let geometry = Geometry::new(&parameters, Geometry::MAX_DATA_BYTES / 512).unwrap();
        assert_eq!(geometry.levels().len(), 18);
        assert!(geometry.tree_bytes() > geometry.data_bytes() / 8);
    }
}
