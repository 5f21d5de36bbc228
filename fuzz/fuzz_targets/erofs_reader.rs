//! An image, whatever is in it, is refused or read: nothing outside it is asked for, and if it is
//! whole, everything in it can be read.
#![no_main]

use std::io;

use libfuzzer_sys::fuzz_target;
use libverity::erofs::{FileKind, ImageSource, ReadError, Reader};
use libverity::layer::LayerFile;

fuzz_target!(|bytes: &[u8]| {
    let mut image = bytes.to_vec();
    seal(&mut image);
    let reader = Reader::open(Guarded(&image)).or_else(|_| Reader::open_index(Guarded(&image)));
    let Ok(reader) = reader else { return };
    assert!(reader.facts().size_bytes() <= image.len() as u64);
    let checked = reader.check();
    let names = read_all(&reader);
    if let Ok(checked) = checked {
        assert_eq!(names.expect("what is whole can be read"), checked.names);
    }
    let blocks: Vec<u64> = (0..reader.facts().blocks).collect();
    let owners = reader.block_owners(&blocks);
    assert!(owners.owners.len() <= blocks.len());

    let file = LayerFile::open(Guarded(&image)).expect("what is an image is one of a layer");
    let mut data = file.data().expect("a slice has a size");
    // Whatever lies behind the image may be anything.
    let _ = file.hash(&mut data);
});

fn read_all<S: ImageSource>(reader: &Reader<S>) -> Result<u64, ReadError> {
    let mut names = 0;
    for file in reader.walk() {
        let file = file?;
        names += 1;
        reader.xattrs(&file)?;
        match file.inode.kind {
            FileKind::Regular => {
                let mut content = reader.read_file(&file)?;
                let read = io::copy(&mut content, &mut io::sink());
                assert_eq!(read.expect("the content is in the image"), file.inode.size_bytes);
            }
            FileKind::Symlink => drop(reader.symlink_target(&file)?),
            _ => {}
        }
    }
    Ok(names)
}

/// Makes the checksum right, which no mutation finds.
fn seal(image: &mut [u8]) {
    let Some(block_bits) = image.get(1024 + 12) else { return };
    let end = match block_bits {
        9 => 1536,
        10 | 11 => 2048,
        _ => 4096,
    };
    let Some(block) = image.get_mut(1024..end) else { return };
    block[4..8].fill(0);
    let checksum = !crc32c::crc32c(block);
    block[4..8].copy_from_slice(&checksum.to_le_bytes());
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
