//! Signing what lies in a registry, whatever it turns out to be.

use std::path::Path;
use std::time::Duration;

use libverity::digest::Digest;
use libverity::layer::Profile;
use libverity::signer::FileSigner;
use osguard_hook::registry_signer::RegistrySigner;
use osguard_hook::repository::Target;
use osguard_hook::sign::{Outcome, Retry, SignFailure, SignImage as _};
use osguard_registry::credentials::Credentials;
use osguard_registry::distribution::Patience;
use osguard_registry::media_type::MediaType;
use osguard_registry::network::Network;
use osguard_testkit::image::TarMaker;
use osguard_testkit::registry::{Answer, Fault, Registry};
use serde_json::{Value, json};

const REPOSITORY: &str = "team/app";
const INDEX: &str = "application/vnd.oci.image.index.v1+json";
const LAYER: &str = "application/vnd.oci.image.layer.v1.tar";
const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";

#[test]
fn images_are_signed_once() {
    let registry = Registry::start().unwrap();
    let signer = signer(&registry.host());
    let image = put_image(&registry, "a");
    let Outcome::Signed { artifact } = sign(&signer, &image).unwrap() else { panic!() };
    assert_eq!(sign(&signer, &image).unwrap(), Outcome::AlreadySigned);
    let artifact = artifact.to_string();
    let stored = registry.manifest(REPOSITORY, &artifact).unwrap();
    let stored: Value = serde_json::from_slice(&stored.contents).unwrap();
    assert_eq!(stored["subject"]["digest"], image.as_str());
    assert_eq!(registry.manifests(REPOSITORY).len(), 2);
    // The registry tells of the signature as well.
    let Outcome::Ignored { what } = sign(&signer, &artifact).unwrap() else { panic!() };
    assert_eq!(what, "attached to another manifest");
    assert_eq!(registry.manifests(REPOSITORY).len(), 2);
}

#[test]
fn what_is_no_image_is_left_alone() {
    let registry = Registry::start().unwrap();
    let signer = signer(&registry.host());
    let image = put_image(&registry, "a");
    let subject = descriptor(&registry, &image);
    let empty = put_blob(&registry, "application/vnd.oci.empty.v1+json", b"{}");
    let config = put_blob(&registry, MediaType::OCI_CONFIG.as_str(), b"{}");
    let statement = put_blob(&registry, "application/vnd.in-toto+json", b"{\"_type\":1}");
    let cosign = put_blob(
        &registry,
        "application/vnd.dev.cosign.simplesigning.v1+json",
        b"{\"critical\":1}",
    );
    let manifest = |fields: Value| {
        let mut manifest = json!({ "schemaVersion": 2, "mediaType": MANIFEST });
        for (name, value) in fields.as_object().unwrap() {
            manifest[name] = value.clone();
        }
        put(&registry, MANIFEST, &manifest)
    };
    let index = |fields: Value| {
        let mut index = json!({ "schemaVersion": 2, "mediaType": INDEX, "manifests": [] });
        for (name, value) in fields.as_object().unwrap() {
            index[name] = value.clone();
        }
        put(&registry, INDEX, &index)
    };
    let sbom = manifest(json!({
        "artifactType": "application/spdx+json", "config": empty, "layers": [empty],
    }));
    let mut listed = descriptor(&registry, &sbom);
    listed["artifactType"] = "application/spdx+json".into();
    for (expected, digest) in [
        ("an artifact of the type application/spdx+json", sbom),
        (
            "an artifact of the type application/vnd.cncf.helm.config.v1+json",
            manifest(json!({
                "config": put_blob(&registry, "application/vnd.cncf.helm.config.v1+json", b"{} "),
                "layers": [statement],
            })),
        ),
        (
            "attached to another manifest",
            manifest(json!({ "config": config, "layers": [statement], "subject": subject })),
        ),
        (
            "a manifest without layers of a file system",
            manifest(json!({ "config": config, "layers": [statement] })),
        ),
        (
            "a manifest without layers of a file system",
            manifest(json!({ "config": config, "layers": [cosign] })),
        ),
        ("an index without images", index(json!({}))),
        ("an index without images", index(json!({ "manifests": [listed] }))),
        ("attached to another manifest", index(json!({ "subject": subject }))),
        ("an artifact of the type a/b", index(json!({ "artifactType": "a/b" }))),
    ] {
        let before = registry.manifests(REPOSITORY).len();
        let outcome = sign(&signer, &digest).unwrap();
        assert_eq!(outcome, Outcome::Ignored { what: expected.to_owned() });
        assert_eq!(registry.manifests(REPOSITORY).len(), before);
    }
}

