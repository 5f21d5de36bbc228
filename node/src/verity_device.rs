//! Verity devices by name, as `veritysetup open` and `close` make and remove them.

use std::fs;
use std::io;
use std::os::unix::fs::{FileTypeExt as _, symlink};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use libverity::verity::{
    Device, ErrorCorrection, KeyDescription, KeyDescriptionError, WeakenedTable,
};
use uuid::Uuid;

use crate::device_number::DeviceNumber;
use crate::dm::{DeviceMapper, DmError};
use crate::keyring::{KeyringError, ThreadKey};
use crate::loop_device::{LoopDevice, LoopError};

/// Describes a device that is to be opened.
#[derive(Clone, Debug)]
pub struct VerityOpening {
    /// The name in the device mapper: `/dev/mapper/NAME`.
    pub name: String,
    /// The UUID of the superblock, if there is one; it becomes a part of the device's own.
    pub uuid: Option<Uuid>,
    /// The block device or file with the data.
    pub data: PathBuf,
    /// The block device or file with the tree, which may be the same.
    pub hash: PathBuf,
    /// The block device or file with the parity, and where it is there.
    pub parity: Option<ParityOpening>,
    /// Everything else. The devices in it are replaced by those of the paths, as is the parity's.
    pub table: WeakenedTable,
    /// The detached PKCS#7 signature of the root hash, in DER, which the kernel has to accept.
    pub signature: Option<Vec<u8>>,
}

/// Says where parity is and what it covers.
#[derive(Clone, Debug)]
pub struct ParityOpening {
    /// The block device or file with the parity.
    pub path: PathBuf,
    /// What the kernel is told of it; the device is replaced.
    pub error_correction: ErrorCorrection,
}

impl VerityOpening {
    /// Opens the device; files get loop devices, which go away with it.
    ///
    /// A signature goes to the kernel through the keyring of this thread, and is forgotten there as soon as the table is
    /// loaded. Returns the number of the device.
    ///
    /// # Errors
    ///
    /// Fails when the name is taken, a path is no block device and no file, or the kernel refuses the table or the
    /// signature; no device is left in any case.
    pub fn open(&self, mapper: &DeviceMapper) -> Result<DeviceNumber, VerityDeviceError> {
        check_name(&self.name)?;
        let mut table = self.table.clone();
        let parameters = &table.table.parameters;
        let block_bytes = parameters.data_block_size.min(parameters.hash_block_size).bytes();
        // What a loop device can have as its logical block on every machine.
        let block_bytes = block_bytes.min(LOOP_BLOCK_LIMIT_BYTES);
        let mut attached = Attached { loops: Vec::new(), block_bytes };
        table.table.data_device = attached.device(&self.data)?;
        table.table.hash_device = attached.device(&self.hash)?;
        if let Some(parity) = &self.parity {
            let device = attached.device(&parity.path)?;
            let error_correction = ErrorCorrection { device, ..parity.error_correction.clone() };
            table.table.options.error_correction = Some(error_correction);
        }
        let key = match &self.signature {
            None => None,
            Some(signature) => {
                let description = self.key_description();
                let parsed: KeyDescription = description.parse()?;
                table.table.options.signature_key = Some(parsed);
                Some(ThreadKey::add(&description, signature)?)
            }
        };
        let created = mapper.create_lasting_verity(&self.name, &self.device_uuid(), &table);
        drop(key);
        let number = created?;
        if let Err(error) = make_node(&self.name, number) {
            // The first error is the one to report.
            let _ = mapper.remove(&self.name);
            return Err(error);
        }
        Ok(number)
    }

    /// Returns the UUID by which cryptsetup knows its devices (`dm_prepare_uuid` in `lib/libdevmapper.c`).
    fn device_uuid(&self) -> String {
        match self.uuid {
            Some(uuid) => format!("CRYPT-VERITY-{}-{}", uuid.simple(), self.name),
            None => format!("CRYPT-VERITY-{}", self.name),
        }
    }

    fn key_description(&self) -> String {
        match self.uuid {
            Some(uuid) => format!("cryptsetup:{uuid}-{}", self.name),
            None => format!("cryptsetup:{}", self.name),
        }
    }
}

/// Tells when a device is to be removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Closing {
    /// At once, and not at all while it is used.
    Now,
    /// With its last user.
    Deferred,
    /// Not any more, after it was to be removed with its last user.
    CancelDeferred,
}

/// Closes the verity device `name`.
///
/// # Errors
///
/// Fails with [`VerityDeviceError::Inactive`] where there is no such device, with [`DmError::Busy`] while it is used, and
/// where the device is of another kind.
pub fn close(mapper: &DeviceMapper, name: &str, closing: Closing) -> Result<(), VerityDeviceError> {
    check_name(name)?;
    let inactive = || VerityDeviceError::Inactive { name: name.to_owned() };
    let live = mapper.live_table(name)?.ok_or_else(inactive)?;
    if let Some(target) = live.targets.iter().find(|target| target.kind != "verity") {
        return Err(VerityDeviceError::NotVerity {
            name: name.to_owned(),
            found: target.kind.clone(),
        });
    }
    match closing {
        Closing::CancelDeferred => mapper.keep(name)?,
        Closing::Deferred => {
            mapper.remove(name)?;
        }
        Closing::Now => remove_with_patience(mapper, name)?,
    }
    if mapper.live_table(name)?.is_none() {
        remove_node(name);
        mapper.wait_until_gone(name, PATIENCE)?;
    }
    Ok(())
}

