//! Hash trees, built while the data streams by.

use std::io::{self, Write};

use super::block_hasher::{BlockHasher, block_hasher};
use super::geometry::Slots;
use super::{BlockSize, Geometry, GeometryError, Parameters};
use crate::digest::RootHash;

/// Builds a hash tree from data that arrives in pieces of any length.
///
/// The data is hashed as it comes and not kept. What is kept are the digests of data blocks, 32
/// bytes for every 4096 with the usual parameters: 16 MiB for 2 GiB.
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
    parameters: Parameters,
    data_hasher: Box<dyn BlockHasher>,
    leaves: LevelBytes,
    /// Data not yet hashed, always less than a batch.
    pending: Vec<u8>,
    batch_bytes: usize,
}

impl TreeBuilder {
    /// Starts a tree over no data.
    pub fn new(parameters: &Parameters) -> Self {
        let batch_bytes = BATCH_BYTES.max(parameters.data_block_size.bytes_usize());
        Self {
            parameters: parameters.clone(),
            data_hasher: block_hasher(parameters, parameters.data_block_size),
            leaves: LevelBytes::new(Slots::new(parameters)),
            pending: Vec::with_capacity(batch_bytes),
            batch_bytes,
        }
    }

    /// Takes the next bytes of the data.
    ///
    /// Pieces of 128 KiB and more are hashed where they lie; smaller ones are gathered first, so
    /// that every lane of the processor has a block to hash.
    pub fn update(&mut self, mut data: &[u8]) {
        if !self.pending.is_empty() {
            let (gathered, rest) =
                data.split_at(data.len().min(self.batch_bytes - self.pending.len()));
            self.pending.extend_from_slice(gathered);
            if self.pending.len() < self.batch_bytes {
                return;
            }
            self.leaves.append_digests(&*self.data_hasher, &self.pending, self.block_bytes());
            self.pending.clear();
            data = rest;
        }
        if data.len() >= self.batch_bytes {
            let (blocks, rest) = data.split_at(data.len() - data.len() % self.block_bytes());
            self.leaves.append_digests(&*self.data_hasher, blocks, self.block_bytes());
            data = rest;
        }
        self.pending.extend_from_slice(data);
    }

    /// Puts `block` in the place of the data block `index`, which was already given in full.
    ///
    /// # Errors
    ///
    /// Fails if there is no such block yet, or `block` is not exactly one block long.
    pub fn replace_block(&mut self, index: u64, block: &[u8]) -> Result<(), ReplaceError> {
        let hashed_blocks = self.leaves.count;
        let data_blocks = hashed_blocks + self.pending.len() / self.block_bytes();
        let index = checked_index(index, data_blocks)?;
        check_block(block, self.parameters.data_block_size)?;
        if index < hashed_blocks {
            self.leaves.set_digest(index, &digest_of(&*self.data_hasher, &self.parameters, block));
        } else {
            let start = (index - hashed_blocks) * self.block_bytes();
            self.pending[start..start + block.len()].copy_from_slice(block);
        }
        Ok(())
    }

    /// Puts the data of another builder with the same parameters before what this one was given,
    /// filled up with zeros to a block.
    ///
    /// So data can be hashed while it is not known yet how much will precede it.
    pub fn prepend(&mut self, mut before: Self) {
        debug_assert_eq!(before.parameters, self.parameters, "one tree has one set of parameters");
        before.hash_pending();
        self.leaves.prepend(&before.leaves);
    }

    /// Fills the last block up with zeros and works out the levels above the leaves.
    ///
    /// # Errors
    ///
    /// Fails if there was no data.
    pub fn finish(mut self) -> Result<HashTree, GeometryError> {
        self.hash_pending();
        let geometry = Geometry::new(&self.parameters, self.leaves.count as u64)?;
        let hash_block_bytes = self.parameters.hash_block_size.bytes_usize();
        let hash_hasher = block_hasher(&self.parameters, self.parameters.hash_block_size);
        let mut levels = Vec::with_capacity(geometry.levels().len());
        let mut top = self.leaves;
        while top.count > 1 {
            top.fill_last_block();
            let mut above = LevelBytes::new(geometry.slots().clone());
            above.append_digests(&*hash_hasher, &top.bytes, hash_block_bytes);
            levels.push(top);
            top = above;
        }
        let root_hash = RootHash::from_bytes(top.digest(0));
        Ok(HashTree { parameters: self.parameters, geometry, levels, root_hash })
    }

    fn hash_pending(&mut self) {
        self.pending.resize(self.pending.len().next_multiple_of(self.block_bytes()), 0);
        self.leaves.append_digests(&*self.data_hasher, &self.pending, self.block_bytes());
        self.pending.clear();
    }

    fn block_bytes(&self) -> usize {
        self.parameters.data_block_size.bytes_usize()
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
///
/// A clone copies the hash blocks, less than a hundredth of the data. Images that differ in one
/// block share all work but one path: clone the tree and [replace](Self::replace_block) the block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HashTree {
    parameters: Parameters,
    geometry: Geometry,
    /// From the leaves up.
    levels: Vec<LevelBytes>,
    root_hash: RootHash,
}

impl HashTree {
    /// Returns the parameters it was built with.
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

