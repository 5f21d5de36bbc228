//! The files of an image in memory, and how tar entries change them.
//!
//! The rules are those of erofs-utils 1.9.4 (`lib/rebuild.c`, `lib/tar.c`):
//!
//! - Components are separated by `/`; empty ones and `.` count for nothing, `..` leads to the
//!   directory above. A path without any component is the root.
//! - Missing directories on the way are made with mode 0755, plus group and world write permission
//!   where the directory above has it, and its owner and time. Anything else than a directory on
//!   the way is an error: symbolic links are not followed.
//! - A directory over a directory replaces owner, mode and time, keeps the files in it and adds the
//!   attributes. Every other entry replaces what was there.
//! - A last component `.wh..wh..opq` marks the directory as opaque, `.wh.NAME` makes NAME a
//!   whiteout (the character device 0:0 without permissions) and marks the directory as having one.
//! - A file remembers the directory of its *first* name. If a later entry takes the place of
//!   another name of it, the new file counts as one of that first directory: a whiteout marks that
//!   one, and `..` leads there.

use std::collections::BTreeMap;

use super::allocator::GroupId;
use super::directory::DirentType;
use super::inode::{encode_device, file_type};
use super::xattr::{XattrList, XattrProblem};
use super::{EntryPath, ErofsError, MAX_IMPLIED_DIRECTORIES, MAX_NAMES};
use crate::tar::{
    DivergenceKind, Divergences, Entry, EntryKind, MAX_LINK_TARGET_BYTES, MAX_PATH_BYTES,
    Timestamp, Xattr,
};

/// Is a file tree under construction.
#[derive(Debug)]
pub(super) struct Tree {
    inodes: Vec<Inode>,
    /// How many names were ever given.
    names: usize,
    /// How many directories were made on the way to something else.
    implied_directories: usize,
    divergences: Divergences,
}

impl Tree {
    /// Makes an empty root, which any entry for the root replaces: mode 0777, owner 0:0, time 0.
    pub(super) fn new() -> Self {
        let root = Inode {
            kind: InodeKind::Directory(Directory::default()),
            permissions: 0o777,
            uid: 0,
            gid: 0,
            mtime: Timestamp::default(),
            links: DIRECTORY_LINKS,
            parent: ROOT,
            xattrs: None,
        };
        // Stands for a name that is looked up while its file does not exist yet.
        let nascent = Inode { kind: InodeKind::Removed, ..root.clone_metadata() };
        Self {
            inodes: vec![root, nascent],
            names: 0,
            implied_directories: 0,
            divergences: Divergences::default(),
        }
    }

    /// Applies one entry, and returns the regular file that now wants its content, if any.
    pub(super) fn add(&mut self, entry: &Entry) -> Result<Option<InodeId>, ErofsError> {
        let path = &entry.path[..];
        match self.walk(path, path)? {
            Place::Root => {
                if entry.kind != EntryKind::Directory {
                    return Err(ErofsError::RootNotDirectory { path: path.into() });
                }
                self.update_directory(ROOT, entry)?;
                Ok(None)
            }
            Place::OpaqueMark(directory) => {
                refuse_content(entry)?;
                let directory =
                    directory.ok_or_else(|| ErofsError::OpaqueRoot { path: path.into() })?;
                self.push_xattr(directory, OVERLAY_OPAQUE, b"y", path)?;
                Ok(None)
            }
            Place::Name(name) => match &entry.kind {
                EntryKind::HardLink { target } => {
                    self.link(&name, target, path)?;
                    Ok(None)
                }
                _ => self.put(&name, entry),
            },
        }
    }

    /// Returns the inode `id`.
    pub(super) fn inode(&self, id: InodeId) -> &Inode {
        &self.inodes[id.index()]
    }

    /// Returns the inode `id` to be changed.
    pub(super) fn inode_mut(&mut self, id: InodeId) -> &mut Inode {
        &mut self.inodes[id.index()]
    }

    /// Returns how many inodes there ever were.
    pub(super) fn len(&self) -> usize {
        self.inodes.len()
    }

