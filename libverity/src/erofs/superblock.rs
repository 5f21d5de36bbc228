//! The superblock, 128 bytes at byte 1024 of the image, and the slot of a second device behind it.
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
//! A slot, 128 bytes:
//!
//! | offset | bytes | what |
//! |---|---|---|
//! | 0 | 64 | tag, 0 |
//! | 64 | 4 | count of blocks in the device |
//! | 68 | 4 | block number by which the image knows its first block |
//! | 72 | 56 | 0 |
//!
//! The checksum is CRC-32C with initial value 2³² − 1 and no final inversion, over the rest of the
//! superblock's block, from the superblock on, with the checksum itself as 0.
//!
//! Source: Linux, `fs/erofs/erofs_fs.h` and `fs/erofs/super.c`.

use uuid::Uuid;
use zerocopy::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::tar::Timestamp;

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
    /// The count of blocks in a second device, which continues the image's own blocks.
    pub(super) second_device_blocks: Option<u32>,
}

impl Superblock {
    /// Returns superblock and device slot; UUID and checksum are 0.
    pub(super) fn to_bytes(self) -> Vec<u8> {
        let mut bytes = self.raw().as_bytes().to_vec();
        if let Some(blocks) = self.second_device_blocks {
            let slot = RawDeviceSlot {
                tag: [0; 64],
                blocks: blocks.into(),
                first_block: self.blocks.into(),
                reserved: [0; 56],
            };
            bytes.extend_from_slice(slot.as_bytes());
        }
        bytes
    }

    fn raw(self) -> RawSuperblock {
        let has_device = self.second_device_blocks.is_some();
        let filter = if self.has_xattr_filter { FEATURE_XATTR_FILTER } else { 0 };
        RawSuperblock {
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
            feature_incompat: if has_device { FEATURE_DEVICE_TABLE } else { 0 }.into(),
            compression: 0.into(),
            extra_devices: u16::from(has_device).into(),
            device_table_slot: if has_device { DEVICE_TABLE_SLOT } else { 0 }.into(),
            reserved: [0; 38],
        }
    }
}

/// Is what the superblock of an image says.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ImageFacts {
    /// The image's UUID.
    pub uuid: Uuid,
    /// The size of a block in bytes: 512, 1024, 2048 or 4096.
    pub block_bytes: u32,
    /// The count of blocks.
    pub blocks: u64,
    /// The count of inodes.
    pub inodes: u64,
    /// The number of the root inode.
    pub root_nid: u64,
    /// The time of all files whose inode has none.
    pub build_time: Timestamp,
    /// Whether there is a checksum; if so, it is right.
    pub has_checksum: bool,
    /// The count of other devices that hold content.
    pub extra_devices: u16,
    /// The count of blocks of the archive behind an image that points into it.
    pub archive_blocks: Option<u64>,
    /// The block from which inodes are numbered.
    pub(super) metadata_block: u32,
    /// The block from which shared attributes are numbered.
    pub(super) xattr_block: u32,
    /// Whether name filters count.
    pub(super) has_xattr_filter: bool,
}

