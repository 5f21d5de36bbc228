//! Mounts of verified layers and of overlays over them, by the mount API of Linux 5.2
//! (`fsopen(2)`, `fsconfig(2)`, `fsmount(2)`, `move_mount(2)`).
//!
//! That API tells in words why it refuses, or the kernel's log does; the words become part of the error.

use std::cell::RefCell;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::io::Errno;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MoveMountFlags, UnmountFlags, fsconfig_create,
    fsconfig_set_flag, fsconfig_set_string, fsmount, fsopen, move_mount, unmount as detach,
};

use crate::kernel_log::{KernelLog, KernelMessages};

/// Mounts the EROFS image on the block device `device` at `target`, read-only and without device nodes.
///
/// `nosuid` and `noexec` are not set: images hold setuid programs legitimately, and an overlay takes its own flags. No
/// option names a second device, a shared page cache or a domain, which would let unverified blocks in
/// (`fs/erofs/super.c`).
///
/// # Errors
///
/// Fails when the kernel has no EROFS, and when it refuses the image; the error has the kernel's words.
pub fn mount_erofs(device: &Path, target: &Path) -> Result<(), MountError> {
    let context = Context::open("erofs", target)?;
    context.string("source", device)?;
    context.flag("ro")?;
    context.mount(MountAttrFlags::MOUNT_ATTR_RDONLY | MountAttrFlags::MOUNT_ATTR_NODEV)
}

/// Describes an overlay.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Overlay<'a> {
    /// What the table of mounts names as the source.
    pub source: &'a str,
    /// The lower directories, the topmost first; 1 to [`LOWER_LIMIT`].
    pub lowers: &'a [PathBuf],
    /// Where writes go; without it the overlay is read-only.
    pub upper: Option<Upper<'a>>,
}

/// Is the writable part of an overlay: two directories of one file system.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Upper<'a> {
    /// Where new and changed files lie.
    pub directory: &'a Path,
    /// An empty directory beside it, where overlayfs prepares files.
    pub work: &'a Path,
}

/// Mounts `overlay` at `target`, without device nodes.
///
/// Copying up only metadata and following redirects stay off: with them, attributes of an unverified file, such as a
/// setuid bit, would apply to verified contents (`Documentation/filesystems/overlayfs.rst`, "Metadata only copy up").
///
/// # Errors
///
/// Fails when the kernel refuses; it does so with `EINVAL` for fewer than two directories in all, or for more than
/// [`LOWER_LIMIT`] lowers. Linux 6.7 or later is needed (`lowerdir+`).
pub fn mount_overlay(overlay: &Overlay<'_>, target: &Path) -> Result<(), MountError> {
    let context = Context::open("overlay", target)?;
    context.string("source", overlay.source)?;
    for lower in overlay.lowers {
        context.string("lowerdir+", lower)?;
    }
    context.string("metacopy", "off")?;
    context.string("redirect_dir", "nofollow")?;
    let mut attributes = MountAttrFlags::MOUNT_ATTR_NODEV;
    if let Some(upper) = overlay.upper {
        context.string("upperdir", upper.directory)?;
        context.string("workdir", upper.work)?;
    } else {
        attributes |= MountAttrFlags::MOUNT_ATTR_RDONLY;
    }
    context.mount(attributes)
}

/// Unmounts what is mounted at `target`.
///
/// # Errors
///
/// Fails with [`MountError::Busy`] while a process works in it, and with [`MountError::Unmount`] when nothing is
/// mounted there.
pub fn unmount(target: &Path) -> Result<(), MountError> {
    detach(target, UnmountFlags::NOFOLLOW).map_err(|errno| match errno {
        Errno::BUSY => MountError::Busy { target: target.to_owned() },
        errno => MountError::Unmount { target: target.to_owned(), source: errno.into() },
    })
}

/// Says why something is not mounted, or still is.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MountError {
    /// A process still works in the mount.
    #[error("{target} is busy: a process has a file or its working directory in it", target = target.display())]
    Busy {
        /// The mount point.
        target: PathBuf,
    },
    /// The kernel refused to mount.
    #[error("cannot mount {file_system} at {target}{messages}", target = target.display())]
    Mount {
        /// The type of the file system.
        file_system: &'static str,
        /// Where it was to be mounted.
        target: PathBuf,
        /// What the kernel says about it.
        messages: KernelMessages,
        /// The kernel's answer.
        source: io::Error,
    },
    /// The kernel does not know the file system.
    #[error("this kernel has no {file_system}; is the module of that name there?")]
    NoFileSystem {
        /// The type of the file system.
        file_system: &'static str,
    },
    /// The kernel refused to unmount.
    #[error("cannot unmount {target}", target = target.display())]
    Unmount {
        /// The mount point.
        target: PathBuf,
        /// The kernel's answer.
        source: io::Error,
    },
}

/// Is a file system that is being configured.
struct Context<'a> {
    descriptor: OwnedFd,
    log: RefCell<KernelLog>,
    file_system: &'static str,
    target: &'a Path,
}

