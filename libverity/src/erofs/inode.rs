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
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::tar::{DeviceNumber, Timestamp};

/// Is everything that an inode says.
#[derive(Clone, Debug, PartialEq, Eq)]
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

impl InodeRecord {
    /// Reads the inode at the start of `bytes`, of which [`MAX_INODE_BYTES`] suffice. The compact
    /// form has the time 0.
    pub(super) fn parse(bytes: &[u8]) -> Result<Self, InodeError> {
        let truncated = || InodeError::Truncated { found_bytes: bytes.len() };
        let (format, _) = U16::read_from_prefix(bytes).map_err(|_| truncated())?;
        let format = format.get();
        if format & !(FORM_BIT | LAYOUT_BITS) != 0 {
            return Err(InodeError::Format { found: format });
        }
        let layout = DataLayout::from_number((format & LAYOUT_BITS) >> 1)?;
        if format & FORM_BIT == 0 {
            let (raw, _) = CompactInode::read_from_prefix(bytes).map_err(|_| truncated())?;
            if raw.reserved.get() != 0 || raw.reserved_end.get() != 0 {
                return Err(InodeError::Reserved);
            }
            return Ok(Self {
                form: InodeForm::Compact,
                layout,
                xattr_bytes: xattr_bytes(raw.xattr_count),
                mode: raw.mode.get(),
                links: raw.links.get().into(),
                size_bytes: raw.size_bytes.get().into(),
                union: raw.union.get(),
                number: raw.number.get(),
                uid: raw.uid.get().into(),
                gid: raw.gid.get().into(),
                mtime: Timestamp::default(),
            });
        }
        let (raw, _) = ExtendedInode::read_from_prefix(bytes).map_err(|_| truncated())?;
        if raw.reserved.get() != 0 || raw.reserved_end != [0; 16] {
            return Err(InodeError::Reserved);
        }
        let nanoseconds = raw.mtime_nanoseconds.get();
        if nanoseconds >= NANOSECONDS_PER_SECOND {
            return Err(InodeError::Nanoseconds { found: nanoseconds });
        }
        Ok(Self {
            form: InodeForm::Extended,
            layout,
            xattr_bytes: xattr_bytes(raw.xattr_count),
            mode: raw.mode.get(),
            links: raw.links.get(),
            size_bytes: raw.size_bytes.get(),
            union: raw.union.get(),
            number: raw.number.get(),
            uid: raw.uid.get(),
            gid: raw.gid.get(),
            mtime: Timestamp { seconds: raw.mtime_seconds.get().cast_signed(), nanoseconds },
        })
    }
}

/// Says why bytes are no inode that this reader knows.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InodeError {
    /// The file is of no type that a layer can hold.
    #[error("the mode {mode:#o} is of no file type that a layer can hold")]
    FileType {
        /// Type and permissions.
        mode: u16,
    },
    /// The format has bits of unknown meaning.
    #[error("the inode has the unknown format {found:#x}")]
    Format {
        /// The format.
        found: u16,
    },
    /// The content is compressed, or in a layout that does not exist.
    #[error("the data layout is {found}, and neither plain (0) nor inline (2) nor chunks (4)")]
    Layout {
        /// The layout.
        found: u16,
    },
    /// The time has a billion nanoseconds or more.
    #[error("the modification time has {found} nanoseconds")]
    Nanoseconds {
        /// How many.
        found: u32,
    },
    /// A field of unknown meaning is in use.
    #[error("the inode has something in a reserved field")]
    Reserved,
    /// The image ends within the inode.
    #[error("the image ends after {found_bytes} bytes of the inode")]
    Truncated {
        /// What is left of it.
        found_bytes: usize,
    },
}

/// Returns how many bytes of attributes the count in an inode stands for.
fn xattr_bytes(count: U16) -> u32 {
    match u32::from(count.get()) {
        0 => 0,
        count => 12 + (count - 1) * 4,
    }
}

/// Encodes a device number as the kernel's `new_encode_dev` does.
pub(super) const fn encode_device(DeviceNumber { major, minor }: DeviceNumber) -> u32 {
    (minor & 0xff) | major << 8 | (minor & !0xff) << 12
}

