//! Who signs: a key with its certificate, wherever the key lies.

mod ecdsa_value;
mod file;
mod p521_key;
mod private_key;

use std::fmt;

pub use ecdsa_value::NotASignature;
pub use file::{FileSigner, MAX_KEY_FILE_BYTES, OpenError, Passphrase};
pub(crate) use p521_key::P521Key;
pub(crate) use private_key::PrivateKey;
pub use private_key::PrivateKeyError;

use crate::certificate::{
    Certificate, Curve, EC_PUBLIC_KEY, ECDSA_WITH_SHA256, ECDSA_WITH_SHA384, ECDSA_WITH_SHA512,
    HashAlgorithm, PublicKey, RSA_ENCRYPTION, SHA256_WITH_RSA, bit_length, digest_info_prefix,
};
use der::oid::ObjectIdentifier;

/// Signs messages with one key.
///
/// The key may lie in a file, in a token or behind another program; the certificate says who
/// signed. A server signs from several threads with one signer; one that cannot do two things at a
/// time has to wait inside.
pub trait Signer: Send + Sync {
    /// Returns the certificate of the key.
    fn certificate(&self) -> &Certificate;

    /// Returns the algorithm of the signatures that [`Self::sign`] makes.
    fn algorithm(&self) -> SignatureAlgorithm;

    /// Signs `message`, not its digest.
    ///
    /// RSA signatures are as long as the modulus; ECDSA signatures are a DER `ECDSA-Sig-Value`.
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, SignError>;

    /// Returns the certificates between the signer's and a trusted one; none by default.
    fn intermediates(&self) -> &[Certificate] {
        &[]
    }
}

/// Is an algorithm that osguard signs with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum SignatureAlgorithm {
    /// ECDSA over P-256 with SHA-256.
    EcdsaP256Sha256,
    /// ECDSA over P-384 with SHA-384.
    EcdsaP384Sha384,
    /// ECDSA over P-521 with SHA-512.
    EcdsaP521Sha512,
    /// RSA PKCS#1 v1.5 with SHA-256.
    RsaPkcs1Sha256,
}

impl SignatureAlgorithm {
    /// Chooses the algorithm for the key in a certificate.
    pub fn for_key(key: &PublicKey) -> Result<Self, UnusableKey> {
        match key {
            PublicKey::Ec { curve: Curve::P256, .. } => Ok(Self::EcdsaP256Sha256),
            PublicKey::Ec { curve: Curve::P384, .. } => Ok(Self::EcdsaP384Sha384),
            PublicKey::Ec { curve: Curve::P521, .. } => Ok(Self::EcdsaP521Sha512),
            PublicKey::Rsa { modulus, .. } if RSA_BITS.contains(&bit_length(modulus)) => {
                Ok(Self::RsaPkcs1Sha256)
            }
            _ => Err(UnusableKey { key: key.to_string() }),
        }
    }

    /// Returns the digest that is signed.
    pub fn hash(self) -> HashAlgorithm {
        match self {
            Self::EcdsaP256Sha256 | Self::RsaPkcs1Sha256 => HashAlgorithm::Sha256,
            Self::EcdsaP384Sha384 => HashAlgorithm::Sha384,
            Self::EcdsaP521Sha512 => HashAlgorithm::Sha512,
        }
    }

    /// Returns a signature of this algorithm in the form that [`Signer::sign`] promises.
    ///
    /// Tokens, plugins and most services write ECDSA signatures as both numbers one after the other
    /// (r‖s, each as long as the curve's order); `openssl` writes them in DER. Both are taken.
    ///
    /// # Errors
    ///
    /// Fails for bytes that can be neither.
    pub fn normalize(self, signature: &[u8]) -> Result<Vec<u8>, NotASignature> {
        ecdsa_value::normalize(self, signature)
    }

