//! What speaks against a signature.

use libverity::certificate::Validity;
use libverity::pkcs7::Refusal;

/// Says what speaks against a signature.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Finding {
    /// Another root hash was signed than the layer has.
    #[error("the layer has another root hash by every profile")]
    ContentDiffers,
    /// A certificate is not valid now.
    #[error("the certificate of {subject} is {validity} (the kernel does not ask)")]
    Invalid {
        /// The subject of the certificate.
        subject: String,
        /// When it was or will be valid.
        validity: Validity,
    },
    /// The kernel would refuse it, or trusts nobody who signed it.
    #[error("{0}")]
    Refused(Refusal),
    /// A certificate is in the `dbx` that the configuration names.
    #[error("the firmware's dbx revokes the certificate of {subject} (not every kernel heeds it)")]
    RevokedByFirmware {
        /// The subject of the certificate.
        subject: String,
    },
    /// A certificate is revoked, or its key.
    #[error("the {what} of {subject} is revoked{} (the kernel does not ask)", because(reason))]
    RevokedSigner {
        /// `certificate` or `key`.
        what: &'static str,
        /// The subject of the certificate.
        subject: String,
        /// Why.
        reason: Option<String>,
    },
    /// The content is revoked.
    #[error(
        "this root hash is revoked{} (the kernel does not ask, IPE's policy may)",
        because(reason)
    )]
    RevokedRootHash {
        /// Why.
        reason: Option<String>,
    },
    /// The signer leads to a trusted certificate, but is not one of those that are meant.
    #[error("{subject} is not among the subjects that are trusted in {stores}")]
    SubjectNotTrusted {
        /// The subject of the signer's certificate.
        subject: String,
        /// The names of the stores that it leads to.
        stores: String,
    },
    /// The signature is good, but nobody trusts the signer, and the scope lets that pass.
    #[error("{subject} is not trusted, which is only reported here")]
    Untrusted {
        /// The subject of the signer's certificate.
        subject: String,
    },
}

fn because(reason: &Option<String>) -> String {
    reason.as_ref().map_or_else(String::new, |reason| format!(": {reason}"))
}