/// Decodes a device number as the kernel's `new_decode_dev` does: 12 bits of major, 20 of minor.
pub(super) const fn decode_device(encoded: u32) -> DeviceNumber {
    DeviceNumber { major: encoded >> 8 & 0xfff, minor: encoded & 0xff | encoded >> 12 & 0xf_ff00 }
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
    ChunkBased = 4,
}

impl DataLayout {
    fn from_number(number: u16) -> Result<Self, InodeError> {
        match number {
            0 => Ok(Self::FlatPlain),
            2 => Ok(Self::FlatInline),
            4 => Ok(Self::ChunkBased),
            found => Err(InodeError::Layout { found }),
        }
    }
}

/// File types in an inode's mode.
pub(super) mod file_type {
    /// The bits of the mode that hold it.
    pub(in super::super) const MASK: u16 = 0o170_000;
    pub(in super::super) const FIFO: u16 = 0o010_000;
    pub(in super::super) const CHARACTER_DEVICE: u16 = 0o020_000;
    pub(in super::super) const DIRECTORY: u16 = 0o040_000;
    pub(in super::super) const BLOCK_DEVICE: u16 = 0o060_000;
    pub(in super::super) const REGULAR: u16 = 0o100_000;
    pub(in super::super) const SYMLINK: u16 = 0o120_000;
}

#[derive(FromBytes, Immutable, IntoBytes, KnownLayout)]
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

#[derive(FromBytes, Immutable, IntoBytes, KnownLayout)]
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

/// The size of the larger form of an inode.
pub(super) const MAX_INODE_BYTES: usize = size_of::<ExtendedInode>();
const FORM_BIT: u16 = 1;
/// Three bits above the lowest.
const LAYOUT_BITS: u16 = 0b1110;
const NANOSECONDS_PER_SECOND: u32 = 1_000_000_000;

#[cfg(test)]
mod tests {
    use super::*;

    fn record(form: InodeForm) -> InodeRecord {
        InodeRecord {
            form,
            layout: DataLayout::FlatInline,
            xattr_bytes: 24,
            mode: file_type::REGULAR | 0o4755,
            links: 3,
            size_bytes: 5000,
            union: 7,
            number: 9,
            uid: 1000,
            gid: 100,
            mtime: match form {
                InodeForm::Compact => Timestamp::default(),
                InodeForm::Extended => Timestamp { seconds: -5, nanoseconds: 999_999_999 },
            },
        }
    }

    fn bytes(record: &InodeRecord) -> Vec<u8> {
        let mut bytes = Vec::new();
        record.write(&mut bytes);
        bytes
    }

    #[test]
    fn both_forms_are_read_back_as_written() {
        for form in [InodeForm::Compact, InodeForm::Extended] {
            let written = record(form);
            let bytes = bytes(&written);
            assert_eq!(bytes.len() as u32, form.bytes());
            assert_eq!(InodeRecord::parse(&bytes), Ok(written));
            for length in 0..bytes.len() {
                let truncated = InodeError::Truncated { found_bytes: length };
                assert_eq!(InodeRecord::parse(&bytes[..length]), Err(truncated));
            }
        }
    }

    #[test]
    fn what_has_no_meaning_is_refused() {
        for (form, place, found) in [
            (InodeForm::Compact, 12, InodeError::Reserved),
            (InodeForm::Compact, 31, InodeError::Reserved),
            (InodeForm::Extended, 6, InodeError::Reserved),
            (InodeForm::Extended, 63, InodeError::Reserved),
            (InodeForm::Extended, 43, InodeError::Nanoseconds { found: 0xff9a_c9ff }),
            (InodeForm::Compact, 0, InodeError::Layout { found: 7 }),
            (InodeForm::Compact, 1, InodeError::Format { found: 0xff04 }),
        ] {
            let mut bytes = bytes(&record(form));
            bytes[place] = 0xff;
            if place == 0 {
                bytes[0] = 0xe;
            }
            assert_eq!(InodeRecord::parse(&bytes), Err(found), "byte {place}");
        }
    }

    #[test]
    fn device_numbers_are_read_back_as_written() {
        for (major, minor) in [(0, 0), (1, 3), (8, 300), (259, 0), (4095, 0xf_ffff)] {
            let device = DeviceNumber { major, minor };
            assert_eq!(decode_device(encode_device(device)), device);
        }
        assert_eq!(encode_device(DeviceNumber { major: 8, minor: 300 }), 0x10_082c);
    }
}
