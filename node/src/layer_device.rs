//! From an image file and its root hash to a device whose every block the kernel verifies.

use std::fmt;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use libverity::digest::RootHash;
use libverity::layer::{Mode, Profile};
use libverity::verity::{
    Algorithm, Device, Geometry, GeometryError, HashArea, HashType, Header, KeyDescription,
    KeyDescriptionError, Parameters, TableOptions, VerityTable,
};

use crate::dm::{DeviceMapper, DmError, SignatureRefusal, VerityDevice};
use crate::kernel_log::KernelMessages;
use crate::keyring::{KeyringError, ThreadKey};
use crate::loop_device::{LoopDevice, LoopError};
use crate::mount::{MountError, mount_erofs, unmount};
use crate::mount_table::{MountTable, MountTableError};
use crate::record::{LayerName, LayerRecord};

/// Describes a layer that is to be mounted: an EROFS image with its hash tree, and what is known about it from elsewhere.
///
/// Nothing in the file is believed. The root hash comes from the signature or from a recomputation, the shape of the tree
/// from the profile; the superblock of dm-verity in the file is not read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LayerImage {
    /// The file.
    pub image: PathBuf,
    /// The root hash, 32 bytes of SHA-256.
    pub root_hash: RootHash,
    /// Detached PKCS#7 signatures of the root hash, in DER; the kernel has to accept one of them, if there are any.
    pub signatures: Vec<Vec<u8>>,
    /// How the image holds the content of files. In index mode the archive that it points into is a further device to
    /// EROFS, which lies on the same one behind the image, and so below the same root hash.
    pub mode: Mode,
    /// The pinned parameters of the tree: SHA-256, hash type 1, blocks of at most 4096 bytes.
    pub parameters: Parameters,
    /// The number of data blocks.
    pub data_blocks: u64,
    /// The first block of the tree, counted in hash blocks from the start of the file.
    pub hash_start_block: u64,
}

impl LayerImage {
    /// Describes the image at `image` that was made by `profile`, whose hash area starts `hash_offset_bytes` after its start.
    ///
    /// # Errors
    ///
    /// Fails where no image can be of this size.
    pub fn of_profile(
        image: PathBuf,
        profile: Profile,
        root_hash: RootHash,
        hash_offset_bytes: u64,
        signatures: Vec<Vec<u8>>,
    ) -> Result<Self, GeometryError> {
        let parameters = profile.verity_parameters();
        let block_bytes = u64::from(parameters.data_block_size.bytes());
        let data_blocks = hash_offset_bytes / block_bytes;
        let geometry = Geometry::new(&parameters, data_blocks)?;
        Ok(Self {
            image,
            root_hash,
            signatures,
            data_blocks,
            hash_start_block: HashArea::appended(&geometry, Header::Superblock).hash_start_block(),
            mode: profile.mode(),
            parameters,
        })
    }

    /// Returns the name of the device and of the mount of this layer.
    pub fn name(&self) -> LayerName {
        LayerName { root_hash: self.root_hash.clone(), signed: self.is_signed() }
    }

    /// Tells whether there are signatures.
    pub fn is_signed(&self) -> bool {
        !self.signatures.is_empty()
    }

    /// Returns what is written down about this layer.
    pub fn record(&self) -> LayerRecord {
        LayerRecord {
            root_hash: self.root_hash.clone(),
            signed: self.is_signed(),
            image: self.image.clone(),
        }
    }

