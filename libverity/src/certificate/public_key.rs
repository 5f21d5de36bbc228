//! Public keys, and signatures checked with them.

use std::fmt;

use super::algorithm::{
    EC_PUBLIC_KEY, HashAlgorithm, PRIME192V1, PRIME256V1, RSA_ENCRYPTION, SECP384R1, SECP521R1,
    SignatureScheme, describe_oid,
};
use super::verification::{self, SignatureError};
use crate::asn1::{Asn1Error, INTEGER, Reader, SEQUENCE};

/// Is the key in a certificate.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum PublicKey {
    /// A point on a curve of NIST.
    Ec {
        /// The curve.
        curve: Curve,
        /// The point as SEC 1 writes it, `04` and both coordinates in most certificates.
        point: Vec<u8>,
    },
    /// An RSA key.
    Rsa {
        /// The modulus, big-endian, without leading zeros.
        modulus: Vec<u8>,
        /// The public exponent, big-endian, without leading zeros.
        exponent: Vec<u8>,
    },
    /// A key that the kernel does not load.
    Unsupported {
        /// Name and number of the algorithm or the curve.
        algorithm: String,
    },
}

/// Is a curve that the kernel has ECDSA for.
///
/// Source: `crypto/asymmetric_keys/x509_cert_parser.c`, `x509_extract_key_data`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Curve {
    /// NIST P-192, which not every kernel is built with.
    P192,
    /// NIST P-256.
    P256,
    /// NIST P-384.
    P384,
    /// NIST P-521.
    P521,
}

impl PublicKey {
    /// Reads a key from the parts of a `SubjectPublicKeyInfo`: the contents of the algorithm's
    /// identifier and of its parameters, and the key's bits.
    pub(crate) fn parse(
        algorithm: &[u8],
        parameters: Option<&[u8]>,
        bits: &[u8],
    ) -> Result<Self, Asn1Error> {
        if algorithm == RSA_ENCRYPTION.as_bytes() {
            let mut key = Reader::new(bits).required(SEQUENCE)?.reader();
            let modulus = without_leading_zeros(key.required(INTEGER)?.contents);
            let exponent = without_leading_zeros(key.required(INTEGER)?.contents);
            return Ok(Self::Rsa { modulus: modulus.to_vec(), exponent: exponent.to_vec() });
        }
        if algorithm != EC_PUBLIC_KEY.as_bytes() {
            return Ok(Self::Unsupported { algorithm: describe_oid(algorithm) });
        }
        let parameters = parameters.unwrap_or_default();
        Ok(match Curve::of_oid(parameters) {
            Some(curve) => Self::Ec { curve, point: bits.to_vec() },
            None => Self::Unsupported { algorithm: describe_oid(parameters) },
        })
    }

    /// Checks the signature of `message` as the kernel does, with the digest that it names.
    pub(crate) fn verify(
        &self,
        scheme: SignatureScheme,
        hash: HashAlgorithm,
        message: &[u8],
        signature: &[u8],
    ) -> Result<(), SignatureError> {
        match (self, scheme) {
            (Self::Rsa { modulus, exponent }, SignatureScheme::RsaPkcs1) => {
                verification::rsa(modulus, exponent, hash, message, signature)
            }
            (Self::Ec { curve, point }, SignatureScheme::Ecdsa) => {
                verification::ecdsa(*curve, point, hash, message, signature)
            }
            (_, SignatureScheme::Gost) => {
                Err(SignatureError::UnsupportedHere { algorithm: scheme.to_string() })
            }
            _ => Err(SignatureError::OtherKind),
        }
    }
}

impl fmt::Display for PublicKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ec { curve, .. } => write!(formatter, "EC {curve}"),
            Self::Rsa { modulus, .. } => write!(formatter, "RSA-{}", bit_length(modulus)),
            Self::Unsupported { algorithm } => formatter.write_str(algorithm),
        }
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, formatter)
    }
}

impl Curve {
    fn of_oid(contents: &[u8]) -> Option<Self> {
        [
            (PRIME192V1, Self::P192),
            (PRIME256V1, Self::P256),
            (SECP384R1, Self::P384),
            (SECP521R1, Self::P521),
        ]
        .into_iter()
        .find(|(oid, _)| oid.as_bytes() == contents)
        .map(|(_, curve)| curve)
    }
}

impl fmt::Display for Curve {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::P192 => "P-192",
            Self::P256 => "P-256",
            Self::P384 => "P-384",
            Self::P521 => "P-521",
        })
    }
}

/// Counts the bits of a big-endian number without leading zeros.
pub(crate) fn bit_length(number: &[u8]) -> usize {
    number.first().map_or(0, |first| number.len() * 8 - first.leading_zeros() as usize)
}

fn without_leading_zeros(number: &[u8]) -> &[u8] {
    let zeros = number.iter().take_while(|&&byte| byte == 0).count();
    &number[zeros..]
}
