//! Why records are not read or changed.

use std::path::PathBuf;

use libverity::digest::Digest;

use super::SnapshotKind;

/// Says why records are not read or changed; nothing was changed then.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum StoreError {
    /// A layer is not the one that the name of a snapshot stands for.
    #[error(
        "{name} cannot be committed: its name stands for the chain of layers {expected}, and what \
         was unpacked makes the chain {found}"
    )]
    Chain {
        /// The name or key that says otherwise.
        name: String,
        /// The chainID in the name.
        expected: Digest,
        /// The chainID of what was unpacked.
        found: Digest,
    },
    /// The file cannot be read or written.
    #[error("the records of layers and snapshots cannot be read or written")]
    Database(#[source] Box<redb::Error>),
    /// The name is taken.
    #[error("snapshot {name} already exists")]
    Exists {
        /// The name.
        name: String,
    },
    /// Other snapshots are upon this one. containerd's own snapshotters use these words, and their tests look for them.
    #[error("cannot remove snapshot with child: {name}")]
    HasChildren {
        /// The name.
        name: String,
    },
    /// The layer was removed meanwhile.
    #[error("layer {layer} is being removed; try again")]
    LayerGone {
        /// The number of the layer.
        layer: u32,
    },
    /// Nothing can be written into the snapshot.
    #[error("snapshot {name} is {}, not active", kind.name())]
    NotActive {
        /// The name.
        name: String,
        /// What it is.
        kind: SnapshotKind,
    },
    /// There is no such snapshot.
    #[error("snapshot {name} does not exist: not found")]
    NotFound {
        /// The name.
        name: String,
    },
    /// The snapshot is for what containers write, not for layers.
    #[error("snapshot {name} was not prepared for a layer")]
    NotForLayers {
        /// The name.
        name: String,
    },
    /// Whatever is in the snapshot, no layer was verified on its way into it.
    #[error(
        "snapshot {name} cannot be committed: no layer was unpacked into it by osguard. Is another differ \
         configured for this snapshotter?"
    )]
    NotUnpacked {
        /// The name.
        name: String,
    },
    /// The snapshot has another parent already.
    #[error("snapshot {name} has the parent {found} and cannot get {wanted}")]
    OtherParent {
        /// The name.
        name: String,
        /// The parent that it has.
        found: String,
        /// The parent that it was to get.
        wanted: String,
    },
    /// Nothing can be upon a snapshot that is not committed.
    #[error("parent {name} is {}, not committed", kind.name())]
    ParentNotCommitted {
        /// The name of the parent.
        name: String,
        /// What it is.
        kind: SnapshotKind,
    },
    /// A record cannot be understood.
    #[error("the records are damaged, or of another program")]
    Record {
        /// What does not parse.
        source: serde_json::Error,
    },
    /// More snapshots are stacked than can be mounted.
    #[error("snapshot {name} has more than {limit} others below it")]
    TooDeep {
        /// The name.
        name: String,
        /// How many may be.
        limit: usize,
    },
    /// The file cannot be opened anew after an error of the disk.
    #[error("the records cannot be used after an error of the disk")]
    Unusable,
    /// The file is of another version.
    #[error("{} has the format {found}, and this program knows another", file.display())]
    Version {
        /// The file.
        file: PathBuf,
        /// The version that it has.
        found: u64,
    },
}

macro_rules! from_redb {
    ($($error:ident)*) => {
        $(impl From<redb::$error> for StoreError {
            fn from(error: redb::$error) -> Self {
                Self::Database(Box::new(error.into()))
            }
        })*
    };
}

from_redb!(CommitError DatabaseError Error StorageError TableError TransactionError);
