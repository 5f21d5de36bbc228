//! Policies written by hand, with the kernel's answer: what its own unit tests ask
//! (`security/ipe/policy_tests.c`), and what they leave out.

use libverity::errno::Errno;

use Errno as E;

/// Is a text and what the kernel answers to it.
pub(crate) type Case = (&'static [u8], Result<(), Errno>);

/// Returns the policies whose text is too long to be written down.
pub(crate) fn long() -> Vec<(Vec<u8>, Result<(), Errno>)> {
    let named = |name: String| {
        format!("policy_name={name} policy_version=1.0.0\nDEFAULT action=ALLOW").into_bytes()
    };
    let rules = |rule: &str, count| [HEADER, &rule.repeat(count)].concat().into_bytes();
    vec![
        (named("n".repeat(255)), Ok(())),
        (named("n".repeat(256)), Err(E::ENAMETOOLONG)),
        (named("ä".repeat(127)), Ok(())),
        (named("n".repeat(4000)), Err(E::ENAMETOOLONG)),
        (named("n/".repeat(300)), Err(E::EACCES)),
        (rules("op=EXECUTE dmverity_signature=TRUE action=ALLOW\n", 900), Ok(())),
        (rules("# nothing\n", 5000), Ok(())),
        (rules(&format!("op=EXECUTE{}action=ALLOW\n", " \t".repeat(9000)), 2), Ok(())),
        (rules(&format!("op=EXECUTE {}action=DENY", "boot_verified=TRUE ".repeat(900)), 1), Ok(())),
        (
            rules(
                &format!("op=EXECUTE dmverity_roothash=a:{} action=DENY", "ab".repeat(20_000)),
                1,
            ),
            Ok(()),
        ),
        (
            rules(&format!("op=EXECUTE dmverity_roothash=a:{} action=DENY", "a".repeat(20_001)), 1),
            Err(E::EINVAL),
        ),
    ]
}

const HEADER: &str = "policy_name=t policy_version=1.0.0\nDEFAULT action=ALLOW\n";

/// Puts lines behind a header and a default.
macro_rules! rule {
    ($line:literal) => {
        concat!("policy_name=t policy_version=1.0.0\nDEFAULT action=ALLOW\n", $line).as_bytes()
    };
}

/// Puts a version into the header.
macro_rules! version {
    ($version:literal) => {
        concat!("policy_name=t policy_version=", $version, "\nDEFAULT action=ALLOW").as_bytes()
    };
}

pub(crate) const CASES: &[Case] = &[
    // Texts.
    (b"policy_name=t policy_version=1.0.0\nDEFAULT action=ALLOW", Ok(())),
    (b"policy_name=t policy_version=1.0.0 #here\nDEFAULT action=ALLOW", Ok(())),
    (b"policy_name=t policy_version=1.0.0\r\nDEFAULT action=ALLOW\r\n", Ok(())),
    (b"policy_name=t policy_version=1.0.0\rDEFAULT action=ALLOW\r", Ok(())),
    (b"\t policy_name=t\t \tpolicy_version=1.0.0 \t\nDEFAULT\t\taction=ALLOW\t", Ok(())),
    (b"\n# first\n \t\n\npolicy_name=t policy_version=1.0.0\n\nDEFAULT action=ALLOW\n\n", Ok(())),
    (b"policy_name=t policy_version=1.0.0\xa0\nDEFAULT action=ALLOW \xa0\x0b\x0c", Ok(())),
    (b"policy_name=t policy_version=1.0.0\n\xa0\n\x0b\nDEFAULT action=ALLOW", Ok(())),
    (b"\n", Err(E::EBADMSG)),
    (b"# nothing else\n# than comments\n", Err(E::EBADMSG)),
    (b"\xef\xbb\xbfpolicy_name=t policy_version=1.0.0\nDEFAULT action=ALLOW", Err(E::EBADMSG)),
    (b"p\0o\0l\0i\0c\0y\0_\0n\0a\0m\0e\0=\0t\0", Err(E::EBADMSG)),
    (b"\xff\xfep\0o\0l\0i\0c\0y\0_\0n\0a\0m\0e\0=\0t\0", Err(E::EBADMSG)),
    (b"\0policy_name=t policy_version=1.0.0\nDEFAULT action=ALLOW", Err(E::EBADMSG)),
    (b"policy_name=t\0 policy_version=1.0.0\nDEFAULT action=ALLOW", Err(E::EBADMSG)),
    (b"policy_name=t policy_version=1.0.0\nDEFAULT action=ALLOW\0", Ok(())),
    (b"policy_name=t policy_version=1.0.0\nDEFAULT action=ALLOW\0what ever", Ok(())),
    (b"policy_name=t policy_version=1.0.0\nDEFAULT action=ALLOW\n\0op=EXECUTE", Ok(())),
    (b"policy_name=t policy_version=1.0.0\nDEFAULT action=AL\0LOW", Err(E::EBADMSG)),
    (b"policy_name=t policy_version=1.0.0\x0bDEFAULT action=ALLOW", Err(E::EINVAL)),
    // Headers.
    (b"policy_name=$@!*&^%%\\:;{}() policy_version=1.0.0\nDEFAULT action=ALLOW", Ok(())),
    (b"policy_name=\xff\xef policy_version=1.0.0\nDEFAULT action=ALLOW", Ok(())),
    (b"policy_name=a\"b'c policy_version=1.0.0\nDEFAULT action=ALLOW", Ok(())),
    (b"policy_name=a=b policy_version=1.0.0\nDEFAULT action=ALLOW", Ok(())),
    (b"policy_name=a\x0bb\x01\x7f policy_version=1.0.0\nDEFAULT action=ALLOW", Ok(())),
    (b"policy_name=... policy_version=1.0.0\nDEFAULT action=ALLOW", Ok(())),
    (b"policy_name=. policy_version=1.0.0\nDEFAULT action=ALLOW", Err(E::EACCES)),
    (b"policy_name=.. policy_version=1.0.0\nDEFAULT action=ALLOW", Err(E::EACCES)),
    (b"policy_name=/ policy_version=1.0.0\nDEFAULT action=ALLOW", Err(E::EACCES)),
    (b"policy_name=a/b policy_version=1.0.0\nDEFAULT action=ALLOW", Err(E::EACCES)),
    (b"policy_name=a/b policy_version=1.0.0\nDEFAULT action=", Err(E::EBADMSG)),
    (b"policy_name=a#b policy_version=1.0.0\nDEFAULT action=ALLOW", Err(E::EBADMSG)),
    (b"policy_name= policy_version=1.0.0\nDEFAULT action=ALLOW", Err(E::EBADMSG)),
    (b"policy_name policy_version=1.0.0\nDEFAULT action=ALLOW", Err(E::EBADMSG)),
    (b"policy_name=t policy_version=\nDEFAULT action=ALLOW", Err(E::EBADMSG)),
    (b"policy_name=t\nDEFAULT action=ALLOW", Err(E::EBADMSG)),
    (b"policy_name=t\npolicy_version=1.0.0\nDEFAULT action=ALLOW", Err(E::EBADMSG)),
    (b"policy_version=1.0.0 policy_name=t\nDEFAULT action=ALLOW", Err(E::EBADMSG)),
    (b"policy_name=tpolicy_version=1.0.0\nDEFAULT action=ALLOW", Err(E::EBADMSG)),
    (b"policy_name=t policy_name=t policy_version=1.0.0\nDEFAULT action=ALLOW", Err(E::EBADMSG)),
    (b"policy_name=t policy_version=1.0.0 more\nDEFAULT action=ALLOW", Err(E::EBADMSG)),
    (b"policy_name=t policy_version=1.x.0 more\nDEFAULT action=ALLOW", Err(E::EINVAL)),
    (b"policy_name=t policy_version=1.0.0 policy_version=x", Err(E::EBADMSG)),
    (b"Policy_name=t policy_version=1.0.0\nDEFAULT action=ALLOW", Err(E::EBADMSG)),
    (b"DEFAULT action=ALLOW", Err(E::EBADMSG)),
    (b"DEFAULT action=ALLOW\npolicy_name=t policy_version=1.0.0", Err(E::EBADMSG)),
    (rule!("policy_name=t policy_version=1.0.0"), Err(E::EBADMSG)),
    // Versions.
    (version!("0.0.0"), Ok(())),
    (version!("65535.65535.65535"), Ok(())),
    (version!("+1.02.003"), Ok(())),
    (version!("1.0.0#5"), Ok(())),
    (version!("1.0.00000000000000000000000000000000"), Ok(())),
    (version!("-1236.0.0"), Err(E::EINVAL)),
    (version!("999999.0.0"), Err(E::ERANGE)),
    (version!("65536.0.0"), Err(E::ERANGE)),
    (version!("1.0.65536"), Err(E::ERANGE)),
    (version!("255.0"), Err(E::EBADMSG)),
    (version!("1"), Err(E::EBADMSG)),
    (version!("111.0.0.0"), Err(E::EBADMSG)),
    (version!("1.0.0."), Err(E::EBADMSG)),
    (version!("."), Err(E::EINVAL)),
    (version!("1..3"), Err(E::EINVAL)),
    (version!("1.2."), Err(E::EINVAL)),
    (version!("0x1.0.0"), Err(E::EINVAL)),
    (version!("++1.0.0"), Err(E::EINVAL)),
    (version!("1.+.0"), Err(E::EINVAL)),
    (version!("70000x.0.0"), Err(E::EINVAL)),
    (version!("18446744073709551616x.0.0"), Err(E::ERANGE)),
    (version!("18446744073709551615.0.0"), Err(E::ERANGE)),
    (version!("1.2.3.x"), Err(E::EBADMSG)),
    (version!("1.0.0\x0b"), Ok(())),
    (version!("1.0\x0b.0"), Err(E::EINVAL)),
    (version!("٣.0.0"), Err(E::EINVAL)),
    // Defaults.
    (b"policy_name=t policy_version=1.0.0", Err(E::EBADMSG)),
    (b"policy_name=t policy_version=1.0.0\nop=EXECUTE action=ALLOW", Err(E::EBADMSG)),
    (b"policy_name=t policy_version=1.0.0\nDEFAULT op=EXECUTE action=ALLOW", Err(E::EBADMSG)),
    (
        b"policy_name=t policy_version=1.0.0\nDEFAULT op=EXECUTE action=DENY\nDEFAULT op=FIRMWARE \
          action=DENY\nDEFAULT op=KMODULE action=DENY\nDEFAULT op=KEXEC_IMAGE action=DENY\nDEFAULT \
          op=KEXEC_INITRAMFS action=DENY\nDEFAULT op=POLICY action=DENY\nDEFAULT op=X509_CERT \
          action=ALLOW",
        Ok(()),
    ),
    (
        b"policy_name=t policy_version=1.0.0\nDEFAULT op=EXECUTE action=DENY\nDEFAULT op=FIRMWARE \
          action=DENY\nDEFAULT op=KMODULE action=DENY\nDEFAULT op=KEXEC_IMAGE action=DENY\nDEFAULT \
          op=KEXEC_INITRAMFS action=DENY\nDEFAULT op=POLICY action=DENY",
        Err(E::EBADMSG),
    ),
    (b"policy_name=t policy_version=1.0.0\nop=EXECUTE action=DENY\nDEFAULT action=ALLOW", Ok(())),
    (rule!("DEFAULT action=DENY"), Err(E::EBADMSG)),
    (rule!("DEFAULT op=EXECUTE action=DENY"), Ok(())),
    (rule!("DEFAULT op=EXECUTE action=DENY\nDEFAULT op=EXECUTE action=DENY"), Err(E::EBADMSG)),
    (rule!("DEFAULT"), Err(E::EBADMSG)),
    (rule!("DEFAULT op=EXECUTE"), Err(E::EBADMSG)),
    (rule!("DEFAULT DEFAULT action=ALLOW"), Err(E::EBADMSG)),
    (rule!("DEFAULT op=EXECUTE boot_verified=TRUE action=DENY"), Err(E::EBADMSG)),
    (rule!("DEFAULT op=EXECUTE dmverity_roothash=sha256:x action=DENY"), Err(E::EINVAL)),
    (rule!("DEFAULT op=EXECUTE dmverity_roothash=sha256:ab action=DENI"), Err(E::EBADMSG)),
    (rule!("DEFAULT boot_verified=TRUE action=DENY"), Err(E::EBADMSG)),
    (rule!("DEFAULT op=UNKNOWN action=ALLOW"), Err(E::EBADMSG)),
    (rule!("default op=EXECUTE action=ALLOW"), Err(E::EBADMSG)),
    // Rules.
    (rule!("op=EXECUTE action=ALLOW"), Ok(())),
    (rule!("op=EXECUTE action=DENY#why"), Ok(())),
    (rule!("op=EXECUTE boot_verified=TRUE action=ALLOW"), Ok(())),
    (rule!("op=EXECUTE boot_verified=FALSE dmverity_signature=TRUE action=DENY"), Ok(())),
    (rule!("op=EXECUTE dmverity_signature=TRUE dmverity_signature=FALSE action=DENY"), Ok(())),
    (rule!("op=FIRMWARE fsverity_signature=TRUE action=ALLOW"), Ok(())),
    (rule!("op=KMODULE fsverity_signature=FALSE action=ALLOW"), Ok(())),
    (rule!("op=KEXEC_IMAGE dmverity_signature=FALSE action=ALLOW"), Ok(())),
    (rule!("op=KEXEC_INITRAMFS action=ALLOW"), Ok(())),
    (rule!("op=POLICY action=DENY\nop=X509_CERT action=DENY"), Ok(())),
    (rule!("op=EXECUTE"), Err(E::EBADMSG)),
    (rule!("action=ALLOW"), Err(E::EBADMSG)),
    (rule!("op=execute action=ALLOW"), Err(E::EBADMSG)),
    (rule!("OP=EXECUTE action=ALLOW"), Err(E::EBADMSG)),
    (rule!("op=EXECUTE op=EXECUTE action=ALLOW"), Err(E::EBADMSG)),
    (rule!("op=UNKNOWN action=ALLOW"), Err(E::EBADMSG)),
    (rule!("op= action=ALLOW"), Err(E::EBADMSG)),
    (rule!("op=BPF_PROG_LOAD action=ALLOW"), Err(E::EBADMSG)),
    (rule!("op=EXECUTE action=DEN"), Err(E::EBADMSG)),
    (rule!("op=EXECUTE action=deny"), Err(E::EBADMSG)),
    (rule!("op=EXECUTE action"), Err(E::EBADMSG)),
    (rule!("op=EXECUTE action=ALLOW action=DENY"), Err(E::EBADMSG)),
    (rule!("op=EXECUTE action=ALLOW boot_verified=TRUE"), Err(E::EBADMSG)),
    (rule!("boot_verified=TRUE op=EXECUTE action=ALLOW"), Err(E::EBADMSG)),
    (rule!("action=ALLOW op=EXECUTE boot_verified=TRUE"), Err(E::EBADMSG)),
    (rule!("op=EXECUTE DEFAULT action=ALLOW"), Err(E::EBADMSG)),
    (rule!("UNKNOWN value=true"), Err(E::EBADMSG)),
    (rule!("UNKNOWN value=true action=ALLOW"), Err(E::EBADMSG)),
    (rule!("op=EXECUTE\x0bboot_verified=TRUE action=ALLOW"), Err(E::EBADMSG)),
    (rule!("op=EXECUTE boot_verified=TRUE\x0c action=ALLOW"), Err(E::EBADMSG)),
    (rule!("op=EXECUTE boot_verified=TRUE # action=ALLOW"), Err(E::EBADMSG)),
    (rule!("op=EXECUTE \\\naction=ALLOW"), Err(E::EBADMSG)),
    // Properties.
    (rule!("op=EXECUTE boot_verified=ANIMAL action=ALLOW"), Err(E::EBADMSG)),
    (rule!("op=EXECUTE boot_verified=true action=ALLOW"), Err(E::EBADMSG)),
    (rule!("op=EXECUTE boot_verified= action=ALLOW"), Err(E::EBADMSG)),
    (rule!("op=EXECUTE boot_verified action=ALLOW"), Err(E::EBADMSG)),
    (rule!("op=EXECUTE dmverity_signature=abc action=ALLOW"), Err(E::EBADMSG)),
    (rule!("op=EXECUTE fsverity_signature=1 action=ALLOW"), Err(E::EBADMSG)),
    (rule!("op=EXECUTE dmverity_roothash=GOOD_DOG action=ALLOW"), Err(E::EBADMSG)),
    (rule!("op=EXECUTE dmverity_roothash= action=ALLOW"), Err(E::EBADMSG)),
    (rule!("op=EXECUTE dmverity_roothash action=ALLOW"), Err(E::EBADMSG)),
    (rule!("op=EXECUTE dmverity_roothash=ab12 action=ALLOW"), Err(E::EBADMSG)),
    (rule!("op=EXECUTE dmverity_roothash=sha256:AbCd action=ALLOW"), Ok(())),
    (rule!("op=EXECUTE dmverity_roothash=sha256: action=ALLOW"), Ok(())),
    (rule!("op=EXECUTE dmverity_roothash=: action=ALLOW"), Ok(())),
    (rule!("op=EXECUTE dmverity_roothash=:ab action=ALLOW"), Ok(())),
    (rule!("op=EXECUTE dmverity_roothash=foo:ab action=ALLOW"), Ok(())),
    (rule!("op=EXECUTE dmverity_roothash=sha256:abc action=ALLOW"), Err(E::EINVAL)),
    (rule!("op=EXECUTE dmverity_roothash=sha256:xy action=ALLOW"), Err(E::EINVAL)),
    (rule!("op=EXECUTE dmverity_roothash=sha256:ab:cd action=ALLOW"), Err(E::EINVAL)),
    (rule!("op=EXECUTE dmverity_roothash=sha256:0xab action=ALLOW"), Err(E::EINVAL)),
    (rule!("op=EXECUTE dmverity_roothash=sha256:xy action=WHAT"), Err(E::EINVAL)),
    (rule!("op=WHAT dmverity_roothash=sha256:xy action=ALLOW"), Err(E::EBADMSG)),
    (rule!("op=EXECUTE what dmverity_roothash=sha256:xy action=ALLOW"), Err(E::EBADMSG)),
    (rule!("op=EXECUTE dmverity_roothash=sha256:xy what action=ALLOW"), Err(E::EINVAL)),
    (rule!("op=EXECUTE fsverity_digest=sha256:ab action=ALLOW"), Ok(())),
    (rule!("op=EXECUTE fsverity_digest=sha512:ab action=DENY"), Ok(())),
    (rule!("op=EXECUTE fsverity_digest=ab action=ALLOW"), Err(E::EBADMSG)),
    (rule!("op=EXECUTE fsverity_digest=sha256:q action=ALLOW"), Err(E::EINVAL)),
    (rule!("op=EXECUTE bpf_signature=TRUE action=ALLOW"), Err(E::EBADMSG)),
    // The first error counts, wherever the others are.
    (rule!("op=EXECUTE dmverity_roothash=a:x action=ALLOW\nwhat"), Err(E::EINVAL)),
    (rule!("what\nop=EXECUTE dmverity_roothash=a:x action=ALLOW"), Err(E::EBADMSG)),
    (
        b"policy_name=t policy_version=1.0.0\nop=EXECUTE dmverity_roothash=a:x action=ALLOW",
        Err(E::EINVAL),
    ),
    (b"policy_name=. policy_version=70000.0.0\nwhat", Err(E::ERANGE)),
];
