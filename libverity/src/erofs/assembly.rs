//! What all images have in common: a tree, places for it, and the blocks that come out.

use super::ErofsError;
use super::allocator::Allocator;
use super::blocks::{BlockSink, BlockStream};
use super::image::Image;
use super::layout::Layout;
use super::metadata::MetadataWriter;
use super::superblock::{DEVICE_SLOT_BYTES, SUPERBLOCK_BYTES, SUPERBLOCK_OFFSET_BYTES, Superblock};
use super::tree::{ROOT, Tree};

/// Is an image under construction.
#[derive(Debug)]
pub(super) struct Assembly {
    pub(super) tree: Tree,
    pub(super) allocator: Allocator,
    pub(super) stream: BlockStream,
    block_bytes: u32,
}

impl Assembly {
    /// Starts an image of blocks of `block_bytes`, with content of its own or in a second device.
    pub(super) fn new(block_bytes: u32, has_second_device: bool) -> Self {
        let slot_bytes = if has_second_device { DEVICE_SLOT_BYTES } else { 0 };
        let used_bytes = SUPERBLOCK_OFFSET_BYTES + SUPERBLOCK_BYTES + slot_bytes;
        let superblock_block = u64::from(SUPERBLOCK_OFFSET_BYTES / block_bytes);
        Self {
            tree: Tree::new(),
            allocator: Allocator::new(block_bytes, used_bytes),
            stream: BlockStream::new(block_bytes, superblock_block),
            block_bytes,
        }
    }

    /// Writes inodes and directories, and knows then what the superblock has to say.
    pub(super) fn finish(
        mut self,
        second_device_blocks: Option<u32>,
        sink: &mut dyn BlockSink,
    ) -> Result<Image, ErofsError> {
        let layout = Layout::new(&mut self.tree, &mut self.allocator, self.block_bytes)?;
        let metadata = MetadataWriter {
            tree: &self.tree,
            layout: &layout,
            allocator: &self.allocator,
            block_bytes: self.block_bytes,
        };
        let has_xattr_filter = metadata.write(&mut self.stream, sink)?;
        let blocks = self.allocator.blocks();
        let superblock = Superblock {
            has_xattr_filter,
            block_bytes: self.block_bytes,
            root_nid: metadata.nid(ROOT) as u16,
            inodes: layout.inodes.into(),
            blocks: blocks as u32,
            metadata_block: layout.metadata_block as u32,
            second_device_blocks,
        };
        let held =
            self.stream.finish(blocks, sink).map_err(|source| ErofsError::Write { source })?;
        Ok(Image::new(superblock, held, self.tree.take_divergences()))
    }
}
