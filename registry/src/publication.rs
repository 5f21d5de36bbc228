//! Publishing images that are new, under a tag that is written last of all.
//!
//! ```text
//! blobs ──▶ manifests by digest ──▶ signatures ──▶ has a tag moved? ──▶ the tag
//! ```
//!
//! Whoever finds the tag finds everything, for all platforms. Where a step fails, no tag has moved; what was stored
//! before is of no harm, and is not stored again the next time.

use std::collections::BTreeMap;
use std::io::Read;
use std::sync::Mutex;
use std::sync::PoisonError;

use libverity::digest::Digest;

use crate::artifact::{Format, LayerSignature, SignatureArtifact};
use crate::copy::{PARALLEL_BLOBS, PlacedBlob, WatchBlob, for_each_blob};
use crate::descriptor::Descriptor;
use crate::draft::{Draft, DraftError};
use crate::error::Error;
use crate::json_object::JsonObject;
use crate::manifest::{Manifest, ManifestKind};
use crate::patch::PatchLayer;
use crate::place::{Listing, Place, Pushed};
use crate::reference::Selector;
use crate::signatures::{self, Published};
use crate::tag::Tag;

/// Is a new image for one platform, with all that it needs and the place does not have.
pub struct NewImage<'a> {
    /// Manifest and configuration.
    pub draft: Draft,
    /// Layers that may not be in the place.
    pub layers: Vec<NewLayer<'a>>,
    /// The signatures of the layers, in their order; none for an image that is not signed.
    pub signatures: Vec<LayerSignature>,
}

/// Is a layer that may have to be stored.
pub enum NewLayer<'a> {
    /// It was made here.
    Made(&'a PatchLayer),
    /// It lies in another place, or another repository.
    Placed(&'a dyn Place, &'a Descriptor),
}

/// Says how images are published.
pub struct Publication<'a> {
    /// The images.
    pub images: &'a [NewImage<'a>],
    /// The index that lists them, where there is one.
    pub index: Option<&'a Manifest>,
    /// The tag that the index gets, or the only image.
    pub tag: &'a Tag,
    /// The tags that must not have moved.
    pub watched: &'a [WatchedTag],
    /// In which form the signatures are attached.
    pub format: Format,
}

/// Is a tag with what it named when the work began.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WatchedTag {
    tag: Tag,
    holder: Option<Digest>,
}

impl WatchedTag {
    /// Looks up what a tag names; nothing at all is an answer.
    ///
    /// # Errors
    ///
    /// Returns why the tag cannot be looked up.
    pub fn look_up(place: &dyn Place, tag: &Tag) -> Result<Self, Error> {
        match place.resolve(&Selector::Tag(tag.clone())) {
            Ok(descriptor) => Ok(Self::of(tag, Some(descriptor.digest))),
            Err(Error::NoSuchTag { .. }) => Ok(Self::of(tag, None)),
            Err(error) => Err(error),
        }
    }

    /// Names what a tag was found to name.
    pub fn of(tag: &Tag, holder: Option<Digest>) -> Self {
        Self { tag: tag.clone(), holder }
    }

    /// Returns what the tag named.
    pub fn holder(&self) -> Option<Digest> {
        self.holder
    }

    fn check(&self, place: &dyn Place) -> Result<(), PublicationError> {
        let found = Self::look_up(place, &self.tag)?.holder;
        if found == self.holder {
            return Ok(());
        }
        Err(PublicationError::TagMoved {
            place: place.name(),
            tag: self.tag.clone(),
            expected: self.holder,
            found,
        })
    }
}

/// Says what was published.
#[derive(Debug, Default)]
pub struct PublishedImages {
    /// Where the signatures of each image are, in the order of the images.
    pub signatures: Vec<Option<Published>>,
    /// How many blobs were stored.
    pub stored: usize,
    /// How long they are together, in bytes.
    pub stored_bytes: u64,
}

/// Says why an image was not published.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PublicationError {
    /// A place failed.
    #[error(transparent)]
    Place(#[from] Error),
    /// A tag names something else than it did.
    #[error("the tag {tag} in {place} moved while the new image was made: it named {} and names {} now", named(*expected), named(*found))]
    TagMoved {
        /// The place.
        place: String,
        /// The tag.
        tag: Tag,
        /// What it named.
        expected: Option<Digest>,
        /// What it names.
        found: Option<Digest>,
    },
}

/// Stores everything, and then writes the tag.
///
/// `reopen` opens the place once more where this one does not see what others have done to it meanwhile. A signature
/// that is attached already stays if `is_valid` accepts it, as with [`signatures::publish`].
///
/// No registry writes a tag only if it still names what it did: somebody who moves it between the last look and the write
/// is overwritten.
///
/// # Errors
///
/// Returns the first error of a place, and [`PublicationError::TagMoved`]; no tag has moved then.
pub fn publish(
    place: &dyn Place,
    publication: &Publication<'_>,
    reopen: &dyn Fn() -> Result<Option<Box<dyn Place>>, Error>,
    is_valid: &dyn Fn(&LayerSignature) -> bool,
    watch: WatchBlob<'_>,
) -> Result<PublishedImages, PublicationError> {
    let mut published = push_blobs(place, publication, watch)?;
    for image in publication.images {
        place.push_manifest(&image.draft.manifest, Listing::Child)?;
    }
    for image in publication.images {
        let signatures = match image.signatures.is_empty() {
            true => None,
            false => {
                let subject = image.draft.manifest.descriptor().plain();
                let signatures = image.signatures.clone();
                let artifact = SignatureArtifact { subject, signatures };
                Some(signatures::publish(place, &artifact, publication.format, is_valid)?)
            }
        };
        published.signatures.push(signatures);
    }
    let reopened = reopen()?;
    for tag in publication.watched {
        tag.check(reopened.as_deref().unwrap_or(place))?;
    }
    let images = publication.images.iter().map(|image| &image.draft.manifest);
    if let Some(root) = publication.index.into_iter().chain(images).next() {
        place.push_manifest(root, Listing::Tag(publication.tag))?;
        place.finish()?;
    }
    Ok(published)
}

