//! Trees that are kept: read back, and brought up to date where data have changed.

use std::collections::BTreeSet;
use std::io::Read;

use super::HashTree;
use crate::digest::RootHash;
use crate::verity::block_hasher::block_hasher;
use crate::verity::leaf_digests::{BATCH_BYTES, hash};
use crate::verity::{
    BlockSize, FirstPath, Geometry, GeometryError, Parameters, ReadAt, Verifier, VerifyError,
};

impl HashTree {
    /// Reads a tree as [`write_to`](Self::write_to) has written it, and checks every hash block against
    /// the root hash.
    ///
    /// # Errors
    ///
    /// Fails if there can be no such tree, it cannot be read, or any hash block is not what the root
    /// hash says.
    pub fn read(
        parameters: &Parameters,
        data_blocks: u64,
        root_hash: &RootHash,
        tree: &mut impl Read,
    ) -> Result<Self, UpdateError> {
        let verifier = Verifier::new(parameters, data_blocks, root_hash)?;
        let geometry = verifier.geometry().clone();
        let mut levels = vec![Vec::new(); geometry.levels().len()];
        let is_right = verifier.read_tree(tree, |level, block| {
            levels[level].extend_from_slice(block);
        })?;
        if !is_right {
            return Err(UpdateError::NotOfRootHash { root_hash: root_hash.clone() });
        }
        let first_blocks = first_blocks(&levels, &geometry);
        let path =
            FirstPath::from_parts(parameters.clone(), geometry, first_blocks, root_hash.clone());
        Ok(Self { path, levels })
    }

    /// Hashes the data blocks in `changed` again and the hash blocks on their paths, and nothing else;
    /// returns how many hash blocks that were.
    ///
    /// ```
    /// use libverity::verity::{HashTree, Parameters, Salt};
    ///
    /// let parameters = Parameters::with_salt(Salt::EMPTY);
    /// let mut data = vec![7; 1000 * 4096];
    /// let go_on = |_| std::ops::ControlFlow::Continue(());
    /// let mut tree = HashTree::of(&data[..], 1000, &parameters, go_on)?;
    /// data[999 * 4096] = 8;
    /// assert_eq!(tree.update(&data[..], [999])?, 2);
    /// let whole = HashTree::of(&data[..], 1000, &parameters, go_on)?;
    /// assert_eq!(tree.root_hash(), whole.root_hash());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Fails if there is no such data block, or one cannot be read; the tree is as it was then.
    pub fn update<D: ReadAt + ?Sized>(
        &mut self,
        data: &D,
        changed: impl IntoIterator<Item = u64>,
    ) -> Result<u64, UpdateError> {
        let changed: BTreeSet<u64> = changed.into_iter().collect();
        let data_blocks = self.geometry().data_blocks();
        if let Some(&index) = changed.range(data_blocks..).next() {
            return Err(UpdateError::NoSuchBlock { index, data_blocks });
        }
        let size = self.parameters().data_block_size;
        let block_bytes = u64::from(size.bytes());
        let mut read = |index: u64, block: &mut [u8]| {
            let offset_bytes = index * block_bytes;
            data.read_exact_at(block, offset_bytes)
                .map_err(|source| UpdateError::Read { offset_bytes, source })
        };
        let mut digests = digests_of(self.parameters(), size, &changed, &mut read)?;

        let mut hashed = 0;
        let (mut levels, slots) =
            (std::mem::take(&mut self.levels), self.geometry().slots().clone());
        let digest_bytes = self.parameters().algorithm.digest_bytes();
        let mut changed = changed;
        for level in &mut levels {
            for (&index, digest) in changed.iter().zip(digests.chunks_exact(digest_bytes)) {
                level[slots.digest_range(index as usize)].copy_from_slice(digest);
            }
            changed = changed.iter().map(|index| index / slots.per_block() as u64).collect();
            hashed += changed.len() as u64;
            let size = slots.hash_block_size();
            let mut read = |index: u64, block: &mut [u8]| {
                let start = index as usize * block.len();
                block.copy_from_slice(&level[start..start + block.len()]);
                Ok(())
            };
            digests = digests_of(self.parameters(), size, &changed, &mut read)?;
        }
        self.levels = levels;
        if !digests.is_empty() {
            self.path = FirstPath::from_parts(
                self.parameters().clone(),
                self.geometry().clone(),
                first_blocks(&self.levels, self.geometry()),
                RootHash::from_bytes(digests),
            );
        }
        Ok(hashed)
    }
}

