//! Layout directories: images in plain files.
//!
//! ```text
//! oci-layout             {"imageLayoutVersion":"1.0.0"}, and what writers lock
//! index.json             the images and artifacts of the layout, some of them with tags
//! blobs/sha256/<hex>     every manifest, configuration, layer and signature, by digest
//! .osguard-partial-…     what a living writer is writing
//! ```
//!
//! Blobs are written beside and renamed. `index.json` is replaced under a lock, read anew each
//! time, so that any number of writers at once lose nothing; it is replaced only after all that it
//! refers to is on the disk. A writer that is killed leaves a partial file that nobody looks at and
//! that the next writer removes.
//!
//! Source: OCI image specification, `image-layout.md`.

mod files;
mod index;

use std::collections::BTreeSet;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use libverity::digest::Digest;
use serde::Deserialize;

use self::files::{Files, INDEX, MARKER, OpenError, blob_path};
use self::index::{LayoutIndex, MAX_INDEX_BYTES, REF_NAME, names};
use crate::blob::BlobReader;
use crate::descriptor::Descriptor;
use crate::error::{Error, ErrorKind};
use crate::manifest::{MAX_MANIFEST_BYTES, Manifest, ManifestKind};
use crate::place::{Listing, Place, Pushed, Referrer};
use crate::reference::Selector;
use crate::tag::Tag;

/// Is a layout directory that was found or made.
#[derive(Debug)]
pub struct Layout {
    directory: PathBuf,
    files: Files,
}

impl Layout {
    /// Opens a layout that exists.
    ///
    /// # Errors
    ///
    /// Returns [`Error::NoSuchPlace`] if there is no directory, and [`Error::NotALayout`] if it has
    /// no `oci-layout` of version 1.0.0 or no `index.json`.
    pub fn open(directory: &Path) -> Result<Self, Error> {
        let layout = Self::open_directory(directory)?;
        layout.check_marker()?;
        layout.index()?;
        Ok(layout)
    }

    /// Opens a layout, and makes an empty one if the directory is missing or empty.
    ///
    /// # Errors
    ///
    /// Returns [`Error::NotALayout`] if the directory has other content, and [`Error::Io`] if it
    /// cannot be made.
    pub fn create(directory: &Path) -> Result<Self, Error> {
        std::fs::create_dir_all(directory).map_err(|source| Error::Io {
            action: "create",
            object: place_name(directory),
            source,
        })?;
        let layout = Self::open_directory(directory)?;
        if let Err(Error::NotALayout { .. }) = layout.check_marker()
            && layout.files.is_unused().map_err(|error| layout.io("list", error))?
        {
            let marker = layout.files.create_marker(MARKER_CONTENT);
            marker.map_err(|error| layout.io("create", error))?;
        }
        layout.check_marker()?;
        let lock = layout.files.lock().map_err(|error| layout.io("lock", error))?;
        if let Err(Error::NotALayout { .. }) = layout.index() {
            let empty = LayoutIndex::new().to_bytes();
            let empty = empty.map_err(|source| layout.index_error(source))?;
            lock.replace_index(&empty).map_err(|error| layout.io("write the index of", error))?;
        }
        drop(lock);
        Ok(layout)
    }

    fn open_directory(directory: &Path) -> Result<Self, Error> {
        let place = || place_name(directory);
        match Files::open(directory) {
            Ok(files) => Ok(Self { directory: directory.to_owned(), files }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                Err(Error::NoSuchPlace { place: place() })
            }
            Err(error) if error.kind() == io::ErrorKind::NotADirectory => Err(Error::NotALayout {
                place: place(),
                reason: "it is not a directory".to_owned(),
            }),
            Err(source) => Err(Error::Io { action: "open", object: place(), source }),
        }
    }

    fn check_marker(&self) -> Result<(), Error> {
        let bytes = self.small_file(MARKER, MAX_MARKER_BYTES)?;
        let marker: Marker = serde_json::from_slice(&bytes)
            .map_err(|error| self.not_a_layout(format!("{MARKER} is not valid: {error}")))?;
        if marker.image_layout_version != LAYOUT_VERSION {
            return Err(self.not_a_layout(format!(
                "its version is {:?}, and only {LAYOUT_VERSION:?} is supported",
                marker.image_layout_version
            )));
        }
        Ok(())
    }

