//! What is written down about snapshots and layers.

use std::collections::BTreeMap;
use std::time::{SystemTime, UNIX_EPOCH};

use libverity::digest::{Digest, RootHash};
use libverity::layer::Profile;
use serde::{Deserialize, Serialize};

/// Is what is known of a snapshot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct SnapshotRecord {
    /// Names the snapshot's directory, and never another one's.
    pub(crate) id: u64,
    pub(crate) kind: SnapshotKind,
    /// The name of the committed snapshot below, if there is one.
    pub(crate) parent: Option<String>,
    pub(crate) labels: BTreeMap<String, String>,
    pub(crate) created: Time,
    pub(crate) updated: Time,
    pub(crate) content: Content,
}

/// Tells the kinds of snapshots apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum SnapshotKind {
    /// Something is being written into it.
    Active,
    /// It is complete, and others may be upon it.
    Committed,
    /// It shows another one, and cannot be written.
    View,
}

impl SnapshotKind {
    /// Returns the name as filters have it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Committed => "committed",
            Self::View => "view",
        }
    }
}

/// Is what a snapshot adds to its parent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum Content {
    /// What a container writes: the directory `fs` of the snapshot.
    Directory,
    /// A layer.
    Layer(LayerUse),
    /// Nothing.
    Nothing,
    /// A layer that is still to be unpacked.
    Unpacking,
}

/// Is a layer as a snapshot uses it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct LayerUse {
    /// The number of the layer.
    pub(crate) layer: u32,
    /// The chain of diffIDs up to this one; known once the snapshot is committed.
    pub(crate) chain_id: Option<Digest>,
    /// The repositories, as `HOST/REPOSITORY`, that containerd has the blob from.
    pub(crate) repositories: Vec<String>,
    /// What the image is called, for messages.
    pub(crate) image: Option<String>,
}

impl LayerUse {
    /// Returns the image or the repositories, for messages.
    pub(crate) fn origin(&self) -> String {
        match (&self.image, &self.repositories[..]) {
            (Some(image), _) => image.clone(),
            (None, []) => "an image of no known repository".to_owned(),
            (None, repositories) => repositories.join(", "),
        }
    }
}

/// Is what is known of a layer that was converted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct LayerRecord {
    /// The digest of the blob, or of the archive that was made of a directory.
    pub(crate) layer_digest: Digest,
    pub(crate) diff_id: Digest,
    /// The length of the archive in bytes.
    pub(crate) archive_size_bytes: u64,
    pub(crate) profile: Profile,
    pub(crate) root_hash: RootHash,
    /// Where the image ends and its hash area starts.
    pub(crate) image_size_bytes: u64,
    /// How long the file is, with the hash area.
    pub(crate) file_size_bytes: u64,
    /// How many files are in the image.
    pub(crate) inodes: u64,
}

/// Is a time since 1970.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct Time {
    pub(crate) seconds: i64,
    pub(crate) nanoseconds: i32,
}

impl Time {
    pub(crate) fn now() -> Self {
        // A clock before 1970 was never set.
        let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self {
            seconds: i64::try_from(since_1970.as_secs()).unwrap_or(i64::MAX),
            // Less than 10^9.
            nanoseconds: since_1970.subsec_nanos().cast_signed(),
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn layer(name: &str) -> LayerRecord {
        LayerRecord {
            layer_digest: Digest::of(name.as_bytes()),
            diff_id: Digest::of(format!("diff of {name}").as_bytes()),
            archive_size_bytes: 1024,
            profile: Profile::default(),
            root_hash: RootHash::from_bytes(Digest::of(b"root").as_bytes().to_vec()),
            image_size_bytes: 4096,
            file_size_bytes: 8192,
            inodes: 1,
        }
    }

    #[test]
    fn origins_are_told_as_well_as_can_be() {
        let mut used = LayerUse {
            layer: 1,
            chain_id: None,
            repositories: vec!["a.example/x".to_owned(), "b.example/y".to_owned()],
            image: Some("a.example/x:1".to_owned()),
        };
        assert_eq!(used.origin(), "a.example/x:1");
        used.image = None;
        assert_eq!(used.origin(), "a.example/x, b.example/y");
        used.repositories.clear();
        assert_eq!(used.origin(), "an image of no known repository");
    }
}
