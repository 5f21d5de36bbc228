//! What a verity device runs, in full: the facts that `veritysetup status` prints.

use std::path::PathBuf;

use crate::device_number::DeviceNumber;
use crate::dm::{DeviceMapper, DmError};
use crate::table_check::Target;

/// Is the state of a running verity device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerityStatus {
    /// Whether something has it open.
    pub is_in_use: bool,
    /// Whether the kernel has met a corrupt block.
    pub is_corrupted: bool,
    /// Its length in sectors of 512 bytes.
    pub size_sectors: u64,
    /// What its table says.
    pub table: RunningTable,
}

/// Is the table of a running verity device, as the kernel prints it.
///
/// Source: `verity_status` in `drivers/md/dm-verity-target.c`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunningTable {
    /// The hash type, 0 or 1.
    pub hash_type: u32,
    /// The device with the data.
    pub data_device: DeviceNumber,
    /// The device with the tree.
    pub hash_device: DeviceNumber,
    /// The size of a data block in bytes.
    pub data_block_bytes: u64,
    /// The size of a hash block in bytes.
    pub hash_block_bytes: u64,
    /// Where the tree starts on its device, in hash blocks.
    pub hash_start_block: u64,
    /// The name of the hash algorithm.
    pub algorithm: String,
    /// The root hash in hexadecimal.
    pub root_hash: String,
    /// The salt in hexadecimal, or `-`.
    pub salt: String,
    /// Whether the root hash is signed.
    pub is_signed: bool,
    /// Where parity lies, if there is any.
    pub parity: Option<RunningParity>,
    /// The options that are single words, such as `ignore_corruption`, in the kernel's order.
    pub flags: Vec<String>,
}

/// Is the parity of a running verity device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunningParity {
    /// The device with the parity.
    pub device: DeviceNumber,
    /// Where it starts, in data blocks.
    pub start_block: u64,
    /// The number of roots.
    pub roots: u64,
}

impl VerityStatus {
    /// Reads the state of the device `name`; `None` where there is no such device.
    ///
    /// # Errors
    ///
    /// Fails without root, and where the device is no verity device.
    pub fn read(mapper: &DeviceMapper, name: &str) -> Result<Option<Self>, VerityStatusError> {
        let Some(live) = mapper.live_table(name)? else { return Ok(None) };
        let Some(status) = mapper.live_status(name)? else { return Ok(None) };
        let other = |found: &str| VerityStatusError::NotVerity {
            name: name.to_owned(),
            found: found.to_owned(),
        };
        let ([target], [status]) = (&live.targets[..], &status.targets[..]) else {
            return Err(other("none, or several"));
        };
        if target.kind != "verity" {
            return Err(other(&target.kind));
        }
        Ok(Some(Self {
            is_in_use: mapper.open_count(name)?.unwrap_or(0) > 0,
            // A word on error correction may follow.
            is_corrupted: status.parameters.starts_with('C'),
            size_sectors: target.length_sectors,
            table: RunningTable::parse(target).ok_or_else(|| VerityStatusError::Table {
                name: name.to_owned(),
                found: target.parameters.clone(),
            })?,
        }))
    }
}

