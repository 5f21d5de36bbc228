//! The files of a layout directory: opened without ever leaving it, replaced without ever being
//! half there.

use std::fs::File;
use std::io::{self, Write as _};
use std::os::fd::OwnedFd;
use std::path::Path;

use libverity::digest::Digest;
use rustix::fs::{self, Dir, FileType, FlockOperation, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

use super::storage::{INDEX, MARKER, OpenError};
use crate::partial::{PartialFile, is_partial, remove_leftovers};

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
        for entry in Dir::read_from(&self.root)? {
            let entry = entry?;
            let name = entry.file_name().to_bytes();
            if name != b"." && name != b".." && !is_partial(name) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Creates `oci-layout`, without which nothing else is looked at and nobody can lock.
    pub(super) fn create_marker(&self, content: &[u8]) -> io::Result<()> {
        let mut partial = self.partial()?;
        partial.file.write_all(content)?;
        match partial.link(MARKER) {
            // Two creators at once write the same bytes.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
            result => result,
        }
    }

    /// Creates a file that nobody looks at before it is published.
    pub(super) fn partial(&self) -> io::Result<PartialFile> {
        PartialFile::create(&self.root)
    }

    /// Puts a finished file in the place of a blob.
    ///
    /// The name is made durable by the next [`Lock::replace_index`], before anything refers to it.
    pub(super) fn publish_blob(&self, mut partial: PartialFile, digest: &Digest) -> io::Result<()> {
        partial.replace(self.blobs()?, digest.hex())
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
}

/// Keeps other writers out of a layout until it is dropped.
#[derive(Debug)]
pub(super) struct Lock<'a> {
    files: &'a Files,
    _marker: OwnedFd,
}

impl Lock<'_> {
    /// Writes a new `index.json` after everything that it refers to is durable, and tidies up
    /// after writers that were killed.
    pub(super) fn replace_index(&self, content: &[u8]) -> io::Result<()> {
        remove_leftovers(&self.files.root);
        fs::fsync(self.files.blobs()?)?;
        let mut partial = self.files.partial()?;
        partial.file.write_all(content)?;
        partial.replace(&self.files.root, INDEX)?;
        Ok(fs::fsync(&self.files.root)?)
    }
}

const BLOBS: &str = "blobs/sha256";
