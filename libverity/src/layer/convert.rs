//! From the bytes of a blob to root hashes, in one pass.

use std::io::{self, Read};

use uuid::Uuid;

use super::full_image::FullImage;
use super::images::{Images, sinks};
use super::index_image::{ArchiveTap, IndexImage};
use super::stream::{Streamed, stream, unwrap_or_read};
use super::{Compression, Discard, ExpectedLayer, ImageSink, LayerError, Profile};
use crate::digest::{Digest, RootHash};
use crate::tar::{Divergences, TarReader};

/// Converts a layer: reads `blob` to its end, checks it against what is `expected`, and works out
/// its root hash under each of `profiles`.
///
/// The image of the first profile goes to `sink`, with superblock and hash tree behind it. Each
/// [`Mode`](super::Mode) among the profiles costs one conversion, and both come from the same pass over the blob;
/// profiles of one mode differ in the UUID alone and cost one path of the tree each. Without a
/// profile, the layer is checked all the same.
///
/// # Errors
///
/// Says what is wrong with the layer ([`LayerError`]). The sink may then hold a part of an image,
/// which must not be used. Where the blob itself is not the one that is expected, that is the error,
/// whatever else was found; the rest of the blob is read for that.
///
/// ```
/// use libverity::layer::{Discard, ExpectedLayer, Profile, convert};
///
/// let empty_archive = [0; 1024];
/// let profiles = [Profile::ContainerdFullV1];
/// let layer = convert(&empty_archive[..], &ExpectedLayer::default(), &profiles, &mut Discard)?;
/// assert_eq!(layer.layer_digest, layer.diff_id, "nothing is compressed");
/// assert_eq!(layer.images[0].image_size_bytes, 4096);
/// # Ok::<(), libverity::layer::LayerError>(())
/// ```
pub fn convert<R: Read>(
    blob: R,
    expected: &ExpectedLayer,
    profiles: &[Profile],
    sink: &mut dyn ImageSink,
) -> Result<ConvertedLayer, LayerError> {
    expected.check_media_type()?;
    let mut images = Images::new(profiles, &sink.temporary_directory());
    let read = read(blob, expected, &mut images, sink)?;
    let built = images.finish(read.result.archive_end_bytes, sink)?;

    let inodes = built.any().inodes();
    let mut divergences = read.result.divergences;
    divergences.merge(built.any().divergences());
    Ok(ConvertedLayer {
        layer_digest: read.layer_digest,
        layer_size_bytes: read.layer_size_bytes,
        compression: read.compression,
        diff_id: read.diff_id,
        archive_size_bytes: read.archive_size_bytes,
        members: read.result.count,
        inodes,
        divergences,
        images: built.seal(profiles, read.layer_digest, read.diff_id, sink)?,
    })
}

/// Holds what is known of a layer after it was converted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConvertedLayer {
    /// The digest of the blob.
    pub layer_digest: Digest,
    /// The size of the blob in bytes.
    pub layer_size_bytes: u64,
    /// How the blob is compressed.
    pub compression: Compression,
    /// The digest of the archive in the blob.
    pub diff_id: Digest,
    /// The size of the archive in bytes.
    pub archive_size_bytes: u64,
    /// How many members the archive has.
    pub members: u64,
    /// How many files the images have.
    pub inodes: u64,
    /// Where a node with erofs-utils 1.8 works out another root hash.
    pub divergences: Divergences,
    /// What depends on the profile, in the order in which the profiles were given.
    pub images: Vec<ProfileImage>,
}

/// Holds what a profile makes of a layer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProfileImage {
    /// The profile.
    pub profile: Profile,
    /// The UUID in the superblocks of image and hash tree.
    pub uuid: Uuid,
    /// The root hash.
    pub root_hash: RootHash,
    /// The size of the image, with the archive that it may point into and without its hash area,
    /// and so the hash offset, in bytes.
    pub image_size_bytes: u64,
}

/// Reads a blob to its end into `images`, and checks it.
fn read<R: Read>(
    blob: R,
    expected: &ExpectedLayer,
    images: &mut Images,
    sink: &mut dyn ImageSink,
) -> Result<Streamed<Members>, LayerError> {
    stream(blob, expected, images.archive_limit_bytes(), |archive| {
        let mut nowhere = Discard;
        let [full_sink, archive_sink] = sinks(images.first, sink, &mut nowhere);
        let (index, leaves) = images.index.as_mut().map(|(image, leaves)| (image, leaves)).unzip();
        let archive = ArchiveTap::new(archive, leaves.map(|leaves| (leaves, archive_sink)));
        let mut tar = TarReader::new(archive);
        read_members(&mut tar, images.full.as_mut(), index, full_sink)?;
        let members = Members {
            archive_end_bytes: tar.position_bytes(),
            count: tar.members(),
            divergences: tar.divergences().clone(),
        };
        // What follows the end marker belongs to the archive and its digest all the same.
        io::copy(tar.stream(), &mut io::sink()).map_err(unwrap_or_read)?;
        Ok(members)
    })
}

/// Is what is known of the members of an archive.
struct Members {
    /// Where the archive ends for its reader; what follows is padding.
    archive_end_bytes: u64,
    count: u64,
    divergences: Divergences,
}

/// Reads the members of an archive into the images that there are to be.
fn read_members<R: Read>(
    tar: &mut TarReader<R>,
    mut full: Option<&mut FullImage>,
    mut index: Option<&mut IndexImage>,
    sink: &mut dyn ImageSink,
) -> Result<(), LayerError> {
    while let Some(entry) = tar.next_entry().map_err(LayerError::from_archive)? {
        if let Some(index) = &mut index {
            index.add(&entry, tar.position_bytes())?;
        }
        if let Some(full) = &mut full {
            full.add(&entry, tar, sink)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
