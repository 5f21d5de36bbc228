//! Requests and images that are meant to do harm.

use osguard_testkit::registry::{Answer, Fault, Registry};
use serde_json::json;

use crate::scene::{Scene, create, pod, refusal};

#[test]
fn what_is_no_request_is_refused_with_the_reason() {
    let registry = Registry::start().unwrap();
    let scene = Scene::new(&registry.host());
    let webhook = scene.webhook();
    let good = create("shop", &pod("a")).to_string();
    let without = |name: &str| {
        let mut review = create("shop", &pod("a"));
        review["request"].as_object_mut().unwrap().remove(name);
        review.to_string()
    };
    let deep = "[".repeat(200_000);
    for body in [
        String::new(),
        "nonsense".to_owned(),
        good[..good.len() - 1].to_owned(),
        good.replace("k8s.io/v1\"", "k8s.io/v2\""),
        good.replace("AdmissionReview", "Review"),
        without("uid"),
        without("operation"),
        deep,
    ] {
        let answer = webhook.post("/validate", body.as_bytes());
        assert_eq!(answer.status, 400, "{}: {body:.100}", answer.body);
        assert!(answer.body.starts_with("osguard: "), "{}", answer.body);
    }
    // What is too long is refused before it is sent.
    assert_eq!(webhook.client().announce("/validate", 9 << 20).unwrap().status, 413);
    let answer = webhook.post("/validate", without("object").as_bytes()).response();
    assert!(refusal(&answer).unwrap().contains("there is no object"));
    let mut malformed = pod("a");
    malformed["spec"]["containers"] = json!({ "image": "a" });
    let answer = webhook.validate(&create("shop", &malformed));
    assert!(refusal(&answer).unwrap().contains("spec.containers is not a list"));
    assert_eq!(webhook.get("/healthz").status, 200);
    assert!(webhook.peak_memory_bytes() < 200 << 20);
}

/// An index whose signed image for the nodes' platform is not the one that a node would take.
#[test]
fn an_index_cannot_hide_an_image() {
    let registry = Registry::start().unwrap();
    let scene = Scene::new(&registry.host());
    scene.configure("platforms = [\"linux/amd64\"]", "");
    let webhook = scene.webhook();
    let signed = scene.image("team/app:signed");
    scene.push(&signed, Some("alice.key"));
    let unsigned = scene.image("team/app:unsigned");
    scene.push(&unsigned, None);
    let entry = |tag: &str, platform: &str| {
        let manifest = registry.manifest("team/app", tag).unwrap();
        let (os, architecture) = platform.split_once('/').unwrap();
        json!({
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "digest": manifest.digest, "size": manifest.contents.len(),
            "platform": { "os": os, "architecture": architecture },
        })
    };
    let verdict = |tag: &str, manifests: &[serde_json::Value]| {
        let media_type = "application/vnd.oci.image.index.v1+json";
        let index = json!({ "schemaVersion": 2, "mediaType": media_type, "manifests": manifests });
        registry.put_manifest("team/app", Some(tag), media_type, index.to_string().as_bytes());
        let image = scene.image(&format!("team/app:{tag}"));
        refusal(&webhook.validate(&create("shop", &pod(&image))))
    };
    let good = entry("signed", "linux/amd64");
    assert_eq!(verdict("good", std::slice::from_ref(&good)), None);
    // For nodes that there are not.
    assert_eq!(verdict("other", &[good.clone(), entry("unsigned", "linux/s390x")]), None);

    let second = entry("unsigned", "linux/amd64");
    assert!(verdict("second", &[good.clone(), second.clone()]).unwrap().contains("not signed"));
    // What runs on the same processors where there is nothing better.
    let standing_in = entry("unsigned", "linux/386");
    assert!(verdict("stand-in", &[standing_in, good.clone()]).unwrap().contains("not signed"));
    let mut statement = second;
    statement["annotations"] = json!({ "vnd.docker.reference.type": "attestation-manifest" });
    assert!(verdict("statement", &[statement, good.clone()]).unwrap().contains("not signed"));
    let mut artifact: serde_json::Value =
        serde_json::from_slice(&registry.manifest("team/app", "unsigned").unwrap().contents)
            .unwrap();
    artifact["artifactType"] = json!("application/x");
    registry.put_manifest(
        "team/app",
        Some("artifact"),
        "application/vnd.oci.image.manifest.v1+json",
        artifact.to_string().as_bytes(),
    );
    let artifact = entry("artifact", "linux/amd64");
    assert!(verdict("artifact-first", &[artifact, good]).unwrap().contains("not signed"));
}

