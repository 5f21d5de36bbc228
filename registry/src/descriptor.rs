//! Descriptors: digest, size and media type of some content.

use std::collections::BTreeMap;

use libverity::digest::Digest;
use serde::{Deserialize, Serialize};

use crate::media_type::MediaType;
use crate::platform::Platform;

/// Points to content by its digest.
///
/// Fields that are not known here are kept and written back, since an `index.json` is shared with
/// other tools.
///
/// Source: OCI image specification, `descriptor.md`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Descriptor {
    /// The format of the content.
    pub media_type: MediaType,
    /// The SHA-256 of the content.
    pub digest: Digest,
    /// The length of the content, in bytes.
    pub size: u64,
    /// The kind of artifact, if the content is a manifest of one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub artifact_type: Option<String>,
    /// What the platform is that the content runs on, in an index.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub platform: Option<Platform>,
    /// Free facts about the content, by key.
    #[serde(
        default,
        skip_serializing_if = "BTreeMap::is_empty",
        deserialize_with = "null_is_empty"
    )]
    pub annotations: BTreeMap<String, String>,
    /// All other fields, as they were read.
    #[serde(flatten)]
    pub other: BTreeMap<String, serde_json::Value>,
}

impl Descriptor {
    /// Describes content by its three necessary facts; `size` is in bytes.
    pub fn new(media_type: MediaType, digest: Digest, size: u64) -> Self {
        Self {
            media_type,
            digest,
            size,
            artifact_type: None,
            platform: None,
            annotations: BTreeMap::new(),
            other: BTreeMap::new(),
        }
    }

    /// Describes `content`, hashing it.
    pub fn of(media_type: MediaType, content: &[u8]) -> Self {
        Self::new(media_type, Digest::of(content), content.len() as u64)
    }

    /// Returns the annotation with that key.
    pub fn annotation(&self, key: &str) -> Option<&str> {
        self.annotations.get(key).map(String::as_str)
    }

    /// Returns the same pointer without what the place that listed it adds: media type, digest and
    /// size alone.
    pub fn plain(&self) -> Self {
        Self::new(self.media_type.clone(), self.digest, self.size)
    }
}

/// Takes `null` for no annotations: Go programs write it for an empty map.
pub(crate) fn null_is_empty<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: serde::Deserializer<'de>,
    T: Deserialize<'de> + Default,
{
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn foreign_fields_survive_reading_and_writing() {
        let text = format!(
            r#"{{"mediaType":"a/b","digest":"{}","size":3,"annotations":{{"k":"v"}},"data":"YWJj","urls":["https://r.example/x"]}}"#,
            Digest::of(b"abc")
        );
        let descriptor: Descriptor = serde_json::from_str(&text).unwrap();
        assert_eq!(descriptor.annotation("k"), Some("v"));
        assert_eq!(serde_json::to_string(&descriptor).unwrap(), text);
    }

    #[test]
    fn descriptors_with_impossible_facts_are_refused() {
        let digest = Digest::of(b"abc");
        for text in [
            format!(r#"{{"mediaType":"a/b","digest":"{digest}","size":-1}}"#),
            format!(r#"{{"mediaType":"a/b","digest":"{digest}","size":1.5}}"#),
            format!(r#"{{"mediaType":"a/b","digest":"{digest}"}}"#),
            format!(r#"{{"mediaType":"a/b","digest":"{digest}","size":1,"size":2}}"#),
            r#"{"mediaType":"a/b","digest":"sha256:../../etc/passwd","size":1}"#.to_owned(),
        ] {
            assert!(serde_json::from_str::<Descriptor>(&text).is_err(), "{text}");
        }
    }
}
