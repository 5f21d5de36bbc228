//! The superblock, 128 bytes at byte 1024 of the image.
//!
//! | offset | bytes | what |
//! |---|---|---|
//! | 0 | 4 | magic, `E2 E1 F5 E0` |
//! | 4 | 4 | checksum |
//! | 8 | 4 | compatible features: 1 checksum, 2 times are modification times, 4 name filters |
//! | 12 | 1 | block size, as power of two |
//! | 13 | 1 | 0 |
//! | 14 | 2 | number of the root inode |
//! | 16 | 8 | count of inodes |
//! | 24 | 12 | build time, 0 |
//! | 36 | 4 | count of blocks |
//! | 40 | 4 | block from which inodes are numbered |
//! | 44 | 4 | block of shared attributes, 0 |
//! | 48 | 16 | UUID |
//! | 64 | 16 | volume name, 0 |
//! | 80 | 4 | incompatible features: 8 other devices |
//! | 84 | 2 | compression, 0 |
//! | 86 | 2 | count of other devices |
//! | 88 | 2 | place of the device table, in units of 128 bytes |
//! | 90 | 38 | 0 |
//!
//! The checksum is CRC-32C with initial value 2³² − 1 and no final inversion, over the rest of the
//! superblock's block, from the superblock on, with the checksum itself as 0.
//!
//! Source: Linux, `fs/erofs/erofs_fs.h` and `fs/erofs/super.c`.

use zerocopy::little_endian::{U16, U32, U64};
use zerocopy::{Immutable, IntoBytes};

/// Is what the superblock says about an image, without UUID and checksum.
#[derive(Clone, Copy, Debug)]
pub(super) struct Superblock {
    /// Whether some inode has a name filter that is of use.
    pub(super) has_xattr_filter: bool,
    /// The size of a block in bytes, a power of two.
    pub(super) block_bytes: u32,
    /// The number of the root inode.
    pub(super) root_nid: u16,
    /// The count of inodes.
    pub(super) inodes: u64,
    /// The count of blocks.
    pub(super) blocks: u32,
    /// The block from which inodes are numbered.
    pub(super) metadata_block: u32,
}

impl Superblock {
    /// Returns the bytes of the superblock; UUID and checksum are 0.
    pub(super) fn to_bytes(self) -> [u8; SUPERBLOCK_BYTES as usize] {
        let filter = if self.has_xattr_filter { FEATURE_XATTR_FILTER } else { 0 };
        let raw = RawSuperblock {
            magic: MAGIC.into(),
            checksum: 0.into(),
            feature_compat: (FEATURE_CHECKSUM | FEATURE_MTIME | filter).into(),
            block_bits: self.block_bytes.ilog2() as u8,
            extended_slots: 0,
            root_nid: self.root_nid.into(),
            inodes: self.inodes.into(),
            build_time: 0.into(),
            build_time_nanoseconds: 0.into(),
            blocks: self.blocks.into(),
            metadata_block: self.metadata_block.into(),
            xattr_block: 0.into(),
            uuid: [0; 16],
            volume_name: [0; 16],
            feature_incompat: 0.into(),
            compression: 0.into(),
            extra_devices: 0.into(),
            device_table_slot: 0.into(),
            reserved: [0; 38],
        };
        zerocopy::transmute!(raw)
    }
}

/// Writes `uuid` into the superblock at the start of `bytes`, which reach to the end of its
/// block, and then the checksum over all of them.
pub(super) fn seal(bytes: &mut [u8], uuid: [u8; 16]) {
    bytes[UUID_OFFSET..UUID_OFFSET + 16].copy_from_slice(&uuid);
    bytes[CHECKSUM_OFFSET..CHECKSUM_OFFSET + 4].fill(0);
    let checksum = !crc32c::crc32c(bytes);
    bytes[CHECKSUM_OFFSET..CHECKSUM_OFFSET + 4].copy_from_slice(&checksum.to_le_bytes());
}

#[derive(IntoBytes, Immutable)]
#[repr(C)]
struct RawSuperblock {
    magic: U32,
    checksum: U32,
    feature_compat: U32,
    block_bits: u8,
    extended_slots: u8,
    root_nid: U16,
    inodes: U64,
    build_time: U64,
    build_time_nanoseconds: U32,
    blocks: U32,
    metadata_block: U32,
    xattr_block: U32,
    uuid: [u8; 16],
    volume_name: [u8; 16],
    feature_incompat: U32,
    compression: U16,
    extra_devices: U16,
    device_table_slot: U16,
    reserved: [u8; 38],
}

/// The distance of the superblock from the start of the image.
pub(super) const SUPERBLOCK_OFFSET_BYTES: u32 = 1024;
/// The size of the superblock.
pub(super) const SUPERBLOCK_BYTES: u32 = size_of::<RawSuperblock>() as u32;

const MAGIC: u32 = 0xE0F5_E1E2;
const FEATURE_CHECKSUM: u32 = 0x1;
const FEATURE_MTIME: u32 = 0x2;
const FEATURE_XATTR_FILTER: u32 = 0x4;
const CHECKSUM_OFFSET: usize = 4;
const UUID_OFFSET: usize = 48;
