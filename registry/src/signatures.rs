//! Finding the signatures of an image, and adding to them.

use std::collections::BTreeMap;

use libverity::digest::Digest;

use crate::artifact::{
    self, ARTIFACT_TYPE, LayerSignature, MAX_SIGNATURE_BYTES, SignatureArtifact,
};
use crate::copy::for_each_blob;
use crate::descriptor::Descriptor;
use crate::error::{Error, ErrorKind};
use crate::manifest::Manifest;
use crate::place::{Listing, Place};

/// Is one artifact that is attached to an image as its signatures.
#[derive(Debug)]
pub struct Candidate {
    /// The artifact's manifest, as the place lists it.
    pub descriptor: Descriptor,
    /// The signatures, or why they cannot be used.
    pub outcome: Result<SignatureArtifact, Error>,
}

/// Says what publishing has done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Published {
    /// All signatures were there already, in the artifacts of these digests; nothing was written.
    AlreadySigned(Vec<Digest>),
    /// The artifact of this digest was written.
    Written(Digest),
}

/// Finds all signature artifacts of the image manifest `subject`.
///
/// An artifact that is damaged or malformed hides no other one: it is returned with the reason.
///
/// # Errors
///
/// Returns an error if the place cannot be asked or cannot be read. An empty list means that the
/// image is not signed.
pub fn find(place: &dyn Place, subject: &Descriptor) -> Result<Vec<Candidate>, Error> {
    let mut candidates = Vec::new();
    for referrer in place.referrers(subject, &[ARTIFACT_TYPE])? {
        let outcome = match referrer.manifest.and_then(|manifest| read(place, &manifest)) {
            Ok(signatures) => Ok(SignatureArtifact { subject: subject.plain(), signatures }),
            Err(error) if error.kind() == ErrorKind::Content => Err(error),
            Err(error) => return Err(error),
        };
        candidates.push(Candidate { descriptor: referrer.descriptor, outcome });
    }
    Ok(candidates)
}

/// Attaches `artifact` to its subject, unless each of its signatures is there already.
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
    is_valid: &dyn Fn(&LayerSignature) -> bool,
) -> Result<Published, Error> {
    let candidates = find(place, &artifact.subject)?;
    if let Some(holders) = holders(&candidates, artifact, is_valid) {
        return Ok(Published::AlreadySigned(holders));
    }
    let encoded = artifact.encode().map_err(|source| Error::Artifact {
        object: format!("the signatures of {}", artifact.subject.digest),
        source,
    })?;
    push_blobs(place, &encoded.blobs)?;
    place.push_manifest(&encoded.manifest, Listing::Referrer)?;
    Ok(Published::Written(encoded.manifest.digest()))
}

/// Stores small blobs, several at once: a registry takes its time for each.
fn push_blobs(place: &dyn Place, blobs: &[(Descriptor, Vec<u8>)]) -> Result<(), Error> {
    let contents: BTreeMap<Digest, &(Descriptor, Vec<u8>)> =
        blobs.iter().map(|blob| (blob.0.digest, blob)).collect();
    let descriptors = contents.values().map(|(descriptor, _)| descriptor.clone()).collect();
    for_each_blob(descriptors, place, |descriptor, _| match contents.get(&descriptor.digest) {
        Some((_, bytes)) => place.push_blob(descriptor, &bytes.as_slice()).map(|_| ()),
        None => Ok(()),
    })
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
        let holder = candidates.iter().find(holds)?.descriptor.digest;
        if !holders.contains(&holder) {
            holders.push(holder);
        }
    }
    (!holders.is_empty()).then_some(holders)
}

fn read(place: &dyn Place, manifest: &Manifest) -> Result<Vec<LayerSignature>, Error> {
    let entries = artifact::parse(manifest).map_err(|source| Error::Artifact {
        object: format!("{} in {}", manifest.digest(), place.name()),
        source,
    })?;
    entries
        .into_iter()
        .map(|(descriptor, claim)| {
            let signature = place.blob(&descriptor)?.read_all(MAX_SIGNATURE_BYTES)?;
            Ok(LayerSignature { claim, signature })
        })
        .collect()
}
