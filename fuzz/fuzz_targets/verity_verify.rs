//! A device that describes itself, as `verity verify` and `dump` believe it: a superblock and what
//! follows it. Whatever it claims, nothing panics, no more is read than there is, and each fault lies
//! where it says.
#![no_main]

use std::ops::ControlFlow;

use libfuzzer_sys::fuzz_target;
use libverity::digest::RootHash;
use libverity::verity::{Geometry, HashArea, HashTree, Header, Superblock, Verifier};

fuzz_target!(|bytes: &[u8]| {
    let Some((superblock, rest)) = bytes.split_first_chunk() else { return };
    let Ok(Superblock { parameters, data_blocks, .. }) = Superblock::parse(superblock) else {
        return;
    };
    let Ok(geometry) = Geometry::new(&parameters, data_blocks) else { return };
    let Ok(area) = HashArea::at(0, &geometry, Header::Superblock) else { return };
    let tree = usize::try_from(area.tree_offset_bytes()).ok().and_then(|start| bytes.get(start..));
    let Some(tree) = tree else { return };
    let root_hash = RootHash::from_bytes(vec![0x5a; parameters.algorithm.digest_bytes()]);
    let Ok(verifier) = Verifier::new(&parameters, data_blocks, &root_hash) else { return };
    let mut faults = 0;
    let on_fault = |fault: libverity::verity::Fault| {
        assert_ne!(fault.expected, fault.found);
        assert!(fault.unverified_data_blocks.end <= data_blocks);
        faults += 1;
        ControlFlow::Continue(())
    };
    let go_on = |_| ControlFlow::Continue(());
    let found = verifier.verify_at(rest, &mut &tree[..], on_fault, go_on);
    if let Ok(count) = found {
        assert_eq!(count, faults);
        // Over one block there is no tree, and the root hash is the digest of the block itself.
        let read = HashTree::read(&parameters, data_blocks, &root_hash, &mut &tree[..]);
        assert_eq!(read.is_ok(), geometry.hash_blocks() == 0);
    }
});
