//! Image configurations, as far as layers need them.

use libverity::digest::Digest;
use serde::Deserialize;

use crate::manifest::MAX_MANIFEST_BYTES;
use crate::platform::Platform;

/// Is what an image's configuration says about its layers and its platform.
///
/// Source: OCI image specification, `config.md`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImageConfig {
    /// What the image runs on.
    pub platform: Platform,
    /// The digests of the uncompressed layers, lowest first.
    pub diff_ids: Vec<Digest>,
}

impl ImageConfig {
    /// Parses the bytes of a configuration.
    ///
    /// # Errors
    ///
    /// Returns an error if `bytes` is longer than [`MAX_MANIFEST_BYTES`], is not JSON, lacks
    /// `architecture`, `os` or `rootfs`, or if `rootfs` is of another type than `layers`.
    pub fn parse(bytes: &[u8]) -> Result<Self, ConfigError> {
        if bytes.len() as u64 > MAX_MANIFEST_BYTES {
            return Err(ConfigError::TooLong {
                limit_bytes: MAX_MANIFEST_BYTES,
                found_bytes: bytes.len() as u64,
            });
        }
        let document: Document =
            serde_json::from_slice(bytes).map_err(|source| ConfigError::Json { source })?;
        if document.rootfs.kind != ROOTFS_LAYERS {
            return Err(ConfigError::RootfsType { found: document.rootfs.kind });
        }
        Ok(Self {
            platform: document.platform,
            diff_ids: document.rootfs.diff_ids.unwrap_or_default(),
        })
    }
}

/// Says why some bytes are no image configuration.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// The document is not JSON, or a field is missing or not what it must be.
    #[error("it is not valid: {source}")]
    Json {
        /// What the parser said, with line and column.
        source: serde_json::Error,
    },
    /// The root file system is not made of layers.
    #[error("its rootfs has the type {found:?}, not \"{ROOTFS_LAYERS}\"")]
    RootfsType {
        /// The type in the document.
        found: String,
    },
    /// The document is too long.
    #[error("it has {found_bytes} bytes, and {limit_bytes} are the limit")]
    TooLong {
        /// How many bytes are allowed.
        limit_bytes: u64,
        /// How many there are.
        found_bytes: u64,
    },
}

#[derive(Deserialize)]
struct Document {
    #[serde(flatten)]
    platform: Platform,
    rootfs: Rootfs,
}

#[derive(Deserialize)]
struct Rootfs {
    #[serde(rename = "type")]
    kind: String,
    /// Go programs write `null` when there are none.
    diff_ids: Option<Vec<Digest>>,
}

const ROOTFS_LAYERS: &str = "layers";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn platform_and_diff_ids_are_read() {
        let diff_id = Digest::of(b"tar");
        let text = format!(
            r#"{{"architecture":"arm64","os":"linux","variant":"v8","config":{{"Cmd":["sh"]}},"rootfs":{{"type":"layers","diff_ids":["{diff_id}"]}}}}"#
        );
        let config = ImageConfig::parse(text.as_bytes()).unwrap();
        assert_eq!(config.platform.to_string(), "linux/arm64/v8");
        assert_eq!(config.diff_ids, [diff_id]);
    }

    #[test]
    fn wrong_configurations_are_refused() {
        let parse = |text: &str| ImageConfig::parse(text.as_bytes());
        assert!(matches!(parse("{}"), Err(ConfigError::Json { .. })));
        assert!(matches!(
            parse(r#"{"architecture":"a","os":"b","rootfs":{"type":"tree","diff_ids":[]}}"#),
            Err(ConfigError::RootfsType { found }) if found == "tree"
        ));
        let long = " ".repeat(MAX_MANIFEST_BYTES as usize + 1);
        assert!(matches!(parse(&long), Err(ConfigError::TooLong { .. })));
    }
}
