//! Bringing a signed policy into force.
//!
//! ```text
//! is a policy of this name loaded?
//!   no   → new_policy                       (loaded meanwhile → update)
//!   yes  → same bytes? nothing to load
//!          version not newer? stop          (the kernel: ESTALE)
//!          update                           (an active policy is replaced here, at once)
//! active? → done, else write 1 to active    (a policy with a higher version is active → stop)
//! read back: active, version, bytes, and the digest in the audit record
//! ```
//!
//! The kernel keeps nothing over a restart; while it runs, versions only grow.

use std::fmt;

use libverity::errno::Errno;
use osguard_policy::blob::SignedPolicy;
use osguard_policy::errno::{Attempt, explain};
use osguard_policy::version::{PolicyVersion, VersionError};

use crate::audit_watch::{AuditRecord, AuditWatch};
use crate::securityfs::{IpeTree, PolicyFile, SecurityfsError};

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
    let header = policy.header();
    let name = header.name.as_str();
    let was_active = is_active(tree, name)?;
    let watch = AuditWatch::from_here().ok();
    let load = load(tree, policy)?;
    let activation = match (was_active, activate) {
        (true, _) => Activation::AlreadyActive,
        (false, true) => {
            Activation::Activated { previous: make_active(tree, name, header.version)? }
        }
        (false, false) => Activation::NotAsked,
    };
    verify(tree, policy, activation != Activation::NotAsked)?;
    // A record comes of a change only, and waiting for none takes its time.
    let is_changed = match activation {
        Activation::Activated { .. } => true,
        Activation::AlreadyActive => load != Load::AlreadyLoaded,
        Activation::NotAsked => false,
    };
    if is_changed {
        let record = watch.and_then(|mut watch| watch.find(|record| is_activation(name, record)));
        record.map_or(Ok(()), |record| check_record(policy, &record))?;
    }
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
    let previous = make_active(tree, name, version)?;
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
    #[error("the kernel refuses the policy {name} {version}{reason}")]
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
        source: VersionError,
    },
}

/// Says why the kernel refused a policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PolicyRefusal {
    /// What was asked of the kernel.
    pub attempt: Attempt,
    /// Its answer; `None` where it took a part of the policy only.
    pub errno: Option<Errno>,
}

impl fmt::Display for PolicyRefusal {
    /// Writes the tail of a sentence: what is wrong, the error number, and what to do; nothing for an unknown number.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(errno) = self.errno else { return Ok(()) };
        match explain(self.attempt, errno) {
            Some(told) => write!(formatter, ": {} ({errno}); {}", told.reason, told.remedy),
            None => Ok(()),
        }
    }
}

/// Loads the policy under a new name or over an older version.
fn load(tree: &IpeTree, policy: &SignedPolicy) -> Result<Load, DeployError> {
    let header = policy.header();
    let name = header.name.as_str();
    let refused = |attempt, error| refused(name, header.version, attempt, error);
    if !tree.has_policy(name) {
        match tree.load(policy.as_bytes()) {
            Ok(()) => return Ok(Load::Loaded),
            // Somebody else loaded a policy of this name in the meantime.
            Err(error) if error.write_errno() == Some(Errno::EEXIST) => {}
            Err(error) => return Err(refused(Attempt::Load, error)),
        }
    }
    if loaded_bytes(tree, name)?.as_deref() == Some(policy.as_bytes()) {
        return Ok(Load::AlreadyLoaded);
    }
    let Some(loaded) = loaded_version(tree, name)? else {
        return Err(DeployError::NotLoaded { name: name.to_owned() });
    };
    let older = || DeployError::Older { name: name.to_owned(), loaded, offered: header.version };
    if header.version <= loaded {
        return Err(older());
    }
    match tree.update(name, policy.as_bytes()) {
        Ok(()) => Ok(Load::Updated { from: loaded }),
        // Somebody else loaded a newer version in the meantime.
        Err(error) if error.write_errno() == Some(Errno::ESTALE) => Err(older()),
        Err(error) => Err(refused(Attempt::Update, error)),
    }
}

/// Activates the policy; returns what was active before.
fn make_active(
    tree: &IpeTree,
    name: &str,
    version: PolicyVersion,
) -> Result<Option<(String, PolicyVersion)>, DeployError> {
    let newer = |(active, active_version): (String, PolicyVersion)| DeployError::ActiveIsNewer {
        name: name.to_owned(),
        version,
        active,
        active_version,
    };
    let previous = active_policy(tree)?;
    if let Some(active) = previous.clone().filter(|active| active.1 > version) {
        return Err(newer(active));
    }
    match tree.activate(name) {
        Ok(()) => Ok(previous),
        Err(error) => match active_policy(tree)?.filter(|active| active.1 > version) {
            // Another policy became active in the meantime.
            Some(active) if error.write_errno() == Some(Errno::EINVAL) => Err(newer(active)),
            _ => Err(refused(name, version, Attempt::Activate, error)),
        },
    }
}

fn verify(tree: &IpeTree, policy: &SignedPolicy, active: bool) -> Result<(), DeployError> {
    let name = policy.header().name.as_str();
    let wrong = |what| Err(DeployError::NotInForce { name: name.to_owned(), what });
    if loaded_version(tree, name)? != Some(policy.header().version) {
        return wrong("is not loaded in its version");
    }
    if loaded_bytes(tree, name)?.as_deref() != Some(policy.as_bytes()) {
        return wrong("is loaded with other bytes");
    }
    if active && !is_active(tree, name)? {
        return wrong("is not active");
    }
    Ok(())
}

