//! NDB, rpm's own container of headers: `Packages.db`.
//!
//! All numbers are little-endian and have 4 bytes.
//!
//! | offset | |
//! |---|---|
//! | 0 | `RpmP`, version (0), generation, pages of slots, next number of a package, 12 bytes of nothing |
//! | 32 | slots of 16 bytes up to the end of those pages: `Slot`, number of the package, first block, number of blocks |
//! | | the blocks of 16 bytes that slots name |
//!
//! A slot whose first block is 0 is free. What blocks hold:
//!
//! | offset | |
//! |---|---|
//! | 0 | `BlbS`, number of the package, generation, bytes of the header |
//! | 16 | the header, and zeros up to the last 12 bytes of the last block |
//! | end - 12 | Adler-32 of all before, bytes of the header, `BlbE` |
//!
//! Source: rpm, `lib/backend/ndb/rpmpkg.c`.

use zerocopy::byteorder::little_endian::U32;
use zerocopy::{FromBytes, Immutable, KnownLayout, Unaligned};

use super::{Collected, DatabaseError, Package};

/// Reads which packages are installed.
///
/// # Errors
///
/// Returns [`DatabaseError`] for what is no such database.
pub fn parse(bytes: &[u8]) -> Result<Vec<Package>, DatabaseError> {
    let mut packages = Collected::default();
    let mut room = bytes.len();
    for slot in slots(bytes)? {
        let package = slot.package.get();
        let blob = Blob::read(bytes, slot)?;
        // Packages within packages would take time that grows with the square of the length.
        room = room.checked_sub(blob.bytes).ok_or(NdbError::Overlap { package })?;
        packages.add(package, blob.header()?)?;
    }
    Ok(packages.0)
}

/// Says why bytes are no NDB database.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NdbError {
    /// What a slot names is not the package of that number.
    #[error("the blocks from {block} on are not those of package {package}")]
    Blob {
        /// The number of the package.
        package: u32,
        /// The first block.
        block: u32,
    },
    /// The bytes of a package are not those that were written.
    #[error("the checksum of package {package} is {computed:08x} and not {expected:08x}")]
    Checksum {
        /// The number of the package.
        package: u32,
        /// What is written.
        expected: u32,
        /// What the bytes have.
        computed: u32,
    },
    /// It does not begin as such a database does, or is of another version.
    #[error("it is no NDB database of version 0")]
    Magic,
    /// A package has blocks of another one.
    #[error("package {package} is within others")]
    Overlap {
        /// The number of the package.
        package: u32,
    },
    /// It is shorter than it says.
    #[error("it ends within {what}")]
    Short {
        /// What is cut off.
        what: &'static str,
    },
    /// A slot is none.
    #[error("slot {slot} is none")]
    Slot {
        /// Its number, counted from the first.
        slot: usize,
    },
}

/// Lists the slots that are in use.
fn slots(bytes: &[u8]) -> Result<impl Iterator<Item = &RawSlot>, NdbError> {
    let (head, _) = RawHead::ref_from_prefix(bytes).map_err(|_| NdbError::Magic)?;
    if head.magic != *b"RpmP" || head.version.get() != 0 {
        return Err(NdbError::Magic);
    }
    let end = u64::from(head.slot_pages.get()) * PAGE_BYTES;
    let end = usize::try_from(end).ok();
    let area = end.and_then(|end| bytes.get(size_of::<RawHead>()..end));
    let area = area.ok_or(NdbError::Short { what: "the slots" })?;
    let slots =
        <[RawSlot]>::ref_from_bytes(area).map_err(|_| NdbError::Short { what: "the slots" })?;
    if let Some(slot) = slots.iter().position(|slot| slot.magic != *b"Slot") {
        return Err(NdbError::Slot { slot });
    }
    Ok(slots.iter().filter(|slot| slot.block.get() != 0))
}

/// Is a header in its blocks.
struct Blob<'a> {
    package: u32,
    /// All before the checksum.
    checked: &'a [u8],
    header: &'a [u8],
    checksum: u32,
    bytes: usize,
}

impl<'a> Blob<'a> {
    fn read(bytes: &'a [u8], slot: &RawSlot) -> Result<Self, NdbError> {
        let (package, block) = (slot.package.get(), slot.block.get());
        let start = u64::from(block) * BLOCK_BYTES;
        let end = start + u64::from(slot.blocks.get()) * BLOCK_BYTES;
        let range = usize::try_from(start).ok().zip(usize::try_from(end).ok());
        let blocks = range.and_then(|(start, end)| bytes.get(start..end));
        let blocks = blocks.ok_or(NdbError::Short { what: "a package" })?;
        let no_blob = NdbError::Blob { package, block };
        let (checked, tail) = RawBlobTail::ref_from_suffix(blocks).map_err(|_| no_blob)?;
        let (head, rest) = RawBlobHead::ref_from_prefix(checked).map_err(|_| no_blob)?;
        let length = head.length.get();
        let around = (size_of::<RawBlobHead>() + size_of::<RawBlobTail>()) as u64;
        let is_blob = head.magic == *b"BlbS"
            && tail.magic == *b"BlbE"
            && head.package.get() == package
            && tail.length.get() == length
            && (u64::from(length) + around).div_ceil(BLOCK_BYTES) == u64::from(slot.blocks.get());
        let header = usize::try_from(length).ok().and_then(|length| rest.get(..length));
        let header = header.filter(|_| is_blob).ok_or(no_blob)?;
        let checksum = tail.checksum.get();
        Ok(Self { package, checked, header, checksum, bytes: blocks.len() })
    }

