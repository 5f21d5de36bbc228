//! What is odd about one rule, whatever stands around it.

use super::condition::Condition;
use super::{Findings, Lint};
use crate::syntax::{DigestValue, Policy, Property, Rule, Spanned, Statement};
use crate::vocabulary::{Action, PropertyName};

pub(super) fn lint(policy: &Policy, findings: &mut Findings) {
    for statement in &policy.statements {
        let Statement::Rule(rule) = statement else { continue };
        for (index, property) in rule.properties.iter().enumerate() {
            if let Some(value) = property.value.digest() {
                digest(property, value, findings);
            }
            if rule.properties[..index].iter().any(|other| other.value == property.value) {
                findings.push(
                    Lint::RepeatedProperty,
                    property.span,
                    "the same stands in this rule already",
                    "leave one of the two out",
                );
            }
        }
        if let Err((first, second)) = Condition::of(rule) {
            contradiction(rule, first, second, findings);
        }
        unverified(rule, findings);
    }
}

/// Tells whether a rule can match at all.
pub(super) fn can_match(rule: &Rule) -> bool {
    let is_odd =
        |property: &Spanned<Property>| match (property.value.name(), property.value.digest()) {
            (name, Some(digest)) => digest_bytes(name, digest) != Some(digest.bytes.len()),
            (_, None) => false,
        };
    !rule.properties.iter().any(is_odd) && Condition::of(rule).is_ok()
}

fn digest(property: &Spanned<Property>, digest: &DigestValue, findings: &mut Findings) {
    let algorithm = String::from_utf8_lossy(&digest.algorithm);
    let name = property.value.name();
    let found = digest.bytes.len();
    match digest_bytes(name, digest) {
        None => {
            let known: Vec<_> = algorithms(name).iter().map(|(algorithm, _)| *algorithm).collect();
            findings.push(
                Lint::UnknownAlgorithm,
                property.span,
                format!(
                    "no {name} is by the algorithm `{algorithm}`, so that the rule never matches"
                ),
                format!("the algorithms are {}", known.join(", ")),
            );
        }
        Some(bytes) if bytes != found => findings.push(
            Lint::DigestLength,
            property.span,
            format!(
                "a digest by {algorithm} has {} digits and this has {}, so that the rule never \
                 matches",
                2 * bytes,
                2 * found
            ),
            "copy the digest once more, as a whole",
        ),
        Some(_) => {}
    }
}

fn contradiction(rule: &Rule, first: &Property, second: &Property, findings: &mut Findings) {
    let why = match first.name() == second.name() {
        true => "exclude each other",
        false => "exclude each other, for what lies in the initramfs lies on no volume",
    };
    findings.push(
        Lint::Contradiction,
        rule.span,
        format!("`{}` and `{}` {why}: the rule never matches", brief(first), brief(second)),
        "all properties of a rule have to be true; write one rule for each if one is enough",
    );
}

/// Finds rules that allow what nobody vouches for: each of these properties is true of memory.
fn unverified(rule: &Rule, findings: &mut Findings) {
    let is_negated = |property: &Spanned<Property>| property.value.truth() == Some(false);
    let has_any = !rule.properties.is_empty();
    if rule.action.value == Action::Allow && has_any && rule.properties.iter().all(is_negated) {
        findings.push(
            Lint::AllowsUnverified,
            rule.span,
            "this allows whatever is not verified, anonymous memory included",
            "leave the rule out, or ask for what is TRUE of the files that you mean",
        );
    }
}

/// Writes a property with a shortened digest.
pub(super) fn brief(property: &Property) -> String {
    let text = property.to_string();
    match text.char_indices().nth(44) {
        Some((end, _)) if property.digest().is_some() => format!("{}…", &text[..end]),
        _ => text,
    }
}

/// Returns how many bytes a digest by that algorithm has.
fn digest_bytes(name: PropertyName, digest: &DigestValue) -> Option<usize> {
    algorithms(name)
        .iter()
        .find(|(algorithm, _)| algorithm.as_bytes() == digest.algorithm)
        .map(|(_, bytes)| *bytes)
}

/// Lists the algorithms and the bytes of their digests.
///
/// Source: `Documentation/admin-guide/LSM/ipe.rst`, "Properties"; `fs/verity/hash_algs.c`.
fn algorithms(name: PropertyName) -> &'static [(&'static str, usize)] {
    match name {
        PropertyName::FsVerityDigest => &[("sha256", 32), ("sha512", 64)],
        _ => &[
            ("blake2b-512", 64),
            ("blake2s-256", 32),
            ("rmd160", 20),
            ("sha256", 32),
            ("sha384", 48),
            ("sha512", 64),
            ("sha3-224", 28),
            ("sha3-256", 32),
            ("sha3-384", 48),
            ("sha3-512", 64),
            ("sm3", 32),
        ],
    }
}
