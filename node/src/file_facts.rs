//! What IPE would know of a file (`security/ipe/eval.c`, `ipe_build_eval_ctx`).

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::path::Path;

use osguard_policy::evaluate::{Facts, FsVerity};
use osguard_policy::simulation::Knowledge;
use rustix::fs::{AtFlags, Mode, OFlags, StatxAttributes, StatxFlags, fstatfs, open, statx};

use crate::device_number::DeviceNumber;
use crate::dm::DmError;
use crate::fs_verity::fs_verity;
use crate::mount_table::{Mount, MountTable, MountTableError};
use crate::overlay_layer::real_file;
use crate::verity_volume::VerityVolumes;

/// Finds out what IPE would know of the files of the running machine.
pub struct FileFacts {
    volumes: VerityVolumes,
    own: MountTable,
    /// By the process that sees them.
    others: RefCell<BTreeMap<u32, MountTable>>,
    /// The file systems into which an initramfs was unpacked, as far as anybody can see them.
    initramfs: BTreeSet<DeviceNumber>,
}

impl FileFacts {
    /// Reads what is mounted, and opens the device mapper.
    ///
    /// # Errors
    ///
    /// Fails without root, and where `/proc` is not mounted.
    pub fn open() -> Result<Self, FactsError> {
        let own = MountTable::read()?;
        let is_initramfs = |mount: &&Mount| mount.file_system == "rootfs";
        let initramfs = own.iter().filter(is_initramfs).map(|mount| mount.device).collect();
        Ok(Self { volumes: VerityVolumes::open()?, own, others: RefCell::default(), initramfs })
    }

    /// Returns what is known of the file at `path`, as this process sees it, through symbolic links.
    pub fn at(&self, path: &Path) -> Knowledge {
        match open(path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty()) {
            Ok(file) => {
                let name = path.canonicalize().unwrap_or_else(|_| path.to_owned());
                self.of(&file, &name, None)
            }
            Err(errno) => Knowledge::Unknown(format!("cannot be opened: {errno}")),
        }
    }

    /// Returns what is known of an opened file (`O_PATH` is enough) whose name is `path`, which `process` has in use.
    pub fn of(&self, file: &OwnedFd, path: &Path, process: Option<u32>) -> Knowledge {
        match self.find(file, path, process, 0) {
            Ok(facts) => Knowledge::Known(facts),
            Err(reason) => Knowledge::Unknown(reason),
        }
    }

    fn find(
        &self,
        file: &OwnedFd,
        path: &Path,
        process: Option<u32>,
        depth: u32,
    ) -> Result<Facts, String> {
        let failed = |errno: rustix::io::Errno| format!("does not tell where it lies: {errno}");
        let flags = StatxFlags::BASIC_STATS | StatxFlags::MNT_ID;
        let status = statx(file, "", AtFlags::EMPTY_PATH, flags).map_err(failed)?;
        let kind = fstatfs(file).map_err(failed)?.f_type as u64;
        let mount = || self.mount(status.stx_mnt_id, process);
        if kind == OVERLAYFS {
            if depth == MAX_STACKED {
                return Err("lies below too many overlays".to_owned());
            }
            if status.stx_nlink == 0 {
                return Err(
                    "was deleted, and its overlay does not tell from which layer".to_owned()
                );
            }
            let mount = mount().ok_or("lies in an overlay that is not mounted any more")?;
            let real = real_file(&mount, file, path)?;
            let name = std::fs::read_link(format!("/proc/self/fd/{}", real.as_raw_fd()));
            let facts = self.find(&real, &name.unwrap_or_default(), None, depth + 1)?;
            // It is the mount of the path that counts here, and that is the overlay's.
            return Ok(Facts { is_in_initramfs: false, ..facts });
        }
        let device = DeviceNumber { major: status.stx_dev_major, minor: status.stx_dev_minor };
        let is_in_memory = kind == TMPFS || kind == RAMFS;
        if is_in_memory && !is_kernel_internal(path) && depth == 0 && mount().is_none() {
            return Err("lies in memory, maybe in that of the initramfs".to_owned());
        }
        // Major number 0 is that of file systems without a block device of their own.
        let volume = match device.major {
            0 => None,
            _ => self.volumes.volume(device).map_err(|error| {
                format!("lies on a device that does not tell what it is: {error}")
            })?,
        };
        let has_fs_verity = status.stx_attributes.contains(StatxAttributes::VERITY);
        let fs_verity = has_fs_verity.then(|| measured(file)).transpose()?.flatten();
        Ok(Facts { is_in_initramfs: self.initramfs.contains(&device), volume, fs_verity })
    }

    /// Finds a mount among those of this process, or else of the one that uses the file.
    fn mount(&self, id: u64, process: Option<u32>) -> Option<Mount> {
        if let Some(mount) = self.own.with_id(id) {
            return Some(mount.clone());
        }
        let process = process?;
        let mut others = self.others.borrow_mut();
        let table = others
            .entry(process)
            .or_insert_with(|| MountTable::of_process(process).unwrap_or_default());
        table.with_id(id).cloned()
    }
}

/// Says why nothing can be found out.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FactsError {
    /// The device mapper cannot be asked.
    #[error(transparent)]
    DeviceMapper(#[from] DmError),
    /// The table of mounts cannot be read.
    #[error(transparent)]
    Mounts(#[from] MountTableError),
}

fn measured(file: &OwnedFd) -> Result<Option<FsVerity>, String> {
    let opened = File::open(format!("/proc/self/fd/{}", file.as_raw_fd()));
    opened
        .and_then(|file| fs_verity(&file))
        .map_err(|error| format!("does not tell its fs-verity digest: {error}"))
}

/// Tells whether a file lies on a mount of the kernel's own (`mm/memfd.c`, `ipc/shm.c`, `mm/shmem.c`).
fn is_kernel_internal(path: &Path) -> bool {
    let path = path.to_string_lossy();
    ["/memfd:", "/SYSV", "/dev/zero (deleted)", "/anon_hugepage"]
        .iter()
        .any(|start| path.starts_with(start))
}

/// `OVERLAYFS_SUPER_MAGIC`, `TMPFS_MAGIC` and `RAMFS_MAGIC` (`include/uapi/linux/magic.h`).
const OVERLAYFS: u64 = 0x794c_7630;
const TMPFS: u64 = 0x0102_1994;
const RAMFS: u64 = 0x8584_58f6;

/// `FILESYSTEM_MAX_STACK_DEPTH` (`include/linux/fs.h`) is 2.
const MAX_STACKED: u32 = 3;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_in_memory_have_nothing_to_show() {
        let Ok(facts) = FileFacts::open() else { return osguard_testkit::skip("root") };
        let file: OwnedFd =
            rustix::fs::memfd_create("test", rustix::fs::MemfdFlags::CLOEXEC).unwrap();
        let known = facts.of(&file, Path::new("/memfd:test (deleted)"), None);
        assert_eq!(known, Knowledge::Known(Facts::default()));
        let missing = facts.at(Path::new("/no/such/file"));
        assert!(matches!(missing, Knowledge::Unknown(reason) if reason.contains("No such file")));
    }
}
