//! How long a registry is waited for, and what is tried again.

use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::time::Duration;

use reqwest::StatusCode;

/// Says how long a registry is waited for, and how often a request is made again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Patience {
    /// How long making a connection may take.
    pub connect: Duration,
    /// How long an answer may take to begin.
    pub answer: Duration,
    /// How long the registry may take to store a blob or manifest that it has received.
    pub store: Duration,
    /// How long a body may stand still, in either direction.
    pub standstill: Duration,
    /// How often a request is made at most, the first time included.
    pub attempts: u32,
    /// How long the first pause between two attempts is; each further one is twice as long.
    pub first_pause: Duration,
    /// How long a pause may become, and the longest `Retry-After` that is waited for.
    pub longest_pause: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(15),
            answer: Duration::from_secs(60),
            // Registries on object storage copy a finished upload, at about 100 MB/s.
            store: Duration::from_secs(300),
            standstill: Duration::from_secs(60),
            attempts: 5,
            first_pause: Duration::from_millis(200),
            longest_pause: Duration::from_secs(60),
        }
    }
}

impl Patience {
    /// Returns how long to wait after the attempt of that number, the first being 1, or `None` if
    /// there is to be no further one.
    ///
    /// `asked` is how long the registry asked to wait. A pause of our own is shortened at random,
    /// by up to a half, so that clients that failed together do not come back together.
    pub(super) fn pause(&self, attempt: u32, asked: Option<Duration>) -> Option<Duration> {
        if attempt >= self.attempts {
            return None;
        }
        match asked {
            Some(asked) => (asked <= self.longest_pause).then_some(asked),
            None => {
                let doubled = self.first_pause.saturating_mul(1 << (attempt - 1).min(16));
                let pause = doubled.min(self.longest_pause);
                Some(pause.mul_f64(0.5 + random_fraction() / 2.0))
            }
        }
    }
}

/// Tells whether an answer of that status may be another one the next time.
///
/// Source: RFC 9110, section 15; 429 is RFC 6585, section 4.
pub(super) fn is_passing(status: StatusCode) -> bool {
    PASSING.contains(&status)
}

/// Returns a number from 0 up to 1; the standard library seeds its hash maps with such.
fn random_fraction() -> f64 {
    let random = RandomState::new().build_hasher().finish();
    f64::from((random >> 32) as u32) / f64::from(u32::MAX)
}

const PASSING: [StatusCode; 6] = [
    StatusCode::REQUEST_TIMEOUT,
    StatusCode::TOO_MANY_REQUESTS,
    StatusCode::INTERNAL_SERVER_ERROR,
    StatusCode::BAD_GATEWAY,
    StatusCode::SERVICE_UNAVAILABLE,
    StatusCode::GATEWAY_TIMEOUT,
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_up_to_a_limit_and_end() {
        let patience = Patience {
            attempts: 10,
            first_pause: Duration::from_millis(100),
            longest_pause: Duration::from_secs(2),
            ..Patience::default()
        };
        for (attempt, longest) in [(1, 100), (2, 200), (5, 1600), (6, 2000), (9, 2000)] {
            let pause = patience.pause(attempt, None).unwrap();
            let longest = Duration::from_millis(longest);
            assert!(pause <= longest && pause >= longest / 2, "{attempt}: {pause:?}");
        }
        assert_eq!(patience.pause(10, None), None);
    }

    #[test]
    fn what_the_registry_asks_for_is_kept_to_or_not_waited_for() {
        let patience = Patience { longest_pause: Duration::from_secs(60), ..Patience::default() };
        let asked = |seconds| patience.pause(1, Some(Duration::from_secs(seconds)));
        assert_eq!(asked(7), Some(Duration::from_secs(7)));
        assert_eq!(asked(60), Some(Duration::from_secs(60)));
        assert_eq!(asked(61), None);
    }
}
