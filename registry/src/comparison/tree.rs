//! The files of an image, with all layers on top of each other.

use std::collections::BTreeMap;
use std::io::Read;

use libverity::digest::Digest;
use libverity::tar::{DeviceNumber, Entry, EntryKind, TarError, TarReader, Xattr};
use sha2::{Digest as _, Sha256};

use super::MAX_TREE_BYTES;
use super::packages::database_limit_bytes;
use crate::image_path::{ImagePath, Meaning};

/// Is what is known of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct File {
    pub(super) kind: FileKind,
    pub(super) mode: u16,
    pub(super) owner: (u32, u32),
    /// The digest of all extended attributes, if there are any.
    pub(super) xattrs: Option<Digest>,
}

/// Tells the kinds of files apart, with what is in them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum FileKind {
    BlockDevice(DeviceNumber),
    CharacterDevice(DeviceNumber),
    Directory,
    Fifo,
    Regular { content: Digest },
    Symlink { target: Vec<u8> },
}

/// Is the tree of an image, or what it has differently from the layers `below` that it shares with another one.
pub(super) struct Tree<'a> {
    below: Option<&'a BaseTree>,
    /// `None` for what is there below and is gone here.
    files: BTreeMap<ImagePath, Option<File>>,
    databases: BTreeMap<ImagePath, Option<Vec<u8>>>,
    taken_bytes: usize,
}

/// Is the tree that two images have in common.
#[derive(Debug, Default)]
pub(super) struct BaseTree {
    files: BTreeMap<ImagePath, File>,
    databases: BTreeMap<ImagePath, Option<Vec<u8>>>,
    taken_bytes: usize,
}

impl<'a> Tree<'a> {
    pub(super) fn new(below: Option<&'a BaseTree>) -> Self {
        let taken_bytes = below.map_or(0, |below| below.taken_bytes);
        Self { below, files: BTreeMap::new(), databases: BTreeMap::new(), taken_bytes }
    }

    /// Returns the file at `path`.
    pub(super) fn file(&self, path: &ImagePath) -> Option<&File> {
        match self.files.get(path) {
            Some(file) => file.as_ref(),
            None => self.below?.files.get(path),
        }
    }

    /// Lists the paths at which this tree may not be the one below.
    pub(super) fn touched(&self) -> impl Iterator<Item = &ImagePath> {
        self.files.keys()
    }

    /// Lists the databases of packages; of one that is too long there is no content.
    pub(super) fn databases(&self) -> impl Iterator<Item = (&ImagePath, Option<&[u8]>)> {
        let below = self.below.into_iter().flat_map(|below| &below.databases);
        let below = below.filter(|(path, _)| !self.files.contains_key(*path));
        let own = self.databases.iter().filter(|(path, _)| self.file(path).is_some());
        below.chain(own).map(|(path, content)| (path, content.as_deref()))
    }

    /// Puts a layer on top, and tells whether there is room for it.
    pub(super) fn apply(&mut self, files: Files) -> bool {
        self.taken_bytes += files.taken_bytes;
        for path in &files.opaque {
            self.remove_beneath(path);
        }
        for path in &files.whiteouts {
            self.remove_beneath(path);
            self.remove(path);
        }
        for (path, file) in files.files {
            if file.kind != FileKind::Directory {
                self.remove_beneath(&path);
            }
            self.forget_database(&path);
            self.files.insert(path, Some(file));
        }
        self.databases.extend(files.databases);
        self.taken_bytes <= MAX_TREE_BYTES
    }

    /// Returns the tree as one for others to be put on top of.
    pub(super) fn into_files(self) -> BaseTree {
        let files = self.files.into_iter().filter_map(|(path, file)| Some((path, file?)));
        let files: BTreeMap<_, _> = files.collect();
        let databases = self.databases.into_iter();
        let databases = databases.filter(|(path, _)| files.contains_key(path)).collect();
        BaseTree { files, databases, taken_bytes: self.taken_bytes }
    }

    /// Lets go of a database that is not seen any more: those of rpm are long, and each layer may have another one.
    fn forget_database(&mut self, path: &ImagePath) {
        if let Some(Some(content)) = self.databases.remove(path) {
            self.taken_bytes -= content.len();
        }
    }

    fn remove(&mut self, path: &ImagePath) {
        self.forget_database(path);
        match self.below.is_some_and(|below| below.files.contains_key(path)) {
            true => {
                self.taken_bytes += cost(path);
                self.files.insert(path.clone(), None);
            }
            false => {
                self.files.remove(path);
            }
        }
    }

    fn remove_beneath(&mut self, directory: &ImagePath) {
        let range = directory.range_beneath();
        let own = self.files.range(range.clone()).map(|(path, _)| path.clone());
        let below = self.below.into_iter().flat_map(|below| below.files.range(range.clone()));
        let paths: Vec<_> = own.chain(below.map(|(path, _)| path.clone())).collect();
        for path in paths {
            self.remove(&path);
        }
    }
}

