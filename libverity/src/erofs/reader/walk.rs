//! All names of an image, in order.

use std::collections::HashSet;

use super::super::directory::{self, DirentType};
use super::super::{EntryPath, MAX_NAMES};
use super::{FileError, FileKind, ImageSource, Inode, ReadError, Reader, WalkedFile};
use crate::tar::MAX_PATH_BYTES;

/// Yields all names of an image, a directory before what is in it.
///
/// Every directory must have `.` and `..`, both right, and one name only, so that there are no
/// cycles. It ends after the first error.
#[derive(Debug)]
pub struct Walk<'a, S> {
    reader: &'a Reader<S>,
    path: Vec<u8>,
    /// The directories that are being read, from the root down.
    open: Vec<OpenDirectory>,
    /// The directories that were met.
    met: HashSet<u64>,
    names: u64,
    /// The inode at which the walk is, for errors.
    nid: u64,
    has_begun: bool,
}

impl<'a, S: ImageSource> Walk<'a, S> {
    pub(super) fn new(reader: &'a Reader<S>) -> Self {
        Self {
            reader,
            path: Vec::new(),
            open: Vec::new(),
            met: HashSet::new(),
            names: 0,
            nid: reader.facts.root_nid,
            has_begun: false,
        }
    }

    fn root(&mut self) -> Result<WalkedFile, FileError> {
        let nid = self.reader.facts.root_nid;
        let inode = self.reader.inode(nid)?;
        if inode.kind != FileKind::Directory {
            return Err(FileError::NotDirectory);
        }
        self.enter(&inode, nid)?;
        Ok(WalkedFile { path: b"/"[..].into(), inode, directory_nid: nid })
    }

    /// Returns the next name, or `None` after the last.
    fn next_file(&mut self) -> Result<Option<WalkedFile>, FileError> {
        while let Some(directory) = self.open.last_mut() {
            self.path.truncate(directory.path_bytes);
            self.nid = directory.inode.nid;
            let Some(entry) = directory.waiting.next() else {
                if directory.offset_bytes < directory.inode.size_bytes {
                    directory.read_block(self.reader)?;
                } else {
                    directory.finish()?;
                    self.open.pop();
                }
                continue;
            };
            if directory.take_dot(&entry)? {
                continue;
            }
            let directory_nid = directory.inode.nid;
            return self.file(entry, directory_nid).map(Some);
        }
        Ok(None)
    }

    fn file(&mut self, entry: OwnedDirent, directory_nid: u64) -> Result<WalkedFile, FileError> {
        self.path.push(b'/');
        self.path.extend_from_slice(&entry.name);
        if self.path.len() > 1 + MAX_PATH_BYTES {
            return Err(FileError::PathTooLong);
        }
        self.names += 1;
        let limit = self.name_limit();
        if self.names > limit {
            return Err(FileError::TooManyNames { limit });
        }
        self.nid = entry.nid;
        let inode = self.reader.inode(entry.nid)?;
        if inode.kind.dirent_type() != entry.file_type {
            return Err(FileError::EntryType { name: entry.name[..].into() });
        }
        if inode.kind == FileKind::Directory {
            self.enter(&inode, directory_nid)?;
        }
        Ok(WalkedFile { path: self.path[..].into(), inode, directory_nid })
    }

    fn enter(&mut self, inode: &Inode, parent_nid: u64) -> Result<(), FileError> {
        if !self.met.insert(inode.nid) {
            return Err(FileError::DirectoryAgain);
        }
        self.open.push(OpenDirectory {
            inode: inode.clone(),
            parent_nid,
            path_bytes: self.path.len(),
            offset_bytes: 0,
            last_name: None,
            waiting: Vec::new().into_iter(),
            has_dot: false,
            has_dot_dot: false,
        });
        Ok(())
    }

    /// Directories that share their entries could make more names than there are bytes.
    fn name_limit(&self) -> u64 {
        let record_bytes = directory::RECORD_BYTES as u64;
        (self.reader.facts.size_bytes() / record_bytes).min(MAX_NAMES as u64)
    }

    fn fail(&mut self, source: FileError) -> ReadError {
        self.open.clear();
        let path = if self.path.is_empty() { &b"/"[..] } else { &self.path };
        ReadError::File { path: path.into(), nid: self.nid, source }
    }
}

impl<S: ImageSource> Iterator for Walk<'_, S> {
    type Item = Result<WalkedFile, ReadError>;

    fn next(&mut self) -> Option<Self::Item> {
        let next = if self.has_begun {
            self.next_file()
        } else {
            self.has_begun = true;
            self.root().map(Some)
        };
        next.map_err(|error| self.fail(error)).transpose()
    }
}

/// Is a directory of which some entries were not yet handed out.
#[derive(Debug)]
struct OpenDirectory {
    inode: Inode,
    parent_nid: u64,
    /// The length of its path, without a `/` at its end.
    path_bytes: usize,
    /// What of its content was read.
    offset_bytes: u64,
    /// The last name that was read.
    last_name: Option<Box<[u8]>>,
    /// The entries that were read and not yet handed out: those of one block at most.
    waiting: std::vec::IntoIter<OwnedDirent>,
    has_dot: bool,
    has_dot_dot: bool,
}

impl OpenDirectory {
    fn read_block<S: ImageSource>(&mut self, reader: &Reader<S>) -> Result<(), FileError> {
        let left_bytes = self.inode.size_bytes - self.offset_bytes;
        let mut block = vec![0; left_bytes.min(reader.block_bytes()) as usize];
        reader.content(&self.inode)?.read_at(self.offset_bytes, &mut block)?;
        self.offset_bytes += block.len() as u64;
        let entries = directory::parse_block(&block)?;
        if let (Some(last), Some(first)) = (&self.last_name, entries.first())
            && first.name <= last
        {
            return Err(directory::DirectoryError::Order { name: first.name.into() }.into());
        }
        self.last_name = entries.last().map(|last| last.name.into());
        let entries: Vec<OwnedDirent> = entries
            .iter()
            .map(|entry| OwnedDirent {
                name: entry.name.into(),
                nid: entry.nid,
                file_type: entry.file_type,
            })
            .collect();
        self.waiting = entries.into_iter();
        Ok(())
    }

    /// Checks `.` and `..`, and tells whether `entry` was one of them.
    fn take_dot(&mut self, entry: &OwnedDirent) -> Result<bool, FileError> {
        let expected = match &entry.name[..] {
            b"." => {
                self.has_dot = true;
                self.inode.nid
            }
            b".." => {
                self.has_dot_dot = true;
                self.parent_nid
            }
            _ => return Ok(false),
        };
        let name = || EntryPath::from(&entry.name[..]);
        if entry.nid != expected {
            return Err(FileError::DotEntry { name: name(), expected, found: entry.nid });
        }
        if entry.file_type != DirentType::Directory {
            return Err(FileError::EntryType { name: name() });
        }
        Ok(true)
    }

    fn finish(&self) -> Result<(), FileError> {
        for (is_there, name) in [(self.has_dot, &b"."[..]), (self.has_dot_dot, b"..")] {
            if !is_there {
                return Err(FileError::NoDotEntry { name: name.into() });
            }
        }
        Ok(())
    }
}

#[derive(Debug)]
struct OwnedDirent {
    name: Box<[u8]>,
    nid: u64,
    file_type: DirentType,
}
