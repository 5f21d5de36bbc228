//! IPE's files in securityfs (`security/ipe/fs.c`, `policy_fs.c`).
//!
//! ```text
//! /sys/kernel/security/ipe/
//! ├── new_policy            write: a signed policy
//! ├── enforce               0 or 1
//! ├── success_audit         0 or 1
//! └── policies/<name>/
//!     ├── pkcs7             the signed policy, as it was written
//!     ├── policy            its text
//!     ├── name, version
//!     ├── active            0 or 1; write: 1
//!     ├── update            write: a signed policy with a greater version
//!     └── delete            write: 1
//! ```

use std::fs::{File, OpenOptions};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use libverity::errno::Errno;

/// Is the tree of files by which IPE is controlled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IpeTree {
    root: PathBuf,
}

impl IpeTree {
    /// Opens the tree of the running kernel.
    ///
    /// # Errors
    ///
    /// Fails where securityfs is not mounted and where IPE is not among the kernel's security modules. The parameters under
    /// `/sys/module/ipe` are there in both cases and prove nothing.
    pub fn open() -> Result<Self, IpeUnavailable> {
        Self::open_at(Path::new(SECURITYFS))
    }

    /// Opens the tree below another mount of securityfs, such as the host's in a container.
    ///
    /// # Errors
    ///
    /// Fails as [`open`](Self::open).
    pub fn open_at(securityfs: &Path) -> Result<Self, IpeUnavailable> {
        let list = securityfs.join("lsm");
        let modules = std::fs::read_to_string(&list).map_err(|source| {
            IpeUnavailable::NoSecurityfs { directory: securityfs.to_owned(), source }
        })?;
        let root = securityfs.join("ipe");
        if !modules.trim_end().split(',').any(|module| module == "ipe") || !root.is_dir() {
            let modules = modules.trim_end().to_owned();
            // Its parameters are there as soon as it is built in, started or not.
            return Err(match Path::new("/sys/module/ipe").is_dir() {
                true => IpeUnavailable::NotStarted { modules },
                false => IpeUnavailable::NotEnabled { modules },
            });
        }
        Ok(Self { root })
    }

    /// Lists the names of the loaded policies, in order.
    ///
    /// # Errors
    ///
    /// Fails when the directory cannot be read.
    pub fn policy_names(&self) -> Result<Vec<String>, SecurityfsError> {
        let directory = self.root.join("policies");
        let failed = |source| SecurityfsError::Read { file: directory.clone(), source };
        let mut names = Vec::new();
        for entry in std::fs::read_dir(&directory).map_err(failed)? {
            names.push(entry.map_err(failed)?.file_name().to_string_lossy().into_owned());
        }
        names.sort();
        Ok(names)
    }

    /// Tells whether a policy `name` is loaded.
    pub fn has_policy(&self, name: &str) -> bool {
        self.policy_file(name, "").is_dir()
    }

    /// Reads a file of the policy `name`; `None` where it is not loaded, and for `pkcs7` of the unsigned boot policy.
    ///
    /// # Errors
    ///
    /// Fails when the kernel refuses; `active` may be read by root only.
    pub fn read_policy(
        &self,
        name: &str,
        file: PolicyFile,
    ) -> Result<Option<Vec<u8>>, SecurityfsError> {
        let path = self.policy_file(name, file.name());
        match read(&path) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(SecurityfsError::Read { file: path, source }),
        }
    }

    /// Reads whether a denial is carried out (`true`) or only recorded.
    ///
    /// # Errors
    ///
    /// Fails without root.
    pub fn enforce(&self) -> Result<bool, SecurityfsError> {
        let file = self.root.join("enforce");
        let bytes =
            read(&file).map_err(|source| SecurityfsError::Read { file: file.clone(), source })?;
        Ok(bytes.first() == Some(&b'1'))
    }

    /// Opens the switch of enforcement, to be used later.
    ///
    /// # Errors
    ///
    /// Fails without root.
    pub fn open_enforce(&self) -> Result<EnforceFile, SecurityfsError> {
        let path = self.root.join("enforce");
        match OpenOptions::new().write(true).open(&path) {
            Ok(file) => Ok(EnforceFile { file, path }),
            Err(source) => Err(SecurityfsError::Write { file: path, source }),
        }
    }

    /// Loads a signed policy under a new name; it is not active then.
    ///
    /// # Errors
    ///
    /// Fails with the kernel's error number, of which [`deploy`](crate::deploy) knows the meaning.
    pub fn load(&self, pkcs7: &[u8]) -> Result<(), SecurityfsError> {
        write(&self.root.join("new_policy"), pkcs7)
    }

    /// Replaces the loaded policy `name` by a newer one; if it is active, the new one is from now on.
    ///
    /// # Errors
    ///
    /// Fails with the kernel's error number.
    pub fn update(&self, name: &str, pkcs7: &[u8]) -> Result<(), SecurityfsError> {
        write(&self.policy_file(name, "update"), pkcs7)
    }

    /// Makes the policy `name` the active one.
    ///
    /// # Errors
    ///
    /// Fails with the kernel's error number.
    pub fn activate(&self, name: &str) -> Result<(), SecurityfsError> {
        write(&self.policy_file(name, "active"), b"1")
    }

    /// Removes the policy `name`, which must not be active.
    ///
    /// # Errors
    ///
    /// Fails with the kernel's error number.
    pub fn delete(&self, name: &str) -> Result<(), SecurityfsError> {
        write(&self.policy_file(name, "delete"), b"1")
    }

    fn policy_file(&self, name: &str, file: &str) -> PathBuf {
        self.root.join("policies").join(name).join(file)
    }
}

/// Is the opened switch of enforcement.
#[derive(Debug)]
pub struct EnforceFile {
    file: File,
    path: PathBuf,
}