    fn header(&self) -> Result<&'a [u8], NdbError> {
        let Self { package, checksum: expected, .. } = *self;
        match adler32(self.checked) {
            computed if computed == expected => Ok(self.header),
            computed => Err(NdbError::Checksum { package, expected, computed }),
        }
    }
}

/// Computes the checksum of RFC 1950.
fn adler32(bytes: &[u8]) -> u32 {
    let (mut low, mut high) = (1_u32, 0_u32);
    // As many bytes as can be added before the sums would not fit any more.
    for piece in bytes.chunks(5552) {
        for byte in piece {
            low += u32::from(*byte);
            high += low;
        }
        low %= 65521;
        high %= 65521;
    }
    high << 16 | low
}

#[derive(FromBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct RawHead {
    magic: [u8; 4],
    version: U32,
    _generation: U32,
    slot_pages: U32,
    _next_package: U32,
    _nothing: [u8; 12],
}

#[derive(FromBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct RawSlot {
    magic: [u8; 4],
    package: U32,
    block: U32,
    blocks: U32,
}

#[derive(FromBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct RawBlobHead {
    magic: [u8; 4],
    package: U32,
    _generation: U32,
    length: U32,
}

#[derive(FromBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct RawBlobTail {
    checksum: U32,
    length: U32,
    magic: [u8; 4],
}

const PAGE_BYTES: u64 = 4096;
const BLOCK_BYTES: u64 = 16;

#[cfg(test)]
mod tests {
    use super::super::header::tests::{HELLO, header};
    use super::*;

    /// Makes a database with one page of slots; each package is at its first block.
    fn database(packages: &[(u32, &[u8])]) -> Vec<u8> {
        let mut slots = [&b"RpmP"[..], &[0, 0, 0, 0, 7, 0, 0, 0, 1, 0, 0, 0], &[0; 16]].concat();
        let mut blobs = Vec::new();
        for (number, header) in packages {
            let lengths = [*number, 7, header.len() as u32].map(u32::to_le_bytes).concat();
            let mut blob = [&b"BlbS"[..], &lengths, header].concat();
            blob.resize((blob.len() + 12).next_multiple_of(16) - 12, 0);
            let tail = [adler32(&blob), header.len() as u32].map(u32::to_le_bytes).concat();
            blob.extend_from_slice(&[&tail, &b"BlbE"[..]].concat());
            let block = (4096 + blobs.len() as u32) / 16;
            slots.extend_from_slice(b"Slot");
            let places = [*number, block, blob.len() as u32 / 16].map(u32::to_le_bytes).concat();
            slots.extend_from_slice(&places);
            blobs.extend_from_slice(&blob);
        }
        while slots.len() < 4096 {
            slots.extend_from_slice(&[&b"Slot"[..], &[0; 12]].concat());
        }
        [slots, blobs].concat()
    }

    #[test]
    fn the_checksum_is_that_of_the_rfc() {
        assert_eq!(adler32(b"Wikipedia"), 0x11e6_0398);
        assert_eq!(adler32(&[0xff; 70_000]), 0x2a28_6e81);
    }

    #[test]
    fn packages_are_read_and_free_slots_are_not() {
        let hello = header(&HELLO);
        let whole = database(&[(1, &hello), (5, &hello)]);
        assert_eq!(parse(&whole).unwrap().len(), 2);
        let mut freed = whole;
        freed[32 + 8..32 + 12].fill(0);
        assert_eq!(parse(&freed).unwrap().len(), 1);
        assert_eq!(parse(&database(&[])).unwrap(), []);
    }

    #[test]
    fn what_is_no_database_is_refused() {
        let whole = database(&[(1, &header(&HELLO))]);
        for length in 0..whole.len() {
            assert!(parse(&whole[..length]).is_err(), "{length}");
        }
        let refused = |at: usize, byte: u8| {
            let mut changed = whole.clone();
            changed[at] ^= byte;
            match parse(&changed).unwrap_err() {
                DatabaseError::Ndb(error) => error,
                other => panic!("{other}"),
            }
        };
        assert_eq!(refused(0, 1), NdbError::Magic);
        assert_eq!(refused(4, 1), NdbError::Magic);
        assert_eq!(refused(15, 0xff), NdbError::Short { what: "the slots" });
        assert_eq!(refused(48, 1), NdbError::Slot { slot: 1 });
        // The slot's package, and the magic of what its blocks hold.
        for (at, package) in [(36, 0), (4096, 1)] {
            assert_eq!(refused(at, 1), NdbError::Blob { package, block: 256 });
        }
        let mut longer = [&whole[..], &[0; 16]].concat();
        longer[44] += 1;
        let error = NdbError::Blob { package: 1, block: 256 };
        assert_eq!(parse(&longer), Err(DatabaseError::Ndb(error)));
        assert_eq!(refused(43, 0x80), NdbError::Short { what: "a package" });
        assert!(matches!(refused(4096 + 40, 1), NdbError::Checksum { package: 1, .. }));
    }

    #[test]
    fn packages_do_not_overlap() {
        let whole = database(&[(1, &header(&HELLO))]);
        // All slots name the same blocks.
        let mut again = whole;
        for slot in 3..256 {
            again.copy_within(32..48, slot * 16);
        }
        assert_eq!(parse(&again), Err(DatabaseError::Ndb(NdbError::Overlap { package: 1 })));
    }
}
