//! Are denials recorded?

use super::{Check, Finding, Machine, Unchecked};

pub(super) const CHECK: Check =
    Check { name: "audit", title: "The kernel records what it denies", run };

fn run(machine: &Machine) -> Result<Vec<Finding>, Unchecked> {
    let mut findings = Vec::new();
    if matches!(machine.parameter("audit")?.as_deref(), Some("0" | "off")) {
        findings.push(Finding::warning(
            "the kernel's command line has audit=0: nothing that is denied is recorded",
            "leave it out",
        ));
    }
    let backlog = machine.parameter("audit_backlog_limit")?;
    if backlog.as_deref().and_then(|limit| limit.parse().ok()).unwrap_or(DEFAULT_BACKLOG) < ENOUGH {
        findings.push(Finding::note(
            "the kernel keeps only some records until somebody takes them, and drops further ones",
            format!("boot with audit_backlog_limit={ENOUGH} where a policy is tried out"),
        ));
    }
    Ok(findings)
}

/// `kernel/audit.c`, `audit_backlog_limit`.
const DEFAULT_BACKLOG: u32 = 64;
const ENOUGH: u32 = 8192;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::Severity;
    use crate::doctor::machine::tests::write;

    #[test]
    fn silence_is_found() {
        let root = tempfile::tempdir().unwrap();
        let machine = Machine::at(root.path());
        write(root.path(), "/proc/cmdline", "audit_backlog_limit=8192\n");
        assert_eq!(run(&machine), Ok(Vec::new()));
        write(root.path(), "/proc/cmdline", "audit=0\n");
        let found = run(&machine).unwrap();
        assert_eq!(found[0].severity, Severity::Warning);
        assert_eq!(found[1].severity, Severity::Note);
    }
}