    fn index(&self) -> Result<LayoutIndex, Error> {
        let bytes = self.small_file(INDEX, MAX_INDEX_BYTES)?;
        LayoutIndex::parse(&bytes).map_err(|source| self.index_error(source))
    }

    /// Changes the index while all other writers wait; `edit` returns whether it changed anything.
    fn update_index(&self, edit: impl Fn(&mut LayoutIndex) -> bool) -> Result<Pushed, Error> {
        let lock = self.files.lock().map_err(|error| self.io("lock", error))?;
        lock.remove_leftovers().map_err(|error| self.io("tidy up", error))?;
        let mut index = self.index()?;
        if !edit(&mut index) {
            return Ok(Pushed::Present);
        }
        let bytes = index.to_bytes().map_err(|source| self.index_error(source))?;
        lock.replace_index(&bytes).map_err(|error| self.io("write the index of", error))?;
        Ok(Pushed::Stored)
    }

    /// Reads one of the two files at the top of the layout.
    fn small_file(&self, path: &str, limit_bytes: u64) -> Result<Vec<u8>, Error> {
        let (file, size_bytes) = self.files.open_file(path).map_err(|error| match error {
            OpenError::Missing => self.not_a_layout(format!("it has no {path}")),
            error => self.open_error(path, error),
        })?;
        let too_long = |found_bytes| Error::TooLong {
            object: format!("{path} of {}", self.name()),
            limit_bytes,
            found_bytes,
        };
        if size_bytes > limit_bytes {
            return Err(too_long(size_bytes));
        }
        let mut bytes = Vec::new();
        // The file may grow while it is read.
        file.take(limit_bytes + 1)
            .read_to_end(&mut bytes)
            .map_err(|error| self.io("read the index files of", error))?;
        if bytes.len() as u64 > limit_bytes {
            return Err(too_long(bytes.len() as u64));
        }
        Ok(bytes)
    }

    fn open_blob(
        &self,
        kind: &str,
        digest: &Digest,
        size_bytes: Option<u64>,
    ) -> Result<BlobReader, Error> {
        let object = format!("{kind} {digest}");
        let (file, found_bytes) = self
            .files
            .open_file(&blob_path(digest))
            .map_err(|error| self.open_error(&object, error))?;
        let object = format!("{object} in {}", self.name());
        let expected_bytes = size_bytes.unwrap_or(found_bytes);
        if found_bytes != expected_bytes {
            return Err(Error::SizeDiffers { object, expected_bytes, found_bytes });
        }
        Ok(BlobReader::new(Box::new(file), object, *digest, expected_bytes))
    }

