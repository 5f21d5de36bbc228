//! Digests of data blocks that several threads read and hash, in the order of the blocks.

use std::fs::File;
use std::io;
use std::num::NonZero;
use std::ops::{ControlFlow, Range};
use std::os::unix::fs::{FileExt, MetadataExt as _};
use std::sync::OnceLock;
use std::sync::mpsc::{self, Receiver};
use std::thread;

use rustix::io::Errno;

use super::Parameters;
use super::block_hasher::{BlockHasher, block_hasher};

/// Is data that several threads read at once, each where it wants.
pub trait ReadAt: Sync {
    /// Fills `buffer` with what starts at `offset_bytes`.
    ///
    /// # Errors
    ///
    /// Returns [`io::ErrorKind::UnexpectedEof`] if the data end before, and why they cannot be read.
    fn read_exact_at(&self, buffer: &mut [u8], offset_bytes: u64) -> io::Result<()>;

    /// Tells whether there may be holes at all, so that it is worth asking for them.
    fn may_have_holes(&self) -> bool {
        false
    }

    /// Tells whether all of `range` is known to be zeros, so that nobody has to read it.
    fn is_hole(&self, range: Range<u64>) -> bool {
        let _ = range;
        false
    }
}

impl ReadAt for File {
    fn read_exact_at(&self, buffer: &mut [u8], offset_bytes: u64) -> io::Result<()> {
        FileExt::read_exact_at(self, buffer, offset_bytes)
    }

    /// A file without holes has at least as many blocks as bytes in them.
    fn may_have_holes(&self) -> bool {
        self.metadata().is_ok_and(|metadata| metadata.blocks() < metadata.len().div_ceil(512))
    }

    /// Asks the file system, which moves the position of the file. Block devices do not tell.
    fn is_hole(&self, range: Range<u64>) -> bool {
        match rustix::fs::seek(self, rustix::fs::SeekFrom::Data(range.start)) {
            Ok(next) => next >= range.end,
            // Nothing but a hole follows, or nothing at all.
            Err(Errno::NXIO) => self.metadata().is_ok_and(|metadata| metadata.len() >= range.end),
            Err(_) => false,
        }
    }
}

impl ReadAt for [u8] {
    fn read_exact_at(&self, buffer: &mut [u8], offset_bytes: u64) -> io::Result<()> {
        let start = usize::try_from(offset_bytes).ok();
        let rest = start.and_then(|start| self.get(start..));
        let found = rest.and_then(|rest| rest.get(..buffer.len()));
        buffer.copy_from_slice(found.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }
}

/// Is a read of data that failed.
#[derive(Debug)]
pub(super) struct ReadFailure {
    /// Where the data were to be read, from their start.
    pub(super) offset_bytes: u64,
    pub(super) source: io::Error,
}

/// Hashes the first `blocks` blocks of `data` on up to `threads` threads, and hands their digests
/// to `take`, some at a time and in order, with the number of the first. It ends early if `take`
/// breaks.
///
/// Each thread reads pieces of 128 KiB, which are still in its cache when they are hashed, and is
/// at most six pieces of 4 MiB ahead of `take`.
pub(super) fn hash_data_blocks<D: ReadAt + ?Sized>(
    parameters: &Parameters,
    data: &D,
    blocks: u64,
    threads: NonZero<usize>,
    mut take: impl FnMut(u64, &[u8]) -> ControlFlow<()>,
) -> Result<(), ReadFailure> {
    let work = Work::new(parameters, data, blocks, threads);
    let pieces = blocks.div_ceil(work.piece_blocks);
    let mut result = Ok(());
    in_order(
        threads,
        pieces,
        |piece| work.hash(piece),
        |piece, digests| match digests {
            Ok(digests) => take(piece * work.piece_blocks, &digests),
            Err(failure) => {
                result = Err(failure);
                ControlFlow::Break(())
            }
        },
    );
    result
}

/// Works on `pieces` pieces on up to `threads` threads, and hands what comes out to `take` in the
/// order of the pieces, until that breaks. A thread is at most six pieces ahead of `take`.
pub(super) fn in_order<T: Send>(
    threads: NonZero<usize>,
    pieces: u64,
    work: impl Fn(u64) -> T + Sync,
    mut take: impl FnMut(u64, T) -> ControlFlow<()>,
) {
    let threads = (threads.get() as u64).min(pieces);
    if threads <= 1 {
        let _ = (0..pieces).try_for_each(|piece| take(piece, work(piece)));
        return;
    }
    thread::scope(|scope| {
        // A thread has every so manyth piece, so that they come in order by themselves.
        let receivers: Vec<Receiver<T>> = (0..threads)
            .map(|first| {
                let (sender, receiver) = mpsc::sync_channel(PIECES_AHEAD);
                let own = (first..pieces).step_by(threads as usize);
                let work = &work;
                // Those that send when nobody takes any more end.
                scope.spawn(move || own.map(work).try_for_each(|done| sender.send(done)));
                receiver
            })
            .collect();
        for (piece, receiver) in (0..pieces).zip(receivers.iter().cycle()) {
            // A thread that is gone has panicked, and the scope hands the panic on.
            let Ok(done) = receiver.recv() else { break };
            if take(piece, done).is_break() {
                break;
            }
        }
    });
}

/// Returns how many threads there are processors for.
pub(super) fn available_threads() -> NonZero<usize> {
    thread::available_parallelism().unwrap_or(NonZero::<usize>::MIN)
}

/// Is what all threads know.
struct Work<'a, D: ?Sized> {
    data: &'a D,
    hasher: Box<dyn BlockHasher>,
    blocks: u64,
    block_bytes: usize,
    digest_bytes: usize,
    /// How many blocks are read at once.
    batch_blocks: usize,
    /// How many blocks are handed on at once.
    piece_blocks: u64,
    may_have_holes: bool,
    /// The digest of a block of zeros, once there was one in a hole.
    of_zeros: OnceLock<Vec<u8>>,
}