/// Returns the index in which the images of `drafts` have taken the places of their origins.
///
/// What the index lists for the platforms stays as it is, but for digest and size. Statements about the images before,
/// which builders list beside them, are left out: they are about other images.
///
/// # Errors
///
/// Fails where the index cannot be edited.
pub fn index_of(
    index: &Manifest,
    drafts: &[&Draft],
    annotations: BTreeMap<String, String>,
) -> Result<Manifest, DraftError> {
    let image = index.digest();
    let json = |source| DraftError::Json { document: "index", image, source };
    let successors: BTreeMap<Digest, &Manifest> =
        drafts.iter().map(|draft| (draft.origin, &draft.manifest)).collect();
    let mut document = JsonObject::parse(index.bytes()).map_err(json)?;
    let entries: Vec<JsonObject> = document.field("manifests").map_err(json)?.unwrap_or_default();
    let mut kept = Vec::new();
    for mut entry in entries {
        let of: BTreeMap<String, String> =
            entry.field("annotations").map_err(json)?.unwrap_or_default();
        let subject = of.get(REFERENCE_DIGEST).and_then(|digest| digest.parse().ok());
        if subject.is_some_and(|subject: Digest| successors.contains_key(&subject)) {
            continue;
        }
        let digest: Option<Digest> = entry.field("digest").map_err(json)?;
        if let Some(new) = digest.and_then(|digest| successors.get(&digest)) {
            entry.set("digest", &new.digest()).map_err(json)?;
            entry.set("size", &new.bytes().len()).map_err(json)?;
            entry.remove(|key| key == "data");
        }
        kept.push(entry);
    }
    document.set("manifests", &kept).map_err(json)?;
    if !annotations.is_empty() {
        let mut all: BTreeMap<String, String> =
            document.field("annotations").map_err(json)?.unwrap_or_default();
        all.extend(annotations);
        document.set("annotations", &all).map_err(json)?;
    }
    let bytes = document.to_bytes().map_err(json)?;
    Manifest::parse(Some(&index.descriptor().media_type), bytes)
        .map_err(|source| DraftError::Manifest { image, source })
}

/// Lists the statements about the images of `drafts` that [`index_of`] leaves out.
pub fn statements_left_out<'a>(index: &'a Manifest, drafts: &[&Draft]) -> Vec<&'a Descriptor> {
    let ManifestKind::Index(index) = index.kind() else { return Vec::new() };
    let is_left_out = |entry: &&Descriptor| {
        let subject = entry.annotation(REFERENCE_DIGEST);
        subject
            .is_some_and(|subject| drafts.iter().any(|draft| draft.origin.to_string() == subject))
    };
    index.manifests.iter().filter(is_left_out).collect()
}

fn push_blobs(
    place: &dyn Place,
    publication: &Publication<'_>,
    watch: WatchBlob<'_>,
) -> Result<PublishedImages, Error> {
    let mut sources = BTreeMap::new();
    for NewImage { draft, layers, .. } in publication.images {
        for layer in layers {
            sources.insert(
                layer.descriptor().digest,
                (layer.descriptor().plain(), Source::Layer(layer)),
            );
        }
        let configuration = Source::Configuration(&draft.config_bytes);
        sources.insert(draft.config.digest, (draft.config.plain(), configuration));
    }
    let blobs = sources.values().map(|(descriptor, _)| descriptor.clone()).collect();
    let counts = Mutex::new(PublishedImages::default());
    for_each_blob(blobs, place, PARALLEL_BLOBS, |blob, is_stopped| {
        let pushed = match sources.get(&blob.digest).map(|(_, source)| source) {
            None => return Ok(()),
            Some(Source::Configuration(bytes)) => place.push_blob(blob, bytes)?,
            Some(Source::Layer(NewLayer::Made(layer))) => place.push_blob(blob, *layer)?,
            Some(Source::Layer(NewLayer::Placed(from, _))) => {
                place.push_blob(blob, &PlacedBlob { from: *from, blob, watch, is_stopped })?
            }
        };
        if pushed == Pushed::Stored {
            let mut counts = counts.lock().unwrap_or_else(PoisonError::into_inner);
            counts.stored += 1;
            counts.stored_bytes += blob.size;
        }
        Ok::<_, Error>(())
    })?;
    Ok(counts.into_inner().unwrap_or_else(PoisonError::into_inner))
}

enum Source<'a> {
    Configuration(&'a [u8]),
    Layer(&'a NewLayer<'a>),
}

impl NewLayer<'_> {
    fn descriptor(&self) -> &Descriptor {
        match self {
            Self::Made(layer) => &layer.layer().descriptor,
            Self::Placed(_, descriptor) => descriptor,
        }
    }
}

/// Sees no blob: what is published here shows no progress of its own.
pub fn unwatched(_: &Descriptor, content: Box<dyn Read>) -> Box<dyn Read> {
    content
}

fn named(digest: Option<Digest>) -> String {
    digest.map_or_else(|| "nothing".to_owned(), |digest| digest.to_string())
}

/// The annotation by which a builder ties a statement to the image that it is about.
const REFERENCE_DIGEST: &str = "vnd.docker.reference.digest";
