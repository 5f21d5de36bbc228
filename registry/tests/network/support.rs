//! What the tests of registries share.

use std::io::Read;
use std::time::Duration;

use libverity::digest::{Digest, RootHash};
use osguard_registry::artifact::{Claim, Format, LayerSignature, SignatureArtifact};
use osguard_registry::descriptor::Descriptor;
use osguard_registry::distribution::{Patience, RegistryError};
use osguard_registry::error::Error;
use osguard_registry::manifest::Manifest;
use osguard_registry::media_type::MediaType;
use osguard_registry::network::Network;
use osguard_registry::place::{self, BlobSource, Listing, Place, Repository};
use osguard_registry::reference::Reference;
use osguard_registry::tag::Tag;
use osguard_testkit::registry::Registry;
use serde_json::json;

pub(crate) const REPOSITORY: &str = "team/app";

/// Returns a network without anyone's credentials, and with little patience.
pub(crate) fn network() -> Network {
    Network {
        credentials: osguard_registry::credentials::Credentials::none(),
        patience: Patience {
            connect: Duration::from_secs(20),
            answer: Duration::from_secs(20),
            store: Duration::from_secs(20),
            standstill: Duration::from_secs(20),
            attempts: 4,
            first_pause: Duration::from_millis(2),
            longest_pause: Duration::from_secs(3),
        },
        ..Network::default()
    }
}

pub(crate) fn open(registry: &Registry) -> Box<dyn Place> {
    open_with(registry, REPOSITORY, &network())
}

pub(crate) fn open_with(registry: &Registry, name: &str, network: &Network) -> Box<dyn Place> {
    let reference: Reference = format!("{}/{name}:v1", registry.host()).parse().unwrap();
    place::open(&reference, network).unwrap()
}

pub(crate) fn tag(text: &str) -> Tag {
    Tag::for_registry(text).unwrap()
}

/// Returns bytes that are nowhere alike, so that a piece in the wrong place is noticed.
pub(crate) fn content(length: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut bytes = Vec::with_capacity(length + 8);
    while bytes.len() < length {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(length);
    bytes
}

/// Stores an image with one layer and returns its manifest.
pub(crate) fn push_image(place: &dyn Place, layer: &[u8], listing: Listing<'_>) -> Manifest {
    let config = json!({
        "architecture": "amd64", "os": "linux", "config": {},
        "rootfs": { "type": "layers", "diff_ids": [Digest::of(layer)] },
    });
    let config = push_blob(place, MediaType::OCI_CONFIG, config.to_string().as_bytes());
    let layer = push_blob(place, MediaType::OCI_LAYER, layer);
    let manifest = json!({
        "schemaVersion": 2, "mediaType": MediaType::OCI_MANIFEST,
        "config": config, "layers": [layer],
    });
    let manifest = Manifest::parse(None, manifest.to_string().into_bytes()).unwrap();
    place.push_manifest(&manifest, listing).unwrap();
    manifest
}

pub(crate) fn push_blob(place: &dyn Place, media_type: MediaType, bytes: &[u8]) -> Descriptor {
    let descriptor = Descriptor::of(media_type, bytes);
    place.push_blob(&descriptor, &bytes).unwrap();
    descriptor
}

/// Makes an artifact with one signature that no key has made.
pub(crate) fn signature_of(image: &Manifest, signer: &str) -> SignatureArtifact {
    let claim = Claim {
        layer_digest: Digest::of(b"one"),
        root_hash: RootHash::from_bytes([7; 32]),
        diff_id: None,
        image_size_bytes: None,
        profile: None,
        signer: Some(signer.to_owned()),
    };
    SignatureArtifact {
        subject: image.descriptor().plain(),
        signatures: vec![LayerSignature { claim, signature: signer.as_bytes().to_vec() }],
    }
}

/// Attaches a signature to an image and returns the artifact's digest.
pub(crate) fn attach(place: &dyn Place, image: &Manifest, signer: &str) -> Result<Digest, Error> {
    let artifact = signature_of(image, signer).encode(Format::Standard).unwrap();
    for (descriptor, bytes) in &artifact.blobs {
        place.push_blob(descriptor, &bytes.as_slice())?;
    }
    place.push_manifest(&artifact.manifest, Listing::Referrer)?;
    Ok(artifact.manifest.digest())
}

/// Returns what is attached to an image, in the order of the digests.
pub(crate) fn attached(place: &dyn Place, image: &Manifest) -> Result<Vec<Digest>, Error> {
    let referrers = place.referrers(image.descriptor(), &[])?;
    let mut digests: Vec<Digest> =
        referrers.iter().map(|referrer| referrer.manifest.as_ref().unwrap().digest()).collect();
    digests.sort();
    Ok(digests)
}

/// Takes the registry's part out of an error.
pub(crate) fn refusal<T: std::fmt::Debug>(result: Result<T, Error>) -> RegistryError {
    match result {
        Err(Error::Registry(error)) => *error,
        other => panic!("{other:?}"),
    }
}

/// Is a blob that another repository has as well.
pub(crate) struct Elsewhere<'a> {
    pub(crate) repository: Repository,
    pub(crate) bytes: &'a [u8],
}

impl BlobSource for Elsewhere<'_> {
    fn open(&self) -> Result<Box<dyn Read + '_>, Error> {
        Ok(Box::new(self.bytes))
    }

    fn repository(&self) -> Option<Repository> {
        Some(self.repository.clone())
    }
}
