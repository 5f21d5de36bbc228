//! Hash trees that are handed on while they grow.

use std::io;

use super::block_hasher::{BlockHasher, block_hasher};
use super::geometry::Slots;
use super::leaf_digests::{BATCH_BYTES, LeafHasher, hash};
use super::{BlockSize, Geometry, GeometryError, LeafDigests, Parameters};
use crate::digest::RootHash;

/// Takes the hash blocks of a tree as soon as they are complete.
///
/// Closures `FnMut(usize, u64, &[u8]) -> io::Result<()>` are sinks.
pub trait HashBlockSink {
    /// Takes the whole hash blocks in `blocks`, of which the first is the block `first_block` of
    /// `level`; levels count from the leaves up.
    ///
    /// Those of one level come in ascending order, those of different levels in any.
    ///
    /// # Errors
    ///
    /// Whatever prevents the sink from taking them; the tree is then lost.
    fn take(&mut self, level: usize, first_block: u64, blocks: &[u8]) -> io::Result<()>;
}

impl<F: FnMut(usize, u64, &[u8]) -> io::Result<()>> HashBlockSink for F {
    fn take(&mut self, level: usize, first_block: u64, blocks: &[u8]) -> io::Result<()> {
        self(level, first_block, blocks)
    }
}

/// Works out a hash tree from data that arrives in pieces of any length, in bounded memory: less
/// than 1 MiB with blocks of 4096 bytes.
///
/// The sink gets every hash block but the first of each level: these are what the first data
/// blocks hang on, which may still change. They come out at the end, as [`FirstPath`].
///
/// ```
/// use libverity::verity::{Parameters, Salt, TreeHasher};
///
/// let mut tree = TreeHasher::new(&Parameters::with_salt(Salt::EMPTY));
/// let mut sink = |_: usize, _: u64, _: &[u8]| Ok(());
/// tree.update(&[1; 8192], &mut sink)?;
/// let mut path = tree.finish(&mut sink)?;
/// let before = path.root_hash().clone();
/// path.replace_block(0, &[2; 4096])?;
/// assert_ne!(*path.root_hash(), before);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct TreeHasher {
    parameters: Parameters,
    leaves: LeafHasher,
    levels: Levels,
}

impl TreeHasher {
    /// Starts a tree over no data.
    pub fn new(parameters: &Parameters) -> Self {
        Self {
            parameters: parameters.clone(),
            leaves: LeafHasher::new(parameters),
            levels: Levels::new(parameters),
        }
    }

    /// Takes the next bytes of the data.
    ///
    /// # Errors
    ///
    /// Fails if `sink` does.
    pub fn update(&mut self, data: &[u8], sink: &mut dyn HashBlockSink) -> io::Result<()> {
        self.leaves.update(data, |digests| self.levels.push(0, digests, sink))
    }

    /// Fills the last block up with zeros, and puts the data behind it whose digests are in
    /// `behind`, made with the same parameters.
    ///
    /// # Errors
    ///
    /// Fails if `sink` does, or the digests cannot be read.
    pub fn append(
        &mut self,
        behind: LeafDigests,
        sink: &mut dyn HashBlockSink,
    ) -> Result<(), TreeError> {
        let sink_error = |source| TreeError::Sink { source };
        let digests_error = |source| TreeError::Digests { source };
        self.leaves.fill_up(|digests| self.levels.push(0, digests, sink)).map_err(sink_error)?;
        let mut pieces = behind.finish().map_err(digests_error)?;
        loop {
            let digests = pieces.next().map_err(digests_error)?;
            if digests.is_empty() {
                return Ok(());
            }
            self.levels.push(0, digests, sink).map_err(sink_error)?;
        }
    }

    /// Takes the digests of the next data blocks instead of the blocks themselves.
    ///
    /// # Errors
    ///
    /// Fails if `sink` does.
    pub(super) fn push_digests(
        &mut self,
        digests: &[u8],
        sink: &mut dyn HashBlockSink,
    ) -> io::Result<()> {
        self.levels.push(0, digests, sink)
    }

    /// Fills the last block up with zeros, and hands on what is left of all levels.
    ///
    /// # Errors
    ///
    /// Fails if there was no data, or `sink` does.
    pub fn finish(mut self, sink: &mut dyn HashBlockSink) -> Result<FirstPath, TreeError> {
        self.leaves
            .fill_up(|digests| self.levels.push(0, digests, sink))
            .map_err(|source| TreeError::Sink { source })?;
        let geometry = Geometry::new(&self.parameters, self.levels.digests_in(0))?;
        let height = geometry.levels().len();
        for level in 0..height {
            self.levels.complete(level, sink).map_err(|source| TreeError::Sink { source })?;
        }
        let root_hash = RootHash::from_bytes(self.levels.first_digest(height));
        let mut first_blocks: Vec<_> =
            self.levels.open.into_iter().map(|level| level.first).collect();
        first_blocks.truncate(height);
        Ok(FirstPath { parameters: self.parameters, geometry, first_blocks, root_hash })
    }
}

