//! The archive in a blob, inflated where it has to be.

use std::io::{self, BufRead as _, Read};

use super::Stages;
use super::piece::Piece;
use super::piece_reader::{Limit, PieceReader};
use crate::digest::Digest;
use crate::layer::Compression;
use crate::layer::compression::Inflate;

/// Is the archive in a blob.
pub(super) enum Archive<'scope, R: Read> {
    Inflated(Box<PieceReader<'scope, Inflate<PieceReader<'scope, R>>>>),
    /// Is the blob itself, under the limit of an archive.
    Plain(PieceReader<'scope, R>, Limit),
}

impl<'scope, R: Read> Archive<'scope, R> {
    /// Looks at the first bytes of `blob` for the compression.
    pub(super) fn new(
        mut blob: PieceReader<'scope, R>,
        limit: Limit,
        stages: &Stages<'scope, '_>,
    ) -> io::Result<Self> {
        if Compression::of_first_bytes(blob.fill_buf()?) == Compression::Plain {
            return Ok(Self::Plain(blob, limit));
        }
        let inflate = Inflate::new(blob)?;
        let archive = PieceReader::new(inflate, limit, stages.pool(), stages.digester());
        Ok(Self::Inflated(Box::new(archive)))
    }

    /// Returns how the blob is compressed.
    pub(super) fn compression(&self) -> Compression {
        match self {
            Self::Inflated(archive) => archive.stream().compression(),
            Self::Plain(..) => Compression::Plain,
        }
    }

    /// Returns the next piece of the archive; `None` at its end.
    pub(super) fn next_piece(&mut self) -> io::Result<Option<Piece>> {
        match self {
            Self::Inflated(archive) => archive.next_piece(),
            Self::Plain(blob, limit) => {
                let piece = blob.next_piece()?;
                limit.check(blob.read_bytes())?;
                Ok(piece)
            }
        }
    }

    /// Reads the blob to its end, whatever of it was inflated.
    pub(super) fn drain_blob(&mut self) -> io::Result<()> {
        match self {
            Self::Inflated(archive) => archive.stream_mut().blob().drain(),
            Self::Plain(blob, _) => blob.drain(),
        }
    }

    /// Returns what is known of the blob and of the archive, as far as each was read.
    pub(super) fn finish(self) -> Digests {
        match self {
            Self::Inflated(archive) => {
                let archive_size_bytes = archive.read_bytes();
                let (diff_id, inflate) = archive.finish();
                let blob = inflate.into_blob();
                let layer_size_bytes = blob.read_bytes();
                let (layer_digest, _) = blob.finish();
                Digests { layer_digest, layer_size_bytes, diff_id, archive_size_bytes }
            }
            Self::Plain(blob, _) => {
                let size_bytes = blob.read_bytes();
                let (digest, _) = blob.finish();
                Digests {
                    layer_digest: digest,
                    layer_size_bytes: size_bytes,
                    diff_id: digest,
                    archive_size_bytes: size_bytes,
                }
            }
        }
    }
}

/// Holds the digests and sizes of a blob and of the archive in it.
pub(super) struct Digests {
    pub(super) layer_digest: Digest,
    pub(super) layer_size_bytes: u64,
    pub(super) diff_id: Digest,
    pub(super) archive_size_bytes: u64,
}
