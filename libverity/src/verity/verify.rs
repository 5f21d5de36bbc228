//! Checks data and tree against a root hash, and says which block is wrong.

use std::fmt;
use std::io::{self, Read};
use std::ops::{ControlFlow, Range};

use super::block_hasher::block_hasher;
use super::geometry::Slots;
use super::parallel::{available_threads, hash_data_blocks};
use super::{Geometry, GeometryError, Parameters, ReadAt};
use crate::digest::RootHash;

/// Checks data and tree against a root hash under pinned parameters.
///
/// The tree is read once, top level first, then the data once. Only digests that a hash block
/// with the right digest vouches for count: whatever lies below a faulty hash block is neither
/// right nor wrong, and named in [`Fault::unverified_data_blocks`].
#[derive(Clone, Debug)]
pub struct Verifier {
    parameters: Parameters,
    geometry: Geometry,
    root_hash: RootHash,
}

impl Verifier {
    /// Prepares to verify `data_blocks` blocks.
    ///
    /// # Errors
    ///
    /// Fails if there can be no such tree, or its algorithm makes no root hash of this length.
    pub fn new(
        parameters: &Parameters,
        data_blocks: u64,
        root_hash: &RootHash,
    ) -> Result<Self, VerifyError> {
        let found_bytes = root_hash.as_bytes().len();
        let expected_bytes = parameters.algorithm.digest_bytes();
        if found_bytes != expected_bytes {
            return Err(VerifyError::RootHashLength { expected_bytes, found_bytes });
        }
        Ok(Self {
            parameters: parameters.clone(),
            geometry: Geometry::new(parameters, data_blocks)?,
            root_hash: root_hash.clone(),
        })
    }

    /// Returns the shape of the tree.
    pub fn geometry(&self) -> &Geometry {
        &self.geometry
    }

    /// Reads `tree`, from the first block of its top level on, and `data`, and calls `on_fault`
    /// for each faulty block: hash blocks first, from the top down, in the order in which they
    /// lie. Returns the number of calls; 0 means that every block is as it was signed.
    ///
    /// It ends early if `on_fault` breaks, or nothing is left that could be verified.
    ///
    /// # Errors
    ///
    /// Fails if either cannot be read to the end that the geometry gives it.
    pub fn verify(
        &self,
        data: &mut impl Read,
        tree: &mut impl Read,
        on_fault: impl FnMut(Fault) -> ControlFlow<()>,
    ) -> Result<u64, VerifyError> {
        let mut faults = Faults { count: 0, on_fault };
        if let Some(digests) = self.check_tree(tree, &mut faults)? {
            let _ = self.check_blocks(Area::Data, data, &digests, &mut faults, |_, _| {})?;
        }
        Ok(faults.count)
    }

    /// As [`verify`](Self::verify), of data that are read and hashed on all processors; tells
    /// `on_progress` each time how many bytes of data more are verified. Holes of sparse files are
    /// not read.
    ///
    /// # Errors
    ///
    /// As [`verify`](Self::verify), and with [`VerifyError::Cancelled`] if `on_progress` breaks.
    pub fn verify_at<D: ReadAt + ?Sized>(
        &self,
        data: &D,
        tree: &mut impl Read,
        on_fault: impl FnMut(Fault) -> ControlFlow<()>,
        mut on_progress: impl FnMut(u64) -> ControlFlow<()>,
    ) -> Result<u64, VerifyError> {
        let mut faults = Faults { count: 0, on_fault };
        let Some(digests) = self.check_tree(tree, &mut faults)? else { return Ok(faults.count) };
        let digest_bytes = self.parameters.algorithm.digest_bytes();
        let block_bytes = u64::from(self.parameters.data_block_size.bytes());
        let (blocks, threads) = (self.geometry.data_blocks(), available_threads());
        let mut wanted = ControlFlow::Continue(());
        hash_data_blocks(&self.parameters, data, blocks, threads, |first, found| {
            wanted = on_progress((found.len() / digest_bytes) as u64 * block_bytes);
            wanted?;
            for (index, found) in (first..).zip(found.chunks_exact(digest_bytes)) {
                let Some(expected) = digests.of_block(index) else { continue };
                if expected != found {
                    faults.report(self.fault(Area::Data, index, expected, found))?;
                }
            }
            ControlFlow::Continue(())
        })
        .map_err(|error| VerifyError::read(Area::Data, error.offset_bytes, error.source))?;
        if wanted.is_break() {
            return Err(VerifyError::Cancelled);
        }
        Ok(faults.count)
    }

