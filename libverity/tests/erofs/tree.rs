//! Whole trees, from an image or from a directory, to be compared.

use std::collections::BTreeMap;
use std::fs;
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;

use libverity::digest::Digest;
use libverity::erofs::{FileKind, ImageSource, ReadError, Reader};
use libverity::tar::{Timestamp, Xattr};
use rustix::io::Errno;

/// Is everything below a directory, by path; the root is `/`.
pub(crate) type Tree = BTreeMap<Vec<u8>, File>;

/// Is everything that can be known of a file.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct File {
    mode: u32,
    uid: u32,
    gid: u32,
    links: u64,
    mtime: Timestamp,
    device: Option<(u32, u32)>,
    /// The content, or the text of a link.
    content: Option<Digest>,
    /// In byte order.
    pub(crate) xattrs: Vec<(Vec<u8>, Vec<u8>)>,
}

impl File {
    /// Drops what a file system of Linux does not have for every file: attributes of any name and
    /// value, and permissions of symbolic links.
    pub(crate) fn forget_what_the_machine_does_not_keep(&mut self) {
        self.xattrs.clear();
        if self.mode & 0o170_000 == 0o120_000 {
            self.mode = 0o120_777;
        }
    }
}

impl File {
    /// Drops attributes that Linux hides or refuses to show: those in no namespace, without a name in
    /// it, repeated, those of users where there is no content, and what it takes for access rights
    /// or capabilities.
    pub(crate) fn forget_xattrs_that_linux_refuses(&mut self, found: &mut Self) {
        for file in [self, found] {
            let has_content = matches!(file.mode & 0o170_000, 0o040_000 | 0o100_000);
            file.xattrs.dedup_by(|one, kept| one.0 == kept.0);
            file.xattrs.retain(|(name, _)| {
                let shown: &[&[u8]] = if has_content {
                    &[b"security.", b"trusted.", b"user."]
                } else {
                    &[b"security.", b"trusted."]
                };
                shown.iter().any(|space| name.starts_with(space) && name.len() > space.len())
                    && name != b"security.capability"
            });
        }
    }
}

/// Reads everything that is in an image.
pub(crate) fn of_image<S: ImageSource>(reader: &Reader<S>) -> Result<Tree, ReadError> {
    let mut tree = Tree::new();
    for file in reader.walk() {
        let file = file?;
        let inode = &file.inode;
        let (kind_bits, device) = match inode.kind {
            FileKind::BlockDevice(device) => (0o060_000, Some(device)),
            FileKind::CharacterDevice(device) => (0o020_000, Some(device)),
            FileKind::Directory => (0o040_000, None),
            FileKind::Fifo => (0o010_000, None),
            FileKind::Regular => (0o100_000, None),
            FileKind::Symlink => (0o120_000, None),
        };
        let content = match inode.kind {
            FileKind::Regular => {
                let mut content = Vec::new();
                reader.read_file(&file)?.read_to_end(&mut content).unwrap();
                assert_eq!(content.len() as u64, inode.size_bytes);
                Some(Digest::of(&content))
            }
            FileKind::Symlink => Some(Digest::of(&reader.symlink_target(&file)?)),
            _ => None,
        };
        let xattrs = reader.xattrs(&file)?.into_iter().map(|Xattr { name, value }| (name, value));
        let mut xattrs: Vec<_> = xattrs.collect();
        xattrs.sort();
        let read = File {
            mode: kind_bits | u32::from(inode.permissions),
            uid: inode.uid,
            gid: inode.gid,
            links: inode.links.into(),
            mtime: inode.mtime,
            device: device.map(|device| (device.major, device.minor)),
            content,
            xattrs,
        };
        assert_eq!(tree.insert(file.path.as_bytes().to_vec(), read), None);
    }
    Ok(tree)
}

/// Reads everything that is in a directory.
pub(crate) fn of_directory(directory: &Path) -> Tree {
    let mut tree = Tree::new();
    let mut waiting = vec![directory.to_path_buf()];
    while let Some(path) = waiting.pop() {
        let metadata = fs::symlink_metadata(&path).unwrap();
        let kind = metadata.file_type();
        let content = if kind.is_file() {
            Some(Digest::of(&fs::read(&path).unwrap()))
        } else if kind.is_symlink() {
            Some(Digest::of(fs::read_link(&path).unwrap().as_os_str().as_bytes()))
        } else {
            None
        };
        let is_device = kind.is_block_device() || kind.is_char_device();
        let device = metadata.rdev();
        let file = File {
            mode: metadata.mode(),
            uid: metadata.uid(),
            gid: metadata.gid(),
            links: metadata.nlink(),
            mtime: Timestamp {
                seconds: metadata.mtime(),
                nanoseconds: metadata.mtime_nsec() as u32,
            },
            device: is_device.then(|| (rustix::fs::major(device), rustix::fs::minor(device))),
            content,
            xattrs: xattrs(&path),
        };
        if kind.is_dir() {
            waiting.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
        }
        let below = path.strip_prefix(directory).unwrap().as_os_str().as_bytes();
        tree.insert([b"/", below].concat(), file);
    }
    tree
}

fn xattrs(path: &Path) -> Vec<(Vec<u8>, Vec<u8>)> {
    let mut names = vec![0; 65536];
    let length = rustix::fs::llistxattr(path, &mut names[..]).unwrap();
    let names = names[..length].split(|byte| *byte == 0).filter(|name| !name.is_empty());
    let mut xattrs: Vec<_> = names
        .filter_map(|name| {
            let mut value = vec![0; 65536];
            let length = match rustix::fs::lgetxattr(path, name, &mut value[..]) {
                // Linux lists what it cannot read as access rights or capabilities, if at all.
                Err(Errno::INVAL | Errno::NODATA | Errno::OPNOTSUPP) => return None,
                length => length.unwrap(),
            };
            value.truncate(length);
            Some((name.to_vec(), value))
        })
        .collect();
    xattrs.sort();
    xattrs
}
