use proptest::prelude::*;

use super::*;
use crate::verity::fec::{Roots, encode};
use crate::verity::{BlockSize, Salt, TreeBuilder};

/// Is a device with parity: 512 bytes a block, 16 digests a hash block.
struct Sample {
    parameters: Parameters,
    verifier: Verifier,
    layout: FecLayout,
    data: Vec<u8>,
    /// The tree, and two blocks behind it that are covered as well.
    hash_area: Vec<u8>,
    parity: Vec<u8>,
}

impl Sample {
    fn new(data_blocks: usize, roots: u32) -> Self {
        let parameters = Parameters {
            data_block_size: BlockSize::B512,
            hash_block_size: BlockSize::B512,
            ..Parameters::with_salt(Salt::try_from(&[3; 32][..]).unwrap())
        };
        let data: Vec<u8> = (0..data_blocks * 512).map(|place| (place / 509) as u8).collect();
        let mut builder = TreeBuilder::new(&parameters);
        builder.update(&data);
        let tree = builder.finish().unwrap();
        let mut hash_area = Vec::new();
        tree.write_to(&mut hash_area).unwrap();
        hash_area.extend([0x77; 1024]);
        let roots = Roots::try_from(roots).unwrap();
        let hash_blocks = hash_area.len() as u64 / 512;
        let layout = FecLayout::new(&parameters, tree.geometry(), hash_blocks, roots).unwrap();
        let verifier = Verifier::new(&parameters, data_blocks as u64, tree.root_hash()).unwrap();
        let mut sample = Self { parameters, verifier, layout, data, hash_area, parity: Vec::new() };
        let mut parity = Vec::new();
        encode(&sample.layout, &sample.covered(), &mut parity, |_| ControlFlow::Continue(()))
            .unwrap();
        sample.parity = parity;
        sample
    }

    fn covered(&self) -> Covered<'_, [u8], [u8]> {
        Covered { data: &self.data, hash_device: &self.hash_area, tree_offset_bytes: 0 }
    }

    /// Changes a byte of the `block`th block that is covered.
    fn damage(&mut self, block: u64, byte: usize, difference: u8) {
        let place = block as usize * 512 + byte;
        match place.checked_sub(self.data.len()) {
            None => self.data[place] ^= difference,
            Some(place) => self.hash_area[place] ^= difference,
        }
    }

    /// Repairs what is damaged, and returns what came of it with the numbers of blocks that are
    /// lost.
    fn repair(&mut self) -> (Repaired, Vec<FaultyBlock>) {
        let (mut blocks, mut lost) = (Vec::new(), Vec::new());
        let repaired = Repairer::new(
            &self.parameters,
            &self.verifier,
            &self.layout,
            self.covered(),
            &self.parity[..],
            0,
        )
        .run(|fault, block| {
            match block {
                Some(block) => blocks.push((fault.clone(), block.to_vec())),
                None => lost.push(fault.block),
            }
            Ok(())
        })
        .unwrap();
        for (fault, block) in blocks {
            let area = match fault.block {
                FaultyBlock::Data { .. } => &mut self.data,
                FaultyBlock::Hash { .. } => &mut self.hash_area,
            };
            area[fault.offset_bytes as usize..][..512].copy_from_slice(&block);
        }
        (repaired, lost)
    }
}

#[test]
fn what_is_right_needs_nothing() {
    let mut sample = Sample::new(300, 2);
    assert_eq!(sample.repair(), (Repaired::default(), vec![]));
}

#[test]
fn as_many_blocks_of_a_round_as_there_are_roots_come_back_whole() {
    for roots in [2, 3, 24] {
        let whole = Sample::new(1000, roots);
        let mut sample = Sample::new(1000, roots);
        let rounds = sample.layout.rounds();
        for row in 0..u64::from(roots) {
            for byte in 0..512 {
                sample.damage(row * rounds + 1, byte, 0xff);
            }
        }
        let (repaired, lost) = sample.repair();
        let blocks = u64::from(roots);
        assert_eq!(repaired, Repaired { faults: blocks, blocks, bytes: blocks * 512 });
        assert!(lost.is_empty() && sample.data == whole.data, "{roots}");
    }
}

