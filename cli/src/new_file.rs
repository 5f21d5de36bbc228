//! Files that appear once they are complete.

use std::ffi::OsString;
use std::fs::{self, File, TryLockError};
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

/// Is a file that is written beside its place and then put there, in place of what is there.
///
/// Dropped before, it is gone. What a killed process left behind is overwritten by the next one
/// that writes the same file: the name beside is always the same, and whoever writes holds a lock.
pub(crate) struct NewFile {
    file: File,
    beside: PathBuf,
    place: PathBuf,
    is_complete: bool,
}

impl NewFile {
    /// Begins the file that will be `place`.
    ///
    /// # Errors
    ///
    /// Fails where `place` is something else than a file already, where it cannot be written, and
    /// while another process writes it.
    pub(crate) fn create(place: &Path) -> io::Result<Self> {
        match fs::metadata(place) {
            Ok(metadata) if metadata.is_dir() => return Err(io::ErrorKind::IsADirectory.into()),
            Ok(metadata) if !metadata.is_file() => {
                return Err(io::Error::other("it is a device or a pipe, and a file is needed"));
            }
            _ => {}
        }
        let beside = beside(place)?;
        loop {
            let file = File::options()
                .read(true)
                .write(true)
                .create(true)
                .truncate(false)
                .open(&beside)?;
            match file.try_lock() {
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => {
                    return Err(io::Error::other("another process is writing it"));
                }
                Err(TryLockError::Error(error)) => return Err(error),
            }
            // The process that held the lock before may have moved or removed what was locked.
            if is_same(&file, &beside) {
                file.set_len(0)?;
                return Ok(Self { file, beside, place: place.to_owned(), is_complete: false });
            }
        }
    }

    /// Returns the file, to be written and read again.
    pub(crate) fn file(&self) -> &File {
        &self.file
    }

    /// Returns the directory that it lies in.
    pub(crate) fn directory(&self) -> &Path {
        match self.place.parent() {
            Some(directory) if !directory.as_os_str().is_empty() => directory,
            _ => Path::new("."),
        }
    }

    /// Writes the file out to the disk and gives it its name.
    pub(crate) fn complete(mut self) -> io::Result<()> {
        self.file.sync_all()?;
        fs::rename(&self.beside, &self.place)?;
        self.is_complete = true;
        Ok(())
    }
}

impl Drop for NewFile {
    fn drop(&mut self) {
        if !self.is_complete {
            // What cannot be removed is overwritten by the next attempt.
            let _ = fs::remove_file(&self.beside);
        }
    }
}

fn beside(place: &Path) -> io::Result<PathBuf> {
    let name = place.file_name().ok_or(io::ErrorKind::IsADirectory)?;
    let mut beside = OsString::from(".");
    beside.push(name);
    beside.push(".partial");
    Ok(place.with_file_name(beside))
}

fn is_same(file: &File, path: &Path) -> bool {
    let identity = |metadata: fs::Metadata| (metadata.dev(), metadata.ino());
    let of_file = file.metadata().map(identity);
    let of_path = fs::symlink_metadata(path).map(identity);
    matches!((of_file, of_path), (Ok(file), Ok(path)) if file == path)
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    fn names(directory: &Path) -> Vec<OsString> {
        let mut names: Vec<_> =
            fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        names
    }

    #[test]
    fn a_file_appears_when_it_is_complete() {
        let directory = tempfile::tempdir().unwrap();
        let place = directory.path().join("file");
        fs::write(&place, "before").unwrap();
        let new = NewFile::create(&place).unwrap();
        new.file().write_all(b"after").unwrap();
        assert_eq!(fs::read(&place).unwrap(), b"before");
        new.complete().unwrap();
        assert_eq!(fs::read(&place).unwrap(), b"after");
        assert_eq!(names(directory.path()), ["file"]);
    }

    #[test]
    fn what_is_given_up_leaves_nothing() {
        let directory = tempfile::tempdir().unwrap();
        drop(NewFile::create(&directory.path().join("file")).unwrap());
        assert_eq!(names(directory.path()).len(), 0);
    }

    #[test]
    fn leftovers_of_a_killed_process_are_overwritten() {
        let directory = tempfile::tempdir().unwrap();
        let place = directory.path().join("file");
        fs::write(directory.path().join(".file.partial"), "a long piece").unwrap();
        let new = NewFile::create(&place).unwrap();
        new.file().write_all(b"short").unwrap();
        new.complete().unwrap();
        assert_eq!(fs::read(&place).unwrap(), b"short");
        assert_eq!(names(directory.path()), ["file"]);
    }

    #[test]
    fn two_do_not_write_the_same_file() {
        let directory = tempfile::tempdir().unwrap();
        let place = directory.path().join("file");
        let first = NewFile::create(&place).unwrap();
        assert!(NewFile::create(&place).is_err());
        first.complete().unwrap();
        NewFile::create(&place).unwrap();
    }
}
