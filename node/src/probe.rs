//! What this process may do, and what this kernel can.

use std::io;

use rustix::thread::CapabilitySet;

use crate::dm::{DeviceMapper, DmError, TargetVersion};

/// Checks that the calling process may mount and make devices.
///
/// # Errors
///
/// Fails for an effective user other than root and without `CAP_SYS_ADMIN`, as in a container.
pub fn require_root() -> Result<(), PrivilegeError> {
    let user = rustix::process::geteuid();
    if !user.is_root() {
        return Err(PrivilegeError::NotRoot { user: user.as_raw() });
    }
    let sets = rustix::thread::capabilities(None)
        .map_err(|errno| PrivilegeError::Unknown { source: errno.into() })?;
    if !sets.effective.contains(CapabilitySet::SYS_ADMIN) {
        return Err(PrivilegeError::NoCapability { capability: "CAP_SYS_ADMIN" });
    }
    Ok(())
}

/// Checks that the calling process may change policies.
///
/// # Errors
///
/// Fails without `CAP_MAC_ADMIN`, which a container's root usually lacks.
pub fn require_policy_rights() -> Result<(), PrivilegeError> {
    let user = rustix::process::geteuid();
    if !user.is_root() {
        return Err(PrivilegeError::NotRoot { user: user.as_raw() });
    }
    let sets = rustix::thread::capabilities(None)
        .map_err(|errno| PrivilegeError::Unknown { source: errno.into() })?;
    match sets.effective.contains(CapabilitySet::MAC_ADMIN) {
        true => Ok(()),
        false => Err(PrivilegeError::NoCapability { capability: "CAP_MAC_ADMIN" }),
    }
}

/// Opens the device mapper of a kernel that has dm-verity.
///
/// A module that is not loaded yet is found in `/proc/modules` only after the first table, so the absence of the target is
/// no proof; `None` is returned as the version then.
///
/// # Errors
///
/// Fails without device mapper, and without root.
pub fn device_mapper() -> Result<(DeviceMapper, Option<TargetVersion>), DmError> {
    let mapper = DeviceMapper::open()?;
    let version = mapper.target_version("verity")?;
    Ok((mapper, version))
}

/// Reads the release of the running kernel, such as `6.12.48+deb12-cloud-amd64`; empty where `/proc` is not mounted.
pub fn kernel_release() -> String {
    let text = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    text.trim_end().to_owned()
}

/// Reads the configuration with which the running kernel was built, gzipped or not; `None` where it is not to be found.
pub fn kernel_config() -> Option<Vec<u8>> {
    let release = kernel_release();
    let files = [
        "/proc/config.gz".to_owned(),
        format!("/boot/config-{release}"),
        format!("/lib/modules/{release}/config"),
        format!("/usr/lib/modules/{release}/config"),
    ];
    files.iter().find_map(|file| std::fs::read(file).ok())
}

/// Tells whether the kernel has the file system `name` at hand; a module that is not loaded is not seen.
pub fn has_file_system(name: &str) -> bool {
    let list = std::fs::read_to_string("/proc/filesystems").unwrap_or_default();
    list.lines().any(|line| line.split_ascii_whitespace().last() == Some(name))
}

/// Says what the calling process lacks.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PrivilegeError {
    /// The process is root without the rights of root.
    #[error("{capability} is needed; this process is root without it, as in a container")]
    NoCapability {
        /// The capability.
        capability: &'static str,
    },
    /// The process is not root.
    #[error("root is needed, and this process runs as user {user}")]
    NotRoot {
        /// The effective user.
        user: u32,
    },
    /// The rights of the process cannot be found out.
    #[error("cannot read the capabilities of this process")]
    Unknown {
        /// The kernel's answer.
        source: io::Error,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn facts_about_the_kernel_are_read() {
        assert!(kernel_release().contains('.'));
        assert!(has_file_system("proc"));
        assert!(!has_file_system("no-such-file-system"));
    }

    #[test]
    fn root_is_told_from_users() {
        match require_root() {
            Ok(()) => assert!(rustix::process::geteuid().is_root()),
            Err(PrivilegeError::NotRoot { user }) => assert_ne!(user, 0),
            Err(error) => assert!(matches!(error, PrivilegeError::NoCapability { .. }), "{error}"),
        }
    }
}
