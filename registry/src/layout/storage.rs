//! What all layouts have in common, wherever their files are kept.

use std::collections::BTreeSet;
use std::io::{self, Read};

use libverity::digest::Digest;
use serde::Deserialize;

use super::index::{LayoutIndex, MAX_INDEX_BYTES, REF_NAME, names};
use crate::blob::BlobReader;
use crate::descriptor::Descriptor;
use crate::error::{Error, ErrorKind};
use crate::manifest::{MAX_MANIFEST_BYTES, Manifest, ManifestError, ManifestKind};
use crate::place::{BlobSource, Listing, Place, Pushed, Referrer};
use crate::reference::Selector;
use crate::tag::Tag;

/// Keeps the files of a layout, and thereby is a [`Place`].
pub(crate) trait Storage: Send + Sync {
    /// Returns the place as a user would write it.
    fn place_name(&self) -> String;

    /// Opens the file at `path` within the layout and returns its length in bytes.
    fn open_file(&self, path: &str) -> Opened;

    /// Stores what is left to read of `blob`, if it turns out to be right; a file that is there
    /// already is replaced.
    fn write_blob(
        &self,
        digest: &Digest,
        blob: &mut BlobReader<&mut dyn Read>,
    ) -> Result<(), Error>;

    /// Makes a change to the index that no other writer's change is lost by. Returns
    /// [`Pushed::Present`] if nothing had to be changed.
    fn change_index(&self, change: IndexChange) -> Result<Pushed, Error>;

    /// Reads the index.
    fn index(&self) -> Result<LayoutIndex, Error> {
        read_index(&self.place_name(), self.open_file(INDEX))
    }

    /// As [`Place::is_sequential`].
    fn writes_in_sequence(&self) -> bool {
        false
    }

    /// As [`Place::finish`].
    fn finish_storage(&self) -> Result<(), Error> {
        Ok(())
    }
}

impl<S: Storage> Place for S {
    fn name(&self) -> String {
        self.place_name()
    }

    fn resolve(&self, selector: &Selector) -> Result<Descriptor, Error> {
        let index = self.index()?;
        match selector {
            Selector::Digest(digest) => match index.entry(digest) {
                Some(entry) => Ok(entry.plain()),
                // The manifest of one platform is listed by the index of all, not by the layout.
                None => {
                    let blob = open_blob(self, "manifest", digest, None)?;
                    let bytes = blob.read_all(MAX_MANIFEST_BYTES)?;
                    let manifest = Manifest::parse(None, bytes)
                        .map_err(|source| manifest_error(self, digest, source))?;
                    Ok(manifest.descriptor().plain())
                }
            },
            Selector::Only => only_image(self, &index),
            Selector::Tag(tag) => match index.tagged(tag).as_slice() {
                [] => Err(Error::NoSuchTag {
                    place: self.name(),
                    tag: tag.clone(),
                    known: index.tags().take(MAX_CHOICES_SHOWN).map(str::to_owned).collect(),
                }),
                [entry] => Ok(entry.plain()),
                several => Err(Error::Ambiguous { place: self.name(), choices: choices(several) }),
            },
        }
    }

    fn manifest(&self, descriptor: &Descriptor) -> Result<Manifest, Error> {
        let blob = open_blob(self, "manifest", &descriptor.digest, Some(descriptor.size))?;
        Manifest::parse(Some(&descriptor.media_type), blob.read_all(MAX_MANIFEST_BYTES)?)
            .map_err(|source| manifest_error(self, &descriptor.digest, source))
    }

    fn blob(&self, descriptor: &Descriptor) -> Result<BlobReader, Error> {
        open_blob(self, "blob", &descriptor.digest, Some(descriptor.size))
    }

    fn has(&self, descriptor: &Descriptor) -> Result<bool, Error> {
        match self.open_file(&blob_path(&descriptor.digest)) {
            Ok((_, size_bytes)) => Ok(size_bytes == descriptor.size),
            Err(OpenError::Missing) => Ok(false),
            Err(error) => {
                Err(open_error(&self.place_name(), &format!("blob {}", descriptor.digest), error))
            }
        }
    }

