//! Images that hold everything: `mkfs.erofs --tar=f`.

use std::io::Read;

use super::ErofsError;
use super::assembly::Assembly;
use super::blocks::{BlockSink, CopyError};
use super::image::Image;
use super::tree::{Content, InodeKind};
use crate::tar::Entry;

/// Turns the entries of a tar archive into an EROFS image that holds the content of all files.
///
/// The image is byte for byte what erofs-utils 1.9.4 writes, run as root with
/// `mkfs.erofs --tar=f --aufs -Enoinline_data -b4096 -T0 --mkfs-time --sort=none`: content first, in
/// the order of the archive, from block 1 on, then inodes and directories.
///
/// The blocks go to a [`BlockSink`] while the archive streams by; content is never kept. Memory
/// grows with the number of names, by about 220 bytes for each, twice that for a directory, and with
/// attributes by twice their length and 200 bytes more.
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
    assembly: Assembly,
}

impl Writer {
    /// Starts an image with an empty root directory.
    pub fn new() -> Self {
        Self { assembly: Assembly::new(BLOCK_BYTES, false) }
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
        let Assembly { tree, allocator, stream, .. } = &mut self.assembly;
        let Some(file) = tree.add(entry)? else { return Ok(()) };
        let InodeKind::Regular { size_bytes, content: place } = &mut tree.inode_mut(file).kind
        else {
            return Ok(());
        };
        let blocks = size_bytes.div_ceil(BLOCK_BYTES.into());
        *place = Content::Blocks(allocator.allocate_data(blocks)?);
        let path = || entry.path[..].into();
        let copied_bytes =
            stream.copy(content, *size_bytes, sink).map_err(|error| match error {
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
    pub fn finish(self, sink: &mut dyn BlockSink) -> Result<Image, ErofsError> {
        self.assembly.finish(None, sink)
    }
}

impl Default for Writer {
    fn default() -> Self {
        Self::new()
    }
}

const BLOCK_BYTES: u32 = 4096;