/// Tells whether a record is about the activation of the policy `name`.
///
/// Source: `security/ipe/audit.c`, `ipe_audit_policy_activation`.
fn is_activation(name: &str, record: &AuditRecord) -> bool {
    record.kind == ACTIVATION_RECORD
        && record.text.contains(&format!("new_active_pol_name=\"{name}\" "))
}

/// Checks that what the kernel says to have put in force is this policy. Without a record nothing is said: the audit system
/// is switched off, or this process may not read what it says.
fn check_record(policy: &SignedPolicy, record: &AuditRecord) -> Result<(), DeployError> {
    let digest = format!("new_policy_digest=sha256:{} ", policy.digest().hex().to_uppercase());
    match record.text.contains(&digest) {
        true => Ok(()),
        false => Err(DeployError::NotInForce {
            name: policy.header().name.to_string(),
            what: "is recorded with another digest",
        }),
    }
}

/// Reads a loaded policy as it was signed; `None` where none of this name is loaded, or it came without a signature.
///
/// # Errors
///
/// Fails when the kernel does not tell.
pub fn loaded_policy(tree: &IpeTree, name: &str) -> Result<Option<SignedPolicy>, DeployError> {
    let bytes = loaded_bytes(tree, name)?;
    Ok(bytes.and_then(|bytes| SignedPolicy::read(bytes).ok()))
}

/// `AUDIT_IPE_CONFIG_CHANGE` (`include/uapi/linux/audit.h`).
pub const ACTIVATION_RECORD: u16 = 1421;

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

fn refused(
    name: &str,
    version: PolicyVersion,
    attempt: Attempt,
    source: SecurityfsError,
) -> DeployError {
    let reason = PolicyRefusal { attempt, errno: source.write_errno() };
    DeployError::Refused { name: name.to_owned(), version, reason, source }
}

#[cfg(test)]
mod tests {
    use osguard_testkit::pki::Signer;
    use osguard_testkit::{Result, or_skip};

    use super::*;
    use crate::securityfs::tests::imitation;

    fn signed(text: &str) -> Result<SignedPolicy> {
        let text = format!("{text}\nDEFAULT action=ALLOW\n");
        let bytes = Signer::generate("deploy test")?.sign_policy(&text)?;
        Ok(SignedPolicy::read(bytes).expect("a signed policy"))
    }

    #[test]
    fn same_bytes_are_not_loaded_again() {
        let Some(policy) = or_skip(signed("policy_name=lab policy_version=0.0.1")) else { return };
        let directory = imitation("ipe");
        let blob = directory.path().join("ipe/policies/lab/pkcs7");
        std::fs::write(blob, policy.as_bytes()).unwrap();
        let tree = IpeTree::open_at(directory.path()).unwrap();
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
        for version in ["0.0.0", "0.0.1"] {
            let text = format!("policy_name=lab policy_version={version}");
            let Some(policy) = or_skip(signed(&text)) else { return };
            let directory = imitation("ipe");
            let tree = IpeTree::open_at(directory.path()).unwrap();
            let error = deploy(&tree, &policy, true).unwrap_err();
            assert!(matches!(error, DeployError::Older { .. }), "{error}");
            assert!(!directory.path().join("ipe/policies/lab/update").exists());
        }
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
        let DeployError::ActiveIsNewer { active_version, .. } = error else { panic!("{error}") };
        assert_eq!(active_version, PolicyVersion::new(5, 0, 0));
        assert!(matches!(activate(&tree, "absent"), Err(DeployError::NotLoaded { .. })));
    }

    #[test]
    fn record_of_the_activation_has_the_digest() {
        let Some(policy) = or_skip(signed("policy_name=lab policy_version=0.0.2")) else { return };
        let record = |name: &str, digest: &str| {
            let text = format!(
                "old_active_pol_name=? old_active_pol_version=? old_policy_digest=? \
                 new_active_pol_name=\"{name}\" new_active_pol_version=0.0.2 \
                 new_policy_digest=sha256:{digest} auid=4294967295 ses=4294967295 lsm=ipe res=1"
            );
            AuditRecord { kind: ACTIVATION_RECORD, text }
        };
        let digest = policy.digest().hex().to_uppercase();
        let other = "AB".repeat(32);
        assert!(!is_activation("lab", &record("other", &other)));
        assert!(is_activation("lab", &record("lab", &digest)));
        check_record(&policy, &record("lab", &digest)).unwrap();
        let error = check_record(&policy, &record("lab", &other)).unwrap_err();
        assert!(error.to_string().contains("recorded with another digest"), "{error}");
    }

    #[test]
    fn refusal_says_what_is_wrong_and_what_to_do() {
        let refusal = PolicyRefusal { attempt: Attempt::Load, errno: Some(Errno::ENOKEY) };
        let text = refusal.to_string();
        assert!(text.contains("(ENOKEY); enrol the signer's certificate"), "{text}");
        let unknown = PolicyRefusal { errno: Some(Errno::from_number(5)), ..refusal };
        assert_eq!(unknown.to_string(), "");
    }
}
