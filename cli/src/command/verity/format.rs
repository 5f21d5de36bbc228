//! `osguard verity format`.

use std::fs::File;
use std::io::{self, BufWriter, Seek as _, SeekFrom, Write};
use std::path::PathBuf;

use libverity::verity::{DataError, Geometry, HashArea, HashTree, Header as LeadIn, Salt};
use ring::rand::{SecureRandom as _, SystemRandom};
use serde::Serialize;
use uuid::Uuid;

use super::header::Header;
use super::parameters::TreeArguments;
use super::{WRONG_PARAMETERS, device, refused};
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
    let hash_path = &arguments.hash_device;
    let is_new = !hash_path.exists();
    format(arguments, output).inspect_err(|_| {
        if is_new {
            // The first error is the one to report.
            let _ = std::fs::remove_file(hash_path);
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
        return Err(device::wrong(data_path, io::Error::other(shorter)));
    }
    let geometry = Geometry::new(&parameters, data_blocks).map_err(refused)?;
    if is_same && flags.hash_offset < geometry.data_bytes() {
        return Err(Failure::new(WRONG_PARAMETERS, "the data area overlaps with the hash area")
            .hint("--hash-offset must not lie before the end of the data."));
    }
    let header = if flags.no_superblock { LeadIn::None } else { LeadIn::Superblock };
    let area = HashArea::at(flags.hash_offset, &geometry, header).map_err(refused)?;

    let on_progress = output.progress().counting("Hashing", geometry.data_bytes());
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
    if let Some(path) = &arguments.root_hash_file {
        std::fs::write(path, tree.root_hash().signed_text())
            .map_err(|error| device::wrong(path, error))?;
    }
    let header = Header::new(
        hash_path.display().to_string(),
        (!flags.no_superblock).then_some(uuid),
        &parameters,
        data_blocks,
        Some(tree.root_hash().clone()),
        (flags.hash_offset == 0).then_some(area.end_bytes()),
    )
    .map_err(refused)?;
    output.report(&FormatReport { header })?;
    Ok(ExitStatus::Done)
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
