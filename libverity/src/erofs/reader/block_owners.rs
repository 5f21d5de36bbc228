//! Which file a block of the image belongs to.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use super::super::EntryPath;
use super::super::superblock::{SUPERBLOCK_BYTES, SUPERBLOCK_OFFSET_BYTES};
use super::content::ContentPlace;
use super::{ImageSource, ReadError, Reader, WalkedFile};

/// Says to what some blocks of an image belong.
#[derive(Debug)]
pub struct BlockOwners {
    /// By block, for those that belong to anything: content of files that a later layer member
    /// replaced belongs to nothing.
    pub owners: BTreeMap<u64, BlockOwner>,
    /// Why not all files could be asked, as in a damaged image.
    pub incomplete: Option<ReadError>,
}

/// Is what a block belongs to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BlockOwner {
    /// The file, the first in the order of [`Reader::walk`] if there are several.
    pub path: EntryPath,
    /// Which part of the file, or of the image, has the block.
    pub part: BlockPart,
    /// How many further names there are whose files have a part in the block: a block holds up to
    /// 128 inodes.
    pub further_names: u64,
}

/// Tells the parts of a file in an image apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BlockPart {
    /// Content in blocks of its own.
    Content {
        /// Where the block starts in the file.
        offset_bytes: u64,
    },
    /// The inode with its attributes and what content is behind them.
    Inode,
    /// The superblock of the image.
    Superblock,
}

impl<S: ImageSource> Reader<S> {
    /// Finds out to which files `blocks` belong.
    ///
    /// The walk over the whole image is made once for all of them.
    pub fn block_owners(&self, blocks: &[u64]) -> BlockOwners {
        let wanted: BTreeSet<u64> = blocks.iter().copied().collect();
        let mut found = BlockOwners { owners: BTreeMap::new(), incomplete: None };
        let superblock_bytes = u64::from(SUPERBLOCK_OFFSET_BYTES)
            ..u64::from(SUPERBLOCK_OFFSET_BYTES + SUPERBLOCK_BYTES);
        for block in wanted.range(self.blocks_of(&superblock_bytes)) {
            found.add(*block, &b"/"[..].into(), BlockPart::Superblock);
        }
        for file in self.walk() {
            match file {
                Ok(file) => self.find_blocks_of(&file, &wanted, &mut found),
                Err(error) => found.incomplete = Some(error),
            }
        }
        found
    }

    fn find_blocks_of(&self, file: &WalkedFile, wanted: &BTreeSet<u64>, found: &mut BlockOwners) {
        let place = match ContentPlace::find(&file.inode, self) {
            Ok(place) => place,
            Err(error) => {
                found.incomplete = Some(file.error(error));
                return;
            }
        };
        let content = self.blocks_of(&place.in_blocks);
        for block in wanted.range(content.clone()) {
            let offset_bytes = (block - content.start) * self.block_bytes();
            found.add(*block, &file.path, BlockPart::Content { offset_bytes });
        }
        let inode_bytes = file.inode.offset_bytes..place.inline.end;
        for block in wanted.range(self.blocks_of(&inode_bytes)) {
            found.add(*block, &file.path, BlockPart::Inode);
        }
    }

    fn blocks_of(&self, bytes: &Range<u64>) -> Range<u64> {
        if bytes.is_empty() {
            return 0..0;
        }
        bytes.start / self.block_bytes()..bytes.end.div_ceil(self.block_bytes())
    }
}

impl BlockOwners {
    fn add(&mut self, block: u64, path: &EntryPath, part: BlockPart) {
        self.owners
            .entry(block)
            .and_modify(|owner| owner.further_names += 1)
            .or_insert_with(|| BlockOwner { path: path.clone(), part, further_names: 0 });
    }
}
