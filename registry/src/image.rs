//! Images: manifests together with what their configurations say about the layers.

use std::collections::BTreeSet;

use libverity::digest::Digest;
use libverity::layer::Profile;

use crate::config::{ImageConfig, Start};
use crate::descriptor::Descriptor;
use crate::error::Error;
use crate::manifest::{ImageIndex, MAX_MANIFEST_BYTES, Manifest, ManifestKind};
use crate::place::Place;
use crate::platform::Platform;

/// Is an image for one platform, ready to have its layers read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Image {
    /// The manifest; its digest is what signatures are attached to.
    pub manifest: Manifest,
    /// What the image runs on, as its configuration has it.
    pub platform: Platform,
    /// The layers, lowest first.
    pub layers: Vec<ImageLayer>,
    /// What a container of the image starts.
    pub start: Start,
}

/// Is an image with the place in which it lies.
#[derive(Clone, Copy)]
pub struct PlacedImage<'a> {
    /// The place.
    pub place: &'a dyn Place,
    /// The image.
    pub image: &'a Image,
}

/// Is one layer of an image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImageLayer {
    /// The blob.
    pub descriptor: Descriptor,
    /// The digest of the tar archive in the blob.
    pub diff_id: Digest,
}

impl Image {
    /// Reads the manifest that `descriptor` points to, and its configuration.
    ///
    /// # Errors
    ///
    /// Returns [`Error::IndexNotManifest`] for an index, [`Error::UnsupportedMediaType`] for an
    /// artifact, and [`Error::DiffIdCount`] if manifest and configuration disagree.
    pub fn load(place: &dyn Place, descriptor: &Descriptor) -> Result<Self, Error> {
        let manifest = place.manifest(descriptor)?;
        Self::from_manifest(place, manifest)
    }

    /// Reads the image that is meant by `descriptor`, which may be an index if `wanted` chooses
    /// one of its platforms.
    ///
    /// # Errors
    ///
    /// As [`Image::load`], and [`Error::NoSuchPlatform`] if there is none for `wanted`.
    pub fn choose(
        place: &dyn Place,
        descriptor: &Descriptor,
        wanted: Option<&Platform>,
    ) -> Result<Self, Error> {
        let Some(wanted) = wanted else {
            return Self::load(place, descriptor);
        };
        // A general name such as linux/arm may fit several; the index's order is its preference.
        let mut images = Self::all(place, descriptor, Some(wanted))?;
        Ok(images.swap_remove(0))
    }

    /// Reads the images of all platforms below `descriptor`, or of those that satisfy `wanted`;
    /// at least one. Each is read once, attestations and other artifacts are passed over.
    ///
    /// # Errors
    ///
    /// As [`Image::load`], and [`Error::NoSuchPlatform`] if there is none for `wanted`.
    pub fn all(
        place: &dyn Place,
        descriptor: &Descriptor,
        wanted: Option<&Platform>,
    ) -> Result<Vec<Self>, Error> {
        let mut walk = Walk {
            place,
            wanted,
            seen: BTreeSet::new(),
            images: Vec::new(),
            platforms: Vec::new(),
        };
        let manifest = place.manifest(descriptor)?;
        match manifest.kind() {
            ManifestKind::Image(_) => walk.add(manifest, None)?,
            ManifestKind::Index(index) => walk.descend(&name(place, &manifest), index, 1)?,
        }
        match (walk.images.is_empty(), wanted) {
            (false, _) => Ok(walk.images),
            (true, Some(wanted)) => Err(Error::NoSuchPlatform {
                object: format!("{} in {}", descriptor.digest, place.name()),
                wanted: wanted.to_string(),
                platforms: walk.platforms,
            }),
            (true, None) => {
                Err(Error::NoImage { place: format!("{} in {}", descriptor.digest, place.name()) })
            }
        }
    }

    /// Returns the descriptor of the manifest, as a signature artifact's subject has it.
    pub fn subject(&self) -> Descriptor {
        self.manifest.descriptor().plain()
    }

    fn from_manifest(place: &dyn Place, manifest: Manifest) -> Result<Self, Error> {
        let object = name(place, &manifest);
        let image = match manifest.kind() {
            ManifestKind::Image(image) => image,
            ManifestKind::Index(index) => {
                return Err(Error::IndexNotManifest { object, platforms: platforms_of(index) });
            }
        };
        if !image.config.media_type.is_image_config() {
            return Err(Error::UnsupportedMediaType {
                object: format!("the configuration of {object}"),
                expected: "the configuration of an image",
                found: image.config.media_type.clone(),
            });
        }
        let bytes = place.blob(&image.config)?.read_all(MAX_MANIFEST_BYTES)?;
        let config = ImageConfig::parse(&bytes).map_err(|source| Error::Config {
            object: format!("the configuration {} of {object}", image.config.digest),
            source,
        })?;
        if image.layers.len() != config.diff_ids.len() {
            return Err(Error::DiffIdCount {
                object,
                layers: image.layers.len(),
                diff_ids: config.diff_ids.len(),
            });
        }
        let layers = image
            .layers
            .iter()
            .zip(config.diff_ids)
            .map(|(descriptor, diff_id)| ImageLayer { descriptor: descriptor.clone(), diff_id })
            .collect();
        Ok(Self { platform: config.platform, layers, start: config.start, manifest })
    }
}

