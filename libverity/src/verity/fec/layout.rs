//! What is covered, and how it is cut into code words.

use super::{CODE_WORD_BYTES, FecLayoutError, RootsError};
use crate::verity::{BlockSize, Geometry, Parameters};

/// Is the number of parity bytes of a code word: 2 to 24.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Roots(u8);

impl Roots {
    /// Returns the number.
    pub const fn count(self) -> usize {
        self.0 as usize
    }

    /// The fewest.
    pub const MIN: u32 = 2;

    /// The most, `DM_VERITY_FEC_RSM - DM_VERITY_FEC_MIN_RSN` in `drivers/md/dm-verity.h`.
    pub const MAX: u32 = 24;
}

/// Two, as `veritysetup` has where none are given.
impl Default for Roots {
    fn default() -> Self {
        Self(2)
    }
}

impl TryFrom<u32> for Roots {
    type Error = RootsError;

    fn try_from(count: u32) -> Result<Self, RootsError> {
        if (Self::MIN..=Self::MAX).contains(&count) {
            Ok(Self(count as u8))
        } else {
            Err(RootsError { count })
        }
    }
}

/// Is the shape of error correction: a value worked out from sizes alone.
///
/// ```
/// use libverity::verity::fec::{FecLayout, Roots};
/// use libverity::verity::{Geometry, Parameters, Salt};
///
/// let parameters = Parameters::with_salt(Salt::EMPTY);
/// let geometry = Geometry::new(&parameters, 300)?;
/// let layout = FecLayout::new(&parameters, &geometry, geometry.hash_blocks(), Roots::default())?;
/// assert_eq!(layout.blocks(), 300 + 4);
/// assert_eq!(layout.rounds(), 2);
/// assert_eq!(layout.parity_bytes(), 2 * 2 * 4096);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FecLayout {
    block_size: BlockSize,
    roots: Roots,
    data_blocks: u64,
    blocks: u64,
    rounds: u64,
}

impl FecLayout {
    /// Works out the shape of error correction for a device of this geometry; `hash_area_blocks` whole
    /// blocks from the start of the tree on are covered, those of the tree and what follows it.
    ///
    /// # Errors
    ///
    /// Fails if data and tree have blocks of different sizes, the tree is not covered as a whole,
    /// or blocks would have no offset on Linux.
    pub fn new(
        parameters: &Parameters,
        geometry: &Geometry,
        hash_area_blocks: u64,
        roots: Roots,
    ) -> Result<Self, FecLayoutError> {
        let Parameters { data_block_size, hash_block_size, .. } = *parameters;
        if data_block_size != hash_block_size {
            return Err(FecLayoutError::BlockSizes { data_block_size, hash_block_size });
        }
        let tree_blocks = geometry.hash_blocks();
        if hash_area_blocks < tree_blocks {
            return Err(FecLayoutError::TreeTooLong {
                tree_blocks,
                found_blocks: hash_area_blocks,
            });
        }
        let data_blocks = geometry.data_blocks();
        let blocks = data_blocks
            .checked_add(hash_area_blocks)
            .filter(|&blocks| {
                blocks <= Geometry::MAX_DATA_BYTES / u64::from(data_block_size.bytes())
            })
            .ok_or(FecLayoutError::TooManyBlocks { blocks: hash_area_blocks })?;
        let rounds = blocks.div_ceil((CODE_WORD_BYTES - roots.count()) as u64);
        Ok(Self { block_size: data_block_size, roots, data_blocks, blocks, rounds })
    }

    /// Returns the number of roots, which is that of parity bytes in a code word.
    pub fn roots(&self) -> Roots {
        self.roots
    }

    /// Returns the size of a block, of data and of the tree.
    pub fn block_size(&self) -> BlockSize {
        self.block_size
    }

    /// Returns the number of data blocks, which are covered first.
    pub fn data_blocks(&self) -> u64 {
        self.data_blocks
    }

    /// Returns the number of all blocks that are covered; the table line calls it `fec_blocks`.
    pub fn blocks(&self) -> u64 {
        self.blocks
    }

    /// Returns the number of rounds: how far apart the blocks of one code word lie.
    pub fn rounds(&self) -> u64 {
        self.rounds
    }

    /// Returns the length of the parity in bytes.
    pub fn parity_bytes(&self) -> u64 {
        self.parity_blocks() * u64::from(self.block_size.bytes())
    }

    /// Returns the length of the parity in blocks.
    pub fn parity_blocks(&self) -> u64 {
        self.rounds * self.roots.count() as u64
    }

    /// Returns how many rows there are.
    pub(super) fn rows(&self) -> usize {
        CODE_WORD_BYTES - self.roots.count()
    }

    /// Returns in which round a block is, and in which row.
    pub(super) fn place_of(&self, block: u64) -> (u64, u8) {
        (block % self.rounds, (block / self.rounds) as u8)
    }

    /// Returns the block of a round in a row; it is past the end where there are zeros.
    pub(super) fn block_at(&self, round: u64, row: usize) -> u64 {
        row as u64 * self.rounds + round
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::verity::Salt;

    fn layout(data_blocks: u64, more: u64, roots: u32) -> FecLayout {
        let parameters = Parameters::with_salt(Salt::EMPTY);
        let geometry = Geometry::new(&parameters, data_blocks).unwrap();
        let hash_blocks = geometry.hash_blocks() + more;
        FecLayout::new(&parameters, &geometry, hash_blocks, roots.try_into().unwrap()).unwrap()
    }

    #[test]
    fn rounds_follow_from_all_that_is_covered() {
        assert_eq!(layout(1, 0, 2).rounds(), 1);
        assert_eq!(layout(250, 0, 2).rounds(), 1);
        assert_eq!(layout(251, 0, 2).rounds(), 2);
        assert_eq!(layout(228, 0, 24).parity_blocks(), 24);
        assert_eq!(layout(229, 0, 24).parity_blocks(), 48);
        assert_eq!(layout(229, 100, 24).blocks(), 332);
    }

    #[test]
    fn every_block_has_its_own_place() {
        let layout = layout(1000, 7, 5);
        let places: Vec<_> = (0..layout.blocks()).map(|block| layout.place_of(block)).collect();
        for (block, &(round, row)) in (0..).zip(&places) {
            assert!(round < layout.rounds() && usize::from(row) < layout.rows());
            assert_eq!(layout.block_at(round, row.into()), block);
        }
    }

    #[test]
    fn what_cannot_be_covered_is_refused() {
        let mut parameters = Parameters::with_salt(Salt::EMPTY);
        let geometry = Geometry::new(&parameters, 300).unwrap();
        let roots = Roots::default();
        assert_eq!(
            FecLayout::new(&parameters, &geometry, 3, roots),
            Err(FecLayoutError::TreeTooLong { tree_blocks: 4, found_blocks: 3 })
        );
        let blocks = u64::MAX - 299;
        assert_eq!(
            FecLayout::new(&parameters, &geometry, blocks, roots),
            Err(FecLayoutError::TooManyBlocks { blocks })
        );
        parameters.data_block_size = BlockSize::B512;
        assert!(matches!(
            FecLayout::new(&parameters, &geometry, 4, roots),
            Err(FecLayoutError::BlockSizes { .. })
        ));
        for count in [0, 1, 25, u32::MAX] {
            assert_eq!(Roots::try_from(count), Err(RootsError { count }));
        }
    }
}
