//! Policies that follow upon policies: with more revocations and a higher version.

use std::fmt::Write as _;

use libverity::digest::RootHash;

use crate::budget::MAX_TEXT_BYTES;
use crate::evaluate::{Evaluator, Facts, Volume};
use crate::kernel_version::KernelVersion;
use crate::node_policy::{RootHashError, checked};
use crate::syntax::{DigestValue, Policy, Property, Rule, Span, SyntaxErrors, parse, until_nul};
use crate::version::PolicyVersion;
use crate::vocabulary::{Action, Operation};

/// Is a policy with more revocations than the one before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Revision {
    /// The text; all that was not touched is as it was, comments and spaces included.
    pub text: Vec<u8>,
    /// The version.
    pub version: PolicyVersion,
    /// The root hashes that are denied now and were not before.
    pub added: Vec<RootHash>,
}

/// Denies whatever lies on the volumes with these root hashes, for all operations of which the policy
/// says anything, and gives the policy a higher version: the next, or `version`.
///
/// The new rules stand in front of all others for their operation, for the first that matches decides.
/// With nothing to add the text stays as it was, and so does its version.
///
/// # Errors
///
/// Fails where the kernel refuses the text or would ignore the end of it, where there is no higher version, and where
/// the text becomes longer than the kernel takes. What comes out was parsed and asked for each root hash.
pub fn revoke(
    text: &[u8],
    kernel: KernelVersion,
    root_hashes: &[RootHash],
    version: Option<PolicyVersion>,
) -> Result<Revision, RevisionError> {
    let policy = parse(text, kernel)?;
    if until_nul(text).len() < text.len() {
        return Err(RevisionError::Nul { offset: until_nul(text).len() });
    }
    let old = policy.header.version;
    let version = higher(old.value, version)?;
    let mut wanted = root_hashes
        .iter()
        .map(|root_hash| checked(root_hash.clone()))
        .collect::<Result<Vec<_>, _>>()?;
    wanted.sort();
    wanted.dedup();

    let operations = guarded(&policy);
    let mut insertions = Vec::new();
    let mut added = Vec::new();
    for &operation in &operations {
        let missing: Vec<_> =
            wanted.iter().filter(|root_hash| !is_denied(&policy, operation, root_hash)).collect();
        if missing.is_empty() {
            continue;
        }
        let mut rules = String::new();
        let line_end = if text.windows(2).any(|pair| pair == b"\r\n") { "\r\n" } else { "\n" };
        for root_hash in &missing {
            // Writing into a string does not fail.
            let _ = write!(
                rules,
                "op={operation} dmverity_roothash=sha256:{root_hash} action=DENY{line_end}"
            );
        }
        added.extend(missing.into_iter().cloned());
        insertions.push((place(text, &policy, operation), rules));
    }
    if insertions.is_empty() {
        return Ok(Revision { text: text.to_vec(), version: old.value, added });
    }
    added.sort();
    added.dedup();
    let text = edited(text, old.span, &version.to_string(), insertions);
    let revised = parse(&text, kernel)?;
    for root_hash in &added {
        if !operations.iter().all(|&operation| is_denied(&revised, operation, root_hash)) {
            return Err(RevisionError::NoEffect { root_hash: root_hash.clone() });
        }
    }
    match text.len() > MAX_TEXT_BYTES {
        true => Err(RevisionError::TooLong {
            found_bytes: text.len(),
            limit_bytes: MAX_TEXT_BYTES,
            added: added.len(),
        }),
        false => Ok(Revision { text, version, added }),
    }
}

