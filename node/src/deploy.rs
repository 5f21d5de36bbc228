//! Bringing a signed policy into force.
//!
//! ```text
//! is a policy of this name loaded?
//!   no   → new_policy                       (loaded meanwhile → update)
//!   yes  → same bytes? nothing to load
//!          version not newer? stop          (the kernel: ESTALE)
//!          update                           (an active policy is replaced here, at once)
//! active? → done, else write 1 to active    (a policy with a higher version is active → stop)
//! read back: active, version, bytes
//! ```
//!
//! The kernel keeps nothing over a restart; while it runs, versions only grow.

use std::fmt;
use std::str::FromStr;

use rustix::io::Errno;

use crate::securityfs::{IpeTree, PolicyFile, SecurityfsError};

/// Is a signed policy with what its text says about itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignedPolicy {
    /// `policy_name`.
    pub name: String,
    /// `policy_version`.
    pub version: PolicyVersion,
    /// The attached PKCS#7 message, in DER.
    pub pkcs7: Vec<u8>,
}

/// Loads `policy` and, if `activate` says so, makes it the active one; then reads back what the kernel has.
///
/// # Errors
///
/// Fails with [`DeployError::Older`] and [`DeployError::ActiveIsNewer`] before the kernel is asked wherever that can be
/// known, with [`DeployError::Refused`] when the kernel refuses, and with [`DeployError::NotInForce`] when it answers well
/// and has something else.
pub fn deploy(
    tree: &IpeTree,
    policy: &SignedPolicy,
    activate: bool,
) -> Result<Deployment, DeployError> {
    let was_active = is_active(tree, &policy.name)?;
    let load = load(tree, policy)?;
    let activation = match (was_active, activate) {
        (true, _) => Activation::AlreadyActive,
        (false, true) => Activation::Activated { previous: make_active(tree, policy)? },
        (false, false) => Activation::NotAsked,
    };
    verify(tree, policy, activation != Activation::NotAsked)?;
    Ok(Deployment { load, activation })
}

/// Makes the loaded policy `name` the active one; nothing happens where it is.
///
/// # Errors
///
/// Fails when no such policy is loaded, and when one with a higher version is active.
pub fn activate(tree: &IpeTree, name: &str) -> Result<Activation, DeployError> {
    let Some(version) = loaded_version(tree, name)? else {
        return Err(DeployError::NotLoaded { name: name.to_owned() });
    };
    if is_active(tree, name)? {
        return Ok(Activation::AlreadyActive);
    }
    let policy = SignedPolicy { name: name.to_owned(), version, pkcs7: Vec::new() };
    let previous = make_active(tree, &policy)?;
    if !is_active(tree, name)? {
        return Err(DeployError::NotInForce { name: name.to_owned(), what: "is not active" });
    }
    Ok(Activation::Activated { previous })
}

/// Says what [`deploy`] did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Deployment {
    /// How the policy came into the kernel.
    pub load: Load,
    /// How it came into force.
    pub activation: Activation,
}

/// Says how a policy came into the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Load {
    /// The very same bytes were there.
    AlreadyLoaded,
    /// It is there under a new name.
    Loaded,
    /// It replaced an older version.
    Updated {
        /// The version that was replaced.
        from: PolicyVersion,
    },
}

/// Says how a policy came into force.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Activation {
    /// It was made the active one.
    Activated {
        /// The name and version of the policy that was active before.
        previous: Option<(String, PolicyVersion)>,
    },
    /// A policy of its name was active, so it was in force as soon as it was loaded.
    AlreadyActive,
    /// It is loaded and not in force.
    NotAsked,
}

/// Is `policy_version`: three numbers, compared from the left.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PolicyVersion(pub u16, pub u16, pub u16);

impl fmt::Display for PolicyVersion {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}.{}.{}", self.0, self.1, self.2)
    }
}

impl FromStr for PolicyVersion {
    type Err = PolicyVersionError;

    fn from_str(text: &str) -> Result<Self, PolicyVersionError> {
        let mut parts = text.split('.').map(str::parse::<u16>);
        match (parts.next(), parts.next(), parts.next(), parts.next()) {
            (Some(Ok(major)), Some(Ok(minor)), Some(Ok(revision)), None) => {
                Ok(Self(major, minor, revision))
            }
            _ => Err(PolicyVersionError { text: text.to_owned() }),
        }
    }
}