    /// Brings the attributes of `id` into their final order and form, and returns their bytes.
    pub(super) fn finish_xattrs(&mut self, id: InodeId) -> Result<u32, ErofsError> {
        if matches!(
            &self.inode(id).kind,
            InodeKind::Directory(Directory { has_whiteouts: true, .. })
        ) {
            self.push_xattr(id, OVERLAY_ORIGIN, b"", b"")?;
        }
        let Some(xattrs) = &mut self.inodes[id.index()].xattrs else { return Ok(0) };
        if xattrs.sort() {
            self.divergences.record(b"", DivergenceKind::XattrOrder);
        }
        Ok(xattrs.body_bytes())
    }

    /// Gives up the divergences seen so far.
    pub(super) fn take_divergences(&mut self) -> Divergences {
        std::mem::take(&mut self.divergences)
    }

    /// Finds what `walked` names. `path` is the entry's own path, for errors.
    fn walk<'p>(&mut self, walked: &'p [u8], path: &[u8]) -> Result<Place<'p>, ErofsError> {
        if walked.len() > MAX_PATH_BYTES {
            return Err(ErofsError::PathTooLong { path: path.into(), path_bytes: walked.len() });
        }
        if walked.contains(&0) {
            return Err(ErofsError::NulByte { path: path.into(), field: "path" });
        }
        let mut current = ROOT;
        let mut place = Place::Root;
        let mut rest = Some(walked);
        while let Some(component) = next_component(&mut rest) {
            let is_last = rest.is_none();
            match component {
                b"" | b"." => continue,
                b".." => {
                    current = self.parent(current, path)?;
                    continue;
                }
                OPAQUE_MARK if is_last => {
                    let Place::Name(name) = place else { return Ok(Place::OpaqueMark(None)) };
                    return Ok(Place::OpaqueMark(name.inode));
                }
                _ => {}
            }
            let hidden = if is_last { component.strip_prefix(WHITEOUT_PREFIX) } else { None };
            let name = hidden.unwrap_or(component);
            if matches!(name, b"" | b"." | b"..") {
                return Err(ErofsError::WhiteoutName { path: path.into() });
            }
            if name.len() > MAX_NAME_BYTES {
                let component_bytes = name.len();
                return Err(ErofsError::NameTooLong { path: path.into(), component_bytes });
            }
            let found = self.children(current).get(name).copied();
            let inode = match found {
                Some(inode) if is_last || self.is_directory(inode) => Some(inode),
                Some(_) => {
                    let component = EntryPath::from(component);
                    return Err(ErofsError::NotDirectory { path: path.into(), component });
                }
                None if is_last => None,
                None => Some(self.make_directory(current, name, path)?),
            };
            let directory = current;
            current = inode.unwrap_or(current);
            place = Place::Name(Name { directory, name, inode, is_whiteout: hidden.is_some() });
        }
        Ok(place)
    }

    /// Puts a new file in place of whatever has `name`.
    fn put(&mut self, name: &Name<'_>, entry: &Entry) -> Result<Option<InodeId>, ErofsError> {
        let path = &entry.path[..];
        let is_directory = entry.kind == EntryKind::Directory;
        if name.is_whiteout {
            refuse_content(entry)?;
        }
        let mut parent = name.directory;
        if let Some(old) = name.inode {
            if is_directory && self.is_directory(old) {
                if name.is_whiteout {
                    return Err(ErofsError::DirectoryWhiteout { path: path.into() });
                }
                self.update_directory(old, entry)?;
                return Ok(None);
            }
            parent = self.parent(old, path)?;
            if is_directory && parent != name.directory {
                self.divergences.record(path, DivergenceKind::DirectoryReplacesHardLink);
            }
            self.remove(old, path)?;
        }
        if name.is_whiteout
            && let InodeKind::Directory(directory) = &mut self.inode_mut(parent).kind
        {
            directory.has_whiteouts = true;
        }
        let kind = if name.is_whiteout {
            InodeKind::CharacterDevice(0)
        } else {
            inode_kind(&entry.kind, path)?
        };
        let wants_content = matches!(kind, InodeKind::Regular { size_bytes: 1.., .. });
        let inode = self.insert(
            Inode {
                links: if matches!(kind, InodeKind::Directory(_)) { DIRECTORY_LINKS } else { 1 },
                kind,
                permissions: if name.is_whiteout { 0 } else { entry.mode & PERMISSIONS },
                uid: entry.uid,
                gid: entry.gid,
                mtime: entry.mtime,
                parent,
                xattrs: None,
            },
            path,
        )?;
        self.children_mut(name.directory).insert(name.name.into(), inode);
        self.push_xattrs(inode, entry)?;
        Ok(wants_content.then_some(inode))
    }

    /// Makes `name` one more name of the file at `target`.
    fn link(&mut self, name: &Name<'_>, target: &[u8], path: &[u8]) -> Result<(), ErofsError> {
        let to_directory =
            || ErofsError::LinkToDirectory { path: path.into(), target: target.into() };
        let missing = || ErofsError::LinkTargetMissing { path: path.into(), target: target.into() };
        if name.inode.is_none() {
            // From here on the name is taken, though by nothing that can be walked or linked.
            self.children_mut(name.directory).insert(name.name.into(), NASCENT);
        }
        let Place::Name(found) = self.walk(target, path)? else { return Err(to_directory()) };
        let inode = found.inode.filter(|inode| *inode != NASCENT).ok_or_else(missing)?;
        if (found.directory, found.name) == (name.directory, name.name) {
            self.divergences.record(path, DivergenceKind::LinkToItself);
            return Ok(());
        }
        if self.is_directory(inode) {
            return Err(to_directory());
        }
        self.count_name(path)?;
        self.inode_mut(inode).links += 1;
        if let Some(old) = name.inode {
            self.remove(old, path)?;
        }
        self.children_mut(name.directory).insert(name.name.into(), inode);
        Ok(())
    }

    fn update_directory(&mut self, id: InodeId, entry: &Entry) -> Result<(), ErofsError> {
        let inode = self.inode_mut(id);
        inode.permissions = entry.mode & PERMISSIONS;
        inode.uid = entry.uid;
        inode.gid = entry.gid;
        inode.mtime = entry.mtime;
        if inode.links == 0 {
            inode.links = DIRECTORY_LINKS;
            self.divergences.record(&entry.path, DivergenceKind::DirectoryAnnouncedAgain);
        }
        self.push_xattrs(id, entry)
    }

    /// Makes a directory that the archive does not announce before it uses it.
    fn make_directory(
        &mut self,
        parent: InodeId,
        name: &[u8],
        path: &[u8],
    ) -> Result<InodeId, ErofsError> {
        if self.implied_directories >= MAX_IMPLIED_DIRECTORIES {
            return Err(ErofsError::TooManyImpliedDirectories { path: path.into() });
        }
        self.implied_directories += 1;
        let above = self.inode(parent);
        let inode = Inode {
            kind: InodeKind::Directory(Directory::default()),
            permissions: 0o755 | above.permissions & 0o022,
            links: DIRECTORY_LINKS,
            parent,
            ..above.clone_metadata()
        };
        let id = self.insert(inode, path)?;
        self.children_mut(parent).insert(name.into(), id);
        Ok(id)
    }

    /// Takes one name from a file, or removes a directory with everything in it.
    ///
    /// A directory loses a link for each directory that is removed from it and gains none for one
    /// that is made. That count is never written, but one below 0 makes the inode extended.
    fn remove(&mut self, id: InodeId, path: &[u8]) -> Result<(), ErofsError> {
        let mut doomed = vec![(id, None)];
        while let Some((id, removed_from)) = doomed.pop() {
            let inode = self.inode_mut(id);
            let InodeKind::Directory(directory) = &mut inode.kind else {
                inode.links -= 1;
                if inode.links == 0 {
                    inode.kind = InodeKind::Removed;
                    inode.xattrs = None;
                }
                continue;
            };
            let children = std::mem::take(&mut directory.children);
            doomed.extend(children.into_values().map(|child| (child, Some(id))));
            if removed_from != Some(inode.parent) {
                let parent = self.parent(id, path)?;
                let links = &mut self.inode_mut(parent).links;
                *links = links.wrapping_sub(1);
            }
            let inode = self.inode_mut(id);
            inode.kind = InodeKind::Removed;
            inode.xattrs = None;
        }
        Ok(())
    }

    /// Returns the directory that `id` counts as a file of.
    fn parent(&self, id: InodeId, path: &[u8]) -> Result<InodeId, ErofsError> {
        let parent = self.inode(id).parent;
        if self.is_directory(parent) {
            Ok(parent)
        } else {
            Err(ErofsError::OrphanedParent { path: path.into() })
        }
    }

    fn insert(&mut self, inode: Inode, path: &[u8]) -> Result<InodeId, ErofsError> {
        self.count_name(path)?;
        let id = InodeId(self.inodes.len() as u32);
        self.inodes.push(inode);
        Ok(id)
    }

    fn count_name(&mut self, path: &[u8]) -> Result<(), ErofsError> {
        if self.names >= MAX_NAMES {
            return Err(ErofsError::TooManyNames { path: path.into() });
        }
        self.names += 1;
        Ok(())
    }

    fn is_directory(&self, id: InodeId) -> bool {
        matches!(self.inode(id).kind, InodeKind::Directory(_))
    }

    fn children(&self, id: InodeId) -> &Children {
        match &self.inode(id).kind {
            InodeKind::Directory(directory) => &directory.children,
            _ => unreachable!("only directories are walked into"),
        }
    }

    fn children_mut(&mut self, id: InodeId) -> &mut Children {
        match &mut self.inode_mut(id).kind {
            InodeKind::Directory(directory) => &mut directory.children,
            _ => unreachable!("only directories are walked into"),
        }
    }

    fn push_xattrs(&mut self, id: InodeId, entry: &Entry) -> Result<(), ErofsError> {
        for Xattr { name, value } in &entry.xattrs {
            self.push_xattr(id, name, value, &entry.path)?;
        }
        Ok(())
    }

    fn push_xattr(
        &mut self,
        id: InodeId,
        name: &[u8],
        value: &[u8],
        path: &[u8],
    ) -> Result<(), ErofsError> {
        let xattrs = self.inode_mut(id).xattrs.get_or_insert_default();
        let xattr = Xattr { name: name.into(), value: value.into() };
        let path = || EntryPath::from(path);
        xattrs.push(xattr).map_err(|problem| match problem {
            XattrProblem::BodyTooLarge => ErofsError::XattrsTooLarge { path: path() },
            XattrProblem::NameTooLong => {
                ErofsError::XattrNameTooLong { path: path(), name: name.into() }
            }
            XattrProblem::NulByte => ErofsError::NulByte { path: path(), field: "attribute name" },
            XattrProblem::ValueTooLong => ErofsError::XattrValueTooLong {
                path: path(),
                name: name.into(),
                value_bytes: value.len(),
            },
        })
    }
}

