//! The content of directories.
//!
//! A directory is a sequence of blocks, all but the last of full size. Each holds as many entries
//! as fit, in byte order of their names, `.` and `..` among them: first one record for each entry
//!
//! | offset | bytes | what |
//! |---|---|---|
//! | 0 | 8 | number of the inode |
//! | 8 | 2 | where the name starts in the block |
//! | 10 | 1 | file type |
//! | 11 | 1 | 0 |
//!
//! then the names, without separators, then zeros.
//!
//! Source: Linux, `fs/erofs/erofs_fs.h` and `fs/erofs/dir.c`.

use zerocopy::little_endian::{U16, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use super::EntryPath;

/// Is one entry of a directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Dirent<'a> {
    /// The name, at most 255 bytes.
    pub(super) name: &'a [u8],
    /// The number of the inode.
    pub(super) nid: u64,
    /// The type of the file.
    pub(super) file_type: DirentType,
}

/// Is the type of a file as a directory tells it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum DirentType {
    Regular = 1,
    Directory = 2,
    CharacterDevice = 3,
    BlockDevice = 4,
    Fifo = 5,
    Symlink = 7,
}

impl DirentType {
    fn from_number(number: u8) -> Option<Self> {
        Some(match number {
            1 => Self::Regular,
            2 => Self::Directory,
            3 => Self::CharacterDevice,
            4 => Self::BlockDevice,
            5 => Self::Fifo,
            7 => Self::Symlink,
            _ => return None,
        })
    }
}

/// Reads one block of a directory, of which the last of a directory may be short.
///
/// The names are those that a path can have, and in order; the kernel searches them by halves.
pub(super) fn parse_block(block: &[u8]) -> Result<Vec<Dirent<'_>>, DirectoryError> {
    let first = RawDirent::read_from_prefix(block).map_err(|_| DirectoryError::Truncated)?.0;
    let records_bytes = usize::from(first.name_offset.get());
    if records_bytes == 0 || !records_bytes.is_multiple_of(RECORD_BYTES) {
        return Err(DirectoryError::NameOffset { found: first.name_offset.get() });
    }
    let (mut records, _) =
        block.split_at_checked(records_bytes).ok_or(DirectoryError::Truncated)?;
    let mut entries: Vec<Dirent<'_>> = Vec::with_capacity(records_bytes / RECORD_BYTES);
    while let Ok((record, rest)) = RawDirent::read_from_prefix(records) {
        records = rest;
        let start = record.name_offset.get();
        let bytes = match RawDirent::read_from_prefix(rest) {
            Ok((next, _)) => block.get(start.into()..next.name_offset.get().into()),
            Err(_) => block.get(start.into()..).map(without_padding),
        };
        let name = bytes.ok_or(DirectoryError::NameOffset { found: start })?;
        if name.is_empty() || name.len() > MAX_NAME_BYTES || name.iter().any(|b| b"/\0".contains(b))
        {
            return Err(DirectoryError::Name { name: name.into() });
        }
        if entries.last().is_some_and(|last| last.name >= name) {
            return Err(DirectoryError::Order { name: name.into() });
        }
        let file_type = DirentType::from_number(record.file_type)
            .filter(|_| record.reserved == 0)
            .ok_or_else(|| DirectoryError::Type { name: name.into(), found: record.file_type })?;
        entries.push(Dirent { name, nid: record.nid.get(), file_type });
    }
    Ok(entries)
}

/// Says why bytes are no block of a directory.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DirectoryError {
    /// No file can have the name.
    #[error("{name:?} is no name of a file")]
    Name {
        /// The name.
        name: EntryPath,
    },
    /// A name starts where no name can.
    #[error("a name starts at byte {found} of its block, where no name can be")]
    NameOffset {
        /// The place.
        found: u16,
    },
    /// A name does not come after the one before it.
    #[error("the name {name:?} is not in byte order")]
    Order {
        /// The name.
        name: EntryPath,
    },
    /// The block ends within the entries.
    #[error("a block of the directory ends within its entries")]
    Truncated,
    /// There is no such type of file.
    #[error("the name {name:?} has the unknown file type {found}")]
    Type {
        /// The name.
        name: EntryPath,
        /// The number of the type.
        found: u8,
    },
}

