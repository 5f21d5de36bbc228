//! The algorithms that the kernel knows by their object identifiers.

use std::fmt;

use const_oid::db::DB;
use der::oid::ObjectIdentifier;
use ring::digest;
use sha2::Digest as _;

/// Is a digest algorithm that the kernel takes in a signature.
///
/// SHA-1 and SHA-2 are always there. Whether it has the others depends on how it was built (Debian's
/// 6.12 accepts SHA-3, its 7.2 does not), so that nothing here counts on them.
///
/// Source: `crypto/asymmetric_keys/pkcs7_parser.c`, `pkcs7_sig_note_digest_algo`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum HashAlgorithm {
    /// SHA-1, which the kernel still accepts.
    Sha1,
    /// SHA-224.
    Sha224,
    /// SHA-256, which osguard signs with.
    Sha256,
    /// SHA-384.
    Sha384,
    /// SHA-512.
    Sha512,
    /// SHA3-256.
    Sha3_256,
    /// SHA3-384.
    Sha3_384,
    /// SHA3-512.
    Sha3_512,
    /// SM3, the Chinese standard.
    Sm3,
    /// Streebog with 256 bits, the Russian standard.
    Streebog256,
    /// Streebog with 512 bits.
    Streebog512,
}

impl HashAlgorithm {
    /// Hashes `message`, or returns `None` for an algorithm that only some kernels have.
    pub fn digest(self, message: &[u8]) -> Option<Vec<u8>> {
        Some(match self {
            Self::Sha1 => {
                digest::digest(&digest::SHA1_FOR_LEGACY_USE_ONLY, message).as_ref().to_vec()
            }
            Self::Sha224 => sha2::Sha224::digest(message).to_vec(),
            Self::Sha256 => sha2::Sha256::digest(message).to_vec(),
            Self::Sha384 => sha2::Sha384::digest(message).to_vec(),
            Self::Sha512 => sha2::Sha512::digest(message).to_vec(),
            Self::Sha3_256
            | Self::Sha3_384
            | Self::Sha3_512
            | Self::Sm3
            | Self::Streebog256
            | Self::Streebog512 => return None,
        })
    }

    /// Returns the object identifier of the digest alone.
    pub(crate) fn oid(self) -> ObjectIdentifier {
        DIGESTS.iter().find(|entry| entry.1 == self).map_or(SHA_256, |entry| entry.0)
    }

    /// Finds the digest algorithm of a SignerInfo by its object identifier's contents.
    pub(crate) fn of_digest_oid(contents: &[u8]) -> Option<Self> {
        DIGESTS.iter().find(|entry| entry.0.as_bytes() == contents).map(|entry| entry.1)
    }
}

impl fmt::Display for HashAlgorithm {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Sha1 => "SHA-1",
            Self::Sha224 => "SHA-224",
            Self::Sha256 => "SHA-256",
            Self::Sha384 => "SHA-384",
            Self::Sha512 => "SHA-512",
            Self::Sha3_256 => "SHA3-256",
            Self::Sha3_384 => "SHA3-384",
            Self::Sha3_512 => "SHA3-512",
            Self::Sm3 => "SM3",
            Self::Streebog256 => "Streebog-256",
            Self::Streebog512 => "Streebog-512",
        })
    }
}

/// Is the kind of public-key operation that a signature asks for.
///
/// The kernel compares it with the key that it finds and refuses the signature where they differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum SignatureScheme {
    /// ECDSA over whatever curve the key has.
    Ecdsa,
    /// GOST R 34.10-2012.
    Gost,
    /// RSA with PKCS#1 v1.5 padding.
    RsaPkcs1,
}

impl SignatureScheme {
    /// Finds the scheme of a SignerInfo by its `signatureAlgorithm`.
    ///
    /// For RSA this has to be the plain `rsaEncryption`; the digest comes from elsewhere.
    pub(crate) fn of_signer_oid(contents: &[u8]) -> Option<Self> {
        let oid = ObjectIdentifier::from_bytes(contents).ok()?;
        if oid == RSA_ENCRYPTION {
            return Some(Self::RsaPkcs1);
        }
        CERTIFICATE_SIGNATURES
            .iter()
            .find(|entry| entry.0 == oid && entry.1 != Self::RsaPkcs1)
            .map(|entry| entry.1)
    }

    /// Finds scheme and digest of a certificate's signature.
    pub(crate) fn of_certificate_oid(contents: &[u8]) -> Option<(Self, HashAlgorithm)> {
        CERTIFICATE_SIGNATURES
            .iter()
            .find(|entry| entry.0.as_bytes() == contents)
            .map(|entry| (entry.1, entry.2))
    }
}

impl fmt::Display for SignatureScheme {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Ecdsa => "ECDSA",
            Self::Gost => "GOST R 34.10",
            Self::RsaPkcs1 => "RSA PKCS#1 v1.5",
        })
    }
}

/// Writes an object identifier as its name and its number, as far as they are known.
pub(crate) fn describe_oid(contents: &[u8]) -> String {
    let Ok(oid) = ObjectIdentifier::from_bytes(contents) else {
        return hex::encode(contents);
    };
    match DB.by_oid(&oid) {
        Some(name) => format!("{name} ({oid})"),
        None => oid.to_string(),
    }
}

const fn oid(number: &str) -> ObjectIdentifier {
    ObjectIdentifier::new_unwrap(number)
}

