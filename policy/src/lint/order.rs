//! What is odd about the order of rules, and about what they leave over.

use std::collections::{HashMap, HashSet};

use super::condition::{Condition, Shape};
use super::rules::can_match;
use super::{Findings, Lint};
use crate::syntax::{DigestValue, Policy, Rule};
use crate::vocabulary::{Action, Operation};

pub(super) fn lint(policy: &Policy, findings: &mut Findings) {
    for &operation in policy.kernel.operations() {
        let rules: Vec<_> = policy
            .rules(operation)
            .filter(|rule| can_match(rule))
            .filter_map(|rule| Some((rule, Condition::of(rule).ok()?)))
            .collect();
        let default = policy.default_of(operation).or_else(|| policy.global_default());
        let default = default.map(|default| default.action.value);
        let odd = earlier_rules(&rules, findings);
        if let Some(default) = default {
            redundant_rules(&rules, &odd, default, findings);
        }
        if operation == Operation::Execute && default == Some(Action::Deny) {
            nothing_runs(policy, &rules, findings);
        }
    }
    if policy.global_default().is_none() {
        findings.push(
            Lint::NoGlobalDefault,
            policy.header.span,
            "there is no default for all operations: a newer kernel with one more refuses the policy",
            "write `DEFAULT action=ALLOW` or `DEFAULT action=DENY` behind this line",
        );
    }
}

type Conditioned<'a> = (&'a Rule, Condition<'a>);

/// Finds rules that come too late, and returns which they are.
fn earlier_rules(rules: &[Conditioned<'_>], findings: &mut Findings) -> HashSet<usize> {
    let mut odd = HashSet::new();
    let mut earlier = Earlier::default();
    for (index, (rule, condition)) in rules.iter().enumerate() {
        if let Some(first) = earlier.covers(condition) {
            odd.insert(index);
            let earlier_rule = shortened(first);
            if first.action.value == rule.action.value {
                findings.push(
                    Lint::Redundant,
                    rule.span,
                    format!("whatever this matches, `{earlier_rule}` has decided in the same way"),
                    "leave this rule out",
                );
            } else {
                findings.push(
                    Lint::Unreachable,
                    rule.span,
                    format!(
                        "this never decides: `{earlier_rule}` matches the same, and comes first"
                    ),
                    "the first rule that matches decides: put this one in front of it",
                );
            }
        } else if rule.action.value == Action::Deny
            && condition.shape.has_digest()
            && let Some(allowed) = earlier.allows(condition)
        {
            odd.insert(index);
            findings.push(
                Lint::LateDenial,
                rule.span,
                format!("what this denies may be allowed already, by `{}`", shortened(allowed)),
                "the first rule that matches decides: put denials in front",
            );
        }
        earlier.add(rule);
    }
    odd
}

/// Indexes rules so that the time for a policy grows with its length only: most rules differ in nothing
/// but a digest.
#[derive(Default)]
struct Earlier<'a> {
    without_digest: Vec<(Condition<'a>, &'a Rule)>,
    by_digest: HashMap<&'a DigestValue, Vec<(Condition<'a>, &'a Rule)>>,
}

impl<'a> Earlier<'a> {
    fn add(&mut self, rule: &'a Rule) {
        let asked = Condition::asked(rule);
        let is_known = |known: &[(Condition<'_>, &Rule)]| {
            known
                .iter()
                .any(|(other, first)| *other == asked && first.action.value == rule.action.value)
        };
        let rules = match asked.digests().next() {
            None => &mut self.without_digest,
            Some(digest) => self.by_digest.entry(digest).or_default(),
        };
        if !is_known(rules) {
            rules.push((asked, rule));
        }
    }

    /// Returns the first rule that matches whatever meets the condition.
    fn covers(&self, condition: &Condition<'a>) -> Option<&'a Rule> {
        let with_digest = condition.digests().filter_map(|digest| self.by_digest.get(digest));
        with_digest
            .flatten()
            .chain(&self.without_digest)
            .filter(|(asked, _)| condition.implies(asked))
            .map(|(_, rule)| *rule)
            .min_by_key(|rule| rule.span.start)
    }

    /// Returns a rule that allows something of what meets the condition.
    fn allows(&self, condition: &Condition<'a>) -> Option<&'a Rule> {
        let allow = |(_, rule): &&(Condition<'_>, &Rule)| rule.action.value == Action::Allow;
        self.without_digest
            .iter()
            .filter(allow)
            .find(|(asked, _)| condition.meets(asked.shape))
            .map(|(_, rule)| *rule)
    }
}

/// Finds rules that do what the default does anyway, with nothing behind them that they hold off.
fn redundant_rules(
    rules: &[Conditioned<'_>],
    odd: &HashSet<usize>,
    default: Action,
    findings: &mut Findings,
) {
    let mut shapes: HashSet<Shape> = HashSet::new();
    let mut digests: HashSet<&DigestValue> = HashSet::new();
    for (index, (rule, condition)) in rules.iter().enumerate().rev() {
        if rule.action.value != default {
            shapes.insert(condition.shape);
            digests.extend(condition.digests());
            continue;
        }
        let holds_off = shapes.iter().any(|&shape| {
            let is_same = || condition.digests().any(|digest| digests.contains(digest));
            condition.meets(shape) && (!condition.shape.shares_digest_kind(shape) || is_same())
        });
        // A revocation stays for the day on which something wider is allowed.
        let revokes = rule.action.value == Action::Deny
            && rule.properties.len() == 1
            && condition.shape.has_digest();
        if !holds_off && !revokes && !odd.contains(&index) {
            let verb = match default {
                Action::Allow => "allowed",
                Action::Deny => "denied",
            };
            findings.push(
                Lint::Redundant,
                rule.span,
                format!("this changes nothing: whatever no rule matches is {verb} anyway"),
                "leave this rule out, or change the default",
            );
        }
    }
}

fn nothing_runs(policy: &Policy, rules: &[Conditioned<'_>], findings: &mut Findings) {
    if rules.iter().any(|(rule, _)| rule.action.value == Action::Allow) {
        return;
    }
    let default = policy.default_of(Operation::Execute).or_else(|| policy.global_default());
    findings.push(
        Lint::NothingRuns,
        default.map_or(policy.header.span, |default| default.span),
        "no program can be executed under this policy, not even one that is running already",
        "allow what is signed: `op=EXECUTE dmverity_signature=TRUE action=ALLOW`",
    );
}

/// Writes a rule as far as it fits into a message.
fn shortened(rule: &Rule) -> String {
    let text = rule.to_string();
    match text.char_indices().nth(70) {
        Some((end, _)) => format!("{}… action={}", &text[..end], rule.action.value),
        None => text,
    }
}
