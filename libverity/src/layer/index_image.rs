//! Images that point into the archive behind them.
//!
//! ```text
//! │ image: names, attributes, places │ archive, filled up to a block │ hash area │
//! ```
//!
//! The image comes first and is known last. Its blocks are as long as those of the archive, so the
//! digests of the archive's blocks are those of the hash tree, wherever the archive will lie.

use std::io::{self, BufRead, Read};

use super::built_image::{BuiltImage, HashedBlocks, ImageLeaves};
use super::{ImageSink, LayerError, Mode, Part};
use crate::erofs::IndexWriter;
use crate::tar::Entry;
use crate::verity::LeafDigests;

/// Turns members into an image that says where in the archive their content is.
#[derive(Default)]
pub(super) struct IndexImage {
    writer: IndexWriter,
}

impl IndexImage {
    /// Takes the next member, whose content begins `content_offset_bytes` behind the start of the
    /// archive.
    pub(super) fn add(
        &mut self,
        entry: &Entry,
        content_offset_bytes: u64,
    ) -> Result<(), LayerError> {
        self.writer.add(entry, content_offset_bytes).map_err(LayerError::from_image)
    }

    /// Ends the image behind the last member, `archive_end_bytes` behind the start of the archive, and
    /// puts the whole archive behind it.
    pub(super) fn finish(
        self,
        archive_end_bytes: u64,
        archive: LeafDigests,
        sink: &mut dyn ImageSink,
    ) -> Result<BuiltImage, LayerError> {
        let mut leaves = ImageLeaves::new(Mode::Index);
        let mut blocks = HashedBlocks::new(sink, &mut leaves);
        let image =
            self.writer.finish(archive_end_bytes, &mut blocks).map_err(LayerError::from_image)?;
        sink.place(Part::Archive, image.size_bytes())
            .map_err(|source| LayerError::Write { source })?;
        let path = leaves.finish(&image, Some(archive), sink)?;
        Ok(BuiltImage { image, path })
    }
}

/// Passes an archive on to its reader, and before that to what hashes its blocks and what keeps it,
/// in pieces as they come.
pub(super) struct ArchiveTap<'a, R> {
    stream: R,
    branch: Option<(&'a mut LeafDigests, &'a mut dyn ImageSink)>,
    /// How much of the current piece went to the branch and was not read yet.
    ahead_bytes: usize,
}

impl<'a, R: BufRead> ArchiveTap<'a, R> {
    pub(super) fn new(
        stream: R,
        branch: Option<(&'a mut LeafDigests, &'a mut dyn ImageSink)>,
    ) -> Self {
        Self { stream, branch, ahead_bytes: 0 }
    }
}

impl<R: BufRead> Read for ArchiveTap<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let piece = self.stream.fill_buf()?;
        if self.ahead_bytes == 0
            && let Some((leaves, sink)) = &mut self.branch
        {
            leaves.update(piece).map_err(|source| {
                let directory = sink.temporary_directory();
                LayerError::Temporary { directory, source }
            })?;
            sink.set_aside(Part::Archive, piece).map_err(|source| LayerError::Write { source })?;
        }
        let read = piece.len().min(buffer.len());
        buffer[..read].copy_from_slice(&piece[..read]);
        self.ahead_bytes = piece.len() - read;
        self.stream.consume(read);
        Ok(read)
    }
}
