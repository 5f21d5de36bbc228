//! What veritysetup prints of a hash area.

use std::io::{self, Write};

use libverity::digest::RootHash;
use libverity::verity::fec::FecLayout;
use libverity::verity::{Geometry, GeometryError, Parameters};
use serde::Serialize;
use uuid::Uuid;

/// Describes a hash area in veritysetup's words and order.
#[derive(Serialize)]
pub(super) struct Header {
    device: String,
    uuid: Option<Uuid>,
    hash_type: u32,
    data_blocks: u64,
    data_block_size_bytes: u32,
    hash_blocks: u64,
    hash_block_size_bytes: u32,
    hash_algorithm: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    error_correction: Option<ErrorCorrection>,
    salt: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    root_hash: Option<RootHash>,
    #[serde(skip_serializing_if = "Option::is_none")]
    hash_device_size_bytes: Option<u64>,
}

/// Describes the parity.
#[derive(Serialize)]
pub(super) struct ErrorCorrection {
    roots: usize,
    parity_blocks: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    device_size_bytes: Option<u64>,
}

impl ErrorCorrection {
    /// Describes parity of this layout, which `is_alone` on its device or lies behind something.
    pub(super) fn new(layout: &FecLayout, is_alone: bool) -> Self {
        Self {
            roots: layout.roots().count(),
            parity_blocks: layout.parity_blocks(),
            device_size_bytes: is_alone.then(|| layout.parity_bytes()),
        }
    }
}

impl Header {
    /// Describes the tree over `data_blocks` blocks that lies on `device`, whose
    /// hash area ends at `hash_device_size_bytes` if nothing precedes it.
    pub(super) fn new(
        device: String,
        uuid: Option<Uuid>,
        parameters: &Parameters,
        data_blocks: u64,
        root_hash: Option<RootHash>,
        hash_device_size_bytes: Option<u64>,
    ) -> Result<Self, GeometryError> {
        let geometry = Geometry::new(parameters, data_blocks)?;
        let hash_block_bytes = parameters.hash_block_size.bytes();
        Ok(Self {
            device,
            uuid,
            hash_type: parameters.hash_type.number(),
            data_blocks,
            data_block_size_bytes: parameters.data_block_size.bytes(),
            hash_blocks: geometry.tree_bytes() / u64::from(hash_block_bytes),
            hash_block_size_bytes: hash_block_bytes,
            hash_algorithm: parameters.algorithm.name(),
            error_correction: None,
            salt: parameters.salt.to_string(),
            root_hash,
            hash_device_size_bytes,
        })
    }

    /// Adds the parity to what is described.
    pub(super) fn with(self, error_correction: ErrorCorrection) -> Self {
        Self { error_correction: Some(error_correction), ..self }
    }

    /// Writes the lines that `veritysetup format` and `veritysetup dump` print, tabs and spaces
    /// included, because scripts cut them apart.
    pub(super) fn text(&self, out: &mut dyn Write) -> io::Result<()> {
        let uuid = self.uuid.map(|uuid| uuid.to_string()).unwrap_or_default();
        writeln!(out, "VERITY header information for {}", self.device)?;
        writeln!(out, "UUID:            \t{uuid}")?;
        writeln!(out, "Hash type:       \t{}", self.hash_type)?;
        writeln!(out, "Data blocks:     \t{}", self.data_blocks)?;
        writeln!(out, "Data block size: \t{}", self.data_block_size_bytes)?;
        writeln!(out, "Hash blocks:     \t{}", self.hash_blocks)?;
        writeln!(out, "Hash block size: \t{}", self.hash_block_size_bytes)?;
        writeln!(out, "Hash algorithm:  \t{}", self.hash_algorithm)?;
        if let Some(ErrorCorrection { roots, parity_blocks, .. }) = &self.error_correction {
            writeln!(out, "FEC RS roots:   \t{roots}")?;
            writeln!(out, "FEC blocks:     \t{parity_blocks}")?;
        }
        writeln!(out, "Salt:            \t{}", self.salt)?;
        if let Some(root_hash) = &self.root_hash {
            writeln!(out, "Root hash:      \t{root_hash}")?;
        }
        if let Some(bytes) = self.hash_device_size_bytes {
            writeln!(out, "Hash device size: \t{bytes} [bytes]")?;
        }
        if let Some(ErrorCorrection { device_size_bytes: Some(bytes), .. }) = &self.error_correction
        {
            writeln!(out, "FEC device size: \t{bytes} [bytes]")?;
        }
        Ok(())
    }
}