/// Names an inode of one tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct InodeId(u32);

impl InodeId {
    /// Names the inode at a position among all that the tree ever had.
    pub(super) const fn new(index: usize) -> Self {
        Self(index as u32)
    }

    /// Returns the position of the inode among all that the tree ever had.
    pub(super) const fn index(self) -> usize {
        self.0 as usize
    }
}

/// Is a file, whatever number of names it has.
#[derive(Debug)]
pub(super) struct Inode {
    pub(super) kind: InodeKind,
    pub(super) permissions: u16,
    pub(super) uid: u32,
    pub(super) gid: u32,
    pub(super) mtime: Timestamp,
    /// The number of names; for directories see [`Tree::remove`].
    pub(super) links: u32,
    /// The directory of the first name.
    pub(super) parent: InodeId,
    pub(super) xattrs: Option<Box<XattrList>>,
}

impl Inode {
    fn clone_metadata(&self) -> Self {
        Self { kind: InodeKind::Removed, xattrs: None, ..*self }
    }
}

/// Tells the kinds of files apart.
#[derive(Debug)]
pub(super) enum InodeKind {
    /// A block device, with its number as the kernel encodes it.
    BlockDevice(u32),
    /// A character device, with its number as the kernel encodes it.
    CharacterDevice(u32),
    Directory(Directory),
    Fifo,
    Regular {
        size_bytes: u64,
        content: Content,
    },
    /// Nothing any more.
    Removed,
    /// A symbolic link with its text.
    Symlink(Box<[u8]>),
}

