//! Cutting a stream into pieces, and joining them again.

use std::io::{self, BufRead, Read};

use super::digester::Digester;
use super::piece::{Piece, Pool};
use crate::digest::Digest;
use crate::layer::LayerError;

/// Reads a stream in pieces, has them hashed, counts, and ends the stream with an error where it
/// is too long.
///
/// Errors are [`LayerError`]s within [`io::Error`]s, so that they keep their names on the way
/// through the stages above.
///
/// As [`BufRead`] it is the same stream; each byte comes out either way, once.
pub(super) struct PieceReader<'scope, R> {
    stream: R,
    limit: Limit,
    read_bytes: u64,
    pool: Pool,
    digester: Digester<'scope>,
    /// What comes after the pieces that were read before it.
    failure: Option<io::Error>,
    reading: Reading,
}

/// Is how long a stream may be, and the error that says that it is longer.
#[derive(Clone, Copy)]
pub(super) struct Limit {
    pub(super) bytes: u64,
    pub(super) too_long: fn(u64) -> LayerError,
}

impl Limit {
    /// Refuses a stream of which so much was read.
    pub(super) fn check(self, read_bytes: u64) -> io::Result<()> {
        if read_bytes > self.bytes { Err((self.too_long)(self.bytes).into()) } else { Ok(()) }
    }
}

impl<'scope, R: Read> PieceReader<'scope, R> {
    /// Begins at the current place of `stream`.
    pub(super) fn new(stream: R, limit: Limit, pool: Pool, digester: Digester<'scope>) -> Self {
        let reading = Reading::default();
        Self { stream, limit, read_bytes: 0, pool, digester, failure: None, reading }
    }

    /// Returns the next piece, or what is left of the current one; `None` at the end.
    pub(super) fn next_piece(&mut self) -> io::Result<Option<Piece>> {
        match self.reading.take_untouched() {
            Some(piece) => Ok(Some(piece)),
            None => self.read_piece(),
        }
    }

    /// Returns the stream below.
    pub(super) const fn stream(&self) -> &R {
        &self.stream
    }

    /// Returns the stream below, to be read by somebody else.
    pub(super) const fn stream_mut(&mut self) -> &mut R {
        &mut self.stream
    }

    /// Returns how many bytes were read.
    pub(super) const fn read_bytes(&self) -> u64 {
        self.read_bytes
    }

    /// Returns the digest of what was read, and the stream below.
    pub(super) fn finish(self) -> (Digest, R) {
        (self.digester.finish(), self.stream)
    }

    /// Reads what is left, which is hashed, and throws it away.
    pub(super) fn drain(&mut self) -> io::Result<()> {
        self.reading = Reading::default();
        while self.read_piece()?.is_some() {}
        Ok(())
    }

    fn read_piece(&mut self) -> io::Result<Option<Piece>> {
        if let Some(error) = self.failure.take() {
            return Err(error);
        }
        self.limit.check(self.read_bytes)?;
        let mut buffer = self.pool.take();
        while !buffer.room().is_empty() {
            match self.stream.read(buffer.room()) {
                Ok(0) => break,
                Ok(read) => {
                    self.read_bytes += read as u64;
                    if let Err(error) = self.limit.check(self.read_bytes) {
                        self.failure = Some(error);
                        break;
                    }
                    buffer.advance(read);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    self.failure = Some(self.named(error));
                    break;
                }
            }
        }
        match buffer.into_piece() {
            Some(piece) => {
                self.digester.update(&piece);
                Ok(Some(piece))
            }
            None => self.failure.take().map_or(Ok(None), Err),
        }
    }

    /// Keeps the error of a stage below, and names that of the stream itself.
    fn named(&self, error: io::Error) -> io::Error {
        match error.downcast::<LayerError>() {
            Ok(error) => error.into(),
            Err(source) => LayerError::Read { offset_bytes: self.read_bytes, source }.into(),
        }
    }
}

impl<R: Read> BufRead for PieceReader<'_, R> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.reading.rest().is_empty() {
            // The buffer goes back before the next one is asked for.
            self.reading = Reading::default();
            self.reading = Reading::of(self.read_piece()?);
        }
        Ok(self.reading.rest())
    }

    fn consume(&mut self, count: usize) {
        self.reading.position += count;
    }
}

impl<R: Read> Read for PieceReader<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        read_buffered(self, buffer)
    }
}

/// Joins pieces, wherever they come from, to a stream.
pub(super) struct Joined<F> {
    next: F,
    reading: Reading,
    is_at_end: bool,
}

impl<F: FnMut() -> io::Result<Option<Piece>>> Joined<F> {
    /// Joins the pieces that `next` returns.
    pub(super) fn new(next: F) -> Self {
        Self { next, reading: Reading::default(), is_at_end: false }
    }
}

impl<F: FnMut() -> io::Result<Option<Piece>>> BufRead for Joined<F> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.reading.rest().is_empty() && !self.is_at_end {
            self.reading = Reading::default();
            let piece = (self.next)()?;
            self.is_at_end = piece.is_none();
            self.reading = Reading::of(piece);
        }
        Ok(self.reading.rest())
    }

    fn consume(&mut self, count: usize) {
        self.reading.position += count;
    }
}

impl<F: FnMut() -> io::Result<Option<Piece>>> Read for Joined<F> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        read_buffered(self, buffer)
    }
}

/// Is the piece that is being read.
#[derive(Default)]
struct Reading {
    piece: Option<Piece>,
    position: usize,
}

impl Reading {
    const fn of(piece: Option<Piece>) -> Self {
        Self { piece, position: 0 }
    }

    fn rest(&self) -> &[u8] {
        self.piece.as_deref().map_or(&[], |piece| &piece[self.position..])
    }

    /// Takes a piece of which nothing was read yet.
    fn take_untouched(&mut self) -> Option<Piece> {
        let piece = self.piece.take_if(|_| self.position == 0);
        debug_assert!(self.rest().is_empty(), "a piece is read in one way or the other");
        piece
    }
}

fn read_buffered(stream: &mut impl BufRead, buffer: &mut [u8]) -> io::Result<usize> {
    let available = stream.fill_buf()?;
    let read = available.len().min(buffer.len());
    buffer[..read].copy_from_slice(&available[..read]);
    stream.consume(read);
    Ok(read)
}
