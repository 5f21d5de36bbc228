//! What is allowed, refused, warned of and written down.

use base64ct::{Base64, Encoding as _};
use osguard_testkit::registry::Registry;
use serde_json::{Value, json};

use crate::scene::{Scene, UID, create, pod, refusal, update};
use crate::webhook::Webhook;

#[track_caller]
fn refused(webhook: &Webhook, review: &Value, said: &str) {
    let response = webhook.validate(review);
    let message = refusal(&response).unwrap_or_else(|| panic!("it is allowed: {review}"));
    assert!(message.contains(said), "{message}");
}

#[track_caller]
fn allowed(webhook: &Webhook, review: &Value, verdict: &str) {
    let response = webhook.validate(review);
    assert_eq!(refusal(&response), None);
    assert_eq!(response["auditAnnotations"]["verdict"], verdict, "{response}");
}

#[test]
fn what_is_signed_starts_and_nothing_else_does() {
    let registry = Registry::start().unwrap();
    let scene = Scene::new(&registry.host());
    let signed = scene.image("team/app:signed");
    let digest = scene.push(&signed, Some("alice.key"));
    let unsigned = scene.image("team/app:unsigned");
    scene.push(&unsigned, None);
    let foreign = scene.image("team/app:foreign");
    scene.push(&foreign, Some("mallory.key"));
    let elsewhere = scene.image("other/app:signed");
    scene.push(&elsewhere, Some("alice.key"));
    let webhook = scene.webhook();
    let shop = |image: &str| create("shop", &pod(image));

    allowed(&webhook, &shop(&signed), "passed");
    allowed(&webhook, &shop(&scene.image(&format!("team/app@{digest}"))), "passed");
    allowed(&webhook, &shop(&format!("{signed}@{digest}")), "passed");
    for (image, said) in [
        (unsigned.as_str(), "not signed"),
        (&foreign, "no signature is valid and trusted"),
        (&elsewhere, "nobody is trusted for this repository"),
        (&scene.image("team/app:missing"), "there is no such image"),
        (&scene.image("team/none:v1"), "there is no such image"),
        ("nginx", "nobody is trusted for this repository"),
        ("oci:layout:v1", "this is no name of an image"),
        ("oci:v1", "nobody is trusted for this repository: trust.toml trusts nobody for docker.io"),
        ("registry.example/аpp", "this is no name of an image"),
        (&"a".repeat(10_000), "this is no name of an image"),
        (&format!("{signed}@sha256:{}", "0".repeat(64)), "there is no such image"),
    ] {
        refused(&webhook, &shop(image), said);
        refused(&webhook, &shop(image), "spec.containers[0].image");
    }
    // The same in the log and in the metrics.
    let lines = webhook.log(UID);
    assert!(lines.iter().any(|line| line["message"] == "denied"
        && line["namespace"] == "shop"
        && line["reasons"].as_str().unwrap().contains("not signed")));
    assert_eq!(webhook.metric("osguard_admission_images_total{reason=\"not-signed\"}"), 2);
    assert_eq!(
        webhook.metric("osguard_admission_reviews_total{answer=\"allowed\",mode=\"enforce\"}"),
        3
    );
}

