//! In which layer of an overlay a file lies.
//!
//! A record names the overlay as `overlay`, and the path as the process sees it. So every overlay that is mounted here is
//! asked for a file of that path and inode; the layers of the one that has it are its options in the table of mounts.

use std::ffi::OsStr;
use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use osguard_policy::audit::context::{Device, DeviceKind, Place};
use osguard_policy::audit::record::Access;
use rustix::fs::{Mode, OFlags, ResolveFlags, Stat, fstat, openat2};

use super::process::RunningProcess;
use crate::device_number::DeviceNumber;
use crate::mount_table::{Mount, MountTable};

/// Is where the file lies, and of which overlay.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Located {
    pub(super) place: Place,
    pub(super) mount_point: PathBuf,
}

/// Finds the layer of the file.
///
/// # Errors
///
/// Says what is unknown, and why.
pub(super) fn locate(
    access: &Access,
    running: Option<&RunningProcess>,
    mounts: &MountTable,
) -> Result<Located, String> {
    let path = access.path.as_deref().ok_or("the record has no path")?;
    let root = running.and_then(|process| {
        std::fs::metadata(format!("/proc/{}/root", process.pid)).ok().map(|root| root.dev())
    });
    let mut overlays: Vec<&Mount> = Vec::new();
    for mount in mounts.iter().filter(|mount| mount.file_system == "overlay") {
        if !overlays.iter().any(|other| other.device == mount.device) {
            overlays.push(mount);
        }
    }
    let candidates: Vec<Candidate<'_>> =
        overlays.into_iter().filter_map(|mount| Candidate::find(mount, path)).collect();
    let best = |is_good: &dyn Fn(&Candidate<'_>) -> bool| {
        let mut good = candidates.iter().filter(|candidate| is_good(candidate));
        good.next().filter(|_| good.next().is_none())
    };
    let has_inode =
        |candidate: &Candidate<'_>| access.inode.is_none_or(|inode| candidate.inode == inode);
    let is_root = |candidate: &Candidate<'_>| root == Some(candidate.device);
    let chosen = best(&|one| has_inode(one) && is_root(one))
        .or_else(|| best(&has_inode))
        .or_else(|| best(&is_root))
        .or_else(|| best(&|_| true));
    let Some(chosen) = chosen else {
        return Err(match candidates.len() {
            0 => "no overlay that is mounted here has a file of this path".to_owned(),
            count => {
                format!("{count} overlays that are mounted here have a file of this path and inode")
            }
        });
    };
    let place = chosen.place()?;
    Ok(Located { place, mount_point: chosen.mount.mount_point.clone() })
}

/// Is an overlay with a file of the wanted path.
struct Candidate<'a> {
    mount: &'a Mount,
    /// The path below the root of the overlay, without a slash at its start.
    path: &'a Path,
    inode: u64,
    device: u64,
}

impl<'a> Candidate<'a> {
    /// Looks for the file as a path of this machine, and as one below the root of a container.
    fn find(mount: &'a Mount, path: &'a Path) -> Option<Self> {
        let root = File::open(&mount.mount_point).ok()?;
        // Something else may be mounted over it.
        let device = root.metadata().ok()?.dev();
        let below = path.strip_prefix(&mount.mount_point).ok();
        let inside = path.strip_prefix("/").ok();
        below.into_iter().chain(inside).find_map(|path| {
            let inode = look_up(&root, path)?.st_ino;
            Some(Self { mount, path, inode, device })
        })
    }

