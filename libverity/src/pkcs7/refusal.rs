//! Why the kernel refuses a signature.

use crate::asn1::Asn1Error;
use crate::certificate::{CertificateError, NotLoadable, SignatureScheme};
use crate::errno::Errno;

/// Says why a signature is not accepted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// A signed attribute stands there without which the others mean nothing.
    #[error("its signed attributes lack contentType or messageDigest")]
    AttributeMissing,
    /// A signed attribute is of a kind that the kernel takes only in Authenticode.
    #[error(
        "it has the signed attribute {attribute}, which the kernel refuses; sign without \
         attributes (openssl: -noattr)"
    )]
    AttributeRefused {
        /// The attribute.
        attribute: &'static str,
    },
    /// A signed attribute is there twice.
    #[error("it has the signed attribute {attribute} more than once")]
    AttributeRepeated {
        /// The attribute.
        attribute: &'static str,
    },
    /// A signed attribute has a value that it cannot have.
    #[error("its signed attribute {attribute} is malformed, or not that of a data content")]
    AttributeValue {
        /// The attribute.
        attribute: &'static str,
    },
    /// Some signers have signed attributes and some have none.
    #[error("some of its signers have signed attributes and some have none")]
    AttributesInconsistent,
    /// A certificate in it cannot be read.
    #[error("its certificate number {number} is not one: {source}")]
    Certificate {
        /// Which certificate, counted from 1.
        number: usize,
        /// What is wrong with it.
        source: CertificateError,
    },
    /// A certificate in it is one that the kernel does not load.
    #[error("its certificate number {number} is not acceptable: {source}")]
    CertificateNotLoadable {
        /// Which certificate, counted from 1.
        number: usize,
        /// Why not.
        source: NotLoadable,
    },
    /// A certificate in it names another one in it as its issuer, which did not issue it.
    #[error("its certificate of {subject} was not issued by the certificate that it names")]
    ChainBroken {
        /// The subject of the certificate that should have been issued.
        subject: String,
        /// The error that the kernel gives.
        errno: Errno,
    },
    /// A signature of a root hash brings its own content.
    #[error("it holds the signed content itself; a signature of a root hash has to be detached")]
    ContentAttached,
    /// A policy is missing in its signature.
    #[error("it holds no content; a signed policy has to be attached (openssl: -nodetach)")]
    ContentMissing,
    /// The content is of another type than data.
    #[error("its content is of the type {found}; the kernel takes only data")]
    ContentType {
        /// Name and number of the type.
        found: String,
        /// Whether it is Authenticode, which the kernel refuses later.
        authenticode: bool,
    },
    /// The digest in the signed attributes is not that of the content.
    #[error("what was signed is something else: the digest in its signed attributes differs")]
    DigestMismatch,
    /// The digest algorithm is unknown to the kernel.
    #[error("the kernel does not know its digest algorithm {algorithm}")]
    DigestUnsupported {
        /// Name and number of the algorithm.
        algorithm: String,
    },
    /// It is no PKCS#7 message in DER.
    #[error("it is not a PKCS#7 message in DER: {source}")]
    Encoding {
        /// What is broken.
        #[from]
        source: Asn1Error,
    },
    /// A signer is named by issuer and serial number where the version asks for a key identifier, or
    /// the other way round.
    #[error("a signer is not named in the way that its version demands")]
    IdentifierKind,
    /// It is in BER, whose elements may have an indefinite length.
    #[error(
        "it is in BER, not in DER, and the kernel does not put the pieces of its content together \
         (openssl: without -stream)"
    )]
    IndefiniteLength {
        /// The error that the kernel gives.
        errno: Errno,
    },
    /// A trusted key has one of the names that are looked for, but not the other.
    #[error(
        "a trusted certificate has the issuer and serial number of {subject} or of its issuer, but \
         another subject key identifier"
    )]
    KeyIdentifierMismatch {
        /// The subject of the certificate that was looked for.
        subject: String,
    },
    /// There is no signature in it.
    #[error("it holds no signature at all")]
    NoSigner,
    /// It is some other PKCS#7 message.
    #[error("it is a PKCS#7 message of the type {found}, and not signed data")]
    NotSignedData {
        /// Name and number of the type.
        found: String,
    },
    /// A certificate in it is revoked by the firmware, or all that it would be trusted by.
    #[error("the firmware's dbx revokes the certificate of {signers}, or of an issuer")]
    Revoked {
        /// The names of the signers.
        signers: String,
    },
    /// The signature was not made over this content by this key.
    #[error("the signature of {signer} is not one over this content")]
    SignatureMismatch {
        /// The signer's name.
        signer: String,
        /// The error that the kernel gives: EKEYREJECTED where another content was signed, others
        /// where the signature itself is damaged.
        errno: Errno,
    },
    /// The signature's kind is unknown to the kernel.
    #[error(
        "the kernel does not take the signature algorithm {algorithm}; it takes rsaEncryption \
         (PKCS#1 v1.5) and ecdsa-with-SHA*"
    )]
    SignatureUnsupported {
        /// Name and number of the algorithm.
        algorithm: String,
    },
    /// The signature is of another kind than the key of the certificate that it names.
    #[error("it says {scheme}, but the key of {signer} is of another kind")]
    SignerKeyKind {
        /// What the signature says.
        scheme: SignatureScheme,
        /// The signer's name.
        signer: String,
    },
    /// The signing time in the signed attributes lies outside the certificate's validity.
    #[error("its signing time lies outside the validity of the certificate of {signer}")]
    SigningTime {
        /// The signer's name.
        signer: String,
    },
    /// It has more bytes than the kernel takes.
    #[error("it has {bytes} bytes, and the kernel takes at most {limit}")]
    TooLarge {
        /// The size.
        bytes: usize,
        /// The most that the kernel takes.
        limit: usize,
    },
    /// No trusted certificate has anything to do with its signers.
    #[error(
        "no trusted certificate is that of a signer or of its issuer; it is signed by {signers}"
    )]
    UnknownSigner {
        /// The names of the signers.
        signers: String,
    },
    /// Whether it is accepted depends on how the kernel was built.
    #[error("it is not checked here, and only some kernels accept it: {algorithm}")]
    UnsupportedHere {
        /// The algorithm that only some kernels have.
        algorithm: String,
    },
    /// The versions of the message and of a signer do not go together.
    #[error(
        "the message has the version {message} and a signer the version {signer}; both have to be \
         1, or both 3"
    )]
    VersionMismatch {
        /// The version of the SignedData.
        message: u8,
        /// The version of the SignerInfo.
        signer: u8,
    },
    /// A version is neither 1 nor 3.
    #[error("the version of its {part} is neither 1 nor 3")]
    VersionUnsupported {
        /// `SignedData` or `SignerInfo`.
        part: &'static str,
    },
}

