//! From the bytes of a blob to root hashes, in one pass.

use std::io::{self, BufReader, Read};

use uuid::Uuid;

use super::compression::Inflate;
use super::digest_reader::DigestReader;
use super::full_image::FullImage;
use super::images::{Images, sinks};
use super::index_image::{ArchiveTap, IndexImage};
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
    let mut images = Images::new(profiles);
    let read = read(blob, expected, &mut images, sink)?;
    let built = images.finish(read.archive_end_bytes, sink)?;

    let inodes = built.any().inodes();
    let mut divergences = read.divergences;
    divergences.merge(built.any().divergences());
    Ok(ConvertedLayer {
        layer_digest: read.layer_digest,
        layer_size_bytes: read.layer_size_bytes,
        compression: read.compression,
        diff_id: read.diff_id,
        archive_size_bytes: read.archive_size_bytes,
        members: read.members,
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

/// Is what a blob and the archive in it turned out to be.
struct ReadLayer {
    layer_digest: Digest,
    layer_size_bytes: u64,
    compression: Compression,
    diff_id: Digest,
    archive_size_bytes: u64,
    /// Where the archive ends for its reader; what follows is padding.
    archive_end_bytes: u64,
    members: u64,
    divergences: Divergences,
}

/// Reads a blob to its end into `images`, and checks it.
fn read<R: Read>(
    blob: R,
    expected: &ExpectedLayer,
    images: &mut Images,
    sink: &mut dyn ImageSink,
) -> Result<ReadLayer, LayerError> {
    let blob_limit_bytes = expected.size_bytes.unwrap_or(u64::MAX);
    let blob = DigestReader::new(blob, blob_limit_bytes, |expected_bytes| {
        LayerError::BlobTooLong { expected_bytes }
    });
    let inflate = Inflate::new(blob).map_err(unwrap_or_read)?;
    let compression = inflate.compression();
    let archive = DigestReader::new(inflate, images.archive_limit_bytes(), |limit_bytes| {
        LayerError::TooLong { limit_bytes }
    });
    let mut nowhere = Discard;
    let [full_sink, archive_sink] = sinks(images.first, sink, &mut nowhere);
    let (index, leaves) = images.index.as_mut().map(|(image, leaves)| (image, leaves)).unzip();
    let archive = ArchiveTap::new(archive, leaves.map(|leaves| (leaves, archive_sink)));
    let mut tar = TarReader::new(BufReader::with_capacity(ARCHIVE_BUFFER_BYTES, archive));

    let read = expected
        .check_compression(compression)
        .and_then(|()| read_members(&mut tar, images.full.as_mut(), index, full_sink))
        .and_then(|()| drain(tar.stream()));
    if let Err(error @ (LayerError::Read { .. } | LayerError::Write { .. })) = read {
        return Err(error);
    }
    let (archive_end_bytes, members) = (tar.position_bytes(), tar.members());
    let divergences = tar.divergences().clone();
    let archive = tar.stream().get_mut().stream();
    let (diff_id, archive_size_bytes) = (archive.digest(), archive.read_bytes());
    let blob = archive.stream().blob();
    let drained = drain(blob);
    let (layer_digest, layer_size_bytes) = (blob.digest(), blob.read_bytes());
    match drained {
        Ok(()) => expected.check_blob(layer_size_bytes, layer_digest)?,
        Err(error @ LayerError::BlobTooLong { .. }) => return Err(error),
        Err(error) => return read.and(Err(error)),
    }
    read?;
    expected.check_diff_id(diff_id)?;
    Ok(ReadLayer {
        layer_digest,
        layer_size_bytes,
        compression,
        diff_id,
        archive_size_bytes,
        archive_end_bytes,
        members,
        divergences,
    })
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

/// Reads a stream to its end.
fn drain(stream: &mut impl Read) -> Result<(), LayerError> {
    io::copy(stream, &mut io::sink()).map(drop).map_err(unwrap_or_read)
}

/// Takes out the error that a stage has put into an [`io::Error`].
fn unwrap_or_read(error: io::Error) -> LayerError {
    error.downcast().unwrap_or_else(|source| LayerError::Read { offset_bytes: 0, source })
}

/// Is how much of an archive is inflated at a time.
const ARCHIVE_BUFFER_BYTES: usize = 128 * 1024;

#[cfg(test)]
mod tests;
