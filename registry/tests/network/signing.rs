//! Signing in a registry, which is asked and written to while layers are hashed.

use std::path::Path;
use std::time::Duration;

use libverity::digest::Digest;
use libverity::layer::Profile;
use libverity::signer::FileSigner;
use osguard_registry::artifact::Format;
use osguard_registry::image::Image;
use osguard_registry::manifest::Manifest;
use osguard_registry::media_type::MediaType;
use osguard_registry::place::{Listing, Place};
use osguard_registry::signatures::Published;
use osguard_registry::signing::{SigningError, sign_and_publish};
use osguard_testkit::image::TarMaker;
use osguard_testkit::registry::{Answer, Fault, Gate, Registry, Request};
use serde_json::json;

use crate::support::*;

#[test]
fn signatures_are_looked_up_and_stored_while_layers_are_hashed() {
    let registry = Registry::builder().without_referrers_api().start().unwrap();
    let layers = ["first", "second"].map(tar);
    let image = push_layers(&*open(&registry), &layers);
    registry.forget_requests();
    let gate = Gate::new();
    let second = Digest::of(&layers[1]).to_string();
    registry.fault(Fault::new().method("GET").path_contains(&second).hold(&gate));
    std::thread::scope(|scope| {
        let signing = scope.spawn(|| sign(&*open(&registry), &image));
        gate.wait_for(1);
        // The second layer does not come before the signature of the first one is there.
        let stored = |request: &Request| request.method == "PUT" && request.status == Some(201);
        while registry.requests().iter().filter(|request| stored(request)).count() < 2 {
            assert!(!signing.is_finished());
            std::thread::sleep(Duration::from_millis(5));
        }
        assert_eq!(registry.manifests(REPOSITORY).len(), 1);
        assert_eq!(registry.open_uploads(), 1, "the last signature is waited for");
        gate.release();
        assert!(matches!(signing.join().unwrap().unwrap(), Published::Written(_)));
    });
    assert_eq!(attached(&*open(&registry), &image).unwrap().len(), 1);
    let sent = registry.requests();
    let sent: Vec<_> = sent.iter().filter_map(|request| request.parameter("digest")).collect();
    assert_eq!(sent.len(), 3, "two signatures and a configuration, each once: {sent:?}");

    registry.forget_requests();
    assert!(matches!(sign(&*open(&registry), &image).unwrap(), Published::AlreadySigned(_)));
    assert!(registry.requests().iter().all(|request| request.method == "GET"));
}

#[test]
fn a_look_up_that_fails_ends_the_signing() {
    for with_api in [true, false] {
        let builder = Registry::builder();
        let builder = if with_api { builder } else { builder.without_referrers_api() };
        let registry = builder.start().unwrap();
        let image = push_layers(&*open(&registry), &["layer"].map(tar));
        registry.forget_requests();
        let path = if with_api { "/referrers/" } else { "/tags/list" };
        let refused = Answer::error(403, "DENIED", "not for you");
        registry.fault(Fault::new().path_contains(path).always().answer(refused));
        let error = sign(&*open(&registry), &image).unwrap_err();
        assert!(error.to_string().contains("DENIED: not for you"), "{error}");
        assert!(registry.requests().iter().all(|request| request.method == "GET"));
    }
}

#[test]
fn where_a_layer_is_wrong_nothing_is_attached() {
    let registry = Registry::start().unwrap();
    let image = push_layers(&*open(&registry), &[tar("first"), b"no archive".repeat(100)]);
    let error = sign(&*open(&registry), &image).unwrap_err();
    assert!(matches!(error, SigningError::Conversion(_)), "{error}");
    assert_eq!(attached(&*open(&registry), &image).unwrap(), []);
    assert_eq!((registry.manifests(REPOSITORY).len(), registry.open_uploads()), (1, 0));
}

fn sign(place: &dyn Place, image: &Manifest) -> Result<Published, SigningError> {
    let image = Image::load(place, image.descriptor()).unwrap();
    let profiles = [Profile::ContainerdFullV1];
    let signed =
        sign_and_publish(place, &image, &profiles, &signer(), Format::Standard, &|_, blob| blob);
    signed.map(|(_, published)| published)
}

fn signer() -> FileSigner {
    let keys = Path::new(env!("CARGO_MANIFEST_DIR")).join("../testdata/keys");
    let (key, certificate) = (keys.join("alice.key"), keys.join("alice.crt"));
    FileSigner::open(&key, &certificate, &mut || unreachable!("it is not encrypted")).unwrap()
}

fn tar(text: &str) -> Vec<u8> {
    TarMaker::new().file("file", text.as_bytes()).finish()
}

/// Stores an image with these layers.
fn push_layers(place: &dyn Place, layers: &[Vec<u8>]) -> Manifest {
    let diff_ids: Vec<_> = layers.iter().map(|layer| Digest::of(layer)).collect();
    let config = json!({
        "architecture": "amd64", "os": "linux", "config": {},
        "rootfs": { "type": "layers", "diff_ids": diff_ids },
    });
    let config = push_blob(place, MediaType::OCI_CONFIG, config.to_string().as_bytes());
    let layers: Vec<_> =
        layers.iter().map(|layer| push_blob(place, MediaType::OCI_LAYER, layer)).collect();
    let manifest = json!({
        "schemaVersion": 2, "mediaType": MediaType::OCI_MANIFEST,
        "config": config, "layers": layers,
    });
    let manifest = Manifest::parse(None, manifest.to_string().into_bytes()).unwrap();
    place.push_manifest(&manifest, Listing::Tag(&tag("v1"))).unwrap();
    manifest
}
