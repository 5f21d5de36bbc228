//! Writing signatures into the manifests of the images themselves.
//!
//! The signature of each layer goes into annotations of the layer's descriptor
//! ([`artifact::annotations`](crate::artifact::annotations)), and so reaches a node with the image
//! by every way of pulling, without another request. The price is a new manifest with a new digest,
//! and a new index above it; layers and configuration stay.
//!
//! ```text
//! signing::sign ──▶ artifacts ──▶ embed ──▶ Embedded ──▶ push manifests, then root
//!                       │                      │
//!                       └──▶ Embedded::retarget ┘──▶ signatures::publish
//! ```
//!
//! Whoever pushes the result pushes the layers and configurations of the old image first, then
//! [`Embedded::manifests`] in their order, each as a child, and [`Embedded::root`] last of all under
//! the tag. What was attached to the old manifests stays with them: signatures as artifacts of the
//! new ones are made by [`Embedded::retarget`].
//!
//! # What changes
//!
//! A manifest is edited as text. In the descriptors of the layers that have a signature, the
//! annotations of the set of keys are added, or replaced where they are; all other bytes stay,
//! except that the object of annotations that is added to is written without white space. Fields
//! that are not known here, the order of all fields, numbers and escapes are as they were.
//!
//! In an index, each entry of a manifest that changed gets its new digest and size, and its new
//! content where the index has that too (`data`). The annotation `vnd.docker.reference.digest`, by
//! which a builder ties its statements to the image beside them, follows the image. The statements
//! themselves do not change: they go on naming the old digest, which is what their builder has seen.
//!
//! Embedding again what is there already changes nothing, and embedding the image from before once
//! more makes the same new one ([`Former`]).

mod edit;
mod former;

use std::collections::{BTreeMap, BTreeSet};

use libverity::digest::Digest;

pub use self::edit::EditError;
pub use self::former::Former;
use crate::artifact::annotations::{self, Keys};
use crate::artifact::{ArtifactError, LayerSignature, SignatureArtifact};
use crate::descriptor::Descriptor;
use crate::error::Error;
use crate::image::MAX_INDEX_DEPTH;
use crate::manifest::{ImageManifest, Manifest, ManifestError, ManifestKind};
use crate::place::Place;

/// Makes the image or index `root` anew, with signatures in the manifests. Nothing is written.
///
/// Each of `artifacts` is for its subject, an image manifest that is `root` or below it; several may
/// be for the same. A layer has room for one signature by each set of `keys`: of several signatures
/// of a layer the first is taken, which is the one by the first profile and the first signer. A
/// layer without a signature in `artifacts` keeps its annotations.
///
/// A signature that is there already over the same root hash stays if `is_valid` accepts it, as with
/// [`signatures::publish`](crate::signatures::publish): ECDSA signatures differ each time, and a
/// manifest should not.
///
/// # Errors
///
/// Returns what `place` returns, and everything that [`EmbeddingError`] lists.
pub fn embed(
    place: &dyn Place,
    root: &Descriptor,
    artifacts: &[SignatureArtifact],
    keys: Keys,
    is_valid: &dyn Fn(&LayerSignature) -> bool,
) -> Result<Embedded, EmbeddingError> {
    let mut signatures: BTreeMap<Digest, Vec<LayerSignature>> = BTreeMap::new();
    for artifact in artifacts {
        let known = signatures.entry(artifact.subject.digest).or_default();
        known.extend(artifact.signatures.iter().cloned());
    }
    let mut rewriter = Rewriter {
        place,
        keys,
        is_valid,
        signatures,
        seen: BTreeSet::new(),
        manifests: Vec::new(),
    };
    let manifest = place.manifest(root)?;
    let changed = rewriter.rewrite(&manifest, 0)?;
    if let Some(unseen) =
        rewriter.signatures.keys().find(|subject| !rewriter.seen.contains(*subject))
    {
        return Err(EmbeddingError::NotBelow { manifest: *unseen, root: root.digest });
    }
    Ok(Embedded {
        old_root: root.digest,
        root: changed.unwrap_or(manifest),
        manifests: rewriter.manifests,
    })
}

