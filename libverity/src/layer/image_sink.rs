//! Where the bytes of an image go.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// Takes the bytes of an image at their offsets.
///
/// The calls come in ascending order but for the block with the superblock, which comes when all
/// others are there; then follows the hash area. In [index mode](super::Mode::Index) the archive
/// comes before them, and its place behind the image after them.
pub trait ImageSink: Send {
    /// Takes the next bytes of the archive, whose place is not known yet.
    ///
    /// # Errors
    ///
    /// As [`write_at`](Self::write_at).
    fn take_archive(&mut self, bytes: &[u8]) -> io::Result<()>;

    /// Puts the archive that was taken `offset_bytes` after the start of the image.
    ///
    /// # Errors
    ///
    /// As [`write_at`](Self::write_at).
    fn place_archive(&mut self, offset_bytes: u64) -> io::Result<()>;

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
    fn take_archive(&mut self, _: &[u8]) -> io::Result<()> {
        Ok(())
    }

    fn place_archive(&mut self, _: u64) -> io::Result<()> {
        Ok(())
    }

    fn write_at(&mut self, _: u64, _: &[u8]) -> io::Result<()> {
        Ok(())
    }

    fn finish(&mut self, _: u64) -> io::Result<()> {
        Ok(())
    }
}

/// Writes an image to a file, and leaves holes where it is zero.
///
/// An archive that belongs behind the image waits in a second file, which has no name and is gone
/// with the process, so that twice its size is taken on disk for a while.
#[derive(Debug)]
pub struct ImageFile<'a> {
    file: &'a File,
    /// Where the second file will be, on the same disk as the first one.
    directory: PathBuf,
    archive: Option<WaitingArchive>,
}

impl<'a> ImageFile<'a> {
    /// Empties `file`, which lies in `directory`, and begins an image at its start.
    ///
    /// # Errors
    ///
    /// Fails if the file cannot be emptied.
    pub fn new(file: &'a File, directory: &Path) -> io::Result<Self> {
        file.set_len(0)?;
        Ok(Self { file, directory: directory.to_owned(), archive: None })
    }
}

impl ImageSink for ImageFile<'_> {
    fn take_archive(&mut self, bytes: &[u8]) -> io::Result<()> {
        let archive = match &mut self.archive {
            Some(archive) => archive,
            none => none.insert(WaitingArchive {
                file: tempfile::tempfile_in(&self.directory)?,
                size_bytes: 0,
            }),
        };
        write_sparsely(&archive.file, archive.size_bytes, bytes)?;
        archive.size_bytes += bytes.len() as u64;
        Ok(())
    }

    fn place_archive(&mut self, offset_bytes: u64) -> io::Result<()> {
        let Some(WaitingArchive { file: archive, size_bytes }) = self.archive.take() else {
            return Ok(());
        };
        archive.set_len(size_bytes)?;
        let mut buffer = vec![0; COPY_BYTES];
        for copied_bytes in (0..size_bytes).step_by(COPY_BYTES) {
            let count = (size_bytes - copied_bytes).min(COPY_BYTES as u64) as usize;
            archive.read_exact_at(&mut buffer[..count], copied_bytes)?;
            write_sparsely(self.file, offset_bytes + copied_bytes, &buffer[..count])?;
        }
        Ok(())
    }

    fn write_at(&mut self, offset_bytes: u64, bytes: &[u8]) -> io::Result<()> {
        write_sparsely(self.file, offset_bytes, bytes)
    }

    fn finish(&mut self, size_bytes: u64) -> io::Result<()> {
        self.file.set_len(size_bytes)
    }
}

#[derive(Debug)]
struct WaitingArchive {
    file: File,
    size_bytes: u64,
}

/// Writes what is not zero to a file that is a hole there.
fn write_sparsely(file: &File, offset_bytes: u64, bytes: &[u8]) -> io::Result<()> {
    let mut written = 0;
    while written < bytes.len() {
        let rest = &bytes[written..];
        let hole_bytes = leading_bytes(rest, is_zero);
        let data_bytes = leading_bytes(&rest[hole_bytes..], |piece| !is_zero(piece));
        let data = &rest[hole_bytes..][..data_bytes];
        file.write_all_at(data, offset_bytes + (written + hole_bytes) as u64)?;
        written += hole_bytes + data_bytes;
    }
    Ok(())
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
/// Is how much of an archive is copied at a time.
const COPY_BYTES: usize = 1 << 20;

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
        let mut sink = ImageFile::new(&file, &std::env::temp_dir()).unwrap();
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
        let mut sink = ImageFile::new(&file, &std::env::temp_dir()).unwrap();
        sink.write_at(0, &[vec![0; HOLE_BYTES], vec![7; 100]].concat()).unwrap();
        let mut found = vec![0; HOLE_BYTES + 100];
        file.read_exact_at(&mut found, 0).unwrap();
        assert_eq!(found[HOLE_BYTES..], [7; 100]);
    }
}
