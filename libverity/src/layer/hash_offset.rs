//! Where the hash area of a file with an archive in it starts.
//!
//! The image says how far its archive is of use, and not how much padding follows until the archive
//! ends. But where the hash area starts, its length is known, so that the length of the file tells.

use std::io;

use super::Mode;
use crate::erofs::ImageSource;
use crate::verity::{Geometry, HashArea, Header, Superblock};

/// Returns where the hash area starts in a file of an image and its archive, of which the part that
/// is of use ends at `end_bytes`.
///
/// Where the file is shorter or longer than it should be, that is where the padding of the archive,
/// which is zeros most often, ends with a superblock; and without one where the file ends.
///
/// # Errors
///
/// Fails if `source` cannot be read.
pub(super) fn hash_offset_behind_archive(
    source: &impl ImageSource,
    end_bytes: u64,
) -> io::Result<u64> {
    let size_bytes = source.size_bytes()?;
    if let Some(offset_bytes) = offset_by_length(end_bytes, size_bytes)
        && starts_superblock(source, offset_bytes)?
    {
        return Ok(offset_bytes);
    }
    let mut block = [0; BLOCK_BYTES as usize];
    for offset_bytes in (end_bytes..size_bytes).step_by(BLOCK_BYTES as usize) {
        let present_bytes = (size_bytes - offset_bytes).min(BLOCK_BYTES) as usize;
        source.read_at(offset_bytes, &mut block[..present_bytes])?;
        if block[..present_bytes].iter().any(|&byte| byte != 0) {
            match starts_superblock(source, offset_bytes)? {
                true => return Ok(offset_bytes),
                false => break,
            }
        }
    }
    Ok(size_bytes.next_multiple_of(BLOCK_BYTES))
}

/// Returns where a hash area starts that ends with the file.
fn offset_by_length(end_bytes: u64, size_bytes: u64) -> Option<u64> {
    let parameters = Mode::Index.verity_parameters();
    let file_bytes = |data_blocks| {
        let geometry = Geometry::new(&parameters, data_blocks).ok()?;
        Some(HashArea::appended(&geometry, Header::Superblock).end_bytes())
    };
    let [mut low, mut high] = [end_bytes / BLOCK_BYTES, size_bytes / BLOCK_BYTES];
    while low < high {
        let middle = low + (high - low) / 2;
        match file_bytes(middle)? < size_bytes {
            true => low = middle + 1,
            false => high = middle,
        }
    }
    (file_bytes(low)? == size_bytes).then_some(low * BLOCK_BYTES)
}

fn starts_superblock(source: &impl ImageSource, offset_bytes: u64) -> io::Result<bool> {
    let mut start = [0; Superblock::SIGNATURE.len()];
    if offset_bytes + start.len() as u64 > source.size_bytes()? {
        return Ok(false);
    }
    source.read_at(offset_bytes, &mut start)?;
    Ok(start == Superblock::SIGNATURE)
}

/// Is the size of a block of an archive, an index image, and its hash tree.
const BLOCK_BYTES: u64 = 512;
