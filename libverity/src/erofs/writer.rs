//! Images that hold everything: `mkfs.erofs --tar=f`.

use std::io::Read;

use super::ErofsError;
use super::allocator::Allocator;
use super::blocks::{BlockSink, BlockStream, CopyError};
use super::image::Image;
use super::layout::Layout;
use super::metadata::MetadataWriter;
use super::superblock::{SUPERBLOCK_BYTES, SUPERBLOCK_OFFSET_BYTES, Superblock};
use super::tree::{Content, InodeKind, ROOT, Tree};
use crate::tar::Entry;

/// Turns the entries of a tar archive into an EROFS image that holds the content of all files.
///
/// The image is byte for byte what erofs-utils 1.9.4 writes, run as root with
/// `mkfs.erofs --tar=f --aufs -Enoinline_data -b4096 -T0 --mkfs-time --sort=none`: content first, in
/// the order of the archive, from block 1 on, then inodes and directories.
///
/// The blocks go to a [`BlockSink`] while the archive streams by; content is never kept. Memory
/// grows with the number of names, by some 300 bytes for each.
///
/// ```
/// use libverity::erofs::Writer;
///
/// let mut image = vec![0; 4096];
/// let mut sink = |_: u64, blocks: &[u8]| {
///     image.extend_from_slice(blocks);
///     Ok(())
/// };
/// let finished = Writer::new().finish(&mut sink)?;
/// image[..4096].copy_from_slice(&finished.superblock_block([0x11; 16]));
/// assert_eq!(image.len() as u64, finished.size_bytes());
/// # Ok::<(), libverity::erofs::ErofsError>(())
/// ```
#[derive(Debug)]
pub struct Writer {
    tree: Tree,
    allocator: Allocator,
    stream: BlockStream,
}

impl Writer {
    /// Starts an image with an empty root directory.
    pub fn new() -> Self {
        Self {
            tree: Tree::new(),
            allocator: Allocator::new(BLOCK_BYTES, SUPERBLOCK_OFFSET_BYTES + SUPERBLOCK_BYTES),
            stream: BlockStream::new(BLOCK_BYTES, SUPERBLOCK_BLOCK),
        }
    }

    /// Applies the next entry of the archive; `content` gives the bytes of a regular file and is
    /// otherwise left alone.
    ///
    /// # Errors
    ///
    /// Says what the entry asks for that no image can express, or that the content could not be
    /// read or the blocks not be passed on. The writer is of no further use then.
    pub fn add(
        &mut self,
        entry: &Entry,
        content: &mut dyn Read,
        sink: &mut dyn BlockSink,
    ) -> Result<(), ErofsError> {
        let Some(file) = self.tree.add(entry)? else { return Ok(()) };
        let InodeKind::Regular { size_bytes, content: place } = &mut self.tree.inode_mut(file).kind
        else {
            return Ok(());
        };
        let blocks = size_bytes.div_ceil(BLOCK_BYTES.into());
        *place = Content::Blocks(self.allocator.allocate_data(blocks)?);
        let path = || entry.path[..].into();
        let copied_bytes =
            self.stream.copy(content, *size_bytes, sink).map_err(|error| match error {
                CopyError::Read(source) => ErofsError::Read { path: path(), source },
                CopyError::Write(source) => ErofsError::Write { source },
            })?;
        if copied_bytes < *size_bytes {
            return Err(ErofsError::ContentTruncated {
                path: path(),
                expected_bytes: *size_bytes,
                found_bytes: copied_bytes,
            });
        }
        Ok(())
    }

    /// Writes inodes and directories behind the content.
    ///
    /// # Errors
    ///
    /// Says that the image would be too large, or that the blocks could not be passed on.
    pub fn finish(mut self, sink: &mut dyn BlockSink) -> Result<Image, ErofsError> {
        let layout = Layout::new(&mut self.tree, &mut self.allocator, BLOCK_BYTES)?;
        let metadata = MetadataWriter {
            tree: &self.tree,
            layout: &layout,
            allocator: &self.allocator,
            block_bytes: BLOCK_BYTES,
        };
        let has_xattr_filter = metadata.write(&mut self.stream, sink)?;
        let blocks = self.allocator.blocks();
        let superblock = Superblock {
            has_xattr_filter,
            block_bytes: BLOCK_BYTES,
            root_nid: metadata.nid(ROOT) as u16,
            inodes: layout.inodes.into(),
            blocks: blocks as u32,
            metadata_block: layout.metadata_block as u32,
        };
        let held =
            self.stream.finish(blocks, sink).map_err(|source| ErofsError::Write { source })?;
        let divergences = self.tree.take_divergences();
        Ok(Image::new(superblock, held, divergences))
    }
}

impl Default for Writer {
    fn default() -> Self {
        Self::new()
    }
}

const BLOCK_BYTES: u32 = 4096;
const SUPERBLOCK_BLOCK: u64 = 0;
