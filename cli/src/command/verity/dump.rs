//! `osguard verity dump`.

use std::io::{self, Write};
use std::path::PathBuf;

use libverity::verity::{Geometry, HashArea, Header as LeadIn, Superblock};
use serde::Serialize;

use super::header::Header;
use super::{device, refused, superblock};
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
    let hash_device = device::open(path)?;
    let Superblock { uuid, parameters, data_blocks } =
        superblock::read(path, &hash_device, arguments.hash_offset)?;
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
