//! Signs root hashes and policies, and lets nothing out that the kernel would refuse.

use super::build::{Content, Embedding, assemble};
use super::verify::{MAX_MESSAGE_BYTES, verify_policy, verify_root_hash};
use crate::digest::RootHash;
use crate::signer::{SignError, Signer};

/// Signs a root hash: a detached PKCS#7 message over its lower-case hexadecimal digits.
///
/// The result has been verified with the kernel's rules, the signer's certificate being trusted.
pub fn sign_root_hash(
    root_hash: &RootHash,
    signer: &dyn Signer,
    embedding: Embedding<'_>,
) -> Result<Vec<u8>, SignError> {
    let text = root_hash.signed_text();
    let message = sign(Content::Detached, text.as_bytes(), signer, embedding)?;
    verify_root_hash(root_hash, &message, std::slice::from_ref(signer.certificate()))
        .map_err(SignError::NotAcceptable)?;
    Ok(message)
}

/// Signs the text of a policy: a PKCS#7 message that holds it.
///
/// The result has been verified with the kernel's rules, the signer's certificate being trusted;
/// whether the text is a policy has not been looked at.
pub fn sign_policy(
    text: &[u8],
    signer: &dyn Signer,
    embedding: Embedding<'_>,
) -> Result<Vec<u8>, SignError> {
    if text.len() > MAX_MESSAGE_BYTES {
        return Err(SignError::TooLarge { bytes: text.len(), limit: MAX_MESSAGE_BYTES });
    }
    let message = sign(Content::Attached(text), text, signer, embedding)?;
    if message.len() > MAX_MESSAGE_BYTES {
        return Err(SignError::TooLarge { bytes: message.len(), limit: MAX_MESSAGE_BYTES });
    }
    verify_policy(&message, std::slice::from_ref(signer.certificate()))
        .map_err(SignError::NotAcceptable)?;
    Ok(message)
}

fn sign(
    content: Content<'_>,
    bytes: &[u8],
    signer: &dyn Signer,
    embedding: Embedding<'_>,
) -> Result<Vec<u8>, SignError> {
    let embedding = match embedding {
        Embedding::Certificate => Embedding::Chain(signer.intermediates()),
        other => other,
    };
    let signature = signer.sign(bytes)?;
    assemble(content, signer.certificate(), signer.algorithm(), &signature, embedding)
        .map_err(SignError::from)
}
