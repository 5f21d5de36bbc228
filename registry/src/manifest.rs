//! Manifests: image manifests, artifact manifests and indexes, with the bytes they were read from.

use std::collections::BTreeMap;

use libverity::digest::Digest;
use serde::Deserialize;

use crate::descriptor::{Descriptor, null_is_empty};
use crate::media_type::MediaType;

/// Is a manifest or an index together with its very bytes, which are what its digest names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Manifest {
    bytes: Vec<u8>,
    descriptor: Descriptor,
    kind: ManifestKind,
}

impl Manifest {
    /// Parses `bytes`, which were announced as `media_type`.
    ///
    /// Without an announcement the document must name its own media type, or be clearly one of the
    /// two kinds by its fields.
    ///
    /// # Errors
    ///
    /// Everything that [`ManifestError`] lists. A document that could be read as both kinds is
    /// refused, since two readers could see two images in it (CVE-2021-41190).
    pub fn parse(media_type: Option<&MediaType>, bytes: Vec<u8>) -> Result<Self, ManifestError> {
        if bytes.len() as u64 > MAX_MANIFEST_BYTES {
            return Err(ManifestError::TooLong {
                limit_bytes: MAX_MANIFEST_BYTES,
                found_bytes: bytes.len() as u64,
            });
        }
        let document: Document =
            serde_json::from_slice(&bytes).map_err(|source| ManifestError::Json { source })?;
        let (media_type, kind) = document.into_kind(media_type)?;
        let descriptor = Descriptor {
            artifact_type: kind.artifact_type().map(str::to_owned),
            ..Descriptor::of(media_type, &bytes)
        };
        Ok(Self { bytes, descriptor, kind })
    }

    /// Returns the bytes as they were read or are to be written.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Returns media type, digest and size of the bytes, and the artifact type if there is one.
    pub fn descriptor(&self) -> &Descriptor {
        &self.descriptor
    }

    /// Returns the digest of the bytes.
    pub fn digest(&self) -> Digest {
        self.descriptor.digest
    }

    /// Returns what was read from the bytes.
    pub fn kind(&self) -> &ManifestKind {
        &self.kind
    }

    /// Returns the manifest that this one is attached to, if any.
    pub fn subject(&self) -> Option<&Descriptor> {
        match &self.kind {
            ManifestKind::Image(manifest) => manifest.subject.as_ref(),
            ManifestKind::Index(index) => index.subject.as_ref(),
        }
    }

    /// Returns everything that must be in a place before this manifest may be.
    pub fn children(&self) -> impl Iterator<Item = &Descriptor> {
        let (config, others) = match &self.kind {
            ManifestKind::Image(manifest) => (Some(&manifest.config), &manifest.layers),
            ManifestKind::Index(index) => (None, &index.manifests),
        };
        config.into_iter().chain(others)
    }
}

/// Tells the two kinds of manifests apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ManifestKind {
    /// One image for one platform, or an artifact.
    Image(Box<ImageManifest>),
    /// A list of manifests.
    Index(Box<ImageIndex>),
}

impl ManifestKind {
    fn artifact_type(&self) -> Option<&str> {
        match self {
            Self::Image(manifest) => manifest.artifact_type(),
            Self::Index(index) => index.artifact_type.as_deref(),
        }
    }
}

/// Is an image for one platform, or an artifact: a configuration and layers.
///
/// Source: OCI image specification, `manifest.md`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImageManifest {
    /// The kind of artifact as the field of that name has it.
    pub artifact_type: Option<String>,
    /// The configuration.
    pub config: Descriptor,
    /// The layers, lowest first, at most [`MAX_LAYERS`].
    pub layers: Vec<Descriptor>,
    /// The manifest that this one is attached to.
    pub subject: Option<Descriptor>,
    /// Free facts about the image, by key.
    pub annotations: BTreeMap<String, String>,
}

impl ImageManifest {
    /// Returns the kind of artifact, or `None` for an image.
    ///
    /// Artifacts that were written before `artifactType` came up have the configuration's media
    /// type for it.
    pub fn artifact_type(&self) -> Option<&str> {
        match &self.artifact_type {
            Some(artifact_type) if !artifact_type.is_empty() => Some(artifact_type),
            _ if self.config.media_type.is_image_config() => None,
            _ if self.config.media_type == MediaType::OCI_EMPTY => None,
            _ => Some(self.config.media_type.as_str()),
        }
    }
}

/// Is a list of manifests, usually of one image for several platforms.
///
/// Source: OCI image specification, `image-index.md`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImageIndex {
    /// The kind of artifact, if it is one.
    pub artifact_type: Option<String>,
    /// The manifests, and maybe further indexes.
    pub manifests: Vec<Descriptor>,
    /// The manifest that this one is attached to.
    pub subject: Option<Descriptor>,
    /// Free facts about the list, by key.
    pub annotations: BTreeMap<String, String>,
}

