//! How many images are looked up in a registry at the same time, and when it is left alone.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Stands before all registries.
#[derive(Debug)]
pub(super) struct Gates {
    /// Bounds the threads that wait for registries.
    threads: Arc<Semaphore>,
    registries: Mutex<HashMap<String, Gate>>,
}

#[derive(Clone, Debug)]
struct Gate {
    room: Arc<Semaphore>,
    closed: Option<Closed>,
}

/// Says that a registry is left alone, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Closed {
    pub(super) until: Instant,
    /// Whether it has asked for that itself.
    pub(super) is_asked: bool,
    pub(super) reason: String,
}

/// Is the right to ask a registry, until it is dropped.
#[derive(Debug)]
pub(super) struct Pass {
    _registry: OwnedSemaphorePermit,
    _thread: OwnedSemaphorePermit,
}

impl Gates {
    pub(super) fn new(threads: usize) -> Self {
        Self { threads: Arc::new(Semaphore::new(threads)), registries: Mutex::default() }
    }

    /// Waits until there is room to ask a registry that takes `parallel` requests at a time.
    ///
    /// # Errors
    ///
    /// Returns why the registry is left alone at the moment.
    pub(super) async fn enter(&self, registry: &str, parallel: usize) -> Result<Pass, Closed> {
        let room = {
            let mut registries = self.lock();
            if registries.len() >= MAX_REGISTRIES && !registries.contains_key(registry) {
                let now = Instant::now();
                registries.retain(|_, gate| !gate.is_idle(now));
            }
            let gate = registries
                .entry(registry.to_owned())
                .or_insert_with(|| Gate { room: Arc::new(Semaphore::new(parallel)), closed: None });
            gate.check()?;
            Arc::clone(&gate.room)
        };
        let closed = || Closed {
            until: Instant::now(),
            is_asked: false,
            reason: "osguard is about to end".to_owned(),
        };
        let in_registry = room.acquire_owned().await.map_err(|_| closed())?;
        let thread = Arc::clone(&self.threads).acquire_owned().await.map_err(|_| closed())?;
        // It may have been closed while we waited.
        if let Some(gate) = self.lock().get(registry) {
            gate.check()?;
        }
        Ok(Pass { _registry: in_registry, _thread: thread })
    }

    /// Leaves a registry alone for a while.
    pub(super) fn close(&self, registry: &str, wait: Duration, is_asked: bool, reason: String) {
        let until = Instant::now() + wait.min(LONGEST);
        if let Some(gate) = self.lock().get_mut(registry)
            && gate.closed.as_ref().is_none_or(|closed| closed.until < until)
        {
            gate.closed = Some(Closed { until, is_asked, reason });
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Gate>> {
        self.registries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Gate {
    fn check(&self) -> Result<(), Closed> {
        match &self.closed {
            Some(closed) if closed.until > Instant::now() => Err(closed.clone()),
            _ => Ok(()),
        }
    }

    /// Tells whether nobody uses it and nothing is known of it.
    fn is_idle(&self, now: Instant) -> bool {
        Arc::strong_count(&self.room) == 1
            && self.closed.as_ref().is_none_or(|closed| closed.until <= now)
    }
}

/// How many registries are known before those that nobody uses are forgotten. Their names come from
/// outside; each takes about 200 bytes.
const MAX_REGISTRIES: usize = 1000;

/// The longest time that a registry is left alone, whatever it asks for.
const LONGEST: Duration = Duration::from_secs(300);

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_registry_that_asks_for_it_is_left_alone_and_others_are_not() {
        let gates = Gates::new(4);
        drop(gates.enter("a", 1).await.unwrap());
        gates.close("a", Duration::from_secs(60), true, "slow down".to_owned());
        gates.close("a", Duration::from_millis(1), false, "it failed".to_owned());
        let closed = gates.enter("a", 1).await.unwrap_err();
        assert!(closed.is_asked && closed.reason == "slow down");
        assert!(gates.enter("b", 1).await.is_ok());
    }

    #[tokio::test]
    async fn names_from_outside_do_not_pile_up() {
        let gates = Gates::new(4);
        for number in 0..MAX_REGISTRIES * 3 {
            drop(gates.enter(&format!("r{number}.example"), 1).await.unwrap());
        }
        assert!(gates.lock().len() <= MAX_REGISTRIES);
    }
}
