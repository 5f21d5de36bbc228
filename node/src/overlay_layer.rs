//! In which layer a file of an overlay really lies (`Documentation/filesystems/overlayfs.rst`).
//!
//! The kernel tells nobody. The layers are looked through from the top in the way overlayfs does, and what is found is
//! taken for the file only if it looks the same: size, time, permissions and owner.

use std::ffi::OsStr;
use std::fs::File;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, FileType, Mode, OFlags, ResolveFlags, StatxFlags, openat2, statx};
use rustix::io::Errno;

use crate::mount_table::Mount;

/// Finds the file that holds the data of `file`, which lies at `path` in the overlay `mount`.
///
/// # Errors
///
/// Says why it was not found: the tail of a sentence that starts with the file.
pub(crate) fn real_file(mount: &Mount, file: &OwnedFd, path: &Path) -> Result<OwnedFd, String> {
    let below = path.strip_prefix(&mount.mount_point).map_err(|_| {
        format!("lies in an overlay that is mounted elsewhere than {}", mount.mount_point.display())
    })?;
    let below = mount.root.join(below);
    let below = below.strip_prefix("/").unwrap_or(&below);
    let mut is_metadata_only = false;
    for layer in layers(mount) {
        let Some(directory) = open_layer(&layer) else {
            return Err(format!(
                "lies in an overlay whose layer {} is out of sight",
                layer.display()
            ));
        };
        let how = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_XDEV;
        let found = match openat2(&directory, below, how, Mode::empty(), resolve) {
            Ok(found) => found,
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP | Errno::XDEV) => continue,
            Err(errno) => {
                return Err(format!("cannot be looked up in {}: {errno}", layer.display()));
            }
        };
        if has_only_metadata(&found) {
            is_metadata_only = true;
            continue;
        }
        return match is_same(&found, file, is_metadata_only) {
            true => Ok(found),
            false => Err(format!("is another file than {} has in its place", layer.display())),
        };
    }
    Err("lies in none of the layers of its overlay".to_owned())
}

/// Lists the layers from the top.
fn layers(mount: &Mount) -> Vec<PathBuf> {
    let mut layers = Vec::new();
    layers.extend(mount.option("upperdir").map(PathBuf::from));
    for list in mount.option("lowerdir") {
        layers.extend(split(list.as_bytes()));
    }
    for name in ["lowerdir+", "datadir+"] {
        layers.extend(mount.option(name).map(PathBuf::from));
    }
    layers
}

/// Splits a list at its colons, but at none behind a backslash.
fn split(list: &[u8]) -> Vec<PathBuf> {
    let mut paths = vec![Vec::new()];
    let mut bytes = list.iter();
    while let Some(&byte) = bytes.next() {
        match byte {
            b'\\' => paths.last_mut().expect("never empty").extend(bytes.next()),
            b':' => paths.push(Vec::new()),
            _ => paths.last_mut().expect("never empty").push(byte),
        }
    }
    // Two colons stand before layers that hold data alone.
    paths.retain(|path| !path.is_empty());
    paths.iter().map(|path| OsStr::from_bytes(path).into()).collect()
}

/// Opens a layer; programs that mount many of them name them from a directory of their own.
fn open_layer(layer: &Path) -> Option<File> {
    if layer.is_absolute() {
        return File::open(layer).ok();
    }
    BASES.iter().find_map(|base| File::open(Path::new(base).join(layer)).ok())
}

fn has_only_metadata(file: &OwnedFd) -> bool {
    let path = format!("/proc/self/fd/{}", file.as_raw_fd());
    rustix::fs::getxattr(path, "trusted.overlay.metacopy", &mut [0_u8; 256][..]).is_ok()
}

/// Compares what both are; of a file whose metadata lie in a higher layer, only the size stays the same.
fn is_same(found: &OwnedFd, file: &OwnedFd, is_metadata_only: bool) -> bool {
    let status = |file: &OwnedFd| statx(file, "", AtFlags::EMPTY_PATH, StatxFlags::BASIC_STATS);
    let (Ok(found), Ok(file)) = (status(found), status(file)) else { return false };
    let time = |status: &rustix::fs::Statx| (status.stx_mtime.tv_sec, status.stx_mtime.tv_nsec);
    let owner = |status: &rustix::fs::Statx| (status.stx_mode, status.stx_uid, status.stx_gid);
    FileType::from_raw_mode(found.stx_mode.into()) == FileType::RegularFile
        && found.stx_size == file.stx_size
        && (is_metadata_only || time(&found) == time(&file) && owner(&found) == owner(&file))
}

/// From where docker, containerd and podman name layers.
const BASES: [&str; 4] = [
    "/var/lib/docker/overlay2",
    "/var/lib/containerd/io.containerd.snapshotter.v1.overlayfs/snapshots",
    "/var/lib/containerd/io.containerd.snapshotter.v1.erofs/snapshots",
    "/var/lib/containers/storage/overlay",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_of_layers_are_split_as_overlayfs_does() {
        let paths = |list: &[u8]| -> Vec<String> {
            split(list).iter().map(|path| path.display().to_string()).collect()
        };
        assert_eq!(paths(b"/a:/b::/data"), ["/a", "/b", "/data"]);
        assert_eq!(paths(b"/a\\:b:/c\\\\d"), ["/a:b", "/c\\d"]);
        assert_eq!(paths(b""), [] as [String; 0]);
    }
}
