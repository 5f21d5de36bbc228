//! `osguard verity verify`.

use std::fs::File;
use std::io::{self, BufReader, Read as _, Seek as _, SeekFrom, Write};
use std::ops::ControlFlow;
use std::path::PathBuf;

use libverity::digest::RootHash;
use libverity::verity::{
    Fault, FaultyBlock, Geometry, HashArea, Header as LeadIn, Parameters, Salt, Superblock,
    Verifier,
};
use serde::Serialize;

use super::parameters::TreeArguments;
use super::{WRONG_PARAMETERS, device, refused, superblock};
use crate::exit_status::ExitStatus;
use crate::failure::Failure;
use crate::output::{Output, Report};

/// Verify the blocks of a device against its hash tree and a root hash
///
/// Every corrupt block is reported, not just the first one.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// The file or device whose blocks are verified
    #[arg(value_name = "DATA_DEVICE")]
    data_device: PathBuf,
    /// The file or device with the hash area
    #[arg(value_name = "HASH_DEVICE")]
    hash_device: PathBuf,
    /// The root hash that is trusted
    #[arg(value_name = "ROOT_HASH", required_unless_present = "root_hash_file")]
    root_hash: Option<String>,
    #[command(flatten)]
    tree: TreeArguments,
    /// Read the root hash from this file
    #[arg(long, value_name = "FILE", conflicts_with = "root_hash")]
    root_hash_file: Option<PathBuf>,
}

#[derive(Serialize)]
struct VerifyReport {
    root_hash: RootHash,
    data_blocks: u64,
    faults: u64,
    /// The first [`LISTED_FAULTS`] of them.
    faulty_blocks: Vec<FaultReport>,
}

#[derive(Serialize)]
struct FaultReport {
    kind: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    level: Option<usize>,
    index: u64,
    offset_bytes: u64,
    expected: String,
    found: String,
    #[serde(skip)]
    line: String,
}

impl Report for VerifyReport {
    const SCHEMA: &'static str = "osguard.verity.verify.v1";

    fn text(&self, out: &mut dyn Write) -> io::Result<()> {
        for fault in &self.faulty_blocks {
            writeln!(out, "{}", fault.line)?;
        }
        let more = self.faults - self.faulty_blocks.len() as u64;
        if more > 0 {
            writeln!(out, "… and {more} more corrupt blocks")?;
        }
        Ok(())
    }
}

pub(super) fn run(arguments: &Arguments, output: &Output) -> Result<ExitStatus, Failure> {
    let Arguments { data_device: data_path, hash_device: hash_path, tree: flags, .. } = arguments;
    let root_hash = root_hash(arguments)?;
    let data_device = device::open(data_path)?;
    let hash_device = device::open(hash_path)?;
    let (parameters, data_blocks) = shape(arguments, &data_device, &hash_device)?;
    let geometry = Geometry::new(&parameters, data_blocks).map_err(refused)?;
    let header = if flags.no_superblock { LeadIn::None } else { LeadIn::Superblock };
    let area = HashArea::at(flags.hash_offset, &geometry, header).map_err(refused)?;

    let verifier = Verifier::new(&parameters, data_blocks, &root_hash).map_err(refused)?;
    let mut tree = BufReader::new(&hash_device);
    tree.seek(SeekFrom::Start(area.tree_offset_bytes()))
        .map_err(|error| device::wrong(hash_path, error))?;
    let on_progress = output.progress().counting("Verifying", geometry.data_bytes());
    let mut faulty_blocks = Vec::new();
    let on_fault = |fault: Fault| {
        if faulty_blocks.len() < LISTED_FAULTS {
            faulty_blocks.push(describe(&fault));
        }
        ControlFlow::Continue(())
    };
    let faults =
        verifier.verify_at(&data_device, &mut tree, on_fault, on_progress).map_err(refused)?;
    output.report(&VerifyReport { root_hash, data_blocks, faults, faulty_blocks })?;
    if faults == 0 {
        return Ok(ExitStatus::Done);
    }
    let blocks = if faults == 1 { "1 block is" } else { &format!("{faults} blocks are") };
    Err(Failure::new(WRONG_PARAMETERS, format!("{blocks} not what the root hash says"))
        .context(format!("verification of {} failed", data_path.display())))
}

fn root_hash(arguments: &Arguments) -> Result<RootHash, Failure> {
    let text = match (&arguments.root_hash, &arguments.root_hash_file) {
        (Some(text), _) => text.clone(),
        (None, Some(path)) => {
            let mut text = String::new();
            File::open(path)
                .and_then(|file| file.take(MAX_ROOT_HASH_FILE_BYTES).read_to_string(&mut text))
                .map_err(|error| device::wrong(path, error))?;
            text
        }
        (None, None) => String::new(),
    };
    text.trim_end().parse().map_err(refused)
}

/// Finds out what tree to expect: from the superblock, or from the flags where there is none.
fn shape(
    arguments: &Arguments,
    data_device: &File,
    hash_device: &File,
) -> Result<(Parameters, u64), Failure> {
    let flags = &arguments.tree;
    if flags.no_superblock {
        let parameters = flags.parameters(Salt::EMPTY)?;
        let size_bytes = device::size_bytes(&arguments.data_device, data_device)?;
        let whole_blocks = size_bytes / u64::from(parameters.data_block_size.bytes());
        return Ok((parameters, flags.data_blocks.unwrap_or(whole_blocks)));
    }
    let Superblock { parameters, data_blocks, .. } =
        superblock::read(&arguments.hash_device, hash_device, flags.hash_offset)?;
    Ok((parameters, data_blocks))
}

fn describe(fault: &Fault) -> FaultReport {
    let (kind, level, index) = match fault.block {
        FaultyBlock::Data { index } => ("data", None, index),
        FaultyBlock::Hash { level, index } => ("hash", Some(level), index),
    };
    FaultReport {
        kind,
        level,
        index,
        offset_bytes: fault.offset_bytes,
        expected: RootHash::from_bytes(fault.expected.clone()).to_string(),
        found: RootHash::from_bytes(fault.found.clone()).to_string(),
        line: fault.to_string(),
    }
}

/// Longer than the longest root hash in hexadecimal digits.
const MAX_ROOT_HASH_FILE_BYTES: u64 = 4096;

/// How many corrupt blocks are described one by one.
const LISTED_FAULTS: usize = 1000;
