//! The flags of forward error correction, by veritysetup's names.

use std::fs::File;
use std::path::{Path, PathBuf};

use libverity::verity::fec::{FecLayout, Roots};
use libverity::verity::{Geometry, HashArea, Parameters};

use super::{WRONG_PARAMETERS, device, refused};
use crate::failure::Failure;

/// Where parity lies, and how much of it there is.
#[derive(Debug, clap::Args)]
pub(super) struct FecArguments {
    /// The file or device with the parity that brings corrupt blocks back
    #[arg(long, value_name = "FEC_DEVICE")]
    pub(super) fec_device: Option<PathBuf>,
    /// Where the parity starts on that device
    #[arg(long, value_name = "BYTES", default_value_t = 0)]
    pub(super) fec_offset: u64,
    /// How many bytes of parity every 255 bytes have, 2 to 24
    #[arg(long, value_name = "NUMBER", default_value_t = 2)]
    pub(super) fec_roots: u32,
}

/// Is an opened file or device, by its path.
#[derive(Clone, Copy)]
pub(super) struct Opened<'a> {
    pub(super) path: &'a Path,
    pub(super) file: &'a File,
}

impl FecArguments {
    /// Works out what the parity covers: data, tree, and what whole blocks follow the tree on its
    /// device, up to the parity if that is there too. The hash area counts as if it were written.
    pub(super) fn layout(
        &self,
        fec_device: Opened<'_>,
        hash_device: Opened<'_>,
        parameters: &Parameters,
        geometry: &Geometry,
        area: &HashArea,
    ) -> Result<FecLayout, Failure> {
        let roots = Roots::try_from(self.fec_roots).map_err(refused)?;
        if !self.fec_offset.is_multiple_of(SECTOR_BYTES) {
            let message = format!("the FEC offset {} is no multiple of 512 bytes", self.fec_offset);
            return Err(Failure::new(WRONG_PARAMETERS, message));
        }
        let is_same = device::is_same(fec_device.file, hash_device.file)
            .map_err(|error| device::wrong(fec_device.path, error))?;
        let end_bytes = if is_same {
            if self.fec_offset < area.end_bytes() {
                return Err(overlap("hash", area.end_bytes()));
            }
            self.fec_offset
        } else {
            device::size_bytes(hash_device.path, hash_device.file)?.max(area.end_bytes())
        };
        let end_block = end_bytes / u64::from(parameters.hash_block_size.bytes());
        let hash_area_blocks = end_block.saturating_sub(area.hash_start_block());
        FecLayout::new(parameters, geometry, hash_area_blocks, roots).map_err(refused)
    }

    /// Refuses parity that would lie in the data.
    pub(super) fn check_data(
        &self,
        fec_device: Opened<'_>,
        data_device: &File,
        geometry: &Geometry,
    ) -> Result<(), Failure> {
        let is_same = device::is_same(fec_device.file, data_device)
            .map_err(|error| device::wrong(fec_device.path, error))?;
        if is_same && self.fec_offset < geometry.data_bytes() {
            return Err(overlap("data", geometry.data_bytes()));
        }
        Ok(())
    }
}

fn overlap(area: &str, end_bytes: u64) -> Failure {
    Failure::new(WRONG_PARAMETERS, format!("the {area} area overlaps with the FEC area"))
        .hint(format!("--fec-offset must be {end_bytes} or more."))
}

const SECTOR_BYTES: u64 = 512;
