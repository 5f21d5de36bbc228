//! Data and hash devices: files or block devices.

use std::fs::File;
use std::io::{self, Seek as _, SeekFrom};
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::Path;

use super::WRONG_DEVICE;
use crate::failure::Failure;

/// Opens a device that is only read.
pub(super) fn open(path: &Path) -> Result<File, Failure> {
    File::open(path).map_err(|error| wrong(path, error))
}

/// Opens a device that the hash area or parity is written to; a file that only its owner may read
/// is made if there is none, as by veritysetup.
pub(super) fn open_for_writing(path: &Path) -> Result<File, Failure> {
    File::options()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(path)
        .map_err(|error| wrong(path, error))
}

/// Returns the size of a file or block device, in bytes.
pub(super) fn size_bytes(path: &Path, mut device: &File) -> Result<u64, Failure> {
    device
        .seek(SeekFrom::End(0))
        .and_then(|size_bytes| device.rewind().map(|()| size_bytes))
        .map_err(|error| wrong(path, error))
}

/// Fails because a device does not exist, may not be used or is no device.
pub(super) fn wrong(path: &Path, error: io::Error) -> Failure {
    Failure::from_error(WRONG_DEVICE, error)
        .context(format!("device {} cannot be used", path.display()))
}

/// Tells whether both are one file or one block device.
pub(super) fn is_same(one: &File, other: &File) -> io::Result<bool> {
    let (one, other) = (one.metadata()?, other.metadata()?);
    let is_same_file = (one.dev(), one.ino()) == (other.dev(), other.ino());
    let is_same_disk = one.file_type().is_block_device() && one.rdev() == other.rdev();
    Ok(is_same_file || is_same_disk && other.file_type().is_block_device())
}
