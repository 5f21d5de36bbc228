//! What is trusted no longer.

use libverity::certificate::{Certificate, DistinguishedName, SignatureListEntry};
use libverity::digest::{Digest, RootHash};

/// Lists keys, certificates and root hashes that count for nothing any more.
#[derive(Clone, Debug, Default)]
pub struct RevocationList {
    /// The entries, in the order of the file.
    pub entries: Vec<Revocation>,
}

/// Revokes one thing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Revocation {
    /// What is revoked.
    pub revoked: Revoked,
    /// Why, for people.
    pub reason: Option<String>,
}

impl Revocation {
    /// Takes what a firmware's `dbx` revokes, of which the kernel heeds some only ([`Blacklist`]): here,
    /// the time of a revocation does not count, nor whether a message holds the certificate.
    ///
    /// [`Blacklist`]: libverity::pkcs7::Blacklist
    pub fn of_dbx(entry: &SignatureListEntry) -> Option<Self> {
        let digest = match entry {
            SignatureListEntry::Certificate(certificate) => Digest::of(certificate.to_be_signed()),
            // Behind the digest UEFI has the time of the revocation.
            SignatureListEntry::CertificateDigest(data) => {
                Digest::from_bytes(*data.first_chunk::<32>()?)
            }
            _ => return None,
        };
        let reason = Some("it is in the firmware's dbx".to_owned());
        Some(Self { revoked: Revoked::SignedPart(digest), reason })
    }
}

/// Is what a revocation is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Revoked {
    /// One certificate, by the digest of its DER encoding.
    Certificate(Digest),
    /// Every certificate with this subject key identifier (hexadecimal, lower case), and every one of
    /// the key that it is derived from, whatever identifier the certificate has.
    Key(String),
    /// One content.
    RootHash(RootHash),
    /// One certificate, by its issuer and its serial number (hexadecimal, lower case, without zeros at
    /// the front).
    Serial(DistinguishedName, String),
    /// One certificate, by the digest of the part of it that is signed, as a firmware's `dbx` has it.
    SignedPart(Digest),
}

impl RevocationList {
    /// Finds what revokes a certificate.
    pub fn of_certificate(&self, certificate: &Certificate) -> Option<&Revocation> {
        if self.entries.is_empty() {
            return None;
        }
        let digest = Digest::of(certificate.as_der());
        let identifiers =
            [certificate.subject_key_identifier(), Some(certificate.derived_key_identifier())];
        let (issuer, serial) = (certificate.issuer_name(), certificate.serial());
        let signed_part = Digest::of(certificate.to_be_signed());
        self.entries.iter().find(|entry| match &entry.revoked {
            Revoked::Certificate(revoked) => *revoked == digest,
            Revoked::Key(revoked) => identifiers.iter().flatten().any(|known| known == revoked),
            Revoked::RootHash(_) => false,
            Revoked::Serial(of, revoked) => {
                serial.trim_start_matches('0') == revoked
                    && issuer.as_ref().is_some_and(|issuer| issuer.is_same(of))
            }
            Revoked::SignedPart(revoked) => signed_part == *revoked,
        })
    }

    /// Finds what revokes a root hash.
    pub fn of_root_hash(&self, root_hash: &RootHash) -> Option<&Revocation> {
        self.entries.iter().find(
            |entry| matches!(&entry.revoked, Revoked::RootHash(revoked) if revoked == root_hash),
        )
    }
}

/// Reads hexadecimal digits, with or without colons between the bytes, as `openssl` and `/proc/keys`
/// print identifiers and serial numbers.
pub(super) fn hexadecimal(text: &str) -> Option<String> {
    let digits: String = text.chars().filter(|&digit| digit != ':').collect();
    let is_hexadecimal =
        !digits.is_empty() && digits.bytes().all(|digit| digit.is_ascii_hexdigit());
    is_hexadecimal.then(|| digits.to_ascii_lowercase())
}
