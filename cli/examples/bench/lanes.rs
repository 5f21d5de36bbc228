//! SHA-256 lanes on one core, on blocks that lie in the second-level cache.

use std::hint::black_box;
use std::time::Instant;

use libverity::sha256::{Backend, DIGEST_BYTES, Frame};
use sha2::{Digest as _, Sha256};

const BLOCK_BYTES: usize = 4096;
const BLOCKS: usize = 64;
/// Blocks are hashed so often in a round that it takes some 50 ms.
const REPEATS: usize = 512;
const ROUNDS: usize = 15;

pub(crate) fn measure() {
    let blocks: Vec<u8> = (0..BLOCKS * BLOCK_BYTES).map(|place| (place * 31) as u8).collect();
    println!("\n### SHA-256 of blocks of 4096 bytes with a salt of 32, on one core\n");
    println!("| lanes | GB/s (median of {ROUNDS}) |\n|---|---|");
    let serial = gigabytes_per_second(|| {
        black_box(Sha256::digest(black_box(&blocks)));
    });
    println!("| one stream through `sha2`, without blocks | {serial:.2} |");
    for backend in Backend::available() {
        let frame = Frame::new(&[0; 32], BLOCK_BYTES, &[]);
        let mut digests = [0; BLOCKS * DIGEST_BYTES];
        let speed = gigabytes_per_second(|| {
            backend.hash_blocks(&frame, black_box(&blocks), black_box(&mut digests));
        });
        println!("| `{backend}` | {speed:.2} |");
    }
    println!("| chosen | `{}` |", Backend::detect());
}

fn gigabytes_per_second(hash_blocks: impl FnMut()) -> f64 {
    let mut hash_blocks = hash_blocks;
    let mut seconds: Vec<f64> = (0..ROUNDS)
        .map(|_| {
            let start = Instant::now();
            (0..REPEATS).for_each(|_| hash_blocks());
            start.elapsed().as_secs_f64()
        })
        .collect();
    seconds.sort_by(f64::total_cmp);
    (REPEATS * BLOCKS * BLOCK_BYTES) as f64 / seconds[ROUNDS / 2] / 1e9
}