/// Is the path from the first data blocks of a tree to its root: the first hash block of each
/// level, of which the sink has all others.
///
/// Images that differ in a block of these share all work but the path: [replace](Self::replace_block)
/// the block.
#[derive(Clone, Debug)]
pub struct FirstPath {
    parameters: Parameters,
    geometry: Geometry,
    /// From the leaves up.
    first_blocks: Vec<Vec<u8>>,
    root_hash: RootHash,
}

impl FirstPath {
    pub(super) fn from_parts(
        parameters: Parameters,
        geometry: Geometry,
        first_blocks: Vec<Vec<u8>>,
        root_hash: RootHash,
    ) -> Self {
        Self { parameters, geometry, first_blocks, root_hash }
    }

    /// Returns the parameters of the tree.
    pub fn parameters(&self) -> &Parameters {
        &self.parameters
    }

    /// Returns the shape of the tree: levels, number of data blocks, sizes.
    pub fn geometry(&self) -> &Geometry {
        &self.geometry
    }

    /// Returns the root hash.
    pub fn root_hash(&self) -> &RootHash {
        &self.root_hash
    }

    /// Returns the first hash block of each level, from the leaves up.
    pub fn first_blocks(&self) -> impl Iterator<Item = &[u8]> {
        self.first_blocks.iter().map(Vec::as_slice)
    }

    /// Puts `block` in the place of the data block `index` and hashes the path again: one block in
    /// each level.
    ///
    /// # Errors
    ///
    /// Fails if the first hash block has no digest of such a block, or `block` is not exactly one
    /// block long.
    pub fn replace_block(&mut self, index: u64, block: &[u8]) -> Result<(), ReplaceError> {
        let slots = self.geometry.slots();
        let expected = self.parameters.data_block_size;
        let end = self.geometry.data_blocks().min(slots.per_block() as u64);
        if index >= end {
            return Err(ReplaceError::NotOnPath { index, end });
        }
        if block.len() != expected.bytes_usize() {
            return Err(ReplaceError::Length { expected, found_bytes: block.len() });
        }
        let data_hasher = block_hasher(&self.parameters, expected);
        let hash_hasher = block_hasher(&self.parameters, self.parameters.hash_block_size);
        let mut digest = vec![0; self.parameters.algorithm.digest_bytes()];
        data_hasher.hash_blocks(block, &mut digest);
        let mut index = index as usize;
        for first_block in &mut self.first_blocks {
            first_block[slots.digest_range(index)].copy_from_slice(&digest);
            hash_hasher.hash_blocks(first_block, &mut digest);
            index = 0;
        }
        self.root_hash = RootHash::from_bytes(digest);
        Ok(())
    }
}

/// Says why a block cannot be replaced.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ReplaceError {
    /// The replacement is not exactly one block.
    #[error("a block of {expected} bytes cannot be replaced by {found_bytes} bytes")]
    Length {
        /// The size of a data block.
        expected: BlockSize,
        /// The length of the replacement in bytes.
        found_bytes: usize,
    },
    /// The digest of the block is not in the first hash block.
    #[error("block {index} cannot be replaced, only those before block {end}")]
    NotOnPath {
        /// The block to be replaced.
        index: u64,
        /// The number of blocks that can be.
        end: u64,
    },
}

/// Says why there is no tree.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TreeError {
    /// The digests that were kept cannot be read again.
    #[error("the digests of data blocks cannot be kept")]
    Digests {
        /// Why.
        source: io::Error,
    },
    /// There can be none over so little or so much data.
    #[error(transparent)]
    Geometry(#[from] GeometryError),
    /// The hash blocks could not be handed on.
    #[error("the hash blocks cannot be written")]
    Sink {
        /// Why.
        source: io::Error,
    },
}

/// Is all levels, of which the upper ones come into being with their first digest.
struct Levels {
    slots: Slots,
    digest_bytes: usize,
    hasher: Box<dyn BlockHasher>,
    open: Vec<OpenLevel>,
}

impl Levels {
    fn new(parameters: &Parameters) -> Self {
        Self {
            slots: Slots::new(parameters),
            digest_bytes: parameters.algorithm.digest_bytes(),
            hasher: block_hasher(parameters, parameters.hash_block_size),
            open: Vec::new(),
        }
    }

    /// Puts digests into the next slots of a level, and hands on its blocks when they are many.
    fn push(
        &mut self,
        level: usize,
        digests: &[u8],
        sink: &mut dyn HashBlockSink,
    ) -> io::Result<()> {
        if level == self.open.len() {
            self.open.push(OpenLevel::default());
        }
        let open = &mut self.open[level];
        open.append(&self.slots, digests, self.digest_bytes);
        if open.bytes.len() <= BATCH_BYTES {
            return Ok(());
        }
        let blocks = open.waiting_digests(&self.slots) / self.slots.per_block();
        self.hand_on(level, blocks, sink)
    }

