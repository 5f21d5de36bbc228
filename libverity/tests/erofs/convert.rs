//! From a whole tar archive to a whole image, in memory.

use std::io::Read;

use libverity::erofs::{ErofsError, Image, IndexWriter, Writer};
use libverity::tar::{TarError, TarReader};

/// The UUID of all images in these tests, as text.
pub(crate) const UUID_TEXT: &str = "11111111-2222-3333-4444-555555555555";
/// The UUID of all images in these tests.
pub(crate) const UUID: [u8; 16] = [
    0x11, 0x11, 0x11, 0x11, 0x22, 0x22, 0x33, 0x33, 0x44, 0x44, 0x55, 0x55, 0x55, 0x55, 0x55, 0x55,
];

/// Is why there is no image.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    #[error(transparent)]
    Erofs(#[from] ErofsError),
    #[error(transparent)]
    Tar(#[from] TarError),
}

/// Makes the image of `archive`, and checks that its blocks come in the order promised.
pub(crate) fn full_image(archive: impl Read) -> Result<(Vec<u8>, Image), Failure> {
    full_image_of(&mut TarReader::new(archive))
}

fn full_image_of(archive: &mut TarReader<impl Read>) -> Result<(Vec<u8>, Image), Failure> {
    let mut bytes = Vec::new();
    let mut sink = ascending(&mut bytes, 4096, 0);
    let mut writer = Writer::new();
    while let Some(entry) = archive.next_entry()? {
        writer.add(&entry, archive, &mut sink)?;
    }
    let image = writer.finish(&mut sink)?;
    drop(sink);
    complete(&mut bytes, &image);
    Ok((bytes, image))
}

/// Makes the image of `archive`, and tells whether erofs-utils 1.8 is said to make another.
pub(crate) fn full_image_and_divergence(archive: impl Read) -> Result<(Vec<u8>, bool), Failure> {
    let mut archive = TarReader::new(archive);
    let (bytes, image) = full_image_of(&mut archive)?;
    Ok((bytes, !archive.divergences().is_empty() || !image.divergences().is_empty()))
}

/// Makes the image that points into `archive`, likewise.
pub(crate) fn index_image(archive: impl Read) -> Result<(Vec<u8>, Image), Failure> {
    index_image_of(&mut TarReader::new(archive))
}

/// Makes the image that points into `archive`, and tells whether erofs-utils 1.8 is said to make
/// another but for the checksum.
pub(crate) fn index_image_and_divergence(archive: impl Read) -> Result<(Vec<u8>, bool), Failure> {
    let mut archive = TarReader::new(archive);
    let (bytes, image) = index_image_of(&mut archive)?;
    Ok((bytes, !archive.divergences().is_empty() || !image.divergences().is_empty()))
}

fn index_image_of(archive: &mut TarReader<impl Read>) -> Result<(Vec<u8>, Image), Failure> {
    let mut writer = IndexWriter::new();
    while let Some(entry) = archive.next_entry()? {
        writer.add(&entry, archive.position_bytes())?;
    }
    let mut bytes = Vec::new();
    let mut sink = ascending(&mut bytes, 512, 2);
    let image = writer.finish(archive.position_bytes(), &mut sink)?;
    drop(sink);
    complete(&mut bytes, &image);
    Ok((bytes, image))
}

/// Collects blocks that must come one after the other, all but `held`.
fn ascending(
    bytes: &mut Vec<u8>,
    block_bytes: usize,
    held: u64,
) -> impl FnMut(u64, &[u8]) -> std::io::Result<()> {
    move |first_block, blocks| {
        if (bytes.len() / block_bytes) as u64 == held {
            bytes.resize(bytes.len() + block_bytes, 0);
        }
        assert_eq!(bytes.len() as u64, first_block * block_bytes as u64);
        assert!(!blocks.is_empty() && blocks.len().is_multiple_of(block_bytes));
        bytes.extend_from_slice(blocks);
        Ok(())
    }
}

fn complete(bytes: &mut Vec<u8>, image: &Image) {
    let block_bytes = image.block_bytes() as usize;
    bytes.resize(image.size_bytes() as usize, 0);
    let start = image.superblock_block_number() as usize * block_bytes;
    bytes[start..start + block_bytes].copy_from_slice(&image.superblock_block(UUID));
}
