//! The policy of a node: what runs has to come from a signed dm-verity volume.

use std::collections::BTreeSet;
use std::fmt;

use libverity::digest::RootHash;

use crate::name::PolicyName;
use crate::version::PolicyVersion;
use crate::vocabulary::Operation;

/// Describes the policy of a node; its [`Display`](fmt::Display) is the text that the kernel loads.
///
/// Programs and libraries may be executed only from dm-verity volumes whose root hash is signed by
/// a trusted key, or is among those that are [pinned](Self::pin) if there are any, except for the
/// volumes that are revoked. Everything else is left alone unless it is among the
/// [guarded](Self::guarded) operations, for which the same holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodePolicy {
    name: PolicyName,
    version: PolicyVersion,
    guarded: BTreeSet<Operation>,
    allow_boot_verified: bool,
    pinned: BTreeSet<RootHash>,
    revoked: BTreeSet<RootHash>,
}

impl NodePolicy {
    /// Starts with a policy that guards execution alone.
    pub fn new(name: PolicyName, version: PolicyVersion) -> Self {
        Self {
            name,
            version,
            guarded: BTreeSet::from([Operation::Execute]),
            allow_boot_verified: false,
            pinned: BTreeSet::new(),
            revoked: BTreeSet::new(),
        }
    }

    /// Returns the name.
    pub fn name(&self) -> &PolicyName {
        &self.name
    }

    /// Returns the version.
    pub fn version(&self) -> PolicyVersion {
        self.version
    }

    /// Returns the guarded operations.
    pub fn guarded(&self) -> impl Iterator<Item = Operation> {
        self.guarded.iter().copied()
    }

    /// Guards an operation besides execution.
    pub fn guard(mut self, operation: Operation) -> Self {
        self.guarded.insert(operation);
        self
    }

    /// Allows, too, what lies in the initramfs; it is needed where code from there keeps running.
    pub fn allow_boot_verified(mut self) -> Self {
        self.allow_boot_verified = true;
        self
    }

    /// Allows what lies on this volume, signed or not, and no longer what lies on others because they are
    /// signed.
    ///
    /// One policy holds about 560 root hashes for one guarded operation.
    pub fn pin(mut self, root_hash: RootHash) -> Result<Self, RootHashError> {
        self.pinned.insert(checked(root_hash)?);
        Ok(self)
    }

    /// Denies everything on one volume, whoever signed it.
    ///
    /// A policy of 65,535 bytes, signature included, holds about 560 revocations for one guarded
    /// operation.
    pub fn revoke(mut self, root_hash: RootHash) -> Result<Self, RootHashError> {
        self.revoked.insert(checked(root_hash)?);
        Ok(self)
    }
}

impl fmt::Display for NodePolicy {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(formatter, "policy_name={} policy_version={}", self.name, self.version)?;
        // A global default is what the kernel falls back on for operations that it gains later.
        writeln!(formatter, "DEFAULT action=ALLOW")?;
        for operation in &self.guarded {
            writeln!(formatter)?;
            writeln!(formatter, "DEFAULT op={operation} action=DENY")?;
            // The first rule that matches decides, so what is revoked comes before what is signed.
            for root_hash in &self.revoked {
                writeln!(
                    formatter,
                    "op={operation} dmverity_roothash=sha256:{root_hash} action=DENY"
                )?;
            }
            for root_hash in self.pinned.difference(&self.revoked) {
                writeln!(
                    formatter,
                    "op={operation} dmverity_roothash=sha256:{root_hash} action=ALLOW"
                )?;
            }
            if self.pinned.is_empty() {
                writeln!(formatter, "op={operation} dmverity_signature=TRUE action=ALLOW")?;
            }
            if self.allow_boot_verified {
                writeln!(formatter, "op={operation} boot_verified=TRUE action=ALLOW")?;
            }
        }
        Ok(())
    }
}

/// Returns a root hash that can stand in a rule.
pub(crate) fn checked(root_hash: RootHash) -> Result<RootHash, RootHashError> {
    match root_hash.as_bytes().len() {
        SHA256_BYTES => Ok(root_hash),
        _ => Err(RootHashError { root_hash }),
    }
}

/// Says that a root hash is none of SHA-256, by which all of osguard's volumes are made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{root_hash} is not a root hash of SHA-256, which has 64 digits")]
pub struct RootHashError {
    /// The root hash.
    pub root_hash: RootHash,
}

const SHA256_BYTES: usize = 32;

#[cfg(test)]
mod tests {
    use super::*;

    fn policy() -> NodePolicy {
        let name = "osguard".parse().unwrap();
        NodePolicy::new(name, PolicyVersion::new(1, 0, 7))
    }

    #[test]
    fn the_plain_policy_guards_execution() {
        let expected = "\
            policy_name=osguard policy_version=1.0.7\n\
            DEFAULT action=ALLOW\n\
            \n\
            DEFAULT op=EXECUTE action=DENY\n\
            op=EXECUTE dmverity_signature=TRUE action=ALLOW\n";
        assert_eq!(policy().to_string(), expected);
    }

    #[test]
    fn everything_at_once_is_in_the_order_that_the_kernel_needs() {
        let revoked = |byte| RootHash::from_bytes([byte; 32]);
        let policy = policy()
            .guard(Operation::KexecInitramfs)
            .guard(Operation::KernelModule)
            .allow_boot_verified()
            .revoke(revoked(0xbb))
            .and_then(|policy| policy.revoke(revoked(0xaa)))
            .and_then(|policy| policy.revoke(revoked(0xbb)))
            .unwrap();
        let (aa, bb) = ("aa".repeat(32), "bb".repeat(32));
        let block = |operation: &str| {
            format!(
                "\n\
                 DEFAULT op={operation} action=DENY\n\
                 op={operation} dmverity_roothash=sha256:{aa} action=DENY\n\
                 op={operation} dmverity_roothash=sha256:{bb} action=DENY\n\
                 op={operation} dmverity_signature=TRUE action=ALLOW\n\
                 op={operation} boot_verified=TRUE action=ALLOW\n"
            )
        };
        let expected = [
            "policy_name=osguard policy_version=1.0.7\nDEFAULT action=ALLOW\n".to_owned(),
            block("EXECUTE"),
            block("KMODULE"),
            block("KEXEC_INITRAMFS"),
        ]
        .concat();
        assert_eq!(policy.to_string(), expected);
    }

    #[test]
    fn only_root_hashes_of_sha256_are_named() {
        let root_hash = RootHash::from_bytes([1; 64]);
        assert_eq!(
            policy().pin(root_hash.clone()),
            Err(RootHashError { root_hash: root_hash.clone() })
        );
        assert_eq!(policy().revoke(root_hash.clone()), Err(RootHashError { root_hash }));
    }

    #[test]
    fn pinned_volumes_take_the_place_of_signed_ones() {
        let hash = |byte| RootHash::from_bytes([byte; 32]);
        let policy = policy()
            .pin(hash(0xbb))
            .and_then(|policy| policy.pin(hash(0xaa)))
            .and_then(|policy| policy.revoke(hash(0xbb)))
            .unwrap();
        let (aa, bb) = ("aa".repeat(32), "bb".repeat(32));
        let expected = format!(
            "policy_name=osguard policy_version=1.0.7\nDEFAULT action=ALLOW\n\n\
             DEFAULT op=EXECUTE action=DENY\n\
             op=EXECUTE dmverity_roothash=sha256:{bb} action=DENY\n\
             op=EXECUTE dmverity_roothash=sha256:{aa} action=ALLOW\n"
        );
        assert_eq!(policy.to_string(), expected);
    }
}
