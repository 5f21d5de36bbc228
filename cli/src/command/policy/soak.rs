//! A policy in force while denials are recorded only.

use std::time::{Duration, Instant};

use osguard_node::deploy::{Activation, Load, deploy};
use osguard_node::kernel_log::KernelLog;
use osguard_node::securityfs::IpeTree;
use osguard_node::trial_guard::Request;
use osguard_policy::blob::SignedPolicy;

use super::trial;
use crate::exit_status::ExitStatus;
use crate::failure::Failure;
use crate::output::Output;

/// Has denials recorded only for `time`, and enforced afterwards as they were before.
///
/// The guard is there already: should this process be killed, it brings the former state back.
pub(super) fn soak(
    tree: &IpeTree,
    policy: &SignedPolicy,
    time: Duration,
    enforce: bool,
    output: &Output,
) -> Result<(), Failure> {
    let switch = tree.open_enforce()?;
    switch.write(false)?;
    output.detail(format_args!("Denials are recorded only for {} s", time.as_secs()));
    let mut log = KernelLog::from_here();
    let mut activations = KernelLog::from_here();
    let deployment = deploy(tree, policy, true)?;
    let is_new = deployment.load != Load::AlreadyLoaded
        || deployment.activation != Activation::AlreadyActive;
    if is_new && activations.audit_records(ACTIVATION_RECORD).is_empty() {
        trial::end(Request::Abort)?;
        return Err(Failure::new(
            ExitStatus::Failure,
            "the kernel's log does not tell of the activation, so that it would not tell of denials either",
        )
        .hint("A running auditd takes the records, and audit=0 switches them off."));
    }
    let deadline = Instant::now() + time;
    let mut found = Vec::new();
    while let Some(left) = deadline.checked_duration_since(Instant::now()) {
        std::thread::sleep(left.min(Duration::from_millis(200)));
        found.extend(log.audit_records(DENIAL_RECORD));
    }
    found.extend(log.audit_records(DENIAL_RECORD));
    if let Some(first) = found.first() {
        trial::end(Request::Abort)?;
        return Err(Failure::new(
            ExitStatus::Refused,
            format!("{} denials were recorded, of which the first is: {first}", found.len()),
        )
        .hint("The policy is not in force. `osguard audit explain` tells what to do about each denial."));
    }
    switch.write(enforce)?;
    Ok(())
}

/// `AUDIT_IPE_CONFIG_CHANGE` (`include/uapi/linux/audit.h`).
const ACTIVATION_RECORD: u16 = 1421;
/// `AUDIT_IPE_ACCESS` (`include/uapi/linux/audit.h`).
const DENIAL_RECORD: u16 = 1420;
