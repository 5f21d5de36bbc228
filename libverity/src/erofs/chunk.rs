//! Content in another device, found by chunks.
//!
//! A file that the archive holds as one piece is a single chunk, however large, up to 1 TiB. The
//! inode has the chunk format where others have their first block:
//!
//! | bits | what |
//! |---|---|
//! | 0–4 | chunk size, as power of two of blocks |
//! | 5 | 1: the index has entries of 8 bytes |
//!
//! and behind inode and attributes, at a multiple of 8, one entry for each chunk:
//!
//! | offset | bytes | what |
//! |---|---|---|
//! | 0 | 2 | 0 |
//! | 2 | 2 | number of the device, 1 for the first one that is not the image's own |
//! | 4 | 4 | first block |
//!
//! Source: Linux, `fs/erofs/erofs_fs.h`; the chunk size is that of erofs-utils 1.9.4
//! (`lib/blobchunk.c`).

use zerocopy::little_endian::{U16, U32};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// Is a file's content that lies in one piece in the tar archive.
#[derive(Clone, Copy, Debug)]
pub(super) struct Chunks {
    size_bytes: u64,
    /// The size of a chunk, as power of two of bytes.
    chunk_bits: u32,
    block_bits: u32,
}

impl Chunks {
    /// Divides a content of `size_bytes`, at least 1.
    pub(super) fn new(size_bytes: u64, block_bytes: u32) -> Self {
        let block_bits = block_bytes.ilog2();
        let needed_bits = u64::BITS - (size_bytes - 1).leading_zeros();
        let chunk_bits = needed_bits.clamp(block_bits, block_bits + SIZE_MASK);
        Self { size_bytes, chunk_bits, block_bits }
    }

    /// Returns what the inode says.
    pub(super) const fn format(self) -> u32 {
        FORMAT_INDEXES | (self.chunk_bits - self.block_bits)
    }

    /// Returns the size of the inode's body with the index, for a body without of `body_bytes`.
    pub(super) fn body_bytes(self, body_bytes: u64) -> u64 {
        body_bytes.next_multiple_of(ENTRY_BYTES) + self.count() * ENTRY_BYTES
    }

    /// Returns the block behind the last whole block of a content that starts at `first_block`.
    pub(super) const fn end_block(self, first_block: u64) -> u64 {
        first_block + (self.size_bytes >> self.block_bits)
    }

    /// Appends the index to `buffer`, which starts at the inode.
    pub(super) fn write(self, first_block: u64, buffer: &mut Vec<u8>) {
        buffer.resize(buffer.len().next_multiple_of(ENTRY_BYTES as usize), 0);
        for chunk in 0..self.count() {
            let block = first_block + (chunk << (self.chunk_bits - self.block_bits));
            let entry = IndexEntry {
                reserved: 0.into(),
                device: TAR_DEVICE.into(),
                first_block: (block as u32).into(),
            };
            buffer.extend_from_slice(entry.as_bytes());
        }
    }

    fn count(self) -> u64 {
        self.size_bytes.div_ceil(1 << self.chunk_bits)
    }
}

/// Reads where a content of `size_bytes` starts in the archive, from what the inode says and the
/// one entry behind it.
///
/// The format must be the one that [`Chunks::format`] gives, and of one chunk: a content of
/// several would be larger than any archive of a layer.
pub(super) fn parse(
    format: u32,
    size_bytes: u64,
    block_bytes: u32,
    entry: &[u8; ENTRY_BYTES as usize],
) -> Result<u32, ChunkError> {
    let is_known = size_bytes > 0 && {
        let chunks = Chunks::new(size_bytes, block_bytes);
        chunks.count() == 1 && chunks.format() == format
    };
    if !is_known {
        return Err(ChunkError::Format { found: format, size_bytes });
    }
    let entry: &IndexEntry = zerocopy::transmute_ref!(entry);
    let device = entry.device.get();
    if entry.reserved.get() != 0 || device != TAR_DEVICE {
        return Err(ChunkError::Device { found: device });
    }
    Ok(entry.first_block.get())
}

/// Says why content in the archive cannot be found.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ChunkError {
    /// The content is on another device than the archive.
    #[error("the content lies on device {found}, and not in the archive")]
    Device {
        /// The number of the device.
        found: u16,
    },
    /// The content is divided in another way than in one piece.
    #[error("the chunk format {found:#x} is not that of one piece of {size_bytes} bytes")]
    Format {
        /// What the inode says.
        found: u32,
        /// The length of the content.
        size_bytes: u64,
    },
}

#[derive(FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned)]
#[repr(C)]
struct IndexEntry {
    reserved: U16,
    device: U16,
    first_block: U32,
}

/// The size of an entry, and what the place of the first one is a multiple of.
pub(super) const ENTRY_BYTES: u64 = size_of::<IndexEntry>() as u64;
/// `EROFS_CHUNK_FORMAT_BLKBITS_MASK`.
const SIZE_MASK: u32 = 0x1f;
/// `EROFS_CHUNK_FORMAT_INDEXES`.
const FORMAT_INDEXES: u32 = 0x20;
const TAR_DEVICE: u16 = 1;

#[cfg(test)]
mod tests {
    use super::*;

    fn index(size_bytes: u64, first_block: u64) -> (u32, Vec<u8>) {
        let chunks = Chunks::new(size_bytes, 512);
        let mut bytes = vec![0; 32];
        chunks.write(first_block, &mut bytes);
        assert_eq!(bytes.len() as u64, chunks.body_bytes(32));
        (chunks.format(), bytes.split_off(32))
    }

    #[test]
    fn a_chunk_is_the_least_power_of_two_that_holds_the_file() {
        for (size_bytes, format) in
            [(1, 0x20), (512, 0x20), (513, 0x21), (1024, 0x21), (1025, 0x22), (5 << 30, 0x38)]
        {
            let one_chunk = b"\0\0\x01\0\x07\0\0\0".to_vec();
            assert_eq!(index(size_bytes, 7), (format, one_chunk), "{size_bytes}");
        }
    }

    #[test]
    fn beyond_one_tebibyte_there_are_more_chunks() {
        assert_eq!(index(1 << 40, 0).1.len(), 8);
        let (format, bytes) = index((1 << 40) + 1, 5);
        assert_eq!(format, 0x3f);
        assert_eq!(bytes, b"\0\0\x01\0\x05\0\0\0\0\0\x01\0\x05\0\0\x80");
    }

    #[test]
    fn places_in_the_archive_are_read_back_as_written() {
        let parse = |format, size_bytes, entry: &[u8]| {
            parse(format, size_bytes, 512, entry.try_into().unwrap())
        };
        for size_bytes in [1, 512, 513, 5 << 30, 1 << 40] {
            let (format, entry) = index(size_bytes, 7);
            assert_eq!(parse(format, size_bytes, &entry), Ok(7));
            for found in [0, format ^ 1, format | 0x40, format & !0x20, format | 1 << 16] {
                assert_eq!(
                    parse(found, size_bytes, &entry),
                    Err(ChunkError::Format { found, size_bytes })
                );
            }
            let on_the_image = [0, 0, 0, 0, 7, 0, 0, 0];
            let error = ChunkError::Device { found: 0 };
            assert_eq!(parse(format, size_bytes, &on_the_image), Err(error));
        }
        let (format, entries) = index((1 << 40) + 1, 5);
        assert!(parse(format, (1 << 40) + 1, &entries[..8]).is_err());
        assert!(parse(0x20, 0, &entries[..8]).is_err());
    }
}
