//! Whoever pushes, and looks at what came of it.

use libverity::digest::Digest;
use osguard_registry::credentials::Credentials;
use osguard_registry::descriptor::Descriptor;
use osguard_registry::manifest::Manifest;
use osguard_registry::media_type::MediaType;
use osguard_registry::network::Network;
use osguard_registry::place::{self, Listing, Place};
use osguard_registry::reference::Reference;
use osguard_registry::signatures;
use osguard_registry::tag::Tag;
use osguard_testkit::image::TarMaker;
use serde_json::{Value, json};

/// Is one repository, seen from outside.
pub(crate) struct Repository {
    place: Box<dyn Place>,
}

impl Repository {
    pub(crate) fn open(registry: &str, name: &str) -> Self {
        let reference: Reference = format!("{registry}/{name}").parse().unwrap();
        let network = Network { credentials: Credentials::none(), ..Network::default() };
        Self { place: place::create(&reference, &network).unwrap() }
    }

    /// Pushes an image with one layer, which all images share; `name` is in its configuration and
    /// is its tag.
    pub(crate) fn push(&self, name: &str) -> Descriptor {
        self.push_listed(name, Listing::Tag(&tag(name)))
    }

    /// Pushes an image as part of an index.
    pub(crate) fn push_child(&self, name: &str) -> Descriptor {
        self.push_listed(name, Listing::Child)
    }

    fn push_listed(&self, name: &str, listing: Listing<'_>) -> Descriptor {
        let tar = TarMaker::new().file("hello", b"world").finish();
        let config = json!({
            "architecture": "amd64", "os": "linux",
            "config": { "Labels": { "name": name } },
            "rootfs": { "type": "layers", "diff_ids": [Digest::of(&tar)] },
        });
        let layer = self.push_blob(MediaType::OCI_LAYER, &tar);
        let config = self.push_blob(MediaType::OCI_CONFIG, config.to_string().as_bytes());
        self.push_manifest(
            &json!({
                "schemaVersion": 2, "mediaType": MediaType::OCI_MANIFEST,
                "config": config, "layers": [layer],
            }),
            listing,
        )
    }

    /// Pushes what BuildKit says of an image it has built.
    pub(crate) fn push_statement(&self) -> Descriptor {
        let statement = br#"{"_type":"https://in-toto.io/Statement/v0.1"}"#;
        let config = json!({
            "architecture": "unknown", "os": "unknown", "config": {},
            "rootfs": { "type": "layers", "diff_ids": [Digest::of(statement)] },
        });
        let layer = self.push_blob(MediaType::new("application/vnd.in-toto+json"), statement);
        let config = self.push_blob(MediaType::OCI_CONFIG, config.to_string().as_bytes());
        self.push_manifest(
            &json!({
                "schemaVersion": 2, "mediaType": MediaType::OCI_MANIFEST,
                "config": config, "layers": [layer],
            }),
            Listing::Child,
        )
    }

    /// Pushes an index of images, and of a statement about the first one.
    pub(crate) fn push_index(
        &self,
        name: &str,
        images: &[&Descriptor],
        statement: &Descriptor,
    ) -> Descriptor {
        let mut entries: Vec<Value> = images.iter().map(|image| json!(image.plain())).collect();
        let mut entry = json!(statement.plain());
        entry["platform"] = json!({ "os": "unknown", "architecture": "unknown" });
        entry["annotations"] = json!({
            "vnd.docker.reference.type": "attestation-manifest",
            "vnd.docker.reference.digest": images[0].digest,
        });
        entries.push(entry);
        let index = json!({
            "schemaVersion": 2, "mediaType": MediaType::OCI_INDEX, "manifests": entries,
        });
        self.push_manifest(&index, Listing::Tag(&tag(name)))
    }

    /// Gives an image another name.
    pub(crate) fn tag(&self, image: &Descriptor, name: &str) {
        let manifest = self.place.manifest(image).unwrap();
        self.place.push_manifest(&manifest, Listing::Tag(&tag(name))).unwrap();
    }

    /// Returns how many artifacts hold signatures of an image.
    pub(crate) fn signatures(&self, image: &Descriptor) -> usize {
        let manifest = self.place.manifest(image).unwrap();
        let found = signatures::find(&*self.place, &manifest).unwrap();
        found.iter().filter(|candidate| candidate.outcome.is_ok()).count()
    }

    fn push_blob(&self, media_type: MediaType, bytes: &[u8]) -> Descriptor {
        let descriptor = Descriptor::of(media_type, bytes);
        self.place.push_blob(&descriptor, &bytes).unwrap();
        descriptor
    }

    fn push_manifest(&self, manifest: &Value, listing: Listing<'_>) -> Descriptor {
        let manifest = Manifest::parse(None, manifest.to_string().into_bytes()).unwrap();
        self.place.push_manifest(&manifest, listing).unwrap();
        manifest.descriptor().clone()
    }
}

fn tag(name: &str) -> Tag {
    Tag::for_registry(name).unwrap()
}
