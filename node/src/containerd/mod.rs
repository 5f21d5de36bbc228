//! containerd's snapshots as signed dm-verity devices: the daemon behind `osguard node run`.
//!
//! One socket serves two of containerd's services, a snapshotter and a differ. An unmodified containerd asks them in this
//! order, once for each layer of an image:
//!
//! ```text
//! Prepare(extract-…) ─▶ snapshots   a record; the mount that is returned can be read by our differ alone
//! Apply(layer)       ─▶ diff        content ─▶ unpack ─▶ signatures ─▶ layers: does the kernel accept one?
//! Commit(chainID)    ─▶ snapshots   the chain of diffIDs is checked, the layer becomes a committed snapshot
//! Prepare(container) ─▶ snapshots   layers: each layer below is mounted through dm-verity; an overlay is returned
//! ```
//!
//! What must not happen is refused three times over, as each of the three calls can be reached without the one before: an
//! unsigned layer where signatures are required is not applied, not committed, and not mounted.

mod collector;
pub mod config;
mod content;
pub mod daemon;
mod diff;
mod health;
pub(crate) mod images;
mod keys;
mod layers;
mod locks;
mod metrics;
mod modes;
mod notify;
mod reconcile;
mod referrers;
pub mod signature_directory;
mod signatures;
mod snapshots;
mod store;
mod unpack;
mod usage;

/// Writes an error with its causes in one line, as logs and answers have it.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        // A transparent error repeats its cause.
        if !text.ends_with(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        source = cause.source();
    }
    text
}
