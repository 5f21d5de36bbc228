//! Images whose blocks have streamed by, and the hash trees over them.

use std::io::{self, Write};

use uuid::Uuid;

use super::{ImageSink, Mode};
use crate::digest::RootHash;
use crate::erofs::{self, BlockSink};
use crate::verity::{HashArea, HashTree, Header, TreeBuilder};

/// Is an image without the block that has the superblock, and the hash tree over both.
pub(super) struct BuiltImage {
    pub(super) image: erofs::Image,
    pub(super) tree: HashTree,
    /// Where the image ends, or the archive behind it.
    pub(super) end_bytes: u64,
}

impl BuiltImage {
    /// Returns how many bytes the tree covers, and so where the hash area starts.
    pub(super) fn hash_offset_bytes(&self) -> u64 {
        self.tree.geometry().data_bytes()
    }

    /// Puts the superblock that an image with this UUID has into the tree, and returns the root
    /// hash.
    pub(super) fn seal(&mut self, uuid: Uuid) -> RootHash {
        let block = self.image.superblock_block(uuid.into_bytes());
        self.tree
            .replace_block(self.image.superblock_block_number(), &block)
            .expect("the tree has a block for the superblock");
        self.tree.root_hash().clone()
    }

    /// Writes the superblock's block and the hash area of the image with this UUID.
    pub(super) fn write_rest(&self, uuid: Uuid, sink: &mut dyn ImageSink) -> io::Result<()> {
        let block = self.image.superblock_block(uuid.into_bytes());
        let offset_bytes =
            self.image.superblock_block_number() * u64::from(self.image.block_bytes());
        sink.write_at(offset_bytes, &block)?;
        let mut output = SinkWriter { sink, offset_bytes: self.end_bytes };
        let area =
            HashArea::append(self.end_bytes, &self.tree, Header::Superblock, uuid, &mut output)?;
        sink.finish(area.end_bytes())
    }
}

/// Passes the blocks of an image on to a sink, and hashes them on the way; the block that comes
/// last, with the superblock, as zeros.
pub(super) struct HashedBlocks<'a> {
    sink: &'a mut dyn ImageSink,
    pub(super) leaves: &'a mut ImageLeaves,
}

impl<'a> HashedBlocks<'a> {
    pub(super) fn new(sink: &'a mut dyn ImageSink, leaves: &'a mut ImageLeaves) -> Self {
        Self { sink, leaves }
    }
}

impl BlockSink for HashedBlocks<'_> {
    fn take(&mut self, first_block: u64, bytes: &[u8]) -> io::Result<()> {
        self.leaves.take(first_block, bytes);
        self.sink.write_at(first_block * self.leaves.block_bytes, bytes)
    }
}

/// Hashes the blocks of an image while they stream by.
pub(super) struct ImageLeaves {
    builder: TreeBuilder,
    block_bytes: u64,
    next_block: u64,
}

impl ImageLeaves {
    pub(super) fn new(mode: Mode) -> Self {
        let parameters = mode.verity_parameters();
        Self {
            builder: TreeBuilder::new(&parameters),
            block_bytes: parameters.data_block_size.bytes().into(),
            next_block: 0,
        }
    }

    /// Returns the digests of all blocks of `image`.
    pub(super) fn finish(mut self, image: &erofs::Image) -> TreeBuilder {
        self.skip_to(image.blocks());
        self.builder
    }

    fn take(&mut self, first_block: u64, bytes: &[u8]) {
        self.skip_to(first_block);
        self.builder.update(bytes);
        self.next_block += bytes.len() as u64 / self.block_bytes;
    }

    /// Takes zeros for the one block that the writer of the image holds back.
    fn skip_to(&mut self, block: u64) {
        for _ in self.next_block..block {
            self.builder.update(&vec![0; self.block_bytes as usize]);
        }
        self.next_block = block;
    }
}

/// Writes to a sink from an offset on.
struct SinkWriter<'a> {
    sink: &'a mut dyn ImageSink,
    offset_bytes: u64,
}

impl Write for SinkWriter<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.sink.write_at(self.offset_bytes, bytes)?;
        self.offset_bytes += bytes.len() as u64;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
