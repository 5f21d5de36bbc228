//! The reader on damaged and hostile images: it refuses, says why, and stays within bounds.

use std::io;

use libverity::erofs::{
    CheckError, DirectoryError, FileError, FileKind, ImageSource, InodeError, ReadError, Reader,
    SuperblockError, XattrError,
};
use proptest::prelude::*;

use crate::archive::{Archive, Member};
use crate::convert::{full_image, index_image};
use crate::generator;
use crate::tree::of_image;

#[test]
fn every_truncation_is_refused() {
    let image = Sample::new().image;
    for length in 0..image.len() {
        let error = Reader::open(&image[..length]).unwrap_err();
        let ReadError::TooShort { found_bytes, .. } = error else { panic!("{error:?}") };
        assert_eq!(found_bytes, length as u64);
    }
    let with_hash_area = [&image[..], &[7; 5000]].concat();
    Reader::open(&with_hash_area).unwrap().check().unwrap();
}

#[test]
fn every_flipped_byte_of_the_first_block_is_noticed() {
    let image = Sample::new().image;
    for place in 1024..4096 {
        let mut image = image.clone();
        image[place] ^= 0x10;
        let error = Reader::open(&image).unwrap_err();
        assert!(matches!(error, ReadError::Superblock(_)), "byte {place}: {error:?}");
    }
}

proptest! {
    /// Also images whose checksum is right, because whoever makes one can do that.
    #[test]
    fn no_damage_leads_beyond_the_image(
        seed in 0_u64..200,
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
        near_superblock in any::<bool>(),
        is_index in any::<bool>(),
    ) {
        let archive = generator::archive(seed);
        let made = if is_index { index_image(&archive[..]) } else { full_image(&archive[..]) };
        let Ok((mut image, _)) = made else { return Ok(()) };
        if is_index {
            image.extend(archive);
        }
        let end = if near_superblock { 1400 } else { image.len() };
        for (place, value) in damage {
            image[1024 + place.index(end - 1024)] = value;
        }
        seal(&mut image);
        let reader = Reader::open(Guarded(&image)).or_else(|_| Reader::open_index(Guarded(&image)));
        let Ok(reader) = reader else { return Ok(()) };
        if reader.facts().size_bytes() > image.len() as u64 {
            prop_assert!(false, "the image is larger than its source");
        }
        let is_whole = reader.check().is_ok();
        let tree = of_image(&reader);
        prop_assert!(!is_whole || tree.is_ok());
        let all: Vec<u64> = (0..reader.facts().blocks).collect();
        reader.block_owners(&all);
    }
}

#[test]
fn superblocks_that_are_not_supported_are_refused() {
    let refused = |place: usize, bytes: &[u8]| {
        let mut sample = Sample::new();
        sample.image[1024 + place..][..bytes.len()].copy_from_slice(bytes);
        match sample.open().unwrap_err() {
            ReadError::Superblock(error) => error,
            error => panic!("{error:?}"),
        }
    };
    assert!(matches!(refused(0, b"x"), SuperblockError::Magic { found: 0xe0f5_e178 }));
    assert!(matches!(refused(8, b"\x0b"), SuperblockError::Features { compatible: 8, .. }));
    for bits in [0, 8, 13, 16, 255] {
        assert_eq!(refused(12, &[bits]), SuperblockError::BlockSize { bits });
    }
    assert_eq!(refused(13, b"\x01"), SuperblockError::Reserved { offset: 13 });
    assert_eq!(refused(80, b"\x04"), SuperblockError::Features { compatible: 0, incompatible: 4 });
    assert_eq!(refused(84, b"\x01"), SuperblockError::Compression { found: 1 });
    assert_eq!(refused(86, b"\x01"), SuperblockError::DeviceTable { extra_devices: 1 });
    assert_eq!(refused(88, b"\x09"), SuperblockError::DeviceTablePlace { slot: 9 });
    assert_eq!(refused(80, b"\x08"), SuperblockError::DeviceTable { extra_devices: 0 });
    for offset in [90, 91, 96, 127] {
        assert_eq!(refused(offset, b"\x01"), SuperblockError::Reserved { offset });
    }
    let mut extra_device = Sample::new();
    extra_device.image[1024 + 80] = 8;
    extra_device.image[1024 + 86] = 3;
    extra_device.image[1024 + 88] = 9;
    let error = extra_device.open().unwrap_err();
    assert!(matches!(error, ReadError::ExtraDevices { count: 3 }), "{error:?}");
}

