//! The volume behind the name of a device.

use std::path::{Path, PathBuf};

use libverity::digest::RootHash;
use osguard_policy::audit::context::{Device, DeviceKind, VerityVolume};

use crate::dm::DeviceMapper;
use crate::record::{LayerName, MountRecord};
use crate::running_verity::RunningVerity;
use crate::state_directory::StateDirectory;

/// Looks devices up in the device mapper and in the records of mounts.
pub(super) struct Volumes {
    mapper: Option<DeviceMapper>,
    state: StateDirectory,
}

impl Volumes {
    pub(super) fn new(mapper: Option<DeviceMapper>, state: StateDirectory) -> Self {
        Self { mapper, state }
    }

    /// Finds out what a device of the device mapper is; others stay as they are.
    ///
    /// # Errors
    ///
    /// Says what is unknown, and why.
    pub(super) fn look_up(&self, device: &mut Device) -> Result<(), String> {
        if device.kind != DeviceKind::Unknown {
            return Ok(());
        }
        let name = &device.name;
        let Some(mapper) = &self.mapper else {
            return Err(format!("what {name} is, may be asked by root only"));
        };
        let gone = || format!("{name} is gone, and with it what it was");
        let mapped = Path::new("/sys/block").join(name).join("dm/name");
        let mapped = std::fs::read_to_string(mapped).map_err(|_| gone())?;
        let mapped = mapped.trim_end();
        let table = match mapper.live_table(mapped) {
            Ok(table) => table.ok_or_else(gone)?,
            Err(error) => return Err(format!("what {name} is, cannot be asked: {error}")),
        };
        device.kind = match RunningVerity::of_table(&table.targets) {
            Some(verity) => DeviceKind::Verity(self.volume(mapped, verity)),
            None => {
                let targets = table.targets.into_iter().map(|target| target.kind);
                let mut kinds: Vec<_> = targets.collect();
                kinds.dedup();
                DeviceKind::Mapped { target: kinds.join(", ") }
            }
        };
        Ok(())
    }

    fn volume(&self, mapped: &str, verity: RunningVerity) -> VerityVolume {
        let (layer, mounted_at) = match LayerName::from_device(mapped) {
            Some(name) if is_root_hash(&name.root_hash, &verity) => self.layer(&name),
            _ => (None, Vec::new()),
        };
        VerityVolume { root_hash: verity.root_hash, is_signed: verity.is_signed, layer, mounted_at }
    }

    /// Finds the file of a layer, and the images that have it.
    fn layer(&self, name: &LayerName) -> (Option<PathBuf>, Vec<PathBuf>) {
        let records = self.state.records().unwrap_or_default();
        let using: Vec<&MountRecord> = records.iter().filter(|record| record.uses(name)).collect();
        let file = using.iter().flat_map(|record| &record.layers).find(|one| one.name() == *name);
        let targets = using.iter().map(|record| record.target.clone()).collect();
        (file.map(|layer| layer.image.clone()), targets)
    }
}

/// Tells whether a device runs with the root hash that its name promises.
fn is_root_hash(expected: &RootHash, verity: &RunningVerity) -> bool {
    verity.root_hash.to_string() == format!("sha256:{expected}")
}
