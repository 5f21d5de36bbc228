//! Finding the signatures of an image, and adding to them.

use std::collections::{BTreeMap, BTreeSet};

use libverity::digest::Digest;

use crate::artifact::annotations::{self, Keys};
use crate::artifact::{
    self, ArtifactError, EncodedArtifact, Format, LayerSignature, Location, SignatureArtifact,
    max_blob_bytes, signature_from_blob,
};
use crate::copy::{PARALLEL_BLOBS, for_each_blob};
use crate::descriptor::Descriptor;
use crate::error::{Error, ErrorKind};
use crate::manifest::{Manifest, ManifestKind};
use crate::place::{Listing, PendingBlob, Place};

/// Is something that holds signatures of an image.
#[derive(Debug)]
pub struct Candidate {
    /// What it is and where.
    pub origin: Origin,
    /// The signatures, or why they cannot be used.
    pub outcome: Result<SignatureArtifact, Error>,
}

/// Says where signatures come from, and in which form.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// A manifest that is attached to the image.
    Artifact {
        /// The digest of the manifest.
        digest: Digest,
        /// Its form; not known of a manifest that cannot be read.
        format: Option<Format>,
    },
    /// The image's own manifest, in the annotations of its layers' descriptors.
    Manifest {
        /// Under which keys.
        keys: Keys,
    },
}

impl Origin {
    /// Returns the digest of the manifest that is attached to the image, if that is the origin.
    pub fn artifact(&self) -> Option<Digest> {
        match self {
            Self::Artifact { digest, .. } => Some(*digest),
            Self::Manifest { .. } => None,
        }
    }

    /// Returns the name of the form, if it is known.
    pub fn form(&self) -> Option<&'static str> {
        match self {
            Self::Artifact { format, .. } => format.map(Format::name),
            Self::Manifest { keys } => Some(keys.name()),
        }
    }
}

/// Says what publishing has done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Published {
    /// All signatures were there already, in the artifacts of these digests; nothing was written.
    AlreadySigned(Vec<Digest>),
    /// The artifact of this digest was written.
    Written(Digest),
}

/// Finds all signatures of the image that `image` is the manifest of, in every form: the artifacts
/// that are attached to it, and then its own annotations.
///
/// What is damaged or malformed hides nothing else: it is returned with the reason.
///
/// # Errors
///
/// Returns an error if the place cannot be asked or cannot be read. An empty list means that the
/// image is not signed.
pub fn find(place: &dyn Place, image: &Manifest) -> Result<Vec<Candidate>, Error> {
    let subject = image.descriptor().plain();
    let mut candidates = find_attached(place, &subject, &Format::ARTIFACT_TYPES)?;
    candidates.extend(find_embedded(place, image, &subject));
    Ok(candidates)
}

fn find_attached(
    place: &dyn Place,
    subject: &Descriptor,
    artifact_types: &[&str],
) -> Result<Vec<Candidate>, Error> {
    let mut candidates = Vec::new();
    for referrer in place.referrers(subject, artifact_types)? {
        let descriptor = referrer.descriptor;
        let artifact_type = match &referrer.manifest {
            Ok(manifest) => &manifest.descriptor().artifact_type,
            Err(_) => &descriptor.artifact_type,
        };
        let format = artifact_type.as_deref().and_then(Format::of_artifact_type);
        let outcome = match referrer.manifest.and_then(|manifest| read(place, &manifest)) {
            Ok(signatures) => Ok(SignatureArtifact { subject: subject.clone(), signatures }),
            Err(error) if error.kind() == ErrorKind::Content => Err(error),
            Err(error) => return Err(error),
        };
        candidates.push(Candidate {
            origin: Origin::Artifact { digest: descriptor.digest, format },
            outcome,
        });
    }
    Ok(candidates)
}

/// Returns one candidate for all signatures under one set of keys, and one for each layer with
/// annotations that cannot be read.
fn find_embedded(place: &dyn Place, image: &Manifest, subject: &Descriptor) -> Vec<Candidate> {
    let ManifestKind::Image(manifest) = image.kind() else { return Vec::new() };
    let mut candidates = Vec::new();
    for keys in Keys::ALL {
        let candidate = |outcome| Candidate { origin: Origin::Manifest { keys }, outcome };
        let mut signatures: Vec<LayerSignature> = Vec::new();
        let mut unusable = Vec::new();
        for layer in &manifest.layers {
            match annotations::parse(layer, keys) {
                // A layer that occurs twice may well be annotated twice.
                Ok(Some(signature)) if signatures.contains(&signature) => {}
                Ok(signature) => signatures.extend(signature),
                Err(source) => unusable.push(candidate(Err(Error::Annotations {
                    object: format!(
                        "layer {} of {} in {}",
                        layer.digest,
                        subject.digest,
                        place.name()
                    ),
                    source,
                }))),
            }
        }
        if !signatures.is_empty() {
            let artifact = SignatureArtifact { subject: subject.clone(), signatures };
            candidates.push(candidate(Ok(artifact)));
        }
        candidates.extend(unusable);
    }
    candidates
}

/// Attaches `artifact` to its subject in the form `format`, unless each of its signatures is there
/// already in an artifact of this form.
///
/// A signature is there if one with the same layer, root hash, profile and signer is, and
/// `is_valid` accepts it: what is found says of itself who made it, and anyone may have written
/// that.
///
/// # Errors
///
/// Returns [`Error::Artifact`] if `artifact` cannot be written, and what the place returns.
pub fn publish(
    place: &dyn Place,
    artifact: &SignatureArtifact,
    format: Format,
    is_valid: &dyn Fn(&LayerSignature) -> bool,
) -> Result<Published, Error> {
    Publication::begin(place, &artifact.subject, format)?.finish(artifact, is_valid)
}

