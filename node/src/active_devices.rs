//! Which layers have a verity device at the moment, as sysfs tells it: no record has to be asked, and no device opened.
//!
//! ```text
//! /sys/block/dm-3/dm/name                      osguard-<root hash>
//! /sys/block/dm-3/slaves/loop5
//! /sys/block/loop5/loop/backing_file           …/layers/<layer digest>-<profile>.erofs
//! ```
//!
//! Source: the kernel's `Documentation/ABI/testing/sysfs-block-dm`, and `drivers/block/loop.c`.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::{Path, PathBuf};

use libverity::digest::Digest;

use crate::image_store::ImageStore;
use crate::record::LayerName;

/// Is the verity device of a layer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ActiveDevice {
    /// Its name in the kernel, such as `dm-3`.
    pub kernel_name: String,
    /// The root hash, and whether the kernel has verified a signature of it.
    pub layer: LayerName,
    /// The digest of the layer that its image was made of; `None` where the file is not of the store.
    pub digest: Option<Digest>,
}

/// Lists the devices of layers, by their names in the kernel.
///
/// # Errors
///
/// Fails where sysfs cannot be read. A device that goes away meanwhile is left out.
pub fn active_devices() -> Result<Vec<ActiveDevice>, ActiveDevicesError> {
    read(Path::new("/sys/block"))
}

/// Says that sysfs cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("cannot read {}", path.display())]
pub struct ActiveDevicesError {
    /// The directory.
    pub path: PathBuf,
    /// Why.
    pub source: io::Error,
}

fn read(blocks: &Path) -> Result<Vec<ActiveDevice>, ActiveDevicesError> {
    let failed = |source| ActiveDevicesError { path: blocks.to_owned(), source };
    let mut devices = Vec::new();
    for entry in fs::read_dir(blocks).map_err(failed)? {
        let name = entry.map_err(failed)?.file_name();
        if let Some(kernel_name) = name.to_str().filter(|name| name.starts_with("dm-")) {
            devices.extend(device(blocks, kernel_name));
        }
    }
    devices.sort_by_key(|device| {
        let number = device.kernel_name.trim_start_matches("dm-").parse::<u32>();
        (number.unwrap_or(u32::MAX), device.kernel_name.clone())
    });
    Ok(devices)
}

/// Reads of one device; `None` if it is no layer's, or gone.
fn device(blocks: &Path, kernel_name: &str) -> Option<ActiveDevice> {
    let directory = blocks.join(kernel_name);
    let name = fs::read_to_string(directory.join("dm/name")).ok()?;
    let layer = LayerName::from_device(name.trim_end())?;
    let slaves = fs::read_dir(directory.join("slaves")).into_iter().flatten().flatten();
    let digest = slaves
        .filter_map(|slave| backing_file(&blocks.join(slave.file_name())))
        .find_map(|file| ImageStore::layer_of(&file));
    Some(ActiveDevice { kernel_name: kernel_name.to_owned(), layer, digest })
}

/// Returns the file behind a loop device; the kernel marks one that was removed.
fn backing_file(device: &Path) -> Option<PathBuf> {
    let text = fs::read(device.join("loop/backing_file")).ok()?;
    let path = text.strip_suffix(b"\n").unwrap_or(&text);
    let path = path.strip_suffix(b" (deleted)").unwrap_or(path);
    Some(PathBuf::from(OsString::from_vec(path.to_vec())))
        .filter(|path| !path.as_os_str().as_bytes().is_empty())
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// Writes what sysfs has of a device.
    pub(crate) fn write(blocks: &Path, number: usize, name: &str, backing_file: &str) {
        let at = |path: String, text: &str| {
            let path = blocks.join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, format!("{text}\n")).unwrap();
        };
        at(format!("dm-{number}/dm/name"), name);
        fs::create_dir_all(blocks.join(format!("dm-{number}/slaves/loop{number}"))).unwrap();
        at(format!("loop{number}/loop/backing_file"), backing_file);
    }

    #[test]
    fn layers_are_known_by_their_devices() {
        let blocks = tempfile::tempdir().unwrap();
        let digest = Digest::of(b"layer");
        let root_hash = "ab".repeat(32);
        let image = ImageStore::default().path(&digest, "containerd-full-v1");
        let image = image.display().to_string();
        write(blocks.path(), 10, &format!("osguard-{root_hash}"), &image);
        write(
            blocks.path(),
            2,
            &format!("osguard-unsigned-{root_hash}"),
            &format!("{image} (deleted)"),
        );
        write(blocks.path(), 3, "vg-root", "/disk");
        write(blocks.path(), 4, &format!("osguard-{root_hash}"), "/elsewhere");
        fs::create_dir_all(blocks.path().join("dm-5")).unwrap();
        let found: Vec<_> = read(blocks.path())
            .unwrap()
            .into_iter()
            .map(|device| (device.kernel_name, device.layer.signed, device.digest))
            .collect();
        let expected =
            [("dm-2", false, Some(digest)), ("dm-4", true, None), ("dm-10", true, Some(digest))];
        assert_eq!(found, expected.map(|(name, signed, digest)| (name.to_owned(), signed, digest)));
        assert!(read(&blocks.path().join("missing")).is_err());
    }
}
