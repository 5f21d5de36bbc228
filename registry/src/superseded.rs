//! Root hashes that go out of use when an image takes the place of another.
//!
//! A layer that no supported image has any more is of no use, and a signature of it stays good for ever unless a policy
//! denies the root hash. A layer that a supported image has must not be denied: it would take that image away, too.

use libverity::digest::{Digest, RootHash};
use libverity::layer::{Discard, Profile};

use crate::conversion::{ConversionError, Watch, convert_layer};
use crate::image::{ImageLayer, PlacedImage};

/// Is a layer that is out of use, with its root hashes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SupersededLayer {
    /// The layer.
    pub layer: ImageLayer,
    /// Its root hashes by those profiles by which no supported layer has the same.
    pub root_hashes: Vec<(Profile, RootHash)>,
}

/// Finds the layers of `old` that none of `supported` has, and works their root hashes out anew by each of `profiles`.
///
/// A layer is the same where it has the same digest. One that was only compressed again has other root hashes by some
/// profiles, and those alone go out of use.
///
/// # Errors
///
/// Returns why a layer cannot be read.
pub fn superseded(
    old: &[PlacedImage<'_>],
    supported: &[PlacedImage<'_>],
    profiles: &[Profile],
    watch: Watch<'_>,
) -> Result<Vec<SupersededLayer>, ConversionError> {
    let mut superseded: Vec<SupersededLayer> = Vec::new();
    for PlacedImage { place, image } in old {
        for layer in &image.layers {
            let digest = layer.descriptor.digest;
            if superseded.iter().any(|known| known.layer.descriptor.digest == digest) {
                continue;
            }
            let is_used = |profile: &Profile| {
                layers(supported).any(|used| layer.same_root_hash(*profile, used).is_some())
            };
            let unused: Vec<_> =
                profiles.iter().copied().filter(|profile| !is_used(profile)).collect();
            if unused.is_empty() {
                continue;
            }
            let converted = convert_layer(*place, layer, &unused, &mut Discard, watch)?;
            let root_hashes = converted.images.into_iter();
            let root_hashes = root_hashes.map(|image| (image.profile, image.root_hash)).collect();
            superseded.push(SupersededLayer { layer: layer.clone(), root_hashes });
        }
    }
    Ok(superseded)
}

/// Returns the layers of `image` that would be denied with `superseded`, each with the profile by which it has a root
/// hash that is among them.
pub fn still_needed<'a>(
    image: PlacedImage<'a>,
    superseded: &[SupersededLayer],
) -> Vec<(&'a Digest, Profile)> {
    let mut needed = Vec::new();
    for used in &image.image.layers {
        let denied = superseded.iter().find_map(|gone| {
            let mut profiles = gone.root_hashes.iter().map(|(profile, _)| *profile);
            profiles.find(|profile| gone.layer.same_root_hash(*profile, used).is_some())
        });
        needed.extend(denied.map(|profile| (&used.descriptor.digest, profile)));
    }
    needed
}

fn layers<'a>(images: &'a [PlacedImage<'a>]) -> impl Iterator<Item = &'a ImageLayer> {
    images.iter().flat_map(|placed| &placed.image.layers)
}
