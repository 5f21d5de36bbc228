//! Why something was denied, in plain words.

use super::context::{Context, Place, activity};
use super::record::{Access, Hook, RecordedOperation};
use super::remedy::Remedy;
use crate::syntax::{DefaultRule, Policy, Statement, position};
use crate::vocabulary::Action;

/// Is a policy with its text, in which rules are found.
#[derive(Clone, Debug)]
pub struct KnownPolicy {
    /// How it is called: a file, or the name of a loaded policy.
    pub name: String,
    /// The text.
    pub text: Vec<u8>,
    /// What the text says.
    pub policy: Policy,
}

/// Is a record in plain words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Explanation {
    /// What happened, a sentence without its full stop.
    pub what: String,
    /// Where the file lies.
    pub place: String,
    /// Which rule decided, and what that rule means.
    pub why: String,
    /// Where in the policy the rule stands; none where no policy is known, or it is not in it.
    pub line: Option<usize>,
    /// What could not be found out.
    pub unknown: Vec<String>,
    /// What to do, the narrowest first; nothing where it was allowed.
    pub remedies: Vec<Advice>,
}

/// Is a remedy, and whether it suffices.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Advice {
    /// The remedy.
    pub remedy: Remedy,
    /// Whether the policy allows the operation then; none where that is not known, or does not depend on it.
    pub suffices: Option<bool>,
}

/// Tells what became of an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It went on.
    Allowed,
    /// It failed with `EACCES`.
    Denied,
    /// It went on because nothing is enforced.
    WouldBeDenied,
    /// The record does not tell.
    Unknown,
}

impl Verdict {
    /// Reads it off a record.
    pub fn of(access: &Access) -> Self {
        match access.rule.as_ref().map(|rule| rule.action()) {
            Some(Some(Action::Allow)) => Self::Allowed,
            Some(Some(Action::Deny)) if access.enforcing => Self::Denied,
            Some(Some(Action::Deny)) => Self::WouldBeDenied,
            Some(None) | None => Self::Unknown,
        }
    }

    /// Returns one word for it.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Allowed => "allowed",
            Self::Denied => "denied",
            Self::WouldBeDenied => "would-be-denied",
            Self::Unknown => "unknown",
        }
    }
}

/// Explains a record by what is known about it.
pub fn explain(access: &Access, context: &Context, policy: Option<&KnownPolicy>) -> Explanation {
    let line = policy.and_then(|policy| {
        let start = access.rule.as_ref()?.find_in(&policy.policy)?;
        Some(position(&policy.text, start).line)
    });
    let mut unknown = context.unknown.clone();
    if access.is_cut_off {
        unknown.push(
            "the record is cut off, as the kernel's log does with long ones; the audit socket and auditd have \
             all of it"
                .to_owned(),
        );
    }
    if let (Some(policy), None, Some(_)) = (policy, line, &access.rule) {
        unknown
            .push(format!("the rule is not in {}: another policy was in force then", policy.name));
    }
    let remedies = match Verdict::of(access) {
        Verdict::Denied | Verdict::WouldBeDenied => Remedy::of(access, context),
        Verdict::Allowed | Verdict::Unknown => Vec::new(),
    };
    let advice = |remedy: Remedy| {
        let suffices = match (&access.operation, policy) {
            (RecordedOperation::Known(operation), Some(known)) => {
                remedy.suffices(&known.policy, *operation)
            }
            _ => None,
        };
        Advice { remedy, suffices }
    };
    Explanation {
        what: what(access),
        place: format!("{} lies {}", subject(&context.place), context.place),
        why: why(access, context),
        line,
        unknown,
        remedies: remedies.into_iter().map(advice).collect(),
    }
}

fn what(access: &Access) -> String {
    let is_mapping = matches!(access.hook, Hook::Mmap | Hook::Mprotect);
    let object = match &access.path {
        Some(path) => path.to_string_lossy().escape_debug().to_string(),
        None if access.is_cut_off => "something".to_owned(),
        None if access.hook == Hook::KernelLoad => "bytes without a file".to_owned(),
        None => "memory without a file".to_owned(),
    };
    let by = match (&access.comm, access.pid) {
        (Some(comm), Some(pid)) => format!(" by {} (process {pid})", comm.escape_debug()),
        (Some(comm), None) => format!(" by {}", comm.escape_debug()),
        (None, Some(pid)) => format!(" by process {pid}"),
        (None, None) => String::new(),
    };
    let activity = activity(&access.operation, is_mapping);
    let verdict = match Verdict::of(access) {
        Verdict::Allowed => "was allowed",
        Verdict::Denied => "was denied",
        Verdict::WouldBeDenied => "would be denied, and went on as nothing is enforced",
        Verdict::Unknown => "was judged; how, the record does not tell any more",
    };
    let mut sentence = format!("{activity} {object}{by} {verdict}");
    if let Some(first) = sentence.get_mut(..1) {
        first.make_ascii_uppercase();
    }
    sentence
}

