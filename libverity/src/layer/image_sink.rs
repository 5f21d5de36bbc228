//! Where the bytes of an image go.

use std::collections::BTreeMap;
use std::env;
use std::fs::File;
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use tempfile::SpooledTempFile;

/// Takes the bytes of an image at their offsets; what it is not given is zero.
///
/// The calls come in ascending order but for the block with the superblock, which comes when all
/// others are there; then follows the hash area. What is [set aside](Self::set_aside) comes before its
/// place is known.
pub trait ImageSink: Send {
    /// Takes the next bytes of a part whose place is not known yet.
    ///
    /// # Errors
    ///
    /// As [`write_at`](Self::write_at).
    fn set_aside(&mut self, part: Part, bytes: &[u8]) -> io::Result<()>;

    /// Puts a part, if anything of it was set aside, `offset_bytes` after the start of the image.
    ///
    /// # Errors
    ///
    /// As [`write_at`](Self::write_at).
    fn place(&mut self, part: Part, offset_bytes: u64) -> io::Result<()>;

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

    /// Returns where the conversion may have files that are gone with it.
    fn temporary_directory(&self) -> PathBuf {
        env::temp_dir()
    }
}

/// Is a part of an image's file that comes before its place is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Part {
    /// In [index mode](super::Mode::Index) the archive, which lies behind the image.
    Archive,
    /// A level of the hash tree, counted from the leaves up, without its first block.
    HashLevel(usize),
}

/// Is where an image goes of which only the root hash is wanted.
#[derive(Clone, Copy, Debug, Default)]
pub struct Discard;

impl ImageSink for Discard {
    fn set_aside(&mut self, _: Part, _: &[u8]) -> io::Result<()> {
        Ok(())
    }

    fn place(&mut self, _: Part, _: u64) -> io::Result<()> {
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
/// What is set aside waits in memory up to 8 MiB for each part, and beyond that in files that have no
/// name and are gone with the process: for a while an image that points into its archive takes twice
/// its size on disk, and any other 1/128 more.
#[derive(Debug)]
pub struct ImageFile<'a> {
    file: &'a File,
    /// Where the other files will be, on the same disk as the first one.
    directory: PathBuf,
    waiting: BTreeMap<Part, Waiting>,
}

impl<'a> ImageFile<'a> {
    /// Empties `file`, which lies in `directory`, and begins an image at its start.
    ///
    /// # Errors
    ///
    /// Fails if the file cannot be emptied.
    pub fn new(file: &'a File, directory: &Path) -> io::Result<Self> {
        file.set_len(0)?;
        Ok(Self { file, directory: directory.to_owned(), waiting: BTreeMap::new() })
    }
}

impl ImageSink for ImageFile<'_> {
    fn set_aside(&mut self, part: Part, bytes: &[u8]) -> io::Result<()> {
        let Self { directory, waiting, .. } = self;
        let waiting = waiting.entry(part).or_insert_with(|| Waiting {
            file: tempfile::spooled_tempfile_in(MAX_WAITING_IN_MEMORY_BYTES, directory),
            size_bytes: 0,
        });
        for_each_piece(waiting.size_bytes, bytes, |offset_bytes, bytes| {
            waiting.file.seek(SeekFrom::Start(offset_bytes))?;
            waiting.file.write_all(bytes)
        })?;
        waiting.size_bytes += bytes.len() as u64;
        Ok(())
    }

    fn place(&mut self, part: Part, offset_bytes: u64) -> io::Result<()> {
        let Some(Waiting { mut file, size_bytes }) = self.waiting.remove(&part) else {
            return Ok(());
        };
        file.set_len(size_bytes)?;
        file.rewind()?;
        let mut buffer = vec![0; COPY_BYTES];
        for copied_bytes in (0..size_bytes).step_by(COPY_BYTES) {
            let count = (size_bytes - copied_bytes).min(COPY_BYTES as u64) as usize;
            file.read_exact(&mut buffer[..count])?;
            self.write_at(offset_bytes + copied_bytes, &buffer[..count])?;
        }
        Ok(())
    }

    fn write_at(&mut self, offset_bytes: u64, bytes: &[u8]) -> io::Result<()> {
        for_each_piece(offset_bytes, bytes, |offset_bytes, bytes| {
            self.file.write_all_at(bytes, offset_bytes)
        })
    }

