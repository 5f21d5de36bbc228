//! Digests of data blocks, computed while the data streams by.

use std::io::{self, Read, Seek as _, Write as _};
use std::path::Path;

use tempfile::SpooledTempFile;

use super::block_hasher::{BlockHasher, block_hasher};
use super::{BlockSize, Parameters};

/// Holds the digests of data of which it is not known yet how much will precede it in a tree:
/// [`TreeHasher::append`](super::TreeHasher::append) takes them when it is.
///
/// Where a digest lies within a hash block depends on what precedes it, so that nothing above the
/// digests can be computed earlier. Up to 8 MiB of them are kept in memory, and more in a file
/// that has no name and is gone with the process.
pub struct LeafDigests {
    hasher: LeafHasher,
    digests: SpooledTempFile,
}

impl LeafDigests {
    /// Starts without data; a file, if one is needed, will be in `directory`.
    pub fn new(parameters: &Parameters, directory: &Path) -> Self {
        Self {
            hasher: LeafHasher::new(parameters),
            digests: tempfile::spooled_tempfile_in(MAX_DIGESTS_IN_MEMORY_BYTES, directory),
        }
    }

    /// Takes the next bytes of the data.
    ///
    /// # Errors
    ///
    /// Fails if the file cannot be written.
    pub fn update(&mut self, data: &[u8]) -> io::Result<()> {
        self.hasher.update(data, |digests| self.digests.write_all(digests))
    }

    /// Fills the last block up with zeros, and goes back to the first digest.
    pub(super) fn finish(mut self) -> io::Result<DigestPieces> {
        self.hasher.fill_up(|digests| self.digests.write_all(digests))?;
        let left_bytes = self.digests.stream_position()?;
        self.digests.rewind()?;
        let piece = vec![0; READ_DIGESTS * self.hasher.digest_bytes];
        Ok(DigestPieces { digests: self.digests, left_bytes, piece })
    }
}

/// Is digests that are read again, in pieces.
pub(super) struct DigestPieces {
    digests: SpooledTempFile,
    left_bytes: u64,
    piece: Vec<u8>,
}

impl DigestPieces {
    /// Returns the next digests, one after the other; none at the end.
    pub(super) fn next(&mut self) -> io::Result<&[u8]> {
        let count = self.left_bytes.min(self.piece.len() as u64) as usize;
        self.digests.read_exact(&mut self.piece[..count])?;
        self.left_bytes -= count as u64;
        Ok(&self.piece[..count])
    }
}

/// Hashes data blocks, many at a time.
pub(super) struct LeafHasher {
    hasher: Box<dyn BlockHasher>,
    block_size: BlockSize,
    digest_bytes: usize,
    /// Data not yet hashed, always less than a batch.
    pending: Vec<u8>,
    batch_bytes: usize,
    digests: Vec<u8>,
}

impl LeafHasher {
    pub(super) fn new(parameters: &Parameters) -> Self {
        let block_size = parameters.data_block_size;
        let batch_bytes = BATCH_BYTES.max(block_size.bytes_usize());
        Self {
            hasher: block_hasher(parameters, block_size),
            block_size,
            digest_bytes: parameters.algorithm.digest_bytes(),
            pending: Vec::with_capacity(batch_bytes),
            batch_bytes,
            digests: Vec::new(),
        }
    }

    /// Takes the next bytes of the data, and hands out the digests of blocks one after the other.
    ///
    /// Pieces of 128 KiB and more are hashed where they lie; smaller ones are gathered first, so
    /// that every lane of the processor has a block to hash.
    pub(super) fn update(
        &mut self,
        mut data: &[u8],
        mut take: impl FnMut(&[u8]) -> io::Result<()>,
    ) -> io::Result<()> {
        if !self.pending.is_empty() {
            let (gathered, rest) =
                data.split_at(data.len().min(self.batch_bytes - self.pending.len()));
            self.pending.extend_from_slice(gathered);
            if self.pending.len() < self.batch_bytes {
                return Ok(());
            }
            take(self.hash_pending())?;
            data = rest;
        }
        if data.len() >= self.batch_bytes {
            let (blocks, rest) = data.split_at(data.len() - data.len() % self.block_bytes());
            hash(&*self.hasher, blocks, self.digest_bytes, self.block_size, &mut self.digests);
            take(&self.digests)?;
            data = rest;
        }
        self.pending.extend_from_slice(data);
        Ok(())
    }

    /// Fills the last block up with zeros, and hands out the digests that are left.
    pub(super) fn fill_up(
        &mut self,
        mut take: impl FnMut(&[u8]) -> io::Result<()>,
    ) -> io::Result<()> {
        self.pending.resize(self.pending.len().next_multiple_of(self.block_bytes()), 0);
        if self.pending.is_empty() { Ok(()) } else { take(self.hash_pending()) }
    }

    fn hash_pending(&mut self) -> &[u8] {
        hash(&*self.hasher, &self.pending, self.digest_bytes, self.block_size, &mut self.digests);
        self.pending.clear();
        &self.digests
    }

    fn block_bytes(&self) -> usize {
        self.block_size.bytes_usize()
    }
}

/// Puts the digests of `blocks` into `digests`, in place of what was there.
pub(super) fn hash(
    hasher: &dyn BlockHasher,
    blocks: &[u8],
    digest_bytes: usize,
    block_size: BlockSize,
    digests: &mut Vec<u8>,
) {
    digests.resize(blocks.len() / block_size.bytes_usize() * digest_bytes, 0);
    hasher.hash_blocks(blocks, digests);
}

/// The least data that is hashed in one go: 32 blocks of 4096 bytes, two for each of 16 lanes,
/// and half of a usual second-level cache at most.
pub(super) const BATCH_BYTES: usize = 128 * 1024;
/// Is as many digests as 1 GiB in blocks of 4096 bytes has, and 128 MiB in blocks of 512.
const MAX_DIGESTS_IN_MEMORY_BYTES: usize = 8 << 20;
/// Is how many digests are read at a time.
const READ_DIGESTS: usize = 4096;
