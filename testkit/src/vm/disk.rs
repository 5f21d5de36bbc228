//! The disks of the guest.

use std::fs::{self, File};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::quoted;
use crate::command::{command, run};
use crate::debian::files_in;
use crate::error::{Error, Result};

/// Is a disk of the guest.
#[derive(Clone, Debug)]
pub(super) enum Disk {
    /// A copy of a directory, read-only.
    Directory(PathBuf),
    /// An empty file system.
    Empty { mebibytes: u32 },
    /// A file of this machine, as it is.
    File { path: PathBuf, writable: bool },
}

impl Disk {
    /// Adds the disk to QEMU's arguments; what has to be made for it is put into `scratch`.
    pub(super) fn attach(&self, number: usize, scratch: &Path, qemu: &mut Command) -> Result<()> {
        let made = scratch.join(format!("disk-{number}"));
        let (path, writable) = match self {
            Self::Directory(directory) => {
                let size_bytes = ext4_size_bytes(directory)?;
                make_ext4(&made, size_bytes, &["-d".as_ref(), directory])?;
                (made, false)
            }
            Self::Empty { mebibytes } => {
                make_ext4(&made, u64::from(*mebibytes) << 20, &[])?;
                (made, true)
            }
            Self::File { path, writable } => {
                (path.canonicalize().map_err(Error::io(path))?, *writable)
            }
        };
        qemu.arg("-drive").arg(format!(
            "if=none,id=disk{number},format=raw,read-only={},file.locking=off,file={}",
            if writable { "off" } else { "on" },
            quoted(&path)
        ));
        qemu.arg("-device").arg(format!("virtio-blk-pci,drive=disk{number}"));
        Ok(())
    }
}

fn make_ext4(path: &Path, size_bytes: u64, options: &[&Path]) -> Result<()> {
    File::create(path).and_then(|file| file.set_len(size_bytes)).map_err(Error::io(path))?;
    run(command("mke2fs")?
        .args(["-q", "-F", "-t", "ext4", "-m", "0", "-O", "^has_journal"])
        .args(options)
        .arg(path))?;
    Ok(())
}

/// Returns a size that surely holds a directory: its blocks, a quarter more, and 16 MiB.
fn ext4_size_bytes(directory: &Path) -> Result<u64> {
    let blocks_bytes = content_bytes(directory)?;
    Ok((blocks_bytes + blocks_bytes / 4 + (16 << 20)).next_multiple_of(1 << 20))
}

fn content_bytes(path: &Path) -> Result<u64> {
    let metadata = fs::symlink_metadata(path).map_err(Error::io(path))?;
    // ext4 needs an inode of 256 bytes and a block for each file, sparse or not.
    let mut bytes = metadata.size().next_multiple_of(4096) + 4096;
    if metadata.is_dir() {
        for file in files_in(path)? {
            bytes += content_bytes(&file)?;
        }
    }
    Ok(bytes)
}
