//! What it costs to look at the longest policy that a kernel reads.

use std::error::Error;
use std::hint::black_box;
use std::time::Instant;

use libverity::digest::{Digest, RootHash};
use osguard_policy::kernel_version::KernelVersion;
use osguard_policy::lint::Linter;
use osguard_policy::node_policy::NodePolicy;
use osguard_policy::syntax::parse;
use osguard_policy::version::PolicyVersion;

const POLICY_BYTES: usize = 65_535;
const ROUNDS: usize = 301;

pub(crate) fn measure() -> Result<(), Box<dyn Error>> {
    let text = policy()?;
    let kernel = KernelVersion::default();
    let parsing = median(|| drop(black_box(parse(black_box(&text), kernel))));
    let linter = Linter::new(kernel);
    let linting = median(|| drop(black_box(linter.lint(black_box(&text)))));
    println!("\n### A policy of {POLICY_BYTES} bytes, in the process\n");
    println!("| | time (median of {ROUNDS}) |\n|---|---|");
    println!("| parsing | {parsing:.2} ms |");
    println!("| parsing and linting | {linting:.2} ms |");
    Ok(())
}

/// Makes a policy of as many revocations as there is room for, filled up with a comment.
fn policy() -> Result<Vec<u8>, Box<dyn Error>> {
    let mut policy = NodePolicy::new("bench".parse()?, PolicyVersion::new(1, 0, 0));
    let mut text = String::new();
    for number in 0_u32.. {
        let digest = Digest::of(&number.to_le_bytes());
        policy = policy.revoke(RootHash::from_bytes(digest.as_bytes().to_vec()))?;
        let longer = policy.to_string();
        if longer.len() > POLICY_BYTES {
            break;
        }
        text = longer;
    }
    let mut text = text.into_bytes();
    text.resize(POLICY_BYTES, b'#');
    Ok(text)
}

/// Returns the median time of a run in milliseconds.
fn median(mut run: impl FnMut()) -> f64 {
    let mut times: Vec<_> = (0..ROUNDS)
        .map(|_| {
            let start = Instant::now();
            run();
            start.elapsed()
        })
        .collect();
    times.sort_unstable();
    times[ROUNDS / 2].as_secs_f64() * 1000.0
}
