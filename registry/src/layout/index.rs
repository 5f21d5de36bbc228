//! `index.json`: which images a layout holds, shared with all other tools that write there.

use std::collections::BTreeSet;

use libverity::digest::Digest;
use serde::{Deserialize, Serialize};

use crate::descriptor::Descriptor;
use crate::manifest::{MAX_MANIFEST_BYTES, ManifestError, SCHEMA_VERSION};
use crate::media_type::MediaType;
use crate::tag::Tag;

/// Is the list of a layout's images.
///
/// Fields that are not known here are kept.
///
/// Source: OCI image specification, `image-layout.md`, "index.json file".
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct LayoutIndex {
    schema_version: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    media_type: Option<MediaType>,
    #[serde(default, deserialize_with = "crate::descriptor::null_is_empty")]
    manifests: Vec<Descriptor>,
    #[serde(flatten)]
    other: serde_json::Map<String, serde_json::Value>,
}

impl LayoutIndex {
    pub(crate) fn new() -> Self {
        Self {
            schema_version: SCHEMA_VERSION,
            media_type: Some(MediaType::OCI_INDEX),
            manifests: Vec::new(),
            other: serde_json::Map::new(),
        }
    }

    pub(crate) fn parse(bytes: &[u8]) -> Result<Self, ManifestError> {
        let index: Self =
            serde_json::from_slice(bytes).map_err(|source| ManifestError::Json { source })?;
        if index.schema_version != SCHEMA_VERSION {
            return Err(ManifestError::SchemaVersion { found: index.schema_version });
        }
        match index.media_type {
            Some(media_type) if media_type != MediaType::OCI_INDEX => {
                Err(ManifestError::MediaTypeDiffers {
                    expected: MediaType::OCI_INDEX,
                    found: media_type,
                })
            }
            _ => Ok(index),
        }
    }

    /// Returns the bytes to be written, which must not be longer than what can be read again.
    pub(crate) fn to_bytes(&self) -> Result<Vec<u8>, ManifestError> {
        let bytes = serde_json::to_vec(self).map_err(|source| ManifestError::Json { source })?;
        if bytes.len() as u64 > MAX_INDEX_BYTES {
            return Err(ManifestError::TooLong {
                limit_bytes: MAX_INDEX_BYTES,
                found_bytes: bytes.len() as u64,
            });
        }
        Ok(bytes)
    }

    pub(crate) fn entries(&self) -> &[Descriptor] {
        &self.manifests
    }

    /// Returns the entry of that digest, if there is one.
    pub(crate) fn entry(&self, digest: &Digest) -> Option<&Descriptor> {
        self.manifests.iter().find(|entry| entry.digest == *digest)
    }

    /// Returns the entries with that tag, one for each digest.
    pub(crate) fn tagged(&self, tag: &Tag) -> Vec<&Descriptor> {
        let mut seen = BTreeSet::new();
        let entries = self.manifests.iter();
        entries
            .filter(|entry| names(entry).any(|name| name == tag.as_str()))
            .filter(|entry| seen.insert(entry.digest))
            .collect()
    }

    /// Returns all tags, as they are written.
    pub(crate) fn tags(&self) -> impl Iterator<Item = &str> {
        self.manifests.iter().filter_map(|entry| entry.annotation(REF_NAME))
    }

    /// Lists `descriptor` under `tag` alone, whatever had the tag before; that one stays in the
    /// list without a tag. Returns whether anything changed.
    pub(crate) fn tag(&mut self, descriptor: &Descriptor, tag: &Tag) -> bool {
        let mut entry = descriptor.clone();
        entry.annotations.insert(REF_NAME.to_owned(), tag.as_str().to_owned());
        let holders: Vec<usize> = (0..self.manifests.len())
            .filter(|&i| self.manifests[i].annotation(REF_NAME) == Some(tag.as_str()))
            .collect();
        if let [holder] = holders[..]
            && self.manifests[holder].digest == entry.digest
        {
            return false;
        }
        for holder in holders {
            self.manifests[holder].annotations.remove(REF_NAME);
        }
        self.manifests.push(entry);
        // An entry without a tag says nothing that one with a tag does not.
        let tagged: BTreeSet<Digest> = self
            .manifests
            .iter()
            .filter(|entry| entry.annotation(REF_NAME).is_some())
            .map(|entry| entry.digest)
            .collect();
        let mut untagged = BTreeSet::new();
        self.manifests.retain(|entry| {
            entry.annotation(REF_NAME).is_some()
                || (!tagged.contains(&entry.digest) && untagged.insert(entry.digest))
        });
        true
    }

    /// Lists `descriptor` unless it is listed already. Returns whether anything changed.
    pub(crate) fn add(&mut self, descriptor: &Descriptor) -> bool {
        let is_new = self.entry(&descriptor.digest).is_none();
        if is_new {
            self.manifests.push(descriptor.clone());
        }
        is_new
    }
}