    /// Makes the device of this layer, or opens it where the node has it already, and reads a block of it.
    ///
    /// A signature goes to the kernel through the keyring of this thread and is forgotten there as soon as the table is
    /// loaded. As long as the device is not mounted, it goes away with the returned value or with the process.
    ///
    /// # Errors
    ///
    /// Fails with [`LayerError::Signatures`] when the kernel refuses all signatures, with
    /// [`LayerError::Corrupt`] when the first block does not belong to the root hash, and with the other variants of
    /// [`LayerError`]; no device is left in any case.
    pub fn activate(&self, mapper: &DeviceMapper) -> Result<VerityDevice, LayerError> {
        let name = self.name();
        let mut table = self.table()?;
        if let Some(device) = mapper.open_verity(&name.device(), &table)? {
            return self.prove(device);
        }
        let block_size = self.parameters.data_block_size.min(self.parameters.hash_block_size);
        let attached = LoopDevice::attach(&self.image, block_size.bytes())?;
        table.data_device = attached.number().into();
        table.hash_device = attached.number().into();
        let Some(description) = &table.options.signature_key else {
            let device = mapper.create_verity(&name.device(), &name.device_uuid(), &table)?;
            return self.prove(device);
        };
        let mut refusals = Vec::new();
        for signature in &self.signatures {
            let key = match ThreadKey::add(description.as_str(), signature) {
                Ok(key) => key,
                // One that no key can hold must not stand in the way of the others.
                Err(KeyringError::Length { .. }) => {
                    refusals.push(DmError::Signature {
                        name: name.device(),
                        reason: SignatureRefusal::Length,
                        messages: KernelMessages::default(),
                        source: io::ErrorKind::InvalidInput.into(),
                    });
                    continue;
                }
                Err(error) => return Err(error.into()),
            };
            let created = mapper.create_verity(&name.device(), &name.device_uuid(), &table);
            drop(key);
            match created {
                Ok(device) => return self.prove(device),
                // Without the kernel's log, a damaged signature looks like a table that is refused.
                Err(refusal @ (DmError::Signature { .. } | DmError::TableRefused { .. })) => {
                    refusals.push(refusal);
                }
                Err(error) => return Err(error.into()),
            }
        }
        Err(LayerError::Signatures { image: self.image.clone(), refusals: Refusals(refusals) })
    }

    /// Describes the device, for now on no loop device.
    fn table(&self) -> Result<VerityTable, LayerError> {
        let Parameters { hash_type, algorithm, data_block_size, hash_block_size, .. } =
            self.parameters;
        if (hash_type, algorithm) != (HashType::Normal, Algorithm::Sha256) {
            return Err(LayerError::Algorithm { image: self.image.clone(), hash_type, algorithm });
        }
        let found_bytes = self.root_hash.as_bytes().len();
        if found_bytes != algorithm.digest_bytes() {
            return Err(LayerError::RootHashLength {
                root_hash: self.root_hash.clone(),
                found_bytes,
            });
        }
        let block_bytes = data_block_size.max(hash_block_size).bytes();
        if block_bytes > BLOCK_LIMIT_BYTES {
            return Err(LayerError::BlockSize { image: self.image.clone(), block_bytes });
        }
        let key = || format!("osguard:{}", self.root_hash).parse::<KeyDescription>();
        let nowhere = Device::Number { major: 0, minor: 0 };
        Ok(VerityTable {
            data_device: nowhere.clone(),
            hash_device: nowhere,
            parameters: self.parameters.clone(),
            data_blocks: self.data_blocks,
            hash_start_block: self.hash_start_block,
            root_hash: self.root_hash.clone(),
            options: TableOptions {
                signature_key: self.is_signed().then(key).transpose()?,
                ..TableOptions::default()
            },
        })
    }

    /// Reads the first blocks through dm-verity, and looks at the superblock of EROFS in them.
    ///
    /// The kernel makes a device for any root hash; only reading tells whether the data belong to it.
    fn prove(&self, device: VerityDevice) -> Result<VerityDevice, LayerError> {
        let mut start = [0; FIRST_READ_BYTES];
        device.node().read_exact_at(&mut start, 0).map_err(|source| LayerError::Corrupt {
            image: self.image.clone(),
            root_hash: self.root_hash.clone(),
            source,
        })?;
        if start[MAGIC_OFFSET..][..4] != EROFS_MAGIC.to_le_bytes() {
            return Err(LayerError::NotErofs { image: self.image.clone() });
        }
        let count =
            u16::from_le_bytes([start[EXTRA_DEVICES_OFFSET], start[EXTRA_DEVICES_OFFSET + 1]]);
        let archives = match self.mode {
            Mode::Full => 0,
            Mode::Index => 1,
        };
        // Without the mount option `device`, EROFS looks for the blocks of the one device behind its own.
        if count > archives {
            return Err(LayerError::FurtherDevices { image: self.image.clone(), count });
        }
        Ok(device)
    }
}