fn without_padding(bytes: &[u8]) -> &[u8] {
    let end = bytes.iter().rposition(|&byte| byte != 0).map_or(0, |last| last + 1);
    &bytes[..end]
}

/// Merges `.` and `..` into `names`, which are in byte order.
pub(super) fn with_dots<'a, T>(
    dot: T,
    dot_dot: T,
    names: impl Iterator<Item = (&'a [u8], T)>,
) -> impl Iterator<Item = (&'a [u8], T)> {
    let mut names = names.peekable();
    let mut dots = [(&b"."[..], dot), (&b".."[..], dot_dot)].into_iter().peekable();
    std::iter::from_fn(move || match (dots.peek(), names.peek()) {
        (Some(dot), Some(name)) if name.0 < dot.0 => names.next(),
        (Some(_), _) => dots.next(),
        (None, _) => names.next(),
    })
}

/// Returns the size in bytes of a directory with these names, in byte order with `.` and `..`.
pub(super) fn size_bytes<'a>(block_bytes: u32, names: impl Iterator<Item = &'a [u8]>) -> u64 {
    let block_bytes = u64::from(block_bytes);
    names.fold(0, |size: u64, name| {
        let entry_bytes = (RECORD_BYTES + name.len()) as u64;
        let start = if size % block_bytes + entry_bytes > block_bytes {
            size.next_multiple_of(block_bytes)
        } else {
            size
        };
        start + entry_bytes
    })
}

/// Packs entries into blocks, and hands out each with the bytes used in it; the rest is zero.
pub(super) fn for_each_block<'a, E>(
    block_bytes: u32,
    entries: impl Iterator<Item = Dirent<'a>>,
    mut block_done: impl FnMut(&[u8]) -> Result<(), E>,
) -> Result<(), E> {
    let mut waiting: Vec<Dirent<'a>> = Vec::new();
    let mut used_bytes = 0;
    let mut block = Vec::with_capacity(block_bytes as usize);
    for entry in entries {
        let entry_bytes = RECORD_BYTES + entry.name.len();
        if used_bytes + entry_bytes > block_bytes as usize {
            pack(&waiting, &mut block);
            block_done(&block)?;
            waiting.clear();
            used_bytes = 0;
        }
        waiting.push(entry);
        used_bytes += entry_bytes;
    }
    pack(&waiting, &mut block);
    block_done(&block)
}

