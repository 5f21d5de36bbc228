//! Which policies the kernel has, and whether it carries them out.

use osguard_policy::version::PolicyVersion;

use crate::deploy::{DeployError, is_active, loaded_version};
use crate::securityfs::{IpeTree, PolicyFile};

/// Is the state of IPE.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IpeStatus {
    /// Whether a denial is carried out; otherwise it is only recorded.
    pub enforce: bool,
    /// The loaded policies, ordered by name. Without an active one everything is allowed.
    pub policies: Vec<LoadedPolicy>,
}

/// Is a policy that the kernel has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoadedPolicy {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: PolicyVersion,
    /// Whether it is in force.
    pub active: bool,
    /// Whether it came signed; a boot policy that was built into the kernel did not.
    pub signed: bool,
}

impl IpeStatus {
    /// Reads the state; needs root.
    ///
    /// # Errors
    ///
    /// Fails when a file of IPE cannot be read. A policy that is deleted meanwhile is left out.
    pub fn read(tree: &IpeTree) -> Result<Self, DeployError> {
        let mut policies = Vec::new();
        for name in tree.policy_names().map_err(DeployError::Securityfs)? {
            let Some(version) = loaded_version(tree, &name)? else { continue };
            let active = is_active(tree, &name)?;
            let pkcs7 =
                tree.read_policy(&name, PolicyFile::Pkcs7).map_err(DeployError::Securityfs)?;
            policies.push(LoadedPolicy { name, version, active, signed: pkcs7.is_some() });
        }
        let enforce = tree.enforce().map_err(DeployError::Securityfs)?;
        Ok(Self { enforce, policies })
    }

    /// Returns the policy that is in force.
    pub fn active(&self) -> Option<&LoadedPolicy> {
        self.policies.iter().find(|policy| policy.active)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::securityfs::tests::imitation;

    #[test]
    fn boot_policy_is_known_by_its_missing_signature() {
        let directory = imitation("ipe");
        let policy = directory.path().join("ipe/policies/boot");
        std::fs::create_dir(&policy).unwrap();
        std::fs::write(policy.join("active"), "1").unwrap();
        std::fs::write(policy.join("version"), "0.0.2").unwrap();
        let tree = IpeTree::open_at(directory.path()).unwrap();
        let status = IpeStatus::read(&tree).unwrap();
        assert!(status.enforce);
        assert_eq!(status.policies.len(), 2);
        let active = status.active().unwrap();
        assert_eq!((active.name.as_str(), active.signed), ("boot", false));
        assert!(status.policies[1].signed && !status.policies[1].active);
    }
}
