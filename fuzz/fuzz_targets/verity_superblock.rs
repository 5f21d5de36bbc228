//! A superblock is refused, or it is exactly what we would have written; and whatever number of
//! blocks it claims, working out the tree neither panics nor overflows.
#![no_main]

use libfuzzer_sys::fuzz_target;
use libverity::verity::{Geometry, HashArea, Header, Superblock};

fuzz_target!(|bytes: &[u8]| {
    let Some(bytes) = bytes.first_chunk() else { return };
    let Ok(superblock) = Superblock::parse(bytes) else { return };
    assert_eq!(&superblock.to_bytes(), bytes);

    let Ok(geometry) = Geometry::new(&superblock.parameters, superblock.data_blocks) else {
        return;
    };
    for header in [Header::None, Header::Superblock] {
        let area = HashArea::appended(&geometry, header);
        assert!(area.hash_offset_bytes() >= geometry.data_bytes());
        assert_eq!(area.end_bytes() - area.tree_offset_bytes(), geometry.tree_bytes());
    }
    let below_the_top = geometry.levels().len().checked_sub(1);
    if let Some(top) = below_the_top {
        assert_eq!(geometry.data_blocks_below(top, 0), 0..geometry.data_blocks());
    }
});
