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
    /// Is a Docker image manifest of schema 2.
    pub const DOCKER_MANIFEST: Self =
        Self(Cow::Borrowed("application/vnd.docker.distribution.manifest.v2+json"));
    /// Is a Docker manifest list.
    pub const DOCKER_INDEX: Self =
        Self(Cow::Borrowed("application/vnd.docker.distribution.manifest.list.v2+json"));
    /// Is a Docker image configuration.
    pub const DOCKER_CONFIG: Self =
        Self(Cow::Borrowed("application/vnd.docker.container.image.v1+json"));
    /// Is a detached PKCS#7 signature in DER.
    pub const PKCS7_SIGNATURE: Self = Self(Cow::Borrowed("application/pkcs7-signature"));
    /// Is a signature in the prototypes' form, whose blob may be one of several things.
    pub const EROFS_SIGNATURE: Self =
        Self(Cow::Borrowed("application/vnd.oci.image.layer.v1.erofs.sig"));
}

impl fmt::Display for MediaType {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn docker_types_count_as_their_oci_counterparts() {
        assert!(MediaType::DOCKER_MANIFEST.is_manifest() && MediaType::OCI_MANIFEST.is_manifest());
        assert!(MediaType::DOCKER_INDEX.is_index() && MediaType::OCI_INDEX.is_index());
        assert!(MediaType::DOCKER_CONFIG.is_image_config());
        assert!(!MediaType::OCI_INDEX.is_manifest() && !MediaType::OCI_EMPTY.is_image_config());
    }
}