    /// Reads the tree alone, and hands every hash block to `on_block` with its level, the top level
    /// first; returns whether all of them are what the root hash says.
    pub(super) fn read_tree(
        &self,
        tree: &mut impl Read,
        mut on_block: impl FnMut(usize, &[u8]),
    ) -> Result<bool, VerifyError> {
        let mut faults = Faults { count: 0, on_fault: |_| ControlFlow::Break(()) };
        let is_right = self.check_tree_blocks(tree, &mut faults, &mut on_block)?.is_some();
        Ok(is_right && faults.count == 0)
    }

    /// Checks the hash blocks from the top down, and returns the digests of the data blocks, or
    /// `None` if nothing is left that could be verified.
    fn check_tree<F: FnMut(Fault) -> ControlFlow<()>>(
        &self,
        tree: &mut impl Read,
        faults: &mut Faults<F>,
    ) -> Result<Option<Digests<'_>>, VerifyError> {
        self.check_tree_blocks(tree, faults, &mut |_, _| {})
    }

    fn check_tree_blocks<F: FnMut(Fault) -> ControlFlow<()>>(
        &self,
        tree: &mut impl Read,
        faults: &mut Faults<F>,
        on_block: &mut dyn FnMut(usize, &[u8]),
    ) -> Result<Option<Digests<'_>>, VerifyError> {
        let mut digests = Digests::root(&self.geometry, &self.root_hash);
        for level in (0..self.geometry.levels().len()).rev() {
            let mut below = Digests::none(&self.geometry);
            let area = Area::Level(level);
            let end = self.check_blocks(area, tree, &digests, faults, |block, is_right| {
                on_block(level, block);
                below.bytes.extend_from_slice(block);
                below.are_right.push(is_right);
            })?;
            digests = below;
            if end.is_break() || !digests.are_right.contains(&true) {
                return Ok(None);
            }
        }
        Ok(Some(digests))
    }

    fn check_blocks<F: FnMut(Fault) -> ControlFlow<()>>(
        &self,
        area: Area,
        input: &mut impl Read,
        digests: &Digests<'_>,
        faults: &mut Faults<F>,
        mut on_block: impl FnMut(&[u8], bool),
    ) -> Result<ControlFlow<()>, VerifyError> {
        let (blocks, block_size) = match area {
            Area::Data => (self.geometry.data_blocks(), self.parameters.data_block_size),
            Area::Level(level) => {
                (self.geometry.levels()[level].blocks, self.parameters.hash_block_size)
            }
        };
        let block_bytes = block_size.bytes_usize();
        let hasher = block_hasher(&self.parameters, block_size);
        let digest_bytes = self.parameters.algorithm.digest_bytes();
        let batch_blocks = (BATCH_BYTES / block_bytes).max(1);
        let mut batch = vec![0; batch_blocks * block_bytes];
        let mut found = vec![0; batch_blocks * digest_bytes];

        let mut first = 0;
        while first < blocks {
            let count = (blocks - first).min(batch_blocks as u64) as usize;
            let batch = &mut batch[..count * block_bytes];
            let found = &mut found[..count * digest_bytes];
            let offset_bytes = self.offset_bytes(area, first);
            input
                .read_exact(batch)
                .map_err(|source| VerifyError::read(area, offset_bytes, source))?;
            hasher.hash_blocks(batch, found);
            for (index, (block, found)) in
                (first..).zip(batch.chunks_exact(block_bytes).zip(found.chunks_exact(digest_bytes)))
            {
                let Some(expected) = digests.of_block(index) else {
                    on_block(block, false);
                    continue;
                };
                on_block(block, expected == found);
                if expected != found {
                    let fault = self.fault(area, index, expected, found);
                    if faults.report(fault).is_break() {
                        return Ok(ControlFlow::Break(()));
                    }
                }
            }
            first += count as u64;
        }
        Ok(ControlFlow::Continue(()))
    }

    fn fault(&self, area: Area, index: u64, expected: &[u8], found: &[u8]) -> Fault {
        let (block, unverified_data_blocks) = match area {
            Area::Data => (FaultyBlock::Data { index }, index..index + 1),
            Area::Level(level) => {
                (FaultyBlock::Hash { level, index }, self.geometry.data_blocks_below(level, index))
            }
        };
        Fault {
            block,
            offset_bytes: self.offset_bytes(area, index),
            expected: expected.to_vec(),
            found: found.to_vec(),
            unverified_data_blocks,
        }
    }

    fn offset_bytes(&self, area: Area, index: u64) -> u64 {
        match area {
            Area::Data => index * u64::from(self.parameters.data_block_size.bytes()),
            Area::Level(level) => {
                let first_block = self.geometry.levels()[level].first_block;
                (first_block + index) * u64::from(self.parameters.hash_block_size.bytes())
            }
        }
    }
}

