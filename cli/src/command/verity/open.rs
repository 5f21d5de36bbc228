//! `osguard verity open`.

use std::fs::File;
use std::io::Read as _;
use std::path::PathBuf;

use libverity::verity::{
    Device, ErrorCorrection, OnCorruption, TableOptions, VerityTable, WeakenedTable,
};
use osguard_node::verity_device::{ParityOpening, VerityOpening, node_path};
use osguard_node::verity_status::VerityStatus;

use super::error_correction::{FecArguments, Opened};
use super::opened_tree::{Access, OpenedTree};
use super::parameters::TreeArguments;
use super::root_hash::RootHashArguments;
use super::running::{mapper, of_device, of_status};
use super::{WRONG_PARAMETERS, device};
use crate::exit_status::ExitStatus;
use crate::failure::Failure;
use crate::output::Output;

/// Make a device whose blocks the kernel verifies, as /dev/mapper/NAME
///
/// Files get loop devices, which go away with the device.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// The file or device with the data
    #[arg(value_name = "DATA_DEVICE")]
    data_device: PathBuf,
    /// What the new device is called
    #[arg(value_name = "NAME")]
    name: String,
    /// The file or device with the hash area
    #[arg(value_name = "HASH_DEVICE")]
    hash_device: PathBuf,
    #[command(flatten)]
    root_hash: RootHashArguments,
    #[command(flatten)]
    tree: TreeArguments,
    #[command(flatten)]
    error_correction: FecArguments,
    /// A detached PKCS#7 signature of the root hash, which the kernel has to accept
    #[arg(long, value_name = "FILE")]
    root_hash_signature: Option<PathBuf>,
    /// Return corrupt blocks as if they were right; weakens the device
    #[arg(long, conflicts_with_all = ["restart_on_corruption", "panic_on_corruption"])]
    ignore_corruption: bool,
    /// Restart the machine at a corrupt block
    #[arg(long, conflicts_with = "panic_on_corruption")]
    restart_on_corruption: bool,
    /// Panic at a corrupt block
    #[arg(long)]
    panic_on_corruption: bool,
    /// Return zeros, without a look at the device, for blocks that should be zeros
    #[arg(long)]
    ignore_zero_blocks: bool,
    /// Verify each block the first time only; weakens the device
    #[arg(long)]
    check_at_most_once: bool,
    /// Verify where a read ends instead of in a queue, where the kernel can
    #[arg(long)]
    use_tasklets: bool,
}

pub(super) fn run(arguments: &Arguments, output: &Output) -> Result<ExitStatus, Failure> {
    let tree = OpenedTree::open(
        &arguments.data_device,
        &arguments.hash_device,
        &arguments.tree,
        Access::Read,
    )?;
    let root_hash = arguments.root_hash.read()?;
    if root_hash.as_bytes().len() != tree.parameters.algorithm.digest_bytes() {
        let message = "the root hash is not as long as those of the tree's algorithm";
        return Err(Failure::new(WRONG_PARAMETERS, message));
    }
    let opening = VerityOpening {
        name: arguments.name.clone(),
        uuid: tree.uuid,
        data: arguments.data_device.clone(),
        hash: arguments.hash_device.clone(),
        parity: parity(arguments, &tree)?,
        table: WeakenedTable {
            table: VerityTable {
                data_device: NOWHERE,
                hash_device: NOWHERE,
                parameters: tree.parameters.clone(),
                data_blocks: tree.geometry.data_blocks(),
                hash_start_block: tree.area.hash_start_block(),
                root_hash,
                options: options(arguments),
            },
            ignore_corruption: arguments.ignore_corruption,
            check_at_most_once: arguments.check_at_most_once,
        },
        signature: signature(arguments)?,
    };
    warn(arguments, output);
    let mapper = mapper()?;
    opening.open(&mapper).map_err(of_device)?;
    // The kernel makes a device for any root hash; the first read tells whether it is the right one.
    if let Ok(mut node) = File::open(node_path(&arguments.name)) {
        let _ = node.read(&mut [0; 512]);
    }
    let status = VerityStatus::read(&mapper, &arguments.name).map_err(of_status)?;
    if status.is_some_and(|status| status.is_corrupted) {
        output.warning("Verity device detected corruption after activation.");
    }
    Ok(ExitStatus::Done)
}

fn options(arguments: &Arguments) -> TableOptions {
    let on_corruption = match (arguments.restart_on_corruption, arguments.panic_on_corruption) {
        (true, _) => OnCorruption::Restart,
        (_, true) => OnCorruption::Panic,
        _ => OnCorruption::Fail,
    };
    TableOptions {
        on_corruption,
        ignore_zero_blocks: arguments.ignore_zero_blocks,
        try_verify_in_tasklet: arguments.use_tasklets,
        ..TableOptions::default()
    }
}

fn parity(arguments: &Arguments, tree: &OpenedTree<'_>) -> Result<Option<ParityOpening>, Failure> {
    let flags = &arguments.error_correction;
    let Some(path) = &flags.fec_device else { return Ok(None) };
    let fec_device = device::open(path)?;
    let fec_device = Opened { path, file: &fec_device };
    let layout = flags.layout(
        fec_device,
        tree.hash_device(),
        &tree.parameters,
        &tree.geometry,
        &tree.area,
    )?;
    let block_bytes = u64::from(layout.block_size().bytes());
    if !flags.fec_offset.is_multiple_of(block_bytes) {
        let message = format!(
            "the kernel finds parity at whole blocks only, and {} is no multiple of {block_bytes}",
            flags.fec_offset
        );
        return Err(Failure::new(WRONG_PARAMETERS, message));
    }
    Ok(Some(ParityOpening {
        path: path.clone(),
        error_correction: ErrorCorrection {
            device: NOWHERE,
            start_block: flags.fec_offset / block_bytes,
            blocks: layout.blocks(),
            roots: layout.roots(),
        },
    }))
}

fn signature(arguments: &Arguments) -> Result<Option<Vec<u8>>, Failure> {
    let Some(path) = &arguments.root_hash_signature else { return Ok(None) };
    let mut signature = Vec::new();
    File::open(path)
        .and_then(|file| file.take(MAX_SIGNATURE_BYTES + 1).read_to_end(&mut signature))
        .map_err(|error| device::wrong(path, error))?;
    if signature.len() as u64 > MAX_SIGNATURE_BYTES {
        let message = format!("{} is no signature: it is too long", path.display());
        return Err(Failure::new(WRONG_PARAMETERS, message));
    }
    Ok(Some(signature))
}

/// Says what the flags that weaken a device mean, as long as it can be helped.
fn warn(arguments: &Arguments, output: &Output) {
    if arguments.ignore_corruption {
        output.warning(
            "--ignore-corruption: the device returns whatever is on the disk, and a signature of \
             its root hash means nothing",
        );
    }
    if arguments.check_at_most_once {
        output.warning(
            "--check-at-most-once: what is changed on the disk after it was first read goes \
             unnoticed",
        );
    }
    if arguments.restart_on_corruption || arguments.panic_on_corruption {
        output.warning("one corrupt block stops the whole machine");
    }
}

/// Stands for a device until it is known.
const NOWHERE: Device = Device::Number { major: 0, minor: 0 };

/// The longest payload of a key.
const MAX_SIGNATURE_BYTES: u64 = 32_767;
