//! What the kernel means when it refuses a policy.
//!
//! It prints nothing, neither a line nor a reason: there is one number for each refusal, and the
//! same number for several reasons.

use libverity::errno::Errno;

/// Is what was asked of the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Attempt {
    /// Writing `1` to `policies/NAME/active`.
    Activate,
    /// Writing `1` to `policies/NAME/delete`.
    Delete,
    /// Writing a signed policy to `new_policy`.
    Load,
    /// Writing `0` or `1` to `enforce`.
    SetEnforce,
    /// Writing a signed policy to `policies/NAME/update`.
    Update,
}

/// Is an error number in plain words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Explanation {
    /// What is wrong.
    pub reason: &'static str,
    /// What to do about it.
    pub remedy: &'static str,
}

/// Explains why the kernel refused an attempt, `None` for a number that it does not give.
///
/// Source: `security/ipe/{fs,policy_fs,policy,policy_parser}.c`, `lib/asn1_decoder.c` and
/// `crypto/asymmetric_keys/`; each was seen on the kernels 6.12 and 7.2.
pub fn explain(attempt: Attempt, errno: Errno) -> Option<Explanation> {
    use Attempt::{Activate, Delete, Load, Update};

    let (reason, remedy) = match (attempt, errno) {
        (Delete, Errno::EPERM) => (
            "the policy is active, or CAP_MAC_ADMIN is lacking",
            "activate another policy first, and run as root outside of any user namespace",
        ),
        (_, Errno::EPERM) => (
            "CAP_MAC_ADMIN in the initial user namespace is lacking",
            "run as root outside of any user namespace, with securityfs mounted for writing",
        ),
        (_, Errno::ENOENT) => (
            "there is no such policy in the kernel, or IPE is not active",
            "load the policy; look for `ipe` in /sys/kernel/security/lsm",
        ),
        (_, Errno::ENOMEM) => ("the kernel has no memory for it", "free memory and try again"),
        (Load | Update, Errno::EACCES) => (
            "the policy's name cannot be that of a directory",
            "choose a policy_name of letters, digits, `_`, `.` and `-`",
        ),
        (_, Errno::EACCES) => (
            "the file in securityfs may not be opened",
            "run as root, with securityfs mounted for writing",
        ),
        (Load, Errno::EEXIST) => {
            ("a policy of that name is loaded already", "update that one, with a higher version")
        }
        (Load | Update, Errno::EINVAL) => (
            "the version is not a number, a digest in a rule is not hexadecimal, the update has \
             another policy_name, the message is no signed data of a known version, or the \
             signature is damaged",
            "check the header and the digests in the policy, and sign it again",
        ),
        (Activate, Errno::EINVAL) => (
            "the active policy has a higher version",
            "raise policy_version at least to that of the active policy, sign and load it again",
        ),
        (_, Errno::EINVAL) => ("the value is neither 0 nor 1", "write 0 or 1"),
        (Load | Update, Errno::ERANGE) => (
            "a part of policy_version is greater than 65535",
            "choose a version up to 65535.65535.65535",
        ),
        (Load | Update, Errno::ENAMETOOLONG) => {
            ("policy_name has more than 255 bytes", "choose a shorter policy_name")
        }
        (Load | Update, Errno::ENODATA) => {
            ("the signature holds no policy", "sign with the policy attached")
        }
        (Load | Update, Errno::ENOPKG) => (
            "the signature uses an algorithm that this kernel does not have: RSA-PSS, \
             sha256WithRSAEncryption, an unknown digest or curve, or an Ed25519 certificate",
            "sign with RSA PKCS#1 v1.5 (rsaEncryption) or with ECDSA over P-256 or P-384",
        ),
        (Load | Update, Errno::EBADMSG) => (
            "it is not signed, the signature is damaged, the policy has a syntax error or no \
             default for every operation, or it was not written in one piece",
            "check the policy's text, sign it, and write it with one write(2)",
        ),
        (Load | Update, Errno::EMSGSIZE) => (
            "the signed policy has more than 65535 bytes",
            "make the policy smaller; root hashes that need no exception any more can go",
        ),
        (Load | Update, Errno::ESTALE) => (
            "the loaded policy has this version or a higher one",
            "raise policy_version above that of the loaded policy and sign it again",
        ),
        (Load | Update, Errno::ENOKEY) => (
            "no certificate in the kernel's keyrings is that of the signer or of its issuer",
            "enrol the signer's certificate (UEFI db, MOK or the kernel's own), or embed the leaf \
             certificate whose issuer is enrolled; the .dm-verity keyring does not count for \
             policies",
        ),
        (Load | Update, Errno::EKEYREJECTED) => (
            "the signature does not belong to this policy, is detached, is in BER, has S/MIME \
             capabilities, or its key is on the kernel's blacklist",
            "sign again, attached, in DER and without attributes, with a key that is not revoked",
        ),
        _ => return None,
    };
    Some(Explanation { reason, remedy })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_error_of_a_load_is_explained() {
        for number in [1, 2, 12, 13, 17, 22, 34, 36, 61, 65, 74, 90, 116, 126, 129] {
            let errno = Errno::from_number(-number);
            assert!(explain(Attempt::Load, errno).is_some(), "{errno}");
        }
        assert_eq!(explain(Attempt::Load, Errno::from_number(5)), None);
    }

    #[test]
    fn the_same_number_means_something_else_elsewhere() {
        let of = |attempt| explain(attempt, Errno::EINVAL).unwrap().reason;
        assert!(of(Attempt::Activate).contains("higher version"));
        assert!(of(Attempt::Update).contains("policy_name"));
        assert!(of(Attempt::Delete).contains("neither 0 nor 1"));
        assert_eq!(explain(Attempt::Activate, Errno::ESTALE), None);
    }
}
