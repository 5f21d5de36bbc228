//! Who works on what, and what is due when.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use super::Counts;
use super::store::{Pending, UnixMillis};
use crate::repository::Target;

/// Is one target that is to be signed now.
#[derive(Debug, PartialEq, Eq)]
pub struct Job {
    /// What is to be signed.
    pub target: Target,
    /// How often that has failed so far.
    pub failures: u32,
    /// When the target was queued.
    pub since: SystemTime,
    /// Tells this job from another one for the same target, after that was deleted and pushed
    /// again.
    pub(super) serial: u64,
}

/// Holds every pending target, in the order in which they are due.
///
/// Times are those of a clock that is never set. Only the writer adds and removes; workers take.
#[derive(Debug)]
pub(super) struct Schedule {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    order: BTreeSet<(Instant, u64)>,
    /// By serial number.
    waiting: BTreeMap<u64, Waiting>,
    running: BTreeSet<Target>,
    failed: usize,
    is_closed: bool,
}

#[derive(Debug)]
struct Waiting {
    due: Instant,
    job: Job,
}

/// Is what the writer has written, and the schedule has to follow.
#[derive(Debug)]
pub(super) enum Effect {
    /// A target is pending that was not.
    Added(Target, Pending),
    /// A target is no longer pending.
    Removed(Pending),
    /// A worker has given a target back, which is pending still or again.
    Released(Target, Option<Pending>),
}

impl Schedule {
    pub(super) fn new(pending: Vec<(Target, Pending)>, failed: usize) -> Self {
        let mut state = State { failed, ..State::default() };
        let now = Instant::now();
        for (target, pending) in pending {
            state.add(now, target, pending);
        }
        Self { state: Mutex::new(state), changed: Condvar::new() }
    }

    pub(super) fn take(&self) -> Option<Job> {
        let mut state = self.lock();
        loop {
            if state.is_closed {
                return None;
            }
            let now = Instant::now();
            let first = state.order.first().copied();
            match first {
                Some((due, serial)) if due <= now => {
                    state.order.remove(&(due, serial));
                    if let Some(Waiting { job, .. }) = state.waiting.remove(&serial) {
                        state.running.insert(job.target.clone());
                        return Some(job);
                    }
                }
                Some((due, _)) => {
                    let wait = self.changed.wait_timeout(state, due - now);
                    state = wait.unwrap_or_else(PoisonError::into_inner).0;
                }
                None => {
                    state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
                }
            }
        }
    }

    pub(super) fn follow(&self, effects: impl IntoIterator<Item = Effect>, failed: usize) {
        let now = Instant::now();
        let mut state = self.lock();
        state.failed = failed;
        for effect in effects {
            match effect {
                // What is being worked on is added when it is given back.
                Effect::Added(target, _) if state.running.contains(&target) => {}
                Effect::Added(target, pending) => state.add(now, target, pending),
                Effect::Removed(pending) => state.remove(pending.serial),
                Effect::Released(target, pending) => {
                    state.running.remove(&target);
                    if let Some(pending) = pending {
                        state.add(now, target, pending);
                    }
                }
            }
        }
        self.changed.notify_all();
    }

    /// Starts anew with what is pending; jobs that are out stay out.
    pub(super) fn replace(&self, pending: Vec<(Target, Pending)>, failed: usize) {
        let mut state = self.lock();
        state.order.clear();
        state.waiting.clear();
        state.failed = failed;
        let now = Instant::now();
        for (target, pending) in pending {
            if !state.running.contains(&target) {
                state.add(now, target, pending);
            }
        }
        self.changed.notify_all();
    }

    /// Takes back a job of which nothing could be written.
    pub(super) fn put_back(&self, job: Job, after: Duration) {
        let mut state = self.lock();
        state.running.remove(&job.target);
        state.insert(Instant::now() + after, job);
        self.changed.notify_all();
    }

    pub(super) fn counts(&self) -> Counts {
        let state = self.lock();
        Counts { waiting: state.waiting.len(), running: state.running.len(), failed: state.failed }
    }

    /// Returns how long it is until something is due.
    #[cfg(test)]
    pub(super) fn first_wait(&self) -> Option<Duration> {
        let state = self.lock();
        state.order.first().map(|(due, _)| due.saturating_duration_since(Instant::now()))
    }

    pub(super) fn close(&self) {
        self.lock().is_closed = true;
        self.changed.notify_all();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Adds a target; of those that are due at once, the one that was queued first comes first.
    fn add(&mut self, now: Instant, target: Target, pending: Pending) {
        let due = now + pending.due.wait();
        let job = Job {
            target,
            failures: pending.failures,
            since: pending.since.time(),
            serial: pending.serial,
        };
        self.insert(due, job);
    }

    fn insert(&mut self, due: Instant, job: Job) {
        self.order.insert((due, job.serial));
        self.waiting.insert(job.serial, Waiting { due, job });
    }

    fn remove(&mut self, serial: u64) {
        if let Some(Waiting { due, .. }) = self.waiting.remove(&serial) {
            self.order.remove(&(due, serial));
        }
    }
}

impl UnixMillis {
    /// Returns how long it is until then, and no longer than the longest wait that was ever
    /// written: the clock may have been set back since.
    fn wait(self) -> Duration {
        Duration::from_millis(self.0.saturating_sub(Self::now().0)).min(LONGEST_WAIT)
    }
}

/// The longest wait after a failure, with its spread.
pub(super) const LONGEST_WAIT: Duration = Duration::from_secs(2 * 3600);
