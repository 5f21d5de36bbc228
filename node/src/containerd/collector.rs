//! What is left of removed snapshots is removed in the background: their directories, and layers that nobody uses any more.
//!
//! Each of them has a task of its own and is tried until it is gone. One that is stuck holds up no other. What is not done
//! when the daemon ends is found again at its next start, in the records.

use std::collections::VecDeque;
use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::chain;
use super::layers::{ActivationError, Layers};
use super::store::{Removed, Store, StoreError};
use super::unpack::Unpacker;

/// Removes what is left over.
#[derive(Clone, Debug)]
pub(crate) struct Collector(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    store: Arc<Store>,
    layers: Arc<Layers>,
    unpacker: Arc<Unpacker>,
    /// The directory of the snapshots' directories.
    snapshots: PathBuf,
    /// How long a layer stays that no snapshot has got yet.
    keep_unused: Duration,
    /// Layers that were unpacked, and when each is to be looked at, the earliest first. One task waits for all of them: a
    /// task for each would be kilobytes for every pull of the last minutes.
    later: Mutex<VecDeque<(Instant, u32)>>,
    pending: AtomicUsize,
}

impl Collector {
    pub(crate) fn new(
        store: Arc<Store>,
        layers: Arc<Layers>,
        unpacker: Arc<Unpacker>,
        snapshots: PathBuf,
        keep_unused: Duration,
    ) -> Self {
        let (later, pending) = (Mutex::default(), AtomicUsize::new(0));
        Self(Arc::new(Inner { store, layers, unpacker, snapshots, keep_unused, later, pending }))
    }

    /// Takes over what a removed snapshot has left.
    pub(crate) fn collect(&self, removed: Removed) {
        if let Some(id) = removed.directory {
            self.collect_directory(id);
        }
        if let Some(layer) = removed.unused_layer {
            self.collect_layer(layer);
        }
    }

    /// Removes the directory of a snapshot that is gone, or has become a layer.
    pub(crate) fn collect_directory(&self, id: u64) {
        let inner = Arc::clone(&self.0);
        self.start("directory", id, move || {
            let inner = Arc::clone(&inner);
            async move { inner.remove_directory(id).await }
        });
    }

    /// Removes a layer, unless a snapshot uses it.
    pub(crate) fn collect_layer(&self, layer: u32) {
        let inner = Arc::clone(&self.0);
        self.start("layer", layer.into(), move || {
            let inner = Arc::clone(&inner);
            async move { inner.remove_layer(layer).await }
        });
    }

    /// Removes a layer after a while, unless a snapshot uses it then: it was unpacked, and may be asked for again.
    pub(crate) fn collect_layer_later(&self, layer: u32) {
        let due = Instant::now() + self.0.keep_unused;
        let mut later = self.0.later.lock().unwrap_or_else(PoisonError::into_inner);
        later.push_back((due, layer));
        if later.len() == 1 {
            let collector = self.clone();
            tokio::spawn(async move {
                while let Some((due, layer)) = collector.0.next_later() {
                    tokio::time::sleep_until(due).await;
                    collector.collect_layer(layer);
                    collector.0.later_is_over();
                }
            });
        }
    }

    /// Counts what is being removed.
    pub(crate) fn pending(&self) -> usize {
        self.0.pending.load(Ordering::Relaxed)
    }

    fn start<F>(
        &self,
        kind: &'static str,
        number: u64,
        mut work: impl FnMut() -> F + Send + 'static,
    ) where
        F: Future<Output = Result<(), CollectorError>> + Send,
    {
        let inner = Arc::clone(&self.0);
        tokio::spawn(async move {
            inner.pending.fetch_add(1, Ordering::Relaxed);
            let mut wait = FIRST_WAIT;
            while let Err(error) = work().await {
                inner.layers.metrics.removal_failed();
                tracing::warn!(kind, number, error = %chain(&error), "cannot be removed yet");
                tokio::time::sleep(wait).await;
                wait = (wait * 2).min(LONGEST_WAIT);
            }
            inner.pending.fetch_sub(1, Ordering::Relaxed);
        });
    }
}

impl Inner {
    /// Returns the layer that is to be looked at next, which stays the first until that is over.
    fn next_later(&self) -> Option<(Instant, u32)> {
        self.later.lock().unwrap_or_else(PoisonError::into_inner).front().copied()
    }

    fn later_is_over(&self) {
        let mut later = self.later.lock().unwrap_or_else(PoisonError::into_inner);
        later.pop_front();
        if later.is_empty() {
            later.shrink_to_fit();
        }
    }

    async fn remove_directory(self: Arc<Self>, id: u64) -> Result<(), CollectorError> {
        let work = tokio::task::spawn_blocking(move || {
            let path = self.snapshots.join(id.to_string());
            match std::fs::remove_dir_all(&path) {
                Err(source) if source.kind() != io::ErrorKind::NotFound => {
                    return Err(CollectorError::Directory { path, source });
                }
                _ => {}
            }
            Ok(self.store.forget_directory(id)?)
        });
        work.await.unwrap_or_else(|error| Err(CollectorError::Thread { source: error }))
    }

    async fn remove_layer(self: Arc<Self>, layer: u32) -> Result<(), CollectorError> {
        let store = Arc::clone(&self.store);
        let reading = tokio::task::spawn_blocking(move || store.layer(layer));
        let record = reading.await.map_err(|source| CollectorError::Thread { source })??;
        let Some(record) = record else { return Ok(()) };
        if !self.layers.deactivate(layer).await? {
            return Ok(());
        }
        let lock = self.unpacker.digests.lock(&record.layer_digest).await;
        let work = tokio::task::spawn_blocking(move || {
            let _lock = lock;
            if !self.store.forget_layer(layer)? {
                return Ok(());
            }
            let path = self.unpacker.images.path(&record.layer_digest, record.profile.name());
            match std::fs::remove_file(&path) {
                Err(source) if source.kind() != io::ErrorKind::NotFound => {
                    Err(CollectorError::Directory { path, source })
                }
                _ => Ok(()),
            }
        });
        work.await.unwrap_or_else(|error| Err(CollectorError::Thread { source: error }))
    }
}

/// Says why something is still there.
#[derive(Debug, thiserror::Error)]
enum CollectorError {
    /// A file or directory cannot be removed.
    #[error("cannot remove {}", path.display())]
    Directory {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A layer cannot be unmounted.
    #[error(transparent)]
    Layer(#[from] ActivationError),
    /// The records cannot be changed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The work broke off.
    #[error("the work broke off")]
    Thread {
        /// Why.
        source: tokio::task::JoinError,
    },
}

const FIRST_WAIT: Duration = Duration::from_secs(1);
const LONGEST_WAIT: Duration = Duration::from_secs(60);
