//! The content of files.

use std::io::{self, Read};
use std::ops::Range;

use super::super::ImageFacts;
use super::super::inode::DataLayout;
use super::{FileError, ImageSource, Inode, Reader};

/// Reads the content of a file from its start to its end.
#[derive(Debug)]
pub struct FileContent<'a, S> {
    reader: &'a Reader<S>,
    place: ContentPlace,
    size_bytes: u64,
    position_bytes: u64,
}

impl<'a, S: ImageSource> FileContent<'a, S> {
    pub(super) fn new(reader: &'a Reader<S>, place: ContentPlace, size_bytes: u64) -> Self {
        Self { reader, place, size_bytes, position_bytes: 0 }
    }

    /// Fills `buffer` with the content from `offset_bytes` on; it must not reach beyond the end.
    pub(super) fn read_at(&self, offset_bytes: u64, buffer: &mut [u8]) -> Result<(), FileError> {
        let in_blocks = &self.place.in_blocks;
        let split_bytes = (in_blocks.end - in_blocks.start).saturating_sub(offset_bytes);
        let split = (buffer.len() as u64).min(split_bytes) as usize;
        let (from_blocks, from_tail) = buffer.split_at_mut(split);
        if !from_blocks.is_empty() {
            self.reader.read(in_blocks.start + offset_bytes, from_blocks)?;
        }
        if !from_tail.is_empty() {
            let skipped_bytes = offset_bytes + split as u64 - (in_blocks.end - in_blocks.start);
            self.reader.read(self.place.inline.start + skipped_bytes, from_tail)?;
        }
        Ok(())
    }
}

impl<S: ImageSource> Read for FileContent<'_, S> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left_bytes = self.size_bytes - self.position_bytes;
        let count = left_bytes.min(buffer.len() as u64) as usize;
        self.read_at(self.position_bytes, &mut buffer[..count]).map_err(io::Error::other)?;
        self.position_bytes += count as u64;
        Ok(count)
    }
}

/// Is where the content of a file lies, in bytes from the start of the image; all of it is within.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ContentPlace {
    /// The part in blocks, without what pads the last of them.
    pub(super) in_blocks: Range<u64>,
    /// The part behind the inode.
    pub(super) inline: Range<u64>,
}

impl ContentPlace {
    /// Finds the content of `inode`.
    pub(super) fn new(inode: &Inode, facts: &ImageFacts) -> Result<Self, FileError> {
        let block_bytes = u64::from(facts.block_bytes);
        let inline_start = inode.xattrs_end_bytes();
        let tail_bytes = match inode.layout {
            DataLayout::ChunkBased => return Err(FileError::Chunks),
            DataLayout::FlatPlain => 0,
            DataLayout::FlatInline => {
                let tail_bytes = inode.size_bytes % block_bytes;
                let fits = inline_start % block_bytes + tail_bytes <= block_bytes
                    && inline_start + tail_bytes <= facts.size_bytes();
                if tail_bytes == 0 || !fits {
                    return Err(FileError::Inline { tail_bytes, offset_bytes: inline_start });
                }
                tail_bytes
            }
        };
        let size_in_blocks = inode.size_bytes - tail_bytes;
        let blocks = size_in_blocks.div_ceil(block_bytes);
        let first_block = u64::from(inode.first_block);
        if blocks > 0 && first_block.checked_add(blocks).is_none_or(|end| end > facts.blocks) {
            let image_blocks = facts.blocks;
            return Err(FileError::BlocksOutside { first_block, blocks, image_blocks });
        }
        let start = if blocks > 0 { first_block * block_bytes } else { 0 };
        Ok(Self {
            in_blocks: start..start + size_in_blocks,
            inline: inline_start..inline_start + tail_bytes,
        })
    }
}
