//! Files beneath a directory, found without following a symbolic link.
//!
//! Each file is opened once as a place (`O_PATH`), which reads nothing and starts no device; what is asked of
//! it afterwards goes to that place, whatever lies under its name by then.
//!
//! Source: `openat2(2)`; `Documentation/filesystems/proc.rst` for `/proc/self/fd`.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{
    Mode, OFlags, ResolveFlags, Stat, fstat, getxattr, getxattr_query, listxattr, listxattr_query,
    openat2, readlinkat,
};
use rustix::io::Errno;

use super::DirectoryError;
use crate::tar::Xattr;

/// Is a directory, for what is beneath it.
#[derive(Debug)]
pub(super) struct Beneath {
    root: OwnedFd,
    path: PathBuf,
}

impl Beneath {
    pub(super) fn open(path: &Path) -> Result<Self, DirectoryError> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        match rustix::fs::open(path, flags, Mode::empty()) {
            Ok(root) => Ok(Self { root, path: path.to_owned() }),
            Err(errno) => Err(read_error(path, errno.into())),
        }
    }

    /// Finds the file at `path`, which begins with the path of the directory.
    pub(super) fn find(&self, path: &Path) -> Result<Found, DirectoryError> {
        let path = self.relative(path);
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let within = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
        let place = openat2(&self.root, &path, flags, Mode::empty(), within);
        let place = place.map_err(|errno| match errno {
            Errno::NOENT => DirectoryError::Vanished { path: path.clone() },
            // A directory above it was swapped for something else.
            Errno::LOOP | Errno::NOTDIR | Errno::XDEV => {
                DirectoryError::Changed { path: path.clone() }
            }
            errno => read_error(&path, errno.into()),
        })?;
        match fstat(&place) {
            Ok(stat) => Ok(Found { path, place, stat }),
            Err(errno) => Err(read_error(&path, errno.into())),
        }
    }

    pub(super) fn walk_error(&self, error: walkdir::Error) -> DirectoryError {
        let path = error.path().map(|path| self.relative(path)).unwrap_or_default();
        let source = error.into_io_error().unwrap_or_else(|| io::ErrorKind::Other.into());
        match source.kind() {
            io::ErrorKind::NotFound => DirectoryError::Vanished { path },
            _ => read_error(&path, source),
        }
    }

    /// Returns the path from the directory on, and `.` for itself.
    fn relative(&self, path: &Path) -> PathBuf {
        let beneath = path.strip_prefix(&self.path).unwrap_or(path);
        if beneath.as_os_str().is_empty() { ".".into() } else { beneath.to_owned() }
    }
}

/// Is a file beneath a directory.
#[derive(Debug)]
pub(super) struct Found {
    /// The path from the directory on.
    pub(super) path: PathBuf,
    pub(super) stat: Stat,
    place: OwnedFd,
}

impl Found {
    /// Opens the file for reading.
    pub(super) fn open(&self) -> Result<File, DirectoryError> {
        File::open(self.place_path()).map_err(|error| self.error(error))
    }

    /// Reads the text of a symbolic link.
    pub(super) fn link_target(&self) -> Result<Vec<u8>, DirectoryError> {
        match readlinkat(&self.place, c"", Vec::new()) {
            Ok(target) => Ok(target.into_bytes()),
            Err(errno) => Err(self.error(errno.into())),
        }
    }

    /// Reads the extended attributes that belong to the file.
    pub(super) fn xattrs(&self) -> Result<Vec<Xattr>, DirectoryError> {
        let place = self.place_path();
        // Most files have none, and no memory is asked for.
        let mut list = match listxattr_query(&place) {
            Ok(0) | Err(Errno::NOTSUP) => return Ok(Vec::new()),
            Ok(list_bytes) => vec![0; list_bytes],
            Err(errno) => return Err(self.xattr_error(errno)),
        };
        let list_bytes =
            listxattr(&place, &mut list[..]).map_err(|errno| self.xattr_error(errno))?;
        let names = list[..list_bytes].split(|&byte| byte == 0);
        names
            .filter(|name| !name.is_empty() && is_portable(name))
            .map(|name| self.xattr(name))
            .collect()
    }

    fn xattr(&self, name: &[u8]) -> Result<Xattr, DirectoryError> {
        let place = self.place_path();
        let failed = |errno| self.xattr_error(errno);
        let mut value = vec![0; getxattr_query(&place, name).map_err(failed)?];
        let value_bytes = match value.len() {
            0 => 0,
            _ => getxattr(&place, name, &mut value[..]).map_err(failed)?,
        };
        value.truncate(value_bytes);
        Ok(Xattr { name: name.to_vec(), value })
    }

    fn xattr_error(&self, errno: Errno) -> DirectoryError {
        match errno {
            // Gone, or longer than a moment ago.
            Errno::NODATA | Errno::RANGE => DirectoryError::Changed { path: self.path.clone() },
            errno => self.error(errno.into()),
        }
    }

    /// Checks that `file`, which is this one, has neither another length nor another time than when
    /// it was found.
    pub(super) fn check_unchanged(&self, file: &File) -> Result<(), DirectoryError> {
        let state = |stat: &Stat| {
            (stat.st_size, stat.st_mtime, stat.st_mtime_nsec, stat.st_ctime, stat.st_ctime_nsec)
        };
        let now = fstat(file.as_fd()).map_err(|errno| self.error(errno.into()))?;
        if state(&now) == state(&self.stat) {
            return Ok(());
        }
        Err(DirectoryError::Changed { path: self.path.clone() })
    }

    pub(super) fn error(&self, source: io::Error) -> DirectoryError {
        read_error(&self.path, source)
    }

    /// Returns a path that leads to the file wherever it is now.
    fn place_path(&self) -> String {
        format!("/proc/self/fd/{}", self.place.as_raw_fd())
    }
}

/// Tells whether an attribute is the file's, and not a label that a security module of this machine has put
/// on it.
pub(super) fn is_portable(name: &[u8]) -> bool {
    !name.starts_with(b"security.") || name == b"security.capability"
}

fn read_error(path: &Path, source: io::Error) -> DirectoryError {
    DirectoryError::Read { path: path.to_owned(), source }
}
