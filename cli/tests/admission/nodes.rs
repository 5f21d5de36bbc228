//! What nodes say of themselves, and what follows for images.

use std::fs;

use osguard_testkit::registry::{Answer, Fault, Registry};
use serde_json::{Value, json};

use crate::scene::{Scene, create, pod, refusal};
use crate::webhook::{Webhook, until};

/// The key of alice, who signs, and that of mallory.
const ALICE: &str = "49b5d94dd761adbdc539207d98c9f8c3772cea1d";
const MALLORY: &str = "49f07dec78d3a41d87d69567846c4b86995efc1d";

/// Returns what `osguard node describe` would print on such a node.
fn description(name: &str, profile: &str, identifier: &str) -> Value {
    json!({
        "schema": "osguard.node.describe.v1", "name": name, "os": "linux", "architecture": "amd64",
        "kernel": "6.12.48+deb13-amd64", "profiles": [profile],
        "certificates": [{ "identifier": identifier, "subject": "alice", "keyring": ".platform" }],
    })
}

fn ask(webhook: &Webhook, image: &str, change: &Value) -> Option<String> {
    let mut object = pod(image);
    object["spec"].as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
    refusal(&webhook.validate(&create("shop", &object)))
}

#[test]
fn an_image_starts_where_every_node_would_take_it() {
    let registry = Registry::start().unwrap();
    let scene = Scene::new(&registry.host());
    let image = scene.image("team/app:v1");
    scene.push(&image, Some("alice.key"));
    scene.configure("", "[nodes]\ndirectory = \"nodes\"\n");
    let nodes = scene.directory.path().join("nodes");
    fs::create_dir(&nodes).unwrap();
    let write = |name: &str, text: &str| scene.write(&format!("nodes/{name}.json"), text);
    write("one", &description("one", "containerd-full-v1", ALICE).to_string());
    let webhook = scene.webhook();
    assert_eq!(ask(&webhook, &image, &json!({})), None);
    let on = |node: &str| json!({ "nodeSelector": { "kubernetes.io/hostname": node } });

    // Another node comes, whose kernel has another key.
    write("two", &description("two", "containerd-full-v1", MALLORY).to_string());
    until("it is refused", || ask(&webhook, &image, &json!({})).is_some());
    let message = ask(&webhook, &image, &json!({})).unwrap();
    assert!(message.contains("node two refuses layer"), "{message}");
    assert!(message.contains("none of the certificates behind the signature"), "{message}");
    assert_eq!(ask(&webhook, &image, &on("one")), None);
    assert_eq!(ask(&webhook, &image, &json!({ "nodeName": "one" })), None);
    assert!(ask(&webhook, &image, &on("two")).is_some());
    let message = ask(&webhook, &image, &json!({ "nodeName": "three" })).unwrap();
    assert!(message.contains("nothing is known of the node three"), "{message}");
    assert!(webhook.metric("osguard_admission_images_total{reason=\"node\"}") > 2);

    // Without the directory nobody knows anything, and nothing starts that was judged before.
    let away = scene.directory.path().join("away");
    fs::rename(&nodes, &away).unwrap();
    let said =
        |part: &str| ask(&webhook, &image, &on("one")).is_some_and(|said| said.contains(part));
    until("it is refused", || said("what the nodes say of themselves cannot be read"));
    fs::rename(&away, &nodes).unwrap();

    // One that converts layers otherwise; what cannot be used is as bad as what says no. Elsewhere images start.
    let otherwise = description("two", "diffid-full-v1", ALICE).to_string();
    for (text, said) in [
        (otherwise.as_str(), "it converts layers by another profile"),
        ("{}", "node two: its description cannot be used"),
    ] {
        write("two", text);
        let webhook = scene.webhook();
        let message = ask(&webhook, &image, &json!({})).unwrap();
        assert!(message.contains(said), "{message}");
        assert_eq!(ask(&webhook, &image, &on("one")), None);
    }
    // Nothing of this makes an unsigned image better.
    fs::remove_file(nodes.join("two.json")).unwrap();
    let webhook = scene.webhook();
    assert_eq!(ask(&webhook, &image, &json!({})), None);
    let unsigned = scene.image("team/app:unsigned");
    scene.push(&unsigned, None);
    assert!(ask(&webhook, &unsigned, &json!({})).unwrap().contains("not signed"));
    fs::remove_file(nodes.join("one.json")).unwrap();
    let message = ask(&scene.webhook(), &image, &json!({})).unwrap();
    assert!(message.contains("nothing is known of any node"), "{message}");
}