fn subject(place: &Place) -> &'static str {
    match place {
        Place::Memory => "it",
        _ => "the file",
    }
}

fn why(access: &Access, context: &Context) -> String {
    let Some(rule) = &access.rule else {
        return "the rule that decided is not in the record".into();
    };
    let meaning = match rule.statement() {
        Some(Statement::Default(DefaultRule { operation, action, .. })) => {
            let scope = match operation {
                Some(operation) => format!("{} says otherwise for it", operation.value),
                None => "says otherwise".to_owned(),
            };
            let verb = match action.value {
                Action::Allow => "allowed",
                Action::Deny => "denied",
            };
            match operation {
                Some(operation) => {
                    format!("no rule for {} is true of it, and then it is {verb}", operation.value)
                }
                None => format!("no rule {scope}, and then it is {verb}"),
            }
        }
        Some(Statement::Rule(rule)) if rule.properties.is_empty() => {
            "this rule is true of everything".to_owned()
        }
        Some(Statement::Rule(_)) => "this rule is the first that is true of it".to_owned(),
        None => "this version of osguard does not know such a rule".to_owned(),
    };
    let detail = match &context.place {
        Place::Overlay | Place::Unknown => "",
        Place::Device(device) if matches!(device.kind, super::context::DeviceKind::Unknown) => "",
        place => match place.facts() {
            Some(facts) if facts.volume.as_ref().is_some_and(|volume| volume.is_signed) => {
                "; its volume is signed"
            }
            Some(facts) if facts.volume.is_some() => "; its volume is not signed",
            Some(facts) if facts.is_in_initramfs => "; it is boot verified, and on no volume",
            _ => "; it is on no dm-verity volume, so nothing about it is signed",
        },
    };
    format!("{rule}: {meaning}{detail}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::record::{Content, Record};
    use crate::kernel_version::KernelVersion;
    use crate::syntax::parse;

    fn access(line: &str) -> Access {
        match Record::of_line(line.as_bytes()).unwrap().unwrap().content {
            Content::Access(access) => access,
            other => panic!("{other:?}"),
        }
    }

    const TMPFS: &str = "type=1420 audit(1.000:1): ipe_op=EXECUTE ipe_hook=BPRM_CHECK enforcing=1 pid=498 \
        comm=\"sh\" path=\"/run/hello\" dev=\"tmpfs\" ino=3 rule=\"DEFAULT op=EXECUTE action=DENY\"";

    fn known(text: &str) -> KnownPolicy {
        let policy = parse(text.as_bytes(), KernelVersion::V6_12).unwrap();
        KnownPolicy { name: "node.policy".to_owned(), text: text.as_bytes().to_vec(), policy }
    }

    #[test]
    fn a_denial_is_a_few_sentences() {
        let access = access(TMPFS);
        let policy = known(
            "policy_name=t policy_version=1.0.0\nDEFAULT action=ALLOW\nDEFAULT op=EXECUTE action=DENY\n\
             op=EXECUTE dmverity_signature=TRUE action=ALLOW\n",
        );
        let explanation = explain(&access, &Context::of_record(&access), Some(&policy));
        assert_eq!(explanation.what, "Execution of /run/hello by sh (process 498) was denied");
        assert_eq!(explanation.place, "the file lies in a file system without a device (tmpfs)");
        assert_eq!(
            explanation.why,
            "DEFAULT op=EXECUTE action=DENY: no rule for EXECUTE is true of it, and then it is denied; it is on \
             no dm-verity volume, so nothing about it is signed"
        );
        assert_eq!(explanation.line, Some(3));
        assert_eq!(explanation.unknown, [""; 0]);
        let [advice] = &explanation.remedies[..] else { panic!("one remedy") };
        assert_eq!(advice.suffices, Some(true));
    }

    #[test]
    fn a_rule_that_is_not_in_the_policy_is_told() {
        let access = access(TMPFS);
        let policy = known("policy_name=t policy_version=1.0.0\nDEFAULT action=DENY\n");
        let explanation = explain(&access, &Context::of_record(&access), Some(&policy));
        assert_eq!(explanation.line, None);
        assert_eq!(
            explanation.unknown,
            ["the rule is not in node.policy: another policy was in force then"]
        );
    }

    #[test]
    fn names_from_outside_are_escaped() {
        let path = hex::encode_upper("/tmp/\u{1b}[31m");
        let line = TMPFS.replace("\"/run/hello\"", &path).replace("enforcing=1", "enforcing=0");
        let access = access(&line);
        let explanation = explain(&access, &Context::of_record(&access), None);
        assert_eq!(
            explanation.what,
            "Execution of /tmp/\\u{1b}[31m by sh (process 498) would be denied, and went on as nothing is enforced"
        );
    }
}