/// Says that a text is no version of a policy.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not a policy version such as 1.0.7")]
pub struct PolicyVersionError {
    /// The text as it was given.
    pub text: String,
}

/// Says why a policy is not in force.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DeployError {
    /// Another policy with a higher version is active; the kernel goes back to no lower one.
    #[error(
        "cannot activate {name} {version}: {active} {active_version} is active, and only a policy of the same or a higher version can follow it; sign this one with a higher version"
    )]
    ActiveIsNewer {
        /// The name of the policy.
        name: String,
        /// Its version.
        version: PolicyVersion,
        /// The name of the active policy.
        active: String,
        /// The version of the active policy.
        active_version: PolicyVersion,
    },
    /// The kernel accepted the policy and has something else.
    #[error("the kernel accepted the policy {name}, and yet it {what}")]
    NotInForce {
        /// The name of the policy.
        name: String,
        /// What is wrong.
        what: &'static str,
    },
    /// No policy of this name is loaded.
    #[error("no policy {name} is loaded")]
    NotLoaded {
        /// The name.
        name: String,
    },
    /// The same or a newer version is loaded.
    #[error(
        "the policy {name} is loaded in version {loaded}, and version {offered} is not newer; sign it with a higher version"
    )]
    Older {
        /// The name of the policy.
        name: String,
        /// The version that the kernel has.
        loaded: PolicyVersion,
        /// The version that was to be loaded.
        offered: PolicyVersion,
    },
    /// The kernel refused.
    #[error("the kernel refuses the policy {name} {version}: {reason}")]
    Refused {
        /// The name of the policy.
        name: String,
        /// Its version.
        version: PolicyVersion,
        /// Why.
        reason: PolicyRefusal,
        /// Which file refused.
        source: SecurityfsError,
    },
    /// A file of IPE cannot be read.
    #[error(transparent)]
    Securityfs(SecurityfsError),
    /// The kernel shows a version that is none.
    #[error("the kernel shows an unreadable version of the policy {name}")]
    Version {
        /// The name of the policy.
        name: String,
        /// What it shows.
        source: PolicyVersionError,
    },
}

/// Says why the kernel refused a policy (`security/ipe/policy.c`, `policy_fs.c`, `crypto/asymmetric_keys/pkcs7_*.c`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PolicyRefusal {
    /// `ENOPKG`.
    #[error(
        "its signature uses an algorithm that this kernel does not have or does not take (ENOPKG)"
    )]
    Algorithm,
    /// `EINVAL`.
    #[error(
        "it holds a malformed number or digest, or names another policy than the one it updates (EINVAL)"
    )]
    Invalid,
    /// `EBADMSG`.
    #[error(
        "it is not signed, its signature is malformed, or its text has a syntax error (EBADMSG)"
    )]
    Malformed,
    /// `EACCES`, `ENAMETOOLONG`.
    #[error("its name cannot be that of a directory")]
    Name,
    /// `EPERM`.
    #[error("CAP_MAC_ADMIN in the initial user namespace is needed (EPERM)")]
    NotPermitted,
    /// Any other error number.
    #[error("for a reason that only the error number tells")]
    Other,
    /// `EKEYREJECTED`.
    #[error("its signature does not belong to it, or the key is revoked (EKEYREJECTED)")]
    Rejected,
    /// `EMSGSIZE`.
    #[error("it is longer than the 65,535 bytes that the kernel's decoder takes (EMSGSIZE)")]
    TooLong,
    /// `ENOKEY`.
    #[error(
        "no certificate in the keyrings .secondary_trusted_keys or .platform signed it (ENOKEY); enrol the certificate in the firmware's db, or as a machine owner key"
    )]
    UnknownSigner,
    /// `ERANGE`.
    #[error("a part of its version is greater than 65535 (ERANGE)")]
    VersionRange,
}

