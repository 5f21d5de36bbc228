//! The machine that is looked at.

use std::io::Read;
#[cfg(test)]
use std::path::Path;
use std::path::PathBuf;

use libverity::certificate::Certificate;
use osguard_policy::kernel_config::{KernelConfig, MAX_KERNEL_CONFIG_BYTES};

use super::Unchecked;
use crate::securityfs::IpeTree;
use crate::state_directory::StateDirectory;

/// Is the machine that is looked at: this one, or for files another one whose root directory lies here.
#[derive(Clone, Debug)]
pub struct Machine {
    root: PathBuf,
    state: StateDirectory,
    expected: Option<Vec<Certificate>>,
}

impl Machine {
    /// Looks at this machine, with osguard's records in `state`.
    pub fn here(state: StateDirectory) -> Self {
        Self { root: "/".into(), state, expected: None }
    }

    /// Expects the kernel to trust these certificates, and no others.
    #[must_use]
    pub fn expecting(self, certificates: Vec<Certificate>) -> Self {
        Self { expected: Some(certificates), ..self }
    }

    /// Looks at the files below `root`.
    #[cfg(test)]
    pub(crate) fn at(root: &Path) -> Self {
        let state = StateDirectory::new(root.join("run/osguard"));
        Self { root: root.to_owned(), state, expected: None }
    }

    pub(super) fn expected(&self) -> Option<&[Certificate]> {
        self.expected.as_deref()
    }

    pub(super) fn state(&self) -> &StateDirectory {
        &self.state
    }

    pub(super) fn path(&self, path: &str) -> PathBuf {
        self.root.join(path.trim_start_matches('/'))
    }

    /// Reads a short file.
    pub(super) fn read(&self, path: &str) -> Result<String, Unchecked> {
        let read = || {
            let mut bytes = Vec::new();
            let file = std::fs::File::open(self.path(path))?;
            file.take(READ_LIMIT_BYTES).read_to_end(&mut bytes)?;
            Ok(String::from_utf8_lossy(&bytes).into_owned())
        };
        read().map_err(|error: std::io::Error| Unchecked::because(format_args!("{path}: {error}")))
    }

    /// Returns the value of a parameter of the kernel's command line, the last one if there are several; that of a flag is
    /// empty.
    pub(super) fn parameter(&self, name: &str) -> Result<Option<String>, Unchecked> {
        let line = self.read("/proc/cmdline")?;
        let mut values = line.split_ascii_whitespace().filter_map(|word| {
            let (key, value) = word.split_once('=').unwrap_or((word, ""));
            // The kernel takes one for the other.
            (key.replace('-', "_") == name.replace('-', "_")).then(|| value.to_owned())
        });
        Ok(values.next_back())
    }

    /// Opens IPE's files.
    pub(super) fn ipe(&self) -> Result<IpeTree, Unchecked> {
        IpeTree::open_at(&self.path("/sys/kernel/security"))
            .map_err(|error| Unchecked::error(&error))
    }

    /// Reads the configuration with which the running kernel was built.
    pub(crate) fn kernel_config(&self) -> Result<KernelConfig, Unchecked> {
        let release = self.read("/proc/sys/kernel/osrelease")?;
        let release = release.trim_end();
        let places = [
            "/proc/config.gz".to_owned(),
            format!("/boot/config-{release}"),
            format!("/lib/modules/{release}/config"),
            format!("/usr/lib/modules/{release}/config"),
        ];
        for place in &places {
            let Ok(file) = std::fs::File::open(self.path(place)) else { continue };
            let mut bytes = Vec::new();
            let limit = MAX_KERNEL_CONFIG_BYTES as u64 + 1;
            file.take(limit).read_to_end(&mut bytes).map_err(Unchecked::because)?;
            return KernelConfig::read(&bytes)
                .map_err(|error| Unchecked::because(format_args!("{place}: {error}")));
        }
        Err(Unchecked::because(format_args!(
            "the configuration of the kernel is not at {}",
            places.join(", ")
        )))
    }
}

const READ_LIMIT_BYTES: u64 = 1 << 20;

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// Writes a file below the root of an imitated machine.
    pub(in crate::doctor) fn write(root: &Path, path: &str, text: &str) {
        let path = root.join(path.trim_start_matches('/'));
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }

    #[test]
    fn the_last_parameter_counts() {
        let root = tempfile::tempdir().unwrap();
        write(root.path(), "/proc/cmdline", "quiet ipe.enforce=1 proc-mem.x=y ipe.enforce=0\n");
        let machine = Machine::at(root.path());
        assert_eq!(machine.parameter("ipe.enforce"), Ok(Some("0".to_owned())));
        assert_eq!(machine.parameter("quiet"), Ok(Some(String::new())));
        assert_eq!(machine.parameter("proc_mem.x"), Ok(Some("y".to_owned())));
        assert_eq!(machine.parameter("audit"), Ok(None));
    }

    #[test]
    fn the_configuration_is_that_of_the_running_kernel() {
        let root = tempfile::tempdir().unwrap();
        let machine = Machine::at(root.path());
        write(root.path(), "/proc/sys/kernel/osrelease", "6.12.1\n");
        let reason = machine.kernel_config().unwrap_err().reason;
        assert!(reason.contains("/boot/config-6.12.1"), "{reason}");
        write(root.path(), "/boot/config-6.12.1", "CONFIG_SECURITY_IPE=y\n");
        assert!(machine.kernel_config().unwrap().is_set("CONFIG_SECURITY_IPE"));
    }
}
