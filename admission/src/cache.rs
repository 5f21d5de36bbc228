//! What was found before, within bounds.

use std::collections::{BTreeMap, HashMap};
use std::hash::Hash;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

/// Keeps values for a while; when it is full, what was not asked for longest goes first.
#[derive(Debug)]
pub struct Cache<K, V> {
    limits: Limits,
    inner: Mutex<Inner<K, V>>,
}

/// Says how much a cache may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// How many values.
    pub entries: usize,
    /// How many bytes, as those who keep something count them.
    pub bytes: usize,
}

#[derive(Debug)]
struct Inner<K, V> {
    entries: HashMap<K, Entry<V>>,
    /// The keys by when they were last asked for.
    by_use: BTreeMap<u64, K>,
    uses: u64,
    bytes: usize,
}

#[derive(Debug)]
struct Entry<V> {
    value: V,
    bytes: usize,
    until: Instant,
    last_use: u64,
}

impl<K: Clone + Eq + Hash, V: Clone> Cache<K, V> {
    /// Makes one that holds nothing.
    pub fn new(limits: Limits) -> Self {
        let inner = Inner { entries: HashMap::new(), by_use: BTreeMap::new(), uses: 0, bytes: 0 };
        Self { limits, inner: Mutex::new(inner) }
    }

    /// Returns what is kept for `key` and is still good at `now`.
    pub fn find(&self, key: &K, now: Instant) -> Option<V> {
        let mut inner = self.lock();
        let inner = &mut *inner;
        let entry = inner.entries.get_mut(key)?;
        if entry.until <= now {
            inner.remove(key);
            return None;
        }
        inner.uses += 1;
        if let Some(key) = inner.by_use.remove(&entry.last_use) {
            inner.by_use.insert(inner.uses, key);
        }
        entry.last_use = inner.uses;
        Some(entry.value.clone())
    }

    /// Keeps a value of so many bytes until then; what is larger than the whole cache is not kept.
    pub fn keep(&self, key: K, value: V, bytes: usize, until: Instant) {
        let mut inner = self.lock();
        inner.remove(&key);
        if bytes > self.limits.bytes {
            return;
        }
        while inner.entries.len() >= self.limits.entries || inner.bytes + bytes > self.limits.bytes
        {
            let Some((_, oldest)) = inner.by_use.pop_first() else { return };
            inner.remove(&oldest);
        }
        inner.uses += 1;
        let last_use = inner.uses;
        inner.bytes += bytes;
        inner.by_use.insert(last_use, key.clone());
        inner.entries.insert(key, Entry { value, bytes, until, last_use });
    }

    /// Returns how many values there are, and how many bytes.
    pub fn size(&self) -> (usize, usize) {
        let inner = self.lock();
        (inner.entries.len(), inner.bytes)
    }

    fn lock(&self) -> MutexGuard<'_, Inner<K, V>> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<K: Clone + Eq + Hash, V> Inner<K, V> {
    fn remove(&mut self, key: &K) {
        if let Some(entry) = self.entries.remove(key) {
            self.by_use.remove(&entry.last_use);
            self.bytes -= entry.bytes;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn cache(entries: usize, bytes: usize) -> Cache<u32, &'static str> {
        Cache::new(Limits { entries, bytes })
    }

    #[test]
    fn what_is_kept_is_found_until_then() {
        let (cache, now) = (cache(10, 100), Instant::now());
        let until = now + Duration::from_secs(1);
        cache.keep(1, "one", 10, until);
        assert_eq!(cache.find(&1, now), Some("one"));
        assert_eq!(cache.find(&1, until), None);
        assert_eq!(cache.size(), (0, 0));
    }

    #[test]
    fn what_was_not_asked_for_longest_goes_first() {
        let (cache, now) = (cache(2, 100), Instant::now());
        let until = now + Duration::from_secs(1);
        cache.keep(1, "one", 10, until);
        cache.keep(2, "two", 10, until);
        assert_eq!(cache.find(&1, now), Some("one"));
        cache.keep(3, "three", 10, until);
        assert_eq!(cache.find(&2, now), None);
        assert_eq!((cache.find(&1, now), cache.find(&3, now)), (Some("one"), Some("three")));
    }

    #[test]
    fn it_never_holds_more_than_it_may() {
        let (cache, now) = (cache(1000, 1000), Instant::now());
        for key in 0..10_000_u32 {
            cache.keep(key % 300, "x", (key as usize * 7) % 1200, now + Duration::from_secs(1));
            let (entries, bytes) = cache.size();
            assert!(entries <= 1000 && bytes <= 1000);
            let inner = cache.lock();
            assert_eq!(inner.entries.len(), inner.by_use.len());
            assert_eq!(inner.bytes, inner.entries.values().map(|entry| entry.bytes).sum::<usize>());
        }
    }
}
