//! Parity of a whole device.

use std::io::Write;
use std::num::NonZero;
use std::ops::ControlFlow;

use super::remainder::Remainders;
use super::{Covered, FecError, FecLayout};
use crate::verity::ReadAt;
use crate::verity::parallel::{available_threads, in_order};

/// Works out the parity of all that is covered, on all processors, and writes it to `output`:
/// exactly [`FecLayout::parity_bytes`]. Tells `on_progress` each time how many bytes more of what is
/// covered have been read, and ends early if that breaks.
///
/// Each thread needs less than 100 KiB with two roots, and 900 KiB with 24, for blocks of up to 16 KiB.
///
/// # Errors
///
/// Fails if a block that is covered cannot be read, `output` fails, or `on_progress` breaks.
pub fn encode<D: ReadAt + ?Sized, H: ReadAt + ?Sized>(
    layout: &FecLayout,
    covered: &Covered<'_, D, H>,
    output: &mut impl Write,
    on_progress: impl FnMut(u64) -> ControlFlow<()>,
) -> Result<(), FecError> {
    encode_on(available_threads(), layout, covered, output, on_progress)
}

fn encode_on<D: ReadAt + ?Sized, H: ReadAt + ?Sized>(
    threads: NonZero<usize>,
    layout: &FecLayout,
    covered: &Covered<'_, D, H>,
    output: &mut impl Write,
    mut on_progress: impl FnMut(u64) -> ControlFlow<()>,
) -> Result<(), FecError> {
    let block_bytes = layout.block_size().bytes() as usize;
    let piece_rounds = (PIECE_BYTES / block_bytes).max(1) as u64;
    let remainders = Remainders::new(layout.roots());
    let encode_piece = |piece: u64| {
        let first = piece * piece_rounds;
        let rounds = (layout.rounds() - first).min(piece_rounds) as usize;
        let mut parity = vec![0; rounds * block_bytes * layout.roots().count()];
        remainders.of_rows(&mut parity, |row, bytes| {
            covered.read(layout, layout.block_at(first, row), bytes)
        })?;
        Ok(parity)
    };
    let pieces = layout.rounds().div_ceil(piece_rounds);
    let mut left_bytes = layout.blocks() * block_bytes as u64;
    let mut result = Ok(());
    in_order(threads, pieces, encode_piece, |_, parity| {
        let written = parity.and_then(|parity: Vec<u8>| {
            output.write_all(&parity).map_err(|source| FecError::Write { source })?;
            Ok((parity.len() / layout.roots().count() * layout.rows()) as u64)
        });
        match written {
            Ok(read_bytes) => {
                let read_bytes = left_bytes.min(read_bytes);
                left_bytes -= read_bytes;
                on_progress(read_bytes).map_break(|()| result = Err(FecError::Cancelled))
            }
            Err(error) => {
                result = Err(error);
                ControlFlow::Break(())
            }
        }
    });
    result
}

/// How long a row is that is read at once, unless a block is longer: long enough that the reading
/// costs little, and short enough that all remainders stay in the second-level cache.
const PIECE_BYTES: usize = 16 * 1024;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::verity::fec::CODE_WORD_BYTES;
    use crate::verity::fec::gf256::{multiply, power_of_alpha};
    use crate::verity::{BlockSize, Geometry, Parameters, Salt};

    #[test]
    fn parity_makes_every_code_word_vanish_at_every_root_on_any_number_of_threads() {
        for (block_bytes, data_blocks, more, roots) in
            [(512, 1, 0, 2), (512, 40_000, 3, 2), (1024, 2000, 50, 9), (4096, 700, 1, 24)]
        {
            let block_size = BlockSize::try_from(block_bytes).unwrap();
            let parameters = Parameters {
                data_block_size: block_size,
                hash_block_size: block_size,
                ..Parameters::with_salt(Salt::EMPTY)
            };
            let geometry = Geometry::new(&parameters, data_blocks).unwrap();
            let layout = FecLayout::new(
                &parameters,
                &geometry,
                geometry.hash_blocks() + more,
                roots.try_into().unwrap(),
            )
            .unwrap();
            let all: Vec<u8> = (0..layout.blocks() * u64::from(block_bytes))
                .map(|place| (place * 7 + place / 509) as u8)
                .collect();
            let (data, hash_device) = all.split_at(geometry.data_bytes() as usize);
            let covered = Covered { data, hash_device, tree_offset_bytes: 0 };
            let mut parities = [1, 2, 5].map(|threads| {
                let (mut parity, mut read_bytes) = (Vec::new(), 0);
                let threads = NonZero::new(threads).unwrap();
                encode_on(threads, &layout, &covered, &mut parity, |bytes| {
                    read_bytes += bytes;
                    ControlFlow::Continue(())
                })
                .unwrap();
                assert_eq!(read_bytes, all.len() as u64);
                assert_eq!(parity.len() as u64, layout.parity_bytes());
                parity
            });
            assert!(parities[0] == parities[1] && parities[0] == parities[2]);
            let parity = std::mem::take(&mut parities[0]);

            let words = (layout.rounds() * u64::from(block_bytes)) as usize;
            for word in (0..words).step_by(97).chain([words - 1]) {
                let message =
                    (0..layout.rows()).map(|row| all.get(row * words + word).copied().unwrap_or(0));
                let count = layout.roots().count();
                let bytes: Vec<u8> =
                    message.chain(parity[word * count..][..count].iter().copied()).collect();
                assert_eq!(bytes.len(), CODE_WORD_BYTES);
                for root in 0..count {
                    let value = bytes
                        .iter()
                        .fold(0, |sum, byte| multiply(sum, power_of_alpha(root)) ^ byte);
                    assert_eq!(value, 0, "{word} {root}");
                }
            }
        }
    }

    fn go_on(_: u64) -> ControlFlow<()> {
        ControlFlow::Continue(())
    }

    #[test]
    fn what_cannot_be_read_or_written_is_told() {
        let parameters = Parameters::with_salt(Salt::EMPTY);
        let geometry = Geometry::new(&parameters, 300).unwrap();
        let layout = FecLayout::new(&parameters, &geometry, 4, Default::default()).unwrap();
        let (data, tree) = (vec![0; 300 * 4096], vec![0; 3 * 4096]);
        let covered = Covered { data: &data[..], hash_device: &tree[..], tree_offset_bytes: 0 };
        let error = encode(&layout, &covered, &mut Vec::new(), go_on).unwrap_err();
        assert!(matches!(error, FecError::Read { block: 302, .. }), "{error:?}");
        let tree = vec![0; 4 * 4096];
        let covered = Covered { data: &data[..], hash_device: &tree[..], tree_offset_bytes: 0 };
        let error = encode(&layout, &covered, &mut &mut [0; 100][..], go_on).unwrap_err();
        assert!(matches!(error, FecError::Write { .. }), "{error:?}");
        let cancel = |_| ControlFlow::Break(());
        let error = encode(&layout, &covered, &mut Vec::new(), cancel).unwrap_err();
        assert!(matches!(error, FecError::Cancelled), "{error:?}");
    }
}
