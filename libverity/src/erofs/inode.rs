//! Inodes on disk.
//!
//! Compact, 32 bytes, for owners and link counts of 16 bits, sizes of 32 bits, and the time 0:
//!
//! | offset | bytes | what |
//! |---|---|---|
//! | 0 | 2 | data layout × 2 |
//! | 2 | 2 | 0 without attributes, else (their bytes − 12) / 4 + 1 |
//! | 4 | 2 | type and permissions |
//! | 6 | 2 | link count |
//! | 8 | 4 | size in bytes |
//! | 12 | 4 | 0 |
//! | 16 | 4 | first block, device number, or chunk format |
//! | 20 | 4 | serial number |
//! | 24 | 2 | user |
//! | 26 | 2 | group |
//! | 28 | 4 | 0 |
//!
//! Extended, 64 bytes:
//!
//! | offset | bytes | what |
//! |---|---|---|
//! | 0 | 2 | data layout × 2 + 1 |
//! | 2 | 2 | as above |
//! | 4 | 2 | type and permissions |
//! | 6 | 2 | 0 |
//! | 8 | 8 | size in bytes |
//! | 16 | 4 | first block, device number, or chunk format |
//! | 20 | 4 | serial number |
//! | 24 | 4 | user |
//! | 28 | 4 | group |
//! | 32 | 8 | modification time, seconds |
//! | 40 | 4 | nanoseconds |
//! | 44 | 4 | link count |
//! | 48 | 16 | 0 |
//!
//! Attributes follow at once, then chunk indexes at a multiple of 8, then inline content.
//!
//! Source: Linux, `fs/erofs/erofs_fs.h`.

use zerocopy::little_endian::{U16, U32, U64};
use zerocopy::{Immutable, IntoBytes};

use crate::tar::Timestamp;

/// Is everything that an inode says.
#[derive(Clone, Debug)]
pub(super) struct InodeRecord {
    /// Which of the two forms it takes.
    pub(super) form: InodeForm,
    /// How the content is found.
    pub(super) layout: DataLayout,
    /// The bytes of the attributes behind it.
    pub(super) xattr_bytes: u32,
    /// File type and permissions.
    pub(super) mode: u16,
    /// The number of names.
    pub(super) links: u32,
    /// The length of the content in bytes.
    pub(super) size_bytes: u64,
    /// First block, device number, or chunk format.
    pub(super) union: u32,
    /// The serial number, from 1.
    pub(super) number: u32,
    /// The owner's user.
    pub(super) uid: u32,
    /// The owner's group.
    pub(super) gid: u32,
    /// The time of the last modification.
    pub(super) mtime: Timestamp,
}

impl InodeRecord {
    /// Appends the inode to `buffer`.
    pub(super) fn write(&self, buffer: &mut Vec<u8>) {
        let layout = (self.layout as u16) << 1;
        let xattr_count = match self.xattr_bytes {
            0 => 0,
            bytes => ((bytes - 12) / 4 + 1) as u16,
        };
        match self.form {
            InodeForm::Compact => buffer.extend_from_slice(
                CompactInode {
                    format: layout.into(),
                    xattr_count: xattr_count.into(),
                    mode: self.mode.into(),
                    links: (self.links as u16).into(),
                    size_bytes: (self.size_bytes as u32).into(),
                    reserved: 0.into(),
                    union: self.union.into(),
                    number: self.number.into(),
                    uid: (self.uid as u16).into(),
                    gid: (self.gid as u16).into(),
                    reserved_end: 0.into(),
                }
                .as_bytes(),
            ),
            InodeForm::Extended => buffer.extend_from_slice(
                ExtendedInode {
                    format: (layout | 1).into(),
                    xattr_count: xattr_count.into(),
                    mode: self.mode.into(),
                    reserved: 0.into(),
                    size_bytes: self.size_bytes.into(),
                    union: self.union.into(),
                    number: self.number.into(),
                    uid: self.uid.into(),
                    gid: self.gid.into(),
                    mtime_seconds: self.mtime.seconds.cast_unsigned().into(),
                    mtime_nanoseconds: self.mtime.nanoseconds.into(),
                    links: self.links.into(),
                    reserved_end: [0; 16],
                }
                .as_bytes(),
            ),
        }
    }
}

/// Tells the two forms of an inode apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum InodeForm {
    /// 32 bytes.
    Compact,
    /// 64 bytes.
    Extended,
}

impl InodeForm {
    /// Returns the size of the inode without what follows it.
    pub(super) const fn bytes(self) -> u32 {
        match self {
            Self::Compact => size_of::<CompactInode>() as u32,
            Self::Extended => size_of::<ExtendedInode>() as u32,
        }
    }
}

/// Tells how the content of an inode is found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum DataLayout {
    /// In consecutive blocks.
    FlatPlain = 0,
    /// In consecutive blocks, and the rest behind the inode.
    FlatInline = 2,
    /// In chunks of another device.
    #[expect(dead_code, reason = "only images that index a tar have chunks")]
    ChunkBased = 4,
}

/// File types in an inode's mode.
pub(super) mod file_type {
    pub(in super::super) const FIFO: u16 = 0o010_000;
    pub(in super::super) const CHARACTER_DEVICE: u16 = 0o020_000;
    pub(in super::super) const DIRECTORY: u16 = 0o040_000;
    pub(in super::super) const BLOCK_DEVICE: u16 = 0o060_000;
    pub(in super::super) const REGULAR: u16 = 0o100_000;
    pub(in super::super) const SYMLINK: u16 = 0o120_000;
}

#[derive(IntoBytes, Immutable)]
#[repr(C)]
struct CompactInode {
    format: U16,
    xattr_count: U16,
    mode: U16,
    links: U16,
    size_bytes: U32,
    reserved: U32,
    union: U32,
    number: U32,
    uid: U16,
    gid: U16,
    reserved_end: U32,
}

#[derive(IntoBytes, Immutable)]
#[repr(C)]
struct ExtendedInode {
    format: U16,
    xattr_count: U16,
    mode: U16,
    reserved: U16,
    size_bytes: U64,
    union: U32,
    number: U32,
    uid: U32,
    gid: U32,
    mtime_seconds: U64,
    mtime_nanoseconds: U32,
    links: U32,
    reserved_end: [u8; 16],
}

const _: () = assert!(size_of::<CompactInode>() == 32 && size_of::<ExtendedInode>() == 64);
