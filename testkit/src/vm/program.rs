//! Programs of this machine in the guest.

use std::path::Path;

use super::initramfs::Initramfs;
use crate::command::{command, run};
use crate::error::{Error, Result};

/// Adds a program as `/usr/bin/NAME`, and the shared libraries that `ldd` names at their paths.
pub(super) fn add(path: &Path, initramfs: &mut Initramfs) -> Result<()> {
    let name = path
        .file_name()
        .and_then(|name| name.to_str())
        .ok_or_else(|| Error::unexpected(path.display(), "no name of a program"))?;
    initramfs.file(&format!("/usr/bin/{name}"), path)?;
    // ldd fails on a static program.
    let libraries = match run(command("ldd")?.arg(path)) {
        Err(Error::Command { .. }) => return Ok(()),
        libraries => libraries?,
    };
    for line in String::from_utf8_lossy(&libraries).lines() {
        let Some(library) = line.split_whitespace().find(|word| word.starts_with('/')) else {
            if line.contains("not found") {
                return Err(Error::unexpected(path.display(), line.trim()));
            }
            continue;
        };
        initramfs.file(library, Path::new(library))?;
    }
    Ok(())
}
