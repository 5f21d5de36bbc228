//! Why something is no signature artifact, or why none can be made.

use libverity::digest::DigestError;

use super::Format;
use crate::manifest::ManifestError;
use crate::media_type::MediaType;

/// Says why signatures cannot be read, or why they cannot be written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ArtifactError {
    /// A signature in an annotation is not base64 text.
    #[error("the value of {key} is not base64 text")]
    Base64 {
        /// The key of the annotation.
        key: &'static str,
    },
    /// A blob holds no signature in any of the ways that are known.
    #[error("a blob is neither a signature in DER, nor base64 text or a JSON document of one")]
    Blob,
    /// An annotation that must be a digest is none.
    #[error("the annotation {key} is wrong: {source}")]
    Digest {
        /// The key of the annotation.
        key: &'static str,
        /// What is wrong with the digest.
        source: DigestError,
    },
    /// A document is not JSON, or a field is not what it must be; or it cannot be written.
    #[error("it is not valid: {source}")]
    Json {
        /// What the parser or writer said.
        source: serde_json::Error,
    },
    /// The manifest that was made is not acceptable as one.
    #[error("{source}")]
    Manifest {
        /// What is wrong with it.
        source: ManifestError,
    },
    /// A layer of the artifact is no signature.
    #[error("a signature has the media type {found}, not {expected}")]
    MediaType {
        /// The media type of signatures in this form.
        expected: MediaType,
        /// The media type of the layer.
        found: MediaType,
    },
    /// A signature does not say what it is about.
    #[error("a signature lacks the annotation {key}")]
    MissingAnnotation {
        /// The key of the annotation.
        key: &'static str,
    },
    /// The artifact is not attached to anything.
    #[error("it has no subject")]
    NoSubject,
    /// The manifest is of another kind.
    #[error(
        "its artifact type is {}, not {}",
        found.as_deref().unwrap_or("missing"),
        Format::ALL.map(Format::artifact_type).join(" or ")
    )]
    NotAnArtifact {
        /// The artifact type of the manifest.
        found: Option<String>,
    },
    /// There are no signatures, or too many.
    #[error("it has {found} signatures, and 1 to {limit} are allowed")]
    SignatureCount {
        /// How many are allowed.
        limit: usize,
        /// How many there are.
        found: usize,
    },
    /// A signature is longer than what the kernel takes.
    #[error("a signature has {found_bytes} bytes, and {limit_bytes} are the limit of the kernel")]
    SignatureTooLong {
        /// How many bytes are allowed.
        limit_bytes: u64,
        /// How many there are.
        found_bytes: u64,
    },
    /// A document, or a signature in some text, is longer than what is read.
    #[error("it has {found_bytes} bytes, and {limit_bytes} are the limit")]
    TooLong {
        /// How many bytes are allowed.
        limit_bytes: u64,
        /// How many there are.
        found_bytes: u64,
    },
    /// An annotation has a value that is not allowed.
    #[error("the annotation {key} is wrong: {value:?}")]
    WrongAnnotation {
        /// The key of the annotation.
        key: &'static str,
        /// Its value.
        value: String,
    },
}
