//! Files that nobody looks at before they are finished.

use std::fs::File;
use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::io;
use std::os::fd::AsFd;

use rustix::fs::{self, AtFlags, Dir, FlockOperation, Mode, OFlags};
use rustix::io::Errno;
use rustix::path::Arg;

/// Is a file that is being written under a name of its own; it is removed unless it is given its
/// final name.
///
/// Its writer holds a lock on it (`flock(2)`), so that what a killed writer has left can be told
/// from what a living one is writing.
#[derive(Debug)]
pub(crate) struct PartialFile {
    pub(crate) file: File,
    directory: File,
    name: String,
    has_final_name: bool,
}

impl PartialFile {
    /// Creates a file in `directory`.
    pub(crate) fn create(directory: impl AsFd) -> io::Result<Self> {
        let directory = File::from(directory.as_fd().try_clone_to_owned()?);
        loop {
            let name = format!("{PREFIX}{:016x}", random());
            let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
            let file = match fs::openat(&directory, &name, flags, Mode::from_raw_mode(0o666)) {
                Ok(file) => File::from(file),
                Err(Errno::EXIST) => continue,
                Err(error) => return Err(error.into()),
            };
            let is_locked = fs::flock(&file, FlockOperation::NonBlockingLockExclusive).is_ok();
            let partial =
                Self { file, directory: directory.try_clone()?, name, has_final_name: false };
            // Someone who tidies up may have come between creation and lock.
            if is_locked && fs::fstat(&partial.file)?.st_nlink > 0 {
                return Ok(partial);
            }
        }
    }

    /// Makes the content durable and gives the file its final name, which replaces what has it.
    pub(crate) fn replace(&mut self, directory: impl AsFd, name: impl Arg) -> io::Result<()> {
        fs::fsync(&self.file)?;
        fs::renameat(&self.directory, &self.name, directory, name)?;
        self.has_final_name = true;
        Ok(())
    }

    /// Makes the content durable and gives the file one more name, in its own directory.
    ///
    /// # Errors
    ///
    /// Fails with [`io::ErrorKind::AlreadyExists`] if there is a file of that name.
    pub(crate) fn link(&self, name: impl Arg) -> io::Result<()> {
        fs::fsync(&self.file)?;
        Ok(fs::linkat(&self.directory, &self.name, &self.directory, name, AtFlags::empty())?)
    }
}

impl Drop for PartialFile {
    fn drop(&mut self) {
        if !self.has_final_name {
            // What stays here is removed by the next writer.
            let _ = fs::unlinkat(&self.directory, &self.name, AtFlags::empty());
        }
    }
}

/// Removes the files in `directory` that killed writers have left. What cannot be removed is left
/// for another time.
pub(crate) fn remove_leftovers(directory: impl AsFd) {
    let directory = directory.as_fd();
    let Ok(entries) = Dir::read_from(directory) else { return };
    for entry in entries.map_while(Result::ok) {
        let name = entry.file_name();
        if !is_partial(name.to_bytes()) {
            continue;
        }
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        if let Ok(file) = fs::openat(directory, name, flags, Mode::empty())
            && fs::flock(&file, FlockOperation::NonBlockingLockExclusive).is_ok()
        {
            let _ = fs::unlinkat(directory, name, AtFlags::empty());
        }
    }
}

/// Tells whether a file of that name is one that is being written, or was.
pub(crate) fn is_partial(name: &[u8]) -> bool {
    name.starts_with(PREFIX.as_bytes())
}

/// Returns a number that no other process will hit upon; the standard library seeds its hash maps
/// with such.
fn random() -> u64 {
    RandomState::new().build_hasher().finish()
}

const PREFIX: &str = ".osguard-partial-";

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    #[test]
    fn only_finished_files_keep_a_name() {
        let place = tempfile::tempdir().unwrap();
        let directory = File::open(place.path()).unwrap();
        drop(PartialFile::create(&directory).unwrap());
        assert_eq!(place.path().read_dir().unwrap().count(), 0);

        let mut partial = PartialFile::create(&directory).unwrap();
        partial.file.write_all(b"done").unwrap();
        partial.replace(&directory, "final").unwrap();
        assert_eq!(std::fs::read(place.path().join("final")).unwrap(), b"done");

        let partial = PartialFile::create(&directory).unwrap();
        let error = partial.link("final").unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AlreadyExists);
        partial.link("other").unwrap();
        drop(partial);
        assert_eq!(place.path().read_dir().unwrap().count(), 2);
    }

    #[test]
    fn only_what_dead_writers_have_left_is_removed() {
        let place = tempfile::tempdir().unwrap();
        let directory = File::open(place.path()).unwrap();
        let alive = PartialFile::create(&directory).unwrap();
        std::fs::write(place.path().join(".osguard-partial-dead"), b"half").unwrap();
        std::fs::write(place.path().join("zz"), b"").unwrap();
        remove_leftovers(&directory);
        let mut left: Vec<_> =
            place.path().read_dir().unwrap().map(|entry| entry.unwrap().file_name()).collect();
        left.sort();
        assert_eq!(left, [alive.name.as_str(), "zz"]);
    }

    #[test]
    fn writers_and_tidiers_at_once_do_not_disturb_each_other() {
        let place = tempfile::tempdir().unwrap();
        let directory = File::open(place.path()).unwrap();
        std::thread::scope(|scope| {
            for writer in 0..4 {
                let directory = &directory;
                scope.spawn(move || {
                    for round in 0..100 {
                        let mut partial = PartialFile::create(directory).unwrap();
                        remove_leftovers(directory);
                        partial.replace(directory, format!("{writer}-{round}")).unwrap();
                    }
                });
            }
        });
        assert_eq!(place.path().read_dir().unwrap().count(), 400);
    }
}
