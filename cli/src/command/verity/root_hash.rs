//! The root hash that is trusted, by veritysetup's words.

use std::fs::File;
use std::io::Read as _;
use std::path::PathBuf;

use libverity::digest::RootHash;

use super::{device, refused};
use crate::failure::Failure;

/// The root hash, typed or in a file.
#[derive(Debug, clap::Args)]
pub(super) struct RootHashArguments {
    /// The root hash that is trusted
    #[arg(value_name = "ROOT_HASH", required_unless_present = "root_hash_file")]
    root_hash: Option<String>,
    /// Read the root hash from this file
    #[arg(long, value_name = "FILE", conflicts_with = "root_hash")]
    root_hash_file: Option<PathBuf>,
}

impl RootHashArguments {
    /// Returns the root hash.
    pub(super) fn read(&self) -> Result<RootHash, Failure> {
        let text = match (&self.root_hash, &self.root_hash_file) {
            (Some(text), _) => text.clone(),
            (None, Some(path)) => {
                let mut text = String::new();
                File::open(path)
                    .and_then(|file| file.take(MAX_ROOT_HASH_FILE_BYTES).read_to_string(&mut text))
                    .map_err(|error| device::wrong(path, error))?;
                text
            }
            (None, None) => String::new(),
        };
        text.trim_end().parse().map_err(refused)
    }
}

/// Longer than the longest root hash in hexadecimal digits.
const MAX_ROOT_HASH_FILE_BYTES: u64 = 4096;
