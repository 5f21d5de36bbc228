//! Signatures that were made elsewhere, by whatever has the key.

use std::collections::HashMap;

use base64ct::{Base64, Encoding as _};
use libverity::certificate::Certificate;
use libverity::signer::{NotASignature, SignError, SignatureAlgorithm, Signer, UnusableKey};

/// Hands out signatures that are there already, each for its own message.
///
/// Nothing is verified here: what is made of the signatures is, as with every other signer.
#[derive(Debug)]
pub struct GivenSignatures {
    certificate: Certificate,
    intermediates: Vec<Certificate>,
    algorithm: SignatureAlgorithm,
    signatures: HashMap<Vec<u8>, Vec<u8>>,
}

impl GivenSignatures {
    /// Begins with no signature. Of `others`, those that lead from the certificate to a trusted one
    /// are intermediates.
    pub fn new(certificate: Certificate, others: &[Certificate]) -> Result<Self, UnusableKey> {
        let algorithm = SignatureAlgorithm::for_key(certificate.public_key())?;
        let intermediates = certificate.intermediates_among(others);
        Ok(Self { certificate, intermediates, algorithm, signatures: HashMap::new() })
    }

    /// Adds the signature of a message: for RSA PKCS#1 v1.5, for ECDSA in DER or both numbers one
    /// after the other.
    pub fn insert(&mut self, message: Vec<u8>, signature: &[u8]) -> Result<(), NotASignature> {
        let signature = self.algorithm.normalize(signature)?;
        self.signatures.insert(message, signature);
        Ok(())
    }
}

impl Signer for GivenSignatures {
    fn certificate(&self) -> &Certificate {
        &self.certificate
    }

    fn algorithm(&self) -> SignatureAlgorithm {
        self.algorithm
    }

    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, SignError> {
        self.signatures.get(message).cloned().ok_or_else(|| SignError::Signer {
            signer: "whoever signed by hand".to_owned(),
            reason: match std::str::from_utf8(message) {
                Ok(text) if text.len() <= MAX_QUOTED_BYTES => {
                    format!("there is no signature of {text}")
                }
                _ => "there is no signature of this message".to_owned(),
            },
        })
    }

    fn intermediates(&self) -> &[Certificate] {
        &self.intermediates
    }
}

/// Decodes a signature in base64, `None` if it is none.
pub fn decode_base64(text: &str) -> Option<Vec<u8>> {
    Base64::decode_vec(text).ok().filter(|bytes| !bytes.is_empty())
}

/// As long as a root hash with SHA-512.
const MAX_QUOTED_BYTES: usize = 128;
