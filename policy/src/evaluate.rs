//! What a policy decides, as the kernel decides it.

use crate::kernel_config::KernelConfig;
use crate::syntax::{DefaultRule, DigestValue, Policy, Property, Rule};
use crate::vocabulary::{Action, Operation, PropertyName};

/// Is what the kernel knows about the file that is to be executed or read.
///
/// Of nothing (anonymous memory, `init_module`) and of files without a device (tmpfs, memfd, NFS) it
/// knows nothing: that is [`Facts::default`].
///
/// Source: `security/ipe/eval.c`, `ipe_build_eval_ctx`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    /// Whether the mount of the file's path is the file system into which the initramfs was unpacked;
    /// an overlay on it is not.
    pub is_in_initramfs: bool,
    /// The dm-verity volume that is the whole block device of the file's file system; under an overlay,
    /// that of the layer in which the file really lies.
    pub volume: Option<Volume>,
    /// The fs-verity data of the file.
    pub fs_verity: Option<FsVerity>,
}

/// Is what the kernel knows about a dm-verity volume.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Volume {
    /// The root hash, with the name of the algorithm in the device's table.
    pub root_hash: DigestValue,
    /// Whether the table came with a signature; the kernel does not keep by whom.
    pub is_signed: bool,
}

/// Is what the kernel knows about a file with fs-verity.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FsVerity {
    /// The digest of the file.
    pub digest: DigestValue,
    /// Whether the file system has verified a signature of it.
    pub is_signed: bool,
}

/// Is a decision, and what has made it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Decision<'a> {
    /// What happens.
    pub action: Action,
    /// Why.
    pub by: DecidedBy<'a>,
}

/// Tells what made a decision.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DecidedBy<'a> {
    /// A default: of the operation, or of all.
    Default(&'a DefaultRule),
    /// Nothing: the kernel warns in its log and allows what a policy without a global default does not
    /// name.
    Nothing,
    /// The first rule that matches.
    Rule(&'a Rule),
}

/// Decides by policies as a kernel with certain options does.
#[derive(Clone, Copy, Debug, Default)]
pub struct Evaluator<'a> {
    config: Option<&'a KernelConfig>,
}

impl<'a> Evaluator<'a> {
    /// Decides as a kernel that was built with everything.
    pub const fn new() -> Self {
        Self { config: None }
    }

    /// Decides as a kernel of this configuration, where a property that was left out is never true.
    pub const fn with_config(config: &'a KernelConfig) -> Self {
        Self { config: Some(config) }
    }

