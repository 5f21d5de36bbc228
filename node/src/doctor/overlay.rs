//! Can layers be stacked, and does the stack keep what was signed?

use super::{Check, Finding, Machine, Unchecked};

pub(super) const CHECK: Check =
    Check { name: "overlay", title: "Layers can be stacked by overlayfs", run };

fn run(machine: &Machine) -> Result<Vec<Finding>, Unchecked> {
    let file_systems = machine.read("/proc/filesystems")?;
    let has_overlay =
        file_systems.lines().any(|line| line.split_whitespace().last() == Some("overlay"));
    let mut findings = Vec::new();
    if !has_overlay {
        findings.push(Finding::warning(
            "the kernel does not have overlayfs at hand: no image of several layers can be mounted, and runc copies itself \
             into memory, where it does not run",
            "`modprobe overlay`, and a line `overlay` in /etc/modules-load.d/osguard.conf",
        ));
    }
    // A module that is not loaded has no parameters.
    let metacopy = machine.read("/sys/module/overlay/parameters/metacopy").unwrap_or_default();
    if metacopy.trim() == "Y" {
        findings.push(Finding::warning(
            "overlayfs keeps the content of a file whose mode or owner a container has changed (metacopy): a signed program \
             goes on to run with the owner, mode and setuid bit that the container gave it",
            "boot with overlay.metacopy=off",
        ));
    }
    Ok(findings)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::machine::tests::write;

    #[test]
    fn what_is_missing_or_too_much_is_found() {
        let root = tempfile::tempdir().unwrap();
        let machine = Machine::at(root.path());
        assert!(run(&machine).is_err());
        write(root.path(), "/proc/filesystems", "nodev\tproc\n\text4\n");
        assert!(run(&machine).unwrap()[0].what.contains("does not have overlayfs"));
        write(root.path(), "/proc/filesystems", "nodev\tproc\nnodev\toverlay\n");
        assert_eq!(run(&machine), Ok(Vec::new()));
        write(root.path(), "/sys/module/overlay/parameters/metacopy", "N\n");
        assert_eq!(run(&machine), Ok(Vec::new()));
        write(root.path(), "/sys/module/overlay/parameters/metacopy", "Y\n");
        assert_eq!(run(&machine).unwrap().len(), 1);
    }
}
