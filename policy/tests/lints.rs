//! What the lints find beyond the examples of their document, and what they leave alone.

#![expect(clippy::unwrap_used, reason = "a test ends where its preparation fails")]

use libverity::digest::RootHash;
use osguard_policy::kernel_config::KernelConfig;
use osguard_policy::kernel_version::KernelVersion;
use osguard_policy::lint::Linter;
use osguard_policy::node_policy::NodePolicy;
use osguard_policy::version::PolicyVersion;
use osguard_policy::vocabulary::Operation;

/// Returns the line and the number of each finding in rules behind `DEFAULT action=ALLOW` and
/// `DEFAULT op=EXECUTE action=DENY`, which are the lines 2 and 3.
fn found(rules: &[&str]) -> Vec<(usize, &'static str)> {
    let text = format!(
        "policy_name=t policy_version=1.0.0\nDEFAULT action=ALLOW\nDEFAULT op=EXECUTE action=DENY\n{}\n",
        rules.join("\n")
    );
    let text = text.replace("AA", &"aa".repeat(32)).replace("BB", &"bb".repeat(32));
    let findings = Linter::new(KernelVersion::V6_12).lint(text.as_bytes());
    findings
        .iter()
        .map(|one| (one.position(text.as_bytes()).unwrap().line, one.code.unwrap()))
        .collect()
}

const SIGNED: &str = "op=EXECUTE dmverity_signature=TRUE action=ALLOW";

#[test]
fn what_osguard_writes_is_clean() {
    let hash = |byte| RootHash::from_bytes([byte; 32]);
    let policy = || NodePolicy::new("node".parse().unwrap(), PolicyVersion::new(1, 0, 7));
    let strict = Operation::ALL.iter().fold(policy(), |policy, operation| policy.guard(*operation));
    let revoked = strict.clone().allow_boot_verified().revoke(hash(1)).unwrap();
    let pinned = policy().pin(hash(1)).unwrap().pin(hash(2)).unwrap().revoke(hash(3)).unwrap();
    for policy in [policy(), strict, revoked, pinned] {
        for kernel in KernelVersion::ALL {
            let found = Linter::new(kernel).lint(policy.to_string().as_bytes());
            assert_eq!(found, [], "{policy}");
        }
    }
}

#[test]
fn a_denial_is_late_only_where_something_is_allowed_before() {
    let denied = "op=EXECUTE dmverity_roothash=sha256:AA action=DENY";
    assert_eq!(found(&[denied, SIGNED]), []);
    assert_eq!(found(&[SIGNED, denied]), [(5, "OSG008")]);
    // Nothing in the initramfs is on a volume.
    assert_eq!(found(&["op=EXECUTE boot_verified=TRUE action=ALLOW", denied, SIGNED]), []);
    // Another volume is another one.
    let other = "op=EXECUTE dmverity_roothash=sha256:BB action=ALLOW";
    assert_eq!(found(&[other, denied, SIGNED]), []);
    // What is not signed anyway is not allowed by what is signed.
    let unsigned = "op=EXECUTE dmverity_signature=FALSE dmverity_roothash=sha256:AA action=DENY";
    assert_eq!(found(&[SIGNED, unsigned]), [(5, "OSG007")]);
    // Another operation has other rules.
    assert_eq!(found(&[SIGNED, "op=KMODULE dmverity_roothash=sha256:AA action=DENY"]), []);
}

#[test]
fn a_rule_behind_one_that_asks_for_less_is_not_reached() {
    let narrow = "op=EXECUTE dmverity_roothash=sha256:AA dmverity_signature=TRUE action=DENY";
    assert_eq!(found(&[SIGNED, narrow]), [(5, "OSG006")]);
    assert_eq!(found(&[narrow, SIGNED]), []);
    assert_eq!(found(&[SIGNED, SIGNED]), [(5, "OSG007")]);
    let pinned = "op=EXECUTE dmverity_roothash=sha256:AA action=ALLOW";
    let denied = "op=EXECUTE dmverity_roothash=sha256:AA action=DENY";
    assert_eq!(found(&[pinned, denied]), [(5, "OSG006")]);
    // What lies on a volume does not lie in the initramfs.
    let not_boot = "op=EXECUTE boot_verified=FALSE action=DENY";
    assert_eq!(
        found(&[not_boot, SIGNED, "op=EXECUTE boot_verified=TRUE action=ALLOW"]),
        [(5, "OSG006")]
    );
    // A rule that never matches keeps nothing from being reached.
    let never = "op=EXECUTE dmverity_signature=TRUE dmverity_signature=FALSE action=DENY";
    assert_eq!(found(&[never, SIGNED]), [(4, "OSG005")]);
}

#[test]
fn what_is_allowed_by_rules_that_never_match_is_nothing() {
    let short = "op=EXECUTE dmverity_roothash=sha256:aa action=ALLOW";
    assert_eq!(found(&[short]), [(3, "OSG018"), (4, "OSG004")]);
    assert_eq!(found(&[]), [(3, "OSG018")]);
}

#[test]
fn digests_are_those_of_their_property() {
    let rule = |property: &str, algorithm: &str, digits: usize| {
        let digits = "a".repeat(digits);
        let rule = format!("op=KMODULE {property}={algorithm}:{digits} action=DENY");
        found(&[SIGNED, &rule]).iter().map(|(_, code)| *code).collect::<Vec<_>>()
    };
    assert_eq!(rule("dmverity_roothash", "sha512", 128), [""; 0]);
    assert_eq!(rule("dmverity_roothash", "blake2b-512", 128), [""; 0]);
    assert_eq!(rule("dmverity_roothash", "SHA256", 64), ["OSG003"]);
    assert_eq!(rule("fsverity_digest", "sha512", 128), [""; 0]);
    assert_eq!(rule("fsverity_digest", "sha3-256", 64), ["OSG003"]);
    assert_eq!(rule("fsverity_digest", "sha256", 0), ["OSG004"]);
}

#[test]
fn a_kernel_with_everything_has_nothing_to_be_said_about() {
    let all = "CONFIG_SECURITY_IPE=y\nCONFIG_IPE_PROP_DM_VERITY=y\n\
        CONFIG_IPE_PROP_DM_VERITY_SIGNATURE=y\nCONFIG_IPE_PROP_FS_VERITY=y\n\
        CONFIG_IPE_PROP_FS_VERITY_BUILTIN_SIG=y\n";
    let text = b"policy_name=t policy_version=1.0.0\nDEFAULT action=DENY\n\
        op=EXECUTE dmverity_signature=TRUE action=ALLOW\n\
        op=EXECUTE fsverity_signature=TRUE action=ALLOW\n";
    let linter = |config: &str| {
        Linter::new(KernelVersion::V7_2).config(KernelConfig::read(config.as_bytes()).unwrap())
    };
    assert_eq!(linter(all).lint(text), []);
    let fedora = all.replace("CONFIG_IPE_PROP_FS_VERITY_BUILTIN_SIG=y\n", "");
    assert_eq!(linter(&fedora).lint(text).len(), 1);
}
