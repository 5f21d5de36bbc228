//! The snapshotter: what containerd's requests for snapshots do.

mod filter;
mod mounts;
pub(crate) mod service;
mod status;

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use osguard_containerd_api::types::Mount;
use tokio::task::JoinSet;

pub(crate) use self::filter::{FilterError, Filters};
pub(crate) use self::mounts::unpack_id;
use self::mounts::{IdMap, IdMapError, Lowers};
use super::chain;
use super::collector::Collector;
use super::config::SignatureMode;
use super::keys::SnapshotKey;
use super::layers::{ActivationError, Layers, Unsigned};
use super::locks::Locks;
use super::metrics::Metrics;
use super::modes::Modes;
use super::store::{Content, LayerUse, Lower, SnapshotKind, SnapshotRecord, Store, StoreError};
use super::unpack::{UnpackError, Unpacker, is_there};
use super::usage::{Usage, of_directory};

/// Is the snapshotter. All that it answers is in the records before.
#[derive(Debug)]
pub(crate) struct Snapshots {
    pub(crate) store: Arc<Store>,
    pub(crate) layers: Arc<Layers>,
    pub(crate) unpacker: Arc<Unpacker>,
    pub(crate) collector: Collector,
    pub(crate) modes: Arc<Modes>,
    pub(crate) metrics: Arc<Metrics>,
    /// The directory of the snapshots' directories.
    pub(crate) directory: PathBuf,
    /// An empty directory, which a view of nothing shows.
    pub(crate) empty: PathBuf,
    /// Held while a snapshot becomes a committed one, or has a layer unpacked into it.
    pub(crate) names: Locks<String>,
}

impl Snapshots {
    /// Adds a snapshot, and returns how it is mounted.
    pub(crate) async fn prepare(
        &self,
        name: &str,
        parent: Option<&str>,
        kind: SnapshotKind,
        labels: BTreeMap<String, String>,
    ) -> Result<Vec<Mount>, SnapshotError> {
        check_name(name)?;
        check_labels(&labels)?;
        IdMap::of_labels(&labels)?;
        let content = match kind {
            SnapshotKind::View | SnapshotKind::Committed => Content::Nothing,
            SnapshotKind::Active if SnapshotKey::parse(name).is_unpack() => Content::Unpacking,
            SnapshotKind::Active => Content::Directory,
        };
        let (store, key, below) =
            (Arc::clone(&self.store), name.to_owned(), parent.map(str::to_owned));
        let record =
            blocking(move || Ok(store.prepare(&key, below.as_deref(), kind, &content, &labels)?))
                .await?;
        match self.mounts_of(name, &record).await {
            Ok(mounts) => Ok(mounts),
            Err(error) => {
                // Nobody knows of the snapshot yet.
                if let Err(error) = self.remove(name).await {
                    tracing::warn!(name, %error, "a snapshot that was refused is left");
                }
                Err(error)
            }
        }
    }

    /// Returns how a snapshot is mounted.
    pub(crate) async fn mounts(&self, name: &str) -> Result<Vec<Mount>, SnapshotError> {
        let record = self.stat(name).await?;
        if record.kind == SnapshotKind::Committed {
            let (name, kind) = (name.to_owned(), record.kind);
            return Err(StoreError::NotActive { name, kind }.into());
        }
        self.mounts_of(name, &record).await
    }

    /// Makes an active snapshot a committed one.
    pub(crate) async fn commit(
        &self,
        name: &str,
        key: &str,
        parent: Option<&str>,
        labels: BTreeMap<String, String>,
    ) -> Result<(), SnapshotError> {
        check_name(name)?;
        check_labels(&labels)?;
        let _lock = self.names.lock(&key.to_owned()).await;
        let record = self.stat(key).await?;
        if record.kind == SnapshotKind::Active && self.stat(name).await.is_ok() {
            return Err(StoreError::Exists { name: name.to_owned() }.into());
        }
        let written = match (record.kind, &record.content) {
            (SnapshotKind::Active, Content::Directory) => Some(self.pack(key, &record).await?),
            (SnapshotKind::Active, Content::Layer(used)) => {
                self.check_signed(used).await?;
                None
            }
            _ => None,
        };
        let layer = written.as_ref().map(|used| used.layer);
        let (store, name, key) = (Arc::clone(&self.store), name.to_owned(), key.to_owned());
        let parent = parent.map(str::to_owned);
        let committed =
            blocking(move || Ok(store.commit(&name, &key, parent.as_deref(), &labels, written)?));
        match (committed.await, layer) {
            (Ok(record), Some(_)) => self.collector.collect_directory(record.id),
            (Ok(_), None) => {}
            (Err(error), layer) => {
                if let Some(layer) = layer {
                    self.collector.collect_layer(layer);
                }
                return Err(error);
            }
        }
        Ok(())
    }