    /// Hashes `message` and writes what RSA PKCS#1 v1.5 pads: a DER `DigestInfo`.
    ///
    /// Source: RFC 8017, section 9.2.
    pub fn digest_info(self, message: &[u8]) -> Vec<u8> {
        let digest = self.digest(message);
        [digest_info_prefix(self.hash(), digest.len()), digest].concat()
    }

    /// Hashes `message` with the algorithm's digest.
    pub fn digest(self, message: &[u8]) -> Vec<u8> {
        self.hash().digest(message).unwrap_or_else(|| unreachable!("SHA-2 is always there"))
    }

    /// Returns the length of one number of an ECDSA signature in bytes, `None` for RSA.
    fn order_bytes(self) -> Option<usize> {
        match self {
            Self::EcdsaP256Sha256 => Some(32),
            Self::EcdsaP384Sha384 => Some(48),
            Self::EcdsaP521Sha512 => Some(66),
            Self::RsaPkcs1Sha256 => None,
        }
    }

    /// Returns what a SignerInfo names: for RSA the kind of key alone, for the kernel takes nothing
    /// else.
    pub(crate) fn signer_oid(self) -> ObjectIdentifier {
        match self {
            Self::EcdsaP256Sha256 => ECDSA_WITH_SHA256,
            Self::EcdsaP384Sha384 => ECDSA_WITH_SHA384,
            Self::EcdsaP521Sha512 => ECDSA_WITH_SHA512,
            Self::RsaPkcs1Sha256 => RSA_ENCRYPTION,
        }
    }

    /// Returns what a certificate names: key and digest in one.
    pub(crate) fn certificate_oid(self) -> ObjectIdentifier {
        match self {
            Self::RsaPkcs1Sha256 => SHA256_WITH_RSA,
            ecdsa => ecdsa.signer_oid(),
        }
    }

    /// Returns the algorithm of the key itself.
    pub(crate) fn key_oid(self) -> ObjectIdentifier {
        match self {
            Self::RsaPkcs1Sha256 => RSA_ENCRYPTION,
            Self::EcdsaP256Sha256 | Self::EcdsaP384Sha384 | Self::EcdsaP521Sha512 => EC_PUBLIC_KEY,
        }
    }

    /// Tells whether the identifier is followed by a NULL, as RSA's are.
    pub(crate) fn has_null_parameters(self) -> bool {
        self == Self::RsaPkcs1Sha256
    }
}

impl fmt::Display for SignatureAlgorithm {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::EcdsaP256Sha256 => "ECDSA P-256 with SHA-256",
            Self::EcdsaP384Sha384 => "ECDSA P-384 with SHA-384",
            Self::EcdsaP521Sha512 => "ECDSA P-521 with SHA-512",
            Self::RsaPkcs1Sha256 => "RSA PKCS#1 v1.5 with SHA-256",
        })
    }
}

/// Says that osguard cannot sign with a kind of key.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a key {key} cannot sign here: RSA with 2048 to 4096 bits, P-256, P-384 and P-521 can")]
pub struct UnusableKey {
    /// The kind of the key.
    pub key: String,
}

/// Says why nothing was signed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SignError {
    /// The parts of the message do not fit together.
    #[error(transparent)]
    Assemble(#[from] crate::pkcs7::AssembleError),
    /// The signature was made, but the kernel would not accept it.
    #[error("the signature that was just made would be refused by the kernel: {0}")]
    NotAcceptable(#[source] crate::pkcs7::Refusal),
    /// The signer could not sign.
    #[error("{signer} did not sign: {reason}")]
    Signer {
        /// What signs: a file, a token, a program.
        signer: String,
        /// What it said.
        reason: String,
    },
    /// What would be signed does not fit into what the kernel reads.
    #[error("the signed message has {bytes} bytes, and the kernel reads at most {limit}")]
    TooLarge {
        /// The size of the message.
        bytes: usize,
        /// The most that the kernel reads.
        limit: usize,
    },
}

/// The RSA moduli that ring signs with, in bits.
const RSA_BITS: std::ops::RangeInclusive<usize> = 2048..=4096;