#[test]
fn every_kind_and_every_place_is_looked_at() {
    let registry = Registry::start().unwrap();
    let scene = Scene::new(&registry.host());
    let (signed, unsigned) = (scene.image("team/app:signed"), scene.image("team/app:unsigned"));
    scene.push(&signed, Some("alice.key"));
    scene.push(&unsigned, None);
    let webhook = scene.webhook();

    let specs = |image: &str| {
        let good = json!({ "name": "main", "image": signed });
        let bad = json!({ "name": "bad", "image": image });
        [
            ("containers[1]", json!({ "containers": [good, bad] })),
            ("initContainers[0]", json!({ "containers": [good], "initContainers": [bad] })),
            (
                "ephemeralContainers[0]",
                json!({ "containers": [good], "ephemeralContainers": [bad] }),
            ),
            (
                "volumes[0].image.reference",
                json!({ "containers": [good], "volumes": [{ "name": "v", "image": { "reference": image } }] }),
            ),
        ]
    };
    let kinds = [
        ("v1", "Pod", "spec"),
        ("v1", "PodTemplate", "template.spec"),
        ("v1", "ReplicationController", "spec.template.spec"),
        ("apps/v1", "DaemonSet", "spec.template.spec"),
        ("apps/v1", "Deployment", "spec.template.spec"),
        ("apps/v1", "ReplicaSet", "spec.template.spec"),
        ("apps/v1", "StatefulSet", "spec.template.spec"),
        ("batch/v1", "CronJob", "spec.jobTemplate.spec.template.spec"),
        ("batch/v1", "Job", "spec.template.spec"),
        ("argoproj.io/v1alpha1", "Rollout", "spec.template.spec"),
    ];
    for (api_version, kind, path) in kinds {
        for (good, bad) in specs(&signed).into_iter().zip(specs(&unsigned)) {
            let object = |spec: &Value| {
                let value =
                    path.rsplit('.').fold(spec.clone(), |value, name| json!({ name: value }));
                let mut object =
                    json!({ "apiVersion": api_version, "kind": kind, "metadata": { "name": "a" } });
                object.as_object_mut().unwrap().extend(value.as_object().unwrap().clone());
                object
            };
            allowed(&webhook, &create("shop", &object(&good.1)), "passed");
            refused(&webhook, &create("shop", &object(&bad.1)), &format!("{path}.{}", bad.0));
        }
    }
    let list =
        json!({ "apiVersion": "v1", "kind": "List", "items": [pod(&signed), pod(&unsigned)] });
    refused(&webhook, &create("shop", &list), "items[1].spec.containers[0].image");
    let unknown = json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": {}, "data": {} });
    refused(&webhook, &create("shop", &unknown), "nothing is known of what images");
}

#[test]
fn what_has_not_changed_is_not_in_the_way() {
    let registry = Registry::start().unwrap();
    let scene = Scene::new(&registry.host());
    let (signed, unsigned) = (scene.image("team/app:signed"), scene.image("team/app:unsigned"));
    scene.push(&signed, Some("alice.key"));
    scene.push(&unsigned, None);
    let webhook = scene.webhook();
    let old = pod(&unsigned);

    let mut labelled = old.clone();
    labelled["metadata"]["finalizers"] = json!([]);
    allowed(&webhook, &update("shop", &old, &labelled), "no-new-image");
    allowed(&webhook, &update("shop", &old, &pod(&signed)), "passed");
    refused(&webhook, &update("shop", &pod(&signed), &old), "not signed");
    // `kubectl debug`: the subresource ephemeralcontainers.
    let debug = |image: &str| {
        let mut new = old.clone();
        new["spec"]["ephemeralContainers"] = json!([{ "name": "debugger", "image": image }]);
        let mut review = update("shop", &old, &new);
        review["request"]["subResource"] = json!("ephemeralcontainers");
        review["request"]["requestSubResource"] = json!("ephemeralcontainers");
        review
    };
    allowed(&webhook, &debug(&signed), "passed");
    refused(&webhook, &debug(&unsigned), "spec.ephemeralContainers[0].image");
    for operation in ["DELETE", "CONNECT"] {
        let mut review = create("shop", &old);
        review["request"]["operation"] = json!(operation);
        review["request"]["oldObject"] = review["request"]["object"].take();
        allowed(&webhook, &review, "starts-nothing");
    }
}