    /// Removes a snapshot; what it leaves goes in the background.
    pub(crate) async fn remove(&self, name: &str) -> Result<(), SnapshotError> {
        let _lock = self.names.lock(&name.to_owned()).await;
        let (store, name) = (Arc::clone(&self.store), name.to_owned());
        let removed = blocking(move || Ok(store.remove(&name)?)).await?;
        self.collector.collect(removed);
        Ok(())
    }

    /// Reads the record of a snapshot.
    pub(crate) async fn stat(&self, name: &str) -> Result<SnapshotRecord, SnapshotError> {
        let (store, name) = (Arc::clone(&self.store), name.to_owned());
        blocking(move || Ok(store.snapshot(&name)?)).await
    }

    /// Replaces labels: all of them, or those that the paths `labels.KEY` name.
    pub(crate) async fn update(
        &self,
        name: &str,
        labels: BTreeMap<String, String>,
        paths: Vec<String>,
    ) -> Result<SnapshotRecord, SnapshotError> {
        check_labels(&labels)?;
        let mut keys = Vec::new();
        let mut replaces_all = paths.is_empty();
        for path in paths {
            match path.strip_prefix("labels.") {
                Some(key) => keys.push(key.to_owned()),
                None if path == "labels" => replaces_all = true,
                None => return Err(SnapshotError::Immutable { path }),
            }
        }
        let (store, name) = (Arc::clone(&self.store), name.to_owned());
        blocking(move || {
            Ok(store.update_labels(&name, |former| {
                if replaces_all {
                    former.clear();
                    former.extend(labels);
                } else {
                    for key in keys {
                        match labels.get(&key) {
                            Some(value) => former.insert(key, value.clone()),
                            None => former.remove(&key),
                        };
                    }
                }
                // containerd stores none without a value.
                former.retain(|_, value| !value.is_empty());
            })?)
        })
        .await
    }

    /// Lists the snapshots for which a filter holds.
    pub(crate) async fn list(
        &self,
        filters: Filters,
    ) -> Result<Vec<(String, SnapshotRecord)>, SnapshotError> {
        let store = Arc::clone(&self.store);
        blocking(move || {
            let mut snapshots = store.snapshots()?;
            snapshots.retain(|(name, record)| filters.match_snapshot(name, record));
            Ok(snapshots)
        })
        .await
    }

    /// Measures what a snapshot itself takes of the disk.
    pub(crate) async fn usage(&self, name: &str) -> Result<Usage, SnapshotError> {
        let record = self.stat(name).await?;
        let (store, directory) = (Arc::clone(&self.store), self.of(record.id));
        let images = self.layers.images.clone();
        blocking(move || match record.content {
            Content::Directory => of_directory(&directory.join("fs"))
                .map_err(|source| SnapshotError::Directory { path: directory, source }),
            Content::Layer(used) => {
                let layer = store.layer(used.layer)?;
                let layer = layer.ok_or(StoreError::LayerGone { layer: used.layer })?;
                let path = images.path(&layer.layer_digest, layer.profile.name());
                let blocks = fs::metadata(path).map_or(0, |metadata| metadata.blocks());
                Ok(Usage { size_bytes: blocks * 512, inodes: layer.inodes })
            }
            Content::Nothing | Content::Unpacking => Ok(Usage::default()),
        })
        .await
    }

    /// Returns the directory of the snapshot with this id.
    pub(crate) fn of(&self, id: u64) -> PathBuf {
        self.directory.join(id.to_string())
    }

