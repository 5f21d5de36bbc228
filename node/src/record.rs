//! What is written down about a mount before the first kernel object of it is made.

use std::fmt;
use std::path::{Path, PathBuf};

use libverity::digest::{Digest, RootHash};
use serde::{Deserialize, Serialize};

use crate::mount_namespace::MountNamespace;

/// Describes all that a mounted image consists of, so that whoever reads it can take it apart.
///
/// Its file is written with the phase [`Phase::Mounting`] before anything is made, and rewritten with
/// [`Phase::Mounted`] once all is there. A process that dies between the two leaves a record from which every trace of
/// it is removed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct MountRecord {
    /// Is [`SCHEMA`].
    pub schema: String,
    /// Where the image is mounted: absolute, without symbolic links.
    pub target: PathBuf,
    /// Whether the directory `target` was made for this mount and goes with it.
    pub target_created: bool,
    /// Who sees the mount.
    pub mount_namespace: MountNamespace,
    /// How far the mount came.
    pub phase: Phase,
    /// The image that the layers are of, where that is known.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub image: Option<ImageRecord>,
    /// The layers, the bottom one first.
    pub layers: Vec<LayerRecord>,
    /// The writable part.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub upper: Option<UpperRecord>,
}

impl MountRecord {
    /// Returns the name of the record, which depends on its target only: 32 hexadecimal digits.
    pub fn identifier(target: &Path) -> String {
        let mut digits = Digest::of(target.as_os_str().as_encoded_bytes()).hex();
        digits.truncate(32);
        digits
    }

    /// Returns what the table of mounts names as the source of the overlay, by which it is known as this mount's.
    pub fn overlay_source(&self) -> String {
        format!("osguard-{}", Self::identifier(&self.target))
    }

    /// Tells whether the mount uses the layer `name`.
    pub fn uses(&self, name: &LayerName) -> bool {
        self.layers.iter().any(|layer| layer.name() == *name)
    }
}

/// Says how far a mount came.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Phase {
    /// All of it is there.
    Mounted,
    /// Some of it may be there.
    Mounting,
}

/// Names the image that is mounted, for whoever asks what is there; nothing is decided by it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ImageRecord {
    /// Its name, with the tag that was asked for.
    pub name: String,
    /// The digest of its manifest.
    pub manifest: Digest,
}

/// Describes a layer of a mounted image.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct LayerRecord {
    /// The root hash of its tree.
    pub root_hash: RootHash,
    /// Whether the kernel has verified a signature of the root hash.
    pub signed: bool,
    /// The image file.
    pub image: PathBuf,
}

impl LayerRecord {
    /// Returns the name under which devices and directories of the layer are found.
    pub fn name(&self) -> LayerName {
        LayerName { root_hash: self.root_hash.clone(), signed: self.signed }
    }
}

/// Names the one device and the one mount of a layer, which all images on the node share.
///
/// A layer with a signature and the same layer without are two devices: the kernel trusts only the first.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LayerName {
    /// The root hash.
    pub root_hash: RootHash,
    /// Whether the kernel has verified a signature of it.
    pub signed: bool,
}

impl LayerName {
    /// Returns the name of the device-mapper device: `osguard-<root hash>` or `osguard-unsigned-<root hash>`.
    pub fn device(&self) -> String {
        format!("{DEVICE_PREFIX}{self}")
    }

    /// Returns the uuid of the device-mapper device, in the form that veritysetup knows: `CRYPT-VERITY-`, 32 digits, name.
    pub fn device_uuid(&self) -> String {
        let digits = self.root_hash.signed_text();
        format!("CRYPT-VERITY-{}-{}", digits.get(..32).unwrap_or(&digits), self.device())
    }

    /// Parses the name of a device-mapper device; `None` for one that is not of this project.
    pub fn from_device(device: &str) -> Option<Self> {
        Self::from_directory(device.strip_prefix(DEVICE_PREFIX)?)
    }

    /// Parses the name of a directory under `layers`; `None` for a foreign one.
    pub fn from_directory(directory: &str) -> Option<Self> {
        let unsigned = directory.strip_prefix(UNSIGNED_PREFIX);
        let root_hash = unsigned.unwrap_or(directory).parse().ok()?;
        Some(Self { root_hash, signed: unsigned.is_none() })
    }
}

impl fmt::Display for LayerName {
    /// Writes the name of the directory: the root hash, after `unsigned-` where there is no signature.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let prefix = if self.signed { "" } else { UNSIGNED_PREFIX };
        write!(formatter, "{prefix}{}", self.root_hash)
    }
}

/// Describes the writable part of a mounted image.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct UpperRecord {
    /// Where new and changed files lie.
    pub directory: PathBuf,
    /// The work directory of overlayfs.
    pub work: PathBuf,
}

/// The version of the record's form.
pub const SCHEMA: &str = "osguard.mount-record.v1";

/// The longest record: 500 layers of at most 4 KiB of path and 1 KiB of the rest, with room to spare.
pub const RECORD_LIMIT_BYTES: u64 = 4 << 20;

const DEVICE_PREFIX: &str = "osguard-";
const UNSIGNED_PREFIX: &str = "unsigned-";

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn record(target: &Path) -> MountRecord {
        MountRecord {
            schema: SCHEMA.to_owned(),
            target: target.to_owned(),
            target_created: true,
            mount_namespace: MountNamespace::current().unwrap(),
            phase: Phase::Mounting,
            image: Some(ImageRecord {
                name: "registry.example/app:v1".to_owned(),
                manifest: Digest::of(b"manifest"),
            }),
            layers: vec![
                LayerRecord {
                    root_hash: "ab".repeat(32).parse().unwrap(),
                    signed: true,
                    image: "/images/1.erofs".into(),
                },
                LayerRecord {
                    root_hash: "cd".repeat(32).parse().unwrap(),
                    signed: false,
                    image: "/images/2.erofs".into(),
                },
            ],
            upper: None,
        }
    }

    #[test]
    fn record_is_read_back_as_written() {
        let record = record(Path::new("/mnt"));
        let text = serde_json::to_string(&record).unwrap();
        assert_eq!(serde_json::from_str::<MountRecord>(&text).unwrap(), record);
        assert!(text.contains(r#""phase":"mounting""#), "{text}");
        // As they were before images had their names in them.
        let mut nameless = record;
        nameless.image = None;
        let text = serde_json::to_string(&nameless).unwrap();
        assert!(!text.contains("image\":null"), "{text}");
        assert_eq!(serde_json::from_str::<MountRecord>(&text).unwrap(), nameless);
    }

    #[test]
    fn layer_names_tell_signed_from_unsigned() {
        for layer in record(Path::new("/mnt")).layers {
            let name = layer.name();
            assert_eq!(LayerName::from_device(&name.device()), Some(name.clone()));
            assert_eq!(LayerName::from_directory(&name.to_string()), Some(name.clone()));
            assert!(name.device().len() <= 127 && name.device_uuid().len() <= 128);
        }
        assert_eq!(LayerName::from_device("osguard-root"), None);
        assert_eq!(LayerName::from_device("vg-root"), None);
    }
}
