//! Are there loop devices, and room for more mounts?
//!
//! Every layer takes a loop device, a verity device and a mount. Loop devices are made as they are asked for
//! (`drivers/block/loop.c`, `LOOP_CTL_GET_FREE`), so that what limits a node is the number of mounts of a namespace.

use super::{Check, Finding, Machine, Unchecked};

pub(super) const CHECK: Check =
    Check { name: "loop-devices", title: "There are loop devices and mounts for more layers", run };

fn run(machine: &Machine) -> Result<Vec<Finding>, Unchecked> {
    let mut findings = Vec::new();
    if !machine.path("/dev/loop-control").exists() {
        findings.push(Finding::warning(
            "there is no /dev/loop-control: no layer can be mounted",
            "`modprobe loop`, and a line `loop` in /etc/modules-load.d/osguard.conf; a container needs the host's /dev",
        ));
    }
    let limit = machine.read("/proc/sys/fs/mount-max")?;
    let limit: usize = limit.trim().parse().map_err(|_| {
        Unchecked::because(format_args!("/proc/sys/fs/mount-max: {:?} is no number", limit.trim()))
    })?;
    let mounts = machine.read("/proc/self/mountinfo")?.lines().count();
    if mounts.saturating_add(ROOM_FOR_MOUNTS) > limit {
        findings.push(Finding::warning(
            format!("{mounts} of at most {limit} mounts are taken (fs.mount-max)"),
            format!("write fs.mount-max = {DEFAULT_MOUNT_LIMIT} into /etc/sysctl.d/osguard.conf"),
        ));
    }
    Ok(findings)
}

/// A hundred images of ten layers.
const ROOM_FOR_MOUNTS: usize = 1000;
/// `fs/namespace.c`, `sysctl_mount_max`.
const DEFAULT_MOUNT_LIMIT: usize = 100_000;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::machine::tests::write;

    #[test]
    fn what_is_used_up_is_found() {
        let root = tempfile::tempdir().unwrap();
        let machine = Machine::at(root.path());
        write(root.path(), "/proc/self/mountinfo", "1\n2\n3\n");
        assert!(run(&machine).is_err());
        write(root.path(), "/proc/sys/fs/mount-max", "100000\n");
        write(root.path(), "/dev/loop-control", "");
        assert_eq!(run(&machine), Ok(Vec::new()));
        write(root.path(), "/proc/sys/fs/mount-max", "1002\n");
        assert_eq!(
            run(&machine).unwrap()[0].what,
            "3 of at most 1002 mounts are taken (fs.mount-max)"
        );
        std::fs::remove_file(root.path().join("dev/loop-control")).unwrap();
        assert_eq!(run(&machine).unwrap().len(), 2);
    }
}
