//! What a kernel trusts, and what it has revoked.

use crate::certificate::{Certificate, SignatureListEntry};

/// Is what decides about signers: the certificates that a kernel trusts, and its `.blacklist`.
#[derive(Clone, Copy, Debug)]
pub struct Keyrings<'a> {
    trusted: &'a [Certificate],
    blacklist: Option<&'a Blacklist>,
}

impl<'a> Keyrings<'a> {
    /// Trusts these certificates; those that the kernel would not load count for nothing.
    pub fn new(trusted: &'a [Certificate]) -> Self {
        Self { trusted, blacklist: None }
    }

    /// Adds what is revoked.
    #[must_use]
    pub fn with_blacklist(self, blacklist: &'a Blacklist) -> Self {
        Self { blacklist: Some(blacklist), ..self }
    }

    /// Returns the trusted certificates.
    pub(super) fn trusted(&self) -> &'a [Certificate] {
        self.trusted
    }

    /// Returns the certificates that revoke whatever they would make trusted.
    pub(super) fn revoked(&self) -> &'a [Certificate] {
        self.blacklist.map_or(&[], |blacklist| &blacklist.certificates)
    }

    /// Tells whether a certificate in a message is revoked by the digest of its signed part.
    pub(super) fn names(&self, certificate: &Certificate) -> bool {
        self.blacklist.is_some_and(|blacklist| blacklist.names(certificate))
    }
}

impl<'a> From<&'a [Certificate]> for Keyrings<'a> {
    fn from(trusted: &'a [Certificate]) -> Self {
        Self::new(trusted)
    }
}

impl<'a> From<&'a Vec<Certificate>> for Keyrings<'a> {
    fn from(trusted: &'a Vec<Certificate>) -> Self {
        Self::new(trusted)
    }
}

impl<'a, const COUNT: usize> From<&'a [Certificate; COUNT]> for Keyrings<'a> {
    fn from(trusted: &'a [Certificate; COUNT]) -> Self {
        Self::new(trusted)
    }
}

/// Is the keyring `.blacklist`, as a kernel fills it from the firmware's `dbx`.
///
/// | entry of `dbx` | what the kernel refuses |
/// |---|---|
/// | the digest of the signed part of a certificate, alone | messages that *hold* that certificate, between a signer and a trusted one; without it in them they are accepted |
/// | the same, with the time of the revocation, as UEFI has it | nothing: time and digest together are the name in the keyring, and no certificate has that one |
/// | a certificate | with `CONFIG_SYSTEM_REVOCATION_LIST`, which Debian's kernels do not have, all that it would make trusted; without, nothing |
/// | anything else | nothing: it is about programs |
///
/// What is in `db` stays in `.platform` in any case, since `db` is read first.
///
/// Source: `certs/blacklist.c`, `security/integrity/platform_certs/keyring_handler.c`; all rows but the
/// last but one's first half were tried on 6.12 and 7.2.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Blacklist {
    names: Vec<Vec<u8>>,
    certificates: Vec<Certificate>,
}

impl Blacklist {
    /// Makes the keyring of a kernel without, or with, `CONFIG_SYSTEM_REVOCATION_LIST`.
    pub fn new(dbx: Vec<SignatureListEntry>, has_revocation_list: bool) -> Self {
        let mut blacklist = Self::default();
        for entry in dbx {
            match entry {
                SignatureListEntry::CertificateDigest(name) => blacklist.names.push(name),
                SignatureListEntry::Certificate(certificate) if has_revocation_list => {
                    blacklist.certificates.push(*certificate);
                }
                _ => {}
            }
        }
        blacklist
    }

    fn names(&self, certificate: &Certificate) -> bool {
        let digest = || certificate.to_be_signed_digest();
        !self.names.is_empty() && digest().is_some_and(|digest| self.names.contains(&digest))
    }
}