impl ImageFacts {
    /// Reads a superblock strictly: what has no meaning for this reader must be 0.
    pub(super) fn parse(bytes: &[u8; SUPERBLOCK_BYTES as usize]) -> Result<Self, SuperblockError> {
        let raw: &RawSuperblock = zerocopy::transmute_ref!(bytes);
        if raw.magic.get() != MAGIC {
            return Err(SuperblockError::Magic { found: raw.magic.get() });
        }
        if !BLOCK_BITS.contains(&raw.block_bits) {
            return Err(SuperblockError::BlockSize { bits: raw.block_bits });
        }
        let compatible = raw.feature_compat.get();
        let incompatible = raw.feature_incompat.get();
        let unknown_compatible =
            compatible & !(FEATURE_CHECKSUM | FEATURE_MTIME | FEATURE_XATTR_FILTER);
        let unknown_incompatible = incompatible & !FEATURE_DEVICE_TABLE;
        if unknown_compatible != 0 || unknown_incompatible != 0 {
            return Err(SuperblockError::Features {
                compatible: unknown_compatible,
                incompatible: unknown_incompatible,
            });
        }
        if raw.compression.get() != 0 {
            return Err(SuperblockError::Compression { found: raw.compression.get() });
        }
        let has_devices = incompatible & FEATURE_DEVICE_TABLE != 0;
        let extra_devices = raw.extra_devices.get();
        if has_devices != (extra_devices > 0) {
            return Err(SuperblockError::DeviceTable { extra_devices });
        }
        let expected_slot = if extra_devices > 0 { DEVICE_TABLE_SLOT } else { 0 };
        if raw.device_table_slot.get() != expected_slot {
            return Err(SuperblockError::DeviceTablePlace { slot: raw.device_table_slot.get() });
        }
        let build_nanoseconds = raw.build_time_nanoseconds.get();
        if build_nanoseconds >= NANOSECONDS_PER_SECOND {
            return Err(SuperblockError::Nanoseconds { found: build_nanoseconds });
        }
        let reserved = raw.reserved.iter().position(|&byte| byte != 0);
        if raw.extended_slots != 0 {
            return Err(SuperblockError::Reserved { offset: EXTENDED_SLOTS_OFFSET });
        }
        if let Some(place) = reserved {
            return Err(SuperblockError::Reserved { offset: RESERVED_OFFSET + place });
        }
        Ok(Self {
            uuid: Uuid::from_bytes(raw.uuid),
            block_bytes: 1 << raw.block_bits,
            blocks: raw.blocks.get().into(),
            inodes: raw.inodes.get(),
            root_nid: raw.root_nid.get().into(),
            build_time: Timestamp {
                seconds: raw.build_time.get().cast_signed(),
                nanoseconds: build_nanoseconds,
            },
            has_checksum: compatible & FEATURE_CHECKSUM != 0,
            extra_devices,
            archive_blocks: None,
            metadata_block: raw.metadata_block.get(),
            xattr_block: raw.xattr_block.get(),
            has_xattr_filter: compatible & FEATURE_XATTR_FILTER != 0,
        })
    }

    /// Reads the slot of a second device whose blocks continue those of the image.
    pub(super) fn add_archive(
        &mut self,
        bytes: &[u8; DEVICE_SLOT_BYTES as usize],
    ) -> Result<(), SuperblockError> {
        let raw: &RawDeviceSlot = zerocopy::transmute_ref!(bytes);
        if raw.tag != [0; 64] || raw.reserved != [0; 56] {
            return Err(SuperblockError::DeviceSlot);
        }
        let first_block = raw.first_block.get();
        if u64::from(first_block) != self.blocks {
            return Err(SuperblockError::DevicePlace { first_block, blocks: self.blocks });
        }
        self.archive_blocks = Some(raw.blocks.get().into());
        Ok(())
    }

    /// Returns the size of the image in bytes, without an archive behind it, at which the hash area of a layer file starts.
    pub fn size_bytes(&self) -> u64 {
        self.blocks * u64::from(self.block_bytes)
    }

    /// Returns how many bytes from the superblock on its checksum covers: the rest of its block.
    pub(super) fn checksummed_bytes(&self) -> usize {
        (self.block_bytes - SUPERBLOCK_OFFSET_BYTES % self.block_bytes) as usize
    }
}