/// Gives a policy a version higher than its own and than `above`: the next, or `version`. All else in the text stays as it
/// was, so that rules which were replaced can follow upon those that replaced them.
///
/// # Errors
///
/// Fails where the kernel refuses the text or would ignore the end of it, and where there is no higher version.
pub fn renumber(
    text: &[u8],
    kernel: KernelVersion,
    above: Option<PolicyVersion>,
    version: Option<PolicyVersion>,
) -> Result<Revision, RevisionError> {
    let policy = parse(text, kernel)?;
    if until_nul(text).len() < text.len() {
        return Err(RevisionError::Nul { offset: until_nul(text).len() });
    }
    let own = policy.header.version;
    let old = above.map_or(own.value, |above| above.max(own.value));
    let version = higher(old, version)?;
    let text = edited(text, own.span, &version.to_string(), Vec::new());
    Ok(Revision { text, version, added: Vec::new() })
}

/// Says why a policy has no successor.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RevisionError {
    /// The rules that were added do not deny what they name.
    #[error("the policy allows {root_hash} still, whatever is added to it")]
    NoEffect {
        /// The root hash.
        root_hash: RootHash,
    },
    /// There is no version beyond the highest.
    #[error("there is no version beyond {version}")]
    NoHigherVersion {
        /// The version of the policy.
        version: PolicyVersion,
    },
    /// The version that was asked for is not higher.
    #[error(
        "the version {version} is not higher than {old}, and no kernel that has {old} takes it"
    )]
    NotHigher {
        /// What was asked for.
        version: PolicyVersion,
        /// The version of the policy.
        old: PolicyVersion,
    },
    /// The kernel would ignore a part of the text.
    #[error("there is a NUL byte at offset {offset}, behind which the kernel ignores everything")]
    Nul {
        /// Where the byte is.
        offset: usize,
    },
    /// A root hash cannot stand in a rule.
    #[error(transparent)]
    RootHash(#[from] RootHashError),
    /// The kernel refuses the text.
    #[error(transparent)]
    Syntax(#[from] SyntaxErrors),
    /// No signature makes a policy of the text that the kernel takes.
    #[error(
        "with {added} more volumes denied the policy has {found_bytes} bytes, and {limit_bytes} are the most that the \
         kernel takes with a signature"
    )]
    TooLong {
        /// How long the text would be.
        found_bytes: usize,
        /// How long it may be: 65,535 bytes without the smallest signature.
        limit_bytes: usize,
        /// How many volumes were to be denied.
        added: usize,
    },
}

fn higher(
    old: PolicyVersion,
    wanted: Option<PolicyVersion>,
) -> Result<PolicyVersion, RevisionError> {
    match wanted {
        None => old.next().ok_or(RevisionError::NoHigherVersion { version: old }),
        Some(version) if version > old => Ok(version),
        Some(version) => Err(RevisionError::NotHigher { version, old }),
    }
}

/// Lists the operations of which the policy says anything of its own; if it says nothing, execution.
fn guarded(policy: &Policy) -> Vec<Operation> {
    let is_guarded = |operation: &Operation| {
        policy.default_of(*operation).is_some() || policy.rules(*operation).next().is_some()
    };
    let mut guarded: Vec<_> =
        policy.kernel.operations().iter().copied().filter(is_guarded).collect();
    if guarded.is_empty() {
        guarded.push(Operation::Execute);
    }
    guarded
}

/// Tells whether nothing of a volume gets through, signed or not, and by a rule that names it: a default
/// may be another one day.
fn is_denied(policy: &Policy, operation: Operation, root_hash: &RootHash) -> bool {
    let digest =
        DigestValue { algorithm: b"sha256".to_vec(), bytes: root_hash.as_bytes().to_vec() };
    let names_it = |rule: &Rule| {
        rule.action.value == Action::Deny
            && matches!(&rule.properties[..], [property]
                if matches!(&property.value, Property::DmVerityRootHash(named) if *named == digest))
    };
    let is_denied = |is_signed| {
        let volume = Some(Volume { root_hash: digest.clone(), is_signed });
        let facts = Facts { volume, ..Facts::default() };
        Evaluator::new().decide(policy, Some(operation), &facts).action == Action::Deny
    };
    policy.rules(operation).any(names_it) && is_denied(true) && is_denied(false)
}