    /// Says how a snapshot is mounted, after mounting all layers below it.
    async fn mounts_of(
        &self,
        name: &str,
        record: &SnapshotRecord,
    ) -> Result<Vec<Mount>, SnapshotError> {
        let namespace = SnapshotKey::parse(name).namespace;
        let directory = self.of(record.id);
        if matches!(record.content, Content::Unpacking | Content::Layer(_)) {
            return Ok(mounts::unpack(&directory));
        }
        let (store, parent) = (Arc::clone(&self.store), record.parent.clone());
        let lowers = blocking(move || Ok(store.lowers(parent.as_deref())?)).await?;
        let lowers = self.activate(namespace, lowers).await?;
        let map = IdMap::of_labels(&record.labels)?;
        if record.kind == SnapshotKind::View {
            return Ok(mounts::view(&self.empty, &lowers, map.as_ref()));
        }
        let (path, owner, top) =
            (directory.clone(), map.as_ref().map(IdMap::root), lowers.0.first().cloned());
        blocking(move || make_directories(&path, owner, top.as_deref())).await?;
        Ok(mounts::active(&directory, &lowers, map.as_ref()))
    }

    /// Mounts layers, each once; of those that occur again only the topmost, as what lies under an equal layer cannot be
    /// seen, and overlayfs refuses to stack a directory on itself.
    async fn activate(
        &self,
        namespace: Option<&str>,
        lowers: Vec<Lower>,
    ) -> Result<Lowers, SnapshotError> {
        let mut seen = std::collections::HashSet::new();
        let unique: Vec<Lower> =
            lowers.into_iter().filter(|lower| seen.insert(lower.used.layer)).collect();
        let mut paths = vec![PathBuf::new(); unique.len()];
        let mut rest = unique.into_iter().enumerate();
        let mut running = JoinSet::new();
        loop {
            while running.len() < PARALLEL_ACTIVATIONS
                && let Some((index, lower)) = rest.next()
            {
                let mode = self.modes.of(&lower.used.repositories);
                let (layers, unpacker) = (Arc::clone(&self.layers), Arc::clone(&self.unpacker));
                let namespace = namespace.map(str::to_owned);
                running.spawn(async move {
                    let activated = layers.activate(&lower.used, mode).await;
                    let activated = match (activated, namespace) {
                        (Err(error), Some(namespace))
                            if error.is_damage() || !is_there(&layers.images, &lower.record) =>
                        {
                            let layer = lower.record.layer_digest;
                            tracing::warn!(%layer, error = %chain(&error), "made anew");
                            match unpacker.restore(&namespace, &lower.record).await {
                                Ok(()) => layers.activate(&lower.used, mode).await,
                                Err(failure) => {
                                    let failure = chain(&failure);
                                    tracing::error!(%layer, error = failure, "cannot be made anew");
                                    Err(error)
                                }
                            }
                        }
                        (activated, _) => activated,
                    };
                    (index, activated)
                });
            }
            match running.join_next().await {
                None => return Ok(Lowers(paths)),
                Some(Ok((index, path))) => paths[index] = path?,
                Some(Err(source)) => return Err(SnapshotError::Thread { source }),
            }
        }
    }

    /// Makes a layer of what was written into a snapshot. Nobody has signed it.
    async fn pack(&self, key: &str, record: &SnapshotRecord) -> Result<LayerUse, SnapshotError> {
        if self.modes.default_mode() == SignatureMode::Require {
            return Err(SnapshotError::Unverified { name: key.to_owned() });
        }
        let (layer, _) = self.unpacker.pack(&self.of(record.id).join("fs")).await?;
        Ok(LayerUse { layer, chain_id: None, repositories: Vec::new(), image: None })
    }

    /// Checks that a layer has a signature where one is required. Whether the kernel accepts it shows at each mount.
    async fn check_signed(&self, used: &LayerUse) -> Result<(), SnapshotError> {
        if self.modes.of(&used.repositories) != SignatureMode::Require {
            return Ok(());
        }
        let (layers, store, used) =
            (Arc::clone(&self.layers), Arc::clone(&self.store), used.clone());
        blocking(move || {
            let record = store.layer(used.layer)?;
            let record = record.ok_or(StoreError::LayerGone { layer: used.layer })?;
            match layers.signatures(used.layer, &record)?.is_empty() {
                false => Ok(()),
                true => Err(ActivationError::Refused {
                    origin: used.origin(),
                    layer: record.layer_digest,
                    reason: Unsigned::None { root_hash: record.root_hash.to_string() }.to_string(),
                }
                .into()),
            }
        })
        .await
    }
}