#[test]
fn an_index_leads_to_its_images_without_what_is_said_of_them() {
    let registry = Registry::start().unwrap();
    let signer = signer(&registry.host());
    let [first, second, nested] = ["a", "b", "c"].map(|name| put_image(&registry, name));
    let mut statement = descriptor(&registry, &second);
    statement["annotations"] = json!({ "vnd.docker.reference.type": "attestation-manifest" });
    let mut artifact = descriptor(&registry, &second);
    artifact["artifactType"] = "a/b".into();
    let inner = json!({
        "schemaVersion": 2, "mediaType": INDEX, "manifests": [descriptor(&registry, &nested)],
    });
    let inner = put(&registry, INDEX, &inner);
    let mut inner_entry = descriptor(&registry, &inner);
    inner_entry["mediaType"] = INDEX.into();
    let index = json!({
        "schemaVersion": 2, "mediaType": INDEX,
        "manifests": [descriptor(&registry, &first), statement, artifact, inner_entry],
    });
    let index = put(&registry, INDEX, &index);
    let expected = [first, inner].map(|digest| digest.parse().unwrap());
    assert_eq!(sign(&signer, &index).unwrap(), Outcome::Index { manifests: expected.to_vec() });

    let entries: Vec<_> = (0..65)
        .map(|number| {
            let digest = Digest::of(&[number]);
            json!({ "mediaType": MANIFEST, "digest": digest, "size": 2 })
        })
        .collect();
    let wide = json!({ "schemaVersion": 2, "mediaType": INDEX, "manifests": entries });
    let failure = sign(&signer, &put(&registry, INDEX, &wide)).unwrap_err();
    assert_eq!(failure.retry, Retry::Never);
}

#[test]
fn content_that_cannot_be_signed_is_given_up_at_once() {
    let registry = Registry::start().unwrap();
    let signer = signer(&registry.host());
    let never = |digest: &str, reason: &str| {
        let failure = sign(&signer, digest).unwrap_err();
        assert!(failure.reason.contains(reason), "{reason}: {failure:?}");
        assert_eq!(failure.retry, Retry::Never, "{failure:?}");
    };
    put_image(&registry, "there is a repository");
    never(&Digest::of(b"nothing").to_string(), "is missing in");
    never(&put_layers(&registry, &[]), "has no layers");
    let no_tar = put_blob(&registry, LAYER, &[1; 2048]);
    never(&put_layers(&registry, &[(no_tar, Digest::of(&[1; 2048]))]), "layer");
    let tar = tar("wrong diffID");
    let layer = put_blob(&registry, LAYER, &tar);
    never(&put_layers(&registry, &[(layer, Digest::of(b"another"))]), "diffID");
    never(&put(&registry, MANIFEST, &json!({ "schemaVersion": 1 })), "schemaVersion");
}

#[test]
fn what_may_pass_is_tried_again() {
    let registry = Registry::start().unwrap();
    let signer = signer(&registry.host());
    let image = put_image(&registry, "a");
    let again = |fault: Fault| {
        let scripted = registry.fault(fault);
        let failure = sign(&signer, &image).unwrap_err();
        assert!(scripted.count() > 0, "{failure:?}");
        registry.clear_faults();
        match failure.retry {
            Retry::After(asked) => asked,
            Retry::Never => panic!("{failure:?}"),
        }
    };
    for path in ["/manifests/", "/blobs/", "/referrers/"] {
        let unavailable = Fault::new().path_contains(path).always().answer(Answer::status(503));
        assert_eq!(again(unavailable), None);
    }
    let cut = Fault::new().method("GET").path_contains("/blobs/").always().cut_after(0);
    assert_eq!(again(cut), None);
    let full = Fault::new().method("PUT").always().answer(Answer::status(507));
    assert_eq!(again(full), None);
    let denied = Fault::new().always().answer(Answer::error(403, "DENIED", "not now"));
    assert_eq!(again(denied), None);
    let slow = Answer::status(429).retry_after_seconds(1000);
    assert_eq!(again(Fault::new().always().answer(slow)), Some(Duration::from_secs(1000)));

    assert!(matches!(sign(&signer, &image).unwrap(), Outcome::Signed { .. }));
    let host = registry.host();
    drop(registry);
    let failure = sign(&self::signer(&host), &image).unwrap_err();
    assert_eq!(failure.retry, Retry::After(None), "{failure:?}");
}