impl EnforceFile {
    /// Has denials carried out (`true`), or only recorded.
    ///
    /// # Errors
    ///
    /// Fails with the kernel's error number.
    pub fn write(&self, enforce: bool) -> Result<(), SecurityfsError> {
        write_all(&self.file, &self.path, if enforce { b"1" } else { b"0" })
    }
}

/// Names a readable file of a policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PolicyFile {
    /// `0` or `1`.
    Active,
    /// The signed policy, byte for byte.
    Pkcs7,
    /// The text.
    Text,
    /// Three numbers with dots.
    Version,
}

impl PolicyFile {
    fn name(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Pkcs7 => "pkcs7",
            Self::Text => "policy",
            Self::Version => "version",
        }
    }
}

/// Says why IPE cannot be controlled.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum IpeUnavailable {
    /// securityfs is not mounted.
    #[error("securityfs is not mounted at {directory}", directory = directory.display())]
    NoSecurityfs {
        /// Where it was expected.
        directory: PathBuf,
        /// The kernel's answer.
        source: io::Error,
    },
    /// The kernel runs without IPE.
    #[error("this kernel runs without IPE: its security modules are {modules}")]
    NotEnabled {
        /// The list of the kernel's security modules.
        modules: String,
    },
    /// The kernel has IPE, and was told to start without it.
    #[error("this kernel has IPE and was started without it: its security modules are {modules}")]
    NotStarted {
        /// The list of the kernel's security modules.
        modules: String,
    },
}

/// Says which file of IPE refused.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SecurityfsError {
    /// A file cannot be read.
    #[error("cannot read {file}", file = file.display())]
    Read {
        /// The file.
        file: PathBuf,
        /// The kernel's answer.
        source: io::Error,
    },
    /// The kernel took a part only.
    #[error("the kernel took {written_bytes} of {length_bytes} bytes written to {file}", file = file.display())]
    ShortWrite {
        /// The file.
        file: PathBuf,
        /// What it took.
        written_bytes: usize,
        /// What was written.
        length_bytes: usize,
    },
    /// The kernel refused what was written.
    #[error("the kernel refuses what was written to {file}", file = file.display())]
    Write {
        /// The file.
        file: PathBuf,
        /// The kernel's answer.
        source: io::Error,
    },
}

impl SecurityfsError {
    /// Returns the kernel's error number for something that was written.
    pub fn write_errno(&self) -> Option<Errno> {
        match self {
            Self::Write { source, .. } => source.raw_os_error().map(Errno::from_number),
            _ => None,
        }
    }
}

fn read(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(READ_LIMIT_BYTES).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Writes with one system call: the kernel takes each call for a whole policy.
fn write(path: &Path, bytes: &[u8]) -> Result<(), SecurityfsError> {
    let failed = |source| SecurityfsError::Write { file: path.to_owned(), source };
    let file = OpenOptions::new().write(true).open(path).map_err(failed)?;
    write_all(&file, path, bytes)
}

fn write_all(file: &File, path: &Path, bytes: &[u8]) -> Result<(), SecurityfsError> {
    let failed = |source| SecurityfsError::Write { file: path.to_owned(), source };
    let written_bytes = rustix::io::write(file, bytes).map_err(|errno| failed(errno.into()))?;
    if written_bytes != bytes.len() {
        return Err(SecurityfsError::ShortWrite {
            file: path.to_owned(),
            written_bytes,
            length_bytes: bytes.len(),
        });
    }
    Ok(())
}

const SECURITYFS: &str = "/sys/kernel/security";

/// A signed policy has at most 65,535 bytes (`lib/asn1_decoder.c`); nothing else here is longer.
const READ_LIMIT_BYTES: u64 = 1 << 20;

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// Makes a directory that looks like securityfs with one policy.
    pub(crate) fn imitation(modules: &str) -> tempfile::TempDir {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("lsm"), modules).unwrap();
        let policy = directory.path().join("ipe/policies/lab");
        std::fs::create_dir_all(&policy).unwrap();
        std::fs::write(directory.path().join("ipe/enforce"), "1").unwrap();
        for (file, contents) in [("active", "0"), ("version", "0.0.1"), ("pkcs7", "signed")] {
            std::fs::write(policy.join(file), contents).unwrap();
        }
        directory
    }

    #[test]
    fn tree_is_read() {
        let directory = imitation("lockdown,capability,ipe\n");
        let tree = IpeTree::open_at(directory.path()).unwrap();
        assert_eq!(tree.policy_names().unwrap(), ["lab"]);
        assert!(tree.has_policy("lab") && !tree.has_policy("other"));
        assert_eq!(
            tree.read_policy("lab", PolicyFile::Version).unwrap().as_deref(),
            Some(b"0.0.1".as_slice())
        );
        assert_eq!(tree.read_policy("lab", PolicyFile::Text).unwrap(), None);
        assert_eq!(tree.read_policy("other", PolicyFile::Active).unwrap(), None);
        assert!(tree.enforce().unwrap());
    }

    #[test]
    fn kernel_without_ipe_is_named_with_what_it_has() {
        let directory = imitation("lockdown,capability,notipe");
        let error = IpeTree::open_at(directory.path()).unwrap_err();
        assert!(error.to_string().contains("lockdown,capability,notipe"), "{error}");
        let error = IpeTree::open_at(&directory.path().join("nothing")).unwrap_err();
        assert!(matches!(error, IpeUnavailable::NoSecurityfs { .. }));
    }

    #[test]
    fn refusals_carry_the_error_number() {
        let directory = imitation("ipe");
        let tree = IpeTree::open_at(directory.path()).unwrap();
        let error = tree.update("other", b"x").unwrap_err();
        assert_eq!(error.write_errno(), Some(Errno::ENOENT));
    }
}