/// Mounts `device` at `directory`, which is made; nothing happens where it is mounted there already.
///
/// # Errors
///
/// Fails when another file system is mounted there, and when EROFS refuses the image.
pub fn mount_layer(device: &VerityDevice, directory: &Path) -> Result<(), LayerError> {
    if let Some(mount) = MountTable::read()?.at(directory) {
        if mount.device == device.number() && mount.file_system == "erofs" {
            return Ok(());
        }
        return Err(LayerError::Occupied {
            directory: directory.to_owned(),
            file_system: mount.file_system.clone(),
        });
    }
    match std::fs::create_dir(directory) {
        Err(source) if source.kind() != io::ErrorKind::AlreadyExists => {
            return Err(LayerError::Directory { directory: directory.to_owned(), source });
        }
        _ => {}
    }
    mount_erofs(&device.path(), directory)?;
    Ok(())
}

/// Removes whatever there is of the layer `name`: its mount at `directory`, the directory, the device and its loop device.
///
/// Returns whether the device is gone; where it is not, another mount namespace still uses it, and the kernel removes it
/// with that last use.
///
/// # Errors
///
/// Fails when a process works in the mount; what was removed until then stays removed.
pub fn remove_layer(
    mapper: Option<&DeviceMapper>,
    name: &LayerName,
    directory: &Path,
) -> Result<bool, LayerError> {
    let device = name.device();
    while MountTable::read()?.at(directory).is_some_and(|mount| mount.file_system == "erofs") {
        unmount(directory)?;
    }
    match std::fs::remove_dir(directory) {
        Err(source) if source.kind() != io::ErrorKind::NotFound => {
            return Err(LayerError::Directory { directory: directory.to_owned(), source });
        }
        _ => {}
    }
    let Some(mapper) = mapper else { return Ok(true) };
    // A device that was being removed already is waited for all the same.
    mapper.remove(&device)?;
    Ok(mapper.wait_until_gone(&device, PATIENCE)?)
}

