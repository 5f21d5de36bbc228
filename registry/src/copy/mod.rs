//! Copying images from one place to another, with everything that is attached to them.
//!
//! ```text
//! plan: all manifests and blobs ──▶ blobs, several at once ──▶ manifests by digest ──▶ the tag
//! ```

mod blobs;
mod plan;

use std::sync::Arc;

pub use self::blobs::{PARALLEL_BLOBS, WatchBlob};
pub(crate) use self::blobs::{PlacedBlob, for_each_blob};
pub(crate) use self::plan::Plan;
use crate::descriptor::Descriptor;
use crate::error::Error;
use crate::place::{Listing, Place, Pushed};

/// Copies the image or index `descriptor`, all that belongs to it, and all that is attached to any
/// part of it: signatures foremost, but whatever else refers to it too.
///
/// Nothing is changed on the way, so all digests stay. What is there already is not copied again,
/// so a copy that was interrupted is completed by another one. The image is listed in `to` last of
/// all: whoever finds it there finds its signatures as well.
///
/// # Errors
///
/// Returns the first error of either place; then the image may be there in part and is not listed.
/// Attached manifests that are damaged or malformed, or whose content is, cannot be copied and do
/// not stop the others; they are in [`Copied::left_behind`].
pub fn copy(
    from: &dyn Place,
    descriptor: &Descriptor,
    to: &dyn Place,
    listing: Listing<'_>,
    watch: WatchBlob<'_>,
) -> Result<Copied, Error> {
    let plan = Plan::of(from, descriptor)?;
    for_each_blob(plan.blobs(), to, PARALLEL_BLOBS, |blob, is_stopped| {
        plan.note(blob, to.push_blob(blob, &PlacedBlob { from, blob, watch, is_stopped }))
    })?;
    plan.push_manifests(to)?;
    plan.list(to, None, listing)
}

/// Says what a copy has done.
#[derive(Debug, Default)]
pub struct Copied {
    /// How many blobs and manifests were stored.
    pub stored: usize,
    /// How long they are together, in bytes.
    pub stored_bytes: u64,
    /// How many were there before.
    pub present: usize,
    /// The manifests that are attached to the image or to a part of it and were copied with it.
    pub referrers: Vec<Descriptor>,
    /// Attached manifests that could not be copied, and why.
    pub left_behind: Vec<(Descriptor, Arc<Error>)>,
}

impl Copied {
    fn count(&mut self, pushed: Pushed, size_bytes: u64) {
        match pushed {
            Pushed::Present => self.present += 1,
            Pushed::Stored => {
                self.stored += 1;
                self.stored_bytes += size_bytes;
            }
        }
    }
}
