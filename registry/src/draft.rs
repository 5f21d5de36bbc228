//! Images that are made of others, before they are published.
//!
//! Manifest and configuration are those of the image that was there before: what is not changed stays as it
//! was written, fields that are not known here among it.

use std::collections::BTreeMap;

use libverity::digest::Digest;
use serde::{Deserialize, Serialize};
use serde_json::value::{RawValue, to_raw_value};

use crate::artifact::annotations::Keys;
use crate::carrying::SignedLayers;
use crate::descriptor::Descriptor;
use crate::error::Error;
use crate::image::{Image, ImageLayer};
use crate::json_object::JsonObject;
use crate::manifest::{MAX_MANIFEST_BYTES, Manifest, ManifestError};
use crate::place::Place;
use crate::platform::Platform;

/// Is a new image for one platform, with its configuration.
#[derive(Clone, Debug)]
pub struct Draft {
    /// The manifest.
    pub manifest: Manifest,
    /// What it runs on.
    pub platform: Platform,
    /// The layers, lowest first.
    pub layers: Vec<ImageLayer>,
    /// The digest of the image before.
    pub origin: Digest,
    pub(crate) config: Descriptor,
    pub(crate) config_bytes: Vec<u8>,
}

/// Says why an image cannot be described.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DraftError {
    /// A document is not what it must be.
    #[error("the {document} of {image} cannot be changed: {source}")]
    Json {
        /// Which document: the manifest, or the configuration.
        document: &'static str,
        /// The image.
        image: Digest,
        /// What is wrong with it.
        source: serde_json::Error,
    },
    /// The new manifest would not be accepted as one.
    #[error("the new manifest of {image} could not be used: {source}")]
    Manifest {
        /// The image before.
        image: Digest,
        /// What would be wrong.
        source: ManifestError,
    },
    /// The image cannot be read.
    #[error(transparent)]
    Place(#[from] Error),
}

/// Holds the documents of an image while they are changed.
pub(crate) struct Documents {
    origin: Digest,
    platform: Platform,
    manifest: JsonObject,
    config: JsonObject,
    parts: Parts,
    pub(crate) layers: Vec<Layer>,
    /// The steps by which the image was made; none where the configuration does not tell them.
    pub(crate) history: Vec<Step>,
    pub(crate) annotations: BTreeMap<String, String>,
    pub(crate) labels: BTreeMap<String, String>,
    /// When the image was made, as the configuration says.
    pub(crate) created: Option<String>,
}

/// Is a layer with the text of its descriptor.
#[derive(Clone, Debug)]
pub(crate) struct Layer {
    pub(crate) layer: ImageLayer,
    text: Box<RawValue>,
}

/// Is one step of the history, with all of its text.
#[derive(Clone, Debug)]
pub(crate) struct Step {
    text: Box<RawValue>,
    pub(crate) is_empty_layer: bool,
    pub(crate) created_by: String,
}

/// Holds what cannot be told from the objects any more once they are edited.
struct Parts {
    media_type: crate::media_type::MediaType,
    config: Descriptor,
}

impl Documents {
    /// Reads the documents of `image`.
    pub(crate) fn read(place: &dyn Place, image: &Image) -> Result<Self, DraftError> {
        let origin = image.manifest.digest();
        let in_manifest = |source| DraftError::Json { document: "manifest", image: origin, source };
        let in_config =
            |source| DraftError::Json { document: "configuration", image: origin, source };
        let manifest = JsonObject::parse(image.manifest.bytes()).map_err(in_manifest)?;
        let config: Descriptor = manifest.field("config").and_then(needed).map_err(in_manifest)?;
        let texts: Vec<Box<RawValue>> =
            manifest.field("layers").and_then(needed).map_err(in_manifest)?;
        let annotations = manifest.field("annotations").map_err(in_manifest)?.unwrap_or_default();
        let bytes = place.blob(&config)?.read_all(MAX_MANIFEST_BYTES)?;
        let document = JsonObject::parse(&bytes).map_err(in_config)?;
        let history: Vec<Box<RawValue>> =
            document.field("history").map_err(in_config)?.unwrap_or_default();
        let history = history.into_iter().map(Step::read).collect::<Result<_, _>>();
        let container: Container = document.field("config").ok().flatten().unwrap_or_default();
        Ok(Self {
            origin,
            platform: image.platform.clone(),
            layers: image
                .layers
                .iter()
                .zip(texts)
                .map(|(layer, text)| Layer { layer: layer.clone(), text })
                .collect(),
            history: history.map_err(in_config)?,
            annotations,
            labels: container.labels.unwrap_or_default(),
            created: document.field("created").ok().flatten(),
            parts: Parts { media_type: image.manifest.descriptor().media_type.clone(), config },
            manifest,
            config: document,
        })
    }

    /// Takes the signatures out of the descriptors of the layers that are not among `signed`.
    pub(crate) fn keep_signatures(&mut self, signed: &SignedLayers) -> Result<(), DraftError> {
        let origin = self.origin;
        for layer in &mut self.layers {
            layer.keep_signatures(signed).map_err(|source| DraftError::Json {
                document: "manifest",
                image: origin,
                source,
            })?;
        }
        Ok(())
    }