    fn place(&self) -> Result<Place, String> {
        let lowers = lower_directories(self.mount);
        let lower = lowers.iter().find_map(|lower| {
            let root = File::open(lower).ok()?;
            look_up(&root, self.path)
        });
        let upper = self.mount.option("upperdir").next().map(unescaped);
        let in_upper = upper.as_ref().and_then(|upper| {
            let root = File::open(upper).ok()?;
            look_up(&root, self.path)
        });
        if in_upper.is_some() {
            return Ok(Place::OverlayUpper { is_copy: Some(lower.is_some()) });
        }
        let unknown = || {
            let point = self.mount.mount_point.display();
            format!("the layers of the overlay at {point} cannot be looked into")
        };
        let number = DeviceNumber::of_stat(&lower.ok_or_else(unknown)?);
        Ok(match block_device(number) {
            Some(name) => {
                let kind = match name.starts_with("dm-") {
                    true => DeviceKind::Unknown,
                    false => DeviceKind::Plain,
                };
                Place::Device(Device { name, kind })
            }
            None => Place::NoDevice { file_system: "a layer of an overlay".to_owned() },
        })
    }
}

/// Looks a file up below `root` without leaving that file system, whatever links are on the way.
fn look_up(root: &impl AsFd, path: &Path) -> Option<Stat> {
    let flags = OFlags::PATH | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_XDEV | ResolveFlags::NO_MAGICLINKS;
    let file: OwnedFd = openat2(root, path, flags, Mode::empty(), resolve).ok()?;
    fstat(&file).ok()
}

/// Lists the lower directories of an overlay, the topmost first: `lowerdir=A:B`, or `lowerdir+=A` several times.
fn lower_directories(mount: &Mount) -> Vec<PathBuf> {
    let one_by_one = mount.option("lowerdir+").map(unescaped);
    let together = mount.option("lowerdir").flat_map(split_directories);
    one_by_one.chain(together).collect()
}

/// Splits at colons that have no backslash in front (`fs/overlayfs/params.c`).
fn split_directories(value: &OsStr) -> Vec<PathBuf> {
    let mut directories = vec![Vec::new()];
    let mut bytes = value.as_bytes().iter().copied();
    while let Some(byte) = bytes.next() {
        match byte {
            b':' => directories.push(Vec::new()),
            byte => {
                let byte = if byte == b'\\' { bytes.next().unwrap_or(byte) } else { byte };
                if let Some(last) = directories.last_mut() {
                    last.push(byte);
                }
            }
        }
    }
    // Two colons stand before directories of data only.
    let paths = directories.into_iter().filter(|path| !path.is_empty());
    paths.map(|path| PathBuf::from(OsStr::from_bytes(&path))).collect()
}

/// Takes the backslashes away that stand before colons, commas and backslashes.
fn unescaped(value: &OsStr) -> PathBuf {
    let mut path = Vec::new();
    let mut bytes = value.as_bytes().iter().copied();
    while let Some(byte) = bytes.next() {
        path.push(if byte == b'\\' { bytes.next().unwrap_or(byte) } else { byte });
    }
    PathBuf::from(OsStr::from_bytes(&path))
}

/// Returns the kernel's name of a block device; none for a file system without one.
fn block_device(number: DeviceNumber) -> Option<String> {
    let link = std::fs::read_link(format!("/sys/dev/block/{number}")).ok()?;
    Some(link.file_name()?.to_str()?.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn directories_are_split_and_unescaped() {
        let split = |text: &str| split_directories(OsStr::new(text));
        assert_eq!(split("/a:/b\\:c::/d"), [Path::new("/a"), Path::new("/b:c"), Path::new("/d")]);
        assert_eq!(unescaped(OsStr::new("/a\\,b\\\\c")), Path::new("/a,b\\c"));
    }

    #[test]
    fn no_link_leads_out_of_a_layer() {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path().join("root");
        std::fs::create_dir(&root).unwrap();
        std::fs::write(directory.path().join("outside"), "").unwrap();
        std::fs::write(root.join("inside"), "").unwrap();
        std::os::unix::fs::symlink("..", root.join("up")).unwrap();
        let open = File::open(&root).unwrap();
        assert!(look_up(&open, Path::new("inside")).is_some());
        assert!(look_up(&open, Path::new("up/inside")).is_some());
        assert!(look_up(&open, Path::new("up/outside")).is_none());
        assert!(look_up(&open, Path::new("../outside")).is_none());
    }
}
