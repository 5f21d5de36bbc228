//! What the errors of the node mean for the exit code, and what to do about them.

use osguard_node::dm::DmError;
use osguard_node::image_mount::ImageMountError;
use osguard_node::layer_device::LayerError;
use osguard_node::probe::PrivilegeError;
use osguard_node::provision::ProvisionError;

use crate::exit_status::ExitStatus;
use crate::failure::Failure;

/// Fails because the process is not root.
pub(super) fn privilege(error: PrivilegeError) -> Failure {
    Failure::from_error(ExitStatus::Failure, error)
        .hint("Mounting needs root: run the command with sudo, or in a privileged container.")
}

impl From<ProvisionError> for Failure {
    fn from(error: ProvisionError) -> Self {
        match error {
            ProvisionError::Conversion(error) => error.into(),
            ProvisionError::Place(error) => error.into(),
            ProvisionError::NotWhatWasSigned { .. } => Self::from_error(
                ExitStatus::ContentDiffers,
                error,
            )
            .hint(
                "Somebody changed the layer after it was signed, or it was signed under another \
                     profile: `osguard verify` shows both root hashes.",
            ),
            other => Self::from_error(ExitStatus::Failure, other),
        }
    }
}

impl From<ImageMountError> for Failure {
    fn from(error: ImageMountError) -> Self {
        match error {
            ImageMountError::DeviceMapper(DmError::Unavailable { .. })
            | ImageMountError::Layer {
                source: LayerError::Device(DmError::VerityUnavailable { .. }),
                ..
            } => Self::from_error(ExitStatus::Failure, error).hint(
                "`modprobe dm_verity` loads it where the kernel has it (CONFIG_DM_VERITY); a \
                 container needs the host's /dev/mapper.",
            ),
            ImageMountError::Privilege(error) => privilege(error),
            ImageMountError::Unsigned { .. } => Self::from_error(ExitStatus::NotSigned, error).hint(
                "`osguard sign` signs an image; --allow-unsigned mounts it as it is, and under an IPE \
                 policy nothing on it runs.",
            ),
            ImageMountError::Layer { source: LayerError::Corrupt { .. }, .. } => {
                Self::from_error(ExitStatus::ContentDiffers, error)
                    .hint("The file was changed on disk: remove it, and it is converted again.")
            }
            ImageMountError::Layer { source: LayerError::Signatures { .. }, .. } => Self::from_error(ExitStatus::NotTrusted, error)
                .hint("`osguard key generate --help` tells how the kernel comes to trust a certificate."),
            other => Self::from_error(ExitStatus::Failure, other),
        }
    }
}
