//! What a policy says, in plain words.

use crate::syntax::{Policy, Property, Rule};
use crate::vocabulary::{Action, Operation};

/// Is what a policy says about one operation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OperationExplanation {
    /// The operation.
    pub operation: Operation,
    /// What it is, as in `executing programs`.
    pub title: &'static str,
    /// The rules, in the order in which they are tried.
    pub rules: Vec<RuleExplanation>,
    /// What happens where none matches.
    pub otherwise: Action,
    /// Whether that is said for this operation alone, and not by the default of all.
    pub has_own_default: bool,
}

/// Is one rule in plain words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RuleExplanation {
    /// For what it holds, as in `what lies in the initramfs`.
    pub subject: String,
    /// What happens then.
    pub action: Action,
    /// The offset of the rule in the text.
    pub offset: usize,
}

/// Explains a policy, operation by operation; those of which it says nothing of their own are left out.
pub fn explain(policy: &Policy) -> Vec<OperationExplanation> {
    let explained = policy.kernel.operations().iter().map(|&operation| {
        let own = policy.default_of(operation);
        let default = own.or_else(|| policy.global_default());
        OperationExplanation {
            operation,
            title: title(operation),
            rules: policy.rules(operation).map(rule).collect(),
            otherwise: default.map_or(Action::Allow, |default| default.action.value),
            has_own_default: own.is_some(),
        }
    });
    explained.filter(|operation| operation.has_own_default || !operation.rules.is_empty()).collect()
}

/// Lists the operations of which a policy says nothing of its own: its global default holds for them.
pub fn left_to_default(policy: &Policy) -> Vec<Operation> {
    let is_left = |operation: &&Operation| {
        policy.default_of(**operation).is_none() && policy.rules(**operation).next().is_none()
    };
    policy.kernel.operations().iter().filter(is_left).copied().collect()
}

/// Says what an operation is.
pub const fn title(operation: Operation) -> &'static str {
    match operation {
        Operation::Execute => "executing programs and libraries, and making memory executable",
        Operation::Firmware => "loading firmware into devices",
        Operation::KernelModule => "loading kernel modules",
        Operation::KexecImage => "loading a kernel to start next",
        Operation::KexecInitramfs => "loading the initramfs of a kernel to start next",
        Operation::Policy => "reading policies of other parts of the kernel",
        Operation::X509Certificate => "reading certificates that the kernel's configuration names",
    }
}

fn rule(rule: &Rule) -> RuleExplanation {
    let mut conditions: Vec<_> =
        rule.properties.iter().map(|property| condition(&property.value)).collect();
    conditions.dedup();
    let subject = match conditions.is_empty() {
        true => "everything".to_owned(),
        false => format!("what {}", conditions.join(" and ")),
    };
    RuleExplanation { subject, action: rule.action.value, offset: rule.span.start }
}

fn condition(property: &Property) -> String {
    match property {
        Property::BootVerified(true) => "lies in the initramfs".to_owned(),
        Property::BootVerified(false) => "does not lie in the initramfs".to_owned(),
        Property::DmVerityRootHash(digest) => {
            format!("lies on the dm-verity volume with the root hash {digest}")
        }
        Property::DmVeritySignature(true) => {
            "lies on a dm-verity volume whose root hash is signed".to_owned()
        }
        Property::DmVeritySignature(false) => {
            "lies on no dm-verity volume with a signed root hash (or in no file)".to_owned()
        }
        Property::FsVerityDigest(digest) => format!("has the fs-verity digest {digest}"),
        Property::FsVeritySignature(true) => "has a signed fs-verity digest".to_owned(),
        Property::FsVeritySignature(false) => {
            "has no signed fs-verity digest (or is no file)".to_owned()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel_version::KernelVersion;
    use crate::syntax::parse;

    #[test]
    fn every_rule_is_a_sentence() {
        let text = b"policy_name=t policy_version=1.0.0\nDEFAULT action=ALLOW\n\
            DEFAULT op=EXECUTE action=DENY\n\
            op=EXECUTE dmverity_roothash=sha256:AB dmverity_signature=FALSE action=DENY\n\
            op=EXECUTE boot_verified=TRUE action=ALLOW\n\
            op=KMODULE action=DENY\n";
        let policy = parse(text, KernelVersion::V6_12).unwrap();
        let [execute, module] = &explain(&policy)[..] else { panic!("two operations") };
        assert!(execute.has_own_default && execute.otherwise == Action::Deny);
        let subjects: Vec<_> = execute.rules.iter().map(|rule| rule.subject.as_str()).collect();
        assert_eq!(
            subjects,
            [
                "what lies on the dm-verity volume with the root hash sha256:ab and lies on no \
                 dm-verity volume with a signed root hash (or in no file)",
                "what lies in the initramfs",
            ]
        );
        assert_eq!(module.rules[0].subject, "everything");
        assert!(!module.has_own_default && module.otherwise == Action::Allow);
        assert_eq!(left_to_default(&policy).len(), 5);
    }
}
