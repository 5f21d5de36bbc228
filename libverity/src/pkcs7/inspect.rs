//! What a message says of itself, before anybody is trusted.

use super::Refusal;
use super::message::Message;
use super::verify::SignerIdentifier;
use crate::certificate::Certificate;

/// Reads a message as the kernel does, and verifies nothing.
///
/// # Errors
///
/// Returns what makes the kernel unable to read it, whoever is trusted.
pub fn inspect(message: &[u8]) -> Result<Inspection<'_>, Refusal> {
    let message = Message::parse(message, &[])?;
    Ok(Inspection {
        content: message.content,
        signers: message.signers.iter().map(|signer| signer.identifier.name()).collect(),
        certificates: message.certificates,
    })
}

/// Is what a message says of itself.
#[derive(Clone, Debug)]
pub struct Inspection<'a> {
    /// What was signed, if it is in the message: a policy is, a root hash is not.
    pub content: Option<&'a [u8]>,
    /// The certificates in the message.
    pub certificates: Vec<Certificate>,
    /// How the signatures name their signers, one for each signature.
    pub signers: Vec<SignerIdentifier>,
}