#[test]
fn one_block_more_is_lost_and_the_others_with_it() {
    let mut sample = Sample::new(1000, 2);
    let rounds = sample.layout.rounds();
    for row in 0..3 {
        (0..512).for_each(|byte| sample.damage(row * rounds, byte, 1 + row as u8));
    }
    sample.damage(2, 7, 1);
    let (repaired, mut lost) = sample.repair();
    assert_eq!((repaired.faults, repaired.blocks, repaired.bytes), (4, 1, 1));
    assert!(!repaired.is_complete());
    lost.sort_by_key(|block| block.to_string().len());
    assert_eq!(lost, [0, rounds, 2 * rounds].map(|index| FaultyBlock::Data { index }));
}

#[test]
fn more_faults_than_parity_end_the_work() {
    let mut sample = Sample::new(100, 2);
    for block in 0..3 {
        sample.damage(block, 0, 1);
    }
    let covered = sample.covered();
    let repairer = Repairer::new(
        &sample.parameters,
        &sample.verifier,
        &sample.layout,
        covered,
        &sample.parity[..],
        0,
    );
    let error = repairer.run(|_, _| Ok(())).unwrap_err();
    assert!(matches!(error, FecError::TooManyFaults { limit: 2 }), "{error:?}");
}

#[test]
fn hash_blocks_come_back_from_the_top_down() {
    let whole = Sample::new(1000, 6);
    let mut sample = Sample::new(1000, 6);
    // One in each level, and a data block below them: 63, 4 and 1 hash blocks. Three of them share
    // a round, and of the first only one is known: 1 + 2 × 2 of 6 roots.
    for block in [1000, 1001, 1005, 0] {
        (0..512).for_each(|byte| sample.damage(block, byte, 0x55));
    }
    let (repaired, lost) = sample.repair();
    assert_eq!(repaired, Repaired { faults: 4, blocks: 4, bytes: 4 * 512 });
    assert!(lost.is_empty());
    assert!(sample.data == whole.data && sample.hash_area == whole.hash_area);
}

#[test]
fn damage_outside_of_the_tree_is_an_error_among_others() {
    let whole = Sample::new(1000, 4);
    let mut sample = Sample::new(1000, 4);
    let (round, _) = sample.layout.place_of(1000 + 68);
    // A block behind the tree is wrong, of which nothing tells, and one of the same round; in
    // another byte the parity is.
    sample.damage(1000 + 68, 11, 9);
    sample.damage(round, 11, 8);
    sample.damage(round, 12, 8);
    sample.parity[(round as usize * 512 + 12) * 4] ^= 1;
    let (repaired, lost) = sample.repair();
    assert_eq!(repaired, Repaired { faults: 1, blocks: 1, bytes: 2 });
    assert!(lost.is_empty() && sample.data == whole.data);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn any_damage_that_the_parity_can_undo_is_undone(
        roots in Roots::MIN..=Roots::MAX,
        blocks in 200_usize..1200,
        damages in proptest::collection::vec((any::<prop::sample::Index>(), 0_usize..512, 1_u8..=255), 1..60),
    ) {
        let mut sample = Sample::new(blocks, roots);
        let whole = Sample::new(blocks, roots);
        // Hash blocks of which nothing tells yet count twice, so a round takes half as many blocks.
        let mut in_round: BTreeMap<u64, Vec<u64>> = BTreeMap::new();
        let tree_blocks = sample.verifier.geometry().hash_blocks();
        for (block, byte, difference) in damages {
            let block = block.index(blocks + tree_blocks as usize) as u64;
            let damaged = in_round.entry(sample.layout.place_of(block).0).or_default();
            if !damaged.contains(&block) {
                if damaged.len() == roots as usize / 2 {
                    continue;
                }
                damaged.push(block);
            }
            sample.damage(block, byte, difference);
        }
        let (repaired, lost) = sample.repair();
        prop_assert!(repaired.is_complete() && lost.is_empty());
        prop_assert!(sample.data == whole.data && sample.hash_area == whole.hash_area);
    }
}
