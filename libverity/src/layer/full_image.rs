//! Images that hold the content of files, from the members of an archive.

use std::io::Read;

use super::built_image::{BuiltImage, HashedBlocks, ImageLeaves};
use super::{ImageSink, LayerError, Mode};
use crate::erofs::Writer;
use crate::tar::Entry;

/// Turns members into an image, whose blocks are hashed and go on to a sink as they come.
pub(super) struct FullImage {
    writer: Writer,
    leaves: ImageLeaves,
}

impl FullImage {
    pub(super) fn new() -> Self {
        Self { writer: Writer::new(), leaves: ImageLeaves::new(Mode::Full) }
    }

    /// Takes the next member of the archive, and its content where it has one.
    pub(super) fn add(
        &mut self,
        entry: &Entry,
        content: &mut dyn Read,
        sink: &mut dyn ImageSink,
    ) -> Result<(), LayerError> {
        let mut blocks = HashedBlocks::new(sink, &mut self.leaves);
        self.writer.add(entry, content, &mut blocks).map_err(LayerError::from_image)
    }

    /// Ends the image behind the last member.
    pub(super) fn finish(self, sink: &mut dyn ImageSink) -> Result<BuiltImage, LayerError> {
        let Self { writer, mut leaves } = self;
        let mut blocks = HashedBlocks::new(sink, &mut leaves);
        let image = writer.finish(&mut blocks).map_err(LayerError::from_image)?;
        let path = leaves.finish(&image, None, sink)?;
        Ok(BuiltImage { image, path })
    }
}