    /// Puts `block` in the place of the data block `index` and hashes the path above it again:
    /// one block in each level.
    ///
    /// # Errors
    ///
    /// Fails if there is no such block, or `block` is not exactly one block long.
    pub fn replace_block(&mut self, index: u64, block: &[u8]) -> Result<(), ReplaceError> {
        let mut index = checked_index(index, self.geometry.data_blocks() as usize)?;
        check_block(block, self.parameters.data_block_size)?;

        let data_hasher = block_hasher(&self.parameters, self.parameters.data_block_size);
        let hash_hasher = block_hasher(&self.parameters, self.parameters.hash_block_size);
        let mut digest = digest_of(&*data_hasher, &self.parameters, block);
        for level in &mut self.levels {
            level.set_digest(index, &digest);
            index /= self.geometry.slots().per_block();
            let start = index * self.parameters.hash_block_size.bytes_usize();
            let hash_block = &level.bytes[start..][..self.parameters.hash_block_size.bytes_usize()];
            digest = digest_of(&*hash_hasher, &self.parameters, hash_block);
        }
        self.root_hash = RootHash::from_bytes(digest);
        Ok(())
    }

    /// Writes the hash blocks as they lie on disk, top level first: exactly
    /// [`Geometry::tree_bytes`].
    ///
    /// # Errors
    ///
    /// Fails if `output` does.
    pub fn write_to(&self, output: &mut impl Write) -> io::Result<()> {
        self.levels.iter().rev().try_for_each(|level| output.write_all(&level.bytes))
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
    /// The tree has no such block, or not yet.
    #[error("block {index} cannot be replaced: there are only {data_blocks} blocks")]
    NoSuchBlock {
        /// The block to be replaced.
        index: u64,
        /// The number of complete data blocks so far.
        data_blocks: u64,
    },
}

/// Is one level as it lies on disk, or the part of it that is known.
#[derive(Clone, Debug, PartialEq, Eq)]
struct LevelBytes {
    slots: Slots,
    count: usize,
    bytes: Vec<u8>,
}

impl LevelBytes {
    fn new(slots: Slots) -> Self {
        Self { slots, count: 0, bytes: Vec::new() }
    }

    /// Hashes `blocks`, each of `block_bytes`, and puts their digests into the next slots.
    fn append_digests(&mut self, hasher: &dyn BlockHasher, blocks: &[u8], block_bytes: usize) {
        let new_count = blocks.len() / block_bytes;
        let digest_bytes = self.slots.digest_range(0).len();
        if self.slots.are_gapless() {
            let start = self.bytes.len();
            self.bytes.resize(start + new_count * digest_bytes, 0);
            hasher.hash_blocks(blocks, &mut self.bytes[start..]);
            self.count += new_count;
        } else {
            let mut digests = vec![0; new_count * digest_bytes];
            hasher.hash_blocks(blocks, &mut digests);
            digests.chunks_exact(digest_bytes).for_each(|digest| self.push_digest(digest));
        }
    }

    fn prepend(&mut self, before: &Self) {
        if self.slots.are_gapless() {
            // In place: the digests of an archive of 1 GiB take 64 MiB.
            drop(self.bytes.splice(..0, before.bytes.iter().copied()));
        } else {
            let mut joined = before.clone();
            for index in 0..self.count {
                joined.push_digest(self.digest(index));
            }
            self.bytes = joined.bytes;
        }
        self.count += before.count;
    }

    fn push_digest(&mut self, digest: &[u8]) {
        let range = self.slots.digest_range(self.count);
        self.bytes.resize(range.end, 0);
        self.bytes[range].copy_from_slice(digest);
        self.count += 1;
    }

    fn digest(&self, index: usize) -> &[u8] {
        &self.bytes[self.slots.digest_range(index)]
    }

    fn set_digest(&mut self, index: usize, digest: &[u8]) {
        self.bytes[self.slots.digest_range(index)].copy_from_slice(digest);
    }

    fn fill_last_block(&mut self) {
        let hash_block_bytes = self.slots.hash_block_size().bytes_usize();
        self.bytes.resize(self.bytes.len().next_multiple_of(hash_block_bytes), 0);
    }
}

fn digest_of(hasher: &dyn BlockHasher, parameters: &Parameters, block: &[u8]) -> Vec<u8> {
    let mut digest = vec![0; parameters.algorithm.digest_bytes()];
    hasher.hash_blocks(block, &mut digest);
    digest
}

fn checked_index(index: u64, data_blocks: usize) -> Result<usize, ReplaceError> {
    usize::try_from(index)
        .ok()
        .filter(|&index| index < data_blocks)
        .ok_or(ReplaceError::NoSuchBlock { index, data_blocks: data_blocks as u64 })
}

fn check_block(block: &[u8], expected: BlockSize) -> Result<(), ReplaceError> {
    if block.len() == expected.bytes_usize() {
        Ok(())
    } else {
        Err(ReplaceError::Length { expected, found_bytes: block.len() })
    }
}

/// The least data that is hashed in one go: 32 blocks of 4096 bytes, two for each of 16 lanes,
/// and half of a usual second-level cache at most.
const BATCH_BYTES: usize = 128 * 1024;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use sha2::digest::DynDigest;
    use sha2::{Digest as _, Sha224, Sha256, Sha384, Sha512};