/// Says why a request for a snapshot is not fulfilled.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum SnapshotError {
    /// A layer cannot be mounted.
    #[error(transparent)]
    Activation(#[from] ActivationError),
    /// A directory cannot be made or read.
    #[error("cannot use {}", path.display())]
    Directory {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Labels of user namespaces cannot be understood.
    #[error(transparent)]
    IdMap(#[from] IdMapError),
    /// The field cannot be changed.
    #[error("cannot update {path:?} field on snapshot: only labels can change")]
    Immutable {
        /// The path of the field.
        path: String,
    },
    /// A label is too long.
    #[error("label {key:?} has more than {MAX_LABEL_BYTES} bytes with its value")]
    Label {
        /// Its key, or the start of it.
        key: String,
    },
    /// The name of a snapshot is empty, or too long.
    #[error("a snapshot's name has 1 to {MAX_NAME_BYTES} bytes, not {found_bytes}")]
    Name {
        /// How long it is.
        found_bytes: usize,
    },
    /// The layer cannot be made.
    #[error(transparent)]
    Unpack(#[from] UnpackError),
    /// What was written can be signed by nobody.
    #[error(
        "signatures are required, and {name} cannot be committed: what was written into it is not signed. Build and \
         sign images elsewhere, or set another mode"
    )]
    Unverified {
        /// The snapshot.
        name: String,
    },
    /// The records refuse, or cannot be used.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The work broke off.
    #[error("the work broke off")]
    Thread {
        /// Why.
        source: tokio::task::JoinError,
    },
}

/// Does work that waits for the disk or the kernel on a thread that may wait.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, SnapshotError> + Send + 'static,
) -> Result<T, SnapshotError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(source) => Err(SnapshotError::Thread { source }),
    }
}

fn check_name(name: &str) -> Result<(), SnapshotError> {
    match name.len() {
        1..=MAX_NAME_BYTES => Ok(()),
        found_bytes => Err(SnapshotError::Name { found_bytes }),
    }
}

fn check_labels(labels: &BTreeMap<String, String>) -> Result<(), SnapshotError> {
    let too_long = labels.iter().find(|(key, value)| key.len() + value.len() > MAX_LABEL_BYTES);
    match too_long {
        None => Ok(()),
        Some((key, _)) => Err(SnapshotError::Label { key: key.chars().take(100).collect() }),
    }
}

/// Makes the directories of a container, as often as it is asked for: what was interrupted is completed.
///
/// The root of the container has the owner that it has in the topmost layer, as in containerd's own snapshotter, or is
/// root's in its user namespace.
fn make_directories(
    directory: &Path,
    owner: Option<(u32, u32)>,
    top: Option<&Path>,
) -> Result<(), SnapshotError> {
    let failed = |path: &Path| {
        let path = path.to_owned();
        |source| SnapshotError::Directory { path, source }
    };
    let upper = directory.join("fs");
    if upper.exists() {
        return Ok(());
    }
    let work = directory.join("work");
    fs::create_dir_all(&work).map_err(failed(&work))?;
    match make_upper(directory, &upper, owner, top) {
        // Another request was faster.
        Err(_) if upper.exists() => Ok(()),
        made => made.map_err(failed(&upper)),
    }
}

/// Makes the directory `upper`, under another name until it is as it should be.
fn make_upper(
    directory: &Path,
    upper: &Path,
    owner: Option<(u32, u32)>,
    top: Option<&Path>,
) -> io::Result<()> {
    let beside = directory.join("fs.new");
    match fs::create_dir(&beside) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        _ => {}
    }
    fs::set_permissions(&beside, fs::Permissions::from_mode(0o755))?;
    let owner = match (owner, top) {
        (None, Some(top)) => {
            let metadata = fs::metadata(top)?;
            Some((metadata.uid(), metadata.gid()))
        }
        (owner, _) => owner,
    };
    if let Some((user, group)) = owner {
        chown(&beside, Some(user), Some(group))?;
    }
    fs::rename(&beside, upper)
}

/// containerd's limit for the key and value of a label together (`pkg/labels`).
const MAX_LABEL_BYTES: usize = 4096;

/// Keys of redb may be far longer; a namespace has 76 bytes, and containerd's own store limits keys of bolt to 32,768.
const MAX_NAME_BYTES: usize = 4096;

/// How many layers are mounted at the same time for one container: the device mapper does one request at a time anyway.
const PARALLEL_ACTIVATIONS: usize = 8;
