//! Where the bytes of an image come from.

use std::fs::File;
use std::io::{self, Read, Seek as _, SeekFrom};
use std::ops::Range;
use std::os::unix::fs::FileExt as _;

/// Gives the bytes of an image, in any order.
///
/// Slices, vectors, files and block devices are sources.
pub trait ImageSource {
    /// Fills `buffer` with the bytes from `offset_bytes` on.
    ///
    /// # Errors
    ///
    /// Fails if they cannot be read, all of them.
    fn read_at(&self, offset_bytes: u64, buffer: &mut [u8]) -> io::Result<()>;

    /// Returns how many bytes there are.
    ///
    /// # Errors
    ///
    /// Fails if that cannot be found out.
    fn size_bytes(&self) -> io::Result<u64>;
}

impl ImageSource for [u8] {
    fn read_at(&self, offset_bytes: u64, buffer: &mut [u8]) -> io::Result<()> {
        let bytes = usize::try_from(offset_bytes)
            .ok()
            .and_then(|offset| self.get(offset..)?.get(..buffer.len()))
            .ok_or(io::ErrorKind::UnexpectedEof)?;
        buffer.copy_from_slice(bytes);
        Ok(())
    }

    fn size_bytes(&self) -> io::Result<u64> {
        Ok(self.len() as u64)
    }
}

impl ImageSource for Vec<u8> {
    fn read_at(&self, offset_bytes: u64, buffer: &mut [u8]) -> io::Result<()> {
        self[..].read_at(offset_bytes, buffer)
    }

    fn size_bytes(&self) -> io::Result<u64> {
        self[..].size_bytes()
    }
}

impl ImageSource for File {
    fn read_at(&self, offset_bytes: u64, buffer: &mut [u8]) -> io::Result<()> {
        self.read_exact_at(buffer, offset_bytes)
    }

    /// Returns the size of the file or block device.
    fn size_bytes(&self) -> io::Result<u64> {
        // The metadata of a block device has none.
        let mut file = self;
        let position = file.stream_position()?;
        let size_bytes = file.seek(SeekFrom::End(0))?;
        file.seek(SeekFrom::Start(position))?;
        Ok(size_bytes)
    }
}

impl<S: ImageSource + ?Sized> ImageSource for &S {
    fn read_at(&self, offset_bytes: u64, buffer: &mut [u8]) -> io::Result<()> {
        (**self).read_at(offset_bytes, buffer)
    }

    fn size_bytes(&self) -> io::Result<u64> {
        (**self).size_bytes()
    }
}

/// Reads a part of a source from its start to its end.
#[derive(Clone, Debug)]
pub struct SourceRange<S> {
    source: S,
    range: Range<u64>,
}

impl<S: ImageSource> SourceRange<S> {
    /// Prepares to read the bytes of `source` in `range`.
    pub fn new(source: S, range: Range<u64>) -> Self {
        Self { source, range }
    }
}

impl<S: ImageSource> Read for SourceRange<S> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left_bytes = self.range.end.saturating_sub(self.range.start);
        let count = left_bytes.min(buffer.len() as u64) as usize;
        self.source.read_at(self.range.start, &mut buffer[..count])?;
        self.range.start += count as u64;
        Ok(count)
    }
}
