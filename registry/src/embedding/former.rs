//! The signatures that an image had in its manifests the last time, and gets again.

use crate::artifact::annotations::{self, Keys};
use crate::artifact::{LayerSignature, SignatureArtifact};
use crate::descriptor::Descriptor;
use crate::distribution::RegistryError;
use crate::error::{Error, ErrorKind};
use crate::image::{MAX_IMAGES, MAX_INDEX_DEPTH};
use crate::manifest::ManifestKind;
use crate::place::{Listing, Place};
use crate::reference::Selector;

/// Holds the signatures in the manifests of the image that is about to be replaced.
///
/// ECDSA signatures differ each time. Whoever embeds anew what was embedded before takes the same
/// signatures again, lest the image gets another digest although nothing has changed.
#[derive(Debug, Default)]
pub struct Former {
    signatures: Vec<LayerSignature>,
}

impl Former {
    /// Reads what is in the image or index under the tag of `listing`, if there is one.
    ///
    /// What is damaged there is as good as absent: it is about to be replaced.
    ///
    /// # Errors
    ///
    /// Returns an error if the place cannot be asked.
    pub fn read(place: &dyn Place, listing: Listing<'_>, keys: Keys) -> Result<Self, Error> {
        let mut former = Self::default();
        let Listing::Tag(tag) = listing else { return Ok(former) };
        let Some(root) = present(place.resolve(&Selector::Tag(tag.clone())))? else {
            return Ok(former);
        };
        let mut left = MAX_MANIFESTS;
        former.add(place, &root, keys, 0, &mut left)?;
        Ok(former)
    }

    fn add(
        &mut self,
        place: &dyn Place,
        descriptor: &Descriptor,
        keys: Keys,
        depth: usize,
        left: &mut usize,
    ) -> Result<(), Error> {
        if depth > MAX_INDEX_DEPTH || *left == 0 {
            return Ok(());
        }
        *left -= 1;
        let Some(manifest) = present(place.manifest(descriptor))? else { return Ok(()) };
        match manifest.kind() {
            ManifestKind::Image(image) => {
                let layers = image.layers.iter();
                self.signatures
                    .extend(layers.filter_map(|layer| annotations::parse(layer, keys).ok()?));
            }
            ManifestKind::Index(index) => {
                for entry in &index.manifests {
                    self.add(place, entry, keys, depth + 1, left)?;
                }
            }
        }
        Ok(())
    }

    /// Puts former signatures in the place of new ones over the same root hash of the same layer,
    /// where `is_valid` accepts them.
    ///
    /// What is new is former for the next artifact: images that share a layer share its signature.
    pub fn restore(
        &mut self,
        artifact: &mut SignatureArtifact,
        is_valid: &dyn Fn(&LayerSignature) -> bool,
    ) {
        for wanted in &mut artifact.signatures {
            let is_same = |found: &&LayerSignature| {
                found.claim.layer_digest == wanted.claim.layer_digest
                    && found.claim.root_hash == wanted.claim.root_hash
                    && is_valid(found)
            };
            match self.signatures.iter().find(is_same) {
                Some(found) => wanted.signature.clone_from(&found.signature),
                None => self.signatures.push(wanted.clone()),
            }
        }
    }
}

/// Returns what was found, or `None` if it is not there or is damaged.
fn present<T>(found: Result<T, Error>) -> Result<Option<T>, Error> {
    match found {
        Ok(found) => Ok(Some(found)),
        Err(Error::Registry(error)) if matches!(*error, RegistryError::NoSuchRepository { .. }) => {
            Ok(None)
        }
        // A layout may list two images under one tag.
        Err(Error::Ambiguous { .. }) => Ok(None),
        Err(error) if matches!(error.kind(), ErrorKind::Content | ErrorKind::NotFound) => Ok(None),
        Err(error) => Err(error),
    }
}

/// How many manifests are looked at: of all images that are taken, and as many others beside them.
const MAX_MANIFESTS: usize = 2 * MAX_IMAGES;
