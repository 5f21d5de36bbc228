//! Platforms: what an image runs on.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Is an operating system on a processor architecture, such as `linux/arm64/v8`.
///
/// Source: OCI image specification, `image-index.md`, "platform".
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Platform {
    /// The architecture by Go's names, such as `amd64`.
    pub architecture: String,
    /// The operating system by Go's names, such as `linux`.
    pub os: String,
    /// The version of the operating system that is needed.
    #[serde(rename = "os.version", default, skip_serializing_if = "Option::is_none")]
    pub os_version: Option<String>,
    /// The features of the operating system that are needed.
    #[serde(rename = "os.features", default, skip_serializing_if = "Vec::is_empty")]
    pub os_features: Vec<String>,
    /// The generation of the architecture, such as `v8`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub variant: Option<String>,
}

impl Platform {
    /// Returns the platform of this machine, by Go's names.
    pub fn host() -> Self {
        let architecture = match std::env::consts::ARCH {
            "aarch64" => "arm64",
            "powerpc64" => "ppc64le",
            "x86" => "386",
            "x86_64" => "amd64",
            other => other,
        };
        Self {
            architecture: architecture.to_owned(),
            os: std::env::consts::OS.to_owned(),
            os_version: None,
            os_features: Vec::new(),
            variant: None,
        }
    }

    /// Tells whether an image for `self` is what someone means who asks for `wanted`.
    ///
    /// A variant that was not asked for does not matter. `arm64` is `arm64/v8` and `arm` is
    /// `arm/v7`, since tools write either.
    pub fn satisfies(&self, wanted: &Self) -> bool {
        self.os == wanted.os
            && self.architecture == wanted.architecture
            && (wanted.variant.is_none() || self.full_variant() == wanted.full_variant())
            && (wanted.os_version.is_none() || self.os_version == wanted.os_version)
    }

    fn full_variant(&self) -> Option<&str> {
        self.variant.as_deref().or(match self.architecture.as_str() {
            "arm" => Some("v7"),
            "arm64" => Some("v8"),
            _ => None,
        })
    }
}

impl fmt::Display for Platform {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}/{}", self.os, self.architecture)?;
        match &self.variant {
            Some(variant) => write!(formatter, "/{variant}"),
            None => Ok(()),
        }
    }
}

impl FromStr for Platform {
    type Err = PlatformError;

    /// Reads `OS/ARCHITECTURE[/VARIANT]`.
    fn from_str(text: &str) -> Result<Self, PlatformError> {
        let is_word = |part: &&str| {
            !part.is_empty()
                && part.bytes().all(|byte| {
                    byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"._-".contains(&byte)
                })
        };
        let parts: Vec<&str> = text.splitn(4, '/').collect();
        match parts.as_slice() {
            [os, architecture, variant @ ..] if variant.len() <= 1 && parts.iter().all(is_word) => {
                Ok(Self {
                    architecture: (*architecture).to_owned(),
                    os: (*os).to_owned(),
                    os_version: None,
                    os_features: Vec::new(),
                    variant: variant.first().map(|variant| (*variant).to_owned()),
                })
            }
            _ => Err(PlatformError { platform: text.to_owned() }),
        }
    }
}

/// Says that a text is no platform.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{platform:?} is not a platform; write OS/ARCHITECTURE or OS/ARCHITECTURE/VARIANT, such as linux/amd64"
)]
pub struct PlatformError {
    /// The text as it was given.
    pub platform: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn platform(text: &str) -> Platform {
        text.parse().unwrap()
    }

    #[test]
    fn platforms_are_read_back_as_written() {
        for text in ["linux/amd64", "linux/arm/v6"] {
            assert_eq!(platform(text).to_string(), text);
        }
        for text in ["", "linux", "linux/", "/amd64", "linux/arm/v6/x", "Linux/amd64"] {
            assert!(text.parse::<Platform>().is_err(), "{text}");
        }
    }

    #[test]
    fn variants_matter_only_when_asked_for() {
        assert!(platform("linux/arm/v6").satisfies(&platform("linux/arm")));
        assert!(platform("linux/arm64").satisfies(&platform("linux/arm64/v8")));
        assert!(platform("linux/arm").satisfies(&platform("linux/arm/v7")));
        assert!(!platform("linux/arm").satisfies(&platform("linux/arm/v6")));
        assert!(!platform("linux/amd64").satisfies(&platform("linux/arm64")));
        assert!(!platform("windows/amd64").satisfies(&platform("linux/amd64")));
    }
}
