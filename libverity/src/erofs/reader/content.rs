//! The content of files.

use std::io::{self, Read, Seek, SeekFrom};
use std::ops::Range;

use super::super::inode::DataLayout;
use super::super::{ImageFacts, chunk};
use super::{FileError, FileKind, ImageSource, Inode, Reader};

/// Reads the content of a file.
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
        let left_bytes = self.size_bytes.saturating_sub(self.position_bytes);
        let count = left_bytes.min(buffer.len() as u64) as usize;
        self.read_at(self.position_bytes, &mut buffer[..count]).map_err(io::Error::other)?;
        self.position_bytes += count as u64;
        Ok(count)
    }
}

impl<S: ImageSource> Seek for FileContent<'_, S> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let position_bytes = match to {
            SeekFrom::Start(position_bytes) => Some(position_bytes),
            SeekFrom::Current(distance_bytes) => {
                self.position_bytes.checked_add_signed(distance_bytes)
            }
            SeekFrom::End(distance_bytes) => self.size_bytes.checked_add_signed(distance_bytes),
        };
        self.position_bytes = position_bytes.ok_or(io::ErrorKind::InvalidInput)?;
        Ok(self.position_bytes)
    }
}

/// Is where the content of a file lies, in bytes from the start of the image; all of it is within,
/// or in the archive behind it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ContentPlace {
    /// The part in blocks, without what pads the last of them.
    pub(super) in_blocks: Range<u64>,
    /// The part behind the inode; where there is none, what belongs to the inode ends here.
    pub(super) inline: Range<u64>,
}

impl ContentPlace {
    /// Finds the content of `inode`.
    pub(super) fn find<S: ImageSource>(
        inode: &Inode,
        reader: &Reader<S>,
    ) -> Result<Self, FileError> {
        let facts = &reader.facts;
        let behind_inode = inode.xattrs_end_bytes();
        match inode.layout {
            DataLayout::FlatPlain => Ok(Self {
                in_blocks: in_image(inode, inode.size_bytes, facts)?,
                inline: behind_inode..behind_inode,
            }),
            DataLayout::FlatInline => {
                let block_bytes = u64::from(facts.block_bytes);
                let tail_bytes = inode.size_bytes % block_bytes;
                let fits = behind_inode % block_bytes + tail_bytes <= block_bytes
                    && behind_inode + tail_bytes <= facts.size_bytes();
                if tail_bytes == 0 || !fits {
                    return Err(FileError::Inline { tail_bytes, offset_bytes: behind_inode });
                }
                Ok(Self {
                    in_blocks: in_image(inode, inode.size_bytes - tail_bytes, facts)?,
                    inline: behind_inode..behind_inode + tail_bytes,
                })
            }
            DataLayout::ChunkBased => {
                let index_start = behind_inode.next_multiple_of(chunk::ENTRY_BYTES);
                let index_end = index_start + chunk::ENTRY_BYTES;
                Ok(Self {
                    in_blocks: in_archive(inode, index_start, reader)?,
                    inline: index_end..index_end,
                })
            }
        }
    }
}

fn in_image(inode: &Inode, bytes: u64, facts: &ImageFacts) -> Result<Range<u64>, FileError> {
    within(inode.first_block, bytes, facts.blocks, facts.block_bytes)
}

/// Finds content in the archive, which the kernel counts on from the end of the image.
fn in_archive<S: ImageSource>(
    inode: &Inode,
    index_start: u64,
    reader: &Reader<S>,
) -> Result<Range<u64>, FileError> {
    let facts = &reader.facts;
    let Some(archive_blocks) = facts.archive_blocks else { return Err(FileError::Chunks) };
    let mut entry = [0; chunk::ENTRY_BYTES as usize];
    if inode.kind != FileKind::Regular || index_start + chunk::ENTRY_BYTES > facts.size_bytes() {
        return Err(FileError::Chunks);
    }
    reader.read(index_start, &mut entry)?;
    let format = inode.first_block;
    let first_block = chunk::parse(format, inode.size_bytes, facts.block_bytes, &entry)?;
    let place = within(first_block, inode.size_bytes, archive_blocks, facts.block_bytes)?;
    Ok(facts.size_bytes() + place.start..facts.size_bytes() + place.end)
}

/// Returns where `bytes` from block `first_block` on lie among `image_blocks` blocks.
fn within(
    first_block: u32,
    bytes: u64,
    image_blocks: u64,
    block_bytes: u32,
) -> Result<Range<u64>, FileError> {
    if bytes == 0 {
        return Ok(0..0);
    }
    let (first_block, block_bytes) = (u64::from(first_block), u64::from(block_bytes));
    let blocks = bytes.div_ceil(block_bytes);
    if first_block.checked_add(blocks).is_none_or(|end| end > image_blocks) {
        return Err(FileError::BlocksOutside { first_block, blocks, image_blocks });
    }
    let start = first_block * block_bytes;
    Ok(start..start + bytes)
}