    fn referrers(
        &self,
        subject: &Descriptor,
        artifact_types: &[&str],
    ) -> Result<Vec<Referrer>, Error> {
        let is_wanted = |found: Option<&str>| {
            artifact_types.is_empty() || found.is_some_and(|found| artifact_types.contains(&found))
        };
        let index = self.index()?;
        let tagged = tagged_referrers(self, &index, subject)?;
        let mut seen = BTreeSet::from([subject.digest]);
        let mut referrers = Vec::new();
        for descriptor in index.entries().iter().chain(&tagged) {
            // Tools that copy artifacts may list them without their type.
            let may_be_wanted = descriptor.artifact_type.is_none()
                || is_wanted(descriptor.artifact_type.as_deref());
            if !may_be_wanted || !seen.insert(descriptor.digest) {
                continue;
            }
            let manifest = match self.manifest(descriptor) {
                Ok(manifest) => manifest,
                Err(error) if error.kind() == ErrorKind::Content => {
                    let descriptor = descriptor.clone();
                    referrers.push(Referrer { descriptor, manifest: Err(error) });
                    continue;
                }
                Err(error) => return Err(error),
            };
            let refers = manifest.subject().is_some_and(|found| found.digest == subject.digest);
            if refers && is_wanted(manifest.descriptor().artifact_type.as_deref()) {
                let descriptor = descriptor.clone();
                referrers.push(Referrer { descriptor, manifest: Ok(manifest) });
            }
        }
        Ok(referrers)
    }

    fn push_blob(&self, descriptor: &Descriptor, source: &dyn BlobSource) -> Result<Pushed, Error> {
        if has_intact(self, descriptor)? {
            return Ok(Pushed::Present);
        }
        let object = format!("blob {} for {}", descriptor.digest, self.name());
        let mut content = source.open()?;
        let content: &mut dyn Read = &mut *content;
        let mut blob = BlobReader::new(content, object, descriptor.digest, descriptor.size);
        self.write_blob(&descriptor.digest, &mut blob)?;
        Ok(Pushed::Stored)
    }

    fn push_manifest(&self, manifest: &Manifest, listing: Listing<'_>) -> Result<Pushed, Error> {
        let stored = self.push_blob(manifest.descriptor(), &manifest.bytes())?;
        let tag = match listing {
            Listing::Child => return Ok(stored),
            Listing::Referrer | Listing::Untagged => None,
            Listing::Tag(tag) => Some(tag.clone()),
        };
        self.change_index(IndexChange { entry: entry_of(manifest), tag })
    }

    fn is_sequential(&self) -> bool {
        self.writes_in_sequence()
    }

    fn finish(&self) -> Result<(), Error> {
        self.finish_storage()
    }
}

/// Adds a manifest to an index, under a tag if there is one.
#[derive(Clone, Debug)]
pub(crate) struct IndexChange {
    entry: Descriptor,
    tag: Option<Tag>,
}

impl IndexChange {
    /// Changes `index` and returns whether that was necessary.
    pub(crate) fn apply(&self, index: &mut LayoutIndex) -> bool {
        match &self.tag {
            Some(tag) => index.tag(&self.entry, tag),
            None => index.add(&self.entry),
        }
    }
}

/// Is a file of a layout with its length in bytes, or why it cannot be opened.
pub(crate) type Opened = Result<(Box<dyn Read + Send>, u64), OpenError>;

/// Says why a file of a layout cannot be opened.
#[derive(Debug)]
pub(crate) enum OpenError {
    /// The operating system refused it.
    Io(io::Error),
    /// There is no such file.
    Missing,
    /// It is a directory, a device or a pipe.
    NotAFile,
    /// It is a symbolic link that leads out of the layout, or in circles.
    Outside,
}