/// Is a block whose digest is not the one above it in the tree.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{block} (at byte {offset_bytes}) is corrupted: its digest is {}, not {}",
    hex::encode(found),
    hex::encode(expected)
)]
pub struct Fault {
    /// Which block.
    pub block: FaultyBlock,
    /// Where it starts in bytes: a data block from the start of the data, a hash block from the
    /// start of the tree.
    pub offset_bytes: u64,
    /// The digest that the tree, or the root hash, has for it.
    pub expected: Vec<u8>,
    /// The digest of what is there.
    pub found: Vec<u8>,
    /// The data blocks that cannot be verified because of it.
    pub unverified_data_blocks: Range<u64>,
}

/// Names a faulty block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FaultyBlock {
    /// A data block.
    Data {
        /// Its number.
        index: u64,
    },
    /// A hash block.
    Hash {
        /// Its level, counted from the leaves, which are level 0.
        level: usize,
        /// Its number in that level.
        index: u64,
    },
}

impl fmt::Display for FaultyBlock {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Data { index } => write!(formatter, "data block {index}"),
            Self::Hash { level, index } => write!(formatter, "hash block {index} of level {level}"),
        }
    }
}

/// Says why nothing could be verified, or not to the end.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum VerifyError {
    /// The caller did not want it any more.
    #[error("the verification was cancelled")]
    Cancelled,
    /// The data cannot be read.
    #[error("the data cannot be read at byte {offset_bytes}")]
    DataRead {
        /// Where the failed read started, from the start of the data.
        offset_bytes: u64,
        /// Why.
        source: io::Error,
    },
    /// The data end before their last block.
    #[error("the data end early: less than what is needed follows byte {offset_bytes}")]
    DataTooShort {
        /// Where the failed read started, from the start of the data.
        offset_bytes: u64,
    },
    /// There can be no such tree.
    #[error(transparent)]
    Geometry(#[from] GeometryError),
    /// The root hash is not of the tree's algorithm.
    #[error("the root hash has {found_bytes} bytes, and the algorithm's has {expected_bytes}")]
    RootHashLength {
        /// The length of the algorithm's digests in bytes.
        expected_bytes: usize,
        /// The length of the root hash in bytes.
        found_bytes: usize,
    },
    /// The tree cannot be read.
    #[error("the hash tree cannot be read at byte {offset_bytes}")]
    TreeRead {
        /// Where the failed read started, from the start of the tree.
        offset_bytes: u64,
        /// Why.
        source: io::Error,
    },
    /// The tree ends before its last block.
    #[error("the hash tree ends early: less than what is needed follows byte {offset_bytes}")]
    TreeTooShort {
        /// Where the failed read started, from the start of the tree.
        offset_bytes: u64,
    },
}

impl VerifyError {
    fn read(area: Area, offset_bytes: u64, source: io::Error) -> Self {
        let is_end = source.kind() == io::ErrorKind::UnexpectedEof;
        match (area, is_end) {
            (Area::Data, true) => Self::DataTooShort { offset_bytes },
            (Area::Data, false) => Self::DataRead { offset_bytes, source },
            (Area::Level(_), true) => Self::TreeTooShort { offset_bytes },
            (Area::Level(_), false) => Self::TreeRead { offset_bytes, source },
        }
    }
}

/// Tells what is being checked.
#[derive(Clone, Copy)]
enum Area {
    Data,
    Level(usize),
}

/// Holds the bytes of the level above the one being checked, or the root hash.
struct Digests<'a> {
    slots: &'a Slots,
    bytes: Vec<u8>,
    /// For each hash block whether its own digest was right.
    are_right: Vec<bool>,
}

impl<'a> Digests<'a> {
    fn none(geometry: &'a Geometry) -> Self {
        Self { slots: geometry.slots(), bytes: Vec::new(), are_right: Vec::new() }
    }

