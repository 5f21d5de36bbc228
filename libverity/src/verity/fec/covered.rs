//! The blocks that parity is over, wherever they lie.

use super::{FecError, FecLayout};
use crate::verity::ReadAt;

/// Is all blocks that are covered: those of the data, then those of another file or device, or of
/// another place on the same one, from the start of the tree on.
#[derive(Debug)]
pub struct Covered<'a, D: ?Sized, H: ?Sized> {
    /// What the data are read from, from byte 0 on.
    pub data: &'a D,
    /// What the tree is read from.
    pub hash_device: &'a H,
    /// Where the tree starts on it.
    pub tree_offset_bytes: u64,
}

impl<D: ReadAt + ?Sized, H: ReadAt + ?Sized> Covered<'_, D, H> {
    /// Reads the blocks from `first` on; those past the end are zeros.
    pub(super) fn read(
        &self,
        layout: &FecLayout,
        first: u64,
        buffer: &mut [u8],
    ) -> Result<(), FecError> {
        let block_bytes = u64::from(layout.block_size().bytes());
        let end = first + buffer.len() as u64 / block_bytes;
        let length = |blocks: u64| (blocks * block_bytes) as usize;
        let of_data = length(end.min(layout.data_blocks()).saturating_sub(first));
        let (data, rest) = buffer.split_at_mut(of_data);
        if !data.is_empty() {
            self.data
                .read_exact_at(data, first * block_bytes)
                .map_err(|source| FecError::Read { block: first, source })?;
        }
        let first = first.max(layout.data_blocks());
        let of_tree = length(end.min(layout.blocks()).saturating_sub(first));
        let (tree, zeros) = rest.split_at_mut(of_tree);
        if !tree.is_empty() {
            let offset_bytes = (first - layout.data_blocks()) * block_bytes;
            self.hash_device
                .read_exact_at(tree, self.tree_offset_bytes + offset_bytes)
                .map_err(|source| FecError::Read { block: first, source })?;
        }
        zeros.fill(0);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::verity::{BlockSize, Geometry, Parameters, Salt};

    #[test]
    fn data_tree_and_zeros_follow_each_other() {
        let parameters = Parameters {
            data_block_size: BlockSize::B512,
            hash_block_size: BlockSize::B512,
            ..Parameters::with_salt(Salt::EMPTY)
        };
        let geometry = Geometry::new(&parameters, 5).unwrap();
        let layout = FecLayout::new(&parameters, &geometry, 3, Default::default()).unwrap();
        let numbered = |blocks: std::ops::Range<u8>| -> Vec<u8> {
            blocks.flat_map(|block| [block; 512]).collect()
        };
        let (data, hash_device) = (numbered(1..6), numbered(4..10));
        let covered =
            Covered { data: &data[..], hash_device: &hash_device[..], tree_offset_bytes: 1024 };
        let all = [numbered(1..6), numbered(6..9), vec![0; 12 * 512]].concat();
        for first in 0..12_usize {
            for count in 1..8 {
                let mut buffer = vec![0xff; count * 512];
                covered.read(&layout, first as u64, &mut buffer).unwrap();
                assert!(buffer == all[first * 512..][..count * 512], "{first} {count}");
            }
        }
    }
}
