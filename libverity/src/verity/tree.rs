//! Hash trees as a whole, in memory.

mod update;

use std::io::{self, Write};
use std::ops::ControlFlow;

pub use update::UpdateError;

use super::parallel::{ReadFailure, available_threads, hash_data_blocks};
use super::{FirstPath, Geometry, GeometryError, Parameters, ReadAt, TreeError, TreeHasher};
use crate::digest::RootHash;

/// Builds a hash tree in memory, from data that arrives in pieces of any length.
///
/// The data is hashed as it comes and not kept. What is kept is the tree, 32 bytes for every 4096 with the
/// usual parameters: 16 MiB for 2 GiB. A [`TreeHasher`] keeps nothing.
///
/// ```
/// use libverity::verity::{Parameters, Salt, TreeBuilder};
///
/// let mut builder = TreeBuilder::new(&Parameters::with_salt(Salt::EMPTY));
/// builder.update(b"a short last block is ");
/// builder.update(b"filled up with zeros");
/// let tree = builder.finish()?;
/// assert_eq!(tree.geometry().data_blocks(), 1);
/// assert_eq!(tree.geometry().tree_bytes(), 0);
/// # Ok::<(), libverity::verity::GeometryError>(())
/// ```
pub struct TreeBuilder {
    hasher: TreeHasher,
    /// From the leaves up, with room for the first block of each.
    levels: Vec<Vec<u8>>,
    hash_block_bytes: usize,
}

impl TreeBuilder {
    /// Starts a tree over no data.
    pub fn new(parameters: &Parameters) -> Self {
        Self {
            hasher: TreeHasher::new(parameters),
            levels: Vec::new(),
            hash_block_bytes: parameters.hash_block_size.bytes_usize(),
        }
    }

    /// Takes the next bytes of the data, best 128 KiB or more at a time.
    pub fn update(&mut self, data: &[u8]) {
        let mut sink = in_memory(&mut self.levels, self.hash_block_bytes);
        self.hasher.update(data, &mut sink).expect("memory takes everything");
    }

    fn push_digests(&mut self, digests: &[u8]) {
        let mut sink = in_memory(&mut self.levels, self.hash_block_bytes);
        self.hasher.push_digests(digests, &mut sink).expect("memory takes everything");
    }

    /// Fills the last block up with zeros and works out what is left of the tree.
    ///
    /// # Errors
    ///
    /// Fails if there was no data.
    pub fn finish(self) -> Result<HashTree, GeometryError> {
        let Self { hasher, mut levels, hash_block_bytes } = self;
        let path = match hasher.finish(&mut in_memory(&mut levels, hash_block_bytes)) {
            Ok(path) => path,
            Err(TreeError::Geometry(error)) => return Err(error),
            Err(error) => unreachable!("memory takes everything: {error}"),
        };
        levels.resize(path.geometry().levels().len(), Vec::new());
        for (level, first_block) in levels.iter_mut().zip(path.first_blocks()) {
            level.resize(level.len().max(hash_block_bytes), 0);
            level[..hash_block_bytes].copy_from_slice(first_block);
        }
        Ok(HashTree { path, levels })
    }
}

/// Appends the hash blocks of each level to its bytes.
fn in_memory(
    levels: &mut Vec<Vec<u8>>,
    hash_block_bytes: usize,
) -> impl FnMut(usize, u64, &[u8]) -> io::Result<()> {
    move |level, _, blocks| {
        if level >= levels.len() {
            levels.resize(level + 1, vec![0; hash_block_bytes]);
        }
        levels[level].extend_from_slice(blocks);
        Ok(())
    }
}

