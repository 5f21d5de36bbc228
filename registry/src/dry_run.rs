//! Places to which nothing is written.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use libverity::digest::Digest;

use crate::blob::BlobReader;
use crate::descriptor::Descriptor;
use crate::error::Error;
use crate::manifest::Manifest;
use crate::network::Network;
use crate::place::{self, BlobSource, Listing, Place, Pushed, Referrer, ReferrersWay, Repository};
use crate::reference::{ArchiveFile, Reference, Selector};

/// Stands for the place that an image would be copied to, and remembers what would be there then.
///
/// The content of what would be pushed is not read: it is taken for what its descriptor says.
pub struct DryRun<'a> {
    name: String,
    /// The place as it is, unless it would have to be made.
    place: Option<Box<dyn Place>>,
    /// Where the image comes from, and where what would have been pushed can be read.
    from: &'a dyn Place,
    /// The blobs, and the manifests with their contents.
    pushed: Mutex<BTreeMap<Digest, Option<Manifest>>>,
}

impl<'a> DryRun<'a> {
    /// Opens the place of `reference`, to which an image would be copied that lies in `from`.
    ///
    /// # Errors
    ///
    /// As [`place::open`]; a place that does not exist is no error.
    pub fn open(
        reference: &Reference,
        network: &Network,
        from: &'a dyn Place,
    ) -> Result<Self, Error> {
        let is_to_be_made = match reference {
            Reference::Archive { file, .. } => *file == ArchiveFile::StandardStream,
            Reference::Layout { directory, .. } => {
                directory.read_dir().is_ok_and(|mut entries| entries.next().is_none())
            }
            Reference::Registry(_) => false,
        };
        let place = match is_to_be_made {
            true => None,
            false => match place::open(reference, network) {
                Ok(place) => Some(place),
                Err(Error::NoSuchPlace { .. }) => None,
                Err(error) => return Err(error),
            },
        };
        let name = place.as_ref().map_or_else(|| reference.to_string(), |place| place.name());
        Ok(Self { name, place, from, pushed: Mutex::new(BTreeMap::new()) })
    }

    fn pushed(&self) -> MutexGuard<'_, BTreeMap<Digest, Option<Manifest>>> {
        self.pushed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn push(&self, descriptor: &Descriptor, manifest: Option<Manifest>) -> Result<Pushed, Error> {
        if self.has(descriptor)? {
            return Ok(Pushed::Present);
        }
        self.pushed().insert(descriptor.digest, manifest);
        Ok(Pushed::Stored)
    }

    /// Returns the place in which something is now, or comes from.
    fn holder(&self, digest: &Digest) -> &dyn Place {
        match &self.place {
            Some(place) if !self.pushed().contains_key(digest) => &**place,
            _ => self.from,
        }
    }
}

impl Place for DryRun<'_> {
    fn name(&self) -> String {
        self.name.clone()
    }

    fn resolve(&self, selector: &Selector) -> Result<Descriptor, Error> {
        match &self.place {
            Some(place) => place.resolve(selector),
            None => Err(Error::NoSuchPlace { place: self.name() }),
        }
    }

    fn manifest(&self, descriptor: &Descriptor) -> Result<Manifest, Error> {
        if let Some(Some(manifest)) = self.pushed().get(&descriptor.digest) {
            return Ok(manifest.clone());
        }
        self.holder(&descriptor.digest).manifest(descriptor)
    }

    fn blob(&self, descriptor: &Descriptor) -> Result<BlobReader, Error> {
        self.holder(&descriptor.digest).blob(descriptor)
    }

    fn has(&self, descriptor: &Descriptor) -> Result<bool, Error> {
        if self.pushed().contains_key(&descriptor.digest) {
            return Ok(true);
        }
        self.place.as_ref().map_or(Ok(false), |place| place.has(descriptor))
    }

    fn referrers(
        &self,
        subject: &Descriptor,
        artifact_types: &[&str],
    ) -> Result<Vec<Referrer>, Error> {
        let mut referrers = match &self.place {
            Some(place) => place.referrers(subject, artifact_types)?,
            None => Vec::new(),
        };
        for manifest in self.pushed().values().flatten() {
            let descriptor = manifest.descriptor();
            let is_wanted = artifact_types.is_empty()
                || descriptor
                    .artifact_type
                    .as_deref()
                    .is_some_and(|found| artifact_types.contains(&found));
            if is_wanted && manifest.subject().is_some_and(|found| found.digest == subject.digest) {
                let manifest = Ok(manifest.clone());
                referrers.push(Referrer { descriptor: descriptor.clone(), manifest });
            }
        }
        Ok(referrers)
    }

    fn push_blob(&self, descriptor: &Descriptor, _: &dyn BlobSource) -> Result<Pushed, Error> {
        self.push(descriptor, None)
    }

    fn repository(&self) -> Option<Repository> {
        self.place.as_ref().and_then(|place| place.repository())
    }

    fn referrers_way(&self) -> Option<ReferrersWay> {
        self.place.as_ref().and_then(|place| place.referrers_way())
    }

    fn push_manifest(&self, manifest: &Manifest, _: Listing<'_>) -> Result<Pushed, Error> {
        self.push(manifest.descriptor(), Some(manifest.clone()))
    }
}