impl RunningTable {
    /// Parses `VERSION DATA HASH DBS HBS BLOCKS START ALGORITHM ROOT_HASH SALT [COUNT OPTION…]`.
    fn parse(target: &Target) -> Option<Self> {
        let mut words = target.parameters.split_ascii_whitespace();
        let hash_type = words.next()?.parse().ok()?;
        let data_device = words.next()?.parse().ok()?;
        let hash_device = words.next()?.parse().ok()?;
        let data_block_bytes = words.next()?.parse().ok()?;
        let hash_block_bytes = words.next()?.parse().ok()?;
        let _data_blocks: u64 = words.next()?.parse().ok()?;
        let mut table = Self {
            hash_type,
            data_device,
            hash_device,
            data_block_bytes,
            hash_block_bytes,
            hash_start_block: words.next()?.parse().ok()?,
            algorithm: words.next()?.to_owned(),
            root_hash: words.next()?.to_owned(),
            salt: words.next()?.to_owned(),
            is_signed: false,
            parity: None,
            flags: Vec::new(),
        };
        let (mut device, mut start_block, mut roots) = (None, None, None);
        let _count = words.next();
        while let Some(word) = words.next() {
            match word {
                "root_hash_sig_key_desc" => {
                    words.next()?;
                    table.is_signed = true;
                }
                "use_fec_from_device" => device = Some(words.next()?.parse().ok()?),
                "fec_start" => start_block = Some(words.next()?.parse().ok()?),
                "fec_roots" => roots = Some(words.next()?.parse().ok()?),
                "fec_blocks" => drop(words.next()?),
                flag => table.flags.push(flag.to_owned()),
            }
        }
        if let (Some(device), Some(start_block), Some(roots)) = (device, start_block, roots) {
            table.parity = Some(RunningParity { device, start_block, roots });
        }
        Some(table)
    }
}

/// Returns the path of a block device, `/dev/loop0`, and of the file behind it if it is a loop device.
pub fn described(device: DeviceNumber) -> (PathBuf, Option<PathBuf>) {
    let directory = PathBuf::from(format!("/sys/dev/block/{device}"));
    let of_kernel = std::fs::canonicalize(&directory).ok();
    let name = of_kernel.as_ref().and_then(|path| path.file_name());
    let path = match name {
        Some(name) => PathBuf::from("/dev").join(name),
        None => PathBuf::from(format!("/dev/block/{device}")),
    };
    let file = std::fs::read_to_string(directory.join("loop/backing_file")).ok();
    (path, file.map(|file| PathBuf::from(file.trim_end_matches('\n'))))
}

/// Says why the state of a device is not known.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum VerityStatusError {
    /// The device mapper refused.
    #[error(transparent)]
    Mapper(#[from] DmError),
    /// The device is something else.
    #[error("{name} is no verity device: its target is {found}")]
    NotVerity {
        /// The name.
        name: String,
        /// The target type.
        found: String,
    },
    /// The kernel prints a table that is not understood.
    #[error("the table of {name} is not understood: {found}")]
    Table {
        /// The name.
        name: String,
        /// The parameters.
        found: String,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_with_everything_is_read() {
        let digits = "ab".repeat(32);
        let parameters = format!(
            "1 7:0 7:1 512 4096 300 1 sha256 {digits} 00ff 13 restart_on_corruption \
             ignore_zero_blocks use_fec_from_device 7:2 fec_roots 24 fec_blocks 9 fec_start 3 \
             root_hash_sig_key_desc cryptsetup:a try_verify_in_tasklet"
        );
        let target = |parameters: &str| Target {
            start_sectors: 0,
            length_sectors: 300,
            kind: "verity".to_owned(),
            parameters: parameters.to_owned(),
        };
        let table = RunningTable::parse(&target(&parameters)).unwrap();
        assert_eq!(
            (table.hash_type, table.data_block_bytes, table.hash_block_bytes),
            (1, 512, 4096)
        );
        assert_eq!((table.hash_start_block, table.algorithm.as_str()), (1, "sha256"));
        assert_eq!((table.root_hash.as_str(), table.salt.as_str()), (digits.as_str(), "00ff"));
        assert!(table.is_signed);
        let parity = table.parity.unwrap();
        assert_eq!(
            (parity.device, parity.start_block, parity.roots),
            ("7:2".parse().unwrap(), 3, 24)
        );
        let flags = ["restart_on_corruption", "ignore_zero_blocks", "try_verify_in_tasklet"];
        assert_eq!(table.flags, flags);
        for cut in 0..parameters.find(" 00ff").unwrap() {
            assert_eq!(
                RunningTable::parse(&target(&parameters[..cut])).map(|table| table.salt),
                None
            );
        }
    }
}
