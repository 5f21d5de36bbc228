//! The superblock in front of a hash tree.

use std::fs::File;
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::path::Path;

use libverity::verity::Superblock;

use super::{WRONG_PARAMETERS, device, refused};
use crate::failure::Failure;

/// Reads the superblock that lies `hash_offset_bytes` after the start of a hash device.
pub(super) fn read(
    path: &Path,
    mut hash_device: &File,
    hash_offset_bytes: u64,
) -> Result<Superblock, Failure> {
    let mut bytes = [0; Superblock::BYTES];
    let read = hash_device
        .seek(SeekFrom::Start(hash_offset_bytes))
        .and_then(|_| hash_device.read_exact(&mut bytes));
    let superblock = match read {
        Ok(()) => Superblock::parse(&bytes).map_err(refused),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Err(Failure::new(
            WRONG_PARAMETERS,
            format!("it ends before a superblock at byte {hash_offset_bytes} would"),
        )),
        Err(error) => return Err(device::wrong(path, error)),
    };
    superblock.map_err(|failure| {
        failure.context(format!("device {} is not a valid VERITY device", path.display())).hint(
            "--hash-offset says where the hash area starts if data precede it, --no-superblock \
             that it has no superblock.",
        )
    })
}
