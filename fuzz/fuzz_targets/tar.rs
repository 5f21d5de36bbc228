//! An archive is refused or read to its end, without a panic and with little memory; what is read
//! keeps within the limits and has the sizes that it states.
#![no_main]

use std::io::Read;

use libfuzzer_sys::fuzz_target;
use libverity::tar::{
    EntryKind, MAX_LINK_TARGET_BYTES, MAX_PATH_BYTES, MAX_XATTR_NAME_BYTES, MAX_XATTR_VALUE_BYTES,
    MAX_XATTRS, TarReader,
};

fuzz_target!(|bytes: &[u8]| {
    let mut archive = bytes.to_vec();
    repair_checksums(&mut archive);
    let mut reader = TarReader::new(&archive[..]);
    while let Ok(Some(entry)) = reader.next_entry() {
        assert!(entry.path.len() <= MAX_PATH_BYTES && !entry.path.ends_with(b"//"));
        assert!(entry.mode <= 0o7777 && entry.mtime.nanoseconds < 1_000_000_000);
        assert!(entry.xattrs.len() <= MAX_XATTRS);
        for xattr in &entry.xattrs {
            assert!((1..=MAX_XATTR_NAME_BYTES).contains(&xattr.name.len()));
            assert!(xattr.value.len() <= MAX_XATTR_VALUE_BYTES);
        }
        let stated_bytes = match entry.kind {
            EntryKind::Regular { size } => size,
            EntryKind::Symlink { target } => {
                assert!(target.len() <= MAX_LINK_TARGET_BYTES);
                0
            }
            _ => 0,
        };
        // Every other payload is left for the reader to skip.
        if reader.members() % 2 == 0 {
            let mut content = Vec::new();
            if reader.read_to_end(&mut content).is_err() {
                break;
            }
            assert_eq!(content.len() as u64, stated_bytes);
        }
    }
    assert!(reader.position_bytes() <= archive.len() as u64);
});

/// Puts right sums into all blocks with the magic of a header: no change of a byte would get past
/// them otherwise.
fn repair_checksums(archive: &mut [u8]) {
    for block in archive.chunks_exact_mut(512).filter(|block| block[257..262] == *b"ustar") {
        block[148..156].fill(b' ');
        let sum: u32 = block.iter().copied().map(u32::from).sum();
        block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    }
}
