//! What a registry holds.

use std::collections::{BTreeMap, HashMap};
use std::fs::{self, File};
use std::io::{self, Read, Write as _};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use serde_json::Value;
use sha2::{Digest as _, Sha256};
use tempfile::{NamedTempFile, TempDir};

use super::http::BUFFER_BYTES;
use super::lock;
use super::route::is_digest;
use crate::digest;
use crate::error::{Error, Result};

/// Holds repositories and uploads; the files of blobs go when it is dropped.
#[derive(Debug)]
pub(super) struct Store {
    directory: TempDir,
    contents: Mutex<Contents>,
}

#[derive(Debug, Default)]
struct Contents {
    repositories: BTreeMap<String, Repository>,
    uploads: HashMap<String, (String, Arc<Mutex<Upload>>)>,
    /// How many uploads there have been.
    started: u64,
}

/// Is one repository. It is there as soon as anything has been put into it.
#[derive(Debug, Default)]
pub(super) struct Repository {
    /// Lengths in bytes by digest.
    pub(super) blobs: BTreeMap<String, u64>,
    /// In the order in which they came.
    pub(super) manifests: Vec<Manifest>,
    /// Digests by tag.
    pub(super) tags: BTreeMap<String, String>,
}

/// Is a manifest or an index as it was pushed.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Manifest {
    /// `sha256:` and the hash of the contents.
    pub digest: String,
    /// The `Content-Type` that it came with.
    pub media_type: String,
    /// The bytes.
    pub contents: Vec<u8>,
}

/// Is a blob while it arrives.
#[derive(Debug)]
pub(super) struct Upload {
    file: NamedTempFile,
    hash: Sha256,
    pub(super) length: u64,
}

impl Manifest {
    /// Returns what it says.
    ///
    /// # Panics
    ///
    /// Panics if it is no JSON, as only those are that a test has put in itself.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.contents).expect("a manifest is JSON")
    }
}

impl Repository {
    /// Returns the manifest that a tag or a digest names.
    pub(super) fn manifest(&self, reference: &str) -> Option<&Manifest> {
        let digest = self.tags.get(reference).map_or(reference, String::as_str);
        self.manifests.iter().find(|manifest| manifest.digest == digest)
    }

    pub(super) fn insert(&mut self, tag: Option<&str>, manifest: Manifest) {
        if let Some(tag) = tag {
            self.tags.insert(tag.to_owned(), manifest.digest.clone());
        }
        match self.manifests.iter_mut().find(|other| other.digest == manifest.digest) {
            Some(other) => *other = manifest,
            None => self.manifests.push(manifest),
        }
    }

    fn delete_manifest(&mut self, reference: &str) -> bool {
        if !is_digest(reference) {
            return self.tags.remove(reference).is_some();
        }
        let before = self.manifests.len();
        self.manifests.retain(|manifest| manifest.digest != reference);
        self.tags.retain(|_, digest| digest != reference);
        self.manifests.len() < before
    }
}

impl Upload {
    /// Appends all that `source` has, in pieces. What came before an error stays.
    ///
    /// # Errors
    ///
    /// The first error is the source's, the second the file's.
    pub(super) fn append(&mut self, source: &mut dyn Read) -> io::Result<io::Result<()>> {
        let mut buffer = vec![0; BUFFER_BYTES];
        loop {
            let read = source.read(&mut buffer)?;
            if read == 0 {
                return Ok(Ok(()));
            }
            if let Err(error) = self.file.write_all(&buffer[..read]) {
                return Ok(Err(error));
            }
            self.hash.update(&buffer[..read]);
            self.length += read as u64;
        }
    }

    pub(super) fn digest(&self) -> String {
        digest::named(&self.hash.clone().finalize())
    }
}

impl Store {
    pub(super) fn new() -> Result<Self> {
        let directory = tempfile::tempdir().map_err(Error::io(&std::env::temp_dir()))?;
        Ok(Self { directory, contents: Mutex::default() })
    }

    /// Runs `read` with a repository, if there is one of this name.
    pub(super) fn with<T>(&self, name: &str, read: impl FnOnce(&Repository) -> T) -> Option<T> {
        lock(&self.contents).repositories.get(name).map(read)
    }

    /// Runs `change` with a repository, which is made if there is none; nothing else happens to
    /// any repository meanwhile.
    pub(super) fn change<T>(&self, name: &str, change: impl FnOnce(&mut Repository) -> T) -> T {
        change(lock(&self.contents).repositories.entry(name.to_owned()).or_default())
    }

    pub(super) fn repositories(&self) -> Vec<String> {
        lock(&self.contents).repositories.keys().cloned().collect()
    }

    pub(super) fn manifest(&self, name: &str, reference: &str) -> Option<Manifest> {
        self.with(name, |repository| repository.manifest(reference).cloned()).flatten()
    }

