//! Where the bytes of an image go.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

/// Takes the bytes of an image at their offsets.
///
/// The calls come in ascending order but for the first block, which comes when all others are
/// there; then follows the hash area.
pub trait ImageSink {
    /// Takes `bytes`, which begin `offset_bytes` after the start of the image.
    ///
    /// # Errors
    ///
    /// Whatever prevents the sink from taking them; the image is then lost.
    fn write_at(&mut self, offset_bytes: u64, bytes: &[u8]) -> io::Result<()>;

    /// Learns that the image and its hash area are complete and end at `size_bytes`.
    ///
    /// # Errors
    ///
    /// As [`write_at`](Self::write_at).
    fn finish(&mut self, size_bytes: u64) -> io::Result<()>;
}

/// Is where an image goes of which only the root hash is wanted.
#[derive(Clone, Copy, Debug, Default)]
pub struct Discard;

impl ImageSink for Discard {
    fn write_at(&mut self, _: u64, _: &[u8]) -> io::Result<()> {
        Ok(())
    }

    fn finish(&mut self, _: u64) -> io::Result<()> {
        Ok(())
    }
}

/// Writes an image to a file, and leaves holes where it is zero.
#[derive(Debug)]
pub struct ImageFile<'a> {
    file: &'a File,
}

impl<'a> ImageFile<'a> {
    /// Empties `file` and begins an image at its start.
    ///
    /// # Errors
    ///
    /// Fails if the file cannot be emptied.
    pub fn new(file: &'a File) -> io::Result<Self> {
        file.set_len(0)?;
        Ok(Self { file })
    }
}

impl ImageSink for ImageFile<'_> {
    fn write_at(&mut self, offset_bytes: u64, bytes: &[u8]) -> io::Result<()> {
        let mut written = 0;
        while written < bytes.len() {
            let rest = &bytes[written..];
            let hole_bytes = leading_bytes(rest, is_zero);
            let data_bytes = leading_bytes(&rest[hole_bytes..], |piece| !is_zero(piece));
            let data = &rest[hole_bytes..][..data_bytes];
            self.file.write_all_at(data, offset_bytes + (written + hole_bytes) as u64)?;
            written += hole_bytes + data_bytes;
        }
        Ok(())
    }

    fn finish(&mut self, size_bytes: u64) -> io::Result<()> {
        self.file.set_len(size_bytes)
    }
}

/// Returns how many bytes at the start of `bytes` lie in pieces that have the property.
fn leading_bytes(bytes: &[u8], property: impl Fn(&[u8]) -> bool) -> usize {
    bytes.chunks(HOLE_BYTES).take_while(|piece| property(piece)).map(<[u8]>::len).sum()
}

fn is_zero(bytes: &[u8]) -> bool {
    bytes.iter().all(|&byte| byte == 0)
}

/// Is how much must be zero to be left out: a block of most file systems.
const HOLE_BYTES: usize = 4096;

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt;

    use super::*;

    #[test]
    fn zeros_become_holes_and_are_read_back() {
        let file = tempfile::tempfile().unwrap();
        file.write_all_at(b"what was there before", 1 << 20).unwrap();
        let mut expected = vec![0; 64 * HOLE_BYTES];
        expected[HOLE_BYTES..2 * HOLE_BYTES].fill(1);
        expected[20 * HOLE_BYTES + 5] = 2;
        let mut sink = ImageFile::new(&file).unwrap();
        sink.write_at(HOLE_BYTES as u64, &expected[HOLE_BYTES..]).unwrap();
        expected[..10].fill(3);
        sink.write_at(0, &expected[..HOLE_BYTES]).unwrap();
        sink.finish(expected.len() as u64).unwrap();

        let mut found = vec![0xff; expected.len()];
        file.read_exact_at(&mut found, 0).unwrap();
        assert_eq!(found, expected);
        let metadata = file.metadata().unwrap();
        assert_eq!(metadata.len(), expected.len() as u64);
        assert!(metadata.blocks() * 512 <= 3 * HOLE_BYTES as u64, "three pieces have content");
    }

    #[test]
    fn a_last_piece_shorter_than_a_block_is_written() {
        let file = tempfile::tempfile().unwrap();
        let mut sink = ImageFile::new(&file).unwrap();
        sink.write_at(0, &[vec![0; HOLE_BYTES], vec![7; 100]].concat()).unwrap();
        let mut found = vec![0; HOLE_BYTES + 100];
        file.read_exact_at(&mut found, 0).unwrap();
        assert_eq!(found[HOLE_BYTES..], [7; 100]);
    }
}