    fn root(geometry: &'a Geometry, root_hash: &RootHash) -> Self {
        let bytes = root_hash.as_bytes().to_vec();
        Self { slots: geometry.slots(), bytes, are_right: vec![true] }
    }

    /// Returns the digest that a block below must have, if it is known.
    fn of_block(&self, index: u64) -> Option<&[u8]> {
        let index = usize::try_from(index).ok()?;
        let is_right = *self.are_right.get(index / self.slots.per_block())?;
        if is_right { self.bytes.get(self.slots.digest_range(index)) } else { None }
    }
}

/// Counts faults while it hands them on.
struct Faults<F> {
    count: u64,
    on_fault: F,
}

impl<F: FnMut(Fault) -> ControlFlow<()>> Faults<F> {
    fn report(&mut self, fault: Fault) -> ControlFlow<()> {
        self.count += 1;
        (self.on_fault)(fault)
    }
}

/// How much is read and hashed in one go, unless a block is larger.
const BATCH_BYTES: usize = 128 * 1024;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::verity::{BlockSize, Salt, TreeBuilder};

    /// Sixteen digests a block: 300 data blocks have hash blocks in levels of 19, 2 and 1.
    fn small_blocks() -> Parameters {
        Parameters {
            data_block_size: BlockSize::B512,
            hash_block_size: BlockSize::B512,
            ..Parameters::with_salt(Salt::try_from(&[9; 32][..]).unwrap())
        }
    }

    struct Sample {
        verifier: Verifier,
        data: Vec<u8>,
        tree: Vec<u8>,
    }

    impl Sample {
        fn new(parameters: &Parameters, data_blocks: u64) -> Self {
            let bytes = data_blocks * u64::from(parameters.data_block_size.bytes());
            let data: Vec<u8> = (0..bytes).map(|place| (place / 509) as u8).collect();
            let mut builder = TreeBuilder::new(parameters);
            builder.update(&data);
            let built = builder.finish().unwrap();
            let mut tree = Vec::new();
            built.write_to(&mut tree).unwrap();
            let verifier = Verifier::new(parameters, data_blocks, built.root_hash()).unwrap();
            Self { verifier, data, tree }
        }

        fn faults(&self) -> Vec<Fault> {
            let mut faults = Vec::new();
            let count = self
                .verifier
                .verify(&mut self.data.as_slice(), &mut self.tree.as_slice(), |fault| {
                    faults.push(fault);
                    ControlFlow::Continue(())
                })
                .unwrap();
            assert_eq!(count, faults.len() as u64);
            let mut at_once = Vec::new();
            let (mut tree, mut bytes) = (self.tree.as_slice(), 0);
            let on_fault = |fault| {
                at_once.push(fault);
                ControlFlow::Continue(())
            };
            let count = self.verifier.verify_at(&self.data[..], &mut tree, on_fault, |more| {
                bytes += more;
                ControlFlow::Continue(())
            });
            assert_eq!((count.unwrap(), &at_once), (faults.len() as u64, &faults));
            assert!(bytes == self.data.len() as u64 || bytes == 0 && !faults.is_empty());
            faults
        }

        fn first_error(&self) -> Option<VerifyError> {
            let go_on = |_| ControlFlow::Continue(());
            let at_once =
                self.verifier.verify_at(&self.data[..], &mut self.tree.as_slice(), go_on, |_| {
                    ControlFlow::Continue(())
                });
            let error = self
                .verifier
                .verify(&mut self.data.as_slice(), &mut self.tree.as_slice(), go_on)
                .err();
            let messages = [
                at_once.err().map(|error| error.to_string()),
                error.as_ref().map(|error| error.to_string()),
            ];
            assert_eq!(messages[0], messages[1]);
            error
        }
    }

    fn places(faults: &[Fault]) -> Vec<(FaultyBlock, u64, Range<u64>)> {
        faults
            .iter()
            .map(|fault| (fault.block, fault.offset_bytes, fault.unverified_data_blocks.clone()))
            .collect()
    }

    #[test]
    fn what_was_built_is_without_fault() {
        for data_blocks in [1, 2, 16, 17, 256, 257, 300] {
            assert_eq!(Sample::new(&small_blocks(), data_blocks).faults(), []);
        }
    }

    #[test]
    fn faults_are_found_in_data_and_in_each_level() {
        let block = |index| index as usize * 512;
        let mut sample = Sample::new(&small_blocks(), 300);
        sample.data[block(299) + 511] ^= 1;
        sample.data[block(20)] ^= 0x80;
        // On disk: level 2 is block 0, level 1 blocks 1 and 2, level 0 blocks 3 to 21.
        sample.tree[block(3 + 5) + 7] ^= 1;
        assert_eq!(
            places(&sample.faults()),
            [
                (FaultyBlock::Hash { level: 0, index: 5 }, 8 * 512, 80..96),
                (FaultyBlock::Data { index: 20 }, 20 * 512, 20..21),
                (FaultyBlock::Data { index: 299 }, 299 * 512, 299..300),
            ]
        );

        sample.tree[block(2)] ^= 1;
        assert_eq!(
            places(&sample.faults())[0],
            (FaultyBlock::Hash { level: 1, index: 1 }, 2 * 512, 256..300)
        );
        assert_eq!(sample.faults().len(), 3, "block 299 lies below the faulty hash block");

        sample.tree[0] ^= 1;
        assert_eq!(
            places(&sample.faults()),
            [(FaultyBlock::Hash { level: 2, index: 0 }, 0, 0..300)]
        );
    }

    #[test]
    fn a_single_block_is_checked_against_the_root_hash() {
        let mut sample = Sample::new(&small_blocks(), 1);
        assert!(sample.tree.is_empty());
        sample.data[5] ^= 1;
        let faults = sample.faults();
        assert_eq!(places(&faults), [(FaultyBlock::Data { index: 0 }, 0, 0..1)]);
        assert_eq!(faults[0].expected, sample.verifier.root_hash.as_bytes());
    }

    #[test]
    fn verification_ends_where_the_caller_says() {
        let mut sample = Sample::new(&small_blocks(), 300);
        sample.data.fill(0xee);
        let mut calls = 0;
        let count = sample
            .verifier
            .verify(&mut sample.data.as_slice(), &mut sample.tree.as_slice(), |_| {
                calls += 1;
                if calls == 3 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
            })
            .unwrap();
        assert_eq!((calls, count), (3, 3));
    }

    #[test]
    fn a_fault_says_block_place_and_both_digests() {
        let mut sample = Sample::new(&small_blocks(), 1);
        sample.data.fill(0);
        let fault = &sample.faults()[0];
        let message = fault.to_string();
        assert!(message.starts_with("data block 0 (at byte 0) is corrupted: its digest is "));
        assert!(message.ends_with(&format!("not {}", sample.verifier.root_hash)));
    }

    #[test]
    fn short_data_and_short_trees_are_told_apart() {
        let mut sample = Sample::new(&small_blocks(), 300);
        sample.data.pop();
        assert!(matches!(
            sample.first_error(),
            Some(VerifyError::DataTooShort { offset_bytes }) if offset_bytes == 256 * 512
        ));
        sample.tree.pop();
        assert!(matches!(
            sample.first_error(),
            Some(VerifyError::TreeTooShort { offset_bytes }) if offset_bytes == 3 * 512
        ));
    }

    #[test]
    fn a_tree_that_is_wrong_from_the_top_is_not_read_on() {
        let sample = Sample::new(&small_blocks(), 300);
        let endless = &mut io::repeat(0);
        let data = &mut sample.data.as_slice();
        let faults = sample.verifier.verify(data, endless, |_| ControlFlow::Continue(())).unwrap();
        assert_eq!((faults, data.len()), (1, sample.data.len()));
    }

    #[test]
    fn a_root_hash_of_another_length_is_refused() {
        let root_hash = "ab".repeat(64).parse().unwrap();
        assert!(matches!(
            Verifier::new(&small_blocks(), 1, &root_hash),
            Err(VerifyError::RootHashLength { expected_bytes: 32, found_bytes: 64 })
        ));
    }

    proptest! {
        #[test]
        fn any_flipped_bit_is_found_in_its_block(
            in_tree in any::<bool>(),
            place in any::<proptest::sample::Index>(),
            bit in 0_u32..8,
        ) {
            let mut sample = Sample::new(&small_blocks(), 300);
            let bytes = if in_tree { &mut sample.tree } else { &mut sample.data };
            let place = place.index(bytes.len());
            bytes[place] ^= 1 << bit;
            let faults = sample.faults();
            prop_assert_eq!(faults.len(), 1);
            prop_assert_eq!(matches!(faults[0].block, FaultyBlock::Hash { .. }), in_tree);
            prop_assert_eq!(faults[0].offset_bytes, place as u64 / 512 * 512);
        }
    }
}