    /// Decides whether an operation goes on; `None` is an event that the kernel knows and no policy can
    /// name.
    ///
    /// Source: `security/ipe/eval.c`, `ipe_evaluate_event`.
    pub fn decide<'p>(
        self,
        policy: &'p Policy,
        operation: Option<Operation>,
        facts: &Facts,
    ) -> Decision<'p> {
        let matching = operation.and_then(|operation| {
            policy.rules(operation).find(|rule| {
                rule.properties.iter().all(|property| self.is_true(&property.value, facts))
            })
        });
        if let Some(rule) = matching {
            return Decision { action: rule.action.value, by: DecidedBy::Rule(rule) };
        }
        let default = operation
            .and_then(|operation| policy.default_of(operation))
            .or_else(|| policy.global_default());
        match default {
            Some(default) => {
                Decision { action: default.action.value, by: DecidedBy::Default(default) }
            }
            None => Decision { action: Action::Allow, by: DecidedBy::Nothing },
        }
    }

    /// Tells whether a property is true.
    ///
    /// Source: `security/ipe/eval.c`, `evaluate_property`: where a property is left out, both of its
    /// values are false.
    fn is_true(self, property: &Property, facts: &Facts) -> bool {
        if !self.knows(property.name()) {
            return false;
        }
        let volume = facts.volume.as_ref();
        let fs_verity = facts.fs_verity.as_ref();
        match property {
            Property::BootVerified(truth) => facts.is_in_initramfs == *truth,
            Property::DmVerityRootHash(digest) => {
                volume.is_some_and(|volume| volume.root_hash == *digest)
            }
            Property::DmVeritySignature(truth) => {
                volume.is_some_and(|volume| volume.is_signed) == *truth
            }
            Property::FsVerityDigest(digest) => {
                fs_verity.is_some_and(|fs_verity| fs_verity.digest == *digest)
            }
            Property::FsVeritySignature(truth) => {
                fs_verity.is_some_and(|fs_verity| fs_verity.is_signed) == *truth
            }
        }
    }

    fn knows(self, property: PropertyName) -> bool {
        self.config.is_none_or(|config| config.knows(property))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel_version::KernelVersion;
    use crate::syntax::parse;

    const POLICY: &[u8] = b"policy_name=t policy_version=1.0.0\n\
        DEFAULT action=ALLOW\n\
        DEFAULT op=EXECUTE action=DENY\n\
        op=EXECUTE dmverity_roothash=sha256:AABB action=DENY\n\
        op=EXECUTE dmverity_signature=TRUE action=ALLOW\n\
        op=EXECUTE boot_verified=TRUE action=ALLOW\n\
        op=EXECUTE fsverity_signature=TRUE fsverity_digest=sha512:cc action=ALLOW\n\
        op=KMODULE dmverity_signature=FALSE action=DENY\n";

    fn digest(algorithm: &str, bytes: &[u8]) -> DigestValue {
        DigestValue { algorithm: algorithm.into(), bytes: bytes.to_vec() }
    }

    fn volume(algorithm: &str, bytes: &[u8], is_signed: bool) -> Facts {
        let root_hash = digest(algorithm, bytes);
        Facts { volume: Some(Volume { root_hash, is_signed }), ..Facts::default() }
    }

    fn fs_verity(bytes: &[u8], is_signed: bool) -> Facts {
        let digest = digest("sha512", bytes);
        Facts { fs_verity: Some(FsVerity { digest, is_signed }), ..Facts::default() }
    }

    /// Decides, and returns the line of the policy that did.
    fn decide(
        evaluator: Evaluator<'_>,
        operation: Option<Operation>,
        facts: &Facts,
    ) -> (Action, String) {
        let policy = parse(POLICY, KernelVersion::V6_12).unwrap();
        let decision = evaluator.decide(&policy, operation, facts);
        let by = match decision.by {
            DecidedBy::Rule(rule) => rule.to_string(),
            DecidedBy::Default(default) => default.to_string(),
            DecidedBy::Nothing => String::new(),
        };
        (decision.action, by)
    }

    #[test]
    fn the_first_rule_that_matches_decides() {
        let execute = |facts: &Facts| decide(Evaluator::new(), Some(Operation::Execute), facts);
        let signed = "op=EXECUTE dmverity_signature=TRUE action=ALLOW".to_owned();
        assert_eq!(execute(&volume("sha256", &[1], true)), (Action::Allow, signed.clone()));
        assert_eq!(execute(&volume("sha256", &[0xaa], true)), (Action::Allow, signed.clone()));
        assert_eq!(execute(&volume("sha512", &[0xaa, 0xbb], true)), (Action::Allow, signed));
        let revoked = "op=EXECUTE dmverity_roothash=sha256:aabb action=DENY".to_owned();
        assert_eq!(execute(&volume("sha256", &[0xaa, 0xbb], true)), (Action::Deny, revoked));
        let initramfs = Facts { is_in_initramfs: true, ..Facts::default() };
        assert_eq!(execute(&initramfs).0, Action::Allow);
        assert_eq!(execute(&fs_verity(&[0xcc], true)).0, Action::Allow);
        let default = || "DEFAULT op=EXECUTE action=DENY".to_owned();
        for facts in [
            Facts::default(),
            volume("sha256", &[1], false),
            fs_verity(&[0xcc], false),
            fs_verity(&[0xcd], true),
        ] {
            assert_eq!(execute(&facts), (Action::Deny, default()), "{facts:?}");
        }
    }

    #[test]
    fn what_has_no_file_is_not_signed() {
        let module =
            |facts: &Facts| decide(Evaluator::new(), Some(Operation::KernelModule), facts).0;
        assert_eq!(module(&Facts::default()), Action::Deny);
        assert_eq!(module(&volume("sha256", &[1], false)), Action::Deny);
        assert_eq!(module(&volume("sha256", &[1], true)), Action::Allow);
    }

    #[test]
    fn what_no_rule_names_is_left_to_the_default_of_all() {
        let global = "DEFAULT action=ALLOW".to_owned();
        let facts = Facts::default();
        let firmware = decide(Evaluator::new(), Some(Operation::Firmware), &facts);
        assert_eq!(firmware, (Action::Allow, global.clone()));
        assert_eq!(decide(Evaluator::new(), None, &facts), (Action::Allow, global));
        let all: String = Operation::ALL
            .iter()
            .map(|operation| format!("DEFAULT op={operation} action=DENY\n"))
            .collect();
        let text = format!("policy_name=t policy_version=1.0.0\n{all}");
        let policy = parse(text.as_bytes(), KernelVersion::V7_2).unwrap();
        let decision = Evaluator::new().decide(&policy, None, &facts);
        assert_eq!(decision, Decision { action: Action::Allow, by: DecidedBy::Nothing });
    }

    #[test]
    fn what_a_kernel_was_built_without_is_never_true() {
        let config = KernelConfig::read(b"CONFIG_SECURITY_IPE=y\n").unwrap();
        let evaluator = Evaluator::with_config(&config);
        let module = decide(evaluator, Some(Operation::KernelModule), &Facts::default());
        assert_eq!(module, (Action::Allow, "DEFAULT action=ALLOW".to_owned()));
        let signed = volume("sha256", &[1], true);
        assert_eq!(decide(evaluator, Some(Operation::Execute), &signed).0, Action::Deny);
        let initramfs = Facts { is_in_initramfs: true, ..Facts::default() };
        assert_eq!(decide(evaluator, Some(Operation::Execute), &initramfs).0, Action::Allow);
    }
}
