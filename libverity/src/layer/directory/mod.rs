//! Archives of directories: layers without a tar program.

mod beneath;
mod error;

use std::collections::{HashMap, hash_map};
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use rustix::fs::{FileType, Stat, major, minor};
use walkdir::WalkDir;

use self::beneath::{Beneath, Found};
pub use self::error::DirectoryError;
use crate::tar::{
    BLOCK_BYTES, DeviceNumber, END_MARKER_BYTES, Entry, EntryKind, Timestamp, encode_member,
};

/// Is the archive of a directory, as a stream.
///
/// The same tree always gives the same bytes, on every machine: names in byte order, the files of a
/// directory behind it, the directory itself first as `./`, times by [`Times`] in whole seconds,
/// numeric owners without names, extended attributes sorted. A file with several names is in there
/// once, with hard links to its first name. What is in the directory stays what it is: a file called
/// `.wh.NAME` makes NAME a whiteout in an image.
///
/// Attributes that belong to the machine and not to the file are left out: those of
/// `security.` but for `security.capability`. Which others there are depends on who asks: `trusted.`
/// shows to root alone.
///
/// Nothing outside the directory is read, whatever is swapped in it meanwhile: no symbolic link is
/// followed within, and devices and pipes are not opened. A file that changes, grows, shrinks or
/// vanishes while it is read ends the archive with an error.
///
/// Errors are [`DirectoryError`]s within [`io::Error`]s.
#[derive(Debug)]
pub struct DirectoryArchive {
    directory: Beneath,
    files: walkdir::IntoIter,
    options: DirectoryOptions,
    /// The first name of each file that has several, by device and inode.
    names: HashMap<(u64, u64), Vec<u8>>,
    /// What comes before any more content.
    headers: io::Cursor<Vec<u8>>,
    content: Option<Content>,
    has_ended: bool,
}

impl DirectoryArchive {
    /// Opens `directory`; a symbolic link to one will do.
    ///
    /// # Errors
    ///
    /// Fails if it is no directory, or cannot be opened.
    pub fn open(directory: &Path, options: DirectoryOptions) -> Result<Self, DirectoryError> {
        Ok(Self {
            directory: Beneath::open(directory)?,
            files: WalkDir::new(directory).sort_by_file_name().into_iter(),
            options,
            names: HashMap::new(),
            headers: io::Cursor::default(),
            content: None,
            has_ended: false,
        })
    }

    /// Prepares the headers and the content of the next file, or the end of the archive.
    fn advance(&mut self) -> Result<(), DirectoryError> {
        let Some(file) = self.files.next() else {
            self.has_ended = true;
            self.headers = io::Cursor::new(vec![0; END_MARKER_BYTES]);
            return Ok(());
        };
        let file = file.map_err(|error| self.directory.walk_error(error))?;
        let found = self.directory.find(file.path())?;
        let entry = self.entry(&found)?;
        self.headers = io::Cursor::new(encode_member(&entry)?);
        if let EntryKind::Regular { size } = entry.kind {
            self.content = Some(Content::open(found, size)?);
        }
        Ok(())
    }

    fn entry(&mut self, found: &Found) -> Result<Entry, DirectoryError> {
        let Stat { st_mode, st_uid, st_gid, st_mtime, .. } = found.stat;
        let kind = self.kind(found)?;
        let xattrs = match kind {
            EntryKind::HardLink { .. } => Vec::new(),
            _ => found.xattrs()?,
        };
        let (uid, gid) = self.options.owner.unwrap_or((st_uid, st_gid));
        Ok(Entry {
            path: found.path.as_os_str().as_bytes().to_vec(),
            kind,
            mode: (st_mode & 0o7777) as u16,
            uid,
            gid,
            mtime: Timestamp { seconds: self.options.times.of(st_mtime), nanoseconds: 0 },
            xattrs,
        })
    }

    fn kind(&mut self, found: &Found) -> Result<EntryKind, DirectoryError> {
        let stat = &found.stat;
        let file_type = FileType::from_raw_mode(stat.st_mode);
        if stat.st_nlink > 1 && file_type != FileType::Directory {
            let path = found.path.as_os_str().as_bytes();
            match self.names.entry((stat.st_dev, stat.st_ino)) {
                hash_map::Entry::Occupied(first) => {
                    return Ok(EntryKind::HardLink { target: first.get().clone() });
                }
                hash_map::Entry::Vacant(none) => {
                    none.insert(path.to_vec());
                }
            }
        }
        let device = DeviceNumber { major: major(stat.st_rdev), minor: minor(stat.st_rdev) };
        Ok(match file_type {
            FileType::BlockDevice => EntryKind::BlockDevice(device),
            FileType::CharacterDevice => EntryKind::CharacterDevice(device),
            FileType::Directory => EntryKind::Directory,
            FileType::Fifo => EntryKind::Fifo,
            FileType::RegularFile => EntryKind::Regular { size: stat.st_size.cast_unsigned() },
            FileType::Symlink => EntryKind::Symlink { target: found.link_target()? },
            FileType::Socket => return Err(DirectoryError::Socket { path: found.path.clone() }),
            FileType::Unknown => return Err(DirectoryError::Type { path: found.path.clone() }),
        })
    }
}

impl Read for DirectoryArchive {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            let read = self.headers.read(buffer)?;
            if read > 0 || buffer.is_empty() {
                return Ok(read);
            }
            if let Some(content) = &mut self.content {
                let read = content.read(buffer)?;
                if read > 0 {
                    return Ok(read);
                }
                self.headers = io::Cursor::new(vec![0; content.finish()?]);
                self.content = None;
                continue;
            }
            if self.has_ended {
                return Ok(0);
            }
            self.advance()?;
        }
    }
}

/// Says what of a directory is not taken as it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DirectoryOptions {
    /// User and group of all files; otherwise each has its own.
    pub owner: Option<(u32, u32)>,
    /// The times of all files.
    pub times: Times,
}

/// Says which time of modification a file has in an archive, in seconds since 1970.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Times {
    /// Always this one.
    All(i64),
    /// Its own.
    #[default]
    Keep,
    /// Its own, or this one where that is later: what `SOURCE_DATE_EPOCH` asks for.
    NotAfter(i64),
}

impl Times {
    fn of(self, own: i64) -> i64 {
        match self {
            Self::All(time) => time,
            Self::Keep => own,
            Self::NotAfter(latest) => own.min(latest),
        }
    }
}

/// Is the content of a file while it is read.
#[derive(Debug)]
struct Content {
    file: File,
    found: Found,
    size_bytes: u64,
    left_bytes: u64,
}

impl Content {
    fn open(found: Found, size_bytes: u64) -> Result<Self, DirectoryError> {
        Ok(Self { file: found.open()?, found, size_bytes, left_bytes: size_bytes })
    }

    fn read(&mut self, buffer: &mut [u8]) -> Result<usize, DirectoryError> {
        let wanted = self.left_bytes.min(buffer.len() as u64) as usize;
        if wanted == 0 {
            return Ok(0);
        }
        loop {
            match self.file.read(&mut buffer[..wanted]) {
                Ok(0) => return Err(DirectoryError::Changed { path: self.found.path.clone() }),
                Ok(read) => {
                    self.left_bytes -= read as u64;
                    return Ok(read);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(self.found.error(error)),
            }
        }
    }

    /// Checks that the file is still what it was, and returns how much fills up its last block.
    fn finish(&self) -> Result<usize, DirectoryError> {
        self.found.check_unchanged(&self.file)?;
        Ok((self.size_bytes.wrapping_neg() % BLOCK_BYTES as u64) as usize)
    }
}

#[cfg(test)]
mod tests;
