//! The image as a stream of whole blocks, in ascending order but for one.

use std::io::{self, Read};

/// Takes the blocks of an image.
///
/// Closures `FnMut(u64, &[u8]) -> io::Result<()>` are sinks.
pub trait BlockSink {
    /// Takes the whole blocks in `bytes`, of which the first has the number `first_block`.
    ///
    /// The calls come in ascending order, and leave out the block with the superblock alone.
    ///
    /// # Errors
    ///
    /// Whatever prevents the sink from taking them; the image is then lost.
    fn take(&mut self, first_block: u64, bytes: &[u8]) -> io::Result<()>;
}

impl<F: FnMut(u64, &[u8]) -> io::Result<()>> BlockSink for F {
    fn take(&mut self, first_block: u64, bytes: &[u8]) -> io::Result<()> {
        self(first_block, bytes)
    }
}

/// Gathers what is written in ascending order into runs of blocks, and holds back one block that
/// can be written at any time.
#[derive(Debug)]
pub(super) struct BlockStream {
    block_bytes: usize,
    held_block: u64,
    held: Vec<u8>,
    /// The block with which `run` starts.
    first_block: u64,
    run: Box<[u8]>,
    filled_bytes: usize,
}

impl BlockStream {
    /// Starts at block 0, or behind it if it is the one that is held back.
    pub(super) fn new(block_bytes: u32, held_block: u64) -> Self {
        Self {
            block_bytes: block_bytes as usize,
            held_block,
            held: vec![0; block_bytes as usize],
            first_block: u64::from(held_block == 0),
            run: vec![0; RUN_BYTES].into(),
            filled_bytes: 0,
        }
    }

    /// Copies up to `size_bytes` bytes from `reader` to the next block, fills the last block up
    /// with zeros, and returns how many bytes there were.
    pub(super) fn copy(
        &mut self,
        reader: &mut dyn Read,
        size_bytes: u64,
        sink: &mut dyn BlockSink,
    ) -> Result<u64, CopyError> {
        let mut copied_bytes = 0;
        while copied_bytes < size_bytes {
            let room = &mut self.run[self.filled_bytes..];
            let wanted_bytes = (size_bytes - copied_bytes).min(room.len() as u64) as usize;
            match reader.read(&mut room[..wanted_bytes]) {
                Ok(0) => break,
                Ok(read_bytes) => {
                    copied_bytes += read_bytes as u64;
                    self.filled_bytes += read_bytes;
                    self.flush_if_full(sink).map_err(CopyError::Write)?;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(CopyError::Read(error)),
            }
        }
        self.align(sink).map_err(CopyError::Write)?;
        Ok(copied_bytes)
    }

    /// Writes `bytes` at a distance from the start of the image that is beyond all that was
    /// written before, or in the block that is held back; the gap is zeros.
    pub(super) fn write_at(
        &mut self,
        offset_bytes: u64,
        mut bytes: &[u8],
        sink: &mut dyn BlockSink,
    ) -> io::Result<()> {
        let held_start = self.held_block * self.block_bytes as u64;
        let held_end = held_start + self.block_bytes as u64;
        let mut offset_bytes = offset_bytes;
        if (held_start..held_end).contains(&offset_bytes) {
            let room = (held_end - offset_bytes).min(bytes.len() as u64) as usize;
            let start = (offset_bytes - held_start) as usize;
            let (inside, behind) = bytes.split_at(room);
            self.held[start..start + room].copy_from_slice(inside);
            bytes = behind;
            offset_bytes = held_end;
        }
        if bytes.is_empty() {
            return Ok(());
        }
        self.pad_to(offset_bytes, sink)?;
        while !bytes.is_empty() {
            let room = &mut self.run[self.filled_bytes..];
            let (now, later) = bytes.split_at(room.len().min(bytes.len()));
            room[..now.len()].copy_from_slice(now);
            self.filled_bytes += now.len();
            bytes = later;
            self.flush_if_full(sink)?;
        }
        Ok(())
    }

    /// Fills the image up to `blocks` blocks, hands out the rest, and returns the held block.
    pub(super) fn finish(mut self, blocks: u64, sink: &mut dyn BlockSink) -> io::Result<Vec<u8>> {
        self.pad_to(blocks * self.block_bytes as u64, sink)?;
        self.flush(sink)?;
        Ok(self.held)
    }

    /// Writes zeros up to `offset_bytes`, around the block that is held back.
    fn pad_to(&mut self, offset_bytes: u64, sink: &mut dyn BlockSink) -> io::Result<()> {
        let held_start = self.held_block * self.block_bytes as u64;
        if self.position() <= held_start && held_start < offset_bytes {
            self.zeros(held_start - self.position(), sink)?;
            self.flush(sink)?;
            self.first_block = self.held_block + 1;
        }
        debug_assert!(self.position() <= offset_bytes, "blocks are written in order");
        self.zeros(offset_bytes.saturating_sub(self.position()), sink)
    }

    fn position(&self) -> u64 {
        self.first_block * self.block_bytes as u64 + self.filled_bytes as u64
    }

    fn align(&mut self, sink: &mut dyn BlockSink) -> io::Result<()> {
        let partial = self.filled_bytes % self.block_bytes;
        let missing = if partial == 0 { 0 } else { self.block_bytes - partial };
        self.zeros(missing as u64, sink)
    }

    fn zeros(&mut self, mut count: u64, sink: &mut dyn BlockSink) -> io::Result<()> {
        while count > 0 {
            let room = &mut self.run[self.filled_bytes..];
            let now = count.min(room.len() as u64) as usize;
            room[..now].fill(0);
            self.filled_bytes += now;
            count -= now as u64;
            self.flush_if_full(sink)?;
        }
        Ok(())
    }

    fn flush_if_full(&mut self, sink: &mut dyn BlockSink) -> io::Result<()> {
        if self.filled_bytes == self.run.len() { self.flush(sink) } else { Ok(()) }
    }

    fn flush(&mut self, sink: &mut dyn BlockSink) -> io::Result<()> {
        if self.filled_bytes > 0 {
            sink.take(self.first_block, &self.run[..self.filled_bytes])?;
            self.first_block += (self.filled_bytes / self.block_bytes) as u64;
            self.filled_bytes = 0;
        }
        Ok(())
    }
}

/// Says which end of a copy failed.
#[derive(Debug)]
pub(super) enum CopyError {
    Read(io::Error),
    Write(io::Error),
}

/// The longest run handed out: a few runs fit into a second-level cache, where they are hashed.
const RUN_BYTES: usize = 256 * 1024;