/// Says which field makes a superblock unusable.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SuperblockError {
    /// Blocks are smaller than a sector or larger than a page.
    #[error("the size of a block is 2^{bits} bytes, and not 512 to 4096")]
    BlockSize {
        /// The size, as power of two.
        bits: u8,
    },
    /// The checksum is not that of the bytes.
    #[error("the superblock's checksum is {stored:#010x}, its block has {computed:#010x}")]
    Checksum {
        /// What the superblock says.
        stored: u32,
        /// What the bytes have.
        computed: u32,
    },
    /// Content is compressed.
    #[error("the image is compressed (algorithms or distance {found:#x})")]
    Compression {
        /// What the superblock says of it.
        found: u16,
    },
    /// The blocks of the second device do not continue those of the image.
    #[error("the second device starts at block {first_block}, and the image has {blocks}")]
    DevicePlace {
        /// Where the second device starts.
        first_block: u32,
        /// How many blocks the image has.
        blocks: u64,
    },
    /// The slot of the second device has something where nothing is known to be.
    #[error("the slot of the second device has something in a reserved field")]
    DeviceSlot,
    /// The table of devices is not behind the superblock.
    #[error("the table of devices is in slot {slot}, and not behind the superblock")]
    DeviceTablePlace {
        /// Where it is, in units of 128 bytes.
        slot: u16,
    },
    /// The count of other devices contradicts the feature that announces them.
    #[error("the superblock has {extra_devices} extra devices, and its features say otherwise")]
    DeviceTable {
        /// The count of other devices.
        extra_devices: u16,
    },
    /// The image uses what this reader does not know.
    #[error(
        "the image has unsupported features: {compatible:#x} compatible, {incompatible:#x} \
         incompatible"
    )]
    Features {
        /// The bits of compatible features that are unknown.
        compatible: u32,
        /// The bits of incompatible features that are unknown.
        incompatible: u32,
    },
    /// It does not start as a superblock.
    #[error("there is no EROFS superblock: the magic number is {found:#010x}")]
    Magic {
        /// What is there.
        found: u32,
    },
    /// The time of the build has a billion nanoseconds or more.
    #[error("the build time has {found} nanoseconds")]
    Nanoseconds {
        /// How many.
        found: u32,
    },
    /// A field of unknown meaning is in use.
    #[error("byte {offset} of the superblock is not 0")]
    Reserved {
        /// Its place in the superblock.
        offset: usize,
    },
}

/// Compares the checksum in the superblock at the start of `bytes`, which reach to the end of its
/// block, with theirs.
pub(super) fn verify_checksum(bytes: &[u8]) -> Result<(), SuperblockError> {
    let (before, rest) = bytes.split_at(CHECKSUM_OFFSET);
    let (stored, after) = rest.split_at(4);
    let stored = stored.iter().rev().fold(0, |sum, &byte| sum << 8 | u32::from(byte));
    let computed = crc32c::crc32c_append(crc32c::crc32c(before), &[0; 4]);
    let computed = !crc32c::crc32c_append(computed, after);
    if stored != computed {
        return Err(SuperblockError::Checksum { stored, computed });
    }
    Ok(())
}

/// Writes `uuid` into the superblock at the start of `bytes`, which reach to the end of its
/// block, and then the checksum over all of them.
pub(super) fn seal(bytes: &mut [u8], uuid: [u8; 16]) {
    bytes[UUID_OFFSET..UUID_OFFSET + 16].copy_from_slice(&uuid);
    bytes[CHECKSUM_OFFSET..CHECKSUM_OFFSET + 4].fill(0);
    let checksum = !crc32c::crc32c(bytes);
    bytes[CHECKSUM_OFFSET..CHECKSUM_OFFSET + 4].copy_from_slice(&checksum.to_le_bytes());
}

#[derive(FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned)]
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

#[derive(FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned)]
#[repr(C)]
struct RawDeviceSlot {
    tag: [u8; 64],
    blocks: U32,
    first_block: U32,
    reserved: [u8; 56],
}

/// The distance of the superblock from the start of the image.
pub(super) const SUPERBLOCK_OFFSET_BYTES: u32 = 1024;
/// The size of the superblock.
pub(super) const SUPERBLOCK_BYTES: u32 = size_of::<RawSuperblock>() as u32;

/// The size of the slot of a second device.
pub(super) const DEVICE_SLOT_BYTES: u32 = size_of::<RawDeviceSlot>() as u32;

const DEVICE_TABLE_SLOT: u16 =
    ((SUPERBLOCK_OFFSET_BYTES + SUPERBLOCK_BYTES) / DEVICE_SLOT_BYTES) as u16;
const MAGIC: u32 = 0xE0F5_E1E2;
const FEATURE_CHECKSUM: u32 = 0x1;
const FEATURE_MTIME: u32 = 0x2;
const FEATURE_XATTR_FILTER: u32 = 0x4;
const FEATURE_DEVICE_TABLE: u32 = 0x8;
/// From a sector to the page of the machines that Linux serves with the same images.
const BLOCK_BITS: std::ops::RangeInclusive<u8> = 9..=12;
const NANOSECONDS_PER_SECOND: u32 = 1_000_000_000;
const CHECKSUM_OFFSET: usize = 4;
const EXTENDED_SLOTS_OFFSET: usize = 13;
const UUID_OFFSET: usize = 48;
const RESERVED_OFFSET: usize = 90;