    /// Finds the only image among the entries, passing over what is attached to one.
    fn only_image(&self, index: &LayoutIndex) -> Result<Descriptor, Error> {
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
                self.manifest(entry).map_or(true, |manifest| {
                    manifest.subject().is_none() && manifest.descriptor().artifact_type.is_none()
                })
            });
        }
        match images.as_slice() {
            [] => Err(Error::NoImage { place: self.name() }),
            [image] => Ok(image.plain()),
            several => Err(Error::Ambiguous { place: self.name(), choices: choices(several) }),
        }
    }

    /// Reads an index that lists referrers of `subject` under the tag that registries without the
    /// referrers API have for it.
    fn tagged_referrers(
        &self,
        index: &LayoutIndex,
        subject: &Descriptor,
    ) -> Result<Vec<Descriptor>, Error> {
        let mut listed = Vec::new();
        for entry in index.tagged(&Tag::of_referrers(&subject.digest)) {
            if entry.media_type.is_index()
                && let ManifestKind::Index(referrers) = self.manifest(entry)?.kind()
            {
                listed.extend(referrers.manifests.iter().cloned());
            }
        }
        Ok(listed)
    }

    fn write_blob(&self, descriptor: &Descriptor, content: &mut dyn Read) -> Result<(), Error> {
        let object = format!("blob {} for {}", descriptor.digest, self.name());
        let mut reader =
            BlobReader::new(content, object.clone(), descriptor.digest, descriptor.size);
        let write = |source| Error::Io { action: "write", object: object.clone(), source };
        let lock = self.files.lock().map_err(|error| self.io("lock", error))?;
        let mut partial = lock.partial().map_err(write)?;
        drop(lock);
        let mut buffer = vec![0; COPY_BUFFER_BYTES];
        loop {
            match reader.read(&mut buffer) {
                Ok(0) => break,
                Ok(read) => {
                    io::Write::write_all(&mut partial.file, &buffer[..read]).map_err(write)?;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(Error::from_read(&object, error)),
            }
        }
        self.files.publish_blob(partial, &descriptor.digest).map_err(write)
    }

    /// Tells whether a blob is there; a short one is read, so that a damaged manifest or signature
    /// is replaced.
    fn has_intact(&self, descriptor: &Descriptor) -> Result<bool, Error> {
        if !self.has(descriptor)? {
            return Ok(false);
        }
        if descriptor.size > MAX_MANIFEST_BYTES {
            return Ok(true);
        }
        match self.blob(descriptor)?.read_all(MAX_MANIFEST_BYTES) {
            Ok(_) => Ok(true),
            Err(error) if error.kind() == ErrorKind::Content => Ok(false),
            Err(error) => Err(error),
        }
    }

    fn open_error(&self, object: &str, error: OpenError) -> Error {
        let place = self.name();
        match error {
            OpenError::Io(source) => {
                Error::Io { action: "open", object: format!("{object} in {place}"), source }
            }
            OpenError::Missing => Error::NoSuchBlob { place, object: object.to_owned() },
            OpenError::NotAFile => {
                Error::NotALayout { place, reason: format!("{object} is not a regular file") }
            }
            OpenError::Outside => Error::NotALayout {
                place,
                reason: format!("{object} is a link that leads out of it"),
            },
        }
    }

    fn not_a_layout(&self, reason: String) -> Error {
        Error::NotALayout { place: self.name(), reason }
    }

    fn index_error(&self, source: crate::manifest::ManifestError) -> Error {
        Error::Manifest { object: format!("{INDEX} of {}", self.name()), source }
    }

    fn io(&self, action: &'static str, source: io::Error) -> Error {
        Error::Io { action, object: self.name(), source }
    }
}

impl Place for Layout {
    fn name(&self) -> String {
        place_name(&self.directory)
    }

    fn resolve(&self, selector: &Selector) -> Result<Descriptor, Error> {
        let index = self.index()?;
        match selector {
            Selector::Digest(digest) => match index.entry(digest) {
                Some(entry) => Ok(entry.plain()),
                // The manifest of one platform is listed by the index of all, not by the layout.
                None => {
                    let blob = self.open_blob("manifest", digest, None)?;
                    let manifest = parse(self, digest, None, blob.read_all(MAX_MANIFEST_BYTES)?)?;
                    Ok(manifest.descriptor().plain())
                }
            },
            Selector::Only => self.only_image(&index),
            Selector::Tag(tag) => match index.tagged(tag).as_slice() {
                [] => Err(Error::NoSuchTag {
                    place: self.name(),
                    tag: tag.clone(),
                    known: index.tags().take(MAX_TAGS_SHOWN).map(str::to_owned).collect(),
                }),
                [entry] => Ok(entry.plain()),
                several => Err(Error::Ambiguous { place: self.name(), choices: choices(several) }),
            },
        }
    }

    fn manifest(&self, descriptor: &Descriptor) -> Result<Manifest, Error> {
        let blob = self.open_blob("manifest", &descriptor.digest, Some(descriptor.size))?;
        let bytes = blob.read_all(MAX_MANIFEST_BYTES)?;
        parse(self, &descriptor.digest, Some(descriptor), bytes)
    }

