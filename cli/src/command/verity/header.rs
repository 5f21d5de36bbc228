//! What veritysetup prints of a hash area.

use std::io::{self, Write};

use libverity::digest::RootHash;
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
    salt: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    root_hash: Option<RootHash>,
    #[serde(skip_serializing_if = "Option::is_none")]
    hash_device_size_bytes: Option<u64>,
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
            salt: parameters.salt.to_string(),
            root_hash,
            hash_device_size_bytes,
        })
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
        writeln!(out, "Salt:            \t{}", self.salt)?;
        if let Some(root_hash) = &self.root_hash {
            writeln!(out, "Root hash:      \t{root_hash}")?;
        }
        if let Some(bytes) = self.hash_device_size_bytes {
            writeln!(out, "Hash device size: \t{bytes} [bytes]")?;
        }
        Ok(())
    }
}
