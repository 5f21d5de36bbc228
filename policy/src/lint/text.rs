//! What is odd about the text itself.

use super::{Findings, Lint};
use crate::name::PolicyName;
use crate::syntax::{Policy, Span, lines, until_nul};

pub(super) fn lint(text: &[u8], policy: &Policy, findings: &mut Findings) {
    let read = until_nul(text);
    if read.len() < text.len() {
        let ignored = text.len() - read.len() - 1;
        findings.push(
            Lint::NulByte,
            Span::new(read.len(), read.len() + 1),
            format!("the policy ends at this NUL byte, and {ignored} bytes behind it do nothing"),
            "take the NUL byte out",
        );
    }
    for line in lines(read) {
        let Some(comment) = line.comment else { continue };
        if line.code.start < line.code.end && line.code.end == comment.start {
            findings.push(
                Lint::CommentInWord,
                Span::new(comment.start, comment.start + 1),
                "a comment starts here, inside a word",
                "put a space in front of the `#`, or take it out: nothing quotes it",
            );
        }
    }
    name(policy, findings);
    version(read, policy, findings);
}

fn name(policy: &Policy, findings: &mut Findings) {
    let name = &policy.header.name;
    let text = String::from_utf8_lossy(&name.value);
    if text.parse::<PolicyName>().is_err() {
        findings.push(
            Lint::TroublesomeName,
            name.span,
            "this name breaks audit records, paths in securityfs, or the file that systemd loads",
            "choose up to 64 letters, digits, `_`, `.` and `-`, a letter or digit first",
        );
    }
}

fn version(text: &[u8], policy: &Policy, findings: &mut Findings) {
    let version = policy.header.version;
    let shown = version.value.to_string();
    if version.span.of(text) != shown.as_bytes() {
        findings.push(
            Lint::OddVersion,
            version.span,
            format!("the kernel reads and shows this version as {shown}"),
            format!("write `policy_version={shown}`"),
        );
    }
}
