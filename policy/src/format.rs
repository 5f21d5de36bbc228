//! The canonical form of a policy's text.

use crate::kernel_version::KernelVersion;
use crate::syntax::{
    DefaultRule, Policy, Property, Rule, Statement, SyntaxErrors, lines, parse, until_nul,
};

/// Writes a policy in its canonical form, which means the same to the kernel.
///
/// One space between words, one line feed behind every line, blank lines one at a time and neither
/// first nor last; properties in the order of [`PropertyName::ALL`](crate::vocabulary::PropertyName)
/// and none twice; digits in lower case, and the version as the kernel shows it. Comments stay word for
/// word, and so does the order of the rules, for it decides.
///
/// # Errors
///
/// Fails where the kernel refuses the text, and where it would silently ignore the end of it.
pub fn format(text: &[u8], kernel: KernelVersion) -> Result<Vec<u8>, FormatError> {
    let policy = parse(text, kernel)?;
    if until_nul(text).len() < text.len() {
        return Err(FormatError::Nul { offset: until_nul(text).len() });
    }
    let mut formatted = Vec::with_capacity(text.len());
    let mut statements = policy.statements.iter();
    let mut is_header = true;
    let mut is_blank_due = false;
    for line in lines(text) {
        let has_code = line.code.start < line.code.end;
        if !has_code && line.comment.is_none() {
            // CRLF ends one line, though the kernel sees a blank one between the two.
            let is_crlf = line.code.start > 0
                && text[..line.code.start].ends_with(b"\r")
                && text.get(line.code.start) == Some(&b'\n');
            is_blank_due |= !is_crlf && !formatted.is_empty();
            continue;
        }
        if std::mem::take(&mut is_blank_due) {
            formatted.push(b'\n');
        }
        if has_code {
            if std::mem::take(&mut is_header) {
                header(&policy, &mut formatted);
            } else if let Some(next) = statements.next() {
                statement(next, &mut formatted);
            }
        }
        if let Some(comment) = line.comment {
            if has_code {
                formatted.extend_from_slice(b"  ");
            }
            let words = comment.of(text);
            let length = words.iter().rposition(|byte| !SPACES.contains(byte));
            formatted.extend_from_slice(&words[..length.map_or(0, |last| last + 1)]);
        }
        formatted.push(b'\n');
    }
    Ok(formatted)
}

/// Says why a text has no canonical form.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FormatError {
    /// The kernel would ignore a part of it.
    #[error("there is a NUL byte at offset {offset}, behind which the kernel ignores everything")]
    Nul {
        /// Where the byte is.
        offset: usize,
    },
    /// The kernel refuses it.
    #[error(transparent)]
    Syntax(#[from] SyntaxErrors),
}

fn header(policy: &Policy, out: &mut Vec<u8>) {
    out.extend_from_slice(b"policy_name=");
    out.extend_from_slice(&policy.header.name.value);
    out.extend_from_slice(format!(" policy_version={}", policy.header.version.value).as_bytes());
}

fn statement(statement: &Statement, out: &mut Vec<u8>) {
    match statement {
        Statement::Default(default) => default_rule(default, out),
        Statement::Rule(rule) => self::rule(rule, out),
    }
}

fn default_rule(default: &DefaultRule, out: &mut Vec<u8>) {
    out.extend_from_slice(default.to_string().as_bytes());
}

fn rule(rule: &Rule, out: &mut Vec<u8>) {
    out.extend_from_slice(format!("op={} ", rule.operation.value).as_bytes());
    let mut properties: Vec<_> = rule.properties.iter().map(|property| &property.value).collect();
    properties.sort_unstable();
    properties.dedup();
    for property in properties {
        self::property(property, out);
        out.push(b' ');
    }
    out.extend_from_slice(format!("action={}", rule.action.value).as_bytes());
}

/// The name of an algorithm may be any bytes, and they stay as they are.
fn property(property: &Property, out: &mut Vec<u8>) {
    match property.digest() {
        None => out.extend_from_slice(property.to_string().as_bytes()),
        Some(digest) => {
            out.extend_from_slice(format!("{}=", property.name()).as_bytes());
            out.extend_from_slice(&digest.algorithm);
            out.extend_from_slice(format!(":{}", hex::encode(&digest.bytes)).as_bytes());
        }
    }
}

/// White space that may go from the end of a comment; bytes of UTF-8 may not.
const SPACES: &[u8] = b" \t\x0b\x0c";

#[cfg(test)]
mod tests {
    use super::*;

    fn formatted(text: &[u8]) -> String {
        let once = format(text, KernelVersion::V6_12).unwrap();
        assert_eq!(format(&once, KernelVersion::V6_12).as_ref(), Ok(&once));
        String::from_utf8_lossy(&once).into_owned()
    }

    #[test]
    fn spaces_digits_and_versions_are_put_straight() {
        let text =
            b"\n\n# a policy \t\r\n\r\n\tpolicy_name=t \t policy_version=+1.02.3#why\r\n\r\n\r\n\
            DEFAULT\taction=ALLOW   # not so\r\
            op=EXECUTE fsverity_signature=TRUE boot_verified=FALSE fsverity_signature=TRUE \
            dmverity_roothash=sha256:AbCd action=DENY\n\n#\xc3\xa0\n\n\n";
        assert_eq!(
            formatted(text),
            "# a policy\n\npolicy_name=t policy_version=1.2.3  #why\n\nDEFAULT action=ALLOW  # not so\n\
             op=EXECUTE boot_verified=FALSE dmverity_roothash=sha256:abcd fsverity_signature=TRUE \
             action=DENY\n\n#\u{e0}\n"
        );
    }

    #[test]
    fn what_the_kernel_refuses_or_ignores_has_no_form() {
        let form = |text: &[u8]| format(text, KernelVersion::V6_12);
        assert!(matches!(form(b"policy_name=t"), Err(FormatError::Syntax(_))));
        let nul = form(b"policy_name=t policy_version=1.0.0\nDEFAULT action=ALLOW\0\n");
        assert_eq!(nul, Err(FormatError::Nul { offset: 55 }));
    }
}
