//! What the errors of deployment mean for the exit code, and what to do about them.

use osguard_node::deploy::DeployError;
use osguard_node::probe::PrivilegeError;
use osguard_node::securityfs::{IpeUnavailable, SecurityfsError};

use crate::exit_status::ExitStatus;
use crate::failure::Failure;

/// Fails because this kernel has no IPE, or does not show it.
pub(super) fn unavailable(error: IpeUnavailable) -> Failure {
    let hint = match &error {
        IpeUnavailable::NoSecurityfs { directory, .. } => format!(
            "`mount -t securityfs securityfs {}` mounts it; a container needs the host's.",
            directory.display()
        ),
        IpeUnavailable::NotStarted { .. } => {
            "Add ipe to the list lsm= on the kernel's command line, or take lsm= away.".to_owned()
        }
        _ => {
            "Linux 6.12 or newer is needed, built with CONFIG_SECURITY_IPE and, where its command \
              line has lsm=, with ipe in that list."
                .to_owned()
        }
    };
    Failure::from_error(ExitStatus::Failure, error).hint(hint)
}

/// Fails because the process lacks a right.
pub(super) fn privilege(error: PrivilegeError) -> Failure {
    Failure::from_error(ExitStatus::Failure, error).hint(
        "Policies are changed by root of the machine itself; in a container CAP_MAC_ADMIN and the host's \
         /sys/kernel/security are needed.",
    )
}

impl From<DeployError> for Failure {
    fn from(error: DeployError) -> Self {
        Self::from_error(ExitStatus::Failure, error)
    }
}

impl From<SecurityfsError> for Failure {
    fn from(error: SecurityfsError) -> Self {
        Self::from_error(ExitStatus::Failure, error)
    }
}
