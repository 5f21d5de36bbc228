//! Damage of every kind, and what is said about it.

use std::collections::BTreeSet;
use std::ops::ControlFlow;

use uuid::Uuid;

use super::*;

/// Every single bit of an image with superblock and tree: it is found in its block, or it is one of
/// the superblock, which says what is wrong, differs from what is pinned, or is the UUID, on which
/// nothing depends.
#[test]
fn no_flipped_bit_goes_unnoticed() {
    let image = Image::new(20);
    let area = &image.area;
    let tree = area.tree_offset_bytes()..area.end_bytes();
    let superblock = area.hash_offset_bytes()..tree.start;
    let mut bytes = image.bytes.clone();
    let mut uuid_bits = 0;
    for bit in 0..bytes.len() as u64 * 8 {
        let place = bit / 8;
        let flip = |bytes: &mut [u8]| bytes[place as usize] ^= 1 << (bit % 8);
        flip(&mut bytes);
        if superblock.contains(&place) {
            let field = &bytes[superblock.start as usize..][..Superblock::BYTES];
            if let Ok(found) = Superblock::parse(field.try_into().unwrap()) {
                let is_pinned = (&found.parameters, found.data_blocks) == (&image.parameters, 20);
                if is_pinned {
                    assert_ne!(found.uuid, UUID);
                    assert!((16..32).contains(&(place - superblock.start)), "{bit}");
                    uuid_bits += 1;
                }
            }
        } else {
            let faults = image.faults(&bytes);
            let [fault] = &faults[..] else { panic!("{bit}: {faults:?}") };
            let start = match fault.block {
                FaultyBlock::Data { .. } => fault.offset_bytes,
                FaultyBlock::Hash { .. } => tree.start + fault.offset_bytes,
            };
            assert!((start..start + 512).contains(&place), "{bit}: {fault:?}");
        }
        flip(&mut bytes);
    }
    assert_eq!(uuid_bits, 128);
    assert!(bytes == image.bytes && image.faults(&bytes).is_empty());
}

#[test]
fn what_is_listed_is_what_was_changed() {
    let image = Image::new(20_000);
    let mut bytes = image.bytes.clone();
    let mut number = 1_u64;
    for round in 1..6 {
        let mut changed = BTreeSet::new();
        for _ in 0..round * 300 {
            number = number.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let block = (number >> 33) % 20_000;
            let byte = (number >> 20) as usize % 512;
            if changed.insert(block) {
                bytes[block as usize * 512 + byte] ^= 1 << (number >> 60 & 7);
            }
        }
        let faults = image.faults(&bytes);
        let listed = faults.iter().map(|fault| match fault.block {
            FaultyBlock::Data { index } => index,
            FaultyBlock::Hash { .. } => panic!("{fault:?}"),
        });
        assert!(listed.eq(changed), "{round}");
        bytes.copy_from_slice(&image.bytes);
    }
}

/// Is data with superblock and tree behind them, in blocks of 512 bytes.
struct Image {
    parameters: Parameters,
    area: HashArea,
    verifier: Verifier,
    bytes: Vec<u8>,
}

impl Image {
    fn new(data_blocks: u64) -> Self {
        let parameters = Parameters {
            data_block_size: BlockSize::B512,
            hash_block_size: BlockSize::B512,
            ..Parameters::with_salt(Salt::try_from(&[0xa5; 32][..]).unwrap())
        };
        let mut bytes: Vec<u8> = (0..data_blocks * 512).map(|place| (place / 509) as u8).collect();
        let mut builder = TreeBuilder::new(&parameters);
        builder.update(&bytes);
        let tree = builder.finish().unwrap();
        let data_bytes = bytes.len() as u64;
        let area =
            HashArea::append(data_bytes, &tree, Header::Superblock, UUID, &mut bytes).unwrap();
        let verifier = Verifier::new(&parameters, data_blocks, tree.root_hash()).unwrap();
        Self { parameters, area, verifier, bytes }
    }

    fn faults(&self, bytes: &[u8]) -> Vec<Fault> {
        let mut faults = Vec::new();
        let mut tree = &bytes[self.area.tree_offset_bytes() as usize..];
        let on_fault = |fault| {
            faults.push(fault);
            ControlFlow::Continue(())
        };
        self.verifier.verify(&mut &bytes[..], &mut tree, on_fault).unwrap();
        faults
    }
}

const UUID: Uuid = Uuid::from_u128(0x0123_4567_89ab_4def_8123_4567_89ab_cdef);
