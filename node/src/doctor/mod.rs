//! What is wrong with this machine, for somebody who relies on IPE and dm-verity.
//!
//! Root can undermine both without a trace in what they themselves tell: a table that ignores corruption counts as signed, a
//! device remembers the signature of a table that it does not run any more, enforcement is switched off with one byte. So
//! each [`Check`] compares what runs with what should.
//!
//! A check is one file with one public constant; [`CHECKS`] lists them. A check that cannot look says so, and that counts as
//! little as a finding does: nothing is healthy because nobody could see it.

mod audit;
mod containerd;
mod containerd_config;
mod erofs_mounts;
mod firmware_keys;
mod ipe;
mod kernel_options;
mod keyrings;
mod layers;
mod loop_devices;
mod machine;
mod oci_runtime;
mod overlay;
mod policy;
mod verity_tables;

use std::fmt;

pub(crate) use containerd::addresses as containerd_addresses;
pub(crate) use keyrings::{DM_VERITY, find_keyring, volume_keyrings};
pub use machine::Machine;
pub(crate) use policy::judge as judge_policy;

/// Lists all checks, in the order in which they are made.
pub const CHECKS: [Check; 12] = [
    ipe::CHECK,
    policy::CHECK,
    kernel_options::CHECK,
    verity_tables::CHECK,
    layers::CHECK,
    erofs_mounts::CHECK,
    keyrings::CHECK,
    audit::CHECK,
    containerd::CHECK,
    oci_runtime::CHECK,
    overlay::CHECK,
    loop_devices::CHECK,
];

/// Are the checks of what a kernel needs to enforce anything.
pub(crate) const KERNEL_CHECKS: [Check; 2] = [ipe::CHECK, kernel_options::CHECK];

/// Are the checks of what containers need under a policy.
pub(crate) const RUNTIME_CHECKS: [Check; 4] =
    [containerd::CHECK, oci_runtime::CHECK, overlay::CHECK, loop_devices::CHECK];

/// Looks for one kind of trouble.
#[derive(Clone, Copy)]
pub struct Check {
    /// Its name, which does not change.
    pub name: &'static str,
    /// What is right when it finds nothing, a sentence without its full stop.
    pub title: &'static str,
    run: fn(&Machine) -> Result<Vec<Finding>, Unchecked>,
}

impl Check {
    /// Looks.
    ///
    /// # Errors
    ///
    /// Fails where it cannot look: without root, or where something is not there that it needs.
    pub fn run(&self, machine: &Machine) -> Result<Vec<Finding>, Unchecked> {
        (self.run)(machine)
    }
}

/// Is something that was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// How bad it is.
    pub severity: Severity,
    /// What is wrong with which object, a sentence without its full stop.
    pub what: String,
    /// What to do about it.
    pub remedy: String,
}

impl Finding {
    fn new(severity: Severity, what: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { severity, what: what.into(), remedy: remedy.into() }
    }

    fn critical(what: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self::new(Severity::Critical, what, remedy)
    }

    fn warning(what: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self::new(Severity::Warning, what, remedy)
    }

    fn note(what: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self::new(Severity::Note, what, remedy)
    }
}

/// Tells how bad something is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Severity {
    /// Good to know.
    Note,
    /// Protection is weaker than it could be.
    Warning,
    /// Something runs, or can run, that nobody signed.
    Critical,
}

impl fmt::Display for Severity {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Note => "note",
            Self::Warning => "warning",
            Self::Critical => "critical",
        })
    }
}

/// Says why a check could not look.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct Unchecked {
    /// Why, a sentence without its full stop.
    pub reason: String,
}

impl Unchecked {
    pub(crate) fn because(reason: impl fmt::Display) -> Self {
        Self { reason: reason.to_string() }
    }

    /// Takes over an error with all its causes.
    pub(crate) fn error(error: &dyn std::error::Error) -> Self {
        let mut reason = error.to_string();
        let mut cause = error.source();
        while let Some(source) = cause {
            reason = format!("{reason}: {source}");
            cause = source.source();
        }
        Self { reason }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn names_are_unique_and_sort_by_severity() {
        let names: BTreeSet<_> = CHECKS.iter().map(|check| check.name).collect();
        assert_eq!(names.len(), CHECKS.len());
        assert!(Severity::Critical > Severity::Warning && Severity::Warning > Severity::Note);
    }

    /// Whatever machine this is: nothing panics, and nothing that was not looked at passes for healthy.
    #[test]
    fn an_empty_machine_is_not_healthy() {
        let directory = tempfile::tempdir().unwrap();
        let machine = Machine::at(directory.path());
        for check in [ipe::CHECK, policy::CHECK, kernel_options::CHECK, audit::CHECK] {
            let found = check.run(&machine);
            assert!(found.is_err() || found.is_ok_and(|found| !found.is_empty()), "{}", check.name);
        }
    }
}
