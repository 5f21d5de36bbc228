//! Repositories that are open: with their connections, tokens and what was read last.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use libverity::digest::Digest;
use osguard_registry::distribution::RemoteRepository;
use osguard_registry::error::Error;
use osguard_registry::place::Place;
use osguard_registry::reference::RegistryReference;

use super::ImageSource;

/// Keeps the repositories that were used last.
#[derive(Default)]
pub(super) struct Repositories(Mutex<HashMap<Key, Open>>);

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Key {
    registries: Digest,
    registry: String,
    repository: String,
    /// With whose credentials.
    pull: Option<Digest>,
}

struct Open {
    place: Arc<dyn Place>,
    since: Instant,
    last_use: Instant,
}

impl Repositories {
    /// Opens a repository, unless it is open.
    pub(super) fn open(
        &self,
        source: &ImageSource,
        reference: &RegistryReference,
    ) -> Result<Arc<dyn Place>, Error> {
        let key = Key {
            registries: source.registries.id,
            registry: reference.registry.clone(),
            repository: reference.repository.clone(),
            pull: source.pull.as_ref().map(|pull| pull.id),
        };
        let now = Instant::now();
        let mut open = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        open.retain(|_, open| now.duration_since(open.since) < LONGEST);
        if let Some(open) = open.get_mut(&key) {
            open.last_use = now;
            return Ok(Arc::clone(&open.place));
        }
        let network = source.registries.network(&reference.registry);
        let own = source
            .pull
            .as_ref()
            .and_then(|pull| pull.network(network, &reference.registry, &reference.repository));
        let network = own.as_ref().unwrap_or(network);
        let place: Arc<dyn Place> = Arc::new(RemoteRepository::new(reference, network)?);
        if open.len() >= MAX_OPEN
            && let Some(oldest) =
                open.iter().min_by_key(|(_, open)| open.last_use).map(|(key, _)| key.clone())
        {
            open.remove(&oldest);
        }
        open.insert(key, Open { place: Arc::clone(&place), since: now, last_use: now });
        Ok(place)
    }
}

impl fmt::Debug for Repositories {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Repositories").finish_non_exhaustive()
    }
}

/// How many are kept; each keeps up to 16 manifests.
const MAX_OPEN: usize = 16;

/// How long one is used: then credentials are looked for again.
const LONGEST: Duration = Duration::from_secs(300);