impl Refusal {
    /// Returns the error that the kernel gives for such a signature, or `None` where the kernel
    /// might accept it.
    pub fn errno(&self) -> Option<Errno> {
        Some(match self {
            Self::UnsupportedHere { .. } => return None,
            Self::Certificate { source, .. } => source.errno(),
            Self::CertificateNotLoadable { source, .. } => source.errno(),
            Self::ChainBroken { errno, .. }
            | Self::IndefiniteLength { errno }
            | Self::SignatureMismatch { errno, .. } => *errno,
            Self::AttributeMissing
            | Self::AttributeValue { .. }
            | Self::ContentAttached
            | Self::Encoding { .. }
            | Self::VersionMismatch { .. } => Errno::EBADMSG,
            Self::AttributesInconsistent
            | Self::IdentifierKind
            | Self::NoSigner
            | Self::NotSignedData { .. }
            | Self::VersionUnsupported { .. } => Errno::EINVAL,
            Self::ContentType { authenticode: false, .. } => Errno::EINVAL,
            Self::ContentType { authenticode: true, .. }
            | Self::AttributeRefused { .. }
            | Self::AttributeRepeated { .. }
            | Self::ContentMissing
            | Self::DigestMismatch
            | Self::KeyIdentifierMismatch { .. }
            | Self::Revoked { .. }
            | Self::SignerKeyKind { .. }
            | Self::SigningTime { .. } => Errno::EKEYREJECTED,
            Self::DigestUnsupported { .. } | Self::SignatureUnsupported { .. } => Errno::ENOPKG,
            Self::TooLarge { .. } => Errno::EMSGSIZE,
            Self::UnknownSigner { .. } => Errno::ENOKEY,
        })
    }
}
