//! A finished image.

use super::superblock::{self, SUPERBLOCK_OFFSET_BYTES, Superblock};
use crate::tar::Divergences;

/// Is a finished image, of which the sink has all blocks but the one with the superblock.
///
/// That block depends on the UUID, so that images that differ in the UUID alone come from one
/// conversion.
#[derive(Clone, Debug)]
pub struct Image {
    superblock: Superblock,
    superblock_block: Vec<u8>,
    divergences: Divergences,
}

impl Image {
    pub(super) fn new(
        superblock: Superblock,
        mut superblock_block: Vec<u8>,
        divergences: Divergences,
    ) -> Self {
        let start = (SUPERBLOCK_OFFSET_BYTES % superblock.block_bytes) as usize;
        let bytes = superblock.to_bytes();
        superblock_block[start..start + bytes.len()].copy_from_slice(&bytes);
        Self { superblock, superblock_block, divergences }
    }

    /// Returns the number of the block that [`superblock_block`](Self::superblock_block) gives.
    pub fn superblock_block_number(&self) -> u64 {
        u64::from(SUPERBLOCK_OFFSET_BYTES / self.superblock.block_bytes)
    }

    /// Returns the block with the superblock, for an image with this UUID.
    pub fn superblock_block(&self, uuid: [u8; 16]) -> Vec<u8> {
        let mut block = self.superblock_block.clone();
        let start = (SUPERBLOCK_OFFSET_BYTES % self.superblock.block_bytes) as usize;
        superblock::seal(&mut block[start..], uuid);
        block
    }

    /// Returns the size of a block in bytes.
    pub fn block_bytes(&self) -> u32 {
        self.superblock.block_bytes
    }

    /// Returns the count of blocks.
    pub fn blocks(&self) -> u64 {
        self.superblock.blocks.into()
    }

    /// Returns the size of the image in bytes.
    pub fn size_bytes(&self) -> u64 {
        self.blocks() * u64::from(self.block_bytes())
    }

    /// Returns the count of files in the image, of which each may have several names.
    pub fn inodes(&self) -> u64 {
        self.superblock.inodes
    }

    /// Returns where erofs-utils 1.8 makes another image for a reason that only the whole tree
    /// shows; [`TarReader`](crate::tar::TarReader) knows those that single members show.
    pub fn divergences(&self) -> &Divergences {
        &self.divergences
    }
}