/// Writes signatures into one image manifest and returns the new one, which is the same where
/// nothing had to be changed. [`embed`] has the rules.
///
/// # Errors
///
/// As [`embed`]; an index has no layers to be signed.
pub fn embed_into(
    manifest: &Manifest,
    signatures: &[LayerSignature],
    keys: Keys,
    is_valid: &dyn Fn(&LayerSignature) -> bool,
) -> Result<Manifest, EmbeddingError> {
    let no_such_layer = |layer| EmbeddingError::NoSuchLayer { layer, manifest: manifest.digest() };
    let ManifestKind::Image(image) = manifest.kind() else {
        return match signatures.first() {
            Some(signature) => Err(no_such_layer(signature.claim.layer_digest)),
            None => Ok(manifest.clone()),
        };
    };
    let mut first: BTreeMap<Digest, &LayerSignature> = BTreeMap::new();
    for signature in signatures {
        let layer = signature.claim.layer_digest;
        if !image.layers.iter().any(|known| known.digest == layer) {
            return Err(no_such_layer(layer));
        }
        first.entry(layer).or_insert(signature);
    }
    let annotations = annotations_of_layers(image, &first, keys, is_valid)
        .map_err(|source| EmbeddingError::Artifact { manifest: manifest.digest(), source })?;
    reparse(manifest, |text| edit::annotate_layers(text, &annotations, keys))
}

/// Is an image or index with its signatures inside, ready to be pushed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Embedded {
    /// The digest of the image or index before.
    pub old_root: Digest,
    /// The image or index; the one from before if nothing had to be changed.
    pub root: Manifest,
    /// The manifests and indexes below it that are new, each after those that it lists.
    pub manifests: Vec<Rewritten>,
}

/// Is a manifest or index that is new, and the one in whose place it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rewritten {
    /// The digest before.
    pub old: Digest,
    /// The manifest or index now.
    pub new: Manifest,
}

impl Embedded {
    /// Tells whether anything had to be changed.
    pub fn is_changed(&self) -> bool {
        self.root.digest() != self.old_root
    }

    /// Returns what has become of the manifest or index that had the digest `old`, if it is new.
    pub fn successor(&self, old: &Digest) -> Option<&Manifest> {
        if *old == self.old_root {
            return self.is_changed().then_some(&self.root);
        }
        let mut manifests = self.manifests.iter();
        manifests.find(|rewritten| rewritten.old == *old).map(|rewritten| &rewritten.new)
    }

    /// Returns the same signatures for the manifest as it is now, to be attached to that.
    #[must_use]
    pub fn retarget(&self, artifact: &SignatureArtifact) -> SignatureArtifact {
        let subject = match self.successor(&artifact.subject.digest) {
            Some(manifest) => manifest.descriptor().plain(),
            None => artifact.subject.clone(),
        };
        SignatureArtifact { subject, signatures: artifact.signatures.clone() }
    }
}

/// Says why signatures cannot be written into an image.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EmbeddingError {
    /// A signature cannot be written.
    #[error("the signatures of {manifest} cannot be written into it: {source}")]
    Artifact {
        /// The image manifest.
        manifest: Digest,
        /// What is wrong with the signature.
        source: ArtifactError,
    },
    /// A manifest cannot be edited.
    #[error("{manifest} cannot be edited: {source}")]
    Edit {
        /// The manifest or index.
        manifest: Digest,
        /// What is wrong with it.
        source: EditError,
    },
    /// The manifest with the signatures is not acceptable as one.
    #[error("{manifest} with its signatures could not be used: {source}")]
    Manifest {
        /// The manifest or index as it was before.
        manifest: Digest,
        /// What would be wrong with it.
        source: ManifestError,
    },
    /// A signature is for a layer that the image does not have.
    #[error("a signature is for the layer {layer}, which {manifest} does not have")]
    NoSuchLayer {
        /// The layer.
        layer: Digest,
        /// The image manifest.
        manifest: Digest,
    },
    /// Signatures are for an image that is not in the index.
    #[error("signatures are for the image {manifest}, which is not {root} or below it")]
    NotBelow {
        /// The image manifest.
        manifest: Digest,
        /// The image or index.
        root: Digest,
    },
    /// The image cannot be read.
    #[error(transparent)]
    Place(#[from] Error),
}

