//! A log in a file, through rotations.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use super::{Extent, Lossy, PATIENCE, SourceError};

/// Reads a file, and goes on with its successor when it is renamed away, or with its start when it is emptied.
pub(super) struct LogFile {
    path: PathBuf,
    file: File,
    extent: Extent,
    /// A pipe or a device, which is not looked for again by its name.
    is_stream: bool,
}

impl LogFile {
    pub(super) fn open(path: &Path, extent: Extent) -> Result<Self, SourceError> {
        let failed = |source| SourceError::Unreadable { path: path.to_owned(), source };
        let mut file = File::open(path).map_err(failed)?;
        let metadata = file.metadata().map_err(failed)?;
        if metadata.is_dir() {
            return Err(failed(io::ErrorKind::IsADirectory.into()));
        }
        let kind = metadata.file_type();
        let is_stream = kind.is_fifo() || kind.is_char_device() || kind.is_socket();
        if extent.skips_past() && !is_stream {
            file.seek(SeekFrom::End(0)).map_err(failed)?;
        }
        Ok(Self { path: path.to_owned(), file, extent, is_stream })
    }

    /// Finds out whether there is more, in a file that has come to its end; tells whether there may be.
    fn turn_over(&mut self) -> io::Result<bool> {
        let current = self.file.metadata()?;
        match std::fs::metadata(&self.path) {
            Ok(named) if (named.dev(), named.ino()) != (current.dev(), current.ino()) => {
                // Between the last read and the renaming something may have come.
                if self.file.stream_position()? < current.len() {
                    return Ok(true);
                }
                self.file = File::open(&self.path)?;
                Ok(true)
            }
            Ok(named) if named.len() < self.file.stream_position()? => {
                self.file.rewind()?;
                Ok(true)
            }
            // While a log is rotated, its name is nobody's for a moment.
            Ok(_) | Err(_) => Ok(false),
        }
    }
}

impl Read for LogFile {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.file.read(buffer)?;
        if count > 0 || buffer.is_empty() || self.is_stream || !self.extent.follows() {
            return Ok(count);
        }
        if self.turn_over()? {
            let count = self.file.read(buffer)?;
            if count > 0 {
                return Ok(count);
            }
        }
        std::thread::sleep(PATIENCE);
        Err(io::ErrorKind::WouldBlock.into())
    }
}

impl Lossy for LogFile {}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    /// Reads until nothing comes.
    fn read(file: &mut LogFile) -> String {
        let mut text = Vec::new();
        let mut buffer = [0; 7];
        let mut patience = 2;
        while patience > 0 {
            match file.read(&mut buffer) {
                Ok(0) => break,
                Ok(count) => text.extend_from_slice(&buffer[..count]),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => patience -= 1,
                Err(error) => panic!("{error}"),
            }
        }
        String::from_utf8(text).unwrap()
    }

    #[test]
    fn rotated_and_emptied_logs_are_followed() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("audit.log");
        std::fs::write(&path, "one\n").unwrap();
        let mut past = LogFile::open(&path, Extent::Past).unwrap();
        let mut all = LogFile::open(&path, Extent::PastAndFuture).unwrap();
        let mut future = LogFile::open(&path, Extent::Future).unwrap();
        assert_eq!(read(&mut past), "one\n");
        assert_eq!(read(&mut all), "one\n");
        assert_eq!(read(&mut future), "");
        let mut writer = File::options().append(true).open(&path).unwrap();
        writer.write_all(b"two\n").unwrap();
        std::fs::rename(&path, directory.path().join("audit.log.1")).unwrap();
        writer.write_all(b"three\n").unwrap();
        assert_eq!(read(&mut future), "two\nthree\n");
        std::fs::write(&path, "four four four\n").unwrap();
        assert_eq!(read(&mut future), "four four four\n");
        std::fs::write(&path, "five\n").unwrap();
        assert_eq!(read(&mut future), "five\n");
        assert_eq!(read(&mut all), "two\nthree\nfive\n");
    }

    #[test]
    fn directories_are_no_logs() {
        assert!(matches!(
            LogFile::open(Path::new("/"), Extent::Past),
            Err(SourceError::Unreadable { .. })
        ));
    }
}