/// Checks that there is a layout, and one of the only version.
pub(crate) fn check_marker(storage: &(impl Storage + ?Sized)) -> Result<(), Error> {
    let place = storage.place_name();
    let bytes = read_small_file(&place, MARKER, storage.open_file(MARKER), MAX_MARKER_BYTES)?;
    let not_a_layout = |reason| Error::NotALayout { place: place.clone(), reason };
    let marker: Marker = serde_json::from_slice(&bytes)
        .map_err(|error| not_a_layout(format!("{MARKER} is not valid: {error}")))?;
    if marker.image_layout_version != LAYOUT_VERSION {
        return Err(not_a_layout(format!(
            "its version is {:?}, and only {LAYOUT_VERSION:?} is supported",
            marker.image_layout_version
        )));
    }
    Ok(())
}

/// Returns the bytes of `index`, or why they would be of no use.
pub(crate) fn index_bytes(
    storage: &(impl Storage + ?Sized),
    index: &LayoutIndex,
) -> Result<Vec<u8>, Error> {
    index.to_bytes().map_err(|source| index_error(&storage.place_name(), source))
}

/// Returns the path of a blob within a layout.
pub(crate) fn blob_path(digest: &Digest) -> String {
    format!("blobs/sha256/{}", digest.hex())
}

/// Reads the index from its opened file.
pub(crate) fn read_index(place: &str, opened: Opened) -> Result<LayoutIndex, Error> {
    let bytes = read_small_file(place, INDEX, opened, MAX_INDEX_BYTES)?;
    LayoutIndex::parse(&bytes).map_err(|source| index_error(place, source))
}

/// Reads one of the two files at the top of a layout.
fn read_small_file(
    place: &str,
    path: &str,
    opened: Opened,
    limit_bytes: u64,
) -> Result<Vec<u8>, Error> {
    let (file, size_bytes) = opened.map_err(|error| match error {
        OpenError::Missing => {
            Error::NotALayout { place: place.to_owned(), reason: format!("it has no {path}") }
        }
        error => open_error(place, path, error),
    })?;
    let object = format!("{path} of {place}");
    let mut bytes = Vec::new();
    // The file may grow while it is read.
    let read = if size_bytes > limit_bytes {
        Ok(0)
    } else {
        file.take(limit_bytes + 1).read_to_end(&mut bytes)
    };
    read.map_err(|error| Error::from_read(&object, error))?;
    let found_bytes = size_bytes.max(bytes.len() as u64);
    if found_bytes > limit_bytes {
        return Err(Error::TooLong { object, limit_bytes, found_bytes });
    }
    Ok(bytes)
}

fn open_blob(
    storage: &(impl Storage + ?Sized),
    kind: &str,
    digest: &Digest,
    size_bytes: Option<u64>,
) -> Result<BlobReader, Error> {
    let object = format!("{kind} {digest}");
    let (file, found_bytes) = storage
        .open_file(&blob_path(digest))
        .map_err(|error| open_error(&storage.place_name(), &object, error))?;
    let object = format!("{object} in {}", storage.place_name());
    let expected_bytes = size_bytes.unwrap_or(found_bytes);
    if found_bytes != expected_bytes {
        return Err(Error::SizeDiffers { object, expected_bytes, found_bytes });
    }
    Ok(BlobReader::new(file, object, *digest, expected_bytes))
}

/// Tells whether a blob is there; a short one is read, so that a damaged manifest or signature is
/// replaced.
fn has_intact(place: &impl Storage, descriptor: &Descriptor) -> Result<bool, Error> {
    if !place.has(descriptor)? {
        return Ok(false);
    }
    if descriptor.size > MAX_MANIFEST_BYTES {
        return Ok(true);
    }
    match place.blob(descriptor)?.read_all(MAX_MANIFEST_BYTES) {
        Ok(_) => Ok(true),
        Err(error) if error.kind() == ErrorKind::Content => Ok(false),
        Err(error) => Err(error),
    }
}