impl<'a, D: ReadAt + ?Sized> Work<'a, D> {
    fn new(parameters: &Parameters, data: &'a D, blocks: u64, threads: NonZero<usize>) -> Self {
        let block_bytes = parameters.data_block_size.bytes_usize();
        let batch_blocks = (BATCH_BYTES / block_bytes).max(1);
        let batches = blocks / batch_blocks as u64;
        let batches_in_piece =
            (batches / (threads.get() as u64 * PIECES_FOR_A_THREAD)).clamp(1, BATCHES_IN_PIECE);
        Self {
            data,
            hasher: block_hasher(parameters, parameters.data_block_size),
            blocks,
            block_bytes,
            digest_bytes: parameters.algorithm.digest_bytes(),
            batch_blocks,
            piece_blocks: batch_blocks as u64 * batches_in_piece,
            may_have_holes: data.may_have_holes(),
            of_zeros: OnceLock::new(),
        }
    }

    /// Hashes the blocks of a piece.
    fn hash(&self, piece: u64) -> Result<Vec<u8>, ReadFailure> {
        let first = piece * self.piece_blocks;
        let end = self.blocks.min(first + self.piece_blocks);
        let mut digests = vec![0; (end - first) as usize * self.digest_bytes];
        let mut batch = vec![0; self.batch_blocks * self.block_bytes];
        let batches = digests.chunks_mut(self.batch_blocks * self.digest_bytes);
        for (block, digests) in (first..end).step_by(self.batch_blocks).zip(batches) {
            let batch = &mut batch[..digests.len() / self.digest_bytes * self.block_bytes];
            let offset_bytes = block * self.block_bytes as u64;
            let range = offset_bytes..offset_bytes + batch.len() as u64;
            if self.may_have_holes && self.data.is_hole(range) {
                let of_zeros = self.of_zeros.get_or_init(|| self.digest_of_zeros());
                for digest in digests.chunks_exact_mut(self.digest_bytes) {
                    digest.copy_from_slice(of_zeros);
                }
                continue;
            }
            self.data
                .read_exact_at(batch, offset_bytes)
                .map_err(|source| ReadFailure { offset_bytes, source })?;
            self.hasher.hash_blocks(batch, digests);
        }
        Ok(digests)
    }

    fn digest_of_zeros(&self) -> Vec<u8> {
        let mut digest = vec![0; self.digest_bytes];
        self.hasher.hash_blocks(&vec![0; self.block_bytes], &mut digest);
        digest
    }
}

/// How much is read and hashed in one go, unless a block is larger.
const BATCH_BYTES: usize = 128 * 1024;

/// How many of these are handed on together at most: 4 MiB. Each hand-over wakes a thread; with 1 MiB that
/// cost a twentieth of the time on two processors.
const BATCHES_IN_PIECE: u64 = 32;

/// How many pieces there are for a thread at least, if there are enough batches, so that none waits long
/// for the last one.
const PIECES_FOR_A_THREAD: u64 = 8;

