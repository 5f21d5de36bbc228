//! One lock for each thing of a kind, such as each layer, so that one that is stuck holds up nobody else.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::OwnedMutexGuard;

/// Holds the locks that somebody has or waits for.
#[derive(Debug)]
pub(crate) struct Locks<K> {
    locks: Mutex<HashMap<K, Arc<tokio::sync::Mutex<()>>>>,
}

impl<K: Clone + Eq + Hash> Locks<K> {
    /// Waits until nobody else has the lock of `key`, and takes it.
    pub(crate) async fn lock(&self, key: &K) -> OwnedMutexGuard<()> {
        let lock = {
            let mut locks = self.locks.lock().unwrap_or_else(PoisonError::into_inner);
            // Whoever has or awaits a lock has a share in it.
            locks.retain(|_, lock| Arc::strong_count(lock) > 1);
            Arc::clone(locks.entry(key.clone()).or_default())
        };
        lock.lock_owned().await
    }
}

impl<K> Default for Locks<K> {
    fn default() -> Self {
        Self { locks: Mutex::default() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_lock_excludes_only_its_like() {
        let locks = Locks::default();
        let first = locks.lock(&1).await;
        let _second = locks.lock(&2).await;
        let waiting = locks.lock(&1);
        tokio::pin!(waiting);
        let is_ready = tokio::select! {
            biased;
            _ = &mut waiting => true,
            () = std::future::ready(()) => false,
        };
        assert!(!is_ready);
        drop(first);
        drop(waiting.await);
        let _third = locks.lock(&3).await;
        let count = locks.locks.lock().unwrap().len();
        assert_eq!(count, 2, "what nobody has is forgotten");
    }
}
