//! What the kernel's policy sees of block devices: which of them are dm-verity volumes.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io;

use osguard_policy::evaluate::Volume;

use crate::device_number::DeviceNumber;
use crate::dm::{DeviceMapper, DmError};
use crate::running_verity::RunningVerity;

/// Answers which devices are dm-verity volumes; what it has found once it keeps in mind.
pub struct VerityVolumes {
    /// None on a kernel without device mapper, which has no such volume.
    mapper: Option<DeviceMapper>,
    known: RefCell<BTreeMap<DeviceNumber, Option<Volume>>>,
}

impl VerityVolumes {
    /// Opens the device mapper.
    ///
    /// # Errors
    ///
    /// Fails without root.
    pub fn open() -> Result<Self, DmError> {
        let mapper = match DeviceMapper::open() {
            Ok(mapper) => Some(mapper),
            Err(DmError::Unavailable { .. }) => None,
            Err(error) => return Err(error),
        };
        Ok(Self { mapper, known: RefCell::default() })
    }

    /// Returns what IPE knows of a device; `None` where it is no dm-verity volume.
    ///
    /// That is read from the table that runs. IPE keeps to what it has heard when a table of dm-verity was last
    /// started on the device, even where another kind of table has taken its place: nobody but root can make
    /// that difference.
    ///
    /// # Errors
    ///
    /// Fails where the device mapper does not answer.
    pub fn volume(&self, device: DeviceNumber) -> Result<Option<Volume>, DmError> {
        if let Some(known) = self.known.borrow().get(&device) {
            return Ok(known.clone());
        }
        let volume = self.read(device)?;
        self.known.borrow_mut().insert(device, volume.clone());
        Ok(volume)
    }

    fn read(&self, device: DeviceNumber) -> Result<Option<Volume>, DmError> {
        let Some(mapper) = &self.mapper else { return Ok(None) };
        // Absent for whatever is no whole device of the device mapper, and IPE looks at these alone.
        let file = format!("/sys/dev/block/{device}/dm/name");
        let name = match std::fs::read_to_string(&file) {
            Ok(name) => name,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(DmError::Node { node: file.into(), source }),
        };
        let live = mapper.live_table(name.trim_end())?.unwrap_or_default();
        let running = RunningVerity::of_table(&live.targets);
        Ok(running
            .map(|running| Volume { root_hash: running.root_hash, is_signed: running.is_signed }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices_that_are_not_there_are_no_volume() {
        let Ok(volumes) = VerityVolumes::open() else {
            return osguard_testkit::skip("root");
        };
        let nothing = DeviceNumber { major: 4095, minor: 7 };
        assert_eq!(volumes.volume(nothing).unwrap(), None);
    }
}
