//! `osguard verity dump`.

use std::io::{self, Read as _, Seek as _, SeekFrom, Write};
use std::path::PathBuf;

use libverity::verity::{Geometry, HashArea, Header as LeadIn, Superblock};
use serde::Serialize;

use super::header::Header;
use super::{device, refused};
use crate::exit_status::ExitStatus;
use crate::failure::Failure;
use crate::output::{Output, Report};

/// Show what the superblock of a hash device says; nothing in it is verified
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// The file or device with the hash area
    #[arg(value_name = "HASH_DEVICE")]
    hash_device: PathBuf,
    /// Where the hash area starts on the hash device
    #[arg(long, value_name = "BYTES", default_value_t = 0)]
    hash_offset: u64,
}

#[derive(Serialize)]
struct DumpReport {
    #[serde(flatten)]
    header: Header,
}

impl Report for DumpReport {
    const SCHEMA: &'static str = "osguard.verity.dump.v1";

    fn text(&self, out: &mut dyn Write) -> io::Result<()> {
        self.header.text(out)
    }
}

pub(super) fn run(arguments: &Arguments, output: &Output) -> Result<ExitStatus, Failure> {
    let path = &arguments.hash_device;
    let mut hash_device = device::open(path)?;
    let mut bytes = [0; Superblock::BYTES];
    hash_device
        .seek(SeekFrom::Start(arguments.hash_offset))
        .and_then(|_| hash_device.read_exact(&mut bytes))
        .map_err(|error| Failure::from_error(super::WRONG_PARAMETERS, error))
        .map_err(|failure| {
            failure.context(format!("{} is too short for a superblock", path.display()))
        })?;
    let superblock = Superblock::parse(&bytes).map_err(refused).map_err(|failure| {
        failure
            .context(format!("device {} is not a valid VERITY device", path.display()))
            .hint("--hash-offset says where the hash area starts if data precede it.")
    })?;
    let Superblock { uuid, parameters, data_blocks } = superblock;
    let geometry = Geometry::new(&parameters, data_blocks).map_err(refused)?;
    let area =
        HashArea::at(arguments.hash_offset, &geometry, LeadIn::Superblock).map_err(refused)?;
    let header = Header::new(
        path.display().to_string(),
        Some(uuid),
        &parameters,
        data_blocks,
        None,
        (arguments.hash_offset == 0).then_some(area.end_bytes()),
    )
    .map_err(refused)?;
    output.report(&DumpReport { header })?;
    Ok(ExitStatus::Done)
}
