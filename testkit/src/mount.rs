//! Images as the kernel of this machine mounts them.

use std::fs;
use std::path::{Path, PathBuf};

use crate::command::{command, run};
use crate::error::{Error, Result};

/// Is an EROFS image that is mounted until this is dropped.
#[derive(Debug)]
pub struct MountedImage {
    directory: PathBuf,
}

impl MountedImage {
    /// Mounts the image in `file`, through a loop device, on a directory that is there.
    ///
    /// # Errors
    ///
    /// [`Error::Missing`] without root or without EROFS in the kernel, [`Error::Command`] if the
    /// kernel refuses the image.
    pub fn new(file: &Path, directory: &Path) -> Result<Self> {
        if !rustix::process::geteuid().is_root() {
            return Err(Error::Missing("root, who alone may mount an image".to_owned()));
        }
        let known = Path::new("/proc/filesystems");
        let known = fs::read_to_string(known).map_err(Error::io(known))?;
        if !known.lines().any(|line| line.trim() == "erofs") {
            return Err(Error::Missing("EROFS in the kernel of this machine".to_owned()));
        }
        run(command("mount")?.args(["-t", "erofs", "-o", "loop,ro"]).arg(file).arg(directory))?;
        Ok(Self { directory: directory.to_owned() })
    }
}

impl Drop for MountedImage {
    fn drop(&mut self) {
        // A file that is still read keeps it; the loop device goes away with the mount.
        let _ = command("umount").and_then(|mut umount| run(umount.arg(&self.directory)));
    }
}