impl InodeKind {
    /// Returns how directories and inodes name this kind.
    pub(super) fn types(&self) -> (DirentType, u16) {
        match self {
            Self::BlockDevice(_) => (DirentType::BlockDevice, file_type::BLOCK_DEVICE),
            Self::CharacterDevice(_) => (DirentType::CharacterDevice, file_type::CHARACTER_DEVICE),
            Self::Directory(_) => (DirentType::Directory, file_type::DIRECTORY),
            Self::Fifo => (DirentType::Fifo, file_type::FIFO),
            Self::Regular { .. } | Self::Removed => (DirentType::Regular, file_type::REGULAR),
            Self::Symlink(_) => (DirentType::Symlink, file_type::SYMLINK),
        }
    }
}

/// Tells where the content of a regular file is.
#[derive(Clone, Copy, Debug)]
pub(super) enum Content {
    /// In blocks of the image.
    Blocks(GroupId),
    /// Not taken yet, or empty.
    Nowhere,
    /// In the second device, from this block on.
    SecondDevice { first_block: u32 },
}

/// Is what only directories have.
#[derive(Debug, Default)]
pub(super) struct Directory {
    pub(super) children: Children,
    /// Whether a whiteout was ever put here. Overlayfs then needs the directory to look as if it
    /// had been copied up (Linux commit b79e05aaa166).
    pub(super) has_whiteouts: bool,
}

