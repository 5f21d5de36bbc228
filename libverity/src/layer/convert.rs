//! From the bytes of a blob to root hashes, in one pass.

use std::io::{self, BufReader, Read, Write};

use uuid::Uuid;

use super::compression::Inflate;
use super::digest_reader::DigestReader;
use super::{Compression, ExpectedLayer, ImageSink, LayerError, MAX_ARCHIVE_BYTES, Profile};
use crate::digest::{Digest, RootHash};
use crate::erofs;
use crate::tar::{Divergences, TarReader};
use crate::verity::{HashArea, HashTree, Header, TreeBuilder};

/// Converts a layer: reads `blob` to its end, checks it against what is `expected`, and works out
/// its root hash under each of `profiles`.
///
/// The image of the first profile goes to `sink`, with superblock and hash tree behind it; the
/// others differ from it in the UUID alone and cost one path of the tree each. Without a profile,
/// the layer is checked all the same.
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
/// assert_eq!(layer.image_size_bytes, 4096);
/// # Ok::<(), libverity::layer::LayerError>(())
/// ```
pub fn convert<R: Read>(
    blob: R,
    expected: &ExpectedLayer,
    profiles: &[Profile],
    sink: &mut dyn ImageSink,
) -> Result<ConvertedLayer, LayerError> {
    expected.check_media_type()?;
    let blob_limit_bytes = expected.size_bytes.unwrap_or(u64::MAX);
    let blob = DigestReader::new(blob, blob_limit_bytes, |expected_bytes| {
        LayerError::BlobTooLong { expected_bytes }
    });
    let inflate = Inflate::new(blob).map_err(unwrap_or_read)?;
    let compression = inflate.compression();
    let archive = DigestReader::new(inflate, MAX_ARCHIVE_BYTES, |limit_bytes| {
        LayerError::TooLong { limit_bytes }
    });
    let mut tar = TarReader::new(BufReader::with_capacity(ARCHIVE_BUFFER_BYTES, archive));

    let built = expected
        .check_compression(compression)
        .and_then(|()| build_image(&mut tar, sink))
        .and_then(|built| drain(tar.stream()).map(|()| built));
    if let Err(error @ (LayerError::Read { .. } | LayerError::Write { .. })) = built {
        return Err(error);
    }
    let archive = tar.stream().get_mut();
    let (diff_id, archive_size_bytes) = (archive.digest(), archive.read_bytes());
    let blob = archive.stream().blob();
    let drained = drain(blob);
    let (layer_digest, layer_size_bytes) = (blob.digest(), blob.read_bytes());
    match drained {
        Ok(()) => expected.check_blob(layer_size_bytes, layer_digest)?,
        Err(error @ LayerError::BlobTooLong { .. }) => return Err(error),
        Err(error) => return built.and(Err(error)),
    }
    let mut built = built?;
    expected.check_diff_id(diff_id)?;

    let mut images = Vec::with_capacity(profiles.len());
    for &profile in profiles {
        let uuid = profile.uuid(layer_digest, diff_id);
        let root_hash = built.seal(uuid);
        if images.is_empty() {
            built.write_rest(uuid, sink).map_err(|source| LayerError::Write { source })?;
        }
        images.push(ProfileImage { profile, uuid, root_hash });
    }
    let mut divergences = tar.divergences().clone();
    divergences.merge(built.image.divergences());
    Ok(ConvertedLayer {
        layer_digest,
        layer_size_bytes,
        compression,
        diff_id,
        archive_size_bytes,
        image_size_bytes: built.image.size_bytes(),
        members: tar.members(),
        inodes: built.image.inodes(),
        divergences,
        images,
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
    /// The size of the image without its hash area, and so the hash offset, in bytes.
    pub image_size_bytes: u64,
    /// How many members the archive has.
    pub members: u64,
    /// How many files the image has.
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
}

/// Turns the members of an archive into an image of which only the first block is missing.
fn build_image<R: Read>(
    tar: &mut TarReader<R>,
    sink: &mut dyn ImageSink,
) -> Result<BuiltImage, LayerError> {
    let mut leaves = TreeBuilder::new(&Profile::verity_parameters());
    leaves.update(&[0; BLOCK_BYTES]);
    let mut blocks = |first_block: u64, bytes: &[u8]| {
        leaves.update(bytes);
        sink.write_at(first_block * BLOCK_BYTES as u64, bytes)
    };
    let mut writer = erofs::Writer::new();
    while let Some(entry) = tar.next_entry().map_err(LayerError::from_archive)? {
        writer.add(&entry, tar, &mut blocks).map_err(LayerError::from_image)?;
    }
    let image = writer.finish(&mut blocks).map_err(LayerError::from_image)?;
    let tree = leaves.finish().expect("the tree has its first block");
    Ok(BuiltImage { image, tree })
}

/// Is an image without its first block, and the hash tree over both.
struct BuiltImage {
    image: erofs::Image,
    tree: HashTree,
}

impl BuiltImage {
    /// Puts the first block that an image with this UUID has into the tree.
    fn seal(&mut self, uuid: Uuid) -> RootHash {
        let first_block = self.image.superblock_block(uuid.into_bytes());
        self.tree
            .replace_block(self.image.superblock_block_number(), &first_block)
            .expect("the tree has its first block");
        self.tree.root_hash().clone()
    }

    /// Writes the first block and the hash area of the image with this UUID.
    fn write_rest(&self, uuid: Uuid, sink: &mut dyn ImageSink) -> io::Result<()> {
        let first_block = self.image.superblock_block(uuid.into_bytes());
        sink.write_at(self.image.superblock_block_number() * BLOCK_BYTES as u64, &first_block)?;
        let image_bytes = self.image.size_bytes();
        let mut output = SinkWriter { sink, offset_bytes: image_bytes };
        let area =
            HashArea::append(image_bytes, &self.tree, Header::Superblock, uuid, &mut output)?;
        sink.finish(area.end_bytes())
    }
}

/// Writes to a sink from an offset on.
struct SinkWriter<'a> {
    sink: &'a mut dyn ImageSink,
    offset_bytes: u64,
}

impl Write for SinkWriter<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.sink.write_at(self.offset_bytes, bytes)?;
        self.offset_bytes += bytes.len() as u64;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Reads a stream to its end.
fn drain(stream: &mut impl Read) -> Result<(), LayerError> {
    io::copy(stream, &mut io::sink()).map(drop).map_err(unwrap_or_read)
}

/// Takes out the error that a stage has put into an [`io::Error`].
fn unwrap_or_read(error: io::Error) -> LayerError {
    error.downcast().unwrap_or_else(|source| LayerError::Read { offset_bytes: 0, source })
}

/// Is the size of a block of the image and of the hash tree.
const BLOCK_BYTES: usize = 4096;
/// Is how much of an archive is inflated at a time.
const ARCHIVE_BUFFER_BYTES: usize = 128 * 1024;

#[cfg(test)]
mod tests;
