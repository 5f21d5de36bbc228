//! The images of one layer, one for each mode that its profiles ask for.

use std::collections::BTreeMap;
use std::path::Path;

use super::built_image::BuiltImage;
use super::full_image::FullImage;
use super::index_image::IndexImage;
use super::{
    Discard, ImageSink, LayerError, MAX_ARCHIVE_BYTES, MAX_INDEXED_ARCHIVE_BYTES, Mode, Profile,
    ProfileImage,
};
use crate::digest::Digest;
use crate::erofs;
use crate::verity::LeafDigests;

/// Is what becomes of a layer while its archive is read.
pub(super) struct Images {
    /// The mode whose image goes to the sink; one of the other mode goes nowhere.
    pub(super) first: Mode,
    pub(super) full: Option<FullImage>,
    /// The image, and the digests of the archive behind it.
    pub(super) index: Option<(IndexImage, LeafDigests)>,
}

impl Images {
    /// Starts the images for `profiles`; without any, one that checks the layer. What does not fit
    /// into memory will be in `directory`.
    pub(super) fn new(profiles: &[Profile], directory: &Path) -> Self {
        let first = profiles.first().map_or(Mode::Full, |profile| profile.mode());
        let wants = |mode| mode == first || profiles.iter().any(|profile| profile.mode() == mode);
        let archive = || LeafDigests::new(&Mode::Index.verity_parameters(), directory);
        Self {
            first,
            full: wants(Mode::Full).then(FullImage::new),
            index: wants(Mode::Index).then(|| (IndexImage::default(), archive())),
        }
    }

    /// Returns how long the archive may be.
    pub(super) const fn archive_limit_bytes(&self) -> u64 {
        match self.index {
            Some(_) => MAX_INDEXED_ARCHIVE_BYTES,
            None => MAX_ARCHIVE_BYTES,
        }
    }

    /// Ends the images where the members end, `archive_end_bytes` behind the start of the archive.
    pub(super) fn finish(
        self,
        archive_end_bytes: u64,
        sink: &mut dyn ImageSink,
    ) -> Result<BuiltImages, LayerError> {
        let mut nowhere = Discard;
        let [full_sink, index_sink] = sinks(self.first, sink, &mut nowhere);
        let mut built = BTreeMap::new();
        if let Some(image) = self.full {
            built.insert(Mode::Full, image.finish(full_sink)?);
        }
        if let Some((image, archive)) = self.index {
            built.insert(Mode::Index, image.finish(archive_end_bytes, archive, index_sink)?);
        }
        Ok(BuiltImages(built))
    }
}

/// Returns where the full image and the index image go: that of the mode `first` to `sink`.
pub(super) fn sinks<'a>(
    first: Mode,
    sink: &'a mut dyn ImageSink,
    nowhere: &'a mut Discard,
) -> [&'a mut dyn ImageSink; 2] {
    match first {
        Mode::Full => [sink, nowhere],
        Mode::Index => [nowhere, sink],
    }
}

/// Is at least one image, and each without its superblock.
pub(super) struct BuiltImages(BTreeMap<Mode, BuiltImage>);

impl BuiltImages {
    /// Returns an image, all of which hold the same files.
    pub(super) fn any(&self) -> &erofs::Image {
        &self.0.values().next().expect("there is an image").image
    }

    /// Works out the root hashes, and completes the image of the first profile.
    pub(super) fn seal(
        mut self,
        profiles: &[Profile],
        layer_digest: Digest,
        diff_id: Digest,
        sink: &mut dyn ImageSink,
    ) -> Result<Vec<ProfileImage>, LayerError> {
        let mut images = Vec::with_capacity(profiles.len());
        for &profile in profiles {
            let built =
                self.0.get_mut(&profile.mode()).expect("there is an image for each profile");
            let uuid = profile.uuid(layer_digest, diff_id);
            let root_hash = built.seal(uuid);
            if images.is_empty() {
                built.write_rest(uuid, sink).map_err(|source| LayerError::Write { source })?;
            }
            let image_size_bytes = built.hash_offset_bytes();
            images.push(ProfileImage { profile, uuid, root_hash, image_size_bytes });
        }
        Ok(images)
    }
}
