//! The files of a layout directory: opened without ever leaving it, replaced without ever being
//! half there.

use std::fs::File;
use std::io::{self, Write as _};
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use libverity::digest::Digest;
use rustix::fs::{self, AtFlags, Dir, FileType, FlockOperation, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

/// Is an open layout directory.
///
/// Every path is looked up beneath it: a symbolic link in a hostile layout that points outside
/// fails with `EXDEV` (`openat2(2)`, `RESOLVE_BENEATH`).
#[derive(Debug)]
pub(super) struct Files {
    root: OwnedFd,
}

impl Files {
    pub(super) fn open(directory: &Path) -> io::Result<Self> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        Ok(Self { root: fs::open(directory, flags, Mode::empty())? })
    }

    /// Opens a regular file for reading and returns its length in bytes.
    pub(super) fn open_file(&self, path: &str) -> Result<(File, u64), OpenError> {
        // Without NONBLOCK a named pipe in the place of a blob would block forever.
        let file = match self.open_beneath(path, OFlags::RDONLY | OFlags::NONBLOCK) {
            Ok(file) => file,
            Err(Errno::NOENT | Errno::NOTDIR) => return Err(OpenError::Missing),
            Err(Errno::XDEV | Errno::LOOP) => return Err(OpenError::Outside),
            Err(error) => return Err(OpenError::Io(error.into())),
        };
        let stat = fs::fstat(&file).map_err(|error| OpenError::Io(error.into()))?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
            return Err(OpenError::NotAFile);
        }
        Ok((File::from(file), u64::try_from(stat.st_size).unwrap_or_default()))
    }

    /// Tells whether there is nothing in the directory but what an interrupted creation left.
    pub(super) fn is_unused(&self) -> io::Result<bool> {
        Ok(self.names()?.iter().all(|name| is_partial(name)))
    }

    /// Creates `oci-layout`, without which nothing else is looked at and nobody can lock.
    pub(super) fn create_marker(&self, content: &[u8]) -> io::Result<()> {
        loop {
            let mut partial = self.new_partial()?;
            partial.file.write_all(content)?;
            fs::fsync(&partial.file)?;
            match fs::linkat(&self.root, &partial.name, &self.root, MARKER, AtFlags::empty()) {
                // Two creators at once write the same bytes.
                Ok(()) | Err(Errno::EXIST) => return Ok(()),
                // Someone tidied up before this file was locked.
                Err(Errno::NOENT) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Waits until no other process or thread changes the layout, and keeps them out.
    ///
    /// The lock is on `oci-layout`, which every layout has and nobody replaces, so that no file is
    /// added that other tools do not know.
    pub(super) fn lock(&self) -> io::Result<Lock<'_>> {
        let marker = self.open_beneath(MARKER, OFlags::RDONLY)?;
        rustix::io::retry_on_intr(|| fs::flock(&marker, FlockOperation::LockExclusive))?;
        Ok(Lock { files: self, _marker: marker })
    }

    /// Puts a finished file in the place of a blob.
    ///
    /// The name is made durable by the next [`Lock::replace_index`], before anything refers to it.
    pub(super) fn publish_blob(&self, partial: Partial<'_>, digest: &Digest) -> io::Result<()> {
        fs::fsync(&partial.file)?;
        let blobs = self.blobs()?;
        partial.rename(&blobs, &digest.hex())
    }

    fn blobs(&self) -> io::Result<OwnedFd> {
        for directory in ["blobs", BLOBS] {
            match fs::mkdirat(&self.root, directory, Mode::from_raw_mode(0o777)) {
                Ok(()) | Err(Errno::EXIST) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(self.open_beneath(BLOBS, OFlags::RDONLY | OFlags::DIRECTORY)?)
    }

    fn open_beneath(&self, path: &str, flags: OFlags) -> rustix::io::Result<OwnedFd> {
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
        rustix::io::retry_on_intr(|| {
            fs::openat2(&self.root, path, flags | OFlags::CLOEXEC, Mode::empty(), resolve)
        })
    }

    fn new_partial(&self) -> io::Result<Partial<'_>> {
        loop {
            let serial = NEXT_PARTIAL.fetch_add(1, Ordering::Relaxed);
            let name = format!("{PARTIAL_PREFIX}{}-{serial}", std::process::id());
            let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
            match fs::openat(&self.root, &name, flags, Mode::from_raw_mode(0o666)) {
                Ok(file) => {
                    return Ok(Partial { file: File::from(file), name, files: self, done: false });
                }
                // Another machine or container may have used the same process number.
                Err(Errno::EXIST) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    fn names(&self) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in Dir::read_from(&self.root)? {
            let name = entry?.file_name().to_string_lossy().into_owned();
            if name != "." && name != ".." {
                names.push(name);
            }
        }
        Ok(names)
    }
}

/// Says why a file of a layout cannot be opened.
#[derive(Debug)]
pub(super) enum OpenError {
    /// The operating system refused it.
    Io(io::Error),
    /// There is no such file.
    Missing,
    /// It is a directory, a device or a pipe.
    NotAFile,
    /// It is a symbolic link that leads out of the layout, or in circles.
    Outside,
}

/// Keeps other writers out of a layout until it is dropped.
#[derive(Debug)]
pub(super) struct Lock<'a> {
    files: &'a Files,
    _marker: OwnedFd,
}

impl<'a> Lock<'a> {
    /// Creates a file that nobody looks at until it is renamed, and that is gone when it is not.
    pub(super) fn partial(&self) -> io::Result<Partial<'a>> {
        let partial = self.files.new_partial()?;
        // Its lock tells the files of living writers from those that a killed one has left.
        fs::flock(&partial.file, FlockOperation::NonBlockingLockExclusive)?;
        Ok(partial)
    }

    /// Writes a new `index.json` after everything that it refers to is durable.
    pub(super) fn replace_index(&self, content: &[u8]) -> io::Result<()> {
        fs::fsync(self.files.blobs()?)?;
        let mut partial = self.partial()?;
        partial.file.write_all(content)?;
        fs::fsync(&partial.file)?;
        partial.rename(&self.files.root, INDEX)?;
        Ok(fs::fsync(&self.files.root)?)
    }

    /// Removes the unfinished files of writers that were killed.
    pub(super) fn remove_leftovers(&self) -> io::Result<()> {
        for name in self.files.names()?.iter().filter(|name| is_partial(name)) {
            let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
            let Ok(file) = fs::openat(&self.files.root, name, flags, Mode::empty()) else {
                continue;
            };
            if fs::flock(&file, FlockOperation::NonBlockingLockExclusive).is_ok() {
                match fs::unlinkat(&self.files.root, name, AtFlags::empty()) {
                    Ok(()) | Err(Errno::NOENT) => {}
                    Err(error) => return Err(error.into()),
                }
            }
        }
        Ok(())
    }
}

/// Is a file that is being written; it is removed unless it gets its final name.
#[derive(Debug)]
pub(super) struct Partial<'a> {
    pub(super) file: File,
    name: String,
    files: &'a Files,
    done: bool,
}

impl Partial<'_> {
    fn rename(mut self, directory: &OwnedFd, name: &str) -> io::Result<()> {
        fs::renameat(&self.files.root, &self.name, directory, name)?;
        self.done = true;
        Ok(())
    }
}

impl Drop for Partial<'_> {
    fn drop(&mut self) {
        if !self.done {
            // The next writer tries again.
            let _ = fs::unlinkat(&self.files.root, &self.name, AtFlags::empty());
        }
    }
}

/// Returns the path of a blob within a layout.
pub(super) fn blob_path(digest: &Digest) -> String {
    format!("{BLOBS}/{}", digest.hex())
}

/// The file that makes a directory a layout.
pub(super) const MARKER: &str = "oci-layout";

/// The file that lists the images.
pub(super) const INDEX: &str = "index.json";

const BLOBS: &str = "blobs/sha256";

const PARTIAL_PREFIX: &str = ".osguard-partial-";

fn is_partial(name: &str) -> bool {
    name.starts_with(PARTIAL_PREFIX)
}

static NEXT_PARTIAL: AtomicU64 = AtomicU64::new(0);