#[test]
fn namespaces_have_modes_and_no_label_changes_them() {
    let registry = Registry::start().unwrap();
    let scene = Scene::new(&registry.host());
    let unsigned = scene.image("team/app:unsigned");
    scene.push(&unsigned, None);
    let webhook = scene.webhook();

    for namespace in ["osguard", "kube-system"] {
        allowed(&webhook, &create(namespace, &pod(&unsigned)), "exempt");
    }
    let audited = webhook.validate(&create("audit-shop", &pod(&unsigned)));
    assert_eq!(refusal(&audited), None);
    assert_eq!(audited["auditAnnotations"]["verdict"], "refused");
    assert!(audited["auditAnnotations"]["reasons"].as_str().unwrap().contains("not signed"));
    assert!(audited.get("warnings").is_none());
    let warned = webhook.validate(&create("warn", &pod(&unsigned)));
    assert_eq!(refusal(&warned), None);
    let warning = warned["warnings"][0].as_str().unwrap();
    assert!(warning.contains("would be refused: spec.containers[0].image"), "{warning}");

    // What an object says of itself counts for nothing: the namespace is the API server's word.
    let mut sly = pod(&unsigned);
    sly["metadata"]["namespace"] = json!("osguard");
    sly["metadata"]["labels"] = json!({
        "osguard.org/exempt": "true", "app.kubernetes.io/name": "osguard-admission",
        "kubernetes.io/metadata.name": "osguard",
    });
    sly["metadata"]["annotations"] = json!({ "osguard.org/mode": "audit" });
    refused(&webhook, &create("shop", &sly), "not signed");
    refused(&webhook, &create("osguard-2", &pod(&unsigned)), "not signed");
    let mut nowhere = create("", &pod(&unsigned));
    nowhere["request"].as_object_mut().unwrap().remove("namespace");
    refused(&webhook, &nowhere, "not signed");
}

#[test]
fn tags_are_pinned() {
    let registry = Registry::start().unwrap();
    let scene = Scene::new(&registry.host());
    let image = scene.image("team/app:v1");
    let digest = scene.push(&image, Some("alice.key"));
    scene.configure("require-digest = true", "");
    let webhook = scene.webhook();
    let mut object = pod(&image);
    object["spec"]["initContainers"] =
        json!([{ "name": "a", "image": format!("{image}@{digest}") }]);
    object["spec"]["volumes"] = json!([{ "name": "v", "image": { "reference": image } }]);
    refused(&webhook, &create("shop", &object), "requires one");

    let review = create("shop", &object);
    let answer = webhook.post("/mutate?timeout=10s", review.to_string().as_bytes()).response();
    assert_eq!((&answer["allowed"], &answer["patchType"]), (&json!(true), &json!("JSONPatch")));
    let patch = Base64::decode_vec(answer["patch"].as_str().unwrap()).unwrap();
    let patch: Vec<Value> = serde_json::from_slice(&patch).unwrap();
    assert_eq!(patch.len(), 2);
    for change in &patch {
        assert_eq!(change["op"], "replace");
        let place = object.pointer_mut(change["path"].as_str().unwrap()).unwrap();
        *place = change["value"].clone();
    }
    assert_eq!(object["spec"]["containers"][0]["image"], format!("{image}@{digest}"));
    allowed(&webhook, &create("shop", &object), "passed");
    let missing = create("shop", &pod(&scene.image("team/app:none")));
    let answer = webhook.post("/mutate", missing.to_string().as_bytes()).response();
    assert!(answer.get("patch").is_none());
    assert!(answer["warnings"][0].as_str().unwrap().contains("keeps its tag"));
}

#[test]
fn large_objects_are_looked_at_to_their_end() {
    let registry = Registry::start().unwrap();
    let scene = Scene::new(&registry.host());
    let (signed, unsigned) = (scene.image("team/app:signed"), scene.image("team/app:unsigned"));
    scene.push(&signed, Some("alice.key"));
    scene.push(&unsigned, None);
    let webhook = scene.webhook();
    let mut object = pod(&signed);
    object["metadata"]["annotations"] = json!({ "note": "x".repeat(3 << 20) });
    let containers = |last: &str| -> Vec<Value> {
        let name = |number| if number == 499 { last } else { signed.as_str() };
        (0..500)
            .map(|number| json!({ "name": format!("c{number}"), "image": name(number) }))
            .collect()
    };
    object["spec"]["containers"] = json!(containers(&signed));
    allowed(&webhook, &create("shop", &object), "passed");
    object["spec"]["containers"] = json!(containers(&unsigned));
    refused(&webhook, &create("shop", &object), "spec.containers[499].image");
    // Five hundred different ones that all are missing.
    let many =
        (0..500).map(|n| json!({ "name": "c", "image": scene.image(&format!("team/app:t{n}")) }));
    object["spec"]["containers"] = json!(many.collect::<Vec<_>>());
    refused(&webhook, &create("shop", &object), "and 490 more");
}
