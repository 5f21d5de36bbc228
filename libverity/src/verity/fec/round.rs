//! The code words of one round, from which blocks are brought back.

use std::collections::BTreeMap;

use super::code_word::{Decoder, WrongByte};
use super::remainder::Remainders;
use super::{Covered, FecError, FecLayout};
use crate::verity::ReadAt;

/// Decodes all code words of a round at once.
pub(super) struct RoundDecoder<'a> {
    layout: &'a FecLayout,
    remainders: Remainders,
    decoder: Decoder,
}

/// Is the blocks of a round, by row, as the parity has them: those of which any byte is wrong.
pub(super) type Corrections = BTreeMap<u8, CorrectedBlock>;

/// Is what a block was when it was encoded.
pub(super) struct CorrectedBlock {
    pub(super) bytes: Vec<u8>,
    /// How many bytes of it were wrong.
    pub(super) corrected_bytes: u64,
}

/// Is all that there is of a round, as it lies on disk.
pub(super) struct Round {
    rows: Vec<u8>,
    /// The remainders that the words have, which are zero where they are right.
    remainders: Vec<u8>,
}

impl<'a> RoundDecoder<'a> {
    pub(super) fn new(layout: &'a FecLayout) -> Self {
        Self {
            layout,
            remainders: Remainders::new(layout.roots()),
            decoder: Decoder::new(layout.roots()),
        }
    }

    /// Reads a round and its parity.
    pub(super) fn read<D, H, P>(
        &self,
        round: u64,
        covered: &Covered<'_, D, H>,
        parity: &P,
        parity_offset_bytes: u64,
    ) -> Result<Round, FecError>
    where
        D: ReadAt + ?Sized,
        H: ReadAt + ?Sized,
        P: ReadAt + ?Sized,
    {
        let block_bytes = self.block_bytes();
        let parity_bytes = block_bytes * self.layout.roots().count();
        let mut found = vec![0; parity_bytes];
        parity
            .read_exact_at(&mut found, parity_offset_bytes + round * parity_bytes as u64)
            .map_err(|source| FecError::ReadParity { round, source })?;
        let mut rows = vec![0; self.layout.rows() * block_bytes];
        let mut remainders = vec![0; parity_bytes];
        self.remainders.of_rows(&mut remainders, |row, bytes| {
            covered.read(self.layout, self.layout.block_at(round, row), bytes)?;
            rows[row * block_bytes..][..block_bytes].copy_from_slice(bytes);
            Ok::<(), FecError>(())
        })?;
        for (remainder, found) in remainders.iter_mut().zip(found) {
            *remainder ^= found;
        }
        Ok(Round { rows, remainders })
    }

    /// Corrects what can be corrected; `erased_rows` are known to be corrupt.
    ///
    /// Where the errors of a word cannot be told apart, its bytes stay as they are: nothing of this
    /// is right until its digest says so.
    pub(super) fn correct(&self, round: &Round, erased_rows: &[u8]) -> Corrections {
        let block_bytes = self.block_bytes();
        let mut corrections = Corrections::new();
        let remainders = round.remainders.chunks_exact(self.layout.roots().count());
        for (word, remainder) in remainders.enumerate() {
            if remainder.iter().all(|&byte| byte == 0) {
                continue;
            }
            let wrong_bytes = self.decoder.wrong_bytes(remainder, erased_rows);
            for WrongByte { place, difference } in wrong_bytes.into_iter().flatten() {
                if usize::from(place) >= self.layout.rows() {
                    continue;
                }
                let block = corrections.entry(place).or_insert_with(|| CorrectedBlock {
                    bytes: round.rows[usize::from(place) * block_bytes..][..block_bytes].to_vec(),
                    corrected_bytes: 0,
                });
                block.bytes[word] ^= difference;
                block.corrected_bytes += 1;
            }
        }
        corrections
    }

    fn block_bytes(&self) -> usize {
        self.layout.block_size().bytes() as usize
    }
}
