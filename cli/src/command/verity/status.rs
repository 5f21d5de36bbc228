//! `osguard verity status`.

use std::io::{self, Write};
use std::path::PathBuf;

use osguard_node::device_number::DeviceNumber;
use osguard_node::verity_device::node_path;
use osguard_node::verity_status::{RunningTable, VerityStatus, described};
use serde::Serialize;

use super::WRONG_DEVICE;
use super::running::{mapper, of_status};
use crate::exit_status::ExitStatus;
use crate::failure::Failure;
use crate::output::{Output, Report};

/// Show what a device that `open` made runs, and whether it has met a corrupt block
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// What the device is called
    #[arg(value_name = "NAME")]
    name: String,
}

#[derive(Serialize)]
struct StatusReport {
    device: PathBuf,
    #[serde(flatten)]
    active: Option<Active>,
}

#[derive(Serialize)]
struct Active {
    in_use: bool,
    corrupted: bool,
    signed: bool,
    hash_type: u32,
    data_block_size_bytes: u64,
    hash_block_size_bytes: u64,
    hash_algorithm: String,
    salt: String,
    data_device: Place,
    size_sectors: u64,
    hash_device: Place,
    #[serde(skip_serializing_if = "Option::is_none")]
    error_correction: Option<Parity>,
    root_hash: String,
    flags: Vec<String>,
}

#[derive(Serialize)]
struct Place {
    path: PathBuf,
    #[serde(skip_serializing_if = "Option::is_none")]
    file: Option<PathBuf>,
    offset_sectors: u64,
}

#[derive(Serialize)]
struct Parity {
    device: Place,
    roots: u64,
}

impl Report for StatusReport {
    const SCHEMA: &'static str = "osguard.verity.status.v1";

    /// Writes the lines that `veritysetup status` prints, which scripts cut apart.
    fn text(&self, out: &mut dyn Write) -> io::Result<()> {
        let device = self.device.display();
        let Some(active) = &self.active else { return writeln!(out, "{device} is inactive.") };
        let in_use = if active.in_use { " and is in use" } else { "" };
        let status = if active.corrupted { "corrupted" } else { "verified" };
        let signed = if active.signed { " (with signature)" } else { "" };
        writeln!(out, "{device} is active{in_use}.")?;
        writeln!(out, "  type:        VERITY")?;
        writeln!(out, "  status:      {status}{signed}")?;
        writeln!(out, "  hash type:   {}", active.hash_type)?;
        writeln!(out, "  data block:  {}", active.data_block_size_bytes)?;
        writeln!(out, "  hash block:  {}", active.hash_block_size_bytes)?;
        writeln!(out, "  hash name:   {}", active.hash_algorithm)?;
        writeln!(out, "  salt:        {}", active.salt)?;
        active.data_device.write("data", out)?;
        active.data_device.write_file("data", out)?;
        writeln!(out, "  size:        {} sectors", active.size_sectors)?;
        writeln!(out, "  mode:        readonly")?;
        active.hash_device.write("hash", out)?;
        active.hash_device.write_file("hash", out)?;
        writeln!(out, "  hash offset: {} sectors", active.hash_device.offset_sectors)?;
        if let Some(Parity { device, roots }) = &active.error_correction {
            // veritysetup does not tell the file of this one.
            device.write("FEC", out)?;
            writeln!(out, "  FEC offset:  {} sectors", device.offset_sectors)?;
            writeln!(out, "  FEC roots:   {roots}")?;
        }
        writeln!(out, "  root hash:   {}", active.root_hash)?;
        if !active.flags.is_empty() {
            writeln!(out, "  flags:       {} ", active.flags.join(" "))?;
        }
        Ok(())
    }
}

impl Place {
    fn new(device: DeviceNumber, offset_sectors: u64) -> Self {
        let (path, file) = described(device);
        Self { path, file, offset_sectors }
    }

    fn write(&self, kind: &str, out: &mut dyn Write) -> io::Result<()> {
        writeln!(out, "  {:<12} {}", format!("{kind} device:"), self.path.display())
    }

    fn write_file(&self, kind: &str, out: &mut dyn Write) -> io::Result<()> {
        match &self.file {
            Some(file) => writeln!(out, "  {:<12} {}", format!("{kind} loop:"), file.display()),
            None => Ok(()),
        }
    }
}

pub(super) fn run(arguments: &Arguments, output: &Output) -> Result<ExitStatus, Failure> {
    let name = arguments.name.strip_prefix("/dev/mapper/").unwrap_or(&arguments.name);
    let status = VerityStatus::read(&mapper()?, name).map_err(of_status)?;
    let is_active = status.is_some();
    output.report(&StatusReport { device: node_path(name), active: status.map(active) })?;
    Ok(if is_active { ExitStatus::Done } else { WRONG_DEVICE })
}

fn active(status: VerityStatus) -> Active {
    let RunningTable { data_block_bytes, hash_block_bytes, .. } = status.table;
    let sectors = |blocks: u64, block_bytes: u64| blocks.saturating_mul(block_bytes / 512);
    let hash_start = sectors(status.table.hash_start_block, hash_block_bytes);
    Active {
        in_use: status.is_in_use,
        corrupted: status.is_corrupted,
        signed: status.table.is_signed,
        hash_type: status.table.hash_type,
        data_block_size_bytes: data_block_bytes,
        hash_block_size_bytes: hash_block_bytes,
        hash_algorithm: status.table.algorithm,
        salt: status.table.salt,
        data_device: Place::new(status.table.data_device, 0),
        size_sectors: status.size_sectors,
        hash_device: Place::new(status.table.hash_device, hash_start),
        error_correction: status.table.parity.map(|parity| Parity {
            device: Place::new(parity.device, sectors(parity.start_block, data_block_bytes)),
            roots: parity.roots,
        }),
        root_hash: status.table.root_hash,
        flags: status.table.flags,
    }
}
