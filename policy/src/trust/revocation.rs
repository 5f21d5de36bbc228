//! What is trusted no longer.

use libverity::certificate::{Certificate, DistinguishedName};
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
        self.entries.iter().find(|entry| match &entry.revoked {
            Revoked::Certificate(revoked) => *revoked == digest,
            Revoked::Key(revoked) => identifiers.iter().flatten().any(|known| known == revoked),
            Revoked::RootHash(_) => false,
            Revoked::Serial(of, revoked) => {
                serial.trim_start_matches('0') == revoked
                    && issuer.as_ref().is_some_and(|issuer| issuer.is_same(of))
            }
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
