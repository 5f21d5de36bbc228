//! Which files of an EROFS image corrupt blocks belong to.

use std::fs::File;

use libverity::erofs::{BlockOwner, BlockPart, Reader};
use libverity::verity::BlockSize;

use super::fault_report::{FaultReport, FileReport};

/// Names the files of corrupt data blocks, where the data are an EROFS image whose directories can
/// still be read. Nothing in it is believed: names are what a corrupt image says.
pub(super) fn name(faults: &mut [FaultReport], data_device: &File, block_size: BlockSize) {
    if faults.iter().all(|fault| fault.data_offset_bytes().is_none()) {
        return;
    }
    let Ok(reader) = Reader::open(data_device).or_else(|_| Reader::open_index(data_device)) else {
        return;
    };
    let image_block_bytes = u64::from(reader.facts().block_bytes);
    let blocks_of = |offset_bytes: u64| {
        let end_bytes = offset_bytes + u64::from(block_size.bytes());
        offset_bytes / image_block_bytes..end_bytes.div_ceil(image_block_bytes)
    };
    let blocks: Vec<u64> =
        faults.iter().filter_map(FaultReport::data_offset_bytes).flat_map(blocks_of).collect();
    let owners = reader.block_owners(&blocks).owners;
    for fault in faults {
        let Some(offset_bytes) = fault.data_offset_bytes() else { continue };
        fault.file = blocks_of(offset_bytes).find_map(|block| owners.get(&block)).map(describe);
    }
}

fn describe(owner: &BlockOwner) -> FileReport {
    let (part, offset_bytes) = match owner.part {
        BlockPart::Content { offset_bytes } => ("content", Some(offset_bytes)),
        BlockPart::Inode => ("inode", None),
        BlockPart::Superblock => ("superblock", None),
    };
    FileReport {
        path: owner.path.to_string(),
        part,
        offset_bytes,
        further_names: owner.further_names,
    }
}
