//! Signing policies.

use libverity::pkcs7::{self, Embedding};
use libverity::signer::{SignError, Signer};

use crate::blob::{BlobError, SignedPolicy};
use crate::header::{Header, HeaderError};
use crate::kernel_version::KernelVersion;
use crate::syntax::{SyntaxErrors, parse};

/// Signs the text of a policy so that the kernel takes it.
///
/// The text has to have a header that osguard takes, and rules that the newest kernel takes. The
/// signature is verified by the kernel's
/// rules before it is returned, and the whole has at most 65,535 bytes, which is as much as the
/// kernel reads.
pub fn sign(
    text: &[u8],
    signer: &dyn Signer,
    embedding: Embedding<'_>,
) -> Result<SignedPolicy, SignPolicyError> {
    Header::parse(text)?;
    let [.., newest] = KernelVersion::ALL;
    parse(text, newest)?;
    let bytes = pkcs7::sign_policy(text, signer, embedding)?;
    Ok(SignedPolicy::read(bytes)?)
}

/// Says why a policy was not signed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SignPolicyError {
    /// The text has no header.
    #[error(transparent)]
    Header(#[from] HeaderError),
    /// The signed policy is not one.
    #[error(transparent)]
    Result(#[from] BlobError),
    /// The signer did not sign, or not in a way that the kernel takes.
    #[error(transparent)]
    Sign(#[from] SignError),
    /// The kernel would refuse the text.
    #[error(transparent)]
    Syntax(#[from] SyntaxErrors),
}
