//! The JSON that both forms of artifacts have in common.

use std::collections::BTreeMap;

use libverity::digest::Digest;
use serde::Serialize;

use super::{EMPTY, Format, SignatureArtifact};
use crate::descriptor::Descriptor;
use crate::manifest::SCHEMA_VERSION;
use crate::media_type::MediaType;

/// Writes the manifest of `artifact`, whose signatures have `layer_annotations` in this order.
pub(super) fn write<A: Serialize>(
    artifact: &SignatureArtifact,
    format: Format,
    layer_annotations: impl Iterator<Item = A>,
    (key, value): (&str, &str),
) -> serde_json::Result<Vec<u8>> {
    let signatures = artifact.signatures.iter().zip(layer_annotations);
    let layers = signatures.map(|(signature, annotations)| LayerDocument {
        descriptor: DescriptorDocument {
            media_type: format.signature_media_type(),
            digest: Digest::of(&signature.signature),
            size: signature.signature.len() as u64,
        },
        annotations,
    });
    serde_json::to_vec(&ManifestDocument {
        schema_version: SCHEMA_VERSION,
        media_type: MediaType::OCI_MANIFEST,
        artifact_type: format.artifact_type(),
        config: ConfigDocument {
            media_type: MediaType::OCI_EMPTY,
            size: EMPTY.len() as u64,
            digest: Digest::of(EMPTY),
        },
        layers: layers.collect(),
        subject: DescriptorDocument::of(&artifact.subject),
        annotations: BTreeMap::from([(key, value)]),
    })
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ManifestDocument<'a, A> {
    schema_version: u64,
    media_type: MediaType,
    artifact_type: &'a str,
    config: ConfigDocument,
    layers: Vec<LayerDocument<A>>,
    subject: DescriptorDocument,
    annotations: BTreeMap<&'a str, &'a str>,
}

/// Is the configuration's descriptor, whose fields the standard form has in another order.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ConfigDocument {
    media_type: MediaType,
    size: u64,
    digest: Digest,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct DescriptorDocument {
    media_type: MediaType,
    digest: Digest,
    size: u64,
}

impl DescriptorDocument {
    fn of(descriptor: &Descriptor) -> Self {
        Self {
            media_type: descriptor.media_type.clone(),
            digest: descriptor.digest,
            size: descriptor.size,
        }
    }
}

#[derive(Serialize)]
struct LayerDocument<A> {
    #[serde(flatten)]
    descriptor: DescriptorDocument,
    annotations: A,
}
