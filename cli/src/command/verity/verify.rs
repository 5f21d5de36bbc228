//! `osguard verity verify`.

use std::io::{self, Write};
use std::ops::ControlFlow;

use libverity::digest::RootHash;
use libverity::verity::{Fault, FaultyBlock, Verifier};
use serde::Serialize;

use super::error_correction::Opened;
use super::fault_report::{FaultReport, LISTED_FAULTS, write_list};
use super::opened_tree::{Access, VerifiedTreeArguments};
use super::{NOT_VERIFIED, WRONG_PARAMETERS, block_files, device, refused, repair, shown};
use crate::exit_status::ExitStatus;
use crate::failure::Failure;
use crate::output::{Output, Report};

/// Verify the blocks of a device against its hash tree and a root hash
///
/// Every corrupt block is reported, not just the first one, and on an EROFS image the file that it
/// belongs to. With --fec-device it is no failure if
/// all of them could be repaired.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    verified: VerifiedTreeArguments,
}

#[derive(Serialize)]
struct VerifyReport {
    root_hash: RootHash,
    data_blocks: u64,
    faults: u64,
    /// The first [`LISTED_FAULTS`] of them.
    faulty_blocks: Vec<FaultReport>,
    #[serde(skip_serializing_if = "Option::is_none")]
    repairable: Option<Repairable>,
}

/// Says what error correction could do.
#[derive(Serialize)]
struct Repairable {
    blocks: u64,
    bytes: u64,
}

impl Report for VerifyReport {
    const SCHEMA: &'static str = "osguard.verity.verify.v1";

    fn text(&self, out: &mut dyn Write) -> io::Result<()> {
        write_list(&self.faulty_blocks, self.faults, out)?;
        if let Some(Repairable { bytes, .. }) = self.repairable {
            writeln!(out, "Found {bytes} repairable errors with FEC device.")?;
        }
        Ok(())
    }
}

pub(super) fn run(arguments: &Arguments, output: &Output) -> Result<ExitStatus, Failure> {
    let (tree, root_hash) = arguments.verified.open(Access::Read)?;
    let fec_device = match &arguments.verified.error_correction.fec_device {
        None => None,
        Some(path) => Some((path, device::open(path)?)),
    };

    let data_blocks = tree.geometry.data_blocks();
    let verifier = Verifier::new(&tree.parameters, data_blocks, &root_hash).map_err(refused)?;
    let on_progress = shown(output.progress().counting("Verifying", tree.geometry.data_bytes()));
    let mut faulty_blocks = Vec::new();
    let mut is_root_wrong = false;
    let on_fault = |fault: Fault| {
        is_root_wrong |= is_top(&fault, tree.geometry.levels().len());
        if faulty_blocks.len() < LISTED_FAULTS {
            faulty_blocks.push(FaultReport::new(&fault));
        }
        ControlFlow::Continue(())
    };
    let faults = verifier
        .verify_at(&tree.data_device, &mut tree.tree()?, on_fault, on_progress)
        .map_err(refused)?;
    block_files::name(&mut faulty_blocks, &tree.data_device, tree.parameters.data_block_size);
    let repaired = match &fec_device {
        Some((path, file)) if faults > 0 => {
            let fec_device = Opened { path, file };
            let flags = &arguments.verified.error_correction;
            Some(repair::over(&tree, &root_hash, flags, fec_device, |_, _| Ok(())))
        }
        _ => None,
    };
    let repairable = match &repaired {
        Some(Ok(repaired)) => Some(Repairable { blocks: repaired.blocks, bytes: repaired.bytes }),
        _ => None,
    };
    output.report(&VerifyReport { root_hash, data_blocks, faults, faulty_blocks, repairable })?;
    if faults == 0 {
        return Ok(ExitStatus::Done);
    }
    let blocks = if faults == 1 { "1 block is" } else { &format!("{faults} blocks are") };
    let failed = |failure: Failure| {
        failure.context(format!("verification of {} failed", tree.data_path.display()))
    };
    match repaired {
        Some(Ok(repaired)) if repaired.is_complete() => Ok(ExitStatus::Done),
        Some(Ok(repaired)) => {
            let lost = repaired.faults - repaired.blocks;
            let message =
                format!("{blocks} not what the root hash says, and {lost} cannot be repaired");
            Err(failed(Failure::new(NOT_VERIFIED, message)))
        }
        Some(Err(failure)) => Err(failed(failure)),
        None => {
            let status = if is_root_wrong { WRONG_PARAMETERS } else { NOT_VERIFIED };
            Err(failed(Failure::new(status, format!("{blocks} not what the root hash says"))))
        }
    }
}

/// Tells whether a block is the one that the root hash itself is of.
fn is_top(fault: &Fault, levels: usize) -> bool {
    match fault.block {
        FaultyBlock::Data { .. } => levels == 0,
        FaultyBlock::Hash { level, .. } => level + 1 == levels,
    }
}