#[test]
fn cycles_and_second_names_of_directories_are_refused() {
    // /d/e becomes /, /d and a second name of /d/f.
    for target in ["/", "/d", "/d/f"] {
        let mut sample = Sample::new();
        let nid = sample.nid(target);
        sample.set_entry("/d", "e", nid);
        let (path, error) = sample.walk_error();
        assert_eq!(path, "/d/f".to_owned().replace('f', if target == "/d/f" { "f" } else { "e" }));
        assert!(
            matches!(error, FileError::DirectoryAgain | FileError::DotEntry { .. }),
            "{error:?}"
        );
    }
}

#[test]
fn directories_that_lie_are_refused() {
    let walk_error = |damage: &dyn Fn(&mut Sample)| {
        let mut sample = Sample::new();
        damage(&mut sample);
        sample.walk_error().1
    };
    let error = walk_error(&|sample| sample.set_entry("/d", "..", sample.nid("/d")));
    assert!(matches!(error, FileError::DotEntry { .. }), "{error:?}");
    let error = walk_error(&|sample| sample.set_entry("/d", ".", sample.nid("/")));
    assert!(matches!(error, FileError::DotEntry { .. }), "{error:?}");
    let error = walk_error(&|sample| sample.set_entry("/", "d", sample.nid("/file")));
    assert!(matches!(error, FileError::EntryType { .. }), "{error:?}");
    for nid in [1 << 20, u64::MAX, u64::MAX / 32, 1 << 59] {
        let error = walk_error(&|sample| sample.set_entry("/", "d", nid));
        assert!(matches!(error, FileError::InodeOutside { nid: found } if found == nid));
    }
    let error = walk_error(&|sample| {
        let place = sample.entry("/", b"file") + 10;
        sample.image[place] = 9;
    });
    let FileError::Directory(DirectoryError::Type { found: 9, .. }) = error else {
        panic!("{error:?}")
    };
    let error = walk_error(&|sample| {
        let place = sample.inode("/d");
        sample.image[place + 8] = 24;
    });
    assert!(matches!(error, FileError::Directory(DirectoryError::Truncated)), "{error:?}");
}

#[test]
fn entries_that_directories_share_end_at_a_limit() {
    // 227 names of 6 bytes fill a block, so that `.` and `..` come behind the inode.
    let mut archive = Archive::default();
    archive.push(&file("file", b""));
    let mut directory_with = |path: &str, names: u32| {
        archive.push(&directory(path));
        for number in 0..names {
            archive.push(&hard_link(&format!("{path}!{number:05}"), "file"));
        }
    };
    directory_with("large/", 50 * 227);
    let nested: Vec<String> = (1..=20).map(|depth| "/d".repeat(depth)).collect();
    for path in &nested {
        directory_with(&format!("{}/", &path[1..]), 227);
    }
    let mut sample = Sample::of(archive);
    sample.everything().unwrap();
    // All nested directories get the 50 blocks of the large one before their own `.` and `..`.
    let large = sample.inode("/large");
    let first_block: [u8; 4] = sample.image[large + 16..large + 20].try_into().unwrap();
    let inodes: Vec<usize> = nested.iter().map(|path| sample.inode(path)).collect();
    for inode in inodes {
        sample.image[inode + 16..inode + 20].copy_from_slice(&first_block);
        let size: [u8; 4] = sample.image[inode + 8..inode + 12].try_into().unwrap();
        let size = u32::from_le_bytes(size) + 49 * 4096;
        sample.image[inode + 8..inode + 12].copy_from_slice(&size.to_le_bytes());
    }
    let (_, error) = sample.walk_error();
    let FileError::TooManyNames { limit } = error else { panic!("{error:?}") };
    assert_eq!(limit, sample.image.len() as u64 / 12);
}

