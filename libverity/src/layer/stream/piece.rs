//! Pieces of a stream that several stages look at, and the buffers that they are in.

use std::ops::Deref;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};

/// Is how long a piece is, but for the last one: 256 KiB, so that every stage finds it in the
/// second-level cache, or at least in the third.
pub(super) const PIECE_BYTES: usize = 256 << 10;

/// Is a number of buffers, which bounds how far the stages can be apart.
pub(super) struct Pool {
    free: Receiver<Vec<u8>>,
    home: Sender<Vec<u8>>,
}

impl Pool {
    /// Makes so many buffers of [`PIECE_BYTES`].
    pub(super) fn new(buffers: usize) -> Self {
        let (home, free) = channel();
        for _ in 0..buffers {
            // Nobody else has the receiver.
            let _ = home.send(vec![0; PIECE_BYTES]);
        }
        Self { free, home }
    }

    /// Takes a buffer, or waits until all who have a piece are done with it.
    pub(super) fn take(&self) -> Buffer {
        let bytes = self.free.recv().expect("the pool itself holds a sender");
        Buffer { bytes, filled: 0, home: self.home.clone() }
    }
}

/// Is a buffer that goes back to its pool when it is dropped.
pub(super) struct Buffer {
    bytes: Vec<u8>,
    filled: usize,
    home: Sender<Vec<u8>>,
}

impl Buffer {
    /// Returns the part that is not filled yet.
    pub(super) fn room(&mut self) -> &mut [u8] {
        &mut self.bytes[self.filled..]
    }

    /// Takes the first `count` bytes of the room as filled.
    pub(super) fn advance(&mut self, count: usize) {
        self.filled += count;
    }

    /// Hands out what is filled; `None` if that is nothing.
    pub(super) fn into_piece(self) -> Option<Piece> {
        (self.filled > 0).then(|| Piece(Arc::new(self)))
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        // A pool that is gone needs no buffers.
        let _ = self.home.send(std::mem::take(&mut self.bytes));
    }
}

/// Is a piece of a stream, at least a byte long. A clone is the same piece.
#[derive(Clone)]
pub(super) struct Piece(Arc<Buffer>);

impl Deref for Piece {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0.bytes[..self.0.filled]
    }
}