    pub(super) fn manifests(&self, name: &str) -> Vec<Manifest> {
        self.with(name, |repository| repository.manifests.clone()).unwrap_or_default()
    }

    pub(super) fn tags(&self, name: &str) -> Option<Vec<String>> {
        self.with(name, |repository| repository.tags.keys().cloned().collect())
    }

    pub(super) fn put_manifest(
        &self,
        name: &str,
        tag: Option<&str>,
        media_type: &str,
        contents: &[u8],
    ) -> String {
        let digest = digest::sha256(contents);
        let media_type = media_type.to_owned();
        let manifest = Manifest { digest: digest.clone(), media_type, contents: contents.to_vec() };
        self.change(name, |repository| repository.insert(tag, manifest));
        digest
    }

    pub(super) fn delete_manifest(&self, name: &str, reference: &str) -> bool {
        let mut contents = lock(&self.contents);
        contents.repositories.get_mut(name).is_some_and(|it| it.delete_manifest(reference))
    }

    pub(super) fn blobs(&self) -> Vec<String> {
        let contents = lock(&self.contents);
        let mut digests: Vec<String> =
            contents.repositories.values().flat_map(|it| it.blobs.keys().cloned()).collect();
        digests.sort();
        digests.dedup();
        digests
    }

    pub(super) fn blob(&self, digest: &str) -> Option<Vec<u8>> {
        let held =
            lock(&self.contents).repositories.values().any(|it| it.blobs.contains_key(digest));
        held.then(|| fs::read(self.blob_path(digest)).ok()).flatten()
    }

    /// Opens a blob of a repository; tells its length.
    pub(super) fn open_blob(&self, name: &str, digest: &str) -> Option<io::Result<(File, u64)>> {
        let length =
            self.with(name, |repository| repository.blobs.get(digest).copied()).flatten()?;
        Some(File::open(self.blob_path(digest)).map(|file| (file, length)))
    }

    pub(super) fn put_blob(&self, name: &str, contents: &[u8]) -> Result<String> {
        let failed = |error| Error::io(self.directory.path())(error);
        let mut upload = self.new_upload().map_err(failed)?;
        upload.append(&mut &*contents).and_then(|written| written).map_err(failed)?;
        let digest = upload.digest();
        self.keep(name, &digest, upload).map_err(failed)?;
        Ok(digest)
    }

    /// Takes a blob out of a repository. Its file stays: another one may be reading it.
    pub(super) fn delete_blob(&self, name: &str, digest: &str) -> bool {
        let mut contents = lock(&self.contents);
        contents.repositories.get_mut(name).is_some_and(|it| it.blobs.remove(digest).is_some())
    }

    /// Gives a blob of the repository `from` to the repository `name` as well.
    pub(super) fn mount(&self, name: &str, from: &str, digest: &str) -> bool {
        let mut contents = lock(&self.contents);
        let source = contents.repositories.get(from);
        let Some(length) = source.and_then(|source| source.blobs.get(digest).copied()) else {
            return false;
        };
        let repository = contents.repositories.entry(name.to_owned()).or_default();
        repository.blobs.insert(digest.to_owned(), length);
        true
    }

    /// Starts an upload and returns its name.
    pub(super) fn start_upload(&self, repository: &str) -> io::Result<String> {
        let upload = Arc::new(Mutex::new(self.new_upload()?));
        let mut contents = lock(&self.contents);
        contents.started += 1;
        let name = format!("upload-{}", contents.started);
        contents.uploads.insert(name.clone(), (repository.to_owned(), upload));
        contents.repositories.entry(repository.to_owned()).or_default();
        Ok(name)
    }

    pub(super) fn upload(&self, repository: &str, name: &str) -> Option<Arc<Mutex<Upload>>> {
        let contents = lock(&self.contents);
        let (owner, upload) = contents.uploads.get(name)?;
        (owner == repository).then(|| Arc::clone(upload))
    }

    pub(super) fn open_uploads(&self) -> usize {
        lock(&self.contents).uploads.len()
    }

    pub(super) fn cancel_upload(&self, name: &str) {
        lock(&self.contents).uploads.remove(name);
    }

    pub(super) fn new_upload(&self) -> io::Result<Upload> {
        let file = NamedTempFile::new_in(self.directory.path())?;
        Ok(Upload { file, hash: Sha256::new(), length: 0 })
    }

    /// Makes an upload, which has this digest, a blob of a repository.
    pub(super) fn keep(&self, name: &str, digest: &str, upload: Upload) -> io::Result<()> {
        upload.file.persist(self.blob_path(digest)).map_err(|error| error.error)?;
        self.change(name, |it| it.blobs.insert(digest.to_owned(), upload.length));
        Ok(())
    }

    fn blob_path(&self, digest: &str) -> PathBuf {
        self.directory.path().join(digest.replace(':', "-"))
    }
}