impl PolicyRefusal {
    fn of(errno: Option<Errno>) -> Self {
        match errno {
            Some(Errno::ACCESS | Errno::NAMETOOLONG) => Self::Name,
            Some(Errno::BADMSG | Errno::NODATA) => Self::Malformed,
            Some(Errno::INVAL) => Self::Invalid,
            Some(Errno::KEYREJECTED) => Self::Rejected,
            Some(Errno::MSGSIZE) => Self::TooLong,
            Some(Errno::NOKEY) => Self::UnknownSigner,
            Some(Errno::NOPKG) => Self::Algorithm,
            Some(Errno::PERM) => Self::NotPermitted,
            Some(Errno::RANGE) => Self::VersionRange,
            _ => Self::Other,
        }
    }
}

/// Loads the policy under a new name or over an older version.
fn load(tree: &IpeTree, policy: &SignedPolicy) -> Result<Load, DeployError> {
    if !tree.has_policy(&policy.name) {
        match tree.load(&policy.pkcs7) {
            Ok(()) => return Ok(Load::Loaded),
            // Somebody else loaded a policy of this name in the meantime.
            Err(error) if error.write_errno() == Some(Errno::EXIST) => {}
            Err(error) => return Err(refused(policy, error)),
        }
    }
    if loaded_bytes(tree, &policy.name)?.as_deref() == Some(&policy.pkcs7) {
        return Ok(Load::AlreadyLoaded);
    }
    let Some(loaded) = loaded_version(tree, &policy.name)? else {
        return Err(DeployError::NotLoaded { name: policy.name.clone() });
    };
    let older =
        || DeployError::Older { name: policy.name.clone(), loaded, offered: policy.version };
    if policy.version <= loaded {
        return Err(older());
    }
    match tree.update(&policy.name, &policy.pkcs7) {
        Ok(()) => Ok(Load::Updated { from: loaded }),
        Err(error) if error.write_errno() == Some(Errno::STALE) => Err(older()),
        Err(error) => Err(refused(policy, error)),
    }
}

/// Activates the policy; returns what was active before.
fn make_active(
    tree: &IpeTree,
    policy: &SignedPolicy,
) -> Result<Option<(String, PolicyVersion)>, DeployError> {
    let previous = active_policy(tree)?;
    let newer = |active: &(String, PolicyVersion)| DeployError::ActiveIsNewer {
        name: policy.name.clone(),
        version: policy.version,
        active: active.0.clone(),
        active_version: active.1,
    };
    if let Some(active) = &previous
        && active.1 > policy.version
    {
        return Err(newer(active));
    }
    match (tree.activate(&policy.name), &previous) {
        (Ok(()), _) => Ok(previous),
        (Err(error), Some(active)) if error.write_errno() == Some(Errno::INVAL) => {
            // Another policy may have become active since; the newest state explains more.
            Err(newer(active_policy(tree)?.as_ref().unwrap_or(active)))
        }
        (Err(error), _) => Err(refused(policy, error)),
    }
}

fn verify(tree: &IpeTree, policy: &SignedPolicy, active: bool) -> Result<(), DeployError> {
    let wrong = |what| Err(DeployError::NotInForce { name: policy.name.clone(), what });
    if loaded_version(tree, &policy.name)? != Some(policy.version) {
        return wrong("is not loaded in its version");
    }
    if loaded_bytes(tree, &policy.name)?.as_deref() != Some(&policy.pkcs7) {
        return wrong("is loaded with other bytes");
    }
    if active && !is_active(tree, &policy.name)? {
        return wrong("is not active");
    }
    Ok(())
}

/// Returns the name and version of the active policy.
pub(crate) fn active_policy(
    tree: &IpeTree,
) -> Result<Option<(String, PolicyVersion)>, DeployError> {
    for name in tree.policy_names().map_err(DeployError::Securityfs)? {
        if is_active(tree, &name)?
            && let Some(version) = loaded_version(tree, &name)?
        {
            return Ok(Some((name, version)));
        }
    }
    Ok(None)
}

pub(crate) fn is_active(tree: &IpeTree, name: &str) -> Result<bool, DeployError> {
    let text = tree.read_policy(name, PolicyFile::Active).map_err(DeployError::Securityfs)?;
    Ok(text.is_some_and(|text| text.first() == Some(&b'1')))
}

