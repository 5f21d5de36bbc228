//! The rule that decided, as a record names it.

use std::fmt;

use crate::kernel_version::KernelVersion;
use crate::syntax::{Policy, Property, Statement, parse};
use crate::vocabulary::{Action, PropertyName};

/// Is the text of a rule in the language of policies.
///
/// The kernel writes the algorithm of a digest as an untrusted string and its digits in upper case, so that a record has
/// `dmverity_roothash="sha256":AB…`; here it is `dmverity_roothash=sha256:ab…`, as a policy would have it.
///
/// Source: `security/ipe/audit.c`, `audit_rule`; `security/ipe/digest.c`, `ipe_digest_audit`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct RecordedRule(String);

impl RecordedRule {
    /// Puts what a record holds between the outer quotation marks into the language of policies.
    pub(super) fn of_record(text: &[u8]) -> Self {
        let text = String::from_utf8_lossy(text);
        let words: Vec<_> = text.split_ascii_whitespace().map(in_policy_language).collect();
        Self(words.join(" "))
    }

    /// Returns the text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns what the rule does; none where it is no rule that this version knows.
    pub fn action(&self) -> Option<Action> {
        match self.0.rsplit_once(' ')?.1 {
            "action=ALLOW" => Some(Action::Allow),
            "action=DENY" => Some(Action::Deny),
            _ => None,
        }
    }

    /// Parses the rule; none where it is none that this version knows.
    pub fn statement(&self) -> Option<Statement> {
        // Any line is one of a policy; and a second default for all would be refused.
        let is_global = self.0.starts_with("DEFAULT action=");
        let default = if is_global { "" } else { "DEFAULT action=ALLOW\n" };
        let text = format!("policy_name=rule policy_version=0.0.0\n{}\n{default}", self.0);
        let policy = parse(text.as_bytes(), KernelVersion::ALL.into_iter().max()?).ok()?;
        policy.statements.into_iter().next()
    }

    /// Returns where in the text of `policy` this rule starts; several may be alike, and then the first decided.
    pub fn find_in(&self, policy: &Policy) -> Option<usize> {
        let wanted = self.statement()?;
        let is_same = |one: &&Statement| match (one, &wanted) {
            (Statement::Default(one), Statement::Default(other)) => {
                one.action.value == other.action.value
                    && one.operation.map(|named| named.value)
                        == other.operation.map(|named| named.value)
            }
            (Statement::Rule(one), Statement::Rule(other)) => {
                let properties = |rule: &crate::syntax::Rule| {
                    let mut all: Vec<Property> =
                        rule.properties.iter().map(|property| property.value.clone()).collect();
                    all.sort();
                    all
                };
                one.operation.value == other.operation.value
                    && one.action.value == other.action.value
                    && properties(one) == properties(other)
            }
            _ => false,
        };
        policy.statements.iter().find(is_same).map(|statement| statement.span().start)
    }
}

impl fmt::Display for RecordedRule {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

/// Rewrites `PROPERTY="ALGORITHM":DIGITS`; other words stay as they are.
fn in_policy_language(word: &str) -> String {
    let digests = PropertyName::ALL.into_iter().filter(|name| name.takes_digest());
    for name in digests {
        let Some(value) = word.strip_prefix(name.keyword()).and_then(|rest| rest.strip_prefix('='))
        else {
            continue;
        };
        let Some((algorithm, digits)) = value.rsplit_once(':') else { continue };
        let algorithm = match algorithm.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')) {
            Some(quoted) => quoted.to_owned(),
            None => hex::decode(algorithm)
                .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
                .unwrap_or_else(|_| algorithm.to_owned()),
        };
        return format!("{name}={algorithm}:{}", digits.to_ascii_lowercase());
    }
    word.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_are_put_into_the_language_of_policies() {
        let rule = RecordedRule::of_record(
            br#"op=EXECUTE dmverity_roothash="sha256":16B6 fsverity_signature=FALSE action=DENY"#,
        );
        assert_eq!(
            rule.as_str(),
            "op=EXECUTE dmverity_roothash=sha256:16b6 fsverity_signature=FALSE action=DENY"
        );
        assert_eq!(rule.action(), Some(Action::Deny));
        let Some(Statement::Rule(parsed)) = rule.statement() else { panic!("a rule") };
        assert_eq!(parsed.properties.len(), 2);
        let odd = RecordedRule::of_record(br#"op=EXECUTE fsverity_digest=6122:AB action=ALLOW"#);
        assert_eq!(odd.as_str(), "op=EXECUTE fsverity_digest=a\":ab action=ALLOW");
    }

    #[test]
    fn defaults_are_told_apart() {
        for text in ["DEFAULT action=DENY", "DEFAULT op=KMODULE action=DENY"] {
            let rule = RecordedRule::of_record(text.as_bytes());
            let Some(Statement::Default(default)) = rule.statement() else { panic!("a default") };
            assert_eq!(default.to_string(), text);
        }
        assert_eq!(RecordedRule::of_record(b"op=NEW action=DENY").statement(), None);
        assert_eq!(RecordedRule::of_record(b"").action(), None);
    }

    #[test]
    fn a_rule_is_found_in_its_policy() {
        let text = b"policy_name=t policy_version=1.0.0\nDEFAULT action=ALLOW\n\
            op=EXECUTE dmverity_roothash=sha256:AB fsverity_signature=FALSE action=DENY\n\
            DEFAULT op=EXECUTE action=DENY\n";
        let policy = parse(text, KernelVersion::V7_2).unwrap();
        let place = |rule: &[u8]| {
            let start = RecordedRule::of_record(rule).find_in(&policy)?;
            Some(crate::syntax::position(text, start).line)
        };
        let other_order =
            br#"op=EXECUTE fsverity_signature=FALSE dmverity_roothash="sha256":AB action=DENY"#;
        assert_eq!(place(other_order), Some(3));
        assert_eq!(place(b"DEFAULT op=EXECUTE action=DENY"), Some(4));
        assert_eq!(place(b"DEFAULT action=ALLOW"), Some(2));
        assert_eq!(place(b"DEFAULT action=DENY"), None);
    }
}
