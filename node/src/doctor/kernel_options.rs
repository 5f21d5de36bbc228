//! Was the kernel built, and started, with what the chain needs?

use super::{Check, Finding, Machine, Severity, Unchecked};

pub(super) const CHECK: Check = Check {
    name: "kernel-options",
    title: "The kernel was built with what signed volumes and policies need",
    run,
};

fn run(machine: &Machine) -> Result<Vec<Finding>, Unchecked> {
    let config = machine.kernel_config()?;
    let missing = OPTIONS.iter().filter(|(option, ..)| !config.is_set(option));
    let mut findings: Vec<_> = missing
        .map(|(option, severity, effect)| {
            let what = format!("the kernel was built without {option}: {effect}");
            Finding::new(*severity, what, format!("use a kernel with {option}"))
        })
        .collect();
    let forced = machine.parameter("proc_mem.force_override")?;
    if config.is_set("CONFIG_PROC_MEM_ALWAYS_FORCE")
        && !matches!(forced.as_deref(), Some("never" | "ptrace"))
    {
        findings.push(Finding::warning(
            "a process may overwrite its own signed code through /proc/self/mem",
            "boot with proc_mem.force_override=never",
        ));
    }
    Ok(findings)
}

/// Each option, how bad its absence is, and what it means.
const OPTIONS: [(&str, Severity, &str); 9] = [
    ("CONFIG_SECURITY_IPE", Severity::Critical, "nothing is enforced"),
    (
        "CONFIG_DM_VERITY_VERIFY_ROOTHASH_SIG",
        Severity::Critical,
        "no signature of a volume is verified",
    ),
    (
        "CONFIG_IPE_PROP_DM_VERITY_SIGNATURE",
        Severity::Critical,
        "dmverity_signature is never true, neither as TRUE nor as FALSE",
    ),
    (
        "CONFIG_IPE_PROP_DM_VERITY",
        Severity::Critical,
        "dmverity_roothash is never true, so that no revocation has an effect",
    ),
    ("CONFIG_EROFS_FS", Severity::Warning, "layers cannot be mounted"),
    ("CONFIG_OVERLAY_FS", Severity::Warning, "layers cannot be stacked"),
    ("CONFIG_AUDIT", Severity::Warning, "denials are not recorded"),
    (
        "CONFIG_DM_VERITY_VERIFY_ROOTHASH_SIG_SECONDARY_KEYRING",
        Severity::Note,
        "certificates in .secondary_trusted_keys and .machine do not count for volumes",
    ),
    (
        "CONFIG_DM_VERITY_VERIFY_ROOTHASH_SIG_PLATFORM_KEYRING",
        Severity::Note,
        "certificates in UEFI db do not count for volumes",
    ),
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::machine::tests::write;

    #[test]
    fn what_is_missing_is_found() {
        let root = tempfile::tempdir().unwrap();
        let machine = Machine::at(root.path());
        assert!(run(&machine).is_err());
        write(root.path(), "/proc/sys/kernel/osrelease", "6.12.1\n");
        write(root.path(), "/proc/cmdline", "quiet\n");
        let all: String = OPTIONS.iter().map(|(option, ..)| format!("{option}=y\n")).collect();
        write(root.path(), "/boot/config-6.12.1", &all);
        assert_eq!(run(&machine), Ok(Vec::new()));
        let forced = format!("{all}CONFIG_PROC_MEM_ALWAYS_FORCE=y\n");
        write(root.path(), "/boot/config-6.12.1", &forced);
        assert_eq!(run(&machine).unwrap().len(), 1);
        write(root.path(), "/proc/cmdline", "proc_mem.force_override=never\n");
        assert_eq!(run(&machine), Ok(Vec::new()));
        let without = all.replace("CONFIG_DM_VERITY_VERIFY_ROOTHASH_SIG=y\n", "");
        write(root.path(), "/boot/config-6.12.1", &without);
        assert_eq!(run(&machine).unwrap()[0].severity, Severity::Critical);
    }
}
