//! Requests that wait until a test lets them go on.

use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use super::lock;

/// Holds requests back; see [`Fault::hold`](super::Fault::hold).
///
/// Clones are the same gate. The end of the registry opens every gate.
#[derive(Clone, Debug, Default)]
pub struct Gate(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    open: bool,
    /// How many have come, whether they are still waiting or not.
    arrived: usize,
    opens_at: Option<usize>,
}

impl Gate {
    /// Is closed until [`Self::release`].
    pub fn new() -> Self {
        Self::default()
    }

    /// Opens by itself when so many requests are waiting: all of them go on at the same moment.
    pub fn opening_at(requests: usize) -> Self {
        let gate = Self::default();
        lock(&gate.0.state).opens_at = Some(requests);
        gate
    }

    /// Lets all go on who wait and who will come.
    pub fn release(&self) {
        lock(&self.0.state).open = true;
        self.0.changed.notify_all();
    }

    /// Waits until so many requests have come.
    ///
    /// # Panics
    ///
    /// Panics if they have not come after a minute.
    #[track_caller]
    pub fn wait_for(&self, requests: usize) {
        let too_few = |state: &State| state.arrived < requests;
        let arrived = self.wait(MOST_WAIT, too_few);
        assert!(arrived >= requests, "{arrived} of {requests} requests came within {MOST_WAIT:?}");
    }

    /// Comes as a request and waits until the gate is open.
    pub(super) fn pass(&self) {
        let mut state = lock(&self.0.state);
        state.arrived += 1;
        if state.opens_at.is_some_and(|requests| state.arrived >= requests) {
            state.open = true;
        }
        drop(state);
        self.0.changed.notify_all();
        self.wait(Duration::MAX, |state| !state.open);
    }

    /// Waits until the gate is open, but not longer than this.
    pub(super) fn pass_within(&self, longest: Duration) {
        self.wait(longest, |state| !state.open);
    }

    /// Waits as long as `closed`; returns how many requests have come.
    fn wait(&self, longest: Duration, closed: impl Fn(&State) -> bool) -> usize {
        let end = Instant::now().checked_add(longest);
        let mut state = lock(&self.0.state);
        while closed(&state) {
            let left = match end {
                None => Duration::from_secs(3600),
                Some(end) => end.saturating_duration_since(Instant::now()),
            };
            if left.is_zero() {
                break;
            }
            let waited = self.0.changed.wait_timeout(state, left);
            state = waited.unwrap_or_else(std::sync::PoisonError::into_inner).0;
        }
        state.arrived
    }
}

/// Is how long a test waits for what should come at once.
const MOST_WAIT: Duration = Duration::from_secs(60);
