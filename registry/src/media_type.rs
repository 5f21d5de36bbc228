//! Media types: what a descriptor's content is.

use std::borrow::Cow;
use std::fmt;

use serde::{Deserialize, Serialize};

/// Names the format of what a descriptor points to.
///
/// Sources: OCI image specification, `media-types.md`; Docker "Image Manifest Version 2, Schema 2".
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct MediaType(Cow<'static, str>);

impl MediaType {
    /// Wraps the text of a media type, whatever it is.
    pub fn new(text: impl Into<String>) -> Self {
        Self(Cow::Owned(text.into()))
    }

    /// Returns the media type's text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Tells whether this is the manifest of an image for one platform, or of an artifact.
    pub fn is_manifest(&self) -> bool {
        *self == Self::OCI_MANIFEST || *self == Self::DOCKER_MANIFEST
    }

    /// Tells whether this is a list of manifests.
    pub fn is_index(&self) -> bool {
        *self == Self::OCI_INDEX || *self == Self::DOCKER_INDEX
    }

    /// Tells whether this is the configuration of an image, which names the diffIDs of its layers.
    pub fn is_image_config(&self) -> bool {
        *self == Self::OCI_CONFIG || *self == Self::DOCKER_CONFIG
    }

    /// Returns how a layer of this media type is compressed, or `None` if it is not a layer of
    /// files in a tar archive.
    pub fn layer_compression(&self) -> Option<LayerCompression> {
        LAYERS.iter().find(|(layer, _)| layer == self).map(|(_, compression)| *compression)
    }

    /// Is an OCI image manifest.
    pub const OCI_MANIFEST: Self =
        Self(Cow::Borrowed("application/vnd.oci.image.manifest.v1+json"));
    /// Is an OCI image index.
    pub const OCI_INDEX: Self = Self(Cow::Borrowed("application/vnd.oci.image.index.v1+json"));
    /// Is an OCI image configuration.
    pub const OCI_CONFIG: Self = Self(Cow::Borrowed("application/vnd.oci.image.config.v1+json"));
    /// Is the content `{}`, the configuration of artifacts that have none.
    pub const OCI_EMPTY: Self = Self(Cow::Borrowed("application/vnd.oci.empty.v1+json"));
    /// Is an uncompressed OCI layer.
    pub const OCI_LAYER: Self = Self(Cow::Borrowed("application/vnd.oci.image.layer.v1.tar"));
    /// Is an OCI layer compressed with gzip.
    pub const OCI_LAYER_GZIP: Self =
        Self(Cow::Borrowed("application/vnd.oci.image.layer.v1.tar+gzip"));
    /// Is an OCI layer compressed with Zstandard.
    pub const OCI_LAYER_ZSTD: Self =
        Self(Cow::Borrowed("application/vnd.oci.image.layer.v1.tar+zstd"));
    /// Is a Docker image manifest of schema 2.
    pub const DOCKER_MANIFEST: Self =
        Self(Cow::Borrowed("application/vnd.docker.distribution.manifest.v2+json"));
    /// Is a Docker manifest list.
    pub const DOCKER_INDEX: Self =
        Self(Cow::Borrowed("application/vnd.docker.distribution.manifest.list.v2+json"));
    /// Is a Docker image configuration.
    pub const DOCKER_CONFIG: Self =
        Self(Cow::Borrowed("application/vnd.docker.container.image.v1+json"));
    /// Is a Docker layer, compressed with gzip.
    pub const DOCKER_LAYER_GZIP: Self =
        Self(Cow::Borrowed("application/vnd.docker.image.rootfs.diff.tar.gzip"));
    /// Is a detached PKCS#7 signature in DER.
    pub const PKCS7_SIGNATURE: Self = Self(Cow::Borrowed("application/pkcs7-signature"));
}

impl fmt::Display for MediaType {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

/// Says how a layer is compressed, as its media type has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LayerCompression {
    /// gzip, in one or several members.
    Gzip,
    /// A plain tar archive.
    Uncompressed,
    /// Zstandard.
    Zstd,
}

const LAYERS: [(MediaType, LayerCompression); 10] = [
    (MediaType::OCI_LAYER, LayerCompression::Uncompressed),
    (MediaType::OCI_LAYER_GZIP, LayerCompression::Gzip),
    (MediaType::OCI_LAYER_ZSTD, LayerCompression::Zstd),
    (MediaType::DOCKER_LAYER_GZIP, LayerCompression::Gzip),
    // Docker tools write these two since they know of uncompressed and Zstandard layers.
    (layer("application/vnd.docker.image.rootfs.diff.tar"), LayerCompression::Uncompressed),
    (layer("application/vnd.docker.image.rootfs.diff.tar.zstd"), LayerCompression::Zstd),
    // Layers whose licence forbids to redistribute them; deprecated, and found in old images.
    (layer("application/vnd.docker.image.rootfs.foreign.diff.tar.gzip"), LayerCompression::Gzip),
    (
        layer("application/vnd.oci.image.layer.nondistributable.v1.tar"),
        LayerCompression::Uncompressed,
    ),
    (layer("application/vnd.oci.image.layer.nondistributable.v1.tar+gzip"), LayerCompression::Gzip),
    (layer("application/vnd.oci.image.layer.nondistributable.v1.tar+zstd"), LayerCompression::Zstd),
];

const fn layer(text: &'static str) -> MediaType {
    MediaType(Cow::Borrowed(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layers_are_told_from_everything_else() {
        assert_eq!(MediaType::OCI_LAYER_ZSTD.layer_compression(), Some(LayerCompression::Zstd));
        assert_eq!(
            MediaType::new("application/vnd.docker.image.rootfs.diff.tar.gzip").layer_compression(),
            Some(LayerCompression::Gzip)
        );
        for other in [MediaType::OCI_MANIFEST, MediaType::OCI_EMPTY, MediaType::new("text/plain")] {
            assert_eq!(other.layer_compression(), None, "{other}");
        }
    }

    #[test]
    fn docker_types_count_as_their_oci_counterparts() {
        assert!(MediaType::DOCKER_MANIFEST.is_manifest() && MediaType::OCI_MANIFEST.is_manifest());
        assert!(MediaType::DOCKER_INDEX.is_index() && MediaType::OCI_INDEX.is_index());
        assert!(MediaType::DOCKER_CONFIG.is_image_config());
        assert!(!MediaType::OCI_INDEX.is_manifest() && !MediaType::OCI_EMPTY.is_image_config());
    }
}
