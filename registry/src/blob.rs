//! Blobs that are checked while they stream by.

use std::io::{self, Read};

use libverity::digest::Digest;
use sha2::{Digest as _, Sha256};

use crate::error::Error;

/// Reads a blob and hands its last bytes out only after length and digest were found right.
///
/// Whoever reads up to the end of the blob, be it the announced size or the end of the stream, has
/// checked all of it. A reader that is dropped earlier has checked nothing. What was wrong travels
/// as the inner error of the [`io::Error`]; [`Error::from_read`] takes it out again.
pub struct BlobReader<R = Box<dyn Read + Send>> {
    content: R,
    object: String,
    expected: Digest,
    size_bytes: u64,
    remaining_bytes: u64,
    /// `None` for a consumer that hashes by itself, and after the digest was compared.
    hasher: Option<Sha256>,
    state: State,
}

impl<R: Read> BlobReader<R> {
    /// Reads `content`, which should have `size_bytes` bytes and the digest `expected`; errors name
    /// it as `object`.
    pub fn new(content: R, object: String, expected: Digest, size_bytes: u64) -> Self {
        Self {
            content,
            object,
            expected,
            size_bytes,
            remaining_bytes: size_bytes,
            hasher: Some(Sha256::new()),
            state: State::Reading,
        }
    }

    /// Returns the reader without the hash, for a consumer that computes the digest anyway and
    /// compares it before it uses what it has read. The length is still checked.
    ///
    /// Nothing may have been read yet.
    #[must_use]
    pub fn without_hashing(self) -> Self {
        Self { hasher: None, ..self }
    }

    /// Returns the length of the blob, in bytes.
    pub fn size_bytes(&self) -> u64 {
        self.size_bytes
    }

    /// Reads the whole blob into memory.
    ///
    /// # Errors
    ///
    /// Returns [`Error::TooLong`] if the blob is longer than `limit_bytes`, before anything is
    /// read, and what reading returns otherwise.
    pub fn read_all(mut self, limit_bytes: u64) -> Result<Vec<u8>, Error> {
        if self.size_bytes > limit_bytes {
            return Err(Error::TooLong {
                object: self.object,
                limit_bytes,
                found_bytes: self.size_bytes,
            });
        }
        let mut bytes = Vec::with_capacity(usize::try_from(self.size_bytes).unwrap_or_default());
        match self.read_to_end(&mut bytes) {
            Ok(_) => Ok(bytes),
            Err(error) => Err(Error::from_read(&self.object, error)),
        }
    }

    /// Hands the whole blob to `write`, piece by piece.
    ///
    /// # Errors
    ///
    /// Returns what `write` returns, and what reading returns: a piece that was handed out before
    /// is not to be used then.
    pub fn copy_to(
        &mut self,
        write: &mut dyn FnMut(&[u8]) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let mut buffer = vec![0; COPY_BUFFER_BYTES];
        loop {
            match self.read(&mut buffer) {
                Ok(0) => return Ok(()),
                Ok(read) => write(&buffer[..read])?,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(Error::from_read(&self.object, error)),
            }
        }
    }

    fn read_checked(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let limit = usize::try_from(self.remaining_bytes).unwrap_or(usize::MAX).min(buffer.len());
        let read = if limit == 0 { 0 } else { self.content.read(&mut buffer[..limit])? };
        if read == 0 && self.remaining_bytes > 0 {
            return Err(self.size_differs(self.size_bytes - self.remaining_bytes).into());
        }
        if let Some(hasher) = &mut self.hasher {
            hasher.update(&buffer[..read]);
        }
        self.remaining_bytes -= read as u64;
        if self.remaining_bytes == 0 {
            self.check_end()?;
        }
        Ok(read)
    }