/// Finds the start of the line in front of which a rule decides first.
fn place(text: &[u8], policy: &Policy, operation: Operation) -> usize {
    let first_rule = policy.rules(operation).next().map(|rule| rule.span);
    let default = policy.default_of(operation).map(|default| default.span);
    match (first_rule, default) {
        (Some(rule), Some(default)) if default.start < rule.start => line_end(text, default),
        (Some(rule), _) => line_start(text, rule),
        (None, Some(default)) => line_end(text, default),
        (None, None) => text.len(),
    }
}

fn line_start(text: &[u8], span: Span) -> usize {
    text[..span.start].iter().rposition(|byte| b"\n\r".contains(byte)).map_or(0, |end| end + 1)
}

/// Finds the start of the next line.
fn line_end(text: &[u8], span: Span) -> usize {
    let Some(end) = text[span.end..].iter().position(|byte| b"\n\r".contains(byte)) else {
        return text.len();
    };
    let end = span.end + end + 1;
    if text[..end].ends_with(b"\r") && text.get(end) == Some(&b'\n') { end + 1 } else { end }
}

/// Puts the version in its place, and rules at theirs.
fn edited(
    text: &[u8],
    version_span: Span,
    version: &str,
    mut insertions: Vec<(usize, String)>,
) -> Vec<u8> {
    insertions.sort_by_key(|(at, _)| *at);
    let mut edited = text[..version_span.start].to_vec();
    edited.extend_from_slice(version.as_bytes());
    let mut from = version_span.end;
    for (at, rules) in insertions {
        edited.extend_from_slice(&text[from..at]);
        if !edited.ends_with(b"\n") && !edited.ends_with(b"\r") {
            edited.push(b'\n');
        }
        edited.extend_from_slice(rules.as_bytes());
        from = at;
    }
    edited.extend_from_slice(&text[from..]);
    edited
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hash(byte: u8) -> RootHash {
        RootHash::from_bytes([byte; 32])
    }

    fn revised(text: &str, hashes: &[RootHash]) -> Result<String, RevisionError> {
        revoke(text.as_bytes(), KernelVersion::V6_12, hashes, None)
            .map(|revision| String::from_utf8(revision.text).unwrap())
    }

    #[test]
    fn denials_come_first_and_nothing_else_is_touched() {
        let aa = "aa".repeat(32);
        let text = "# ours\npolicy_name=t  policy_version=1.0.65535 # now\nDEFAULT action=ALLOW\n\n\
            # programs\nDEFAULT op=EXECUTE action=DENY\n\
            op=EXECUTE  dmverity_signature=TRUE action=ALLOW\n\
            # modules\nop=KMODULE dmverity_signature=TRUE action=ALLOW\nDEFAULT op=KMODULE action=DENY";
        let expected = format!(
            "# ours\npolicy_name=t  policy_version=1.1.0 # now\nDEFAULT action=ALLOW\n\n\
            # programs\nDEFAULT op=EXECUTE action=DENY\n\
            op=EXECUTE dmverity_roothash=sha256:{aa} action=DENY\n\
            op=EXECUTE  dmverity_signature=TRUE action=ALLOW\n\
            # modules\nop=KMODULE dmverity_roothash=sha256:{aa} action=DENY\n\
            op=KMODULE dmverity_signature=TRUE action=ALLOW\nDEFAULT op=KMODULE action=DENY"
        );
        assert_eq!(revised(text, &[hash(0xaa), hash(0xaa)]).as_ref(), Ok(&expected));
        let again = revoke(expected.as_bytes(), KernelVersion::V7_2, &[hash(0xaa)], None).unwrap();
        assert_eq!((again.text, again.added), (expected.into_bytes(), vec![]));
    }

    #[test]
    fn a_policy_without_guarded_operations_guards_execution() {
        let text = "policy_name=t policy_version=1.0.0\r\nDEFAULT action=ALLOW";
        let aa = "aa".repeat(32);
        assert_eq!(
            revised(text, &[hash(0xaa)]),
            Ok(format!(
                "policy_name=t policy_version=1.0.1\r\nDEFAULT action=ALLOW\n\
                 op=EXECUTE dmverity_roothash=sha256:{aa} action=DENY\r\n"
            ))
        );
    }

    #[test]
    fn a_policy_that_the_kernel_would_not_take_is_none() {
        let text = "policy_name=t policy_version=1.0.0\nDEFAULT action=DENY\nop=EXECUTE dmverity_signature=TRUE action=ALLOW\n";
        let hashes = |count: u16| -> Vec<RootHash> {
            let hash = |number: u16| {
                let mut bytes = [0x5e; 32];
                bytes[..2].copy_from_slice(&number.to_le_bytes());
                RootHash::from_bytes(bytes)
            };
            (0..count).map(hash).collect()
        };
        // A rule has 112 bytes and its line end.
        let most = revised(text, &hashes(570)).unwrap();
        assert!((60_000..MAX_TEXT_BYTES).contains(&most.len()), "{}", most.len());
        let error = revised(text, &hashes(620)).unwrap_err();
        let RevisionError::TooLong { found_bytes, limit_bytes, added } = error else {
            panic!("{error}")
        };
        assert_eq!((limit_bytes, added), (MAX_TEXT_BYTES, 620));
        assert!(found_bytes > limit_bytes);
    }

    #[test]
    fn a_denial_behind_an_allowance_is_put_in_front_again() {
        let aa = "aa".repeat(32);
        let text = format!(
            "policy_name=t policy_version=1.0.0\nDEFAULT action=DENY\n\
             op=EXECUTE dmverity_signature=TRUE action=ALLOW\n\
             op=EXECUTE dmverity_roothash=sha256:{aa} action=DENY\n"
        );
        let text = revised(&text, &[hash(0xaa)]).unwrap();
        assert!(text.contains(&format!(
            "DENY\nop=EXECUTE dmverity_roothash=sha256:{aa} action=DENY\n\
             op=EXECUTE dmverity_signature=TRUE action=ALLOW\n"
        )));
    }

    #[test]
    fn former_rules_follow_upon_those_that_replaced_them() {
        let text = b"# ours\npolicy_name=t  policy_version=1.0.3 # then\nDEFAULT action=ALLOW\n";
        let to = |above, version| renumber(text, KernelVersion::V6_12, above, version);
        let above = Some(PolicyVersion::new(1, 0, 9));
        let expected =
            "# ours\npolicy_name=t  policy_version=1.0.10 # then\nDEFAULT action=ALLOW\n";
        assert_eq!(to(above, None).unwrap().text, expected.as_bytes());
        assert_eq!(to(None, None).unwrap().version, PolicyVersion::new(1, 0, 4));
        let error = to(above, Some(PolicyVersion::new(1, 0, 9))).unwrap_err();
        assert!(matches!(error, RevisionError::NotHigher { .. }), "{error}");
    }

    #[test]
    fn versions_only_rise() {
        let text = "policy_name=t policy_version=65535.65535.65535\nDEFAULT action=ALLOW\n";
        let highest = PolicyVersion::new(65535, 65535, 65535);
        let error = revised(text, &[hash(1)]).unwrap_err();
        assert_eq!(error, RevisionError::NoHigherVersion { version: highest });
        let text = b"policy_name=t policy_version=1.0.1\nDEFAULT action=ALLOW\n";
        let to = |version| revoke(text, KernelVersion::V6_12, &[hash(1)], Some(version));
        assert!(matches!(to(PolicyVersion::new(1, 0, 1)), Err(RevisionError::NotHigher { .. })));
        assert_eq!(to(PolicyVersion::new(1, 1, 0)).unwrap().version, PolicyVersion::new(1, 1, 0));
        let short = RootHash::from_bytes([1; 20]);
        assert!(matches!(
            revised("policy_name=t policy_version=1.0.1\nDEFAULT action=ALLOW\n", &[short]),
            Err(RevisionError::RootHash(_))
        ));
    }
}
