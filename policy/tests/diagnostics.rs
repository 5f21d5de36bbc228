//! Every error is shown where it is, and says what to do.

use osguard_policy::diagnostic::Diagnostic;
use osguard_policy::kernel_version::KernelVersion;
use osguard_policy::syntax::parse;

/// Returns of each error what it is about, and its way out.
fn errors(text: &str) -> Vec<(String, String)> {
    let Err(errors) = parse(text.as_bytes(), KernelVersion::V6_12) else { return Vec::new() };
    let of = |error| {
        let Diagnostic { span, help, .. } = Diagnostic::from(error);
        let piece = span.map(|span| span.of(text.as_bytes())).unwrap_or_default();
        (String::from_utf8_lossy(piece).into_owned(), help)
    };
    errors.all().iter().map(of).collect()
}

#[track_caller]
fn check(line: &str, piece: &str, help: &str) {
    let text = format!("policy_name=t policy_version=1.0.0\nDEFAULT action=ALLOW\n{line}\n");
    let found = errors(&text);
    assert_eq!(found.len(), 1, "{found:?}");
    assert_eq!(found[0].0, piece);
    assert!(found[0].1.contains(help), "{found:?}");
}

#[test]
fn rules_say_which_word_is_wrong() {
    check("op=execute action=DENY", "op=execute", "did you mean `op=EXECUTE`?");
    check("op=EXECUTED action=DENY", "op=EXECUTED", "did you mean `op=EXECUTE`?");
    check("op=BPF action=DENY", "op=BPF", "Linux 6.12 knows EXECUTE, FIRMWARE, KMODULE");
    check("op=EXECUTE action=DENNY", "action=DENNY", "did you mean `action=DENY`?");
    check("op=EXECUTE ALLOW", "ALLOW", "end the line with `action=ALLOW`");
    check("op=EXECUTE", "op=EXECUTE", "end the line with");
    check("default action=DENY", "default", "did you mean `DEFAULT`?");
    check("action=DENY", "action=DENY", "start the line with `op=…`");
    check("op=EXECUTE bootverified=TRUE action=DENY", "bootverified=TRUE", "`boot_verified`?");
    check("op=EXECUTE boot_verified=True action=DENY", "boot_verified=True", "boot_verified=TRUE");
    check("op=EXECUTE boot_verified=1 action=DENY", "boot_verified=1", "or `boot_verified=FALSE`");
    check("op=EXECUTE dmverity_roothash= action=DENY", "dmverity_roothash=", "write a value");
    check("op=EXECUTE path=/bin action=DENY", "path=/bin", "knows boot_verified, dmverity_");
    check("op=EXECUTE action=DENY boot_verified=TRUE", "action=DENY", "the last word of its line");
    check("op=EXECUTE op=KMODULE action=DENY", "op=KMODULE", "another line for this one");
    check("op=EXECUTE fsverity_digest=ab action=DENY", "ab", "put the algorithm in front");
    check("op=EXECUTE fsverity_digest=a:bxcd action=DENY", "x", "two digits of 0-9 and a-f");
    check("op=EXECUTE fsverity_digest=a:abc action=DENY", "abc", "two digits of 0-9 and a-f");
    check("DEFAULT action=DENY", "DEFAULT action=DENY", "keep one of the two");
    check(
        "DEFAULT op=POLICY boot_verified=TRUE action=DENY",
        "boot_verified=TRUE",
        "leave DEFAULT",
    );
    check("policy_name=u policy_version=1.0.0 action=DENY", "policy_name=u", "leave this line out");
    check("op=EXECUTE action=DE#NY", "action=DE", "a `#` starts a comment even inside a word");
}

#[test]
fn headers_say_what_they_lack() {
    let one = |text| match &errors(text)[..] {
        [(piece, help)] => (piece.clone(), help.clone()),
        other => panic!("{other:?}"),
    };
    assert_eq!(one("policy_name=a#b policy_version=1.0.0\nDEFAULT action=ALLOW").0, "");
    assert!(one("policy_name=a#b policy_version=1.0.0\nDEFAULT action=ALLOW").1.contains('#'));
    assert_eq!(one("policy_name=a policy_version=1.0\nDEFAULT action=ALLOW").0, "1.0");
    assert_eq!(one("policy_name=a policy_version=1.0.0 x\nDEFAULT action=ALLOW").0, "x");
    assert_eq!(one("policy_name=a/b policy_version=1.0.0\nDEFAULT action=ALLOW").0, "a/b");
    let (piece, help) = one("policy_name=a policy_version=1.0.0\nDEFAULT op=POLICY action=ALLOW");
    assert_eq!(piece, "policy_name=a policy_version=1.0.0");
    assert!(help.contains("DEFAULT action=ALLOW"), "{help}");
}

#[test]
fn all_errors_are_found_up_to_a_hundred() {
    assert_eq!(errors("DEFAULT action=ALLOW\nwhat\nwhat\n").len(), 3);
    assert_eq!(errors(&"what\n".repeat(5000)).len(), 100);
    assert_eq!(errors("\u{feff}policy_name=t policy_version=1.0.0\nwhat\nwhat\n").len(), 1);
}
