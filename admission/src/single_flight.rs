//! The same work, done once for all who wait for it.

use std::collections::HashMap;
use std::future::Future;
use std::hash::Hash;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;

/// Holds the work that is being done.
///
/// Work that has begun is finished even if everybody stops waiting: whoever asks again finds it
/// done.
#[derive(Debug)]
pub struct SingleFlight<K, V> {
    flights: Arc<Mutex<Flights<K, V>>>,
    limit: usize,
}

type Flights<K, V> = HashMap<K, watch::Receiver<Option<V>>>;

/// Says why there is no result.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FlightError {
    /// The work has ended without a result: it panicked.
    #[error("the work was given up")]
    Ended,
    /// There is too much work already.
    #[error("there is too much work")]
    Full,
}

impl<K, V> SingleFlight<K, V>
where
    K: Clone + Eq + Hash + Send + 'static,
    V: Clone + Send + Sync + 'static,
{
    /// Makes one in which so much work may be done at the same time.
    pub fn new(limit: usize) -> Self {
        Self { flights: Arc::default(), limit }
    }

    /// Does the work for `key`, or waits for who does it already.
    ///
    /// # Errors
    ///
    /// Returns an error if the work panics, or if there is too much of it.
    pub async fn run<F>(&self, key: K, work: impl FnOnce() -> F) -> Result<V, FlightError>
    where
        F: Future<Output = V> + Send + 'static,
    {
        let mut receiver = self.join(key, work)?;
        let result = receiver.wait_for(Option::is_some).await.map_err(|_| FlightError::Ended)?;
        result.clone().ok_or(FlightError::Ended)
    }

    /// Returns how much work is being done.
    pub fn running(&self) -> usize {
        lock(&self.flights).len()
    }

    fn join<F>(
        &self,
        key: K,
        work: impl FnOnce() -> F,
    ) -> Result<watch::Receiver<Option<V>>, FlightError>
    where
        F: Future<Output = V> + Send + 'static,
    {
        let mut flights = lock(&self.flights);
        if let Some(receiver) = flights.get(&key) {
            return Ok(receiver.clone());
        }
        if flights.len() >= self.limit {
            return Err(FlightError::Full);
        }
        let (sender, receiver) = watch::channel(None);
        flights.insert(key.clone(), receiver.clone());
        drop(flights);
        let landing = Landing { flights: Arc::clone(&self.flights), key };
        let work = work();
        tokio::spawn(async move {
            let result = work.await;
            // First nobody new may board, then those on board get off.
            drop(landing);
            sender.send_replace(Some(result));
        });
        Ok(receiver)
    }
}

/// Takes a flight off the list, also when its work panics.
struct Landing<K: Eq + Hash, V> {
    flights: Arc<Mutex<Flights<K, V>>>,
    key: K,
}

impl<K: Eq + Hash, V> Drop for Landing<K, V> {
    fn drop(&mut self) {
        lock(&self.flights).remove(&self.key);
    }
}

fn lock<K, V>(flights: &Mutex<Flights<K, V>>) -> MutexGuard<'_, Flights<K, V>> {
    flights.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use tokio::sync::Semaphore;

    use super::*;

    #[tokio::test]
    async fn work_is_done_once_for_all() {
        let flights = Arc::new(SingleFlight::<u32, usize>::new(10));
        let (gate, count) = (Arc::new(Semaphore::new(0)), Arc::new(AtomicUsize::new(0)));
        let mut waiting = Vec::new();
        for _ in 0..50 {
            let (flights, gate, count) =
                (Arc::clone(&flights), Arc::clone(&gate), Arc::clone(&count));
            waiting.push(tokio::spawn(async move {
                let work = || async move {
                    let _ = gate.acquire().await;
                    count.fetch_add(1, Ordering::SeqCst)
                };
                flights.run(1, work).await
            }));
        }
        while flights.running() == 0 {
            tokio::task::yield_now().await;
        }
        gate.add_permits(1);
        for one in waiting {
            assert_eq!(one.await.unwrap(), Ok(0));
        }
        assert_eq!((count.load(Ordering::SeqCst), flights.running()), (1, 0));
    }

    #[tokio::test]
    async fn work_that_panics_blocks_nobody() {
        let flights = SingleFlight::<u32, ()>::new(10);
        let work = || async { panic!("on purpose") };
        assert_eq!(flights.run(1, work).await, Err(FlightError::Ended));
        assert_eq!(flights.run(1, || async {}).await, Ok(()));
    }

    #[tokio::test]
    async fn there_is_a_limit() {
        let flights = Arc::new(SingleFlight::<u32, ()>::new(1));
        let first = Arc::clone(&flights);
        let endless = tokio::spawn(async move { first.run(1, std::future::pending).await });
        while flights.running() == 0 {
            tokio::task::yield_now().await;
        }
        assert_eq!(flights.run(2, || async {}).await, Err(FlightError::Full));
        endless.abort();
        assert_eq!(flights.running(), 1, "what has begun is finished though nobody waits");
    }
}
