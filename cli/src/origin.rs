//! Where signatures were found.

use std::fmt;

use libverity::digest::Digest;
use osguard_registry::artifact::Format;
use osguard_registry::signatures::Origin;
use serde::Serialize;

use crate::image::short;

/// Shows where a signature was found, and in which form.
#[derive(Clone, Serialize)]
#[serde(tag = "origin", rename_all = "snake_case")]
pub(crate) enum OriginReport {
    /// A manifest that is attached to the image.
    Artifact {
        artifact: Digest,
        #[serde(skip_serializing_if = "Option::is_none")]
        form: Option<&'static str>,
    },
    /// The annotations of the layers in the image's own manifest.
    Manifest { form: &'static str },
}

impl OriginReport {
    pub(crate) fn of(origin: &Origin) -> Self {
        match origin {
            Origin::Artifact { digest, format } => {
                Self::Artifact { artifact: *digest, form: format.map(Format::name) }
            }
            Origin::Manifest { keys } => Self::Manifest { form: keys.name() },
        }
    }
}

impl fmt::Display for OriginReport {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Artifact { artifact, form: Some(form) } => {
                write!(formatter, "artifact {} ({form})", short(*artifact))
            }
            Self::Artifact { artifact, form: None } => {
                write!(formatter, "artifact {}", short(*artifact))
            }
            Self::Manifest { form } => write!(formatter, "manifest ({form} annotations)"),
        }
    }
}