#[test]
fn nodes_are_read_from_the_api_server_page_by_page() {
    let registry = Registry::start().unwrap();
    let scene = Scene::new(&registry.host());
    let image = scene.image("team/app:v1");
    scene.push(&image, Some("alice.key"));
    // What answers here is no registry: each path is scripted.
    let cluster = Registry::builder().tls(&scene.authority).unwrap().start().unwrap();
    let node = |name: &str, architecture: &str, annotations: Value| {
        json!({ "metadata": {
            "name": name, "managedFields": [{ "manager": "kubelet" }], "annotations": annotations,
            "labels": { "kubernetes.io/os": "linux", "kubernetes.io/arch": architecture, "kubernetes.io/hostname": name },
        } })
    };
    let described = |name: &str| json!({ "osguard.org/node": description(name, "containerd-full-v1", ALICE).to_string() });
    let page = |items: &[Value], more: &str| {
        let list = json!({
            "kind": "PartialObjectMetadataList", "apiVersion": "meta.k8s.io/v1",
            "metadata": { "resourceVersion": "7", "continue": more }, "items": items,
        });
        Fault::new().always().answer(Answer::status(200).json(&list))
    };
    let serve = |second: &Value| {
        cluster.clear_faults();
        let first = page(&[node("one", "amd64", described("one"))], "next");
        let _ =
            cluster.fault(page(std::slice::from_ref(second), "").query_contains("continue=next"));
        let _ = cluster.fault(first.query_contains("limit=100"));
    };
    scene.write("token", "the-token\n");
    let authority = scene.authority.certificate();
    scene.configure(
        "",
        &format!(
            "[nodes]\nannotation = \"osguard.org/node\"\n[cluster]\nserver = \"{}\"\nca-file = {:?}\n\
             token-file = \"token\"\npull-secrets = false\n",
            cluster.url(),
            authority.to_str().unwrap()
        ),
    );
    serve(&node("two", "arm64", described("two")));
    assert_eq!(ask(&scene.webhook(), &image, &json!({})), None);
    assert!(cluster.requests().iter().all(|request| {
        request.header("Authorization") == Some("Bearer the-token")
            && request.path == "/api/v1/nodes"
    }));
    assert_eq!(cluster.requests().len(), 2);

    let amd64 = json!({ "nodeSelector": { "kubernetes.io/arch": "amd64" } });
    for (annotations, said) in [
        (json!({}), "node two: it has no annotation osguard.org/node"),
        (
            json!({ "osguard.org/node": "{" }),
            "node two: its annotation osguard.org/node cannot be used",
        ),
        (described("one"), "is that of another node"),
    ] {
        serve(&node("two", "arm64", annotations));
        let webhook = scene.webhook();
        let message = ask(&webhook, &image, &json!({})).unwrap();
        assert!(message.contains(said), "{message}");
        assert_eq!(ask(&webhook, &image, &amd64), None);
    }
    // As an API server answers that has no nodes: an empty list of metadata alone is `null`.
    cluster.clear_faults();
    let none = json!({
        "kind": "PartialObjectMetadataList", "apiVersion": "meta.k8s.io/v1",
        "metadata": { "resourceVersion": "285" }, "items": null,
    });
    let _ = cluster.fault(Fault::new().always().answer(Answer::status(200).json(&none)));
    let message = ask(&scene.webhook(), &image, &json!({})).unwrap();
    assert!(message.contains("nothing is known of any node"), "{message}");
    cluster.clear_faults();
    let _ = cluster.fault(Fault::new().always().answer(Answer::status(403)));
    let message = ask(&scene.webhook(), &image, &json!({})).unwrap();
    assert!(message.contains("what the nodes say of themselves cannot be read"), "{message}");
    assert!(message.contains("403"), "{message}");
}
