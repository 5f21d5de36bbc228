//! When something that failed is tried again.

use std::time::Duration;

/// Says how long to wait after failures, and when to give up.
///
/// The wait doubles with every failure, up to `longest`. A part of it depends on what failed, so
/// that everything that failed together, because the registry was away, does not come back
/// together.
#[derive(Clone, Copy, Debug)]
pub struct Backoff {
    /// The wait after the first failure.
    pub first: Duration,
    /// The longest wait.
    pub longest: Duration,
    /// How long after the push no further attempt is made.
    pub give_up_after: Duration,
}

impl Backoff {
    /// Returns how long to wait after `failures` of them in a row, at least 1.
    ///
    /// `seed` tells apart what failed. The wait is between three and five quarters of the full
    /// one. `asked` is what the registry asked for, and is obeyed up to [`LONGEST_ASKED`].
    pub fn wait(&self, failures: u32, seed: u64, asked: Option<Duration>) -> Duration {
        let doublings = failures.saturating_sub(1).min(31);
        let full = self.first.saturating_mul(1 << doublings).min(self.longest);
        let spread = full / 2;
        let wait = full * 3 / 4 + spread.mul_f64(fraction(seed ^ u64::from(failures)));
        wait.max(asked.unwrap_or_default().min(LONGEST_ASKED))
    }
}

impl Default for Backoff {
    /// Waits 2 s at first and 10 min in the end, for one day.
    fn default() -> Self {
        Self {
            first: Duration::from_secs(2),
            longest: Duration::from_secs(600),
            give_up_after: Duration::from_secs(24 * 3600),
        }
    }
}

/// The longest wait that a registry can ask for: a mistake there shall not put a push off for days.
pub const LONGEST_ASKED: Duration = Duration::from_secs(3600);

/// Maps a number to one between 0 and 1, and similar numbers to different ones.
///
/// Source: the finalizer of SplitMix64 (Steele, Lea and Flood, 2014).
fn fraction(number: u64) -> f64 {
    let mut mixed = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^= mixed >> 31;
    // 53 bits are what an f64 holds.
    (mixed >> 11) as f64 / (1u64 << 53) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_longest() {
        let backoff = Backoff::default();
        for (failures, full_seconds) in
            [(1, 2), (2, 4), (3, 8), (9, 512), (10, 600), (100, 600), (u32::MAX, 600)]
        {
            let full = Duration::from_secs(full_seconds);
            for seed in 0..100 {
                let wait = backoff.wait(failures, seed, None);
                assert!((full * 3 / 4..=full * 5 / 4).contains(&wait), "{failures} {wait:?}");
            }
        }
    }

    #[test]
    fn what_failed_together_comes_back_apart() {
        let backoff = Backoff::default();
        let mut waits: Vec<_> = (0..100).map(|seed| backoff.wait(10, seed, None)).collect();
        waits.sort();
        waits.dedup();
        assert!(waits.len() > 95);
        let early = waits.iter().filter(|wait| **wait < backoff.longest).count();
        assert!((30..70).contains(&early), "{early}");
    }

    #[test]
    fn the_registry_is_obeyed_within_reason() {
        let backoff = Backoff::default();
        let minute = Duration::from_secs(60);
        assert_eq!(backoff.wait(1, 7, Some(minute)), minute);
        assert!(backoff.wait(20, 7, Some(minute)) > minute);
        assert_eq!(backoff.wait(1, 7, Some(Duration::MAX)), LONGEST_ASKED);
    }
}
