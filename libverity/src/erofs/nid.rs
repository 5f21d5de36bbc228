//! Numbers of inodes, by which the superblock and directories find them.
//!
//! A number is the distance of an inode from the block at which the numbering starts, in units of
//! 32 bytes. That is block 0 unless the root lies so far behind that its number would need more
//! than the 16 bits that the superblock has for it. Then the numbering starts shortly before the
//! root, and inodes that fill the gap in the first block are *before* that start. Their distance is
//! taken modulo 2⁶⁴ bytes, so that their numbers have 59 bits; whoever adds the start again, with the
//! same overflow, finds them.
//!
//! Source: erofs-utils 1.9.4, `lib/inode.c`; Linux, `erofs_iloc` in `fs/erofs/internal.h`.

use super::allocator::INODE_SLOT_BYTES;

/// Returns the number of the inode at `offset_bytes`, a multiple of [`INODE_SLOT_BYTES`].
pub(super) const fn of_offset(offset_bytes: u64, start_bytes: u64) -> u64 {
    offset_bytes.wrapping_sub(start_bytes) / INODE_SLOT_BYTES
}

/// Returns where the inode with this number lies; `None` if no inode can have it.
///
/// Numbers of more than 59 bits would be further ones of the same inodes.
pub(super) const fn to_offset(nid: u64, start_bytes: u64) -> Option<u64> {
    match nid.checked_mul(INODE_SLOT_BYTES) {
        Some(distance_bytes) => Some(distance_bytes.wrapping_add(start_bytes)),
        None => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_lead_back_to_where_they_are_from() {
        for (offset_bytes, start_bytes, nid) in [
            (1152, 0, 36),
            (450 * 4096, 450 * 4096, 0),
            (450 * 4096 + 2_093_056, 450 * 4096, 65_408),
            // In the first block, before the start.
            (1504, 450 * 4096, 0x07ff_ffff_ffff_1f2f),
        ] {
            assert_eq!(of_offset(offset_bytes, start_bytes), nid, "{offset_bytes}");
            assert_eq!(to_offset(nid, start_bytes), Some(offset_bytes), "{offset_bytes}");
        }
    }

    #[test]
    fn an_inode_has_one_number() {
        let nid = of_offset(1152, 450 * 4096);
        for other in 1..32 {
            assert_eq!(to_offset(nid | other << 59, 450 * 4096), None);
        }
    }
}