pub(crate) fn loaded_version(
    tree: &IpeTree,
    name: &str,
) -> Result<Option<PolicyVersion>, DeployError> {
    let text = tree.read_policy(name, PolicyFile::Version).map_err(DeployError::Securityfs)?;
    let version = text.map(|text| String::from_utf8_lossy(&text).trim_end().parse());
    version.transpose().map_err(|source| DeployError::Version { name: name.to_owned(), source })
}

fn loaded_bytes(tree: &IpeTree, name: &str) -> Result<Option<Vec<u8>>, DeployError> {
    tree.read_policy(name, PolicyFile::Pkcs7).map_err(DeployError::Securityfs)
}

fn refused(policy: &SignedPolicy, source: SecurityfsError) -> DeployError {
    DeployError::Refused {
        name: policy.name.clone(),
        version: policy.version,
        reason: PolicyRefusal::of(source.write_errno()),
        source,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::securityfs::tests::imitation;

    fn policy(version: PolicyVersion, pkcs7: &[u8]) -> SignedPolicy {
        SignedPolicy { name: "lab".to_owned(), version, pkcs7: pkcs7.to_vec() }
    }

    #[test]
    fn versions_are_compared_part_by_part() {
        let version = |text: &str| text.parse::<PolicyVersion>().unwrap();
        assert!(version("1.0.0") > version("0.65535.65535"));
        assert!(version("0.10.0") > version("0.9.9"));
        assert_eq!(version("1.2.3").to_string(), "1.2.3");
        for text in ["", "1.2", "1.2.3.4", "1.2.65536", "a.b.c", "-1.0.0"] {
            assert!(text.parse::<PolicyVersion>().is_err(), "{text}");
        }
    }

    #[test]
    fn same_bytes_are_not_loaded_again() {
        let directory = imitation("ipe");
        let tree = IpeTree::open_at(directory.path()).unwrap();
        let policy = policy(PolicyVersion(0, 0, 1), b"signed");
        let deployment = deploy(&tree, &policy, false).unwrap();
        assert_eq!(deployment.load, Load::AlreadyLoaded);
        assert_eq!(deployment.activation, Activation::NotAsked);
        let deployment = deploy(&tree, &policy, true).unwrap();
        assert_eq!(deployment.activation, Activation::Activated { previous: None });
        let deployment = deploy(&tree, &policy, true).unwrap();
        assert_eq!(deployment.activation, Activation::AlreadyActive);
    }

    #[test]
    fn older_version_is_refused_before_the_kernel_is_asked() {
        let directory = imitation("ipe");
        let tree = IpeTree::open_at(directory.path()).unwrap();
        for version in [PolicyVersion(0, 0, 0), PolicyVersion(0, 0, 1)] {
            let error = deploy(&tree, &policy(version, b"other"), true).unwrap_err();
            assert!(matches!(error, DeployError::Older { .. }), "{error}");
        }
        assert!(!directory.path().join("ipe/policies/lab/update").exists());
    }

    #[test]
    fn newer_active_policy_is_named() {
        let directory = imitation("ipe");
        let newer = directory.path().join("ipe/policies/newer");
        std::fs::create_dir(&newer).unwrap();
        std::fs::write(newer.join("active"), "1").unwrap();
        std::fs::write(newer.join("version"), "5.0.0").unwrap();
        let tree = IpeTree::open_at(directory.path()).unwrap();
        let error = activate(&tree, "lab").unwrap_err();
        assert!(matches!(
            error,
            DeployError::ActiveIsNewer { active_version: PolicyVersion(5, 0, 0), .. }
        ));
        assert!(matches!(activate(&tree, "absent"), Err(DeployError::NotLoaded { .. })));
    }

    #[test]
    fn error_numbers_have_reasons() {
        assert_eq!(PolicyRefusal::of(Some(Errno::NOKEY)), PolicyRefusal::UnknownSigner);
        assert_eq!(PolicyRefusal::of(Some(Errno::BADMSG)), PolicyRefusal::Malformed);
        assert_eq!(PolicyRefusal::of(Some(Errno::NOMEM)), PolicyRefusal::Other);
        assert_eq!(PolicyRefusal::of(None), PolicyRefusal::Other);
    }
}
