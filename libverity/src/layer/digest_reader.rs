//! Hashing what streams by.

use std::io::{self, Read};

use sha2::{Digest as _, Sha256};

use super::LayerError;
use crate::digest::Digest;

/// Passes a stream on, hashes and counts it, and ends it with an error where it is too long.
///
/// Errors are [`LayerError`]s within [`io::Error`]s, so that they keep their names on the way
/// through the stages above.
pub(super) struct DigestReader<R> {
    stream: R,
    hasher: Sha256,
    read_bytes: u64,
    limit_bytes: u64,
    too_long: fn(u64) -> LayerError,
}

impl<R: Read> DigestReader<R> {
    /// Begins at the current place of `stream`; `too_long` makes the error from the limit.
    pub(super) fn new(stream: R, limit_bytes: u64, too_long: fn(u64) -> LayerError) -> Self {
        Self { stream, hasher: Sha256::new(), read_bytes: 0, limit_bytes, too_long }
    }

    /// Returns how many bytes were read.
    pub(super) const fn read_bytes(&self) -> u64 {
        self.read_bytes
    }

    /// Returns the digest of what was read.
    pub(super) fn digest(&self) -> Digest {
        Digest::from_bytes(self.hasher.clone().finalize().into())
    }

    /// Returns the stream below.
    pub(super) const fn stream(&mut self) -> &mut R {
        &mut self.stream
    }
}

impl<R: Read> Read for DigestReader<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = match self.stream.read(buffer) {
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => return Err(error),
            Err(error) => return Err(self.failed(error)),
        };
        self.read_bytes += read as u64;
        if self.read_bytes > self.limit_bytes {
            return Err((self.too_long)(self.limit_bytes).into());
        }
        self.hasher.update(&buffer[..read]);
        Ok(read)
    }
}

impl<R> DigestReader<R> {
    /// Keeps the error of a stage below, and names that of the blob itself.
    fn failed(&self, error: io::Error) -> io::Error {
        match error.downcast::<LayerError>() {
            Ok(error) => error.into(),
            Err(source) => LayerError::Read { offset_bytes: self.read_bytes, source }.into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn too_long(limit_bytes: u64) -> LayerError {
        LayerError::TooLong { limit_bytes }
    }

    #[test]
    fn what_was_read_is_hashed_and_counted() {
        let mut reader = DigestReader::new(&b"layer"[..], 5, too_long);
        assert_eq!(reader.digest(), Digest::of(b""));
        io::copy(&mut reader, &mut io::sink()).unwrap();
        assert_eq!(reader.read_bytes(), 5);
        assert_eq!(reader.digest(), Digest::of(b"layer"));
    }

    #[test]
    fn a_stream_beyond_its_limit_fails() {
        let mut reader = DigestReader::new(&b"layer"[..], 4, too_long);
        let error = io::copy(&mut reader, &mut io::sink()).unwrap_err();
        assert!(matches!(error.downcast(), Ok(LayerError::TooLong { limit_bytes: 4 })));
    }

    #[test]
    fn a_failing_stream_keeps_its_reason_through_two_stages() {
        struct Failing;
        impl Read for Failing {
            fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
                Err(io::Error::other("unplugged"))
            }
        }
        let below = DigestReader::new(b"abc".chain(Failing), u64::MAX, too_long);
        let mut above = DigestReader::new(below, u64::MAX, too_long);
        let error = io::copy(&mut above, &mut io::sink()).unwrap_err();
        let Ok(LayerError::Read { offset_bytes, source }) = error.downcast() else { panic!() };
        assert_eq!((offset_bytes, source.to_string().as_str()), (3, "unplugged"));
    }
}
