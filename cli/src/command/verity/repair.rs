//! `osguard verity repair`.

use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::FileExt as _;

use libverity::digest::RootHash;
use libverity::verity::fec::{Covered, Repaired, Repairer};
use libverity::verity::{Fault, FaultyBlock, Verifier};
use serde::Serialize;

use super::error_correction::{FecArguments, Opened};
use super::fault_report::{FaultReport, LISTED_FAULTS, write_list};
use super::opened_tree::{Access, OpenedTree, VerifiedTreeArguments};
use super::{NOT_VERIFIED, device, refused};
use crate::exit_status::ExitStatus;
use crate::failure::Failure;
use crate::output::{Output, Report};

/// Bring corrupt blocks back with forward error correction, and write them
///
/// Each block, of the data or of the tree, is written only when it is what the root hash says; the others stay
/// as they are.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    verified: VerifiedTreeArguments,
}

#[derive(Serialize)]
struct RepairReport {
    root_hash: RootHash,
    faults: u64,
    repaired_blocks: u64,
    repaired_bytes: u64,
    /// The first [`LISTED_FAULTS`] of those that did not come back.
    lost_blocks: Vec<FaultReport>,
}

impl Report for RepairReport {
    const SCHEMA: &'static str = "osguard.verity.repair.v1";

    fn text(&self, out: &mut dyn Write) -> io::Result<()> {
        write_list(&self.lost_blocks, self.faults - self.repaired_blocks, out)?;
        let Self { faults, repaired_blocks, repaired_bytes, .. } = self;
        writeln!(
            out,
            "Repaired {repaired_blocks} of {faults} corrupt blocks, {repaired_bytes} bytes."
        )
    }
}

pub(super) fn run(arguments: &Arguments, output: &Output) -> Result<ExitStatus, Failure> {
    let Some(fec_path) = &arguments.verified.error_correction.fec_device else {
        return Err(Failure::new(super::WRONG_PARAMETERS, "there is no parity to repair with")
            .hint("--fec-device names the file or device with the parity."));
    };
    let (tree, root_hash) = arguments.verified.open(Access::ReadAndWrite)?;
    let fec_device = device::open(fec_path)?;
    let fec_device = Opened { path: fec_path, file: &fec_device };
    let mut lost_blocks = Vec::new();
    let repaired = over(
        &tree,
        &root_hash,
        &arguments.verified.error_correction,
        fec_device,
        |fault, block| match block {
            None if lost_blocks.len() < LISTED_FAULTS => {
                lost_blocks.push(FaultReport::new(fault));
                Ok(())
            }
            None => Ok(()),
            Some(block) => put_back(&tree, fault, block),
        },
    )?;
    for (path, file) in [(tree.data_path, &tree.data_device), (tree.hash_path, &tree.hash_device)] {
        File::sync_data(file).map_err(|error| device::wrong(path, error))?;
    }
    output.report(&RepairReport {
        root_hash,
        faults: repaired.faults,
        repaired_blocks: repaired.blocks,
        repaired_bytes: repaired.bytes,
        lost_blocks,
    })?;
    if repaired.is_complete() {
        return Ok(ExitStatus::Done);
    }
    let lost = repaired.faults - repaired.blocks;
    let blocks = if lost == 1 { "1 block is" } else { &format!("{lost} blocks are") };
    Err(Failure::new(NOT_VERIFIED, format!("{blocks} still not what the root hash says"))
        .context(format!("device {} is not repaired", tree.data_path.display())))
}

/// Finds what is corrupt and what it must be, and tells `on_block`.
pub(super) fn over(
    tree: &OpenedTree<'_>,
    root_hash: &RootHash,
    flags: &FecArguments,
    fec_device: Opened<'_>,
    on_block: impl FnMut(&Fault, Option<&[u8]>) -> io::Result<()>,
) -> Result<Repaired, Failure> {
    let OpenedTree { parameters, geometry, area, .. } = tree;
    let layout = flags.layout(fec_device, tree.hash_device(), parameters, geometry, area)?;
    let verifier = Verifier::new(parameters, geometry.data_blocks(), root_hash).map_err(refused)?;
    let covered = Covered {
        data: &tree.data_device,
        hash_device: &tree.hash_device,
        tree_offset_bytes: area.tree_offset_bytes(),
    };
    Repairer::new(parameters, &verifier, &layout, covered, fec_device.file, flags.fec_offset)
        .run(on_block)
        .map_err(|error| Failure::from_error(NOT_VERIFIED, error))
}

fn put_back(tree: &OpenedTree<'_>, fault: &Fault, block: &[u8]) -> io::Result<()> {
    match fault.block {
        FaultyBlock::Data { .. } => tree.data_device.write_all_at(block, fault.offset_bytes),
        FaultyBlock::Hash { .. } => {
            let offset_bytes = tree.area.tree_offset_bytes() + fault.offset_bytes;
            tree.hash_device.write_all_at(block, offset_bytes)
        }
    }
}
