//! The node's daemon beside containerd's own snapshotters, and its memory.

mod containerd;
mod images;
mod memory;

#[path = "../../../tests/daemon/content.rs"]
#[allow(dead_code, clippy::unwrap_used, reason = "shared with the tests, which use the rest")]
mod content;
#[path = "../../../tests/daemon/cycles.rs"]
#[allow(clippy::unwrap_used, reason = "shared with the tests")]
mod cycles;
#[path = "../../../tests/daemon/daemon.rs"]
#[allow(dead_code, clippy::unwrap_used, reason = "shared with the tests, which use the rest")]
mod daemon;
#[path = "../../../tests/daemon/layers.rs"]
#[allow(dead_code, clippy::unwrap_used, reason = "shared with the tests, which use the rest")]
mod layers;

use std::path::PathBuf;

pub(crate) use self::containerd::measure as containerd;
pub(crate) use self::memory::measure as memory;

/// Returns the program that is measured, as [`crate::main`] takes it.
fn program() -> PathBuf {
    std::env::args_os().nth(1).unwrap_or_default().into()
}