    /// Hands on the last blocks of a level, which gets no more digests.
    fn complete(&mut self, level: usize, sink: &mut dyn HashBlockSink) -> io::Result<()> {
        let blocks = self.open[level].waiting_digests(&self.slots).div_ceil(self.slots.per_block());
        self.hand_on(level, blocks, sink)
    }

    /// Hashes the next `blocks` of a level, and hands them on.
    fn hand_on(
        &mut self,
        level: usize,
        blocks: usize,
        sink: &mut dyn HashBlockSink,
    ) -> io::Result<()> {
        if blocks == 0 {
            return Ok(());
        }
        let block_bytes = self.slots.hash_block_size().bytes_usize();
        let open = &mut self.open[level];
        let first_block = open.first_block;
        let bytes = open.take_blocks(blocks, block_bytes);
        let mut digests = Vec::new();
        let block_size = self.slots.hash_block_size();
        hash(&*self.hasher, &bytes, self.digest_bytes, block_size, &mut digests);
        match first_block {
            0 if blocks > 1 => sink.take(level, 1, &bytes[block_bytes..])?,
            0 => {}
            _ => sink.take(level, first_block, &bytes)?,
        }
        self.push(level + 1, &digests, sink)
    }

    fn digests_in(&self, level: usize) -> u64 {
        self.open.get(level).map_or(0, |level| level.digests)
    }

    /// Returns the first digest of a level that has handed on no block yet.
    fn first_digest(&self, level: usize) -> &[u8] {
        &self.open[level].bytes[self.slots.digest_range(0)]
    }
}

/// Is a level that is still growing.
#[derive(Default)]
struct OpenLevel {
    /// Its first block, once that is complete.
    first: Vec<u8>,
    /// The blocks from `first_block` on as they lie on disk, as far as they are known.
    bytes: Vec<u8>,
    first_block: u64,
    /// How many digests it has had.
    digests: u64,
}

impl OpenLevel {
    fn append(&mut self, slots: &Slots, digests: &[u8], digest_bytes: usize) {
        let count = digests.len() / digest_bytes;
        if slots.are_gapless() {
            self.bytes.extend_from_slice(digests);
        } else {
            let waiting = self.waiting_digests(slots);
            for (digest, index) in digests.chunks_exact(digest_bytes).zip(waiting..) {
                let range = slots.digest_range(index);
                self.bytes.resize(range.end, 0);
                self.bytes[range].copy_from_slice(digest);
            }
        }
        self.digests += count as u64;
    }

    /// Returns how many digests are in blocks that were not handed on.
    fn waiting_digests(&self, slots: &Slots) -> usize {
        (self.digests - self.first_block * slots.per_block() as u64) as usize
    }

    /// Takes the next blocks out, filled up with zeros, and keeps a copy of the very first.
    fn take_blocks(&mut self, blocks: usize, block_bytes: usize) -> Vec<u8> {
        let end = blocks * block_bytes;
        self.bytes.resize(self.bytes.len().max(end), 0);
        let rest = self.bytes.split_off(end);
        let taken = std::mem::replace(&mut self.bytes, rest);
        if self.first_block == 0 {
            self.first = taken[..block_bytes].to_vec();
        }
        self.first_block += blocks as u64;
        taken
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::verity::Salt;

    #[test]
    fn a_sink_that_fails_ends_the_tree() {
        let parameters = small_blocks();
        let mut sink = |_: usize, _: u64, _: &[u8]| -> io::Result<()> {
            Err(io::ErrorKind::StorageFull.into())
        };
        let mut hasher = TreeHasher::new(&parameters);
        hasher.update(&[0; 40 * 512], &mut sink).unwrap();
        let error = hasher.finish(&mut sink).unwrap_err();
        let TreeError::Sink { source } = error else { panic!("{error:?}") };
        assert_eq!(source.kind(), io::ErrorKind::StorageFull);
        let mut hasher = TreeHasher::new(&parameters);
        let error = hasher.update(&vec![0; 4 << 20], &mut sink).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::StorageFull);
    }

    #[test]
    fn the_memory_of_a_growing_tree_does_not_grow() {
        let parameters = small_blocks();
        let mut handed_on = 0;
        let mut sink = |_: usize, _: u64, blocks: &[u8]| {
            handed_on += blocks.len() as u64;
            Ok(())
        };
        let mut hasher = TreeHasher::new(&parameters);
        for _ in 0..64 {
            hasher.update(&[7; 1 << 20], &mut sink).unwrap();
            let kept: usize = hasher.levels.open.iter().map(|level| level.bytes.len()).sum();
            assert!(kept <= 4 * 256 * 1024, "{kept}");
        }
        let path = hasher.finish(&mut sink).unwrap();
        let first_blocks = path.geometry().levels().len() as u64 * 512;
        assert_eq!(handed_on + first_blocks, path.geometry().tree_bytes());
    }

    fn small_blocks() -> Parameters {
        Parameters {
            data_block_size: BlockSize::B512,
            hash_block_size: BlockSize::B512,
            ..Parameters::with_salt(Salt::EMPTY)
        }
    }
}