    use super::*;
    use crate::verity::{Algorithm, HashType, Salt};

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
        let block_digests = |bytes: &[u8], block_bytes: usize| -> Vec<Box<[u8]>> {
            let digest = |block: &[u8]| {
                let mut hash: Box<dyn DynDigest> = match algorithm {
                    Algorithm::Sha224 => Box::new(Sha224::new()),
                    Algorithm::Sha256 => Box::new(Sha256::new()),
                    Algorithm::Sha384 => Box::new(Sha384::new()),
                    Algorithm::Sha512 => Box::new(Sha512::new()),
                };
                let mut message = block.to_vec();
                message.resize(block_bytes, 0);
                match hash_type {
                    HashType::ChromeOs => message.extend_from_slice(salt.as_bytes()),
                    HashType::Normal => {
                        message.splice(..0, salt.as_bytes().to_vec()).for_each(drop)
                    }
                }
                hash.update(&message);
                hash.finalize()
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
            assert_eq!(built.geometry().tree_bytes(), tree.len() as u64, "{blocks}");
        }
    }

    #[test]
    fn a_tree_over_nothing_is_refused() {
        let builder = TreeBuilder::new(&Parameters::with_salt(Salt::EMPTY));
        assert_eq!(builder.finish().err(), Some(GeometryError::NoData));
    }

    #[test]
    fn a_block_is_replaced_wherever_it_is() {
        let parameters = parameters(Algorithm::Sha256, 1, 4096, 4096, &[1; 32]);
        // The last whole block and a half are still to be hashed when they are replaced.
        let mut data = vec![5; 33 * 4096 + 2048];
        let mut builder = TreeBuilder::new(&parameters);
        builder.update(&data[..32 * 4096]);
        builder.update(&data[32 * 4096..]);
        for index in [0, 31, 32] {
            data[index * 4096..][..4096].fill(index as u8);
            builder.replace_block(index as u64, &[index as u8; 4096]).unwrap();
        }
        assert_eq!(
            builder.replace_block(33, &[0; 4096]),
            Err(ReplaceError::NoSuchBlock { index: 33, data_blocks: 33 }),
            "the last block is not complete yet"
        );
        assert_eq!(builder.finish().unwrap(), build(&parameters, &data));
    }

    #[test]
    fn replacements_that_do_not_fit_are_refused() {
        let parameters = parameters(Algorithm::Sha256, 1, 4096, 4096, &[]);
        let mut tree = build(&parameters, &[0; 3 * 4096]);
        let before = tree.clone();
        for index in [3, u64::MAX] {
            assert_eq!(
                tree.replace_block(index, &[0; 4096]),
                Err(ReplaceError::NoSuchBlock { index, data_blocks: 3 })
            );
        }
        assert_eq!(
            tree.replace_block(0, &[0; 4095]),
            Err(ReplaceError::Length { expected: BlockSize::B4096, found_bytes: 4095 })
        );
        assert_eq!(tree, before);
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
        fn data_put_before_the_other_gives_the_tree_of_both(
            parameters in any_parameters(),
            (data, cuts) in any_data(),
        ) {
            let block_bytes = parameters.data_block_size.bytes() as usize;
            let cut = cuts.first().copied().unwrap_or(0);
            let (before, behind) = data.split_at(cut);
            let mut builder = TreeBuilder::new(&parameters);
            builder.update(behind);
            let mut first = TreeBuilder::new(&parameters);
            first.update(before);
            builder.prepend(first);
            let mut both = before.to_vec();
            both.resize(cut.next_multiple_of(block_bytes), 0);
            both.extend_from_slice(behind);
            prop_assert_eq!(builder.finish().unwrap(), build(&parameters, &both));
        }

        #[test]
        fn a_replaced_block_gives_the_tree_of_the_changed_data(
            parameters in any_parameters(),
            (mut data, _) in any_data(),
            place in any::<proptest::sample::Index>(),
            filling in any::<u8>(),
        ) {
            let block_bytes = parameters.data_block_size.bytes() as usize;
            data.resize(data.len().next_multiple_of(block_bytes), 0);
            let index = place.index(data.len() / block_bytes);
            let mut tree = build(&parameters, &data);
            tree.replace_block(index as u64, &vec![filling; block_bytes]).unwrap();
            data[index * block_bytes..][..block_bytes].fill(filling);
            prop_assert_eq!(tree, build(&parameters, &data));
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