fn pack(entries: &[Dirent<'_>], block: &mut Vec<u8>) {
    block.clear();
    let mut name_offset = entries.len() * RECORD_BYTES;
    for entry in entries {
        let record = RawDirent {
            nid: entry.nid.into(),
            name_offset: (name_offset as u16).into(),
            file_type: entry.file_type as u8,
            reserved: 0,
        };
        block.extend_from_slice(record.as_bytes());
        name_offset += entry.name.len();
    }
    for entry in entries {
        block.extend_from_slice(entry.name);
    }
}

#[derive(FromBytes, Immutable, IntoBytes, KnownLayout)]
#[repr(C)]
struct RawDirent {
    nid: U64,
    name_offset: U16,
    file_type: u8,
    reserved: u8,
}

/// The size of an entry without its name.
pub(super) const RECORD_BYTES: usize = size_of::<RawDirent>();
/// `NAME_MAX` of Linux.
const MAX_NAME_BYTES: usize = 255;

#[cfg(test)]
mod tests {
    use super::*;

    fn dirent(name: &[u8]) -> Dirent<'_> {
        Dirent { name, nid: 36, file_type: DirentType::Directory }
    }

    #[test]
    fn empty_directory_is_27_bytes() {
        let dots = || with_dots((), (), std::iter::empty()).map(|(name, ())| name);
        assert_eq!(size_bytes(4096, dots()), 27);
        let mut blocks = Vec::new();
        for_each_block(4096, dots().map(dirent), |block| {
            blocks.push(block.to_vec());
            Ok::<_, ()>(())
        })
        .unwrap();
        assert_eq!(
            blocks,
            [b"\x24\0\0\0\0\0\0\0\x18\0\x02\0\x24\0\0\0\0\0\0\0\x19\0\x02\0...".to_vec()]
        );
    }

    #[test]
    fn dots_take_their_place_in_byte_order() {
        let names = [&b"!"[..], b"-", b".-", b"..-", b"...", b"/", b"a"];
        let merged: Vec<_> = with_dots(0, 0, names.iter().map(|name| (*name, 1)))
            .map(|(name, _)| String::from_utf8_lossy(name).into_owned())
            .collect();
        assert_eq!(merged, ["!", "-", ".", ".-", "..", "..-", "...", "/", "a"]);
        assert!(merged.is_sorted());
    }

    #[test]
    fn size_and_blocks_agree_around_the_block_boundary() {
        for length in 200..=255 {
            let names: Vec<Vec<u8>> = (0..60).map(|i| vec![b'a' + i; length]).collect();
            let mut size = 0;
            let mut packed = 0;
            for_each_block(4096, names.iter().map(|name| dirent(name)), |block| {
                assert!(block.len() <= 4096);
                size = u64::next_multiple_of(size, 4096) + block.len() as u64;
                packed += block.len() / (12 + length);
                Ok::<_, ()>(())
            })
            .unwrap();
            assert_eq!(packed, 60);
            assert_eq!(size, size_bytes(4096, names.iter().map(|name| &name[..])));
        }
    }

    #[test]
    fn blocks_are_read_back_as_written() {
        let long = vec![b'z'; 255];
        let names = [&b"."[..], b"..", b"a", b"a!", b"\xff", &long].map(<[u8]>::to_vec);
        let mut names = names.to_vec();
        names.sort();
        let mut entries: Vec<Dirent<'_>> = names.iter().map(|name| dirent(name)).collect();
        entries[2].file_type = DirentType::Symlink;
        entries[3].nid = u64::MAX;
        for_each_block(4096, entries.iter().copied(), |block| {
            assert_eq!(parse_block(block).unwrap(), entries);
            let mut padded = block.to_vec();
            padded.resize(4096, 0);
            assert_eq!(parse_block(&padded).unwrap(), entries);
            Ok::<_, ()>(())
        })
        .unwrap();
    }

    #[test]
    fn blocks_that_no_directory_has_are_refused() {
        let block = |change: &dyn Fn(&mut Vec<u8>)| {
            let mut block = Vec::new();
            pack(&[&b"."[..], b"..", b"a"].map(dirent), &mut block);
            change(&mut block);
            parse_block(&block).unwrap_err()
        };
        let name = |name: &[u8]| EntryPath::from(name);
        let last = 3 * RECORD_BYTES + 3;
        assert_eq!(block(&|b| b.clear()), DirectoryError::Truncated);
        assert_eq!(block(&|b| b.truncate(20)), DirectoryError::Truncated);
        assert_eq!(block(&|b| b.truncate(last)), DirectoryError::Name { name: name(b"") });
        assert_eq!(block(&|b| b[8] = 0), DirectoryError::NameOffset { found: 0 });
        assert_eq!(block(&|b| b[8] = 37), DirectoryError::NameOffset { found: 37 });
        assert_eq!(block(&|b| b[9] = 0x24), DirectoryError::Truncated);
        // The second name starts before the first, and the last behind the end.
        assert_eq!(block(&|b| b[20] = 35), DirectoryError::NameOffset { found: 36 });
        assert_eq!(block(&|b| b[32] = 200), DirectoryError::NameOffset { found: 37 });
        assert_eq!(block(&|b| b[last] = b'/'), DirectoryError::Name { name: name(b"/") });
        assert_eq!(block(&|b| b[last] = b'!'), DirectoryError::Order { name: name(b"!") });
        assert_eq!(block(&|b| b[10] = 6), DirectoryError::Type { name: name(b"."), found: 6 });
        assert_eq!(block(&|b| b[11] = 1), DirectoryError::Type { name: name(b"."), found: 2 });
        assert_eq!(
            block(&|b| b.extend(*b"\0b")),
            DirectoryError::Name { name: name(b"a\0b") },
            "nothing follows the padding"
        );
    }
}
