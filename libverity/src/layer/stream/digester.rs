//! Digests of streams, computed beside the other stages.

use std::panic::resume_unwind;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::{Scope, ScopedJoinHandle};

use sha2::{Digest as _, Sha256};

use super::piece::Piece;
use crate::digest::Digest;

/// Hashes the pieces of a stream in their order.
pub(super) enum Digester<'scope> {
    /// On the thread that gives the pieces.
    Here(Sha256),
    /// On a thread of its own.
    Beside { pieces: SyncSender<Piece>, thread: ScopedJoinHandle<'scope, Digest> },
}

impl<'scope> Digester<'scope> {
    /// Starts to hash where the pieces come from.
    pub(super) fn here() -> Self {
        Self::Here(Sha256::new())
    }

    /// Starts a thread that hashes; it ends when the digester is dropped.
    pub(super) fn beside(scope: &'scope Scope<'scope, '_>, queued_pieces: usize) -> Self {
        let (pieces, received) = sync_channel(queued_pieces);
        Self::Beside { pieces, thread: scope.spawn(move || digest(&received)) }
    }

    /// Takes the next piece.
    pub(super) fn update(&mut self, piece: &Piece) {
        match self {
            Self::Here(hasher) => hasher.update(&**piece),
            // A thread that has panicked says so when it is joined.
            Self::Beside { pieces, .. } => drop(pieces.send(piece.clone())),
        }
    }

    /// Returns the digest of all pieces.
    pub(super) fn finish(self) -> Digest {
        match self {
            Self::Here(hasher) => Digest::from_bytes(hasher.finalize().into()),
            Self::Beside { pieces, thread } => {
                drop(pieces);
                thread.join().unwrap_or_else(|panic| resume_unwind(panic))
            }
        }
    }
}

fn digest(pieces: &Receiver<Piece>) -> Digest {
    let mut hasher = Sha256::new();
    for piece in pieces {
        hasher.update(&*piece);
    }
    Digest::from_bytes(hasher.finalize().into())
}