    fn blob(&self, descriptor: &Descriptor) -> Result<BlobReader, Error> {
        self.open_blob("blob", &descriptor.digest, Some(descriptor.size))
    }

    fn has(&self, descriptor: &Descriptor) -> Result<bool, Error> {
        match self.files.open_file(&blob_path(&descriptor.digest)) {
            Ok((_, size_bytes)) => Ok(size_bytes == descriptor.size),
            Err(OpenError::Missing) => Ok(false),
            Err(error) => Err(self.open_error(&format!("blob {}", descriptor.digest), error)),
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
        let tagged = self.tagged_referrers(&index, subject)?;
        let mut seen = BTreeSet::from([subject.digest]);
        let mut referrers = Vec::new();
        for descriptor in index.entries().iter().chain(&tagged) {
            // Tools that copy artifacts may list them without their type.
            let may_be_wanted = descriptor.artifact_type.is_none()
                || is_wanted(descriptor.artifact_type.as_deref());
            if !may_be_wanted || !seen.insert(descriptor.digest) {
                continue;
            }
            match self.manifest(descriptor) {
                Ok(manifest) => {
                    let refers =
                        manifest.subject().is_some_and(|found| found.digest == subject.digest);
                    if refers && is_wanted(manifest.descriptor().artifact_type.as_deref()) {
                        referrers.push(Referrer {
                            descriptor: descriptor.clone(),
                            manifest: Ok(manifest),
                        });
                    }
                }
                Err(error) if error.kind() == ErrorKind::Content => {
                    referrers
                        .push(Referrer { descriptor: descriptor.clone(), manifest: Err(error) });
                }
                Err(error) => return Err(error),
            }
        }
        Ok(referrers)
    }

    fn push_blob(&self, descriptor: &Descriptor, content: &mut dyn Read) -> Result<Pushed, Error> {
        if self.has_intact(descriptor)? {
            return Ok(Pushed::Present);
        }
        self.write_blob(descriptor, content)?;
        Ok(Pushed::Stored)
    }

    fn push_manifest(&self, manifest: &Manifest, listing: Listing<'_>) -> Result<Pushed, Error> {
        let stored = self.push_blob(manifest.descriptor(), &mut manifest.bytes())?;
        match listing {
            Listing::Child => Ok(stored),
            Listing::Tag(tag) => self.update_index(|index| index.tag(&entry_of(manifest), tag)),
            Listing::Referrer | Listing::Untagged => {
                self.update_index(|index| index.add(&entry_of(manifest)))
            }
        }
    }
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

fn parse(
    layout: &Layout,
    digest: &Digest,
    announced: Option<&Descriptor>,
    bytes: Vec<u8>,
) -> Result<Manifest, Error> {
    Manifest::parse(announced.map(|descriptor| &descriptor.media_type), bytes).map_err(|source| {
        Error::Manifest { object: format!("{digest} in {}", layout.name()), source }
    })
}

fn choices(entries: &[&Descriptor]) -> Vec<String> {
    let choice = |entry: &&Descriptor| match entry.annotation(REF_NAME) {
        Some(tag)
            if entries.iter().filter(|other| other.annotation(REF_NAME) == Some(tag)).count()
                == 1 =>
        {
            format!(":{tag}")
        }
        _ => format!("@{}", entry.digest),
    };
    entries.iter().take(MAX_TAGS_SHOWN).map(choice).collect()
}

fn place_name(directory: &Path) -> String {
    format!("oci:{}", directory.display())
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Marker {
    image_layout_version: String,
}

const LAYOUT_VERSION: &str = "1.0.0";

const MARKER_CONTENT: &[u8] = br#"{"imageLayoutVersion":"1.0.0"}"#;

/// The longest `oci-layout` that is read; all known ones have 30 or 31 bytes.
const MAX_MARKER_BYTES: u64 = 4096;

/// How many tags an error message lists.
const MAX_TAGS_SHOWN: usize = 10;

const REFERRERS_TAG_PREFIX: &str = "sha256-";

const COPY_BUFFER_BYTES: usize = 256 << 10;