/// Is what one layer has.
#[derive(Default)]
pub(super) struct Files {
    files: BTreeMap<ImagePath, File>,
    whiteouts: Vec<ImagePath>,
    opaque: Vec<ImagePath>,
    /// The databases of packages, without content where that is too long.
    databases: BTreeMap<ImagePath, Option<Vec<u8>>>,
    taken_bytes: usize,
}

impl Files {
    /// Reads a layer that is to be put on top of `below`; `None` if there is no room for it.
    pub(super) fn read<R: Read>(
        members: &mut TarReader<R>,
        below: &Tree<'_>,
    ) -> Result<Option<Self>, TarError> {
        let mut files = Self::default();
        while let Some(entry) = members.next_entry()? {
            match Meaning::of_member(&entry.path) {
                Meaning::Nothing => continue,
                Meaning::Opaque(path) => {
                    files.taken_bytes += cost(&path);
                    files.opaque.push(path);
                }
                Meaning::Whiteout(path) => {
                    files.taken_bytes += cost(&path);
                    files.whiteouts.push(path);
                }
                Meaning::File(path) => {
                    files.taken_bytes += cost(&path);
                    files.add(path, &entry, members, below)?;
                }
            }
            if below.taken_bytes + files.taken_bytes > MAX_TREE_BYTES {
                return Ok(None);
            }
        }
        Ok(Some(files))
    }

    fn add<R: Read>(
        &mut self,
        path: ImagePath,
        entry: &Entry,
        members: &mut TarReader<R>,
        below: &Tree<'_>,
    ) -> Result<(), TarError> {
        let kind = match &entry.kind {
            EntryKind::BlockDevice(device) => FileKind::BlockDevice(*device),
            EntryKind::CharacterDevice(device) => FileKind::CharacterDevice(*device),
            EntryKind::Directory => FileKind::Directory,
            EntryKind::Fifo => FileKind::Fifo,
            EntryKind::HardLink { target } => {
                let target = ImagePath::of_member(target);
                let file = self.files.get(&target).or_else(|| below.file(&target)).cloned();
                // A link to nothing is refused by whoever makes an image of the layer.
                if let Some(file) = file {
                    self.files.insert(path, file);
                }
                return Ok(());
            }
            EntryKind::Regular { size } => {
                let limit_bytes = database_limit_bytes(&path);
                let is_kept = limit_bytes.is_some_and(|limit_bytes| *size <= limit_bytes);
                let (content, bytes) = read_content(members, is_kept, *size)?;
                if limit_bytes.is_some() {
                    self.taken_bytes += bytes.as_ref().map_or(0, Vec::len);
                    let former = self.databases.insert(path.clone(), bytes);
                    self.taken_bytes -= former.flatten().map_or(0, |former| former.len());
                }
                FileKind::Regular { content }
            }
            EntryKind::Symlink { target } => {
                self.taken_bytes += target.len();
                FileKind::Symlink { target: target.clone() }
            }
        };
        let owner = (entry.uid, entry.gid);
        let xattrs = digest_of(&entry.xattrs);
        self.files.insert(path, File { kind, mode: entry.mode, owner, xattrs });
        Ok(())
    }
}

/// Hashes the content of a file, and returns the bytes if they are to be kept.
fn read_content<R: Read>(
    members: &mut TarReader<R>,
    is_kept: bool,
    size_bytes: u64,
) -> Result<(Digest, Option<Vec<u8>>), TarError> {
    let mut kept = is_kept.then(Vec::new);
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; READ_BYTES.min(usize::try_from(size_bytes).unwrap_or(READ_BYTES))];
    loop {
        let read = members.read_payload(&mut buffer)?;
        if read == 0 {
            return Ok((Digest::from_bytes(hasher.finalize().into()), kept));
        }
        hasher.update(&buffer[..read]);
        if let Some(kept) = &mut kept {
            kept.extend_from_slice(&buffer[..read]);
        }
    }
}

fn digest_of(xattrs: &[Xattr]) -> Option<Digest> {
    let mut sorted: Vec<_> = xattrs.iter().collect();
    sorted.sort_by(|one, other| one.name.cmp(&other.name));
    let mut hasher = Sha256::new();
    for Xattr { name, value } in &sorted {
        for part in [name, value] {
            hasher.update((part.len() as u64).to_le_bytes());
            hasher.update(part);
        }
    }
    (!sorted.is_empty()).then(|| Digest::from_bytes(hasher.finalize().into()))
}

/// Returns how much memory a file takes, about.
fn cost(path: &ImagePath) -> usize {
    path.as_bytes().len() + FILE_BYTES
}

/// What the facts and the node of a tree take for each file.
const FILE_BYTES: usize = 200;

/// How much of a file is read at once.
const READ_BYTES: usize = 64 << 10;
