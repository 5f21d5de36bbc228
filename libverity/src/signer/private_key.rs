//! Private keys in memory, and the forms in which they lie in files.

use std::fmt;

use der::Decode;
use pkcs8::PrivateKeyInfoRef;
use ring::rand::SystemRandom;
use ring::rsa;
use ring::signature::{self, EcdsaKeyPair, EcdsaSigningAlgorithm, KeyPair};
use zeroize::Zeroizing;

use super::p521_key::{self, P521Key};
use super::{SignatureAlgorithm, UnusableKey};
use crate::asn1::{Asn1Error, INTEGER, OCTET_STRING, Reader, SEQUENCE};
use crate::certificate::{Curve, EC_PUBLIC_KEY, PublicKey, RSA_ENCRYPTION};

/// Is a private key that is known to belong to a public one.
pub(crate) enum PrivateKey {
    Ec(EcdsaKeyPair, SignatureAlgorithm),
    P521(P521Key),
    Rsa(rsa::KeyPair),
}

impl PrivateKey {
    /// Reads a key in PKCS#8, PKCS#1 or SEC 1, and checks that it belongs to `public`.
    pub(crate) fn from_der(der: &[u8], public: &PublicKey) -> Result<Self, PrivateKeyError> {
        let algorithm = SignatureAlgorithm::for_key(public)?;
        let (kind, key) = if let Ok(info) = PrivateKeyInfoRef::from_der(der) {
            (Kind::of_pkcs8(&info)?, info.private_key.as_bytes())
        } else {
            (Kind::guess(der)?, der)
        };
        match (kind, public) {
            (Kind::Rsa, PublicKey::Rsa { .. }) => {
                let pair = rsa::KeyPair::from_der(key).map_err(|rejected| {
                    PrivateKeyError::Rejected { reason: rejected.to_string() }
                })?;
                let bits = pair.public_key().as_ref();
                let own = PublicKey::parse(RSA_ENCRYPTION.as_bytes(), None, bits);
                if own.is_ok_and(|own| own == *public) {
                    Ok(Self::Rsa(pair))
                } else {
                    Err(PrivateKeyError::OtherKey)
                }
            }
            (Kind::Ec, PublicKey::Ec { curve: Curve::P521, point }) => {
                let scalar = ec_scalar(key, Curve::P521)?;
                P521Key::from_scalar(&scalar)
                    .filter(|key| key.point() == point)
                    .map(Self::P521)
                    .ok_or(PrivateKeyError::OtherKey)
            }
            (Kind::Ec, PublicKey::Ec { curve, point }) => {
                let scalar = ec_scalar(key, *curve)?;
                EcdsaKeyPair::from_private_key_and_public_key(
                    ec_algorithm(algorithm),
                    &scalar,
                    point,
                    &SystemRandom::new(),
                )
                .map(|pair| Self::Ec(pair, algorithm))
                .map_err(|_| PrivateKeyError::OtherKey)
            }
            _ => Err(PrivateKeyError::OtherKey),
        }
    }

    /// Takes an EC key that ring has just made.
    pub(crate) fn from_generated_ec(
        pkcs8: &[u8],
        algorithm: SignatureAlgorithm,
    ) -> Result<Self, PrivateKeyError> {
        EcdsaKeyPair::from_pkcs8(ec_algorithm(algorithm), pkcs8, &SystemRandom::new())
            .map(|pair| Self::Ec(pair, algorithm))
            .map_err(|rejected| PrivateKeyError::Rejected { reason: rejected.to_string() })
    }

    /// Takes the RSAPrivateKey within a PKCS#8 key that has just been made.
    pub(crate) fn from_generated_rsa(pkcs8: &[u8]) -> Result<Self, PrivateKeyError> {
        rsa::KeyPair::from_pkcs8(pkcs8)
            .map(Self::Rsa)
            .map_err(|rejected| PrivateKeyError::Rejected { reason: rejected.to_string() })
    }

    pub(crate) fn algorithm(&self) -> SignatureAlgorithm {
        match self {
            Self::Ec(_, algorithm) => *algorithm,
            Self::P521(_) => SignatureAlgorithm::EcdsaP521Sha512,
            Self::Rsa(_) => SignatureAlgorithm::RsaPkcs1Sha256,
        }
    }

