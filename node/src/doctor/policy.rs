//! Is a policy in force, carried out, and one that denies what nobody signed?

use osguard_policy::evaluate::{Evaluator, Facts, Volume};
use osguard_policy::kernel_version::KernelVersion;
use osguard_policy::syntax::{DigestValue, Policy, parse};
use osguard_policy::vocabulary::{Action, Operation};

use super::{Check, Finding, Machine, Unchecked};
use crate::securityfs::{IpeTree, PolicyFile};
use crate::status::{IpeStatus, LoadedPolicy};

pub(super) const CHECK: Check = Check {
    name: "policy",
    title: "A policy is in force and carried out, and denies what nobody signed",
    run,
};

fn run(machine: &Machine) -> Result<Vec<Finding>, Unchecked> {
    let tree = machine.ipe()?;
    let status = IpeStatus::read(&tree).map_err(|error| Unchecked::error(&error))?;
    let mut findings = Vec::new();
    if !status.enforce {
        findings.push(Finding::critical(
            "enforcement is switched off: denials are recorded, and everything runs",
            "write 1 to /sys/kernel/security/ipe/enforce, and find out who wrote 0 there: `osguard audit tail` shows \
             when it happens",
        ));
    }
    if machine.parameter("ipe.enforce")?.as_deref() == Some("0") {
        findings.push(Finding::warning(
            "the kernel's command line has ipe.enforce=0: after each start nothing is enforced",
            "keep that for the boot entry of emergencies",
        ));
    }
    match status.active() {
        None => findings.push(Finding::critical(
            "no policy is in force: everything runs",
            "`osguard policy deploy FILE` brings one into force",
        )),
        Some(active) => findings.extend(active_policy(&tree, active)?),
    }
    let others = status.policies.iter().filter(|policy| !policy.active);
    findings.extend(others.map(|other| {
        Finding::note(
            format!("the policy {} {} is loaded besides the active one", other.name, other.version),
            format!(
                "if nobody needs it, write 1 to /sys/kernel/security/ipe/policies/{}/delete: what is loaded can be \
                 activated",
                other.name
            ),
        )
    }));
    Ok(findings)
}

fn active_policy(tree: &IpeTree, active: &LoadedPolicy) -> Result<Vec<Finding>, Unchecked> {
    let name = &active.name;
    let text = tree
        .read_policy(name, PolicyFile::Text)
        .map_err(|error| Unchecked::error(&error))?
        .ok_or_else(|| Unchecked::because("the active policy went away while it was read"))?;
    let policy = parse(&text, KernelVersion::V7_2)
        .map_err(|error| Unchecked::because(format_args!("the active policy {name}: {error}")))?;
    let mut findings = judge(&policy);
    if !active.signed {
        findings.push(Finding::note(
            format!("the active policy {name} is built into the kernel"),
            "a signed policy of the same name and a higher version replaces it",
        ));
    }
    Ok(findings)
}

/// Finds out what a policy lets run that nobody signed.
pub(crate) fn judge(policy: &Policy) -> Vec<Finding> {
    let name = String::from_utf8_lossy(&policy.header.name.value);
    let is_allowed = |operation, facts: &Facts| {
        Evaluator::new().decide(policy, Some(operation), facts).action == Action::Allow
    };
    let unknown = DigestValue { algorithm: b"sha256".to_vec(), bytes: vec![0; 32] };
    let unsigned =
        Facts { volume: Some(Volume { root_hash: unknown, is_signed: false }), ..Facts::default() };
    let mut findings = Vec::new();
    if is_allowed(Operation::Execute, &Facts::default())
        || is_allowed(Operation::Execute, &unsigned)
    {
        findings.push(Finding::critical(
            format!("the policy {name} allows the execution of what nobody signed"),
            "`osguard policy new` writes one that does not",
        ));
    }
    if is_allowed(Operation::KernelModule, &Facts::default()) {
        findings.push(Finding::note(
            format!("the policy {name} lets kernel modules be loaded from anywhere"),
            "`osguard policy new --guard KMODULE` guards them, unless the kernel asks for signed modules anyway",
        ));
    }
    let initramfs = Facts { is_in_initramfs: true, ..Facts::default() };
    if is_allowed(Operation::Execute, &initramfs)
        && !is_allowed(Operation::Execute, &Facts::default())
    {
        findings.push(Finding::note(
            format!("the policy {name} trusts the initramfs, to which root can add files as long as it is reachable"),
            "leave boot_verified=TRUE out where nothing of the initramfs has to run on",
        ));
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::Severity;
    use crate::doctor::machine::tests::write;

    fn found(text: &str, enforce: &str, cmdline: &str) -> Vec<(Severity, String)> {
        let root = tempfile::tempdir().unwrap();
        write(root.path(), "/proc/cmdline", cmdline);
        let ipe = "/sys/kernel/security/ipe";
        write(root.path(), "/sys/kernel/security/lsm", "ipe");
        write(root.path(), &format!("{ipe}/enforce"), enforce);
        std::fs::create_dir_all(root.path().join("sys/kernel/security/ipe/policies")).unwrap();
        if !text.is_empty() {
            for (file, contents) in
                [("active", "1"), ("version", "1.0.0"), ("pkcs7", "x"), ("policy", text)]
            {
                write(root.path(), &format!("{ipe}/policies/t/{file}"), contents);
            }
        }
        let found = run(&Machine::at(root.path())).unwrap();
        found.into_iter().map(|finding| (finding.severity, finding.what)).collect()
    }

    const STRICT: &str = "policy_name=t policy_version=1.0.0\nDEFAULT action=DENY\n\
        op=EXECUTE dmverity_signature=TRUE action=ALLOW\n";

    #[test]
    fn a_strict_policy_passes() {
        assert_eq!(found(STRICT, "1", "quiet"), []);
    }

    #[test]
    fn what_lets_everything_run_is_critical() {
        let loose = "policy_name=t policy_version=1.0.0\nDEFAULT action=ALLOW\n\
            op=EXECUTE dmverity_signature=FALSE boot_verified=TRUE action=DENY\n";
        let critical = |found: Vec<(Severity, String)>| {
            let critical = found.into_iter().filter(|(one, _)| *one == Severity::Critical);
            critical.map(|(_, what)| what).collect::<Vec<_>>()
        };
        assert_eq!(critical(found("", "1", "")), ["no policy is in force: everything runs"]);
        assert_eq!(
            critical(found(loose, "1", "")),
            ["the policy t allows the execution of what nobody signed"]
        );
        let off = critical(found(STRICT, "0", ""));
        assert!(off[0].starts_with("enforcement is switched off"), "{off:?}");
        let boot = found(STRICT, "1", "ipe.enforce=0");
        assert_eq!(boot[0].0, Severity::Warning);
    }
}
