//! What can go wrong with an image in a place.

use std::io;

use libverity::digest::Digest;

use crate::artifact::ArtifactError;
use crate::config::ConfigError;
use crate::distribution::RegistryError;
use crate::manifest::ManifestError;
use crate::media_type::MediaType;
use crate::tag::Tag;

/// Says what went wrong, with the object, what was expected and what was found.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A tag or a place stands for several images.
    #[error("{place} holds several images where one is meant; choose one: {}", choices.join(", "))]
    Ambiguous {
        /// The place.
        place: String,
        /// What would name one of them: tags, or digests of those without.
        choices: Vec<String>,
    },
    /// Annotations in the manifest of an image that should be a signature are none.
    #[error("{object} has annotations that are not the signature they should be: {source}")]
    Annotations {
        /// The layer with its manifest.
        object: String,
        /// What is wrong with them.
        source: ArtifactError,
    },
    /// A signature artifact cannot be used.
    #[error("{object} is not a signature artifact that can be used: {source}")]
    Artifact {
        /// The artifact's manifest.
        object: String,
        /// What is wrong with it.
        source: ArtifactError,
    },
    /// An image configuration cannot be used.
    #[error("{object} is not an image configuration: {source}")]
    Config {
        /// The configuration.
        object: String,
        /// What is wrong with it.
        source: ConfigError,
    },
    /// The configuration and the manifest of an image disagree about the number of layers.
    #[error("{object} has {layers} layers, and its configuration names {diff_ids} diffIDs")]
    DiffIdCount {
        /// The image.
        object: String,
        /// The number of layers in the manifest.
        layers: usize,
        /// The number of diffIDs in the configuration.
        diff_ids: usize,
    },
    /// Content does not have the digest by which it is named.
    #[error(
        "{object} has the digest {found} and should have {expected}: it was changed or damaged"
    )]
    DigestDiffers {
        /// The content.
        object: String,
        /// The digest by which it is named.
        expected: Digest,
        /// The digest that it has.
        found: Digest,
    },
    /// An index was found where the manifest of a single image is needed.
    #[error("{object} is an index of several images; choose a platform: {}", platforms.join(", "))]
    IndexNotManifest {
        /// The index.
        object: String,
        /// The platforms that it lists.
        platforms: Vec<String>,
    },
    /// The operating system refused something.
    #[error("cannot {action} {object}: {source}")]
    Io {
        /// What was tried, as a verb.
        action: &'static str,
        /// What it was tried on.
        object: String,
        /// What the operating system said.
        source: io::Error,
    },
    /// A manifest cannot be used.
    #[error("{object} is not a manifest that can be used: {source}")]
    Manifest {
        /// The manifest.
        object: String,
        /// What is wrong with it.
        source: ManifestError,
    },
    /// Indexes are nested too deeply.
    #[error("{object} nests indexes more than {limit} deep")]
    Nesting {
        /// The index.
        object: String,
        /// How deep indexes may be nested.
        limit: usize,
    },
    /// A blob or manifest is not in the place.
    #[error("{object} is missing in {place}")]
    NoSuchBlob {
        /// The place.
        place: String,
        /// The blob.
        object: String,
    },
    /// There is nothing at all at the place.
    #[error("{place} does not exist")]
    NoSuchPlace {
        /// The place.
        place: String,
    },
    /// An index has no image for the wanted platform.
    #[error("{object} has no image for {wanted}; it has: {}", platforms.join(", "))]
    NoSuchPlatform {
        /// The index or image.
        object: String,
        /// The platform that was asked for.
        wanted: String,
        /// The platforms that there are.
        platforms: Vec<String>,
    },
    /// There is no image with that tag.
    #[error("{place} has no image with the tag {tag}{}", known_tags(known))]
    NoSuchTag {
        /// The place.
        place: String,
        /// The tag that was asked for.
        tag: Tag,
        /// Some of the tags that there are.
        known: Vec<String>,
    },
    /// A directory or file is not what an image can be read from or written to.
    #[error("{place} is not an OCI layout: {reason}")]
    NotALayout {
        /// The place.
        place: String,
        /// What it lacks.
        reason: String,
    },
    /// A place has no images yet.
    #[error("{place} holds no image")]
    NoImage {
        /// The place.
        place: String,
    },
    /// A registry did not do what it was asked for.
    #[error(transparent)]
    Registry(Box<RegistryError>),
    /// Content does not have the announced length.
    #[error("{object} has {}", size(*found_bytes, *expected_bytes))]
    SizeDiffers {
        /// The content.
        object: String,
        /// How many bytes were announced.
        expected_bytes: u64,
        /// How many came, or one more than announced if it did not end there.
        found_bytes: u64,
    },
    /// Content is longer than what is taken from outside.
    #[error("{object} has {found_bytes} bytes, and {limit_bytes} are the limit")]
    TooLong {
        /// The content.
        object: String,
        /// How many bytes are allowed.
        limit_bytes: u64,
        /// How many were announced or found.
        found_bytes: u64,
    },
    /// An index holds more images than are taken at once.
    #[error("{object} holds more than {limit} images; choose a platform")]
    TooManyImages {
        /// The index.
        object: String,
        /// How many images are allowed.
        limit: usize,
    },
    /// Content is of a kind that cannot be handled here.
    #[error("{object} has the media type {found}, and {expected} is needed")]
    UnsupportedMediaType {
        /// The content.
        object: String,
        /// The kind that is needed, in words.
        expected: &'static str,
        /// The media type that it has.
        found: MediaType,
    },
}

