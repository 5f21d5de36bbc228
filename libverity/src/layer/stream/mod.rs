//! The way of a blob to whoever reads the archive in it, with both digests taken on the way.
//!
//! ```text
//!                     pieces               pieces
//! blob ──▶ read ──┬──────────▶ inflate ──┬──────────▶ members, blocks, leaf hashes, sink
//!                 └──▶ layer digest      └──▶ diffID
//! ```
//!
//! Each of the four ends of an arrow has a thread of its own but `read` and `inflate`, which share
//! that of the caller; where there is one processor, the caller does all of it, piece by piece. The
//! stages are at most [`QUEUED_PIECES`] apart. A plain archive is its blob: nothing is inflated, and
//! one digest is both.
//!
//! A stage that fails or is no longer interested lets its end of the arrow go. That ends the stage
//! before it at its next piece, and an error travels with the pieces to the stage behind, in its
//! place in the stream: what is found wrong does not depend on which thread was faster.

mod archive;
mod digester;
mod piece;
mod piece_reader;

use std::io::{self, BufRead};
use std::num::NonZero;
use std::panic::resume_unwind;
use std::sync::mpsc::sync_channel;
use std::thread::{self, Scope};

use self::archive::Archive;
use self::digester::Digester;
use self::piece::Pool;
use self::piece_reader::{Joined, Limit, PieceReader};
use super::{Compression, ExpectedLayer, LayerError};
use crate::digest::Digest;

/// Is what a blob and the archive in it turned out to be.
pub(super) struct Streamed<T> {
    pub(super) layer_digest: Digest,
    pub(super) layer_size_bytes: u64,
    pub(super) compression: Compression,
    pub(super) diff_id: Digest,
    pub(super) archive_size_bytes: u64,
    /// What the reader of the archive has made of it.
    pub(super) result: T,
}

/// Reads `blob` to its end, checks it, and gives the archive in it to `read_archive`, which reads
/// that to its end.
///
/// # Errors
///
/// Returns what is wrong with the blob if it is not the one that is expected, and otherwise what
/// was found first: by the stages here or by `read_archive`. Where the blob cannot be read, or the
/// sink not be written, the rest of the blob is left alone.
pub(super) fn stream<T: Send>(
    blob: impl io::Read,
    expected: &ExpectedLayer,
    archive_limit_bytes: u64,
    read_archive: impl FnOnce(&mut dyn BufRead) -> Result<T, LayerError> + Send,
) -> Result<Streamed<T>, LayerError> {
    let processors = thread::available_parallelism().map_or(1, NonZero::get);
    stream_on(processors, blob, expected, archive_limit_bytes, read_archive)
}

fn stream_on<T: Send>(
    processors: usize,
    blob: impl io::Read,
    expected: &ExpectedLayer,
    archive_limit_bytes: u64,
    read_archive: impl FnOnce(&mut dyn BufRead) -> Result<T, LayerError> + Send,
) -> Result<Streamed<T>, LayerError> {
    let blob_limit = Limit {
        bytes: expected.size_bytes.unwrap_or(u64::MAX),
        too_long: |expected_bytes| LayerError::BlobTooLong { expected_bytes },
    };
    let archive_limit = Limit {
        bytes: archive_limit_bytes,
        too_long: |limit_bytes| LayerError::TooLong { limit_bytes },
    };
    thread::scope(|scope| {
        let stages = Stages::new(processors, scope);
        let blob = PieceReader::new(blob, blob_limit, stages.pool(), stages.digester());
        let mut archive = Archive::new(blob, archive_limit, &stages).map_err(unwrap_or_read)?;
        let compression = archive.compression();

        let read = expected
            .check_compression(compression)
            .and_then(|()| stages.read(&mut archive, read_archive));
        if let Err(error @ (LayerError::Read { .. } | LayerError::Write { .. })) = read {
            return Err(error);
        }
        let drained = archive.drain_blob().map_err(unwrap_or_read);
        let digests = archive.finish();
        match drained {
            Ok(()) => expected.check_blob(digests.layer_size_bytes, digests.layer_digest)?,
            Err(error @ LayerError::BlobTooLong { .. }) => return Err(error),
            Err(error) => return read.and(Err(error)),
        }
        let result = read?;
        expected.check_diff_id(digests.diff_id)?;
        Ok(Streamed {
            layer_digest: digests.layer_digest,
            layer_size_bytes: digests.layer_size_bytes,
            compression,
            diff_id: digests.diff_id,
            archive_size_bytes: digests.archive_size_bytes,
            result,
        })
    })
}

/// Says where the stages run.
#[derive(Clone, Copy)]
enum Stages<'scope, 'env> {
    /// Each on a thread of its own.
    Beside(&'scope Scope<'scope, 'env>),
    /// All on the thread of the caller.
    Here,
}

impl<'scope, 'env> Stages<'scope, 'env> {
    fn new(processors: usize, scope: &'scope Scope<'scope, 'env>) -> Self {
        // Threads that wait for one processor would only take turns, and the caches along.
        if processors > 1 { Self::Beside(scope) } else { Self::Here }
    }

    fn pool(self) -> Pool {
        match self {
            Self::Beside(_) => Pool::new(QUEUED_PIECES),
            Self::Here => Pool::new(1),
        }
    }

    fn digester(self) -> Digester<'scope> {
        match self {
            Self::Beside(scope) => Digester::beside(scope, QUEUED_PIECES),
            Self::Here => Digester::here(),
        }
    }

    /// Gives the archive to its reader.
    fn read<R: io::Read, T: Send + 'scope>(
        self,
        archive: &mut Archive<'scope, R>,
        read_archive: impl FnOnce(&mut dyn BufRead) -> Result<T, LayerError> + Send + 'scope,
    ) -> Result<T, LayerError> {
        let scope = match self {
            Self::Beside(scope) => scope,
            Self::Here => return read_archive(&mut Joined::new(|| archive.next_piece())),
        };
        let (pieces, received) = sync_channel(QUEUED_PIECES);
        let reader = scope.spawn(move || {
            // Only a panic in the stage before ends the channel without an end of the archive.
            let gone = |_| Err(io::Error::other("the archive is no longer inflated"));
            read_archive(&mut Joined::new(|| received.recv().unwrap_or_else(gone)))
        });
        loop {
            let piece = archive.next_piece();
            let is_last = !matches!(piece, Ok(Some(_)));
            if pieces.send(piece).is_err() || is_last {
                break;
            }
        }
        drop(pieces);
        reader.join().unwrap_or_else(|panic| resume_unwind(panic))
    }
}

/// Takes out the error that a stage has put into an [`io::Error`].
pub(in crate::layer) fn unwrap_or_read(error: io::Error) -> LayerError {
    error.downcast().unwrap_or_else(|source| LayerError::Read { offset_bytes: 0, source })
}

/// Is how many pieces of the blob, and as many of the archive, are under way at once: enough that no
/// stage waits for each piece of another, and all of them, 4 MiB, fit into a third-level cache.
const QUEUED_PIECES: usize = 8;

#[cfg(test)]
mod tests;
