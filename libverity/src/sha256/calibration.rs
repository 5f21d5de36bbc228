//! Which backend is fastest here.

use std::hint::black_box;
use std::time::{Duration, Instant};

use super::{Backend, DIGEST_BYTES, Frame};

/// Returns the fastest of `backends`, of which there is at least one.
pub(super) fn fastest(backends: &[Backend]) -> Backend {
    let [only] = backends else {
        let duration = |backend: &&Backend| shortest_run(**backend);
        return *backends.iter().min_by_key(duration).expect("the portable backend is everywhere");
    };
    *only
}

/// Returns the shortest time of several runs: the others were disturbed.
fn shortest_run(backend: Backend) -> Duration {
    let frame = Frame::new(&[0; 32], BLOCK_BYTES, &[]);
    let blocks = [0; BLOCKS * BLOCK_BYTES];
    let mut digests = [0; BLOCKS * DIGEST_BYTES];
    let run = || {
        let start = Instant::now();
        backend.hash_blocks(&frame, black_box(&blocks), black_box(&mut digests));
        start.elapsed()
    };
    std::iter::repeat_with(run).take(RUNS).min().unwrap_or(Duration::MAX)
}

/// As in most trees.
const BLOCK_BYTES: usize = 4096;
/// Fill the lanes of every backend, and fit into a first-level cache.
const BLOCKS: usize = 8;
/// Enough that one of them is not disturbed: all backends together take a millisecond.
const RUNS: usize = 5;
