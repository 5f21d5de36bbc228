//! Mount namespaces (`mount_namespaces(7)`): which processes see the same mounts.
//!
//! A daemon with private mounts and a shell on the same node share `/run/osguard`, but neither sees what the other has
//! mounted, and must not take it for a leftover.

use std::io;
use std::os::unix::fs::MetadataExt;

use serde::{Deserialize, Serialize};

/// Names a mount namespace by the number of its file in `/proc`, which is in use once at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct MountNamespace(u64);

impl MountNamespace {
    /// Finds out the namespace of the calling process.
    ///
    /// # Errors
    ///
    /// Fails when `/proc` is not mounted.
    pub fn current() -> Result<Self, MountNamespaceError> {
        let metadata = std::fs::metadata(OWN).map_err(|source| MountNamespaceError { source })?;
        Ok(Self(metadata.ino()))
    }

    /// Tells whether a process lives in the namespace. One that is kept by a file alone is taken for dead.
    pub fn is_alive(self) -> bool {
        let processes = std::fs::read_dir("/proc").into_iter().flatten().flatten();
        processes
            .filter(|process| process.file_name().as_encoded_bytes()[0].is_ascii_digit())
            .filter_map(|process| std::fs::metadata(process.path().join("ns/mnt")).ok())
            .any(|metadata| metadata.ino() == self.0)
    }
}

/// Says that the namespace of the process cannot be found out.
#[derive(Debug, thiserror::Error)]
#[error("cannot read {OWN}")]
pub struct MountNamespaceError {
    /// The kernel's answer.
    pub source: io::Error,
}

const OWN: &str = "/proc/self/ns/mnt";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn own_namespace_is_alive_and_others_are_not() {
        let own = MountNamespace::current().unwrap();
        assert!(own.is_alive());
        assert!(!MountNamespace(1).is_alive());
    }
}
