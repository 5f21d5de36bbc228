//! Corrupt blocks, found by the hash tree and brought back by the parity.

use std::collections::BTreeMap;
use std::io::{self, Read};
use std::ops::ControlFlow;

use super::round::{CorrectedBlock, RoundDecoder};
use super::{Covered, FecError, FecLayout};
use crate::verity::block_hasher::block_hasher;
use crate::verity::{Fault, FaultyBlock, Parameters, ReadAt, Verifier};

/// Brings corrupt blocks back, each one verified against the root hash before it counts.
///
/// The tree tells which blocks are corrupt, so that as many blocks of a round can be brought back as
/// there are roots. Where that leads nowhere, because blocks are corrupt of which the tree does not
/// tell, or the parity itself is, half as many errors are looked for in any place.
///
/// Hash blocks come first, from the top down: what lies below one is known only when it is right.
///
/// ```
/// use libverity::verity::fec::{Covered, FecLayout, Repairer, Roots, encode};
/// use libverity::verity::{Parameters, Salt, TreeBuilder, Verifier};
///
/// let parameters = Parameters::with_salt(Salt::EMPTY);
/// let mut data = vec![7; 300 * 4096];
/// let mut builder = TreeBuilder::new(&parameters);
/// builder.update(&data);
/// let tree = builder.finish()?;
/// let mut hash_blocks = Vec::new();
/// tree.write_to(&mut hash_blocks)?;
/// let layout = FecLayout::new(&parameters, tree.geometry(), 4, Roots::default())?;
/// let covered = Covered { data: &data[..], hash_device: &hash_blocks[..], tree_offset_bytes: 0 };
/// let mut parity = Vec::new();
/// encode(&layout, &covered, &mut parity, |_| std::ops::ControlFlow::Continue(()))?;
///
/// data[5000] ^= 1;
/// let verifier = Verifier::new(&parameters, 300, tree.root_hash())?;
/// let covered = Covered { data: &data[..], hash_device: &hash_blocks[..], tree_offset_bytes: 0 };
/// let repairer = Repairer::new(&parameters, &verifier, &layout, covered, &parity[..], 0);
/// let mut brought_back = Vec::new();
/// let repaired = repairer.run(|fault, block| {
///     brought_back = block.map(<[u8]>::to_vec).unwrap_or_default();
///     assert_eq!(fault.offset_bytes, 4096);
///     Ok(())
/// })?;
/// assert_eq!((repaired.faults, repaired.blocks, repaired.bytes), (1, 1, 1));
/// assert_eq!(brought_back, [7; 4096]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Repairer<'a, D: ?Sized, H: ?Sized, P: ?Sized> {
    parameters: &'a Parameters,
    verifier: &'a Verifier,
    layout: &'a FecLayout,
    covered: Covered<'a, D, H>,
    parity: &'a P,
    parity_offset_bytes: u64,
}

/// Says what was corrupt, and how much of it came back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Repaired {
    /// The number of corrupt blocks that were found.
    pub faults: u64,
    /// The number of those that came back.
    pub blocks: u64,
    /// How many bytes of them were wrong.
    pub bytes: u64,
}

impl Repaired {
    /// Tells whether every corrupt block came back.
    pub fn is_complete(&self) -> bool {
        self.faults == self.blocks
    }

    /// Counts one more corrupt block, which came back or did not.
    fn add(&mut self, block: Option<&CorrectedBlock>) {
        self.faults += 1;
        if let Some(block) = block {
            self.blocks += 1;
            self.bytes += block.corrected_bytes;
        }
    }
}

