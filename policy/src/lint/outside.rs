//! What is odd about a policy in its surroundings: its kernel, its signature, its file.

use libverity::errno::Errno;
use libverity::pkcs7::MAX_MESSAGE_BYTES;

use super::rules::brief;
use super::{Findings, Lint, Linter};
use crate::budget::{LEAST_SIGNATURE_BYTES, USUAL_SIGNATURE_BYTES};
use crate::syntax::{Policy, Span, Statement};

pub(super) fn lint(linter: &Linter, text: &[u8], policy: &Policy, findings: &mut Findings) {
    kernel(linter, policy, findings);
    length(linter, text, policy, findings);
    let name = &policy.header.name;
    if let Some(stem) = &linter.file_stem
        && stem.as_bytes() != name.value
    {
        let name_text = String::from_utf8_lossy(&name.value);
        findings.push(
            Lint::FileName,
            name.span,
            format!("the file is named `{stem}.p7b`, and systemd takes that for the policy's name"),
            format!(
                "name it `{name_text}.p7b` where it is loaded at boot: otherwise it does not boot"
            ),
        );
    }
}

fn kernel(linter: &Linter, policy: &Policy, findings: &mut Findings) {
    let Some(config) = &linter.config else { return };
    if !config.is_set("CONFIG_SECURITY_IPE") {
        findings.push(
            Lint::KernelWithoutIpe,
            policy.header.span,
            "this kernel was built without IPE and takes no policy",
            "build it with CONFIG_SECURITY_IPE=y",
        );
        return;
    }
    for statement in &policy.statements {
        let Statement::Rule(rule) = statement else { continue };
        for property in &rule.properties {
            let name = property.value.name();
            if let Some(option) = name.kernel_option()
                && !config.is_set(option)
            {
                findings.push(
                    Lint::PropertyNotBuilt,
                    property.span,
                    format!(
                        "this kernel was built without {name}: `{}` is never true, and neither is \
                         its opposite",
                        brief(&property.value)
                    ),
                    format!("build the kernel with {option}=y, or leave the rule out"),
                );
            }
        }
    }
}

fn length(linter: &Linter, text: &[u8], policy: &Policy, findings: &mut Findings) {
    let remedy = "take out revocations and digests that are needed no more";
    // The kernel's decoder gives up before the text is seen.
    let mut too_long = |message: String| {
        findings.push(Lint::TooLong, policy.header.span, message, remedy);
        if let Some(found) = findings.found.last_mut() {
            found.errno = Some(Errno::EMSGSIZE);
        }
    };
    match linter.blob_bytes {
        Some(bytes) if bytes > MAX_MESSAGE_BYTES => too_long(format!(
            "the signed policy has {bytes} bytes, and the kernel reads at most {MAX_MESSAGE_BYTES}"
        )),
        Some(_) => {}
        None if text.len() + LEAST_SIGNATURE_BYTES > MAX_MESSAGE_BYTES => too_long(format!(
            "the text has {} bytes, and with its signature at most {MAX_MESSAGE_BYTES} are read",
            text.len()
        )),
        None if text.len() + USUAL_SIGNATURE_BYTES > MAX_MESSAGE_BYTES => findings.push(
            Lint::NearlyTooLong,
            Span::new(0, 0),
            format!(
                "with a signature and a certificate, the {} bytes may be more than {MAX_MESSAGE_BYTES}",
                text.len()
            ),
            remedy,
        ),
        None => {}
    }
}