#[test]
fn inodes_that_lie_are_refused() {
    let walk_error = |path: &str, place: usize, bytes: &[u8]| {
        let mut sample = Sample::new();
        let start = sample.inode(path) + place;
        sample.image[start..start + bytes.len()].copy_from_slice(bytes);
        sample.everything().unwrap_err()
    };
    let file_error = |path: &str, place: usize, bytes: &[u8]| match walk_error(path, place, bytes) {
        CheckError::Read(ReadError::File { path: found, source, .. }) => {
            assert_eq!(found.as_bytes(), path.as_bytes());
            source
        }
        error => panic!("{error:?}"),
    };
    for layout in [1, 3, 5, 7] {
        let error = file_error("/file", 0, &[layout << 1]);
        assert!(matches!(error, FileError::Inode(InodeError::Layout { .. })), "{error:?}");
    }
    assert!(matches!(file_error("/file", 0, &[4 << 1]), FileError::Chunks));
    // Inline, with so many bytes of content.
    for (size_bytes, tail) in [(0, 0), (4096, 0), (4095, 4095)] {
        let size = u32::to_le_bytes(size_bytes);
        let inline = [&[2 << 1, 0, 0, 0, 0xa4, 0x81, 2, 0], &size[..]].concat();
        let error = file_error("/file", 0, &inline);
        assert!(matches!(error, FileError::Inline { tail_bytes, .. } if tail_bytes == tail));
    }
    assert!(matches!(file_error("/file", 11, &[1]), FileError::BlocksOutside { .. }));
    assert!(matches!(file_error("/file", 19, &[0xff]), FileError::BlocksOutside { .. }));
    let error = file_error("/file", 4, &0o140_644_u16.to_le_bytes());
    assert!(matches!(error, FileError::Inode(InodeError::FileType { mode: 0o140_644 })));
    assert!(matches!(file_error("/fifo", 8, &[1]), FileError::SpecialWithContent { .. }));
    assert!(matches!(file_error("/link", 9, &[0x20]), FileError::TargetTooLong { .. }));
    assert!(matches!(file_error("/link", 32, &[0]), FileError::TargetNulByte));
    let xattr = file_error("/xattr", 32 + 12 + 1, &[5]);
    assert!(matches!(xattr, FileError::Xattrs(XattrError::Namespace { index: 5 })), "{xattr:?}");
    let xattr = file_error("/xattr", 3, &[0xff]);
    assert!(matches!(xattr, FileError::Xattrs(XattrError::Truncated)), "{xattr:?}");
    let hidden = file_error("/xattr", 32, &[0xff; 4]);
    assert!(matches!(hidden, FileError::Xattrs(XattrError::Filtered { .. })), "{hidden:?}");
}

#[test]
fn images_that_are_not_whole_are_found_out() {
    let check_error = |damage: &dyn Fn(&mut Sample)| {
        let mut sample = Sample::new();
        damage(&mut sample);
        sample.open().unwrap().check().unwrap_err()
    };
    let set = |sample: &mut Sample, path: &str, place: usize, bytes: &[u8]| {
        let start = sample.inode(path) + place;
        sample.image[start..start + bytes.len()].copy_from_slice(bytes);
    };
    let error = check_error(&|sample| set(sample, "/file", 6, &[3]));
    let CheckError::Links { stored: 3, expected: 2, .. } = error else { panic!("{error:?}") };
    let error = check_error(&|sample| set(sample, "/d", 6, &[1]));
    let CheckError::Links { stored: 1, expected: 4, .. } = error else { panic!("{error:?}") };
    let error = check_error(&|sample| set(sample, "/file", 20, &[0]));
    let CheckError::SerialNumber { found: 0, .. } = error else { panic!("{error:?}") };
    let error = check_error(&|sample| set(sample, "/file", 20, &[1]));
    let CheckError::SerialNumber { found: 1, .. } = error else { panic!("{error:?}") };
    // The content of another file, and of the superblock.
    let error = check_error(&|sample| set(sample, "/file", 16, &[2]));
    assert!(matches!(error, CheckError::Overlap { offset_bytes: 8192 }), "{error:?}");
    let error = check_error(&|sample| set(sample, "/file", 16, &[0]));
    assert!(matches!(error, CheckError::Overlap { .. }), "{error:?}");
    let error = check_error(&|sample| sample.image[1024 + 16] += 1);
    let CheckError::InodeCount { stored, found } = error else { panic!("{error:?}") };
    assert_eq!(stored, found + 1);
    let error = check_error(&|sample| sample.image[1024 + 8] &= !1);
    assert!(matches!(error, CheckError::NoChecksum), "{error:?}");
}

/// Is an image with one file of each kind, to be damaged: all inodes are compact, and the content
/// of `/file` is in block 1.
struct Sample {
    image: Vec<u8>,
}

impl Sample {
    fn new() -> Self {
        let mut archive = Archive::default();
        archive.push(&file("file", b"content"));
        archive.push(&file("other", b"content"));
        archive.push(&hard_link("hard link", "file"));
        archive.push(&Member { typeflag: b'2', ..hard_link("link", "file") });
        archive.push(&Member { typeflag: b'6', ..file("fifo", b"") });
        let xattrs = vec![(b"user.a".to_vec(), b"1".to_vec())];
        archive.push(&Member { xattrs, ..file("xattr", b"") });
        for path in ["d/", "d/e/", "d/f/"] {
            archive.push(&directory(path));
        }
        Self::of(archive)
    }