/// Finds the only image among the entries, passing over what is attached to one.
fn only_image(place: &impl Storage, index: &LayoutIndex) -> Result<Descriptor, Error> {
    let mut seen = BTreeSet::new();
    let mut images: Vec<&Descriptor> = index
        .entries()
        .iter()
        .filter(|entry| entry.artifact_type.is_none())
        .filter(|entry| !names(entry).any(|name| name.starts_with(REFERRERS_TAG_PREFIX)))
        .filter(|entry| seen.insert(entry.digest))
        .collect();
    if images.len() > 1 {
        // Some tools list artifacts without saying that they are.
        images.retain(|entry| {
            place.manifest(entry).map_or(true, |manifest| {
                manifest.subject().is_none() && manifest.descriptor().artifact_type.is_none()
            })
        });
    }
    match images.as_slice() {
        [] => Err(Error::NoImage { place: place.name() }),
        [image] => Ok(image.plain()),
        several => Err(Error::Ambiguous { place: place.name(), choices: choices(several) }),
    }
}

/// Reads an index that lists referrers of `subject` under the tag that registries without the
/// referrers API have for it.
fn tagged_referrers(
    place: &impl Storage,
    index: &LayoutIndex,
    subject: &Descriptor,
) -> Result<Vec<Descriptor>, Error> {
    let mut listed = Vec::new();
    for entry in index.tagged(&Tag::of_referrers(&subject.digest)) {
        if entry.media_type.is_index()
            && let ManifestKind::Index(referrers) = place.manifest(entry)?.kind()
        {
            listed.extend(referrers.manifests.iter().cloned());
        }
    }
    Ok(listed)
}

/// Describes a manifest as `index.json` lists it: with the type and the annotations of an artifact,
/// which is how other tools write them too.
fn entry_of(manifest: &Manifest) -> Descriptor {
    let mut entry = manifest.descriptor().clone();
    if let (Some(_), ManifestKind::Image(artifact)) = (&entry.artifact_type, manifest.kind()) {
        entry.annotations = artifact.annotations.clone();
        entry.annotations.remove(REF_NAME);
    }
    entry
}

fn choices(entries: &[&Descriptor]) -> Vec<String> {
    let is_alone = |tag: &str| {
        entries.iter().filter(|other| other.annotation(REF_NAME) == Some(tag)).count() == 1
    };
    let choice = |entry: &&Descriptor| match entry.annotation(REF_NAME) {
        Some(tag) if is_alone(tag) => format!(":{tag}"),
        _ => format!("@{}", entry.digest),
    };
    entries.iter().take(MAX_CHOICES_SHOWN).map(choice).collect()
}

fn open_error(place: &str, object: &str, error: OpenError) -> Error {
    let place = place.to_owned();
    match error {
        OpenError::Io(source) => {
            Error::Io { action: "open", object: format!("{object} in {place}"), source }
        }
        OpenError::Missing => Error::NoSuchBlob { place, object: object.to_owned() },
        OpenError::NotAFile => {
            Error::NotALayout { place, reason: format!("{object} is not a regular file") }
        }
        OpenError::Outside => {
            Error::NotALayout { place, reason: format!("{object} is a link that leads out of it") }
        }
    }
}

fn manifest_error(storage: &impl Storage, digest: &Digest, source: ManifestError) -> Error {
    Error::Manifest { object: format!("{digest} in {}", storage.place_name()), source }
}

fn index_error(place: &str, source: ManifestError) -> Error {
    Error::Manifest { object: format!("{INDEX} of {place}"), source }
}

/// The file that makes a directory a layout.
pub(crate) const MARKER: &str = "oci-layout";

/// What is written to [`MARKER`].
pub(crate) const MARKER_CONTENT: &[u8] = br#"{"imageLayoutVersion":"1.0.0"}"#;

/// The file that lists the images.
pub(crate) const INDEX: &str = "index.json";

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Marker {
    image_layout_version: String,
}

const LAYOUT_VERSION: &str = "1.0.0";

/// The longest `oci-layout` that is read; all known ones have 30 or 31 bytes.
const MAX_MARKER_BYTES: u64 = 4096;

/// How many tags or digests an error message lists.
const MAX_CHOICES_SHOWN: usize = 10;

const REFERRERS_TAG_PREFIX: &str = "sha256-";
