//! Any damage of data, tree and parity: what comes back is what it was, nothing panics, and a device
//! that was repaired whole is without fault.
#![no_main]

use std::ops::ControlFlow;

use libfuzzer_sys::fuzz_target;
use libverity::verity::fec::{Covered, FecLayout, Repairer, Roots, encode};
use libverity::verity::{BlockSize, FaultyBlock, Parameters, Salt, TreeBuilder, Verifier};

const DATA_BLOCKS: usize = 300;

fuzz_target!(|bytes: &[u8]| {
    let Some((&roots, damages)) = bytes.split_first() else { return };
    let Ok(roots) = Roots::try_from(2 + u32::from(roots) % 23) else { return };
    let parameters = Parameters {
        data_block_size: BlockSize::B512,
        hash_block_size: BlockSize::B512,
        ..Parameters::with_salt(Salt::EMPTY)
    };
    let data: Vec<u8> = (0..DATA_BLOCKS * 512).map(|place| (place / 509) as u8).collect();
    let mut builder = TreeBuilder::new(&parameters);
    builder.update(&data);
    let tree = builder.finish().expect("there are data");
    let mut hash_blocks = Vec::new();
    tree.write_to(&mut hash_blocks).expect("memory takes everything");
    let layout = FecLayout::new(&parameters, tree.geometry(), tree.geometry().hash_blocks(), roots)
        .expect("all of the tree is covered");
    let covered = Covered { data: &data[..], hash_device: &hash_blocks[..], tree_offset_bytes: 0 };
    let mut parity = Vec::new();
    encode(&layout, &covered, &mut parity, |_| ControlFlow::Continue(())).expect("memory");

    // Four bytes damage a byte: three for the place in all that there is, one for the difference.
    let mut all = [&data[..], &hash_blocks, &parity].concat();
    let length = all.len();
    for damage in damages.chunks_exact(4) {
        let place = u32::from_le_bytes([damage[0], damage[1], damage[2], 0]) as usize % length;
        all[place] ^= damage[3];
    }
    let (damaged_data, rest) = all.split_at(data.len());
    let (damaged_tree, damaged_parity) = rest.split_at(hash_blocks.len());
    let verifier =
        Verifier::new(&parameters, DATA_BLOCKS as u64, tree.root_hash()).expect("a tree");
    let covered = Covered { data: damaged_data, hash_device: damaged_tree, tree_offset_bytes: 0 };
    let (mut repaired_data, mut repaired_tree) = (damaged_data.to_vec(), damaged_tree.to_vec());
    let repairer = Repairer::new(&parameters, &verifier, &layout, covered, damaged_parity, 0);
    let ran = repairer.run(|fault, block| {
        let Some(block) = block else { return Ok(()) };
        let area = match fault.block {
            FaultyBlock::Data { .. } => (&mut repaired_data, &data),
            FaultyBlock::Hash { .. } => (&mut repaired_tree, &hash_blocks),
        };
        let place = fault.offset_bytes as usize;
        assert_eq!(block, &area.1[place..place + 512]);
        area.0[place..place + 512].copy_from_slice(block);
        Ok(())
    });
    if ran.is_ok_and(|repaired| repaired.is_complete()) {
        assert!(repaired_data == data && repaired_tree == hash_blocks);
    }
});
