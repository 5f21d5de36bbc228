//! Does every EROFS on a dm-verity device hold all of its content there?
//!
//! IPE judges a file by the first device of its file system. An image that names a further one may have its content on a
//! device that nobody verifies (`fs/erofs/super.c`, `erofs_init_devices`).

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

use super::{Check, Finding, Machine, Unchecked};
use crate::dm::DeviceMapper;
use crate::mount_table::{Mount, MountTable};
use crate::record::LayerName;
use crate::running_verity::RunningVerity;

pub(super) const CHECK: Check = Check {
    name: "erofs-mounts",
    title: "Every EROFS on a dm-verity device has all of its content there",
    run,
};

fn run(machine: &Machine) -> Result<Vec<Finding>, Unchecked> {
    let mounts = MountTable::read().map_err(|error| Unchecked::error(&error))?;
    let mut images: Vec<&Mount> =
        mounts.iter().filter(|mount| mount.file_system == "erofs").collect();
    images.sort_by_key(|mount| mount.device);
    images.dedup_by_key(|mount| mount.device);
    let mut findings = Vec::new();
    let mut mapper = None;
    for mount in images {
        findings.extend(shared_cache(mount));
        let mapped = format!("/sys/dev/block/{}/dm/name", mount.device);
        let Ok(mapped) = machine.read(&mapped) else { continue };
        let mapper = match &mapper {
            Some(mapper) => mapper,
            None => mapper.insert(DeviceMapper::open().map_err(|error| Unchecked::error(&error))?),
        };
        let mapped = mapped.trim_end();
        let table = mapper.live_table(mapped).map_err(|error| Unchecked::error(&error))?;
        if table.and_then(|table| RunningVerity::of_table(&table.targets)).is_none() {
            continue;
        }
        let node = format!("/dev/dm-{}", mount.device.minor);
        let count = further_devices(Path::new(&node))
            .map_err(|error| Unchecked::because(format_args!("{node}: {error}")))?;
        let is_own = LayerName::from_device(mapped).is_some();
        findings.extend(judge(mapped, mount, count, is_own));
    }
    Ok(findings)
}

/// An image of ours in index mode names one further device, and finds it behind itself, as it is mounted without another.
fn judge(mapped: &str, mount: &Mount, count: u16, is_own: bool) -> Option<Finding> {
    let allowed = u16::from(is_own);
    (count > allowed).then(|| {
        Finding::critical(
            format!(
                "the EROFS at {} on the dm-verity device {mapped} names {count} further devices, whose content no \
                 root hash covers",
                mount.mount_point.display()
            ),
            "unmount it; mount each layer as one image on one device, as `osguard node mount` does",
        )
    })
}

fn shared_cache(mount: &Mount) -> Option<Finding> {
    let option =
        ["inode_share", "domain_id"].into_iter().find(|name| mount.option(name).count() > 0)?;
    Some(Finding::warning(
        format!(
            "the EROFS at {} is mounted with {option}: images share what is in memory by what they say it is",
            mount.mount_point.display()
        ),
        format!("mount it without {option}"),
    ))
}

/// Reads how many further devices the superblock names.
fn further_devices(node: &Path) -> std::io::Result<u16> {
    let mut superblock = [0; SUPERBLOCK_BYTES];
    File::open(node)?.read_exact_at(&mut superblock, SUPERBLOCK_OFFSET_BYTES)?;
    Ok(u16::from_le_bytes([
        superblock[EXTRA_DEVICES_OFFSET_BYTES],
        superblock[EXTRA_DEVICES_OFFSET_BYTES + 1],
    ]))
}

const SUPERBLOCK_OFFSET_BYTES: u64 = 1024;
const SUPERBLOCK_BYTES: usize = 128;
/// `extra_devices` in `struct erofs_super_block` (`fs/erofs/erofs_fs.h`).
const EXTRA_DEVICES_OFFSET_BYTES: usize = 86;

#[cfg(test)]
mod tests {
    use super::*;

    fn mount(options: &[&str]) -> Mount {
        Mount {
            id: 1,
            root: "/".into(),
            device: "254:0".parse().unwrap(),
            mount_point: "/mnt".into(),
            file_system: "erofs".to_owned(),
            source: "/dev/dm-0".into(),
            options: options.iter().map(Into::into).collect(),
        }
    }

    #[test]
    fn further_devices_are_found() {
        let file = tempfile::NamedTempFile::new().unwrap();
        file.as_file().set_len(4096).unwrap();
        assert_eq!(further_devices(file.path()).unwrap(), 0);
        file.as_file().write_all_at(&[3, 1], 1024 + 86).unwrap();
        assert_eq!(further_devices(file.path()).unwrap(), 259);
        assert!(judge("d", &mount(&[]), 0, false).is_none());
        assert!(judge("d", &mount(&[]), 1, true).is_none());
        assert!(judge("d", &mount(&[]), 1, false).is_some());
        assert!(judge("d", &mount(&[]), 2, true).is_some());
    }

    #[test]
    fn shared_caches_are_found() {
        assert!(shared_cache(&mount(&["ro", "user_xattr"])).is_none());
        assert!(shared_cache(&mount(&["ro", "inode_share"])).is_some());
        assert!(shared_cache(&mount(&["domain_id=x"])).is_some());
    }
}