pub(crate) const RSA_ENCRYPTION: ObjectIdentifier = oid("1.2.840.113549.1.1.1");
pub(crate) const EC_PUBLIC_KEY: ObjectIdentifier = oid("1.2.840.10045.2.1");
pub(crate) const PRIME256V1: ObjectIdentifier = oid("1.2.840.10045.3.1.7");
pub(crate) const SECP384R1: ObjectIdentifier = oid("1.3.132.0.34");
pub(crate) const SECP521R1: ObjectIdentifier = oid("1.3.132.0.35");
pub(crate) const PRIME192V1: ObjectIdentifier = oid("1.2.840.10045.3.1.1");
pub(crate) const ECDSA_WITH_SHA256: ObjectIdentifier = oid("1.2.840.10045.4.3.2");
pub(crate) const ECDSA_WITH_SHA384: ObjectIdentifier = oid("1.2.840.10045.4.3.3");
pub(crate) const ECDSA_WITH_SHA512: ObjectIdentifier = oid("1.2.840.10045.4.3.4");
pub(crate) const SHA256_WITH_RSA: ObjectIdentifier = oid("1.2.840.113549.1.1.11");
const SHA_256: ObjectIdentifier = oid("2.16.840.1.101.3.4.2.1");

const DIGESTS: [(ObjectIdentifier, HashAlgorithm); 11] = [
    (oid("1.3.14.3.2.26"), HashAlgorithm::Sha1),
    (oid("2.16.840.1.101.3.4.2.4"), HashAlgorithm::Sha224),
    (SHA_256, HashAlgorithm::Sha256),
    (oid("2.16.840.1.101.3.4.2.2"), HashAlgorithm::Sha384),
    (oid("2.16.840.1.101.3.4.2.3"), HashAlgorithm::Sha512),
    (oid("2.16.840.1.101.3.4.2.8"), HashAlgorithm::Sha3_256),
    (oid("2.16.840.1.101.3.4.2.9"), HashAlgorithm::Sha3_384),
    (oid("2.16.840.1.101.3.4.2.10"), HashAlgorithm::Sha3_512),
    (oid("1.2.156.10197.1.401"), HashAlgorithm::Sm3),
    (oid("1.2.643.7.1.1.2.2"), HashAlgorithm::Streebog256),
    (oid("1.2.643.7.1.1.2.3"), HashAlgorithm::Streebog512),
];

/// Source: `crypto/asymmetric_keys/x509_cert_parser.c`, `x509_note_sig_algo`; the entries that are
/// not RSA are at the same time those of `pkcs7_sig_note_pkey_algo`.
const CERTIFICATE_SIGNATURES: [(ObjectIdentifier, SignatureScheme, HashAlgorithm); 18] = {
    use HashAlgorithm::*;
    use SignatureScheme::*;
    [
        (oid("1.2.840.113549.1.1.5"), RsaPkcs1, Sha1),
        (oid("1.2.840.113549.1.1.14"), RsaPkcs1, Sha224),
        (SHA256_WITH_RSA, RsaPkcs1, Sha256),
        (oid("1.2.840.113549.1.1.12"), RsaPkcs1, Sha384),
        (oid("1.2.840.113549.1.1.13"), RsaPkcs1, Sha512),
        (oid("2.16.840.1.101.3.4.3.14"), RsaPkcs1, Sha3_256),
        (oid("2.16.840.1.101.3.4.3.15"), RsaPkcs1, Sha3_384),
        (oid("2.16.840.1.101.3.4.3.16"), RsaPkcs1, Sha3_512),
        (oid("1.2.840.10045.4.1"), Ecdsa, Sha1),
        (oid("1.2.840.10045.4.3.1"), Ecdsa, Sha224),
        (ECDSA_WITH_SHA256, Ecdsa, Sha256),
        (ECDSA_WITH_SHA384, Ecdsa, Sha384),
        (ECDSA_WITH_SHA512, Ecdsa, Sha512),
        (oid("2.16.840.1.101.3.4.3.10"), Ecdsa, Sha3_256),
        (oid("2.16.840.1.101.3.4.3.11"), Ecdsa, Sha3_384),
        (oid("2.16.840.1.101.3.4.3.12"), Ecdsa, Sha3_512),
        (oid("1.2.643.7.1.1.3.2"), Gost, Streebog256),
        (oid("1.2.643.7.1.1.3.3"), Gost, Streebog512),
    ]
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digests_find_back_to_their_identifiers() {
        for (identifier, algorithm, ..) in DIGESTS {
            assert_eq!(algorithm.oid(), identifier);
            assert_eq!(HashAlgorithm::of_digest_oid(identifier.as_bytes()), Some(algorithm));
        }
        assert_eq!(HashAlgorithm::of_digest_oid(b""), None);
    }

    #[test]
    fn a_signer_may_not_name_the_digest_beside_rsa() {
        assert_eq!(
            SignatureScheme::of_signer_oid(RSA_ENCRYPTION.as_bytes()),
            Some(SignatureScheme::RsaPkcs1)
        );
        assert_eq!(SignatureScheme::of_signer_oid(SHA256_WITH_RSA.as_bytes()), None);
        assert_eq!(
            SignatureScheme::of_signer_oid(ECDSA_WITH_SHA384.as_bytes()),
            Some(SignatureScheme::Ecdsa)
        );
        assert_eq!(SignatureScheme::of_signer_oid(EC_PUBLIC_KEY.as_bytes()), None);
    }

    #[test]
    fn identifiers_are_told_by_name() {
        let name = describe_oid(SHA256_WITH_RSA.as_bytes());
        assert_eq!(name, "sha256WithRSAEncryption (1.2.840.113549.1.1.11)");
        assert_eq!(describe_oid(&[]), "");
    }
}