    fn of(archive: Archive) -> Self {
        Self { image: full_image(&archive.finish()[..]).unwrap().0 }
    }

    fn open(&mut self) -> Result<Reader<&Vec<u8>>, ReadError> {
        seal(&mut self.image);
        Reader::open(&self.image)
    }

    /// Reads everything.
    fn everything(&mut self) -> Result<(), CheckError> {
        let reader = self.open()?;
        of_image(&reader)?;
        reader.check().map(drop)
    }

    fn walk_error(&mut self) -> (String, FileError) {
        let reader = self.open().unwrap();
        let error = reader.walk().find_map(Result::err);
        let Some(ReadError::File { path, source, .. }) = error else { panic!("{error:?}") };
        (String::from_utf8_lossy(path.as_bytes()).into_owned(), source)
    }

    fn nid(&self, path: &str) -> u64 {
        let reader = Reader::open(&self.image).unwrap();
        let mut files = reader.walk().map(Result::unwrap);
        files.find(|file| file.path.as_bytes() == path.as_bytes()).unwrap().inode.nid
    }

    /// Returns where the inode of `path` starts.
    fn inode(&self, path: &str) -> usize {
        self.nid(path) as usize * 32
    }

    /// Returns where the entry for `name` starts, by searching the block for its inode.
    fn entry(&self, directory: &str, name: &[u8]) -> usize {
        let reader = Reader::open(&self.image).unwrap();
        let files: Vec<_> = reader.walk().map(Result::unwrap).collect();
        let of = |path: &[u8]| files.iter().find(|file| file.path.as_bytes() == path).unwrap();
        let inode = &of(directory.as_bytes()).inode;
        assert_eq!(inode.kind, FileKind::Directory);
        let owners = reader.block_owners(&(0..reader.facts().blocks).collect::<Vec<_>>());
        let block = owners.owners.iter().find(|(_, owner)| {
            owner.path.as_bytes() == directory.as_bytes()
                && matches!(owner.part, libverity::erofs::BlockPart::Content { offset_bytes: 0 })
        });
        let start = match block {
            Some((block, _)) => *block as usize * 4096,
            None => inode.nid as usize * 32 + 32,
        };
        let record = |index: usize| start + index * 12;
        let offset = |index: usize| {
            u16::from_le_bytes([self.image[record(index) + 8], self.image[record(index) + 9]])
        };
        let count = usize::from(offset(0)) / 12;
        (0..count)
            .find(|index| {
                self.image[start + usize::from(offset(*index))..].starts_with(name)
                    && (index + 1 == count
                        || usize::from(offset(index + 1) - offset(*index)) == name.len())
            })
            .map(record)
            .unwrap()
    }

    fn set_entry(&mut self, directory: &str, name: &str, nid: u64) {
        let place = self.entry(directory, name.as_bytes());
        self.image[place..place + 8].copy_from_slice(&nid.to_le_bytes());
    }
}

/// Is an image whose reader must not ask for anything outside.
struct Guarded<'a>(&'a [u8]);

impl ImageSource for Guarded<'_> {
    fn read_at(&self, offset_bytes: u64, buffer: &mut [u8]) -> io::Result<()> {
        assert!(offset_bytes + buffer.len() as u64 <= self.0.len() as u64);
        self.0.read_at(offset_bytes, buffer)
    }

    fn size_bytes(&self) -> io::Result<u64> {
        self.0.size_bytes()
    }
}

/// Makes the checksum right: CRC-32C without the final inversion, bit by bit.
fn seal(image: &mut [u8]) {
    let end = if image[1036] == 9 { 1536 } else { 4096 };
    image[1028..1032].fill(0);
    let sum = image[1024..end].iter().fold(u32::MAX, |sum, byte| {
        (0..8).fold(sum ^ u32::from(*byte), |sum, _| {
            sum >> 1 ^ if sum & 1 == 1 { 0x82f6_3b78 } else { 0 }
        })
    });
    image[1028..1032].copy_from_slice(&sum.to_le_bytes());
}

fn file(path: &str, content: &[u8]) -> Member {
    let content = content.to_vec();
    Member { path: path.into(), typeflag: b'0', mode: 0o644, content, ..Member::default() }
}

fn directory(path: &str) -> Member {
    Member { typeflag: b'5', mode: 0o755, ..file(path, b"") }
}

fn hard_link(path: &str, target: &str) -> Member {
    Member { typeflag: b'1', link: target.into(), ..file(path, b"") }
}
