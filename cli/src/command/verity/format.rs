//! `osguard verity format`.

use std::fs::File;
use std::io::{self, BufWriter, Seek as _, SeekFrom, Write};
use std::path::PathBuf;

use libverity::verity::fec::{self, Covered, FecError, FecLayout};
use libverity::verity::{DataError, Geometry, HashArea, HashTree, Header as LeadIn, Salt};
use ring::rand::{SecureRandom as _, SystemRandom};
use serde::Serialize;
use uuid::Uuid;

use super::error_correction::{FecArguments, Opened};
use super::header::{ErrorCorrection, Header};
use super::parameters::TreeArguments;
use super::{WRONG_PARAMETERS, device, refused, shown};
use crate::exit_status::ExitStatus;
use crate::failure::Failure;
use crate::output::{Output, Report};

/// Make the hash tree of a device, and print its root hash
///
/// Both may be the same file; --hash-offset then says where the hash area starts.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// The file or device whose blocks are hashed
    #[arg(value_name = "DATA_DEVICE")]
    data_device: PathBuf,
    /// The file or device that the hash area is written to
    #[arg(value_name = "HASH_DEVICE")]
    hash_device: PathBuf,
    #[command(flatten)]
    tree: TreeArguments,
    #[command(flatten)]
    error_correction: FecArguments,
    /// Write the root hash to this file as well
    #[arg(long, value_name = "FILE")]
    root_hash_file: Option<PathBuf>,
}

#[derive(Serialize)]
struct FormatReport {
    #[serde(flatten)]
    header: Header,
}

impl Report for FormatReport {
    const SCHEMA: &'static str = "osguard.verity.format.v1";

    fn text(&self, out: &mut dyn Write) -> io::Result<()> {
        self.header.text(out)
    }
}

pub(super) fn run(arguments: &Arguments, output: &Output) -> Result<ExitStatus, Failure> {
    let written = [Some(&arguments.hash_device), arguments.error_correction.fec_device.as_ref()];
    let new: Vec<_> = written.into_iter().flatten().filter(|path| !path.exists()).collect();
    format(arguments, output).inspect_err(|_| {
        for path in new {
            // The first error is the one to report.
            let _ = std::fs::remove_file(path);
        }
    })
}