/// Maps names to inodes in byte order, the order of directories on disk.
pub(super) type Children = BTreeMap<Box<[u8]>, InodeId>;

/// Is where a path leads.
enum Place<'p> {
    Root,
    /// The mark that makes a directory opaque, or the root if there is none.
    OpaqueMark(Option<InodeId>),
    Name(Name<'p>),
}

/// Is a name in a directory, and what has it.
struct Name<'p> {
    directory: InodeId,
    name: &'p [u8],
    inode: Option<InodeId>,
    is_whiteout: bool,
}

/// Takes the component before the next `/`, or the last one, off `rest`.
fn next_component<'p>(rest: &mut Option<&'p [u8]>) -> Option<&'p [u8]> {
    let path = rest.take()?;
    let Some(slash) = path.iter().position(|byte| *byte == b'/') else { return Some(path) };
    *rest = Some(&path[slash + 1..]);
    Some(&path[..slash])
}

fn inode_kind(kind: &EntryKind, path: &[u8]) -> Result<InodeKind, ErofsError> {
    Ok(match kind {
        EntryKind::BlockDevice(device) => InodeKind::BlockDevice(encode_device(*device)),
        EntryKind::CharacterDevice(device) => InodeKind::CharacterDevice(encode_device(*device)),
        EntryKind::Directory => InodeKind::Directory(Directory::default()),
        EntryKind::Fifo => InodeKind::Fifo,
        EntryKind::Regular { size } => {
            InodeKind::Regular { size_bytes: *size, content: Content::Nowhere }
        }
        EntryKind::Symlink { target } => {
            if target.len() > MAX_LINK_TARGET_BYTES {
                let target_bytes = target.len();
                return Err(ErofsError::SymlinkTooLong { path: path.into(), target_bytes });
            }
            if target.contains(&0) {
                return Err(ErofsError::NulByte { path: path.into(), field: "link text" });
            }
            InodeKind::Symlink(target[..].into())
        }
        EntryKind::HardLink { .. } => unreachable!("links are made elsewhere"),
    })
}

fn refuse_content(entry: &Entry) -> Result<(), ErofsError> {
    match entry.kind {
        EntryKind::Regular { size: size_bytes @ 1.. } => {
            Err(ErofsError::WhiteoutWithContent { path: entry.path[..].into(), size_bytes })
        }
        _ => Ok(()),
    }
}

/// The root directory, always the first inode.
pub(super) const ROOT: InodeId = InodeId(0);
/// Stands in for a hard link whose target is being looked up.
const NASCENT: InodeId = InodeId(1);
const DIRECTORY_LINKS: u32 = 2;
const PERMISSIONS: u16 = 0o7777;
/// `EROFS_NAME_LEN`.
const MAX_NAME_BYTES: usize = 255;
const WHITEOUT_PREFIX: &[u8] = b".wh.";
const OPAQUE_MARK: &[u8] = b".wh..wh..opq";
const OVERLAY_OPAQUE: &[u8] = b"trusted.overlay.opaque";
const OVERLAY_ORIGIN: &[u8] = b"trusted.overlay.origin";