#[test]
fn the_registry_is_there_if_it_answers_and_lets_us_in() {
    let registry = Registry::start().unwrap();
    let signer = signer(&registry.host());
    signer.check().unwrap();
    registry.fault(Fault::new().always().answer(Answer::status(503)));
    signer.check().unwrap_err();
    registry.clear_faults();
    // Nobody knows what rights there are in a repository that was never heard of.
    registry.fault(Fault::new().always().answer(Answer::error(403, "DENIED", "")));
    signer.check().unwrap();
    registry.clear_faults();
    sign(&signer, &put_image(&registry, "a")).unwrap();
    signer.check().unwrap();
    registry.fault(Fault::new().always().answer(Answer::error(403, "DENIED", "")));
    signer.check().unwrap_err();
    let host = registry.host();
    drop(registry);
    self::signer(&host).check().unwrap_err();
}

#[test]
fn only_hosts_are_registries() {
    for wrong in ["", "registry", "http://registry.example", "registry.example/team", "a.b:0"] {
        let key = key();
        let made = RegistrySigner::new(wrong, Network::default(), key, Vec::new());
        assert!(made.is_err(), "{wrong}");
    }
}

fn signer(host: &str) -> RegistrySigner {
    let network = Network {
        credentials: Credentials::none(),
        patience: Patience {
            attempts: 2,
            first_pause: Duration::from_millis(2),
            longest_pause: Duration::from_millis(10),
            ..Patience::default()
        },
        ..Network::default()
    };
    RegistrySigner::new(host, network, key(), vec![Profile::ContainerdFullV1]).unwrap()
}

fn key() -> Box<FileSigner> {
    let keys = Path::new(env!("CARGO_MANIFEST_DIR")).join("../testdata/keys");
    let no_passphrase = &mut || unreachable!("the key is not encrypted");
    let signer =
        FileSigner::open(&keys.join("alice.key"), &keys.join("alice.crt"), no_passphrase).unwrap();
    Box::new(signer)
}

fn sign(signer: &RegistrySigner, digest: &str) -> Result<Outcome, SignFailure> {
    signer
        .sign(&Target { repository: REPOSITORY.parse().unwrap(), digest: digest.parse().unwrap() })
}

fn tar(name: &str) -> Vec<u8> {
    TarMaker::new().file(name, b"content").finish()
}

fn put_image(registry: &Registry, name: &str) -> String {
    let tar = tar(name);
    let layer = put_blob(registry, LAYER, &tar);
    put_layers(registry, &[(layer, Digest::of(&tar))])
}

fn put_layers(registry: &Registry, layers: &[(Value, Digest)]) -> String {
    let diff_ids: Vec<_> = layers.iter().map(|(_, diff_id)| diff_id).collect();
    let layers: Vec<_> = layers.iter().map(|(layer, _)| layer).collect();
    let config = json!({
        "architecture": "amd64", "os": "linux", "config": {},
        "rootfs": { "type": "layers", "diff_ids": diff_ids },
    });
    let config = put_blob(registry, MediaType::OCI_CONFIG.as_str(), config.to_string().as_bytes());
    let manifest = json!({
        "schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": layers,
    });
    put(registry, MANIFEST, &manifest)
}

fn put(registry: &Registry, media_type: &str, manifest: &Value) -> String {
    registry.put_manifest(REPOSITORY, None, media_type, manifest.to_string().as_bytes())
}

fn put_blob(registry: &Registry, media_type: &str, contents: &[u8]) -> Value {
    let digest = registry.put_blob(REPOSITORY, contents).unwrap();
    json!({ "mediaType": media_type, "digest": digest, "size": contents.len() })
}

fn descriptor(registry: &Registry, digest: &str) -> Value {
    let manifest = registry.manifest(REPOSITORY, digest).unwrap();
    json!({ "mediaType": MANIFEST, "digest": digest, "size": manifest.contents.len() })
}
