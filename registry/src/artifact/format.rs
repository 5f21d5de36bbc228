//! The forms of signature artifacts.

use std::fmt;
use std::str::FromStr;

use serde::{Serialize, Serializer};

use crate::media_type::MediaType;

/// Tells the forms apart in which signatures are attached to an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Format {
    /// The form of the Notary Project's dm-verity proposal, which is written by default.
    Standard,
    /// The form that the prototypes of notation, containerd and Kata Containers write and read.
    Prototype,
}

impl Format {
    /// All forms, in the order of preference.
    pub const ALL: [Self; 2] = [Self::Standard, Self::Prototype];

    /// The artifact types of all forms, in the same order.
    pub const ARTIFACT_TYPES: [&str; 2] =
        [Self::Standard.artifact_type(), Self::Prototype.artifact_type()];

    /// Returns the name by which the form is chosen and shown.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Standard => "standard",
            Self::Prototype => "prototype",
        }
    }

    /// Returns the artifact type of manifests in this form.
    pub const fn artifact_type(self) -> &'static str {
        match self {
            Self::Standard => "application/vnd.cncf.notary.signature.dm-verity",
            Self::Prototype => "application/vnd.oci.mt.pkcs7",
        }
    }

    /// Returns the form with this artifact type, if there is one.
    pub fn of_artifact_type(artifact_type: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|format| format.artifact_type() == artifact_type)
    }

    /// Returns the media type of a signature in this form.
    pub const fn signature_media_type(self) -> MediaType {
        match self {
            Self::Standard => MediaType::PKCS7_SIGNATURE,
            Self::Prototype => MediaType::EROFS_SIGNATURE,
        }
    }
}

impl fmt::Display for Format {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(self.name())
    }
}

impl FromStr for Format {
    type Err = UnknownFormat;

    fn from_str(name: &str) -> Result<Self, UnknownFormat> {
        Self::ALL
            .into_iter()
            .find(|format| format.name() == name)
            .ok_or_else(|| UnknownFormat { name: name.to_owned() })
    }
}

impl Serialize for Format {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

/// Says that there is no form of this name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("there is no artifact format {name:?}, only {}", Format::ALL.map(Format::name).join(" and "))]
pub struct UnknownFormat {
    /// The name as it was given.
    pub name: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formats_are_read_back_by_name_and_by_type() {
        for (format, artifact_type) in Format::ALL.into_iter().zip(Format::ARTIFACT_TYPES) {
            assert_eq!(format.to_string().parse(), Ok(format));
            assert_eq!(Format::of_artifact_type(artifact_type), Some(format));
        }
        assert_eq!(
            "notation".parse::<Format>().unwrap_err().to_string(),
            "there is no artifact format \"notation\", only standard and prototype"
        );
        assert_eq!(Format::of_artifact_type("application/x"), None);
    }
}