/// Returns the path of the device `name`.
pub fn node_path(name: &str) -> PathBuf {
    Path::new(DIRECTORY).join(name)
}

/// Says why a device was not opened or closed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum VerityDeviceError {
    /// A path is neither a block device nor a file, or cannot be looked at.
    #[error("device {path} cannot be used", path = path.display())]
    Device {
        /// The path.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// There is no such device.
    #[error("device {name} is not active")]
    Inactive {
        /// The name.
        name: String,
    },
    /// The signature did not reach the kernel.
    #[error(transparent)]
    Key(#[from] KeyringError),
    /// The name does not make a description of a key.
    #[error(transparent)]
    KeyDescription(#[from] KeyDescriptionError),
    /// There is no loop device for a file.
    #[error(transparent)]
    Loop(#[from] LoopError),
    /// The device mapper refused.
    #[error(transparent)]
    Mapper(#[from] DmError),
    /// No file can be called like the device.
    #[error("{name:?} cannot be the name of a device")]
    Name {
        /// The name.
        name: String,
    },
    /// The path of the device cannot be made.
    #[error("cannot make {node}", node = node.display())]
    Node {
        /// The path.
        node: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The device is something else.
    #[error("{name} is no verity device: its target is {found}")]
    NotVerity {
        /// The name.
        name: String,
        /// The target type.
        found: String,
    },
}

/// Holds the loop devices of files until a table holds them.
struct Attached {
    loops: Vec<(PathBuf, LoopDevice)>,
    block_bytes: u32,
}

impl Attached {
    /// Returns the device of a path: itself, or a loop device, one for each file.
    fn device(&mut self, path: &Path) -> Result<Device, VerityDeviceError> {
        let error = |source| VerityDeviceError::Device { path: path.to_owned(), source };
        let path = fs::canonicalize(path).map_err(error)?;
        let metadata = fs::metadata(&path).map_err(error)?;
        if metadata.file_type().is_block_device() {
            return Ok(DeviceNumber::of_node(&metadata).into());
        }
        if !metadata.is_file() {
            return Err(error(io::ErrorKind::InvalidInput.into()));
        }
        if let Some((_, attached)) = self.loops.iter().find(|(attached, _)| *attached == path) {
            return Ok(attached.number().into());
        }
        let attached = LoopDevice::attach(&path, self.block_bytes)?;
        let number = attached.number();
        self.loops.push((path, attached));
        Ok(number.into())
    }
}

/// Refuses a name that the kernel would take and that names no file in `/dev/mapper`.
fn check_name(name: &str) -> Result<(), VerityDeviceError> {
    let is_file_name =
        !name.is_empty() && !name.contains('/') && !matches!(name, "." | ".." | "control");
    if is_file_name && name.len() <= NAME_LIMIT_BYTES {
        return Ok(());
    }
    Err(VerityDeviceError::Name { name: name.to_owned() })
}

/// Waits for udev's link to the device, and makes it where there is no udev.
fn make_node(name: &str, number: DeviceNumber) -> Result<(), VerityDeviceError> {
    let node = node_path(name);
    let deadline = Instant::now() + PATIENCE;
    while Path::new(UDEV_CONTROL).exists() && Instant::now() < deadline {
        if node.exists() {
            return Ok(());
        }
        std::thread::sleep(STEP);
    }
    match symlink(format!("../dm-{}", number.minor), &node) {
        Err(source) if source.kind() != io::ErrorKind::AlreadyExists => {
            Err(VerityDeviceError::Node { node, source })
        }
        _ => Ok(()),
    }
}

/// Removes the link that udev, or we, made; what cannot be removed leads nowhere.
fn remove_node(name: &str) {
    let node = node_path(name);
    let is_left = fs::symlink_metadata(&node)
        .is_ok_and(|metadata| metadata.is_symlink() || metadata.file_type().is_block_device());
    if is_left {
        let _ = fs::remove_file(node);
    }
}

/// Removes the device, and tries again while somebody looks into it, as udev does with every new one.
fn remove_with_patience(mapper: &DeviceMapper, name: &str) -> Result<(), VerityDeviceError> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match mapper.remove_now(name) {
            Err(DmError::Busy { .. }) if Instant::now() < deadline => std::thread::sleep(STEP),
            Err(error) => return Err(error.into()),
            Ok(_) => return Ok(()),
        }
    }
}

const DIRECTORY: &str = "/dev/mapper";
const UDEV_CONTROL: &str = "/run/udev/control";
/// `DM_NAME_LEN` in `include/uapi/linux/dm-ioctl.h`, less the NUL at the end.
const NAME_LIMIT_BYTES: usize = 127;
const LOOP_BLOCK_LIMIT_BYTES: u32 = 4096;
const PATIENCE: Duration = Duration::from_secs(2);
const STEP: Duration = Duration::from_millis(20);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_lead_to_files_of_one_directory() {
        for name in ["", ".", "..", "control", "a/b", &"n".repeat(128)] {
            assert!(matches!(check_name(name), Err(VerityDeviceError::Name { .. })), "{name}");
        }
        for name in ["root", "a b", &"n".repeat(127)] {
            assert!(check_name(name).is_ok(), "{name}");
        }
    }
}
