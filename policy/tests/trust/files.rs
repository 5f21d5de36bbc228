//! A directory with certificates and configurations.

use std::fs;
use std::path::PathBuf;

use osguard_policy::trust::{TrustConfiguration, TrustError};
use tempfile::TempDir;

/// Is a directory in which a configuration and its certificates lie.
pub(crate) struct Files {
    directory: TempDir,
}

impl Files {
    /// Makes a directory with `alice.crt` and `mallory.crt`.
    pub(crate) fn new() -> Self {
        let files = Self { directory: tempfile::tempdir().unwrap() };
        for name in ["alice.crt", "mallory.crt"] {
            let keys = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../testdata/keys");
            files.write(name, &fs::read(keys.join(name)).unwrap());
        }
        files
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    pub(crate) fn write(&self, name: &str, contents: &[u8]) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, contents).unwrap();
    }

    /// Writes a configuration and reads it.
    pub(crate) fn read(&self, name: &str, text: &str) -> Result<TrustConfiguration, TrustError> {
        self.write(name, text.as_bytes());
        TrustConfiguration::read(&self.path(name))
    }

    /// Reads a configuration that is refused, and returns why, without the directory.
    pub(crate) fn refusal(&self, name: &str, text: &str) -> String {
        let error = self.read(name, text).unwrap_err().to_string();
        error.replace(&format!("{}/", self.directory.path().display()), "")
    }
}
