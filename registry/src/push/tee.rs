//! One blob for two readers.

use std::cell::RefCell;
use std::io::{self, Read};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use crate::error::Error;
use crate::place::{BlobSource, Repository};

/// Splits the blob of `size_bytes` in `source` in two: what is read from the first can be read from
/// the second as well, which is for another thread.
///
/// The second comes to its end only if the first was read to its end; if the first is dropped
/// before, the second fails. If the second is dropped before its end, the first fails. The first
/// may be opened several times: the second sees each byte once.
pub(super) fn tee(source: &dyn BlobSource, size_bytes: u64) -> (Tee<'_>, TeeCopy) {
    let (pieces, receiver) = sync_channel(QUEUED_PIECES);
    let copy = TeeCopy { pieces: receiver, piece: Vec::new(), position: 0, is_at_end: false };
    let sender = Sender { pieces: Some(pieces), sent_bytes: 0, size_bytes };
    (Tee { source, sender: RefCell::new(sender) }, copy)
}

/// Is the blob itself, which is read no faster than its copy.
pub(super) struct Tee<'a> {
    source: &'a dyn BlobSource,
    sender: RefCell<Sender>,
}

impl Tee<'_> {
    /// Reads what nobody has read, for the copy alone.
    pub(super) fn finish(&self) -> Result<(), Error> {
        if self.sender.borrow().pieces.is_none() {
            return Ok(());
        }
        let mut content = self.open()?;
        let mut buffer = vec![0; MAX_PIECE_BYTES];
        loop {
            match content.read(&mut buffer) {
                Ok(0) => return Ok(()),
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(Error::from_read("the blob of a layer", error)),
            }
        }
    }
}

impl BlobSource for Tee<'_> {
    fn open(&self) -> Result<Box<dyn Read + '_>, Error> {
        let content = self.source.open()?;
        Ok(Box::new(TeeReader { content, position_bytes: 0, sender: &self.sender }))
    }

    fn repository(&self) -> Option<Repository> {
        self.source.repository()
    }
}

/// Reads the blob once.
struct TeeReader<'a> {
    content: Box<dyn Read + 'a>,
    position_bytes: u64,
    sender: &'a RefCell<Sender>,
}

impl Read for TeeReader<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        let limit = buffer.len().min(MAX_PIECE_BYTES);
        let read = self.content.read(&mut buffer[..limit])?;
        self.sender.borrow_mut().send(self.position_bytes, &buffer[..read])?;
        self.position_bytes += read as u64;
        Ok(read)
    }
}

/// Sends the copy.
struct Sender {
    /// `None` once the end was sent.
    pieces: Option<SyncSender<Vec<u8>>>,
    sent_bytes: u64,
    size_bytes: u64,
}

impl Sender {
    /// Sends what is new of `piece`, which is at `position_bytes` and empty at the end.
    fn send(&mut self, position_bytes: u64, piece: &[u8]) -> io::Result<()> {
        let Some(pieces) = &self.pieces else { return Ok(()) };
        let is_gone = |_| io::Error::other("the conversion has failed");
        let known = usize::try_from(self.sent_bytes - position_bytes).unwrap_or(usize::MAX);
        if let Some(new @ [_, ..]) = piece.get(known..) {
            pieces.send(new.to_vec()).map_err(is_gone)?;
            self.sent_bytes += new.len() as u64;
        }
        // Many who know the size do not ask for what comes after it.
        if piece.is_empty() || self.sent_bytes >= self.size_bytes {
            pieces.send(Vec::new()).map_err(is_gone)?;
            self.pieces = None;
        }
        Ok(())
    }
}

/// Is the reader that gets what others read.
#[derive(Debug)]
pub(super) struct TeeCopy {
    pieces: Receiver<Vec<u8>>,
    piece: Vec<u8>,
    position: usize,
    is_at_end: bool,
}

impl Read for TeeCopy {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.position == self.piece.len() && !self.is_at_end && !buffer.is_empty() {
            self.piece = self.pieces.recv().map_err(|_| io::Error::other("the push has failed"))?;
            self.position = 0;
            self.is_at_end = self.piece.is_empty();
        }
        let left = &self.piece[self.position..];
        let read = left.len().min(buffer.len());
        buffer[..read].copy_from_slice(&left[..read]);
        self.position += read;
        Ok(read)
    }
}

/// The longest piece that is handed over at once.
const MAX_PIECE_BYTES: usize = 256 << 10;

/// How many pieces wait for the slower reader, so that neither stops for each piece of the other.
const QUEUED_PIECES: usize = 4;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn an_end_that_was_not_read_is_no_end() {
        let source = &b"content"[..];
        let (tee, mut copy) = tee(&source, 8);
        tee.open().unwrap().read_exact(&mut [0; 7]).unwrap();
        drop(tee);
        let mut read = Vec::new();
        copy.read_to_end(&mut read).unwrap_err();
        assert_eq!(read, b"content");
    }

    #[test]
    fn nobody_reads_for_a_copy_that_is_gone() {
        let source = &b"content"[..];
        let (tee, copy) = tee(&source, 7);
        drop(copy);
        tee.open().unwrap().read_exact(&mut [0; 3]).unwrap_err();
    }

    proptest! {
        /// An upload that is cut off begins anew.
        #[test]
        fn both_read_the_same(
            content in proptest::collection::vec(any::<u8>(), 0..2000),
            step in 1_usize..300,
            attempts in proptest::collection::vec(0_usize..2000, 0..4),
        ) {
            let source = &content[..];
            let (tee, mut copy) = tee(&source, content.len() as u64);
            let copied = std::thread::spawn(move || {
                let mut copied = Vec::new();
                copy.read_to_end(&mut copied).map(|_| copied)
            });
            for attempt in attempts {
                let mut reader = tee.open().unwrap();
                let mut pushed = Vec::new();
                let mut buffer = vec![0; step];
                while pushed.len() < attempt.min(content.len()) {
                    let read = reader.read(&mut buffer).unwrap();
                    pushed.extend_from_slice(&buffer[..read]);
                }
                prop_assert!(content.starts_with(&pushed));
            }
            tee.finish().unwrap();
            drop(tee);
            prop_assert_eq!(copied.join().unwrap().unwrap(), content);
        }
    }
}
