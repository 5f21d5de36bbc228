//! The device mapper, and what its errors mean in veritysetup's codes.

use osguard_node::dm::{DeviceMapper, DmError};
use osguard_node::verity_device::VerityDeviceError;
use osguard_node::verity_status::VerityStatusError;

use super::{BUSY, NOT_VERIFIED, WRONG_DEVICE, WRONG_PARAMETERS};
use crate::failure::Failure;

/// Opens the device mapper.
pub(super) fn mapper() -> Result<DeviceMapper, Failure> {
    DeviceMapper::open().map_err(of_mapper)
}

/// Fails because a device was not opened or closed.
pub(super) fn of_device(error: VerityDeviceError) -> Failure {
    match error {
        VerityDeviceError::Mapper(error) => of_mapper(error),
        VerityDeviceError::Device { .. }
        | VerityDeviceError::Inactive { .. }
        | VerityDeviceError::NotVerity { .. } => Failure::from_error(WRONG_DEVICE, error),
        other => Failure::from_error(WRONG_PARAMETERS, other),
    }
}

/// Fails because the state of a device is not known.
pub(super) fn of_status(error: VerityStatusError) -> Failure {
    match error {
        VerityStatusError::Mapper(error) => of_mapper(error),
        other => Failure::from_error(WRONG_PARAMETERS, other),
    }
}

fn of_mapper(error: DmError) -> Failure {
    match error {
        DmError::NotPermitted { .. } => Failure::from_error(NOT_VERIFIED, error)
            .hint("The device mapper needs root: run the command with sudo."),
        DmError::Exists { .. } | DmError::Busy { .. } => Failure::from_error(BUSY, error),
        DmError::Unavailable { .. } | DmError::VerityUnavailable { .. } => {
            Failure::from_error(WRONG_PARAMETERS, error)
                .hint("`modprobe dm_verity` loads it where the kernel has it (CONFIG_DM_VERITY).")
        }
        DmError::Signature { .. } => Failure::from_error(WRONG_PARAMETERS, error).hint(
            "`osguard key generate --help` tells how the kernel comes to trust a certificate.",
        ),
        other => Failure::from_error(WRONG_PARAMETERS, other),
    }
}