/// Returns the names under which an entry may be asked for.
pub(crate) fn names(entry: &Descriptor) -> impl Iterator<Item = &str> {
    [REF_NAME, CONTAINERD_NAME].into_iter().filter_map(|key| entry.annotation(key))
}

/// The longest `index.json` that is read or written: about 14,000 entries of 300 bytes.
pub(crate) const MAX_INDEX_BYTES: u64 = MAX_MANIFEST_BYTES;

/// The annotation that holds a tag.
pub(crate) const REF_NAME: &str = "org.opencontainers.image.ref.name";

/// The annotation with the whole reference, in layouts that containerd or Docker exported; there
/// two images may share a tag.
const CONTAINERD_NAME: &str = "io.containerd.image.name";

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn image(number: u8) -> Descriptor {
        Descriptor::of(MediaType::OCI_MANIFEST, &[number])
    }

    fn tag(text: &str) -> Tag {
        text.parse().unwrap()
    }

    #[test]
    fn a_tag_moves_and_nothing_is_lost() {
        let mut index = LayoutIndex::new();
        assert!(index.tag(&image(1), &tag("v1")));
        assert!(!index.tag(&image(1), &tag("v1")));
        assert!(index.tag(&image(2), &tag("v1")));
        assert_eq!(index.tagged(&tag("v1"))[0].digest, image(2).digest);
        assert_eq!(index.entry(&image(1).digest), Some(&image(1)));
        assert!(index.tag(&image(1), &tag("v0")));
        assert_eq!(index.entries().len(), 2);
    }

    #[test]
    fn one_image_may_have_several_tags() {
        let mut index = LayoutIndex::new();
        index.tag(&image(1), &tag("v1"));
        index.tag(&image(1), &tag("latest"));
        assert_eq!(index.tags().collect::<Vec<_>>(), ["v1", "latest"]);
        assert!(!index.add(&image(1)));
    }

    #[test]
    fn duplicate_tags_are_seen_and_repaired() {
        let mut index = LayoutIndex::new();
        for number in [1, 2] {
            let mut entry = image(number);
            entry.annotations.insert(REF_NAME.to_owned(), "v1".to_owned());
            index.manifests.push(entry);
        }
        assert_eq!(index.tagged(&tag("v1")).len(), 2);
        assert!(index.tag(&image(2), &tag("v1")));
        assert_eq!(index.tagged(&tag("v1")), [index.entries().last().unwrap()]);
        assert_eq!(index.entries().len(), 2);
    }

    #[test]
    fn exported_images_are_found_by_their_whole_reference() {
        let mut index = LayoutIndex::new();
        for (number, name) in [(1, "docker.io/library/a:latest"), (2, "docker.io/library/b:latest")]
        {
            let mut entry = image(number);
            entry.annotations.insert(REF_NAME.to_owned(), "latest".to_owned());
            entry.annotations.insert(CONTAINERD_NAME.to_owned(), name.to_owned());
            index.manifests.push(entry);
        }
        assert_eq!(index.tagged(&tag("latest")).len(), 2);
        assert_eq!(index.tagged(&tag("docker.io/library/b:latest"))[0].digest, image(2).digest);
    }

    #[test]
    fn foreign_fields_survive_reading_and_writing() {
        let text = format!(
            r#"{{"schemaVersion":2,"manifests":[{}],"annotations":{{"k":"v"}},"new":7}}"#,
            serde_json::to_string(&image(1)).unwrap()
        );
        let index = LayoutIndex::parse(text.as_bytes()).unwrap();
        assert_eq!(
            serde_json::from_slice::<serde_json::Value>(&index.to_bytes().unwrap()).unwrap(),
            serde_json::from_str::<serde_json::Value>(&text).unwrap()
        );
    }

    proptest! {
        #[test]
        fn after_any_edits_every_image_is_listed_and_every_tag_names_one(
            edits in proptest::collection::vec((0_u8..6, 0_u8..4), 1..40)
        ) {
            let mut index = LayoutIndex::new();
            let mut last = std::collections::BTreeMap::new();
            for (number, name) in &edits {
                if *name == 0 {
                    index.add(&image(*number));
                } else {
                    index.tag(&image(*number), &tag(&name.to_string()));
                    last.insert(*name, *number);
                }
            }
            for (number, _) in &edits {
                prop_assert!(index.entry(&image(*number).digest).is_some());
            }
            for (name, number) in last {
                let tagged = index.tagged(&tag(&name.to_string()));
                prop_assert_eq!(tagged.len(), 1);
                prop_assert_eq!(tagged[0].digest, image(number).digest);
            }
        }
    }
}