/// Says why a tree cannot be read back or brought up to date.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum UpdateError {
    /// There can be no such tree.
    #[error(transparent)]
    Geometry(#[from] GeometryError),
    /// A block that has changed is none of the tree's.
    #[error("there is no data block {index}, but {data_blocks} in all")]
    NoSuchBlock {
        /// The block.
        index: u64,
        /// The number of data blocks.
        data_blocks: u64,
    },
    /// The tree is not the one of the root hash.
    #[error("the hash tree is not the one of the root hash {root_hash}")]
    NotOfRootHash {
        /// The root hash.
        root_hash: RootHash,
    },
    /// A data block cannot be read.
    #[error("the data cannot be read at byte {offset_bytes}")]
    Read {
        /// Where the failed read started, from the start of the data.
        offset_bytes: u64,
        /// Why.
        source: std::io::Error,
    },
    /// The tree cannot be read.
    #[error(transparent)]
    Verify(#[from] VerifyError),
}

/// Hashes some blocks, as many at a time as fill the lanes of the processor.
fn digests_of(
    parameters: &Parameters,
    size: BlockSize,
    indices: &BTreeSet<u64>,
    read: &mut impl FnMut(u64, &mut [u8]) -> Result<(), UpdateError>,
) -> Result<Vec<u8>, UpdateError> {
    let hasher = block_hasher(parameters, size);
    let block_bytes = size.bytes_usize();
    let indices: Vec<u64> = indices.iter().copied().collect();
    let (mut all, mut digests, mut blocks) = (Vec::new(), Vec::new(), Vec::new());
    for batch in indices.chunks((BATCH_BYTES / block_bytes).max(1)) {
        blocks.resize(batch.len() * block_bytes, 0);
        for (&index, block) in batch.iter().zip(blocks.chunks_exact_mut(block_bytes)) {
            read(index, block)?;
        }
        hash(&*hasher, &blocks, parameters.algorithm.digest_bytes(), size, &mut digests);
        all.extend_from_slice(&digests);
    }
    Ok(all)
}

fn first_blocks(levels: &[Vec<u8>], geometry: &Geometry) -> Vec<Vec<u8>> {
    let block_bytes = geometry.hash_block_size().bytes_usize();
    levels.iter().map(|level| level[..block_bytes].to_vec()).collect()
}

#[cfg(test)]
mod tests {
    use std::ops::ControlFlow;

    use proptest::prelude::*;

    use super::*;
    use crate::verity::Salt;

    fn small_blocks() -> Parameters {
        Parameters {
            data_block_size: BlockSize::B512,
            hash_block_size: BlockSize::B512,
            ..Parameters::with_salt(Salt::try_from(&[5; 16][..]).unwrap())
        }
    }

    fn tree_of(data: &[u8]) -> HashTree {
        let blocks = data.len() as u64 / 512;
        HashTree::of(data, blocks, &small_blocks(), |_| ControlFlow::Continue(())).unwrap()
    }

    fn written(tree: &HashTree) -> Vec<u8> {
        let mut bytes = Vec::new();
        tree.write_to(&mut bytes).unwrap();
        bytes
    }

    #[test]
    fn only_what_hangs_on_a_block_is_hashed_again() {
        let mut data: Vec<u8> = (0..1000 * 512).map(|place| (place / 509) as u8).collect();
        let mut tree = tree_of(&data);
        for (changed, hash_blocks) in
            [(&[][..], 0), (&[0], 3), (&[15, 0], 3), (&[16, 0], 4), (&[999, 0], 5)]
        {
            for &block in changed {
                data[block as usize * 512] ^= 0xff;
            }
            assert_eq!(tree.update(&data[..], changed.iter().copied()).unwrap(), hash_blocks);
            let whole = tree_of(&data);
            assert_eq!(tree.root_hash(), whole.root_hash());
            assert!(written(&tree) == written(&whole));
        }
    }

    #[test]
    fn what_is_not_told_is_not_noticed() {
        let mut data = vec![1; 40 * 512];
        let mut tree = tree_of(&data);
        let before = tree.root_hash().clone();
        data[0] = 2;
        data[600] = 2;
        tree.update(&data[..], [1]).unwrap();
        assert_ne!(*tree.root_hash(), before);
        assert_ne!(tree.root_hash(), tree_of(&data).root_hash());
    }

    #[test]
    fn blocks_that_are_not_there_leave_the_tree_as_it_was() {
        let data = vec![1; 40 * 512];
        let mut tree = tree_of(&data);
        let before = (tree.root_hash().clone(), written(&tree));
        let error = tree.update(&data[..], [3, 40]).unwrap_err();
        assert!(matches!(error, UpdateError::NoSuchBlock { index: 40, data_blocks: 40 }));
        let error = tree.update(&data[..39 * 512], [3, 39]).unwrap_err();
        assert!(matches!(error, UpdateError::Read { offset_bytes: 19_968, .. }), "{error:?}");
        assert_eq!((tree.root_hash().clone(), written(&tree)), before);
    }

    #[test]
    fn a_single_block_has_its_digest_for_a_root_hash() {
        let mut tree = tree_of(&[1; 512]);
        assert_eq!(tree.update(&[2; 512][..], [0]).unwrap(), 0);
        assert_eq!(tree.root_hash(), tree_of(&[2; 512]).root_hash());
    }

    #[test]
    fn a_tree_is_read_back_if_it_is_the_one_of_the_root_hash() {
        let data: Vec<u8> = (0..300 * 512).map(|place| (place / 509) as u8).collect();
        let tree = tree_of(&data);
        let bytes = written(&tree);
        let read =
            |bytes: &[u8]| HashTree::read(&small_blocks(), 300, tree.root_hash(), &mut &bytes[..]);
        let back = read(&bytes).unwrap();
        assert!(written(&back) == bytes && back.root_hash() == tree.root_hash());
        for place in (0..bytes.len()).step_by(511) {
            let mut changed = bytes.clone();
            changed[place] ^= 1;
            let error = read(&changed).unwrap_err();
            assert!(matches!(error, UpdateError::NotOfRootHash { .. }), "{place}");
        }
        let error = read(&bytes[1..]).unwrap_err();
        assert!(matches!(error, UpdateError::NotOfRootHash { .. } | UpdateError::Verify(_)));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]

        #[test]
        fn an_update_gives_the_tree_of_the_changed_data(
            blocks in 1_usize..600,
            changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..40),
        ) {
            let mut data: Vec<u8> = (0..blocks * 512).map(|place| (place / 509) as u8).collect();
            let mut tree = tree_of(&data);
            let mut changed = Vec::new();
            for (block, filling) in changes {
                let block = block.index(blocks);
                data[block * 512..][..512].fill(filling);
                changed.push(block as u64);
            }
            tree.update(&data[..], changed).unwrap();
            let whole = tree_of(&data);
            prop_assert_eq!(tree.root_hash(), whole.root_hash());
            prop_assert!(written(&tree) == written(&whole));
        }
    }
}
