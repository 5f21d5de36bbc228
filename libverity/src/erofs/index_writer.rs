//! Images that point into the archive: `mkfs.erofs --tar=i`.

use super::ErofsError;
use super::assembly::Assembly;
use super::blocks::BlockSink;
use super::chunk::Chunks;
use super::image::Image;
use super::tree::{Content, InodeKind};
use crate::tar::Entry;

/// Turns the entries of a tar archive into an EROFS image that holds names and attributes, and
/// points into the archive for content.
///
/// The image is byte for byte what erofs-utils 1.9.4 writes, run as root with
/// `mkfs.erofs --tar=i --aufs -T0 --mkfs-time`. It has blocks of 512 bytes, as archives have, and is
/// mounted with the plain archive as second device, or with the archive appended to it. Version 1.8
/// of erofs-utils writes no checksum into it, so **every** such image differs between the two.
///
/// No block comes out before [`finish`](Self::finish).
#[derive(Debug)]
pub struct IndexWriter {
    assembly: Assembly,
}

impl IndexWriter {
    /// Starts an image with an empty root directory.
    pub fn new() -> Self {
        Self { assembly: Assembly::new(BLOCK_BYTES, true) }
    }

    /// Applies the next entry of the archive. The content of a regular file lies
    /// `content_offset_bytes` behind the start of the archive, a multiple of 512.
    ///
    /// # Errors
    ///
    /// Says what the entry asks for that no image can express. The writer is of no further use
    /// then.
    pub fn add(&mut self, entry: &Entry, content_offset_bytes: u64) -> Result<(), ErofsError> {
        let Some(file) = self.assembly.tree.add(entry)? else { return Ok(()) };
        if let InodeKind::Regular { size_bytes, content } =
            &mut self.assembly.tree.inode_mut(file).kind
        {
            let first_block = content_offset_bytes / u64::from(BLOCK_BYTES);
            let chunks = Chunks::new(*size_bytes, BLOCK_BYTES);
            // The original goes on with block numbers of 48 bits, which kernels before 6.15 refuse.
            if chunks.end_block(first_block) > u32::MAX.into() {
                return Err(ErofsError::ImageTooLarge);
            }
            *content = Content::SecondDevice { first_block: first_block as u32 };
        }
        Ok(())
    }

    /// Writes the image for an archive of `archive_bytes`, up to and with the two zero blocks that
    /// end it, but without what follows them.
    ///
    /// # Errors
    ///
    /// Says that image or archive are too large, or that the blocks could not be passed on.
    pub fn finish(self, archive_bytes: u64, sink: &mut dyn BlockSink) -> Result<Image, ErofsError> {
        let blocks = u32::try_from(archive_bytes.div_ceil(BLOCK_BYTES.into()))
            .map_err(|_| ErofsError::ImageTooLarge)?;
        self.assembly.finish(Some(blocks), sink)
    }
}

impl Default for IndexWriter {
    fn default() -> Self {
        Self::new()
    }
}

const BLOCK_BYTES: u32 = 512;