impl ImageLayer {
    /// Returns the profile by which `other` has the root hash that this layer has by `profile`, if there is one.
    ///
    /// That takes the same archive, the same mode, and the same UUID: by the digest of a layer that is not compressed,
    /// for one, and by the diffID of the same layer, compressed.
    pub(crate) fn same_root_hash(&self, profile: Profile, other: &Self) -> Option<Profile> {
        if self.descriptor.digest == other.descriptor.digest {
            return Some(profile);
        }
        let uuid = profile.uuid(self.descriptor.digest, self.diff_id);
        let is_same = |by: &Profile| {
            by.mode() == profile.mode() && by.uuid(other.descriptor.digest, other.diff_id) == uuid
        };
        let is_same_archive = self.diff_id == other.diff_id;
        Profile::ALL.into_iter().find(is_same).filter(|_| is_same_archive)
    }
}

/// Collects the images below an index.
struct Walk<'a> {
    place: &'a dyn Place,
    wanted: Option<&'a Platform>,
    seen: BTreeSet<Digest>,
    images: Vec<Image>,
    /// All platforms that were met, for the error message.
    platforms: Vec<String>,
}

impl Walk<'_> {
    fn descend(&mut self, object: &str, index: &ImageIndex, depth: usize) -> Result<(), Error> {
        if depth > MAX_INDEX_DEPTH {
            return Err(Error::Nesting { object: object.to_owned(), limit: MAX_INDEX_DEPTH });
        }
        for entry in &index.manifests {
            if is_attestation(entry) || !self.seen.insert(entry.digest) {
                continue;
            }
            if entry.media_type.is_manifest()
                && let Some(platform) = &entry.platform
                && !self.is_wanted(platform)
            {
                continue;
            }
            let manifest = self.place.manifest(entry)?;
            match manifest.kind() {
                ManifestKind::Index(nested) => {
                    self.descend(&name(self.place, &manifest), nested, depth + 1)?;
                }
                ManifestKind::Image(_) if is_artifact(&manifest) => {}
                ManifestKind::Image(_) if self.images.len() == MAX_IMAGES => {
                    return Err(Error::TooManyImages {
                        object: object.to_owned(),
                        limit: MAX_IMAGES,
                    });
                }
                ManifestKind::Image(_) => self.add(manifest, entry.platform.as_ref())?,
            }
        }
        Ok(())
    }

    /// Takes an image, unless it is for another platform by its own configuration and its index
    /// does not say for which.
    fn add(&mut self, manifest: Manifest, listed: Option<&Platform>) -> Result<(), Error> {
        let image = Image::from_manifest(self.place, manifest)?;
        if listed.is_some() || self.is_wanted(&image.platform) {
            self.images.push(image);
        }
        Ok(())
    }

    fn is_wanted(&mut self, platform: &Platform) -> bool {
        let is_wanted = self.wanted.is_none_or(|wanted| platform.satisfies(wanted));
        if !is_wanted && self.platforms.len() < MAX_IMAGES {
            self.platforms.push(platform.to_string());
        }
        is_wanted
    }
}

/// Tells the statements about an image, which its builder lists in the index beside it.
///
/// They are for no platform. What calls itself one and is for a platform all the same is an image to
/// those who pull it, and must not be passed over.
pub fn is_attestation(entry: &Descriptor) -> bool {
    entry.annotation("vnd.docker.reference.type") == Some("attestation-manifest")
        && entry.platform.as_ref().is_none_or(|platform| platform.os == "unknown")
}

/// Tells artifacts from images: by their configuration, which nobody runs, and not by what they call
/// themselves alone.
fn is_artifact(manifest: &Manifest) -> bool {
    let ManifestKind::Image(image) = manifest.kind() else { return false };
    manifest.descriptor().artifact_type.is_some() && !image.config.media_type.is_image_config()
}

fn platforms_of(index: &ImageIndex) -> Vec<String> {
    let images = index.manifests.iter().filter(|entry| !is_attestation(entry));
    images
        .filter_map(|entry| entry.platform.as_ref().map(Platform::to_string))
        .take(MAX_IMAGES)
        .collect()
}

fn name(place: &dyn Place, manifest: &Manifest) -> String {
    format!("{} in {}", manifest.digest(), place.name())
}

/// How deep indexes may be nested. One level is usual and two occur; nothing needs more.
pub(crate) const MAX_INDEX_DEPTH: usize = 4;

/// How many images of one index are taken. The widest ones in use have about 20; each may hold up
/// to 4 MiB of manifest in memory.
pub(crate) const MAX_IMAGES: usize = 64;