/// Is what is known and done of an artifact before it is complete.
pub(crate) struct Publication<'a> {
    place: &'a dyn Place,
    format: Format,
    /// What is attached to the subject already, in the same form.
    candidates: Vec<Candidate>,
    /// The blobs that are there by now.
    stored: BTreeSet<Digest>,
    /// What the place is ready to take of the last part.
    pending: Option<Box<dyn PendingBlob + 'a>>,
}

impl<'a> Publication<'a> {
    /// Looks up what is attached to `subject`.
    pub(crate) fn begin(
        place: &'a dyn Place,
        subject: &Descriptor,
        format: Format,
    ) -> Result<Self, Error> {
        let candidates = find_attached(place, subject, &[format.artifact_type()])?;
        Ok(Self { place, format, candidates, stored: BTreeSet::new(), pending: None })
    }

    /// Prepares for signatures that are about to come, unless the subject has some already: then
    /// they are likely the same.
    pub(crate) fn prepare(&mut self) -> Result<(), Error> {
        if !self.candidates.is_empty() {
            return Ok(());
        }
        self.push_blobs(&[artifact::configuration()])?;
        self.pending = self.place.begin_blob()?;
        Ok(())
    }

    /// Stores the blobs of those signatures in `part` that are not there yet, which is a part of
    /// the artifact to come; what was prepared is for the last one.
    pub(crate) fn store(
        &mut self,
        part: &SignatureArtifact,
        is_last: bool,
        is_valid: &dyn Fn(&LayerSignature) -> bool,
    ) -> Result<(), Error> {
        if holders(&self.candidates, part, is_valid).is_some() {
            return Ok(());
        }
        let mut blobs = self.encode(part)?.blobs;
        blobs.retain(|(descriptor, _)| !self.stored.contains(&descriptor.digest));
        if is_last
            && let [(descriptor, bytes)] = &*blobs
            && let Some(pending) = self.pending.take()
        {
            pending.store(descriptor, &bytes.as_slice())?;
            self.stored.insert(descriptor.digest);
            return Ok(());
        }
        self.push_blobs(&blobs)
    }

    /// Attaches the artifact, unless all of it is there already.
    pub(crate) fn finish(
        mut self,
        artifact: &SignatureArtifact,
        is_valid: &dyn Fn(&LayerSignature) -> bool,
    ) -> Result<Published, Error> {
        if let Some(holders) = holders(&self.candidates, artifact, is_valid) {
            return Ok(Published::AlreadySigned(holders));
        }
        let encoded = self.encode(artifact)?;
        self.push_blobs(&encoded.blobs)?;
        self.place.push_manifest(&encoded.manifest, Listing::Referrer)?;
        Ok(Published::Written(encoded.manifest.digest()))
    }

    fn encode(&self, artifact: &SignatureArtifact) -> Result<EncodedArtifact, Error> {
        artifact.encode(self.format).map_err(|source| Error::Artifact {
            object: format!("the signatures of {}", artifact.subject.digest),
            source,
        })
    }

    /// Stores small blobs, several at once: a registry takes its time for each.
    fn push_blobs(&mut self, blobs: &[(Descriptor, Vec<u8>)]) -> Result<(), Error> {
        let place = self.place;
        let blobs = blobs.iter().filter(|blob| !self.stored.contains(&blob.0.digest));
        let contents: BTreeMap<Digest, &(Descriptor, Vec<u8>)> =
            blobs.map(|blob| (blob.0.digest, blob)).collect();
        let descriptors = contents.values().map(|(descriptor, _)| descriptor.clone()).collect();
        for_each_blob(descriptors, place, PARALLEL_BLOBS, |descriptor, _| {
            match contents.get(&descriptor.digest) {
                Some((_, bytes)) => place.push_blob(descriptor, &bytes.as_slice()).map(|_| ()),
                None => Ok(()),
            }
        })?;
        self.stored.extend(contents.into_keys());
        Ok(())
    }
}

/// Returns the artifacts that together have every signature of `artifact`, or `None` if one is
/// nowhere.
fn holders(
    candidates: &[Candidate],
    artifact: &SignatureArtifact,
    is_valid: &dyn Fn(&LayerSignature) -> bool,
) -> Option<Vec<Digest>> {
    let mut holders: Vec<Digest> = Vec::new();
    for wanted in &artifact.signatures {
        let holds = |candidate: &&Candidate| {
            candidate.outcome.as_ref().is_ok_and(|found| {
                found.signatures.iter().any(|found| {
                    found == wanted
                        || (found.claim.is_same_statement(&wanted.claim) && is_valid(found))
                })
            })
        };
        let holder = candidates.iter().find(holds)?.origin.artifact()?;
        if !holders.contains(&holder) {
            holders.push(holder);
        }
    }
    (!holders.is_empty()).then_some(holders)
}

fn read(place: &dyn Place, manifest: &Manifest) -> Result<Vec<LayerSignature>, Error> {
    let unusable = |source: ArtifactError| Error::Artifact {
        object: format!("{} in {}", manifest.digest(), place.name()),
        source,
    };
    let parsed = artifact::parse(manifest).map_err(unusable)?;
    let signature = |entry: artifact::Entry| {
        let signature = match entry.location {
            Location::Inline(signature) => signature,
            Location::Blob(descriptor) => {
                let content = place.blob(&descriptor)?.read_all(max_blob_bytes(parsed.format))?;
                signature_from_blob(parsed.format, content).map_err(unusable)?
            }
        };
        Ok(LayerSignature { claim: entry.claim, signature })
    };
    parsed.entries.into_iter().map(signature).collect()
}
