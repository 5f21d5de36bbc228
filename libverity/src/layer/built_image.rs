//! Images whose blocks have streamed by, and the hash trees over them.

use std::io;

use uuid::Uuid;

use super::{ImageSink, LayerError, Mode, Part};
use crate::digest::RootHash;
use crate::erofs::{self, BlockSink};
use crate::verity::{
    FirstPath, HashArea, HashBlockSink, Header, LeafDigests, Superblock, TreeError, TreeHasher,
};

/// Is an image without the block that has the superblock, and what hangs on that of the hash tree
/// over both; the sink has the rest.
pub(super) struct BuiltImage {
    pub(super) image: erofs::Image,
    pub(super) path: FirstPath,
}

impl BuiltImage {
    /// Returns how many bytes the tree covers, and so where the hash area starts.
    pub(super) fn hash_offset_bytes(&self) -> u64 {
        self.path.geometry().data_bytes()
    }

    /// Puts the superblock that an image with this UUID has into the tree, and returns the root
    /// hash.
    pub(super) fn seal(&mut self, uuid: Uuid) -> RootHash {
        let block = self.image.superblock_block(uuid.into_bytes());
        self.path
            .replace_block(self.image.superblock_block_number(), &block)
            .expect("the superblock is in one of the first three blocks");
        self.path.root_hash().clone()
    }

    /// Writes the superblock's block and the hash area of the image with this UUID.
    pub(super) fn write_rest(&self, uuid: Uuid, sink: &mut dyn ImageSink) -> io::Result<()> {
        let block = self.image.superblock_block(uuid.into_bytes());
        let offset_bytes =
            self.image.superblock_block_number() * u64::from(self.image.block_bytes());
        sink.write_at(offset_bytes, &block)?;

        let geometry = self.path.geometry();
        let area = HashArea::appended(geometry, Header::Superblock);
        let superblock = Superblock {
            uuid,
            parameters: self.path.parameters().clone(),
            data_blocks: geometry.data_blocks(),
        };
        sink.write_at(area.hash_offset_bytes(), &superblock.to_bytes())?;
        let hash_block_bytes = u64::from(geometry.hash_block_size().bytes());
        let levels: Vec<_> = geometry.levels().iter().zip(self.path.first_blocks()).collect();
        for (number, (level, first_block)) in levels.into_iter().enumerate().rev() {
            let offset_bytes = area.tree_offset_bytes() + level.first_block * hash_block_bytes;
            sink.write_at(offset_bytes, first_block)?;
            sink.place(Part::HashLevel(number), offset_bytes + hash_block_bytes)?;
        }
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
        self.leaves.take(first_block, bytes, self.sink)?;
        self.sink.write_at(first_block * self.leaves.block_bytes, bytes)
    }
}

/// Hashes the blocks of an image while they stream by.
pub(super) struct ImageLeaves {
    tree: TreeHasher,
    block_bytes: u64,
    next_block: u64,
}

impl ImageLeaves {
    pub(super) fn new(mode: Mode) -> Self {
        let parameters = mode.verity_parameters();
        Self {
            tree: TreeHasher::new(&parameters),
            block_bytes: parameters.data_block_size.bytes().into(),
            next_block: 0,
        }
    }

    /// Ends the tree behind all blocks of `image`, and behind those whose digests are in `archive`.
    pub(super) fn finish(
        mut self,
        image: &erofs::Image,
        archive: Option<LeafDigests>,
        sink: &mut dyn ImageSink,
    ) -> Result<FirstPath, LayerError> {
        let ended = self
            .skip_to(image.blocks(), sink)
            .map_err(|source| TreeError::Sink { source })
            .and_then(|()| match archive {
                Some(archive) => self.tree.append(archive, &mut HashLevels(sink)),
                None => Ok(()),
            })
            .and_then(|()| self.tree.finish(&mut HashLevels(sink)));
        ended.map_err(|error| match error {
            TreeError::Digests { source } => {
                LayerError::Temporary { directory: sink.temporary_directory(), source }
            }
            TreeError::Geometry(error) => unreachable!("the image has its first block: {error}"),
            TreeError::Sink { source } => LayerError::Write { source },
        })
    }

    fn take(&mut self, first_block: u64, bytes: &[u8], sink: &mut dyn ImageSink) -> io::Result<()> {
        self.skip_to(first_block, sink)?;
        self.tree.update(bytes, &mut HashLevels(sink))?;
        self.next_block += bytes.len() as u64 / self.block_bytes;
        Ok(())
    }

    /// Takes zeros for the one block that the writer of the image holds back.
    fn skip_to(&mut self, block: u64, sink: &mut dyn ImageSink) -> io::Result<()> {
        for _ in self.next_block..block {
            self.tree.update(&vec![0; self.block_bytes as usize], &mut HashLevels(sink))?;
        }
        self.next_block = block;
        Ok(())
    }
}

/// Passes the hash blocks of a tree on to the sink of its image.
struct HashLevels<'a>(&'a mut dyn ImageSink);

impl HashBlockSink for HashLevels<'_> {
    fn take(&mut self, level: usize, _: u64, blocks: &[u8]) -> io::Result<()> {
        self.0.set_aside(Part::HashLevel(level), blocks)
    }
}