/// How many pieces wait for `take`, besides the one that is worked on and the one that is sent.
const PIECES_AHEAD: usize = 4;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::verity::{BlockSize, Salt};

    fn digests(data: &[u8], blocks: u64, threads: usize) -> Result<Vec<u8>, ReadFailure> {
        let mut all = Vec::new();
        let threads = NonZero::new(threads).unwrap();
        hash_data_blocks(&small_blocks(), data, blocks, threads, |first, digests| {
            assert_eq!(first, (all.len() / 32) as u64);
            all.extend_from_slice(digests);
            ControlFlow::Continue(())
        })?;
        Ok(all)
    }

    fn small_blocks() -> Parameters {
        Parameters { data_block_size: BlockSize::B512, ..Parameters::with_salt(Salt::EMPTY) }
    }

    #[test]
    fn digests_are_the_same_on_any_number_of_threads() {
        let data: Vec<u8> = (0..5_000_192_u32).map(|place| (place / 509) as u8).collect();
        let blocks = data.len() as u64 / 512;
        let mut expected = vec![0; blocks as usize * 32];
        block_hasher(&small_blocks(), BlockSize::B512).hash_blocks(&data, &mut expected);
        for threads in [1, 2, 3, 4, 7] {
            assert!(digests(&data, blocks, threads).unwrap() == expected, "{threads}");
            for blocks in [0, 1, 2047, 2048, 2049] {
                let some = digests(&data, blocks, threads).unwrap();
                assert!(some == expected[..blocks as usize * 32], "{threads}, {blocks}");
            }
        }
    }

    #[test]
    fn holes_are_not_read() {
        /// Has some data between holes, and no other reads than there.
        struct Sparse<'a>(&'a [u8]);
        const DATA: Range<u64> = 3 << 20..3 << 20 | 4096;
        impl ReadAt for Sparse<'_> {
            fn read_exact_at(&self, buffer: &mut [u8], offset_bytes: u64) -> io::Result<()> {
                let end = offset_bytes + buffer.len() as u64;
                assert!(offset_bytes < DATA.end && end > DATA.start, "a hole is read");
                self.0.read_exact_at(buffer, offset_bytes)
            }

            fn may_have_holes(&self) -> bool {
                true
            }

            fn is_hole(&self, range: Range<u64>) -> bool {
                range.end <= DATA.start || range.start >= DATA.end
            }
        }
        let mut data = vec![0; 9 << 20];
        data[DATA.start as usize..DATA.end as usize].fill(7);
        let blocks = data.len() as u64 / 512;
        let expected = digests(&data, blocks, 1).unwrap();
        for threads in [1, 3] {
            let mut found = Vec::new();
            let threads = NonZero::new(threads).unwrap();
            let sparse = Sparse(&data);
            hash_data_blocks(&small_blocks(), &sparse, blocks, threads, |_, digests| {
                found.extend_from_slice(digests);
                ControlFlow::Continue(())
            })
            .unwrap();
            assert!(found == expected);
        }
    }

    #[test]
    fn holes_of_files_are_what_they_look_like() {
        let file = tempfile::tempfile().unwrap();
        file.set_len(4 << 20).unwrap();
        file.write_all_at(&[7; 8192], 1 << 20).unwrap();
        let whole = |range: Range<u64>| {
            let mut bytes = vec![1; (range.end - range.start) as usize];
            ReadAt::read_exact_at(&file, &mut bytes, range.start).unwrap();
            bytes.iter().all(|&byte| byte == 0)
        };
        for start in (0..4 << 20).step_by(128 * 1024) {
            let range = start..start + 128 * 1024;
            if file.is_hole(range.clone()) {
                assert!(whole(range.clone()), "{range:?}");
            }
        }
        assert!(!file.is_hole((1 << 20)..(1 << 20) + 4096));
        assert!(!file.is_hole((4 << 20) - 4096..(4 << 20) + 1), "it ends before");
        assert!(!file.is_hole(5 << 20..6 << 20), "it ended before");
    }

    #[test]
    fn the_first_read_that_fails_is_told_and_ends_the_work() {
        let data = vec![0; 20 << 20];
        for threads in [1, 2, 5] {
            let error = digests(&data, 20 * 2048 + 1, threads).unwrap_err();
            assert_eq!(error.offset_bytes, 20 << 20);
            assert_eq!(error.source.kind(), io::ErrorKind::UnexpectedEof);
            let error = digests(&data, u64::from(u32::MAX), threads).unwrap_err();
            assert_eq!(error.offset_bytes, 20 << 20);
        }
    }

    #[test]
    fn whoever_has_enough_ends_the_work() {
        struct Endless;
        impl ReadAt for Endless {
            fn read_exact_at(&self, buffer: &mut [u8], _: u64) -> io::Result<()> {
                buffer.fill(7);
                Ok(())
            }
        }
        for threads in [1, 2, 5] {
            let mut taken = 0;
            let threads = NonZero::new(threads).unwrap();
            hash_data_blocks(&small_blocks(), &Endless, 1 << 50, threads, |_, _| {
                taken += 1;
                if taken == 3 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
            })
            .unwrap();
            assert_eq!(taken, 3);
        }
    }
}