impl<'a, D, H, P> Repairer<'a, D, H, P>
where
    D: ReadAt + ?Sized,
    H: ReadAt + ?Sized,
    P: ReadAt + ?Sized,
{
    /// Prepares to bring back blocks of `covered`, whose root hash `verifier` has, with the parity
    /// that starts at `parity_offset_bytes`.
    pub fn new(
        parameters: &'a Parameters,
        verifier: &'a Verifier,
        layout: &'a FecLayout,
        covered: Covered<'a, D, H>,
        parity: &'a P,
        parity_offset_bytes: u64,
    ) -> Self {
        Self { parameters, verifier, layout, covered, parity, parity_offset_bytes }
    }

    /// Verifies data and tree, and calls `on_block` for each corrupt block: with its bytes as the root
    /// hash has them, or with none if it does not come back. `on_block` may write them at once.
    ///
    /// # Errors
    ///
    /// Fails if something cannot be read, `on_block` fails, or more blocks are corrupt than the
    /// parity could bring back at best, or than [`MAX_FAULTS`](super::MAX_FAULTS).
    pub fn run(
        &self,
        mut on_block: impl FnMut(&Fault, Option<&[u8]>) -> io::Result<()>,
    ) -> Result<Repaired, FecError> {
        let mut repaired = Repaired::default();
        // Hash blocks that came back, by their place in the tree in bytes.
        let mut hash_blocks = BTreeMap::new();
        loop {
            let faults = self.faults(&hash_blocks)?;
            let is_hash = |fault: &&Fault| matches!(fault.block, FaultyBlock::Hash { .. });
            let mut came_back = 0;
            self.correct(faults.iter().filter(is_hash), |fault, corrected| {
                let Some(block) = corrected else { return Ok(()) };
                on_block(fault, Some(&block.bytes))?;
                repaired.add(Some(&block));
                hash_blocks.insert(fault.offset_bytes, block.bytes);
                came_back += 1;
                Ok(())
            })?;
            if came_back > 0 {
                continue;
            }
            // Nothing more of the tree comes back, so what is known of the data is all there is.
            for fault in faults.iter().filter(is_hash) {
                on_block(fault, None).map_err(|source| FecError::Write { source })?;
                repaired.add(None);
            }
            self.correct(faults.iter().filter(|fault| !is_hash(fault)), |fault, corrected| {
                on_block(fault, corrected.as_ref().map(|block| block.bytes.as_slice()))?;
                repaired.add(corrected.as_ref());
                Ok(())
            })?;
            return Ok(repaired);
        }
    }

    /// Finds what is corrupt, with the hash blocks that came back in their places.
    fn faults(&self, hash_blocks: &BTreeMap<u64, Vec<u8>>) -> Result<Vec<Fault>, FecError> {
        let limit = self.layout.parity_blocks().min(MAX_FAULTS);
        let mut faults = Vec::new();
        let mut tree = PatchedTree {
            covered: &self.covered,
            hash_blocks,
            offset_bytes: 0,
            end_bytes: self.verifier.geometry().tree_bytes(),
        };
        let on_fault = |fault| {
            faults.push(fault);
            if faults.len() as u64 > limit {
                ControlFlow::Break(())
            } else {
                ControlFlow::Continue(())
            }
        };
        let go_on = |_| ControlFlow::Continue(());
        self.verifier.verify_at(self.covered.data, &mut tree, on_fault, go_on)?;
        if faults.len() as u64 > limit {
            return Err(FecError::TooManyFaults { limit });
        }
        Ok(faults)
    }

    /// Decodes each round that has one of these faults, and hands each of them to `take` with its block
    /// if that is right then.
    fn correct<'f>(
        &self,
        faults: impl Iterator<Item = &'f Fault>,
        mut take: impl FnMut(&Fault, Option<CorrectedBlock>) -> io::Result<()>,
    ) -> Result<(), FecError> {
        let mut rounds: BTreeMap<u64, Vec<(u8, &Fault)>> = BTreeMap::new();
        for fault in faults {
            let (round, row) = self.layout.place_of(self.block_of(fault));
            rounds.entry(round).or_default().push((row, fault));
        }
        let decoder = RoundDecoder::new(self.layout);
        for (number, mut missing) in rounds {
            let round =
                decoder.read(number, &self.covered, self.parity, self.parity_offset_bytes)?;
            let erased_rows: Vec<u8> = missing.iter().map(|(row, _)| *row).collect();
            let mut right = Vec::new();
            for erased_rows in [&erased_rows[..], &[]] {
                if missing.is_empty() {
                    break;
                }
                let mut corrections = decoder.correct(&round, erased_rows);
                missing.retain(|(row, fault)| {
                    let Some(block) = corrections.remove(row) else { return true };
                    if !self.is_right(fault, &block.bytes) {
                        return true;
                    }
                    right.push((*fault, Some(block)));
                    false
                });
            }
            let lost = missing.into_iter().map(|(_, fault)| (fault, None));
            for (fault, block) in right.into_iter().chain(lost) {
                take(fault, block).map_err(|source| FecError::Write { source })?;
            }
        }
        Ok(())
    }

    fn is_right(&self, fault: &Fault, block: &[u8]) -> bool {
        let mut digest = vec![0; fault.expected.len()];
        block_hasher(self.parameters, self.layout.block_size()).hash_blocks(block, &mut digest);
        digest == fault.expected
    }

    /// Returns the number of a faulty block among those that are covered.
    fn block_of(&self, fault: &Fault) -> u64 {
        let block = fault.offset_bytes / u64::from(self.layout.block_size().bytes());
        match fault.block {
            FaultyBlock::Data { .. } => block,
            FaultyBlock::Hash { .. } => self.layout.data_blocks() + block,
        }
    }
}

/// Reads the tree, with some blocks replaced.
struct PatchedTree<'a, D: ?Sized, H: ?Sized> {
    covered: &'a Covered<'a, D, H>,
    hash_blocks: &'a BTreeMap<u64, Vec<u8>>,
    offset_bytes: u64,
    end_bytes: u64,
}

impl<D: ?Sized, H: ReadAt + ?Sized> Read for PatchedTree<'_, D, H> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = (self.end_bytes - self.offset_bytes).min(buffer.len() as u64);
        let buffer = &mut buffer[..length as usize];
        let start = self.covered.tree_offset_bytes + self.offset_bytes;
        self.covered.hash_device.read_exact_at(buffer, start)?;
        let end = self.offset_bytes + length;
        for (&offset, block) in self.hash_blocks.range(..end) {
            let block_end = offset + block.len() as u64;
            if block_end <= self.offset_bytes {
                continue;
            }
            let from = offset.max(self.offset_bytes);
            let to = block_end.min(end);
            buffer[(from - self.offset_bytes) as usize..(to - self.offset_bytes) as usize]
                .copy_from_slice(&block[(from - offset) as usize..(to - offset) as usize]);
        }
        self.offset_bytes = end;
        Ok(buffer.len())
    }
}

/// The most corrupt blocks that are brought back in one run: 1 GiB in blocks of 4096 bytes. What is
/// known of them takes some 50 MiB.
pub const MAX_FAULTS: u64 = 256 * 1024;

#[cfg(test)]
mod tests;
