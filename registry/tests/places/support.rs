//! What the tests of places share.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use libverity::digest::{Digest, RootHash};
use libverity::signer::FileSigner;
use osguard_registry::artifact::{Claim, LayerSignature, SignatureArtifact};
use osguard_registry::blob::BlobReader;
use osguard_registry::descriptor::Descriptor;
use osguard_registry::error::Error;
use osguard_registry::manifest::Manifest;
use osguard_registry::media_type::MediaType;
use osguard_registry::place::{BlobSource, Listing, Place, Pushed, Referrer};
use osguard_registry::reference::Selector;
use serde_json::json;

/// Makes small images in a place.
pub(crate) struct ImageMaker<'a> {
    place: &'a dyn Place,
}

impl<'a> ImageMaker<'a> {
    pub(crate) fn new(place: &'a dyn Place) -> Self {
        Self { place }
    }

    /// Stores an image for linux/amd64 whose layers are called uncompressed, whatever they are.
    pub(crate) fn image(&self, layers: &[&[u8]], listing: Listing<'_>) -> Manifest {
        self.image_for("linux/amd64", layers, listing)
    }

    pub(crate) fn image_for(
        &self,
        platform: &str,
        layers: &[&[u8]],
        listing: Listing<'_>,
    ) -> Manifest {
        let descriptors: Vec<Descriptor> = layers.iter().map(|layer| self.blob(layer)).collect();
        let diff_ids: Vec<Digest> = layers.iter().map(|layer| Digest::of(layer)).collect();
        self.image_of(platform, &descriptors, &diff_ids, listing)
    }

    /// Stores an image of layers that need not be there.
    pub(crate) fn image_of(
        &self,
        platform: &str,
        layers: &[Descriptor],
        diff_ids: &[Digest],
        listing: Listing<'_>,
    ) -> Manifest {
        let parts: Vec<&str> = platform.split('/').collect();
        let mut config = json!({
            "architecture": parts[1],
            "os": parts[0],
            "config": {},
            "rootfs": { "type": "layers", "diff_ids": diff_ids },
        });
        if let Some(variant) = parts.get(2) {
            config["variant"] = json!(variant);
        }
        let config = self.blob_of(MediaType::OCI_CONFIG, config.to_string().as_bytes());
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": MediaType::OCI_MANIFEST,
            "config": config,
            "layers": layers,
        });
        self.manifest(&manifest, listing)
    }

    pub(crate) fn index(&self, manifests: &[Descriptor], listing: Listing<'_>) -> Manifest {
        let index = json!({
            "schemaVersion": 2,
            "mediaType": MediaType::OCI_INDEX,
            "manifests": manifests,
        });
        self.manifest(&index, listing)
    }

    /// Makes an artifact that refers to `subject`, with its blobs but not the manifest stored.
    pub(crate) fn artifact(
        &self,
        subject: &Manifest,
        artifact_type: &str,
        content: &[u8],
    ) -> Manifest {
        let config = self.blob_of(MediaType::OCI_EMPTY, b"{}");
        let layer = self.blob_of(MediaType::new("application/x"), content);
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": MediaType::OCI_MANIFEST,
            "artifactType": artifact_type,
            "config": config,
            "layers": [layer],
            "subject": subject.descriptor().plain(),
        });
        Manifest::parse(None, manifest.to_string().into_bytes()).unwrap()
    }

    pub(crate) fn blob(&self, content: &[u8]) -> Descriptor {
        self.blob_of(MediaType::OCI_LAYER, content)
    }

    fn blob_of(&self, media_type: MediaType, content: &[u8]) -> Descriptor {
        let descriptor = Descriptor::of(media_type, content);
        self.place.push_blob(&descriptor, &content).unwrap();
        descriptor
    }

    fn manifest(&self, document: &serde_json::Value, listing: Listing<'_>) -> Manifest {
        let manifest = Manifest::parse(None, document.to_string().into_bytes()).unwrap();
        self.place.push_manifest(&manifest, listing).unwrap();
        manifest
    }
}