/// Says why some bytes are no manifest.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ManifestError {
    /// The document has the fields of a manifest and those of an index.
    #[error("it has the fields of a manifest and of an index, so two readers could see two images")]
    Ambiguous,
    /// The document is not JSON, or a field is not what it must be.
    #[error("it is not valid: {source}")]
    Json {
        /// What the parser said, with line and column.
        source: serde_json::Error,
    },
    /// The document calls itself something else than the place did.
    #[error("it calls itself {found:?} and was announced as {expected:?}")]
    MediaTypeDiffers {
        /// The announced media type.
        expected: MediaType,
        /// The media type in the document.
        found: MediaType,
    },
    /// A field is missing.
    #[error("the field `{field}` is missing")]
    Missing {
        /// The name of the field.
        field: &'static str,
    },
    /// The document is of another version than 2.
    #[error("its schemaVersion is {found}, and only 2 is supported")]
    SchemaVersion {
        /// The version in the document.
        found: u64,
    },
    /// There are more layers than any kernel can mount.
    #[error("it has {found} layers, and {limit} are the limit")]
    TooManyLayers {
        /// How many are allowed.
        limit: usize,
        /// How many there are.
        found: usize,
    },
    /// The document is too long.
    #[error("it has {found_bytes} bytes, and {limit_bytes} are the limit")]
    TooLong {
        /// How many bytes are allowed.
        limit_bytes: u64,
        /// How many there are.
        found_bytes: u64,
    },
    /// The media type is that of no manifest.
    #[error("{media_type:?} is not a manifest or index that is supported")]
    UnsupportedMediaType {
        /// The media type in the document, or the announced one.
        media_type: MediaType,
    },
}

/// The longest manifest, index or configuration that is read: what registries commonly accept
/// (OCI distribution specification, "Pushing Manifests").
pub const MAX_MANIFEST_BYTES: u64 = 4 << 20;

/// The most layers of a manifest: what overlayfs can stack (`OVL_MAX_STACK` in
/// `fs/overlayfs/params.h`).
pub const MAX_LAYERS: usize = 500;

/// The fields of both kinds, as they stand in the file.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Document {
    schema_version: u64,
    media_type: Option<MediaType>,
    artifact_type: Option<String>,
    config: Option<Descriptor>,
    layers: Option<Vec<Descriptor>>,
    manifests: Option<Vec<Descriptor>>,
    subject: Option<Descriptor>,
    #[serde(default, deserialize_with = "null_is_empty")]
    annotations: BTreeMap<String, String>,
    /// Only manifests of schema 1 have it.
    fs_layers: Option<serde::de::IgnoredAny>,
}

impl Document {
    fn into_kind(
        self,
        announced: Option<&MediaType>,
    ) -> Result<(MediaType, ManifestKind), ManifestError> {
        if self.schema_version != SCHEMA_VERSION {
            return Err(ManifestError::SchemaVersion { found: self.schema_version });
        }
        let has_image_fields =
            self.config.is_some() || self.layers.is_some() || self.fs_layers.is_some();
        if has_image_fields && self.manifests.is_some() {
            return Err(ManifestError::Ambiguous);
        }
        let media_type = match (announced, self.media_type) {
            (Some(expected), Some(found)) if *expected != found => {
                return Err(ManifestError::MediaTypeDiffers { expected: expected.clone(), found });
            }
            (Some(expected), _) => expected.clone(),
            (None, Some(found)) => found,
            (None, None) if self.manifests.is_some() => MediaType::OCI_INDEX,
            (None, None) if has_image_fields => MediaType::OCI_MANIFEST,
            (None, None) => return Err(ManifestError::Missing { field: "mediaType" }),
        };
        let missing = |field| ManifestError::Missing { field };
        if media_type.is_manifest() {
            let layers = self.layers.ok_or_else(|| missing("layers"))?;
            if layers.len() > MAX_LAYERS {
                return Err(ManifestError::TooManyLayers {
                    limit: MAX_LAYERS,
                    found: layers.len(),
                });
            }
            let manifest = ImageManifest {
                artifact_type: self.artifact_type,
                config: self.config.ok_or_else(|| missing("config"))?,
                layers,
                subject: self.subject,
                annotations: self.annotations,
            };
            return Ok((media_type, ManifestKind::Image(Box::new(manifest))));
        }
        if media_type.is_index() {
            let index = ImageIndex {
                artifact_type: self.artifact_type,
                manifests: self.manifests.ok_or_else(|| missing("manifests"))?,
                subject: self.subject,
                annotations: self.annotations,
            };
            return Ok((media_type, ManifestKind::Index(Box::new(index))));
        }
        Err(ManifestError::UnsupportedMediaType { media_type })
    }
}