struct Rewriter<'a> {
    place: &'a dyn Place,
    keys: Keys,
    is_valid: &'a dyn Fn(&LayerSignature) -> bool,
    /// By the manifests that they are for.
    signatures: BTreeMap<Digest, Vec<LayerSignature>>,
    /// The manifests and indexes that were looked at.
    seen: BTreeSet<Digest>,
    manifests: Vec<Rewritten>,
}

impl Rewriter<'_> {
    /// Returns what `manifest` becomes, or `None` if it stays as it is.
    fn rewrite(
        &mut self,
        manifest: &Manifest,
        depth: usize,
    ) -> Result<Option<Manifest>, EmbeddingError> {
        self.seen.insert(manifest.digest());
        let signatures = self.signatures.get(&manifest.digest());
        let signatures = signatures.map(Vec::as_slice).unwrap_or_default();
        let annotated = embed_into(manifest, signatures, self.keys, self.is_valid)?;
        let new = match manifest.kind() {
            ManifestKind::Image(_) => annotated,
            ManifestKind::Index(index) => {
                if depth == MAX_INDEX_DEPTH {
                    let object = format!("{} in {}", manifest.digest(), self.place.name());
                    return Err(Error::Nesting { object, limit: MAX_INDEX_DEPTH }.into());
                }
                for entry in &index.manifests {
                    self.rewrite_entry(entry, depth)?;
                }
                let manifests = &self.manifests;
                let successor = |old: &Digest| {
                    manifests
                        .iter()
                        .find(|rewritten| rewritten.old == *old)
                        .map(|rewritten| &rewritten.new)
                };
                reparse(manifest, |text| edit::replace_children(text, &successor))?
            }
        };
        Ok((new.digest() != manifest.digest()).then_some(new))
    }

    fn rewrite_entry(&mut self, entry: &Descriptor, depth: usize) -> Result<(), EmbeddingError> {
        // Of all else nothing changes, and it may not even be there.
        let may_change = entry.media_type.is_index() || self.signatures.contains_key(&entry.digest);
        if !may_change || self.seen.contains(&entry.digest) {
            return Ok(());
        }
        let old = self.place.manifest(entry)?;
        if let Some(new) = self.rewrite(&old, depth + 1)? {
            self.manifests.push(Rewritten { old: old.digest(), new });
        }
        Ok(())
    }
}

/// Returns the annotations that the descriptor of each layer is to have, by their places.
fn annotations_of_layers(
    image: &ImageManifest,
    signatures: &BTreeMap<Digest, &LayerSignature>,
    keys: Keys,
    is_valid: &dyn Fn(&LayerSignature) -> bool,
) -> Result<Vec<Option<edit::Annotations>>, ArtifactError> {
    let annotations = |layer: &Descriptor| {
        let Some(&wanted) = signatures.get(&layer.digest) else { return Ok(None) };
        // What is there may be malformed, and is replaced then.
        let found = annotations::parse(layer, keys).ok().flatten();
        let keep = found
            .filter(|found| found.claim.root_hash == wanted.claim.root_hash && is_valid(found));
        let signature = match keep {
            Some(found) => LayerSignature { claim: wanted.claim.clone(), ..found },
            None => wanted.clone(),
        };
        annotations::write(&signature, keys).map(Some)
    };
    image.layers.iter().map(annotations).collect()
}

/// Edits the text of a manifest and reads it again.
fn reparse(
    manifest: &Manifest,
    edit: impl FnOnce(&str) -> Result<String, EditError>,
) -> Result<Manifest, EmbeddingError> {
    let digest = manifest.digest();
    let edited = std::str::from_utf8(manifest.bytes())
        .map_err(EditError::Utf8)
        .and_then(edit)
        .map_err(|source| EmbeddingError::Edit { manifest: digest, source })?;
    Manifest::parse(Some(&manifest.descriptor().media_type), edited.into_bytes())
        .map_err(|source| EmbeddingError::Manifest { manifest: digest, source })
}
