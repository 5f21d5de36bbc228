//! Image configurations, as far as layers need them.

use libverity::digest::Digest;
use serde::Deserialize;
use serde_json::Value;

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
    /// What is started.
    pub start: Start,
}

/// Is what a container of the image starts, unless it is told otherwise; what the configuration does not say, or says in
/// another form, is empty.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Start {
    /// The program and its arguments: `Entrypoint`, and `Cmd` behind it.
    pub command: Vec<String>,
    /// The directories of `PATH`, in which programs without a slash are looked for.
    pub search: Vec<String>,
    /// Where relative paths start.
    pub working_directory: String,
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
            start: Start::of(&document.config),
        })
    }
}

impl Start {
    fn of(config: &Value) -> Self {
        let list = |name| {
            let words = config.get(name).and_then(Value::as_array).into_iter().flatten();
            words.filter_map(Value::as_str).map(str::to_owned).collect::<Vec<_>>()
        };
        let path = list("Env")
            .into_iter()
            .rev()
            .find_map(|one| Some(one.strip_prefix("PATH=")?.to_owned()));
        let path = path.unwrap_or_else(|| DEFAULT_PATH.to_owned());
        let directory = config.get("WorkingDir").and_then(Value::as_str);
        Self {
            command: [list("Entrypoint"), list("Cmd")].concat(),
            search: path.split(':').filter(|path| !path.is_empty()).map(str::to_owned).collect(),
            working_directory: directory.filter(|path| !path.is_empty()).unwrap_or("/").to_owned(),
        }
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
    /// Of no consequence for layers, so that nothing in it makes an image unreadable.
    #[serde(default)]
    config: Value,
}

#[derive(Deserialize)]
struct Rootfs {
    #[serde(rename = "type")]
    kind: String,
    /// Go programs write `null` when there are none.
    diff_ids: Option<Vec<Digest>>,
}

/// What container runtimes set where the image sets nothing.
const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

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
    fn what_is_started_is_read_and_never_in_the_way() {
        let start = |config: &str| {
            let text = format!(
                r#"{{"architecture":"a","os":"b","config":{config},"rootfs":{{"type":"layers"}}}}"#
            );
            ImageConfig::parse(text.as_bytes()).unwrap().start
        };
        let full = start(
            r#"{"Entrypoint":["/init"],"Cmd":["a","b"],"Env":["A=1","PATH=/x:/y"],"WorkingDir":"/srv"}"#,
        );
        assert_eq!(full.command, ["/init", "a", "b"]);
        assert_eq!(full.search, ["/x", "/y"]);
        assert_eq!(full.working_directory, "/srv");
        for empty in ["null", "{}", r#"{"Entrypoint":null,"Cmd":"sh","Env":{},"WorkingDir":""}"#] {
            let start = start(empty);
            assert_eq!((start.command.len(), start.search.len()), (0, 6), "{empty}");
            assert_eq!(start.working_directory, "/");
        }
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