    fn finish(&mut self, size_bytes: u64) -> io::Result<()> {
        self.file.set_len(size_bytes)
    }

    fn temporary_directory(&self) -> PathBuf {
        self.directory.clone()
    }
}

/// Is what was set aside of a part.
#[derive(Debug)]
struct Waiting {
    file: SpooledTempFile,
    size_bytes: u64,
}

/// Hands out what is not zero in `bytes`, which begin at an offset.
fn for_each_piece(
    offset_bytes: u64,
    bytes: &[u8],
    mut write: impl FnMut(u64, &[u8]) -> io::Result<()>,
) -> io::Result<()> {
    let mut written = 0;
    while written < bytes.len() {
        let rest = &bytes[written..];
        let hole_bytes = leading_bytes(rest, is_zero);
        let data_bytes = leading_bytes(&rest[hole_bytes..], |piece| !is_zero(piece));
        if data_bytes > 0 {
            let data = &rest[hole_bytes..][..data_bytes];
            write(offset_bytes + (written + hole_bytes) as u64, data)?;
        }
        written += hole_bytes + data_bytes;
    }
    Ok(())
}

/// Returns how many bytes at the start of `bytes` lie in pieces that have the property.
fn leading_bytes(bytes: &[u8], property: impl Fn(&[u8]) -> bool) -> usize {
    bytes.chunks(HOLE_BYTES).take_while(|piece| property(piece)).map(<[u8]>::len).sum()
}

/// Compares with zeros, which the processor does many bytes at a time.
fn is_zero(bytes: &[u8]) -> bool {
    bytes == &ZEROS[..bytes.len()]
}

/// Is how much must be zero to be left out: a block of most file systems.
const HOLE_BYTES: usize = 4096;
static ZEROS: [u8; HOLE_BYTES] = [0; HOLE_BYTES];
/// Is how much of what was set aside is copied at a time.
const COPY_BYTES: usize = 1 << 20;
/// Is enough for the hash tree of 1 GiB in full mode.
const MAX_WAITING_IN_MEMORY_BYTES: usize = 8 << 20;

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
        let mut sink = ImageFile::new(&file, &env::temp_dir()).unwrap();
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
        let mut sink = ImageFile::new(&file, &env::temp_dir()).unwrap();
        sink.write_at(0, &[vec![0; HOLE_BYTES], vec![7; 100]].concat()).unwrap();
        let mut found = vec![0; HOLE_BYTES + 100];
        file.read_exact_at(&mut found, 0).unwrap();
        assert_eq!(found[HOLE_BYTES..], [7; 100]);
    }

    #[test]
    fn what_was_set_aside_comes_to_its_place_whether_it_is_little_or_much() {
        for blocks in [1, 3, MAX_WAITING_IN_MEMORY_BYTES / HOLE_BYTES + 5] {
            let file = tempfile::tempfile().unwrap();
            let mut sink = ImageFile::new(&file, &env::temp_dir()).unwrap();
            let block = |number: usize| [(number % 3) as u8; HOLE_BYTES];
            for number in 0..blocks {
                sink.set_aside(Part::HashLevel(1), &block(number)).unwrap();
                sink.set_aside(Part::Archive, &block(number + 1)[..100]).unwrap();
            }
            let archive_offset_bytes = ((blocks + 1) * HOLE_BYTES) as u64;
            sink.place(Part::HashLevel(1), HOLE_BYTES as u64).unwrap();
            sink.place(Part::Archive, archive_offset_bytes).unwrap();
            sink.place(Part::HashLevel(0), 7).unwrap();
            sink.finish(archive_offset_bytes + 100 * blocks as u64).unwrap();
            let mut found = [0; HOLE_BYTES];
            for number in 0..blocks {
                file.read_exact_at(&mut found, ((number + 1) * HOLE_BYTES) as u64).unwrap();
                assert!(found == block(number), "{number} of {blocks}");
                let offset_bytes = archive_offset_bytes + 100 * number as u64;
                file.read_exact_at(&mut found[..100], offset_bytes).unwrap();
                assert_eq!(found[..100], block(number + 1)[..100], "{number} of {blocks}");
            }
        }
    }
}
