//! What signs: the work that the queue holds.

use std::fmt;
use std::time::Duration;

use libverity::digest::Digest;

use crate::repository::Target;

/// Signs one manifest at a time, whatever it turns out to be.
///
/// Calls come from several threads and block until the work is done. Each must leave nothing behind
/// that a second one for the same target would trip over, for a process may be killed in between.
pub trait SignImage: Send + Sync {
    /// Reads the manifest or index, and signs it if it is an image that has no signature yet.
    ///
    /// # Errors
    ///
    /// Returns why there is no signature now, and whether another attempt may bring one.
    fn sign(&self, target: &Target) -> Result<Outcome, SignFailure>;

    /// Finds out whether a call of [`Self::sign`] could succeed now: whether the registry answers
    /// and the key can be used.
    ///
    /// # Errors
    ///
    /// Returns what stands in the way.
    fn check(&self) -> Result<(), SignFailure>;
}

/// Says what became of a manifest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The image had its signatures before.
    AlreadySigned,
    /// There is nothing to sign: it is a signature, a statement, or another thing that is no image.
    Ignored {
        /// What it is.
        what: String,
    },
    /// It lists these manifests and indexes, and each of them is to be looked at.
    Index {
        /// Their digests.
        manifests: Vec<Digest>,
    },
    /// The image has its signatures now.
    Signed {
        /// The digest of the artifact that holds them.
        artifact: Digest,
    },
}

/// Says why an image was not signed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignFailure {
    /// The reason, one line.
    pub reason: String,
    /// Whether it is worth another attempt.
    pub retry: Retry,
}

/// Tells whether something that failed is tried again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retry {
    /// It is, and not before this time has passed if the registry asked for that.
    After(Option<Duration>),
    /// It would fail again.
    Never,
}

impl fmt::Display for SignFailure {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.reason)
    }
}

impl std::error::Error for SignFailure {}
