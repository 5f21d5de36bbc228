//! What there is to copy, and in which order.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use libverity::digest::Digest;

use super::Copied;
use crate::descriptor::Descriptor;
use crate::error::{Error, ErrorKind};
use crate::manifest::{Manifest, ManifestKind};
use crate::place::{Listing, Place, Pushed};

/// Is the list of all manifests and blobs of an image, and the record of what became of them.
pub(crate) struct Plan<'a> {
    from: &'a dyn Place,
    root: Descriptor,
    /// The manifests, each one after those that it needs.
    steps: Vec<Step>,
    blobs: BTreeMap<Digest, PlannedBlob>,
    progress: Mutex<Progress>,
}

/// Is a manifest to be pushed.
struct Step {
    descriptor: Descriptor,
    listing: Listing<'static>,
    /// The manifest itself, unless so many were kept already that it is read again.
    manifest: Option<Manifest>,
}

/// Is a blob to be pushed.
struct PlannedBlob {
    descriptor: Descriptor,
    /// Whether the image itself needs it, and not only what is attached to it.
    is_needed: bool,
}

struct Progress {
    copied: Copied,
    /// The blobs and manifests that were not pushed.
    lacking: BTreeMap<Digest, Arc<Error>>,
}

impl<'a> Plan<'a> {
    /// Reads all manifests below the image or index `descriptor`, and all that are attached to one
    /// of them.
    ///
    /// # Errors
    ///
    /// Returns what is wrong with one of them, but for those that are only attached.
    pub(crate) fn of(from: &'a dyn Place, descriptor: &Descriptor) -> Result<Self, Error> {
        let mut survey = Survey {
            from,
            seen: BTreeSet::new(),
            steps: Vec::new(),
            blobs: BTreeMap::new(),
            kept_bytes: 0,
            left_behind: Vec::new(),
        };
        survey.add(descriptor, Part::Needed, 0)?;
        let copied = Copied { left_behind: survey.left_behind, ..Copied::default() };
        Ok(Self {
            from,
            root: descriptor.clone(),
            steps: survey.steps,
            blobs: survey.blobs,
            progress: Mutex::new(Progress { copied, lacking: BTreeMap::new() }),
        })
    }

    /// Lists the blobs.
    pub(crate) fn blobs(&self) -> Vec<Descriptor> {
        self.blobs.values().map(|planned| planned.descriptor.clone()).collect()
    }

    /// Notes what became of a blob.
    ///
    /// # Errors
    ///
    /// Returns the error that `outcome` is if it ends the copy: if the image itself needs the blob,
    /// or if it is not the blob that is at fault.
    pub(crate) fn note(
        &self,
        blob: &Descriptor,
        outcome: Result<Pushed, Error>,
    ) -> Result<(), Error> {
        let Progress { copied, lacking } = &mut *self.progress();
        let is_needed = self.blobs.get(&blob.digest).is_none_or(|planned| planned.is_needed);
        match outcome {
            Ok(pushed) => copied.count(pushed, blob.size),
            Err(error) if error.kind() == ErrorKind::Content && !is_needed => {
                lacking.insert(blob.digest, Arc::new(error));
            }
            Err(error) => return Err(error),
        }
        Ok(())
    }

    /// Pushes all manifests by their digests, after all blobs.
    ///
    /// # Errors
    ///
    /// Returns the first error of either place.
    pub(crate) fn push_manifests(&self, to: &dyn Place) -> Result<(), Error> {
        let Progress { copied, lacking } = &mut *self.progress();
        for step in &self.steps {
            let manifest = step.manifest(self.from)?;
            let lack = manifest.children().find_map(|child| lacking.get(&child.digest)).cloned();
            if let Some(error) = lack {
                lacking.insert(step.descriptor.digest, Arc::clone(&error));
                copied.left_behind.push((step.descriptor.clone(), error));
                continue;
            }
            copied.count(to.push_manifest(&manifest, step.listing)?, step.descriptor.size);
            if step.listing == Listing::Referrer {
                copied.referrers.push(step.descriptor.clone());
            }
        }
        Ok(())
    }

    /// Lists the image, or the one that is to take its place, after all manifests, and tells what was
    /// done.
    ///
    /// # Errors
    ///
    /// Returns the first error of either place.
    pub(crate) fn list(
        self,
        to: &dyn Place,
        successor: Option<&Manifest>,
        listing: Listing<'_>,
    ) -> Result<Copied, Error> {
        let is_root = |step: &&Step| step.descriptor.digest == self.root.digest;
        let root = match (successor, self.steps.iter().find(is_root)) {
            (Some(successor), _) => successor.clone(),
            (None, Some(step)) => step.manifest(self.from)?,
            (None, None) => self.from.manifest(&self.root)?,
        };
        to.push_manifest(&root, listing)?;
        to.finish()?;
        let progress = self.progress.into_inner().unwrap_or_else(PoisonError::into_inner);
        Ok(progress.copied)
    }

