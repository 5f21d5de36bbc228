//! Policies on trial: in force until a deadline, and then the former state comes back by itself.
//!
//! The kernel knows no way back. Versions only grow, an update is in force at once, and nothing switches the active
//! policy off. So the way back is chosen before anything is changed, and a process of its own, the
//! [guard](crate::trial_guard), is ready to go it before the policy comes into force.

use osguard_policy::blob::SignedPolicy;
use osguard_policy::version::PolicyVersion;
use serde::{Deserialize, Serialize};

use crate::deploy::{DeployError, deploy};
use crate::securityfs::IpeTree;
use crate::status::IpeStatus;

/// Is a policy on trial, and how the former state comes back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trial {
    /// The name of the policy.
    pub name: String,
    /// Its version, as the kernel shows it.
    pub version: String,
    /// How long it lasts.
    pub seconds: u64,
    /// How the former state comes back.
    pub way_back: WayBack,
    /// Whether denials were enforced before.
    pub enforce: bool,
    /// Whether the policy is to be loaded at boot, once it is confirmed.
    pub at_boot: bool,
}

/// Says how the former state comes back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WayBack {
    /// The loaded policy of this name is made active.
    Activate {
        /// Its name.
        name: String,
    },
    /// Denials are recorded only: nothing was denied before, either.
    StopEnforcing,
    /// The policy on trial is replaced by one of a higher version.
    Update {
        /// The signed policy, in hexadecimal digits.
        pkcs7: String,
    },
}

impl WayBack {
    /// Chooses the way back from `policy`, and loads `fallback` if it is another policy than that one.
    ///
    /// # Errors
    ///
    /// Fails with [`TrialError::NoWayBack`] where a policy is enforced to which the kernel would not go back, and where
    /// `fallback` could not follow upon `policy`.
    pub fn choose(
        tree: &IpeTree,
        name: &str,
        version: PolicyVersion,
        fallback: Option<&SignedPolicy>,
    ) -> Result<Self, TrialError> {
        if let Some(fallback) = fallback {
            return Self::to(tree, name, version, fallback);
        }
        let status = IpeStatus::read(tree)?;
        match status.active() {
            // What is recorded only does not harm, whatever is active.
            _ if !status.enforce => Ok(Self::StopEnforcing),
            None => Ok(Self::StopEnforcing),
            Some(active) if active.name == name && active.version == version => {
                Err(TrialError::InForce { name: name.to_owned(), version })
            }
            Some(active) if active.name != name && active.version >= version => {
                Ok(Self::Activate { name: active.name.clone() })
            }
            Some(active) => Err(TrialError::NoWayBack {
                name: name.to_owned(),
                version,
                active: active.name.clone(),
                active_version: active.version,
            }),
        }
    }

    fn to(
        tree: &IpeTree,
        name: &str,
        version: PolicyVersion,
        fallback: &SignedPolicy,
    ) -> Result<Self, TrialError> {
        let header = fallback.header();
        let low = || TrialError::FallbackTooLow {
            fallback: header.name.to_string(),
            fallback_version: header.version,
            name: name.to_owned(),
            version,
        };
        if header.name.as_str() == name {
            // An update has to have a higher version, and the policy on trial is in its place until then.
            return match header.version > version {
                true => Ok(Self::Update { pkcs7: hex::encode(fallback.as_bytes()) }),
                false => Err(low()),
            };
        }
        if header.version < version {
            return Err(low());
        }
        deploy(tree, fallback, false)?;
        Ok(Self::Activate { name: header.name.to_string() })
    }
}

/// Says why a policy cannot be tried.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TrialError {
    /// The kernel does not tell its state, or did not load the fallback.
    #[error(transparent)]
    Deploy(#[from] DeployError),
    /// The fallback cannot follow upon the policy on trial.
    #[error(
        "the fallback {fallback} {fallback_version} cannot follow upon {name} {version}: its version must be higher, or \
         at least as high under another name"
    )]
    FallbackTooLow {
        /// The name of the fallback.
        fallback: String,
        /// Its version.
        fallback_version: PolicyVersion,
        /// The name of the policy on trial.
        name: String,
        /// Its version.
        version: PolicyVersion,
    },
    /// The policy is in force already.
    #[error("the policy {name} {version} is in force already")]
    InForce {
        /// The name of the policy.
        name: String,
        /// Its version.
        version: PolicyVersion,
    },
    /// The kernel would not take the former policy back.
    #[error(
        "there is no way back from {name} {version} to {active} {active_version}: the kernel takes no lower version"
    )]
    NoWayBack {
        /// The name of the policy on trial.
        name: String,
        /// Its version.
        version: PolicyVersion,
        /// The name of the active policy.
        active: String,
        /// Its version.
        active_version: PolicyVersion,
    },
}

#[cfg(test)]
mod tests {
    use osguard_testkit::pki::Signer;
    use osguard_testkit::{Result, or_skip};

    use super::*;
    use crate::securityfs::tests::imitation;

    fn signed(name: &str, version: &str) -> Result<SignedPolicy> {
        let text = format!("policy_name={name} policy_version={version}\nDEFAULT action=ALLOW\n");
        let bytes = Signer::generate("trial test")?.sign_policy(&text)?;
        Ok(SignedPolicy::read(bytes).expect("a signed policy"))
    }

    #[test]
    fn former_state_decides_about_the_way_back() {
        // `lab` 0.0.1 is loaded.
        let directory = imitation("ipe");
        let tree = IpeTree::open_at(directory.path()).unwrap();
        let choose = |name, version| WayBack::choose(&tree, name, version, None);
        let (same, next) = (PolicyVersion::new(0, 0, 1), PolicyVersion::new(0, 0, 2));
        assert_eq!(choose("new", next).unwrap(), WayBack::StopEnforcing);
        std::fs::write(directory.path().join("ipe/policies/lab/active"), "1").unwrap();
        assert_eq!(choose("new", same).unwrap(), WayBack::Activate { name: "lab".to_owned() });
        for name in ["new", "lab"] {
            assert!(matches!(choose(name, next), Err(TrialError::NoWayBack { .. })), "{name}");
        }
        assert!(matches!(choose("lab", same), Err(TrialError::InForce { .. })));
        std::fs::write(directory.path().join("ipe/enforce"), "0").unwrap();
        assert_eq!(choose("lab", next).unwrap(), WayBack::StopEnforcing);
    }

    #[test]
    fn fallback_has_to_be_able_to_follow() {
        let Some(fallback) = or_skip(signed("lab", "0.0.3")) else { return };
        let directory = imitation("ipe");
        let tree = IpeTree::open_at(directory.path()).unwrap();
        let choose = |version| {
            WayBack::choose(&tree, "lab", PolicyVersion::new(0, 0, version), Some(&fallback))
        };
        let pkcs7 = hex::encode(fallback.as_bytes());
        assert_eq!(choose(2).unwrap(), WayBack::Update { pkcs7 });
        assert!(matches!(choose(3), Err(TrialError::FallbackTooLow { .. })));
    }
}
