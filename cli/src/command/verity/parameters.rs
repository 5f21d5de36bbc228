//! The flags that `format` and `verify` share, by veritysetup's names.

use clap::ArgAction;
use libverity::verity::{Algorithm, BlockSize, HashType, Parameters, Salt};
use uuid::Uuid;

use super::refused;
use crate::failure::Failure;

/// The shape of a hash tree and the place where it lies.
#[derive(Debug, clap::Args)]
#[command(disable_help_flag = true)]
pub(super) struct TreeArguments {
    /// The hash algorithm [default: sha256]
    #[arg(long, short = 'h', value_name = "NAME")]
    pub(super) hash: Option<Algorithm>,
    /// The hash type: 1 is the normal one, 0 the original one of Chrome OS [default: 1]
    #[arg(long, value_name = "NUMBER")]
    pub(super) format: Option<u32>,
    /// The size of a data block [default: 4096]
    #[arg(long, value_name = "BYTES")]
    pub(super) data_block_size: Option<u32>,
    /// The size of a hash block [default: 4096]
    #[arg(long, value_name = "BYTES")]
    pub(super) hash_block_size: Option<u32>,
    /// The number of data blocks [default: as many as the data device has]
    #[arg(long, value_name = "BLOCKS")]
    pub(super) data_blocks: Option<u64>,
    /// Where the hash area starts on the hash device
    #[arg(long, value_name = "BYTES", default_value_t = 0)]
    pub(super) hash_offset: u64,
    /// Do without the superblock
    #[arg(long)]
    pub(super) no_superblock: bool,
    /// The salt in hexadecimal, or - for none
    #[arg(long, short, value_name = "HEX")]
    pub(super) salt: Option<String>,
    /// The UUID for the superblock [default: a random one]
    #[arg(long)]
    pub(super) uuid: Option<Uuid>,
    /// Print help
    #[arg(long, short = '?', action = ArgAction::Help)]
    help: Option<bool>,
}

impl TreeArguments {
    /// Builds the parameters; `default_salt` stands in where none is given.
    pub(super) fn parameters(&self, default_salt: Salt) -> Result<Parameters, Failure> {
        let mut parameters = Parameters::with_salt(match &self.salt {
            None => default_salt,
            Some(text) => text.parse().map_err(refused)?,
        });
        if let Some(algorithm) = self.hash {
            parameters.algorithm = algorithm;
        }
        if let Some(number) = self.format {
            parameters.hash_type = HashType::try_from(number).map_err(refused)?;
        }
        if let Some(bytes) = self.data_block_size {
            parameters.data_block_size = BlockSize::try_from(bytes).map_err(refused)?;
        }
        if let Some(bytes) = self.hash_block_size {
            parameters.hash_block_size = BlockSize::try_from(bytes).map_err(refused)?;
        }
        Ok(parameters)
    }
}