    /// Returns the bits of the public key as a certificate holds them: a point, or an
    /// RSAPublicKey.
    pub(crate) fn public_key_bits(&self) -> &[u8] {
        match self {
            Self::Ec(pair, _) => pair.public_key().as_ref(),
            Self::P521(key) => key.point(),
            Self::Rsa(pair) => pair.public_key().as_ref(),
        }
    }

    pub(crate) fn sign(&self, message: &[u8]) -> Result<Vec<u8>, ring::error::Unspecified> {
        let random = SystemRandom::new();
        match self {
            Self::Ec(pair, _) => pair.sign(&random, message).map(|signed| signed.as_ref().to_vec()),
            Self::P521(key) => key.sign(message),
            Self::Rsa(pair) => {
                let mut signed = vec![0; pair.public().modulus_len()];
                pair.sign(&signature::RSA_PKCS1_SHA256, &random, message, &mut signed)?;
                Ok(signed)
            }
        }
    }
}

impl fmt::Debug for PrivateKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "PrivateKey({})", self.algorithm())
    }
}

/// Says why bytes are not the private key that is wanted.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PrivateKeyError {
    /// It is a key, but not the one of the certificate.
    #[error("it is not the key of the certificate: their public keys differ")]
    OtherKey,
    /// It is a key whose numbers do not make a usable key.
    #[error("it is not a usable key: {reason}")]
    Rejected {
        /// What is wrong with it, in ring's word.
        reason: String,
    },
    /// It is none of the forms that are read.
    #[error("it is not a private key in PKCS#8, PKCS#1 or SEC 1")]
    Unreadable,
    /// The certificate's key is of a kind that osguard does not sign with.
    #[error(transparent)]
    Unusable(#[from] UnusableKey),
}

enum Kind {
    Ec,
    Rsa,
}

impl Kind {
    fn of_pkcs8(info: &PrivateKeyInfoRef<'_>) -> Result<Self, PrivateKeyError> {
        match info.algorithm.oid {
            RSA_ENCRYPTION => Ok(Self::Rsa),
            EC_PUBLIC_KEY => Ok(Self::Ec),
            other => {
                Err(UnusableKey { key: crate::certificate::describe_oid(other.as_bytes()) }.into())
            }
        }
    }

    /// Tells an RSAPrivateKey (version, modulus, …) from an ECPrivateKey (version, octets, …).
    fn guess(der: &[u8]) -> Result<Self, PrivateKeyError> {
        let second_tag = || -> Result<u8, Asn1Error> {
            let mut fields = Reader::new(der).required(SEQUENCE)?.reader();
            fields.required(INTEGER)?;
            Ok(fields.any()?.tag)
        };
        match second_tag() {
            Ok(INTEGER) => Ok(Self::Rsa),
            Ok(OCTET_STRING) => Ok(Self::Ec),
            _ => Err(PrivateKeyError::Unreadable),
        }
    }
}

/// Reads the private number of an ECPrivateKey, as many bytes as the curve's order has.
fn ec_scalar(key: &[u8], curve: Curve) -> Result<Zeroizing<Vec<u8>>, PrivateKeyError> {
    let octets = || -> Result<&[u8], Asn1Error> {
        let mut fields = Reader::new(key).required(SEQUENCE)?.reader();
        fields.required(INTEGER)?;
        Ok(fields.required(OCTET_STRING)?.contents)
    };
    let octets = octets().map_err(|_| PrivateKeyError::Unreadable)?;
    let width = match curve {
        Curve::P256 => 32,
        Curve::P521 => p521_key::SCALAR_BYTES,
        _ => 48,
    };
    if octets.len() > width {
        return Err(PrivateKeyError::OtherKey);
    }
    let mut scalar = Zeroizing::new(vec![0; width]);
    scalar[width - octets.len()..].copy_from_slice(octets);
    Ok(scalar)
}

fn ec_algorithm(algorithm: SignatureAlgorithm) -> &'static EcdsaSigningAlgorithm {
    match algorithm {
        SignatureAlgorithm::EcdsaP384Sha384 => &signature::ECDSA_P384_SHA384_ASN1_SIGNING,
        _ => &signature::ECDSA_P256_SHA256_ASN1_SIGNING,
    }
}