/// Makes an artifact with one signature that no key has made.
pub(crate) fn signature_of(image: &Manifest, signer: &str, signature: &[u8]) -> SignatureArtifact {
    let claim = Claim {
        layer_digest: Digest::of(b"one"),
        root_hash: RootHash::from_bytes([7; 32]),
        diff_id: Some(Digest::of(b"one")),
        image_size_bytes: Some(4096),
        profile: Some("containerd-full-v1".to_owned()),
        signer: Some(signer.to_owned()),
    };
    SignatureArtifact {
        subject: image.descriptor().plain(),
        signatures: vec![LayerSignature { claim, signature: signature.to_vec() }],
    }
}

/// Is a place that is watched, and fails after some pushes.
pub(crate) struct Watched<'a> {
    place: &'a dyn Place,
    pushes: AtomicUsize,
    events: Mutex<Vec<Event>>,
}

/// Is what happened to a place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Event {
    /// A blob was opened for reading.
    Opened(Digest),
    /// A blob was stored.
    StoredBlob(Digest),
    /// A manifest was pushed.
    PushedManifest(Digest),
    /// A manifest was pushed under a tag.
    Tagged(Digest),
}

impl<'a> Watched<'a> {
    pub(crate) fn new(place: &'a dyn Place) -> Self {
        Self::failing_after(place, usize::MAX)
    }

    pub(crate) fn failing_after(place: &'a dyn Place, pushes: usize) -> Self {
        Self { place, pushes: AtomicUsize::new(pushes), events: Mutex::default() }
    }

    pub(crate) fn events(&self) -> Vec<Event> {
        self.events.lock().unwrap().clone()
    }

    fn push(&self) -> Result<(), Error> {
        self.pushes
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1))
            .map(drop)
            .map_err(|_| Error::from_read("the cable", io::Error::other("cut")))
    }

    fn happened(&self, event: Event) {
        self.events.lock().unwrap().push(event);
    }
}

impl Place for Watched<'_> {
    fn name(&self) -> String {
        self.place.name()
    }

    fn resolve(&self, selector: &Selector) -> Result<Descriptor, Error> {
        self.place.resolve(selector)
    }

    fn manifest(&self, descriptor: &Descriptor) -> Result<Manifest, Error> {
        self.place.manifest(descriptor)
    }

    fn blob(&self, descriptor: &Descriptor) -> Result<BlobReader, Error> {
        self.happened(Event::Opened(descriptor.digest));
        self.place.blob(descriptor)
    }

    fn has(&self, descriptor: &Descriptor) -> Result<bool, Error> {
        self.place.has(descriptor)
    }

    fn referrers(&self, subject: &Descriptor, types: &[&str]) -> Result<Vec<Referrer>, Error> {
        self.place.referrers(subject, types)
    }

    fn push_blob(&self, descriptor: &Descriptor, source: &dyn BlobSource) -> Result<Pushed, Error> {
        self.push()?;
        let pushed = self.place.push_blob(descriptor, source)?;
        if pushed == Pushed::Stored {
            self.happened(Event::StoredBlob(descriptor.digest));
        }
        Ok(pushed)
    }

    fn push_manifest(&self, manifest: &Manifest, listing: Listing<'_>) -> Result<Pushed, Error> {
        self.push()?;
        let digest = manifest.digest();
        self.happened(match listing {
            Listing::Tag(_) => Event::Tagged(digest),
            _ => Event::PushedManifest(digest),
        });
        self.place.push_manifest(manifest, listing)
    }

    fn finish(&self) -> Result<(), Error> {
        self.place.finish()
    }
}

/// Reads one of the keys in `testdata`, for a signer called `name`.
pub(crate) fn signer(name: &str) -> FileSigner {
    let keys = Path::new(env!("CARGO_MANIFEST_DIR")).join("../testdata/keys");
    let file = |ending| keys.join(format!("{name}.{ending}"));
    FileSigner::open(&file("key"), &file("crt"), &mut || unreachable!("it is not encrypted"))
        .unwrap()
}

pub(crate) fn blob_file(layout: &Path, digest: &Digest) -> PathBuf {
    layout.join("blobs/sha256").join(digest.hex())
}

/// Lists a directory, sorted.
pub(crate) fn names_in(directory: &Path) -> Vec<String> {
    let mut names: Vec<String> = std::fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

pub(crate) fn is_installed(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|directory| directory.join(program).is_file())
}