#[test]
fn images_that_make_no_sense_are_refused() {
    let registry = Registry::start().unwrap();
    let scene = Scene::new(&registry.host());
    let webhook = scene.webhook();
    let media_type = "application/vnd.oci.image.index.v1+json";
    let ask = |tag: &str| {
        let image = scene.image(&format!("team/app:{tag}"));
        refusal(&webhook.validate(&create("shop", &pod(&image)))).unwrap()
    };
    // A hundred indexes, each in the next.
    let mut inner =
        json!({ "schemaVersion": 2, "mediaType": media_type, "manifests": [] }).to_string();
    for level in 0..100 {
        let digest =
            registry.put_manifest("team/app", Some("nested"), media_type, inner.as_bytes());
        let entry = json!({ "mediaType": media_type, "digest": digest, "size": inner.len() });
        inner = json!({ "schemaVersion": 2, "mediaType": media_type, "manifests": [entry], "annotations": { "level": level.to_string() } }).to_string();
    }
    assert!(ask("nested").contains("nests indexes more than"), "{}", ask("nested"));
    registry.put_manifest("team/app", Some("empty"), media_type, b"{}");
    assert!(ask("empty").contains("the image cannot be read"));
    registry.put_manifest(
        "team/app",
        Some("none"),
        media_type,
        inner.replace("manifests", "m").as_bytes(),
    );
    assert!(ask("none").contains("the image cannot be read"));

    // A signature with more entries than any image has layers.
    let image = scene.image("team/many:v1");
    let digest = scene.push(&image, None);
    let subject = registry.manifest("team/many", "v1").unwrap();
    let layer = json!({
        "mediaType": "application/pkcs7-signature", "digest": digest, "size": 1,
        "annotations": { "io.cncf.notary.layer.digest": digest, "io.cncf.notary.dm-verity.root-hash": "0".repeat(64) },
    });
    let artifact = json!({
        "schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "artifactType": "application/vnd.cncf.notary.signature.dm-verity",
        "config": { "mediaType": "application/vnd.oci.empty.v1+json", "size": 2,
                    "digest": "sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a" },
        "layers": vec![layer; 8000],
        "subject": { "mediaType": "application/vnd.oci.image.manifest.v1+json",
                     "digest": digest, "size": subject.contents.len() },
    });
    registry.put_manifest(
        "team/many",
        None,
        "application/vnd.oci.image.manifest.v1+json",
        artifact.to_string().as_bytes(),
    );
    let message = refusal(&webhook.validate(&create("shop", &pod(&image)))).unwrap();
    assert!(message.contains("no signature is valid and trusted"), "{message}");
}

#[test]
fn a_registry_that_lies_is_not_believed() {
    let registry = Registry::start().unwrap();
    let scene = Scene::new(&registry.host());
    let image = scene.image("team/app:v1");
    let digest = scene.push(&image, Some("alice.key"));
    let other = scene.image("team/app:other");
    scene.push(&other, None);
    let pinned = scene.image(&format!("team/app@{digest}"));
    let faults = [
        // Another image in the place of the one that was asked for.
        Fault::new()
            .always()
            .path_contains(&format!("/manifests/{digest}"))
            .rewrite_path(&digest, "other"),
        Fault::new().always().path_contains("/manifests/").flip_bit_at(20),
        Fault::new().always().path_contains("/blobs/").flip_bit_at(3),
        // A manifest of 1 GiB whose length is not told.
        Fault::new()
            .always()
            .path_contains("/manifests/")
            .answer(
                Answer::status(200)
                    .header("Content-Type", "application/vnd.oci.image.manifest.v1+json")
                    .repeat(b' ', 1 << 30),
            )
            .chunked(),
        // A list of referrers without end.
        Fault::new().always().path_contains("/referrers/").header(
            "Link",
            &format!("</v2/team/app/referrers/{digest}?page={{count}}>; rel=\"next\""),
        ),
    ];
    for (number, fault) in faults.into_iter().enumerate() {
        // Each webhook knows nothing of what the one before has seen.
        let webhook = scene.webhook();
        let _ = registry.fault(fault);
        let message = refusal(&webhook.validate(&create("shop", &pod(&pinned)))).unwrap();
        assert!(!message.contains("not signed"), "{number}: {message}");
        assert!(webhook.peak_memory_bytes() < 100 << 20, "{number}");
        registry.clear_faults();
        assert_eq!(refusal(&webhook.validate(&create("shop", &pod(&pinned)))), None, "{number}");
    }
}
