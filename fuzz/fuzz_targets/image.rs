//! Entries, whatever they are, are refused or become two images: one that holds everything, and one
//! that points into an archive. Both are whole by our own reader, and hold the same tree.
#![no_main]

use std::io::Read as _;

use libfuzzer_sys::fuzz_target;
use libverity::erofs::{FileKind, Image, ImageSource, IndexWriter, Reader, Writer};
use libverity::tar::{DeviceNumber, Entry, EntryKind, Timestamp, Xattr};

fuzz_target!(|bytes: &[u8]| {
    let mut source = Source(bytes);
    let (mut full, mut index, mut archive) = (Vec::new(), Vec::new(), Vec::new());
    let (mut writer, mut index_writer) = (Writer::new(), IndexWriter::new());
    while !source.0.is_empty() {
        let entry = source.entry();
        let content = match entry.kind {
            EntryKind::Regular { size } => vec![archive.len() as u8 | 1; size as usize],
            _ => Vec::new(),
        };
        let offset_bytes = archive.len() as u64;
        let added = writer.add(&entry, &mut &content[..], &mut collect(&mut full, 4096));
        let added_to_index = index_writer.add(&entry, offset_bytes);
        assert_eq!(added.is_ok(), added_to_index.is_ok(), "{entry:?}");
        if added.is_err() {
            return;
        }
        archive.extend(content);
        archive.resize(archive.len().next_multiple_of(512), 0);
    }
    let finished = index_writer.finish(archive.len() as u64, &mut collect(&mut index, 512));
    let finished = finished.expect("the image is small");
    complete(&mut index, &finished);
    index.extend_from_slice(&archive);
    let index = Reader::open_index(index).expect("our own image");
    let checked = index.check().expect("our own image is whole");
    assert_eq!(checked.inodes, finished.inodes());
    // Only where the root is large, and the content larger still, there is an index alone.
    let Ok(finished) = writer.finish(&mut collect(&mut full, 4096)) else { return };
    complete(&mut full, &finished);
    let full = Reader::open(full).expect("our own image");
    assert_eq!(full.check().expect("our own image is whole"), checked);
    assert_same_tree(&full, &index);
});

/// Reads entries out of bytes; after the last byte everything is 0.
struct Source<'a>(&'a [u8]);

impl Source<'_> {
    fn entry(&mut self) -> Entry {
        let kind = match self.below(16) {
            0..4 => EntryKind::Regular { size: self.size() },
            4..8 => EntryKind::Directory,
            8 | 9 => EntryKind::HardLink { target: self.path() },
            10 | 11 => EntryKind::Symlink { target: vec![b'l'; self.size() as usize % 4300] },
            12 => EntryKind::CharacterDevice(self.device()),
            13 => EntryKind::BlockDevice(self.device()),
            14 => EntryKind::Fifo,
            _ => EntryKind::Regular { size: 0 },
        };
        let wide = self.below(8) == 0;
        Entry {
            path: self.path(),
            kind,
            mode: u16::from(self.byte()) << 4,
            uid: if wide { 70_000 } else { self.byte().into() },
            gid: self.byte().into(),
            mtime: match self.below(4) {
                0 => Timestamp { seconds: -i64::from(self.byte()), nanoseconds: 1 },
                _ => Timestamp::default(),
            },
            xattrs: (0..self.below(8).saturating_sub(4)).map(|_| self.xattr()).collect(),
        }
    }

    fn path(&mut self) -> Vec<u8> {
        let mut path = Vec::new();
        for _ in 0..=self.below(4) {
            let name: &[u8] = match self.below(32) {
                0 => b"..",
                1 => b".",
                2 => b"",
                3 => b".wh.a",
                4 => b".wh.b",
                5 => b".wh..wh..opq",
                6 => b".wh.",
                7 => &[b'n'; 255],
                8 => &[b'm'; 100],
                number => &[b'a' + (number % 6) as u8],
            };
            path.extend_from_slice(name);
            if self.below(64) == 0 {
                path.push(self.byte());
            }
            path.push(b'/');
        }
        path.pop();
        path
    }

    fn xattr(&mut self) -> Xattr {
        let names = ["user.a", "user.", "trusted.overlay.opaque", "security.b", "odd"];
        let name = names[self.below(names.len())].as_bytes().to_vec();
        Xattr { name, value: vec![b'v'; self.size() as usize % 5000] }
    }

    fn device(&mut self) -> DeviceNumber {
        DeviceNumber { major: self.byte().into(), minor: u32::from(self.byte()) << 10 }
    }

    /// Reads a size near where something changes.
    fn size(&mut self) -> u64 {
        let sizes = [0, 32, 512, 1024, 2944, 4096, 8192, 20_000];
        let size: u64 = sizes[self.below(sizes.len())];
        (size + u64::from(self.byte())).saturating_sub(128)
    }

    fn below(&mut self, end: usize) -> usize {
        usize::from(self.byte()) % end
    }

    fn byte(&mut self) -> u8 {
        let Some((first, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        *first
    }
}

fn collect(
    image: &mut Vec<u8>,
    block_bytes: usize,
) -> impl FnMut(u64, &[u8]) -> std::io::Result<()> {
    move |first_block, blocks| {
        let start = first_block as usize * block_bytes;
        assert!(image.len() <= start, "blocks come in order");
        image.resize(start, 0);
        image.extend_from_slice(blocks);
        Ok(())
    }
}

fn complete(image: &mut Vec<u8>, finished: &Image) {
    image.resize(finished.size_bytes() as usize, 0);
    let block_bytes = finished.block_bytes() as usize;
    let start = finished.superblock_block_number() as usize * block_bytes;
    image[start..start + block_bytes].copy_from_slice(&finished.superblock_block([1; 16]));
}

fn assert_same_tree<S: ImageSource>(full: &Reader<S>, index: &Reader<S>) {
    for (one, other) in full.walk().zip(index.walk()) {
        let (one, other) = (one.expect("it is whole"), other.expect("it is whole"));
        assert_eq!(one.path, other.path);
        let facts = |file: &libverity::erofs::WalkedFile| {
            let inode = &file.inode;
            let size_bytes = if inode.kind == FileKind::Directory { 0 } else { inode.size_bytes };
            let owner = (inode.uid, inode.gid, inode.permissions, inode.mtime);
            (inode.kind, inode.number, inode.links, owner, size_bytes)
        };
        assert_eq!(facts(&one), facts(&other));
        assert_eq!(full.xattrs(&one).expect("it is whole"), index.xattrs(&other).expect("as that"));
        match one.inode.kind {
            FileKind::Regular => {
                let mut contents = [Vec::new(), Vec::new()];
                let mut read = full.read_file(&one).expect("it is whole");
                read.read_to_end(&mut contents[0]).expect("it is in memory");
                let mut read = index.read_file(&other).expect("it is whole");
                read.read_to_end(&mut contents[1]).expect("it is in memory");
                assert!(contents[0] == contents[1], "{:?}", one.path);
            }
            FileKind::Symlink => assert_eq!(
                full.symlink_target(&one).expect("it is whole"),
                index.symlink_target(&other).expect("it is whole"),
            ),
            _ => {}
        }
    }
}