    fn progress(&self) -> MutexGuard<'_, Progress> {
        // Whoever panicked while it counted ends the copy.
        self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Step {
    fn manifest(&self, from: &dyn Place) -> Result<Manifest, Error> {
        match &self.manifest {
            Some(manifest) => Ok(manifest.clone()),
            None => from.manifest(&self.descriptor),
        }
    }
}

/// Finds out what belongs to an image.
struct Survey<'a> {
    from: &'a dyn Place,
    seen: BTreeSet<Digest>,
    steps: Vec<Step>,
    blobs: BTreeMap<Digest, PlannedBlob>,
    kept_bytes: u64,
    left_behind: Vec<(Descriptor, Arc<Error>)>,
}

/// Tells how a manifest belongs to the image.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Part {
    /// By a subject, its own or that of an index which has it.
    Attached,
    /// As the image itself, or as one of its platforms.
    Needed,
}

impl Survey<'_> {
    fn add(&mut self, descriptor: &Descriptor, part: Part, depth: usize) -> Result<(), Error> {
        if !self.seen.insert(descriptor.digest) {
            return Ok(());
        }
        let manifest = self.from.manifest(descriptor)?;
        let descriptor = manifest.descriptor().clone();
        self.add_manifest(manifest, Listing::Child, part, depth)?;
        self.add_referrers(&descriptor, depth + 1)
    }

    /// Adds a manifest after what it needs.
    fn add_manifest(
        &mut self,
        manifest: Manifest,
        listing: Listing<'static>,
        part: Part,
        depth: usize,
    ) -> Result<(), Error> {
        let object = || format!("{} in {}", manifest.digest(), self.from.name());
        if depth > MAX_DEPTH {
            return Err(Error::Nesting { object: object(), limit: MAX_DEPTH });
        }
        if self.steps.len() == MAX_MANIFESTS {
            return Err(Error::TooManyImages { object: object(), limit: MAX_MANIFESTS });
        }
        match manifest.kind() {
            ManifestKind::Image(_) => {
                for blob in manifest.children() {
                    let is_needed = part == Part::Needed
                        || self.blobs.get(&blob.digest).is_some_and(|known| known.is_needed);
                    let planned = PlannedBlob { descriptor: blob.plain(), is_needed };
                    self.blobs.insert(blob.digest, planned);
                }
            }
            ManifestKind::Index(index) => {
                for child in &index.manifests {
                    self.add(child, part, depth + 1)?;
                }
            }
        }
        self.push_step(manifest, listing);
        Ok(())
    }

    fn push_step(&mut self, manifest: Manifest, listing: Listing<'static>) {
        let descriptor = manifest.descriptor().clone();
        let kept_bytes = self.kept_bytes + descriptor.size;
        let is_kept = kept_bytes <= MAX_KEPT_BYTES;
        if is_kept {
            self.kept_bytes = kept_bytes;
        }
        self.steps.push(Step { descriptor, listing, manifest: is_kept.then_some(manifest) });
    }

    /// Adds what is attached to `subject`, but for what is damaged.
    fn add_referrers(&mut self, subject: &Descriptor, depth: usize) -> Result<(), Error> {
        for referrer in self.from.referrers(subject, &[])? {
            let descriptor = referrer.descriptor;
            if !self.seen.insert(descriptor.digest) {
                continue;
            }
            let added = referrer.manifest.and_then(|manifest| {
                self.add_manifest(manifest, Listing::Referrer, Part::Attached, depth)
            });
            match added {
                Ok(()) => self.add_referrers(&descriptor, depth + 1)?,
                // Where there are too many, it is not this one that is at fault.
                Err(error @ Error::TooManyImages { .. }) => return Err(error),
                Err(error) if error.kind() == ErrorKind::Content => {
                    self.left_behind.push((descriptor, Arc::new(error)));
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

/// How deep indexes and referrers may be nested: an index in an index, with a signature, with a
/// signature on that, and as much again.
const MAX_DEPTH: usize = 8;

/// How many manifests are copied at once: what a place with thousands of signatures of one image
/// would need.
const MAX_MANIFESTS: usize = 10_000;

/// How much of the manifests is kept in memory between the survey and the push; 4 KiB each are
/// usual. What is beyond it is read twice.
const MAX_KEPT_BYTES: u64 = 64 << 20;