fn format(arguments: &Arguments, output: &Output) -> Result<ExitStatus, Failure> {
    let Arguments { data_device: data_path, hash_device: hash_path, tree: flags, .. } = arguments;
    let parameters = flags.parameters(random_salt()?)?;
    let data_device = device::open(data_path)?;
    let hash_device = device::open_for_writing(hash_path)?;
    let is_same = device::is_same(&data_device, &hash_device)
        .map_err(|error| device::wrong(hash_path, error))?;

    let block_bytes = u64::from(parameters.data_block_size.bytes());
    let whole_blocks = device::size_bytes(data_path, &data_device)? / block_bytes;
    let data_blocks = flags.data_blocks.unwrap_or(whole_blocks);
    if data_blocks > whole_blocks {
        let shorter = format!("it has {whole_blocks} blocks, fewer than --data-blocks says");
        return Err(Failure::new(WRONG_PARAMETERS, shorter)
            .context(format!("device {} cannot be used", data_path.display())));
    }
    let geometry = Geometry::new(&parameters, data_blocks).map_err(refused)?;
    if is_same && flags.hash_offset < geometry.data_bytes() {
        return Err(Failure::new(WRONG_PARAMETERS, "the data area overlaps with the hash area")
            .hint("--hash-offset must not lie before the end of the data."));
    }
    let header = if flags.no_superblock { LeadIn::None } else { LeadIn::Superblock };
    let area = HashArea::at(flags.hash_offset, &geometry, header).map_err(refused)?;
    let fec_flags = &arguments.error_correction;
    let fec_device = match &fec_flags.fec_device {
        None => None,
        Some(path) => Some((path, device::open_for_writing(path)?)),
    };
    let parity = match &fec_device {
        None => None,
        Some((path, file)) => {
            let fec_device = Opened { path, file };
            let hash_device = Opened { path: hash_path, file: &hash_device };
            fec_flags.check_data(fec_device, &data_device, &geometry)?;
            let layout =
                fec_flags.layout(fec_device, hash_device, &parameters, &geometry, &area)?;
            Some((fec_device, layout))
        }
    };

    let on_progress = shown(output.progress().counting("Hashing", geometry.data_bytes()));
    let tree =
        HashTree::of(&data_device, data_blocks, &parameters, on_progress).map_err(|error| {
            match error {
                DataError::Read { source, .. } => device::wrong(data_path, source),
                other => refused(other),
            }
        })?;

    let uuid = flags.uuid.unwrap_or_else(Uuid::new_v4);
    write(&hash_device, flags.hash_offset, |out| area.write_to(&tree, uuid, out))
        .map_err(|error| device::wrong(hash_path, error))?;
    if let Some((fec_device, layout)) = &parity {
        let covered = Covered {
            data: &data_device,
            hash_device: &hash_device,
            tree_offset_bytes: area.tree_offset_bytes(),
        };
        encode(*fec_device, fec_flags.fec_offset, layout, &covered, output)?;
    }
    if let Some(path) = &arguments.root_hash_file {
        std::fs::write(path, tree.root_hash().signed_text())
            .map_err(|error| device::wrong(path, error))?;
    }
    let shared_end_bytes = match &parity {
        Some((fec_device, layout)) if is_same_device(*fec_device, &hash_device)? => {
            fec_flags.fec_offset + layout.parity_bytes()
        }
        _ => 0,
    };
    let header = Header::new(
        hash_path.display().to_string(),
        (!flags.no_superblock).then_some(uuid),
        &parameters,
        data_blocks,
        Some(tree.root_hash().clone()),
        (flags.hash_offset == 0).then_some(area.end_bytes().max(shared_end_bytes)),
    )
    .map_err(refused)?;
    let header = match &parity {
        None => header,
        Some((_, layout)) => header.with(ErrorCorrection::new(layout, fec_flags.fec_offset == 0)),
    };
    output.report(&FormatReport { header })?;
    Ok(ExitStatus::Done)
}

fn is_same_device(fec_device: Opened<'_>, other: &File) -> Result<bool, Failure> {
    device::is_same(fec_device.file, other).map_err(|error| device::wrong(fec_device.path, error))
}

/// Writes the parity of what is written already.
fn encode(
    fec_device: Opened<'_>,
    offset_bytes: u64,
    layout: &FecLayout,
    covered: &Covered<'_, File, File>,
    output: &Output,
) -> Result<(), Failure> {
    let covered_bytes = layout.blocks() * u64::from(layout.block_size().bytes());
    let on_progress = shown(output.progress().counting("Encoding", covered_bytes));
    let mut encoded = Ok(());
    write(fec_device.file, offset_bytes, |out| {
        encoded = fec::encode(layout, covered, out, on_progress);
        Ok(())
    })
    .map_err(|error| device::wrong(fec_device.path, error))?;
    encoded.map_err(|error| match error {
        FecError::Write { source } => device::wrong(fec_device.path, source),
        other => refused(other),
    })
}

fn write(
    mut device: &File,
    offset_bytes: u64,
    content: impl FnOnce(&mut BufWriter<&File>) -> io::Result<()>,
) -> io::Result<()> {
    device.seek(SeekFrom::Start(offset_bytes))?;
    let mut out = BufWriter::with_capacity(BUFFER_BYTES, device);
    content(&mut out)?;
    out.flush()?;
    device.sync_data()
}

fn random_salt() -> Result<Salt, Failure> {
    let mut bytes = [0; DEFAULT_SALT_BYTES];
    SystemRandom::new()
        .fill(&mut bytes)
        .map_err(|_| Failure::new(WRONG_PARAMETERS, "the system gives no random numbers"))?;
    Salt::try_from(bytes.as_slice()).map_err(refused)
}

/// Large enough that the disk is kept busy.
const BUFFER_BYTES: usize = 1024 * 1024;

/// What veritysetup takes.
const DEFAULT_SALT_BYTES: usize = 32;