impl<'a> Context<'a> {
    fn open(file_system: &'static str, target: &'a Path) -> Result<Self, MountError> {
        match fsopen(file_system, FsOpenFlags::FSOPEN_CLOEXEC) {
            Ok(descriptor) => {
                let log = RefCell::new(KernelLog::from_here());
                Ok(Self { descriptor, log, file_system, target })
            }
            Err(Errno::NODEV) => Err(MountError::NoFileSystem { file_system }),
            Err(errno) => Err(MountError::Mount {
                file_system,
                target: target.to_owned(),
                messages: KernelMessages::default(),
                source: errno.into(),
            }),
        }
    }

    fn string(&self, key: &str, value: impl rustix::path::Arg) -> Result<(), MountError> {
        self.check(fsconfig_set_string(&self.descriptor, key, value))
    }

    fn flag(&self, key: &str) -> Result<(), MountError> {
        self.check(fsconfig_set_flag(&self.descriptor, key))
    }

    fn mount(&self, attributes: MountAttrFlags) -> Result<(), MountError> {
        self.check(fsconfig_create(&self.descriptor))?;
        let flags = FsMountFlags::FSMOUNT_CLOEXEC;
        let mount = self.check(fsmount(&self.descriptor, flags, attributes))?;
        let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH;
        self.check(move_mount(&mount, "", rustix::fs::CWD, self.target, flags))
    }

    /// Reads what waits in the context (`fs/fsopen.c`, `fscontext_read`: one message a read), and in the log.
    fn messages(&self) -> KernelMessages {
        let mut messages = KernelMessages::default();
        let mut buffer = [0; MESSAGE_LIMIT_BYTES];
        for _ in 0..CONTEXT_MESSAGES {
            let Ok(length) = rustix::io::read(&self.descriptor, &mut buffer) else { break };
            let text = String::from_utf8_lossy(&buffer[..length]);
            // Each message starts with `e `, `w ` or `i `.
            let text = text.trim_end();
            messages.push(text.get(2..).unwrap_or(text));
        }
        // overlayfs logs as `overlayfs: `, EROFS as `erofs: ` or `erofs (device dm-0): `.
        messages.append(&self.log.borrow_mut().messages(self.file_system));
        messages
    }

    fn check<T>(&self, result: Result<T, Errno>) -> Result<T, MountError> {
        result.map_err(|errno| MountError::Mount {
            file_system: self.file_system,
            target: self.target.to_owned(),
            messages: self.messages(),
            source: errno.into(),
        })
    }
}

/// The greatest number of lower directories (`fs/overlayfs/params.h`, `OVL_MAX_STACK`).
pub const LOWER_LIMIT: usize = 500;

/// The kernel keeps at most 8 messages (`fs/fsopen.c`, `fc_log`).
const CONTEXT_MESSAGES: usize = 8;
/// Longer messages are cut; they are single lines.
const MESSAGE_LIMIT_BYTES: usize = 1024;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mount_table::MountTable;

    #[test]
    fn overlay_shows_the_topmost_file_and_goes_away() {
        if !rustix::process::geteuid().is_root() {
            return osguard_testkit::skip("root");
        }
        let directory = tempfile::tempdir().unwrap();
        let lowers: Vec<PathBuf> = ["top", "middle", "bottom"]
            .iter()
            .map(|name| {
                let lower = directory.path().join(name);
                std::fs::create_dir(&lower).unwrap();
                std::fs::write(lower.join(name), name).unwrap();
                std::fs::write(lower.join("shared"), name).unwrap();
                lower
            })
            .collect();
        let target = directory.path().join("target");
        std::fs::create_dir(&target).unwrap();
        let overlay = Overlay { source: "osguard-test", lowers: &lowers, upper: None };
        mount_overlay(&overlay, &target).unwrap();

        assert_eq!(std::fs::read(target.join("shared")).unwrap(), b"top");
        assert_eq!(std::fs::read(target.join("bottom")).unwrap(), b"bottom");
        let error = std::fs::write(target.join("new"), "").unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ReadOnlyFilesystem);
        assert_eq!(MountTable::read().unwrap().at(&target).unwrap().source, "osguard-test");

        let open = std::fs::File::open(target.join("shared")).unwrap();
        assert!(matches!(unmount(&target), Err(MountError::Busy { .. })));
        drop(open);
        unmount(&target).unwrap();
        assert_eq!(MountTable::read().unwrap().at(&target), None);
        assert!(matches!(unmount(&target), Err(MountError::Unmount { .. })));
    }

    #[test]
    fn refusal_carries_the_words_of_the_kernel() {
        if !rustix::process::geteuid().is_root() {
            return osguard_testkit::skip("root");
        }
        let directory = tempfile::tempdir().unwrap();
        let context = Context::open("overlay", directory.path()).unwrap();
        let error = context.string("nonsense", "x").unwrap_err();
        assert!(error.to_string().contains("; the kernel says: "), "{error}");
        assert!(error.to_string().contains("nonsense"), "{error}");

        let lowers = [directory.path().to_owned()];
        let overlay = Overlay { source: "osguard-test", lowers: &lowers, upper: None };
        let error = mount_overlay(&overlay, directory.path()).unwrap_err();
        if std::fs::File::open("/dev/kmsg").is_err() {
            return osguard_testkit::skip("/dev/kmsg");
        }
        assert!(error.to_string().contains("; the kernel says: overlayfs: "), "{error}");
    }
}