/// The version of all manifests and indexes that are read and written.
pub(crate) const SCHEMA_VERSION: u64 = 2;

#[cfg(test)]
mod tests {
    use super::*;

    fn descriptor(content: &[u8]) -> String {
        let media_type = MediaType::OCI_LAYER;
        serde_json::to_string(&Descriptor::of(media_type, content)).unwrap()
    }

    fn parse(media_type: Option<&MediaType>, text: &str) -> Result<Manifest, ManifestError> {
        Manifest::parse(media_type, text.as_bytes().to_vec())
    }

    #[test]
    fn unknown_fields_are_tolerated_and_stay_in_the_bytes() {
        let text = format!(
            r#"{{"schemaVersion":2,"new":[1],"config":{0},"layers":[{0}],"annotations":null}}"#,
            descriptor(b"x")
        );
        let manifest = parse(Some(&MediaType::OCI_MANIFEST), &text).unwrap();
        assert_eq!(manifest.bytes(), text.as_bytes());
        assert_eq!(manifest.digest(), Digest::of(text.as_bytes()));
        assert_eq!(manifest.children().count(), 2);
        assert_eq!(manifest.subject(), None);
        assert_eq!(parse(None, &text).unwrap(), manifest);
    }

    #[test]
    fn artifacts_are_told_by_field_or_by_configuration() {
        let with_config = |media_type: &str, artifact_type: &str| {
            let config = descriptor(b"{}").replace(MediaType::OCI_LAYER.as_str(), media_type);
            let text =
                format!(r#"{{"schemaVersion":2,{artifact_type}"config":{config},"layers":[]}}"#);
            parse(None, &text).unwrap().descriptor().artifact_type.clone()
        };
        assert_eq!(with_config(MediaType::OCI_CONFIG.as_str(), ""), None);
        assert_eq!(with_config("application/x", ""), Some("application/x".to_owned()));
        assert_eq!(
            with_config(MediaType::OCI_EMPTY.as_str(), r#""artifactType":"a/b","#),
            Some("a/b".to_owned())
        );
    }

    #[test]
    fn wrong_documents_say_what_is_wrong() {
        let item = descriptor(b"x");
        let many = vec![item.as_str(); MAX_LAYERS + 1].join(",");
        let deep = format!(r#"{{"schemaVersion":2,"x":{}"#, "[".repeat(100_000));
        let manifest = Some(&MediaType::OCI_MANIFEST);
        let kind = |media_type, text: &str| match parse(media_type, text).unwrap_err() {
            ManifestError::Ambiguous => "ambiguous",
            ManifestError::Json { .. } => "json",
            ManifestError::MediaTypeDiffers { .. } => "media type differs",
            ManifestError::Missing { field } => field,
            ManifestError::SchemaVersion { .. } => "schema version",
            ManifestError::TooManyLayers { .. } => "layers",
            ManifestError::TooLong { .. } => "too long",
            ManifestError::UnsupportedMediaType { .. } => "unsupported",
        };
        for (media_type, text, expected) in [
            (None, String::new(), "json"),
            (None, "[]".to_owned(), "json"),
            (None, deep, "json"),
            (None, " ".repeat(MAX_MANIFEST_BYTES as usize + 1), "too long"),
            (None, r#"{"schemaVersion":2}"#.to_owned(), "mediaType"),
            (manifest, r#"{"schemaVersion":1}"#.to_owned(), "schema version"),
            (manifest, r#"{"schemaVersion":2}"#.to_owned(), "layers"),
            (manifest, r#"{"schemaVersion":2,"layers":[]}"#.to_owned(), "config"),
            (Some(&MediaType::OCI_INDEX), r#"{"schemaVersion":2}"#.to_owned(), "manifests"),
            (manifest, r#"{"schemaVersion":2,"layers":[],"manifests":[]}"#.to_owned(), "ambiguous"),
            (
                manifest,
                format!(r#"{{"schemaVersion":2,"config":{item},"layers":[{many}]}}"#),
                "layers",
            ),
            (
                manifest,
                format!(r#"{{"schemaVersion":2,"mediaType":"{}"}}"#, MediaType::OCI_INDEX),
                "media type differs",
            ),
            (Some(&MediaType::OCI_LAYER), r#"{"schemaVersion":2}"#.to_owned(), "unsupported"),
        ] {
            assert_eq!(kind(media_type, &text), expected, "{:.80}", text);
        }
    }
}
