//! Copying images from one place to another, with everything that is attached to them.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read;
use std::sync::{Mutex, PoisonError};

use libverity::digest::Digest;

use crate::descriptor::Descriptor;
use crate::error::Error;
use crate::manifest::{Manifest, ManifestKind};
use crate::place::{BlobSource, Listing, Place, Pushed, Repository};

/// Sees each blob on its way, to show progress for example.
pub type WatchBlob<'a> = &'a (dyn Fn(&Descriptor, Box<dyn Read>) -> Box<dyn Read> + Sync);

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
/// Attached manifests that are damaged or malformed cannot be copied and do not stop the others;
/// they are in [`Copied::left_behind`].
pub fn copy(
    from: &dyn Place,
    descriptor: &Descriptor,
    to: &dyn Place,
    listing: Listing<'_>,
    watch: WatchBlob<'_>,
) -> Result<Copied, Error> {
    let mut plan = Plan::new(from);
    plan.add(descriptor, Listing::Child, 0)?;

    let mut copied = Copied { left_behind: plan.left_behind, ..Copied::default() };
    copy_blobs(from, to, plan.blobs.into_values().collect(), watch, &mut copied)?;
    for step in &plan.steps {
        let manifest = from.manifest(&step.descriptor)?;
        copied.count(to.push_manifest(&manifest, step.listing)?, step.descriptor.size);
    }
    let root = from.manifest(descriptor)?;
    to.push_manifest(&root, listing)?;
    to.finish()?;
    copied.referrers = plan.referrers;
    Ok(copied)
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
    /// Attached manifests that could not be read for what they are.
    pub left_behind: Vec<(Descriptor, Error)>,
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

/// Collects what there is to copy. Only descriptors are kept, so that the memory does not grow with
/// the manifests.
struct Plan<'a> {
    from: &'a dyn Place,
    seen: BTreeSet<Digest>,
    blobs: BTreeMap<Digest, Descriptor>,
    /// The manifests, each one after those that it needs.
    steps: Vec<Step>,
    referrers: Vec<Descriptor>,
    left_behind: Vec<(Descriptor, Error)>,
}

struct Step {
    descriptor: Descriptor,
    listing: Listing<'static>,
}

impl<'a> Plan<'a> {
    fn new(from: &'a dyn Place) -> Self {
        Self {
            from,
            seen: BTreeSet::new(),
            blobs: BTreeMap::new(),
            steps: Vec::new(),
            referrers: Vec::new(),
            left_behind: Vec::new(),
        }
    }

    fn add(
        &mut self,
        descriptor: &Descriptor,
        listing: Listing<'static>,
        depth: usize,
    ) -> Result<(), Error> {
        if !self.seen.insert(descriptor.digest) {
            return Ok(());
        }
        let manifest = self.from.manifest(descriptor)?;
        self.add_manifest(descriptor, &manifest, listing, depth)
    }

    fn add_manifest(
        &mut self,
        descriptor: &Descriptor,
        manifest: &Manifest,
        listing: Listing<'static>,
        depth: usize,
    ) -> Result<(), Error> {
        let object = || format!("{} in {}", descriptor.digest, self.from.name());
        if depth > MAX_DEPTH {
            return Err(Error::Nesting { object: object(), limit: MAX_DEPTH });
        }
        if self.steps.len() == MAX_MANIFESTS {
            return Err(Error::TooManyImages { object: object(), limit: MAX_MANIFESTS });
        }
        match manifest.kind() {
            ManifestKind::Image(_) => {
                let blobs = manifest.children().map(|blob| (blob.digest, blob.plain()));
                self.blobs.extend(blobs);
            }
            ManifestKind::Index(index) => {
                for child in &index.manifests {
                    self.add(child, Listing::Child, depth + 1)?;
                }
            }
        }
        self.steps.push(Step { descriptor: manifest.descriptor().plain(), listing });
        for referrer in self.from.referrers(descriptor, &[])? {
            match referrer.manifest {
                Ok(manifest) if self.seen.insert(referrer.descriptor.digest) => {
                    self.referrers.push(manifest.descriptor().clone());
                    let descriptor = &referrer.descriptor;
                    self.add_manifest(descriptor, &manifest, Listing::Referrer, depth + 1)?;
                }
                Err(error) if self.seen.insert(referrer.descriptor.digest) => {
                    self.left_behind.push((referrer.descriptor, error));
                }
                Ok(_) | Err(_) => {}
            }
        }
        Ok(())
    }
}

/// Copies blobs, several at once.
fn copy_blobs(
    from: &dyn Place,
    to: &dyn Place,
    mut blobs: Vec<Descriptor>,
    watch: WatchBlob<'_>,
    copied: &mut Copied,
) -> Result<(), Error> {
    // The largest come first, lest one of them is alone at the end.
    blobs.sort_by_key(|blob| blob.size);
    let queue = Mutex::new((blobs, copied, Ok(())));
    let lock = || queue.lock().unwrap_or_else(PoisonError::into_inner);
    std::thread::scope(|scope| {
        for _ in 0..PARALLEL_BLOBS {
            scope.spawn(|| {
                loop {
                    let Some(blob) = lock().0.pop() else { return };
                    let result = copy_blob(from, to, &blob, watch);
                    let (blobs, copied, outcome) = &mut *lock();
                    match result {
                        Ok(pushed) => copied.count(pushed, blob.size),
                        Err(error) => {
                            blobs.clear();
                            // The first error is the one that is told.
                            if outcome.is_ok() {
                                *outcome = Err(error);
                            }
                        }
                    }
                }
            });
        }
    });
    queue.into_inner().unwrap_or_else(PoisonError::into_inner).2
}

fn copy_blob(
    from: &dyn Place,
    to: &dyn Place,
    blob: &Descriptor,
    watch: WatchBlob<'_>,
) -> Result<Pushed, Error> {
    to.push_blob(blob, &PlacedBlob { from, blob, watch })
}

/// Is a blob where it is copied from.
struct PlacedBlob<'a> {
    from: &'a dyn Place,
    blob: &'a Descriptor,
    watch: WatchBlob<'a>,
}

impl BlobSource for PlacedBlob<'_> {
    fn open(&self) -> Result<Box<dyn Read + '_>, Error> {
        // It is hashed once: by the place that stores it.
        let content = self.from.blob(self.blob)?.without_hashing();
        Ok((self.watch)(self.blob, Box::new(content)))
    }

    fn repository(&self) -> Option<Repository> {
        self.from.repository()
    }
}

/// How many blobs are copied at once, unless there are fewer.
const PARALLEL_BLOBS: usize = 4;

/// How deep indexes and referrers may be nested: an index in an index, with a signature, with a
/// signature on that, and as much again.
const MAX_DEPTH: usize = 8;

/// How many manifests are copied at once: what a place with thousands of signatures of one image
/// would need.
const MAX_MANIFESTS: usize = 10_000;
