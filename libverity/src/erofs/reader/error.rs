//! Why an image cannot be read.

use std::io;

use super::super::{
    ChunkError, DirectoryError, EntryPath, InodeError, SuperblockError, XattrError,
};
use crate::tar::{MAX_LINK_TARGET_BYTES, MAX_PATH_BYTES};

/// Says why an image cannot be read, or not to the end.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReadError {
    /// Content lies on other devices, which no signature of this image covers.
    #[error("the image has content on {count} extra devices, which its root hash does not cover")]
    ExtraDevices {
        /// How many there are.
        count: u16,
    },
    /// A file cannot be read.
    #[error("{path:?} (inode {nid})")]
    File {
        /// The file.
        path: EntryPath,
        /// The number of its inode.
        nid: u64,
        /// What is wrong with it.
        source: FileError,
    },
    /// The image does not point into an archive.
    #[error("the image has its content within, and points into no archive")]
    NoArchive,
    /// The size of the source cannot be found out.
    #[error("cannot find out the size of the image")]
    Size {
        /// The reason.
        source: io::Error,
    },
    /// The superblock asks for what is not supported, or is damaged.
    #[error(transparent)]
    Superblock(#[from] SuperblockError),
    /// The superblock cannot be read.
    #[error("cannot read the superblock at byte {offset_bytes}")]
    SuperblockRead {
        /// Where it is.
        offset_bytes: u64,
        /// The reason.
        source: io::Error,
    },
    /// The source ends before the image does.
    #[error("the image is cut off: it has {found_bytes} of at least {expected_bytes} bytes")]
    TooShort {
        /// How many bytes there should be.
        expected_bytes: u64,
        /// How many there are.
        found_bytes: u64,
    },
}

/// Says what is wrong with one file of an image.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FileError {
    /// The content does not lie within the image, or the archive behind it.
    #[error(
        "the content lies in {blocks} blocks from block {first_block} on, and there are \
         {image_blocks}"
    )]
    BlocksOutside {
        /// Where it starts.
        first_block: u64,
        /// How many blocks it has.
        blocks: u64,
        /// How many the image, or the archive, has.
        image_blocks: u64,
    },
    /// The content lies in the archive, and cannot be found there.
    #[error(transparent)]
    Chunk(#[from] ChunkError),
    /// The content lies in chunks, which whole images do not have.
    #[error("the content lies in chunks, as only in images that point into an archive")]
    Chunks,
    /// A directory is damaged.
    #[error("the directory is damaged")]
    Directory(#[from] DirectoryError),
    /// A directory has two names.
    #[error("the directory was met before under another name")]
    DirectoryAgain,
    /// `.` or `..` does not lead where it should.
    #[error("{name:?} leads to inode {found}, and not to {expected}")]
    DotEntry {
        /// Which of them.
        name: EntryPath,
        /// The number of the inode to which it should lead.
        expected: u64,
        /// That to which it leads.
        found: u64,
    },
    /// A directory says of a file that it is of another type than it is.
    #[error("the directory says of {name:?} that it is of another type")]
    EntryType {
        /// The file.
        name: EntryPath,
    },
    /// The end of the content should be inline, but there is none, or it crosses a block.
    #[error("{tail_bytes} inline bytes of content cannot lie at byte {offset_bytes}")]
    Inline {
        /// How many bytes should be inline.
        tail_bytes: u64,
        /// Where they should be.
        offset_bytes: u64,
    },
    /// The inode is damaged.
    #[error(transparent)]
    Inode(#[from] InodeError),
    /// The inode does not lie within the image.
    #[error("the inode {nid} lies outside the image")]
    InodeOutside {
        /// Its number.
        nid: u64,
    },
    /// A directory has no `.` or no `..`.
    #[error("the directory has no {name:?}")]
    NoDotEntry {
        /// Which is missing.
        name: EntryPath,
    },
    /// The file is no directory, and should be one.
    #[error("is no directory")]
    NotDirectory,
    /// The file is no regular file, and should be one.
    #[error("is no regular file")]
    NotRegular,
    /// The file is no symbolic link, and should be one.
    #[error("is no symbolic link")]
    NotSymlink,
    /// The path is longer than Linux takes.
    #[error("the path has more than {MAX_PATH_BYTES} bytes")]
    PathTooLong,
    /// The image cannot be read there.
    #[error("cannot read the image at byte {offset_bytes}")]
    Read {
        /// Where.
        offset_bytes: u64,
        /// The reason.
        source: io::Error,
    },
    /// A device or pipe has content.
    #[error("a device or pipe cannot have {size_bytes} bytes of content")]
    SpecialWithContent {
        /// Its size.
        size_bytes: u64,
    },
    /// The text of a symbolic link has a zero byte.
    #[error("the link text has a zero byte")]
    TargetNulByte,
    /// The text of a symbolic link is longer than Linux takes.
    #[error("a link text of {size_bytes} bytes is longer than {MAX_LINK_TARGET_BYTES}")]
    TargetTooLong {
        /// Its length.
        size_bytes: u64,
    },
    /// There are more names than this reader takes, or than an image of this size can have.
    #[error("is one name too many for an image of this size: there can be {limit}")]
    TooManyNames {
        /// How many there may be.
        limit: u64,
    },
    /// The extended attributes are damaged.
    #[error("the extended attributes are damaged")]
    Xattrs(#[from] XattrError),
}

impl FileError {
    pub(super) fn read(offset_bytes: u64, source: io::Error) -> Self {
        Self::Read { offset_bytes, source }
    }
}