    fn check_end(&mut self) -> io::Result<()> {
        let mut excess = [0];
        loop {
            match self.content.read(&mut excess) {
                Ok(0) => break,
                // How much longer it is does not matter enough to read all of it.
                Ok(_) => return Err(self.size_differs(self.size_bytes.saturating_add(1)).into()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        if let Some(hasher) = self.hasher.take() {
            let found = Digest::from_bytes(hasher.finalize().into());
            if found != self.expected {
                return Err(Error::DigestDiffers {
                    object: self.object.clone(),
                    expected: self.expected,
                    found,
                }
                .into());
            }
        }
        self.state = State::Checked;
        Ok(())
    }

    fn size_differs(&self, found_bytes: u64) -> Error {
        Error::SizeDiffers {
            object: self.object.clone(),
            expected_bytes: self.size_bytes,
            found_bytes,
        }
    }
}

impl<R: Read> Read for BlobReader<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self.state {
            State::Checked => return Ok(0),
            State::Failed => return Err(io::Error::other("reading has failed before")),
            State::Reading if buffer.is_empty() => return Ok(0),
            State::Reading => {}
        }
        let result = self.read_checked(buffer);
        match &result {
            Err(error) if error.kind() != io::ErrorKind::Interrupted => self.state = State::Failed,
            _ => {}
        }
        result
    }
}

impl<R> std::fmt::Debug for BlobReader<R> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("BlobReader")
            .field("object", &self.object)
            .field("size_bytes", &self.size_bytes)
            .field("remaining_bytes", &self.remaining_bytes)
            .finish_non_exhaustive()
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Checked,
    Failed,
    Reading,
}

/// How much of a blob is copied at once: hashed while it is still in the second-level cache.
const COPY_BUFFER_BYTES: usize = 256 << 10;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn reader(content: &[u8], expected: Digest, size_bytes: u64) -> BlobReader<&[u8]> {
        BlobReader::new(content, "blob x".to_owned(), expected, size_bytes)
    }

    #[test]
    fn what_is_right_is_read() {
        for content in [&b""[..], b"layer"] {
            let reader = reader(content, Digest::of(content), content.len() as u64);
            assert_eq!(reader.read_all(5).unwrap(), content);
        }
    }

    #[test]
    fn wrong_length_and_wrong_content_are_told_apart() {
        let digest = Digest::of(b"layer");
        assert!(matches!(
            reader(b"laye", digest, 5).read_all(5),
            Err(Error::SizeDiffers { expected_bytes: 5, found_bytes: 4, .. })
        ));
        assert!(matches!(
            reader(b"layer ", digest, 5).read_all(5),
            Err(Error::SizeDiffers { expected_bytes: 5, found_bytes: 6, .. })
        ));
        assert!(matches!(
            reader(b"Layer", digest, 5).read_all(5),
            Err(Error::DigestDiffers { expected, found, .. })
                if expected == digest && found == Digest::of(b"Layer")
        ));
        assert!(matches!(reader(b"", digest, 0).read_all(5), Err(Error::DigestDiffers { .. })));
        assert!(matches!(
            reader(b"layer", digest, 5).read_all(4),
            Err(Error::TooLong { limit_bytes: 4, found_bytes: 5, .. })
        ));
    }

    #[test]
    fn a_failed_reader_stays_failed() {
        let mut reader = reader(b"Layer", Digest::of(b"layer"), 5);
        let mut buffer = [0; 8];
        assert!(reader.read(&mut buffer).is_err());
        assert!(reader.read(&mut buffer).is_err());
    }

    #[test]
    fn a_consumer_that_hashes_by_itself_still_has_the_length_checked() {
        let digest = Digest::of(b"layer");
        assert_eq!(reader(b"Layer", digest, 5).without_hashing().read_all(5).unwrap(), b"Layer");
        assert!(reader(b"Laye", digest, 5).without_hashing().read_all(5).is_err());
        assert!(reader(b"Layer!", digest, 5).without_hashing().read_all(5).is_err());
    }

    proptest! {
        #[test]
        fn the_last_byte_of_a_wrong_blob_is_never_handed_out(
            mut content in proptest::collection::vec(any::<u8>(), 1..200),
            position in any::<proptest::sample::Index>(),
            step in 1_usize..50,
        ) {
            let digest = Digest::of(&content);
            let size = content.len();
            content[position.index(size)] ^= 1;
            let mut reader = reader(&content, digest, size as u64);
            let mut buffer = vec![0; step];
            let mut handed_out = 0;
            while let Ok(read) = reader.read(&mut buffer) {
                prop_assert_ne!(read, 0);
                handed_out += read;
            }
            prop_assert!(handed_out < size);
        }
    }
}
