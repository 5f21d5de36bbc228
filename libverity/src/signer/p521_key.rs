//! Private keys on P-521, which ring does not have.

use p521::ecdsa::signature::hazmat::PrehashSigner as _;
use p521::ecdsa::{Signature, SigningKey};
use p521::pkcs8::EncodePrivateKey as _;
use pkcs8::SecretDocument;
use ring::rand::{SecureRandom, SystemRandom};
use zeroize::Zeroizing;

use super::SignatureAlgorithm;

/// Is a private key on P-521, wiped from memory when it is dropped.
///
/// Nonces are derived from key and message (RFC 6979), and the arithmetic takes the same time
/// whatever the key is.
pub(crate) struct P521Key {
    key: SigningKey,
    /// The public point, uncompressed.
    point: Vec<u8>,
}

impl P521Key {
    /// Takes the private number, [`SCALAR_BYTES`] long; `None` if it is out of range.
    pub(super) fn from_scalar(scalar: &[u8]) -> Option<Self> {
        let key = SigningKey::from_slice(scalar).ok()?;
        let point = key.verifying_key().to_sec1_point(false).as_bytes().to_vec();
        Some(Self { key, point })
    }

    /// Makes a new key, and writes it as PKCS#8. `None` if the system has no random numbers.
    pub(crate) fn generate() -> Option<(SecretDocument, Self)> {
        let random = SystemRandom::new();
        let mut scalar = Zeroizing::new([0; SCALAR_BYTES]);
        loop {
            random.fill(&mut *scalar).ok()?;
            // The order has 521 bits; what lies above it is drawn again, so that all are as likely.
            scalar[0] &= 1;
            if let Some(key) = Self::from_scalar(&*scalar) {
                let secret = p521::SecretKey::from_slice(&*scalar).ok()?;
                return Some((secret.to_pkcs8_der().ok()?, key));
            }
        }
    }

    pub(super) fn point(&self) -> &[u8] {
        &self.point
    }

    /// Signs as [`SignatureAlgorithm::EcdsaP521Sha512`] does, in DER.
    pub(super) fn sign(&self, message: &[u8]) -> Result<Vec<u8>, ring::error::Unspecified> {
        let digest = SignatureAlgorithm::EcdsaP521Sha512.digest(message);
        let signature: Signature =
            self.key.sign_prehash(&digest).map_err(|_| ring::error::Unspecified)?;
        Ok(signature.to_der().as_bytes().to_vec())
    }
}

/// 521 bits.
pub(super) const SCALAR_BYTES: usize = 66;
