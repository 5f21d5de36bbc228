//! Tags: names that a place gives to images.

use std::fmt;
use std::str::FromStr;

use libverity::digest::Digest;

/// Is the name under which a place lists an image.
///
/// In a registry it is 1 to 128 letters, digits, `_`, `.` and `-`. Layouts name images by
/// `org.opencontainers.image.ref.name`, where whole registry references are common too, so `/`,
/// `:`, `@` and `+` are taken here as well.
///
/// Source: OCI image specification, `annotations.md`, "Rules" and "Pre-Defined Annotation Keys".
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Tag(String);

impl Tag {
    /// Parses a tag as registries take them.
    ///
    /// Source: OCI distribution specification, "Pulling manifests".
    ///
    /// # Errors
    ///
    /// Returns an error if `text` is not 1 to 128 letters, digits, `_`, `.` and `-`, the first of
    /// them a letter, a digit or `_`.
    pub fn for_registry(text: &str) -> Result<Self, TagError> {
        let is_word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
        if text.len() <= MAX_REGISTRY_TAG_BYTES
            && text.bytes().next().is_some_and(is_word)
            && text.bytes().all(|byte| is_word(byte) || byte == b'.' || byte == b'-')
        {
            return Ok(Self(text.to_owned()));
        }
        Err(TagError { tag: text.to_owned() })
    }

    /// Returns the tag's text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns the tag under which registries without the referrers API, and the layouts copied
    /// from them, keep the index of all referrers of `subject`.
    ///
    /// Source: OCI distribution specification, "Referrers Tag Schema".
    pub fn of_referrers(subject: &Digest) -> Self {
        Self(format!("sha256-{}", subject.hex()))
    }
}

impl FromStr for Tag {
    type Err = TagError;

    fn from_str(text: &str) -> Result<Self, TagError> {
        let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"_-.:@+/".contains(&byte);
        if text.starts_with(|first: char| first.is_ascii_alphanumeric() || first == '_')
            && text.bytes().all(is_allowed)
            && text.len() <= MAX_TAG_BYTES
            && text.split('/').all(|component| !matches!(component, "" | "." | ".."))
        {
            return Ok(Self(text.to_owned()));
        }
        Err(TagError { tag: text.to_owned() })
    }
}

impl fmt::Display for Tag {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

/// Says that a text is no tag.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{tag:?} is not a tag: letters, digits and `_ . - : @ + /` are allowed, the first of them a \
     letter, digit or `_`, up to {MAX_TAG_BYTES} in all"
)]
pub struct TagError {
    /// The text as it was given.
    pub tag: String,
}

/// The longest host and repository together, which many registries and clients share as a limit
/// (OCI distribution specification, "Pulling manifests").
pub(crate) const MAX_NAME_BYTES: usize = 255;

/// The longest tag in a layout: a name of a registry and repository, a colon, a tag.
pub(crate) const MAX_TAG_BYTES: usize = MAX_NAME_BYTES + 1 + MAX_REGISTRY_TAG_BYTES;

const MAX_REGISTRY_TAG_BYTES: usize = 128;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layouts_take_more_tags_than_registries() {
        for text in ["v1", "_x", "1.0-rc.1", "latest"] {
            assert!(text.parse::<Tag>().is_ok() && Tag::for_registry(text).is_ok(), "{text}");
        }
        for text in ["r.example/app:v1", "a+b", "r.example/app@v1"] {
            assert!(text.parse::<Tag>().is_ok() && Tag::for_registry(text).is_err(), "{text}");
        }
        for text in ["", ".", "..", "-v1", "a/../b", "/a", "a/", "a b", "ä", "a\n"] {
            assert!(text.parse::<Tag>().is_err() && Tag::for_registry(text).is_err(), "{text}");
        }
        assert!(Tag::for_registry(&"a".repeat(128)).is_ok());
        assert!(Tag::for_registry(&"a".repeat(129)).is_err());
    }

    #[test]
    fn the_tag_of_referrers_is_the_digest_with_a_dash() {
        let digest = Digest::of(b"");
        let expected = digest.to_string().replace(':', "-");
        assert_eq!(Tag::of_referrers(&digest).as_str(), expected);
        assert!(expected.parse::<Tag>().is_ok());
    }
}
