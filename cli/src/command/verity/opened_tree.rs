//! A hash tree and its data, found by flags or superblock.

use std::fs::File;
use std::io::{BufReader, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};

use libverity::digest::RootHash;
use libverity::verity::{Geometry, HashArea, Header as LeadIn, Parameters, Salt, Superblock};
use uuid::Uuid;

use super::error_correction::{FecArguments, Opened};
use super::parameters::TreeArguments;
use super::root_hash::RootHashArguments;
use super::{device, refused, superblock};
use crate::failure::Failure;

/// Names a tree, its data, its parity and its root hash.
#[derive(Debug, clap::Args)]
pub(super) struct VerifiedTreeArguments {
    /// The file or device whose blocks are verified
    #[arg(value_name = "DATA_DEVICE")]
    data_device: PathBuf,
    /// The file or device with the hash area
    #[arg(value_name = "HASH_DEVICE")]
    hash_device: PathBuf,
    #[command(flatten)]
    root_hash: RootHashArguments,
    #[command(flatten)]
    tree: TreeArguments,
    #[command(flatten)]
    pub(super) error_correction: FecArguments,
}

impl VerifiedTreeArguments {
    /// Opens the devices, and returns the root hash that the tree should have.
    pub(super) fn open(&self, access: Access) -> Result<(OpenedTree<'_>, RootHash), Failure> {
        let root_hash = self.root_hash.read()?;
        let tree = OpenedTree::open(&self.data_device, &self.hash_device, &self.tree, access)?;
        Ok((tree, root_hash))
    }
}

/// Is a pair of data and hash device with what is known about the tree.
pub(super) struct OpenedTree<'a> {
    pub(super) data_path: &'a Path,
    pub(super) data_device: File,
    pub(super) hash_path: &'a Path,
    pub(super) hash_device: File,
    pub(super) parameters: Parameters,
    /// The UUID of the superblock, if there is one.
    pub(super) uuid: Option<Uuid>,
    pub(super) geometry: Geometry,
    pub(super) area: HashArea,
}

/// Tells what is to be done with the devices.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Access {
    Read,
    ReadAndWrite,
}

impl<'a> OpenedTree<'a> {
    pub(super) fn open(
        data_path: &'a Path,
        hash_path: &'a Path,
        flags: &TreeArguments,
        access: Access,
    ) -> Result<Self, Failure> {
        let open = |path| {
            File::options()
                .read(true)
                .write(access == Access::ReadAndWrite)
                .open(path)
                .map_err(|error| device::wrong(path, error))
        };
        let data_device = open(data_path)?;
        let hash_device = open(hash_path)?;
        let (parameters, data_blocks, uuid) = if flags.no_superblock {
            let parameters = flags.parameters(Salt::EMPTY)?;
            let size_bytes = device::size_bytes(data_path, &data_device)?;
            let whole_blocks = size_bytes / u64::from(parameters.data_block_size.bytes());
            (parameters, flags.data_blocks.unwrap_or(whole_blocks), None)
        } else {
            let Superblock { parameters, data_blocks, uuid } =
                superblock::read(hash_path, &hash_device, flags.hash_offset)?;
            (parameters, data_blocks, Some(uuid))
        };
        let geometry = Geometry::new(&parameters, data_blocks).map_err(refused)?;
        let header = if flags.no_superblock { LeadIn::None } else { LeadIn::Superblock };
        let area = HashArea::at(flags.hash_offset, &geometry, header).map_err(refused)?;
        Ok(Self {
            data_path,
            data_device,
            hash_path,
            hash_device,
            parameters,
            uuid,
            geometry,
            area,
        })
    }

    /// Returns a reader that stands at the first block of the tree.
    pub(super) fn tree(&self) -> Result<BufReader<&File>, Failure> {
        let mut tree = BufReader::new(&self.hash_device);
        tree.seek(SeekFrom::Start(self.area.tree_offset_bytes()))
            .map_err(|error| device::wrong(self.hash_path, error))?;
        Ok(tree)
    }

    pub(super) fn hash_device(&self) -> Opened<'_> {
        Opened { path: self.hash_path, file: &self.hash_device }
    }
}
