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
use zerocopy::{Immutable, IntoBytes};

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

#[derive(IntoBytes, Immutable)]
#[repr(C)]
struct RawDirent {
    nid: U64,
    name_offset: U16,
    file_type: u8,
    reserved: u8,
}

const RECORD_BYTES: usize = size_of::<RawDirent>();

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
}
