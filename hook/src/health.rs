//! Whether the hook could sign now.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Holds what the last look at the queue, the registry and the key has shown.
#[derive(Debug, Default)]
pub(crate) struct Health {
    last: Mutex<Option<Checked>>,
}

#[derive(Clone, Debug)]
struct Checked {
    at: Instant,
    result: Result<(), String>,
}

impl Health {
    /// Notes what a look has shown. What has changed goes to the log.
    pub(crate) fn note(&self, result: Result<(), String>) {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let before = last.as_ref().map(|checked| checked.result.is_ok());
        match &result {
            Ok(()) if before == Some(false) => tracing::info!("ready again"),
            Err(reason) if before != Some(false) => tracing::warn!(reason, "not ready"),
            _ => {}
        }
        *last = Some(Checked { at: Instant::now(), result });
    }

    /// Returns why nothing could be signed now.
    pub(crate) fn problem(&self) -> Option<String> {
        let last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        match last.as_ref() {
            None => Some("nothing has been checked yet".to_owned()),
            Some(Checked { at, .. }) if at.elapsed() > STALE_AFTER => {
                Some(format!("nothing has been checked for {} seconds", at.elapsed().as_secs()))
            }
            Some(Checked { result, .. }) => result.clone().err(),
        }
    }
}

/// How often queue, registry and key are looked at.
pub(crate) const CHECK_INTERVAL: Duration = Duration::from_secs(15);

/// After how long a look says nothing any more: a registry that does not answer keeps the next
/// look from ending.
const STALE_AFTER: Duration = Duration::from_secs(90);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_look_counts() {
        let health = Health::default();
        assert!(health.problem().is_some());
        health.note(Ok(()));
        assert_eq!(health.problem(), None);
        health.note(Err("the registry is away".to_owned()));
        assert_eq!(health.problem().unwrap(), "the registry is away");
    }
}