/// Says why a layer is not mounted, or still is.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LayerError {
    /// The tree is made in another way than those of layers are.
    #[error("the tree of {image} is of {algorithm} and {hash_type:?}; layers have sha256 and Normal", image = image.display())]
    Algorithm {
        /// The image file.
        image: PathBuf,
        /// The hash type that was asked for.
        hash_type: HashType,
        /// The algorithm that was asked for.
        algorithm: Algorithm,
    },
    /// Blocks are too large for the kernel's pages.
    #[error("{image} cannot have blocks of {block_bytes} bytes, but of at most {BLOCK_LIMIT_BYTES}", image = image.display())]
    BlockSize {
        /// The image file.
        image: PathBuf,
        /// The size that was asked for.
        block_bytes: u32,
    },
    /// The first block cannot be read through dm-verity.
    #[error("{image} does not belong to the root hash {root_hash}: the kernel refuses its first block", image = image.display())]
    Corrupt {
        /// The image file.
        image: PathBuf,
        /// The root hash.
        root_hash: RootHash,
        /// The kernel's answer, `EIO` for data or a tree that differ.
        source: io::Error,
    },
    /// The device mapper refused.
    #[error(transparent)]
    Device(#[from] DmError),
    /// The directory for the mount cannot be made or removed.
    #[error("cannot make or remove the directory {directory}", directory = directory.display())]
    Directory {
        /// The directory.
        directory: PathBuf,
        /// The kernel's answer.
        source: io::Error,
    },
    /// The image takes blocks from devices of which the root hash knows nothing.
    #[error("{image} names {count} further devices, whose blocks no root hash covers; a layer is one device", image = image.display())]
    FurtherDevices {
        /// The image file.
        image: PathBuf,
        /// The number of further devices.
        count: u16,
    },
    /// The signature did not reach the kernel.
    #[error(transparent)]
    Key(#[from] KeyringError),
    /// The root hash does not make a description of a key.
    #[error(transparent)]
    KeyDescription(#[from] KeyDescriptionError),
    /// There is no loop device for the image.
    #[error(transparent)]
    Loop(#[from] LoopError),
    /// EROFS refused the image, or the mount stays.
    #[error(transparent)]
    Mount(#[from] MountError),
    /// The table of mounts cannot be read.
    #[error(transparent)]
    MountTable(#[from] MountTableError),
    /// The verified data are no EROFS image.
    #[error("{image} is no EROFS image", image = image.display())]
    NotErofs {
        /// The image file.
        image: PathBuf,
    },
    /// Something else is mounted where the layer belongs.
    #[error("another {file_system} is mounted at {directory}", directory = directory.display())]
    Occupied {
        /// The directory of the layer.
        directory: PathBuf,
        /// The type of what is mounted there.
        file_system: String,
    },
    /// The root hash is not one of SHA-256.
    #[error("the root hash {root_hash} has {found_bytes} bytes; layers use SHA-256, which has 32")]
    RootHashLength {
        /// The root hash.
        root_hash: RootHash,
        /// Its length.
        found_bytes: usize,
    },
    /// The kernel refuses all signatures.
    #[error("{image} has no signature that the kernel accepts: {refusals}", image = image.display())]
    Signatures {
        /// The image file.
        image: PathBuf,
        /// What it says to each of them.
        refusals: Refusals,
    },
}

/// Holds the refusals of the signatures of a layer, in the order of the signatures.
#[derive(Debug)]
pub struct Refusals(pub Vec<DmError>);

impl fmt::Display for Refusals {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, refusal) in self.0.iter().enumerate() {
            let separator = if index == 0 { "" } else { "; " };
            write!(formatter, "{separator}{refusal}")?;
        }
        Ok(())
    }
}

/// What a loop device can have as its logical block, and dm-verity as its data block, on every machine.
const BLOCK_LIMIT_BYTES: u32 = 4096;
/// Enough for the superblock of EROFS; an EROFS image is never shorter.
const FIRST_READ_BYTES: usize = 1024 + 128;
/// `include/uapi/linux/magic.h`; the superblock lies at 1024 (`fs/erofs/erofs_fs.h`).
const EROFS_MAGIC: u32 = 0xE0F5_E1E2;
const MAGIC_OFFSET: usize = 1024;
const EXTRA_DEVICES_OFFSET: usize = 1024 + 86;
/// The kernel removes a device within milliseconds of its last use; udev may look into it for a moment longer.
const PATIENCE: Duration = Duration::from_secs(5);

#[cfg(test)]
pub(crate) mod tests {
    use libverity::verity::Salt;

    use super::*;

    pub(crate) fn layer(digits: &str, signed: bool) -> LayerImage {
        LayerImage {
            image: "/no/such/image".into(),
            root_hash: digits.repeat(32).parse().unwrap(),
            signatures: if signed { vec![vec![0]] } else { Vec::new() },
            mode: Mode::Full,
            parameters: Parameters::with_salt(Salt::EMPTY),
            data_blocks: 1,
            hash_start_block: 2,
        }
    }

    #[test]
    fn signed_layer_names_its_key_in_the_table() {
        let root_hash = "ab".repeat(32);
        let table = layer("ab", true).table().unwrap().to_string();
        assert!(table.ends_with(&format!(" - 2 root_hash_sig_key_desc osguard:{root_hash}")));
        let table = layer("ab", false).table().unwrap().to_string();
        assert!(table.ends_with(&format!(" {root_hash} -")));
    }

    #[test]
    fn unfit_parameters_are_refused_before_the_kernel_is_asked() {
        let mut long = layer("ab", false);
        long.root_hash = "ab".repeat(64).parse().unwrap();
        assert!(matches!(long.table(), Err(LayerError::RootHashLength { found_bytes: 64, .. })));
        long.parameters.algorithm = Algorithm::Sha512;
        assert!(matches!(long.table(), Err(LayerError::Algorithm { .. })));
        let mut wide = layer("ab", false);
        wide.parameters.hash_block_size = 8192.try_into().unwrap();
        assert!(matches!(wide.table(), Err(LayerError::BlockSize { block_bytes: 8192, .. })));
    }

    #[test]
    fn removing_what_is_not_there_succeeds() {
        let directory = tempfile::tempdir().unwrap();
        let name = layer("ab", true).name();
        let mount = directory.path().join("layer");
        assert!(remove_layer(None, &name, &mount).unwrap());
        std::fs::create_dir(&mount).unwrap();
        assert!(remove_layer(None, &name, &mount).unwrap());
        assert!(!mount.exists());
    }
}
