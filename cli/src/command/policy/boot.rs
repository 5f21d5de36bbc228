//! The file that systemd loads at boot.

use std::path::{Path, PathBuf};

use osguard_node::boot_policy::{BootPolicies, is_started_by_systemd};
use osguard_node::status::IpeStatus;
use osguard_policy::blob::SignedPolicy;
use osguard_policy::version::PolicyVersion;

use crate::exit_status::ExitStatus;
use crate::failure::Failure;
use crate::output::Output;

/// Is what is to be loaded at boot.
pub(super) struct Plan(Option<BootPolicies>);

impl Plan {
    /// Looks whether a policy could be loaded at boot, if that is wanted and systemd starts this machine.
    pub(super) fn new(
        status: &IpeStatus,
        policy: &SignedPolicy,
        is_wanted: bool,
    ) -> Result<Self, Failure> {
        if !is_wanted || !is_started_by_systemd() {
            return Ok(Self(None));
        }
        let boot = BootPolicies::read(Path::new("/"))
            .map_err(|error| Failure::reading(Path::new("/etc/ipe"), error))?;
        let hazards = boot.hazards_with(policy, built_in(status));
        match hazards.into_iter().next() {
            None => Ok(Self(Some(boot))),
            Some(hazard) => Err(Failure::from_error(ExitStatus::Refused, hazard)
                .context("at its next start this machine would freeze")
                .hint(
                    "Nothing was changed. --until-reboot leaves what is loaded at boot as it is.",
                )),
        }
    }

    pub(super) fn is_wanted(&self) -> bool {
        self.0.is_some()
    }

    /// Writes the file; the policy has been taken by the running kernel by now.
    pub(super) fn install(
        &self,
        policy: &SignedPolicy,
        output: &Output,
    ) -> Result<Option<PathBuf>, Failure> {
        let Some(boot) = &self.0 else {
            output.detail("It is not loaded at boot");
            return Ok(None);
        };
        let written = boot.install(policy).map_err(|error| {
            Failure::from_error(ExitStatus::Failure, error)
                .context("the policy is in force, and cannot be written to where systemd loads it at boot")
                .hint("The same command again writes it, once there is room.")
        })?;
        Ok(Some(written))
    }
}

/// Returns the policy that the kernel has without a signature, which is built into it.
pub(super) fn built_in(status: &IpeStatus) -> Option<(&str, PolicyVersion)> {
    let policy = status.policies.iter().find(|policy| !policy.signed)?;
    Some((&policy.name, policy.version))
}
