//! Signed policies as they lie in files and in the kernel.

use libverity::certificate::Certificate;
use libverity::digest::Digest;
use libverity::pkcs7::{self, Accepted, Refusal};

use crate::header::{Header, HeaderError};

/// Is a signed policy: a PKCS#7 message that holds the text of one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignedPolicy {
    header: Header,
    bytes: Vec<u8>,
}

impl SignedPolicy {
    /// Reads name and version out of a signed policy; whether its signature is any good is not
    /// looked at.
    pub fn read(bytes: impl Into<Vec<u8>>) -> Result<Self, BlobError> {
        let bytes = bytes.into();
        let header = Header::parse(pkcs7::policy_text(&bytes)?)?;
        Ok(Self { header, bytes })
    }

    /// Returns the name and the version in the signed text.
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// Returns what is written into the kernel, in one piece.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Returns the signed text.
    pub fn text(&self) -> &[u8] {
        pkcs7::policy_text(&self.bytes).unwrap_or_default()
    }

    /// Returns the digest of the whole, by which the kernel's audit records name a policy.
    ///
    /// Source: `security/ipe/audit.c`, `audit_policy`.
    pub fn digest(&self) -> Digest {
        Digest::of(&self.bytes)
    }

    /// Checks the signature by the kernel's rules against the trusted certificates.
    pub fn verify(&self, anchors: &[Certificate]) -> Result<Accepted, Refusal> {
        pkcs7::verify_policy(&self.bytes, anchors).map(|(accepted, _)| accepted)
    }
}

/// Says why bytes are not a signed policy.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BlobError {
    /// What was signed has no header of a policy.
    #[error("what is signed is no policy: {0}")]
    Header(#[from] HeaderError),
    /// The message cannot be read.
    #[error("it is not a signed policy: {0}")]
    Message(#[from] Refusal),
}
