//! A policy in force while denials are recorded only.

use std::time::{Duration, Instant};

use osguard_node::audit_watch::{AuditWatch, RECORD_LIMIT};
use osguard_node::deploy::{ACTIVATION_RECORD, Activation, Load, deploy};
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
    let unheard = |reason: &str| {
        Failure::new(
            ExitStatus::Failure,
            format!("{reason}, so that denials would not be heard of either"),
        )
        .hint("Audit records are read from the audit socket (CAP_AUDIT_READ) or the kernel's log; audit=0 switches them off.")
    };
    let mut watch = match AuditWatch::from_here() {
        Ok(watch) => watch,
        Err(error) => {
            trial::end(Request::Abort)?;
            return Err(unheard(&error.to_string()));
        }
    };
    let deployment = deploy(tree, policy, true)?;
    let is_new = deployment.load != Load::AlreadyLoaded
        || deployment.activation != Activation::AlreadyActive;
    let deadline = Instant::now() + time;
    let mut records = watch.records(&[ACTIVATION_RECORD, DENIAL_RECORD]);
    if is_new && !records.iter().any(|record| record.kind == ACTIVATION_RECORD) {
        trial::end(Request::Abort)?;
        return Err(unheard("no audit record tells of the activation"));
    }
    while Instant::now() < deadline && records.len() < RECORD_LIMIT {
        // Returns when nothing has come for a moment.
        records.extend(watch.records(&[DENIAL_RECORD]));
    }
    let found: Vec<_> = records.iter().filter(|record| record.kind == DENIAL_RECORD).collect();
    if let Some(first) = found.first() {
        trial::end(Request::Abort)?;
        return Err(Failure::new(
            ExitStatus::Refused,
            format!("{} denials were recorded, of which the first is: {}", found.len(), first.text),
        )
        .hint("The policy is not in force. `osguard audit explain` tells what to do about each denial."));
    }
    if watch.losses() > 0 {
        trial::end(Request::Abort)?;
        return Err(unheard(
            "audit records came faster than they could be read, and some are lost",
        ));
    }
    switch.write(enforce)?;
    Ok(())
}

/// `AUDIT_IPE_ACCESS` (`include/uapi/linux/audit.h`).
const DENIAL_RECORD: u16 = 1420;