/// Takes data as [`TreeBuilder::update`] does, and never fails.
impl Write for TreeBuilder {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        self.update(data);
        Ok(data.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Is a complete hash tree: every hash block, and the root hash over them.
#[derive(Clone, Debug)]
pub struct HashTree {
    path: FirstPath,
    /// From the leaves up.
    levels: Vec<Vec<u8>>,
}

impl HashTree {
    /// Builds the tree over the first `data_blocks` blocks of `data`, on all processors, and tells
    /// `on_progress` each time how many bytes more are hashed; it ends early if that breaks.
    ///
    /// Beside the tree it keeps less than 4 MiB a processor. Holes of sparse files are not read.
    ///
    /// ```
    /// use libverity::verity::{HashTree, Parameters, Salt};
    ///
    /// let data = [1; 8192];
    /// let go_on = |_| std::ops::ControlFlow::Continue(());
    /// let tree = HashTree::of(&data[..], 2, &Parameters::with_salt(Salt::EMPTY), go_on)?;
    /// assert_eq!(tree.geometry().hash_blocks(), 1);
    /// # Ok::<(), libverity::verity::DataError>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Fails if there can be no such tree, the data cannot be read to the end of their last block, or
    /// `on_progress` breaks.
    pub fn of<D: ReadAt + ?Sized>(
        data: &D,
        data_blocks: u64,
        parameters: &Parameters,
        mut on_progress: impl FnMut(u64) -> ControlFlow<()>,
    ) -> Result<Self, DataError> {
        // Before anything is read.
        Geometry::new(parameters, data_blocks)?;
        let mut builder = TreeBuilder::new(parameters);
        let digest_bytes = parameters.algorithm.digest_bytes() as u64;
        let block_bytes = u64::from(parameters.data_block_size.bytes());
        let threads = available_threads();
        let mut end = ControlFlow::Continue(());
        hash_data_blocks(parameters, data, data_blocks, threads, |_, digests| {
            builder.push_digests(digests);
            end = on_progress(digests.len() as u64 / digest_bytes * block_bytes);
            end
        })?;
        if end.is_break() {
            return Err(DataError::Cancelled);
        }
        Ok(builder.finish()?)
    }

    /// Returns the parameters it was built with.
    pub fn parameters(&self) -> &Parameters {
        self.path.parameters()
    }

    /// Returns the shape of the tree: levels, number of data blocks, sizes.
    pub fn geometry(&self) -> &Geometry {
        self.path.geometry()
    }

    /// Returns the root hash.
    pub fn root_hash(&self) -> &RootHash {
        self.path.root_hash()
    }

    /// Writes the hash blocks as they lie on disk, top level first: exactly
    /// [`Geometry::tree_bytes`].
    ///
    /// # Errors
    ///
    /// Fails if `output` does.
    pub fn write_to(&self, output: &mut impl Write) -> io::Result<()> {
        self.levels.iter().rev().try_for_each(|level| output.write_all(level))
    }
}

/// Says why there is no tree over data that were to be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DataError {
    /// The caller did not want it any more.
    #[error("the work was cancelled")]
    Cancelled,
    /// There can be no such tree.
    #[error(transparent)]
    Geometry(#[from] GeometryError),
    /// The data cannot be read.
    #[error("the data cannot be read at byte {offset_bytes}")]
    Read {
        /// Where the failed read started, from the start of the data.
        offset_bytes: u64,
        /// Why.
        source: io::Error,
    },
}

impl From<ReadFailure> for DataError {
    fn from(ReadFailure { offset_bytes, source }: ReadFailure) -> Self {
        Self::Read { offset_bytes, source }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use sha2::{Digest as _, Sha256};

    use super::*;
    use crate::verity::block_hasher::one_by_one;
    use crate::verity::{Algorithm, BlockSize, HashType, LeafDigests, ReplaceError, Salt};

    fn parameters(
        algorithm: Algorithm,
        hash_type: u32,
        data_block_bytes: u32,
        hash_block_bytes: u32,
        salt: &[u8],
    ) -> Parameters {
        Parameters {
            hash_type: HashType::try_from(hash_type).unwrap(),
            algorithm,
            data_block_size: BlockSize::try_from(data_block_bytes).unwrap(),
            hash_block_size: BlockSize::try_from(hash_block_bytes).unwrap(),
            salt: Salt::try_from(salt).unwrap(),
        }
    }

    fn build(parameters: &Parameters, data: &[u8]) -> HashTree {
        let mut builder = TreeBuilder::new(parameters);
        builder.update(data);
        builder.finish().unwrap()
    }

    fn written(tree: &HashTree) -> Vec<u8> {
        let mut bytes = Vec::new();
        tree.write_to(&mut bytes).unwrap();
        bytes
    }

    /// Is the rules of a tree in the fewest lines: everything in memory, one block at a time.
    fn reference(parameters: &Parameters, data: &[u8]) -> (Vec<u8>, Vec<u8>) {
        let Parameters { hash_type, algorithm, data_block_size, hash_block_size, salt } =
            parameters;
        let block_digests = |bytes: &[u8], block_bytes: usize| -> Vec<Vec<u8>> {
            let digest = |block: &[u8]| {
                let mut message = block.to_vec();
                message.resize(block_bytes, 0);
                match hash_type {
                    HashType::ChromeOs => message.extend_from_slice(salt.as_bytes()),
                    HashType::Normal => {
                        message.splice(..0, salt.as_bytes().to_vec()).for_each(drop)
                    }
                }
                let mut digest = vec![0; algorithm.digest_bytes()];
                one_by_one(*algorithm, &[], message.len(), &[]).hash_blocks(&message, &mut digest);
                digest
            };
            bytes.chunks(block_bytes).map(digest).collect()
        };

        let hash_block_bytes = hash_block_size.bytes() as usize;
        let mut tree = Vec::new();
        let mut digests = block_digests(data, data_block_size.bytes() as usize);
        while digests.len() > 1 {
            let per_block = 1 << (hash_block_bytes / digests[0].len()).ilog2();
            let mut level = Vec::new();
            for block in digests.chunks(per_block) {
                for digest in block {
                    level.extend_from_slice(digest);
                    if *hash_type == HashType::Normal {
                        level.resize(level.len().next_multiple_of(hash_block_bytes / per_block), 0);
                    }
                }
                level.resize(level.len().next_multiple_of(hash_block_bytes), 0);
            }
            digests = block_digests(&level, hash_block_bytes);
            level.extend_from_slice(&tree);
            tree = level;
        }
        (digests[0].to_vec(), tree)
    }

    #[test]
    fn trees_are_those_of_veritysetup() {
        let zeros = "00".repeat(32);
        let counting = hex::encode((0..32).collect::<Vec<u8>>());
        for line in VECTORS.lines() {
            let line = line.replace("ZEROS", &zeros).replace("COUNTING", &counting);
            let words: Vec<_> = line.split(' ').collect();
            let number = |word: usize| words[word].parse::<u32>().unwrap();
            let parameters = Parameters {
                hash_type: HashType::try_from(number(1)).unwrap(),
                algorithm: words[0].parse().unwrap(),
                data_block_size: BlockSize::try_from(number(2)).unwrap(),
                hash_block_size: BlockSize::try_from(number(3)).unwrap(),
                salt: words[5].parse().unwrap(),
            };
            let data: Vec<u8> = (0..number(4))
                .flat_map(|block| block.to_le_bytes().repeat(number(2) as usize / 4))
                .collect();
            let built = build(&parameters, &data);
            assert_eq!(built.root_hash().to_string(), words[6], "{line}");
            assert_eq!(built.geometry().hash_blocks(), u64::from(number(7)), "{line}");
            assert_eq!(hex::encode(&Sha256::digest(written(&built))[..8]), words[8], "{line}");
        }
    }

    #[test]
    fn trees_are_right_around_full_blocks_and_batches() {
        let parameters = parameters(Algorithm::Sha256, 1, 4096, 4096, &[0; 32]);
        for blocks in [1, 2, 31, 32, 33, 127, 128, 129, 16_384, 16_385] {
            let data: Vec<u8> = (0..blocks * 4096).map(|place| (place / 4093) as u8).collect();
            let (root_hash, tree) = reference(&parameters, &data);
            let built = build(&parameters, &data);
            assert_eq!(built.root_hash().as_bytes(), root_hash, "{blocks}");
            assert!(written(&built) == tree, "{blocks}");
            let mut hashed_bytes = 0;
            let on_progress = |bytes| {
                hashed_bytes += bytes;
                ControlFlow::Continue(())
            };
            let at_once = HashTree::of(&data[..], blocks as u64, &parameters, on_progress).unwrap();
            assert!(written(&at_once) == tree, "{blocks}");
            assert_eq!(at_once.root_hash(), built.root_hash());
            assert_eq!(hashed_bytes, data.len() as u64);
            assert_eq!(built.geometry().tree_bytes(), tree.len() as u64, "{blocks}");
        }
    }

    #[test]
    fn whoever_does_not_want_the_tree_gets_none() {
        let data = vec![0; 8 << 20];
        let mut calls = 0;
        let error = HashTree::of(&data[..], 2048, &Parameters::with_salt(Salt::EMPTY), |_| {
            calls += 1;
            if calls == 2 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        });
        assert!(matches!(error, Err(DataError::Cancelled)));
        assert_eq!(calls, 2);
    }

    #[test]
    fn a_tree_over_nothing_is_refused() {
        let builder = TreeBuilder::new(&Parameters::with_salt(Salt::EMPTY));
        assert_eq!(builder.finish().err(), Some(GeometryError::NoData));
    }

    #[test]
    fn replacements_that_do_not_fit_are_refused() {
        let parameters = parameters(Algorithm::Sha256, 1, 512, 512, &[]);
        for (blocks, end) in [(3, 3), (16, 16), (40, 16)] {
            let mut path = build(&parameters, &vec![0; blocks * 512]).path;
            let before = path.root_hash().clone();
            for index in [end, u64::MAX] {
                assert_eq!(
                    path.replace_block(index, &[0; 512]),
                    Err(ReplaceError::NotOnPath { index, end })
                );
            }
            assert_eq!(
                path.replace_block(0, &[0; 511]),
                Err(ReplaceError::Length { expected: BlockSize::B512, found_bytes: 511 })
            );
            assert_eq!(*path.root_hash(), before);
            path.replace_block(end - 1, &[0; 512]).unwrap();
            assert_eq!(*path.root_hash(), before, "the block was the same before");
        }
    }

    /// Gives parameters with small hash blocks, so that little data makes many levels.
    fn any_parameters() -> impl Strategy<Value = Parameters> {
        (
            proptest::sample::select(&Algorithm::ALL[..]),
            0_u32..2,
            9_u32..12,
            9_u32..12,
            proptest::collection::vec(any::<u8>(), 0..=256),
        )
            .prop_map(|(algorithm, hash_type, data_shift, hash_shift, salt)| {
                parameters(algorithm, hash_type, 1 << data_shift, 1 << hash_shift, &salt)
            })
    }

    /// Gives data of a length that is often at the edge of a level, and the cuts in it.
    fn any_data() -> impl Strategy<Value = (Vec<u8>, Vec<usize>)> {
        let length = prop_oneof![proptest::sample::select(&EDGES[..]), 1_usize..400_000];
        (length, any::<u64>()).prop_flat_map(|(length, seed)| {
            let data: Vec<u8> = (0..length as u64)
                .map(|place| (place.wrapping_mul(seed | 1) >> 24) as u8)
                .collect();
            (Just(data), proptest::collection::vec(0..=length, 0..12))
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn trees_do_not_depend_on_how_the_data_is_cut(
            parameters in any_parameters(),
            (data, mut cuts) in any_data(),
        ) {
            cuts.push(data.len());
            cuts.sort_unstable();
            let mut builder = TreeBuilder::new(&parameters);
            let mut start = 0;
            for end in cuts {
                builder.write_all(&data[start..end]).unwrap();
                start = end;
            }
            let built = builder.finish().unwrap();
            let (root_hash, tree) = reference(&parameters, &data);
            prop_assert_eq!(built.root_hash().as_bytes(), root_hash);
            prop_assert!(written(&built) == tree);
        }

        #[test]
        fn data_put_behind_the_other_gives_the_tree_of_both(
            parameters in any_parameters(),
            (data, cuts) in any_data(),
        ) {
            let block_bytes = parameters.data_block_size.bytes() as usize;
            let cut = cuts.first().copied().unwrap_or(0);
            let (before, behind) = data.split_at(cut);
            let mut digests = LeafDigests::new(&parameters, &std::env::temp_dir());
            behind.chunks(100_000).try_for_each(|piece| digests.update(piece)).unwrap();
            let mut builder = TreeBuilder::new(&parameters);
            builder.update(before);
            let mut sink = in_memory(&mut builder.levels, builder.hash_block_bytes);
            builder.hasher.append(digests, &mut sink).unwrap();
            drop(sink);
            let mut both = before.to_vec();
            both.resize(cut.next_multiple_of(block_bytes), 0);
            both.extend_from_slice(behind);
            let (built, expected) = (builder.finish().unwrap(), build(&parameters, &both));
            prop_assert_eq!(built.root_hash(), expected.root_hash());
            prop_assert!(written(&built) == written(&expected));
        }

        #[test]
        fn a_replaced_block_gives_the_path_of_the_changed_data(
            parameters in any_parameters(),
            (mut data, _) in any_data(),
            place in any::<proptest::sample::Index>(),
            filling in any::<u8>(),
        ) {
            let block_bytes = parameters.data_block_size.bytes() as usize;
            data.resize(data.len().next_multiple_of(block_bytes), 0);
            let tree = build(&parameters, &data);
            let per_block = tree.geometry().digests_per_block() as usize;
            let index = place.index((data.len() / block_bytes).min(per_block));
            let mut path = tree.path;
            path.replace_block(index as u64, &vec![filling; block_bytes]).unwrap();
            data[index * block_bytes..][..block_bytes].fill(filling);
            let expected = build(&parameters, &data).path;
            prop_assert_eq!(path.root_hash(), expected.root_hash());
            prop_assert!(path.first_blocks().eq(expected.first_blocks()));
        }
    }

    /// Lengths around full blocks and full levels of the smallest blocks, and beyond two batches.
    const EDGES: [usize; 9] =
        [1, 511, 512, 513, 8 * 512, 16 * 512 + 1, 256 * 512, 257 * 512, 300_000];

    /// Each line: algorithm, hash type, size of data and of hash blocks, number of data blocks,
    /// salt; then what `veritysetup` 2.6.1 makes of data whose block `i` repeats `i` as a 32-bit
    /// little-endian number: root hash, number of hash blocks, first bytes of the tree's SHA-256.
    const VECTORS: &str = "\
sha256 1 4096 4096 1 - ad7facb2586fc6e966c004d7d1d16b024f5805ff7cb47c7a85dabd8b48892ca7 0 e3b0c44298fc1c14
sha256 1 4096 4096 2 - fe081ebb4d3b623191033e4c9493ea5ad5cee59080a09afd89a4c1a5ae8ce699 1 fe081ebb4d3b6231
sha256 1 4096 4096 129 - a4775aa2f6a70f893550e19227f60ae929c00bdf832531ae81731d34f751a502 3 8736218e37ce34e1
sha256 1 4096 4096 129 ZEROS 666f334a35e4d664a25c98c8fa88102f2581df8860ab815413856a9381674dc0 3 d64619b29d8d3a6b
sha256 1 4096 4096 16385 COUNTING b439e96c0c64d937c58d3703498b6ab3c5eb12e418d7d895fbca032e243c0ed4 132 18563cb154adea29
sha256 0 4096 4096 129 COUNTING c09c2ad4e3d838c3fb0094f83648b53008e0e0a5a6e3e256a4b0b407d410b597 3 9c644b241757d90d
sha512 1 4096 4096 65 COUNTING 62c659c4e59b041d33ac25727f0231776b8706b80ee44a391b06353f54c10cdb111c9ab88764b40f244f37d4cf01ab5c7731352c4f9fe1d18f4471c1fe671aca 3 53ea142551c5215b
sha384 1 4096 4096 129 COUNTING 8e008abdca46641d9c2cec149b6a11df0c18af1be1bdd0c9c43c7140f54c043014ab3a1bdb9c8ba405d0799bf29fa147 4 491a1427efc44f89
sha256 1 512 512 17 ZEROS 7a62b220c589cccb243f3e4dca4a11797fd5ee49ffd928a886a594cd999ba703 3 30f6921b9a4d660d
sha256 1 512 4096 129 ZEROS cc3140930d4ea1a894d73ffa94d84d9dc33c94a782987220dc7248dbdfaff8dc 3 66b4abf4e5e9cf95";
}