impl Error {
    /// Takes the typed error out of one that passed through [`std::io::Read`]; any other one is
    /// said to have happened while reading `object`.
    pub fn from_read(object: &str, error: io::Error) -> Self {
        match error.downcast::<Self>() {
            Ok(error) => error,
            Err(source) => Self::Io { action: "read", object: object.to_owned(), source },
        }
    }

    /// Returns what kind of situation this is.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Ambiguous { .. } | Self::IndexNotManifest { .. } => ErrorKind::Usage,
            Self::Registry(error) => error.kind(),
            Self::NoImage { .. }
            | Self::NoSuchPlace { .. }
            | Self::NoSuchPlatform { .. }
            | Self::NoSuchTag { .. } => ErrorKind::NotFound,
            Self::Io { .. } => ErrorKind::Io,
            Self::Annotations { .. }
            | Self::Artifact { .. }
            | Self::Config { .. }
            | Self::DiffIdCount { .. }
            | Self::DigestDiffers { .. }
            | Self::Manifest { .. }
            | Self::Nesting { .. }
            | Self::NoSuchBlob { .. }
            | Self::NotALayout { .. }
            | Self::SizeDiffers { .. }
            | Self::TooLong { .. }
            | Self::TooManyImages { .. }
            | Self::UnsupportedMediaType { .. } => ErrorKind::Content,
        }
    }
}

impl From<Error> for io::Error {
    fn from(error: Error) -> Self {
        Self::new(io::ErrorKind::InvalidData, error)
    }
}

/// Sorts errors by who can do something about them; exit codes follow from it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ErrorKind {
    /// What is in the place is damaged, hostile or of a kind that is not supported.
    Content,
    /// The operating system refused a file.
    Io,
    /// There is no such image, tag, platform or place.
    NotFound,
    /// A registry could not be reached, refused, or answered nonsense.
    Registry,
    /// The request was not clear, or asks for what cannot be done.
    Usage,
}

fn size(found_bytes: u64, expected_bytes: u64) -> String {
    // What is too long is not read to its end.
    if found_bytes > expected_bytes {
        return format!("more than the {expected_bytes} bytes that were announced");
    }
    format!("{found_bytes} bytes, and {expected_bytes} were announced")
}

fn known_tags(known: &[String]) -> String {
    if known.is_empty() { String::new() } else { format!("; it has: {}", known.join(", ")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn typed_errors_survive_the_way_through_a_reader() {
        let error = Error::NoImage { place: "oci:x".to_owned() };
        let error = Error::from_read("blob", io::Error::from(error));
        assert!(matches!(error, Error::NoImage { .. }), "{error}");
        let error = Error::from_read("blob", io::Error::other("cable cut"));
        assert_eq!(error.to_string(), "cannot read blob: cable cut");
    }
}
