//! What is known of a file without its content.

use super::super::EntryPath;
use super::super::inode::{
    DataLayout, InodeError, InodeForm, InodeRecord, decode_device, file_type,
};
use super::{FileError, ReadError};
use crate::erofs::directory::DirentType;
use crate::tar::{DeviceNumber, Timestamp};

/// Is one name in an image and the file that has it.
#[derive(Clone, Debug)]
pub struct WalkedFile {
    /// The path from the root of the image, which is `/`.
    pub path: EntryPath,
    /// The file.
    pub inode: Inode,
    /// The number of the directory's inode; for the root its own.
    pub directory_nid: u64,
}

impl WalkedFile {
    pub(super) fn error(&self, source: FileError) -> ReadError {
        ReadError::File { path: self.path.clone(), nid: self.inode.nid, source }
    }
}

/// Is what an inode says of its file.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Inode {
    /// The number by which directories know it, and that `stat` shows.
    pub nid: u64,
    /// The serial number, from 1.
    pub number: u32,
    /// What kind of file it is.
    pub kind: FileKind,
    /// Permission bits (`07777`).
    pub permissions: u16,
    /// The count of names.
    pub links: u32,
    /// The owner's numeric user.
    pub uid: u32,
    /// The owner's numeric group.
    pub gid: u32,
    /// The length of the content in bytes.
    pub size_bytes: u64,
    /// The time of the last modification.
    pub mtime: Timestamp,
    pub(super) offset_bytes: u64,
    pub(super) form: InodeForm,
    pub(super) layout: DataLayout,
    pub(super) xattr_bytes: u32,
    pub(super) first_block: u32,
}

impl Inode {
    pub(super) fn new(
        nid: u64,
        offset_bytes: u64,
        record: &InodeRecord,
        build_time: Timestamp,
    ) -> Result<Self, FileError> {
        let kind = FileKind::new(record)?;
        let has_content =
            matches!(kind, FileKind::Directory | FileKind::Regular | FileKind::Symlink);
        if !has_content && record.size_bytes != 0 {
            return Err(FileError::SpecialWithContent { size_bytes: record.size_bytes });
        }
        Ok(Self {
            nid,
            number: record.number,
            kind,
            permissions: record.mode & !file_type::MASK,
            links: record.links,
            uid: record.uid,
            gid: record.gid,
            size_bytes: record.size_bytes,
            mtime: match record.form {
                InodeForm::Compact => build_time,
                InodeForm::Extended => record.mtime,
            },
            offset_bytes,
            form: record.form,
            layout: record.layout,
            xattr_bytes: record.xattr_bytes,
            first_block: record.union,
        })
    }

    /// Returns where its extended attributes end, and inline content starts.
    pub(super) fn xattrs_end_bytes(&self) -> u64 {
        self.offset_bytes + u64::from(self.form.bytes()) + u64::from(self.xattr_bytes)
    }
}

/// Tells the kinds of files apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileKind {
    /// A block device.
    BlockDevice(DeviceNumber),
    /// A character device; number 0:0 is a whiteout.
    CharacterDevice(DeviceNumber),
    /// A directory.
    Directory,
    /// A named pipe.
    Fifo,
    /// A regular file.
    Regular,
    /// A symbolic link.
    Symlink,
}

impl FileKind {
    fn new(record: &InodeRecord) -> Result<Self, InodeError> {
        let device = decode_device(record.union);
        Ok(match record.mode & file_type::MASK {
            file_type::BLOCK_DEVICE => Self::BlockDevice(device),
            file_type::CHARACTER_DEVICE => Self::CharacterDevice(device),
            file_type::DIRECTORY => Self::Directory,
            file_type::FIFO => Self::Fifo,
            file_type::REGULAR => Self::Regular,
            file_type::SYMLINK => Self::Symlink,
            _ => return Err(InodeError::FileType { mode: record.mode }),
        })
    }

    pub(super) fn dirent_type(self) -> DirentType {
        match self {
            Self::BlockDevice(_) => DirentType::BlockDevice,
            Self::CharacterDevice(_) => DirentType::CharacterDevice,
            Self::Directory => DirentType::Directory,
            Self::Fifo => DirentType::Fifo,
            Self::Regular => DirentType::Regular,
            Self::Symlink => DirentType::Symlink,
        }
    }

    /// Tells whether overlayfs hides with it what lower layers have under its name.
    pub fn is_whiteout(self) -> bool {
        self == Self::CharacterDevice(DeviceNumber { major: 0, minor: 0 })
    }
}