    /// Puts the documents together, with their layers, history and annotations as they are now.
    pub(crate) fn finish(mut self) -> Result<Draft, DraftError> {
        let image = self.origin;
        let config_bytes = self.config_bytes().map_err(|source| DraftError::Json {
            document: "configuration",
            image,
            source,
        })?;
        let mut config = self.parts.config;
        config.digest = Digest::of(&config_bytes);
        config.size = config_bytes.len() as u64;
        // Some descriptors hold their content once more, and that is another one now.
        config.other.remove("data");
        let layers: Vec<_> = self.layers.iter().map(|layer| &layer.text).collect();
        let edited = self
            .manifest
            .set("config", &config)
            .and_then(|()| self.manifest.set("layers", &layers))
            .and_then(|()| match self.annotations.is_empty() {
                true => Ok(()),
                false => self.manifest.set("annotations", &self.annotations),
            })
            .and_then(|()| self.manifest.to_bytes());
        let bytes =
            edited.map_err(|source| DraftError::Json { document: "manifest", image, source })?;
        let manifest = Manifest::parse(Some(&self.parts.media_type), bytes)
            .map_err(|source| DraftError::Manifest { image, source })?;
        let layers = self.layers.into_iter().map(|layer| layer.layer).collect();
        Ok(Draft { manifest, platform: self.platform, layers, origin: image, config, config_bytes })
    }

    fn config_bytes(&mut self) -> Result<Vec<u8>, serde_json::Error> {
        let mut rootfs: JsonObject = self.config.field("rootfs").and_then(needed)?;
        let diff_ids: Vec<_> = self.layers.iter().map(|layer| layer.layer.diff_id).collect();
        rootfs.set("diff_ids", &diff_ids)?;
        self.config.set("rootfs", &rootfs)?;
        if !self.history.is_empty() {
            let steps: Vec<_> = self.history.iter().map(|step| &step.text).collect();
            self.config.set("history", &steps)?;
        }
        if let Some(created) = &self.created {
            self.config.set("created", created)?;
        }
        self.config.to_bytes()
    }

    /// Forgets how the image was made.
    pub(crate) fn forget_history(&mut self) {
        self.history.clear();
        self.config.remove(|key| key == "history");
    }
}

impl Layer {
    /// Describes a new layer.
    pub(crate) fn new(layer: ImageLayer) -> Result<Self, serde_json::Error> {
        let text = to_raw_value(&layer.descriptor)?;
        Ok(Self { layer, text })
    }

    fn keep_signatures(&mut self, signed: &SignedLayers) -> Result<(), serde_json::Error> {
        let unwanted = Keys::ALL.into_iter().filter(|keys| {
            let annotations = &self.layer.descriptor.annotations;
            annotations.keys().any(|key| keys.contains(key))
                && !signed.has_annotated(&self.layer.descriptor, *keys)
        });
        let unwanted: Vec<_> = unwanted.collect();
        if unwanted.is_empty() {
            return Ok(());
        }
        let is_unwanted = |key: &str| unwanted.iter().any(|keys| keys.contains(key));
        let mut descriptor = JsonObject::parse(self.text.get().as_bytes())?;
        if let Some(mut annotations) = descriptor.field::<JsonObject>("annotations")? {
            annotations.remove(is_unwanted);
            descriptor.set("annotations", &annotations)?;
        }
        self.text = to_raw_value(&descriptor)?;
        self.layer.descriptor.annotations.retain(|key, _| !is_unwanted(key));
        Ok(())
    }
}

impl Step {
    fn read(text: Box<RawValue>) -> Result<Self, serde_json::Error> {
        let facts: StepFacts = serde_json::from_str(text.get())?;
        let created_by = facts.created_by.unwrap_or_default();
        Ok(Self { text, is_empty_layer: facts.empty_layer.unwrap_or(false), created_by })
    }

    /// Describes a step that has made a layer.
    pub(crate) fn new(
        created: Option<&str>,
        created_by: &str,
        comment: &str,
    ) -> Result<Self, serde_json::Error> {
        let text = to_raw_value(&NewStep { created, created_by, comment })?;
        Ok(Self { text, is_empty_layer: false, created_by: created_by.to_owned() })
    }

    /// Tells whether two steps are the same in all that they say.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        let value = |step: &Self| serde_json::from_str::<serde_json::Value>(step.text.get()).ok();
        value(self) == value(other)
    }
}

#[derive(Deserialize)]
struct StepFacts {
    empty_layer: Option<bool>,
    created_by: Option<String>,
}

#[derive(Serialize)]
struct NewStep<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    created: Option<&'a str>,
    created_by: &'a str,
    comment: &'a str,
}

/// Is what a container of the image gets, as far as it matters here.
#[derive(Default, Deserialize)]
struct Container {
    #[serde(rename = "Labels")]
    labels: Option<BTreeMap<String, String>>,
}

fn needed<T>(field: Option<T>) -> Result<T, serde_json::Error> {
    use serde::de::Error as _;
    field.ok_or_else(|| serde_json::Error::custom("a field is missing"))
}
