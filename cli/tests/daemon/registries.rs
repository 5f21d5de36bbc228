//! Signatures that are attached to images in a registry.

use std::process::Command;

use osguard_testkit::image::LayoutMaker;
use osguard_testkit::or_skip;
use osguard_testkit::registry::Registry;
use serde_json::Value;
use tonic::Code;

use crate::daemon::Daemon;
use crate::layers::Layer;

const CONFIG: &str =
    "[signatures]\nmode = \"require\"\ncheck-at-unpack = false\ndirectories = [\"SIGNATURES\"]\n";

#[tokio::test]
async fn signatures_are_found_by_the_manifests_that_containerd_has() {
    let Some(registry) = or_skip(Registry::start()) else { return };
    let daemon = Daemon::start_with(CONFIG).await;
    let layers = push(&registry, &daemon, true);
    registry.forget_requests();
    let below = unpack(&registry.host(), &daemon, &layers[0], "1").await.unwrap();
    let first = registry.requests().len();
    assert!(first > 0);
    unpack(&registry.host(), &daemon, &layers[1], "2").await.unwrap();
    assert_eq!(registry.requests().len(), first, "one artifact has the signatures of all layers");
    assert_eq!(below, layers[0].diff_id.to_string());
}

#[tokio::test]
async fn images_without_signatures_are_refused_with_what_the_registry_said() {
    let Some(registry) = or_skip(Registry::start()) else { return };
    let daemon = Daemon::start_with(CONFIG).await;
    let layers = push(&registry, &daemon, false);
    let refused = unpack(&registry.host(), &daemon, &layers[0], "1").await.unwrap_err();
    assert_eq!(refused.code(), Code::FailedPrecondition);
    let expected = format!("{}/team/app has no signature of it", registry.host());
    assert!(refused.message().contains(&expected), "{refused}");
}

#[tokio::test]
async fn a_registry_that_is_away_is_named() {
    let Some(registry) = or_skip(Registry::start()) else { return };
    let daemon = Daemon::start_with(CONFIG).await;
    let layers = push(&registry, &daemon, true);
    let host = registry.host();
    drop(registry);
    let name = format!("{host}/team/app");
    let refused = unpack(&host, &daemon, &layers[0], "1").await.unwrap_err();
    assert_eq!(refused.code(), Code::FailedPrecondition);
    assert!(refused.message().contains(&format!("{name} was asked in vain")), "{refused}");
}

/// Pushes an image of two layers, and puts into containerd's store what it has after a pull; returns the layers.
fn push(registry: &Registry, daemon: &Daemon, is_signed: bool) -> Vec<Layer> {
    let mut layout = LayoutMaker::new(daemon.path("image")).unwrap();
    let sources = ["base", "application"].map(Layer::source);
    let digest = layout.image("v1", &sources).unwrap();
    osguard(daemon, &["key", "generate", "alice", "--kind", "ec-p256"]);
    let target = format!("{}/team/app:v1", registry.host());
    let mut arguments = vec!["push", "oci:image:v1", &target];
    if is_signed {
        arguments.extend(["--sign", "--key", "alice.key"]);
    }
    osguard(daemon, &arguments);
    let manifest = std::fs::read(layout.blob_path(&digest)).unwrap();
    let parsed: Value = serde_json::from_slice(&manifest).unwrap();
    // containerd leaves the port out.
    let key = "containerd.io/distribution.source.127.0.0.1".to_owned();
    let mut labels = vec![(key, "team/app".to_owned())];
    for (index, layer) in parsed["layers"].as_array().unwrap().iter().enumerate() {
        let key = format!("containerd.io/gc.ref.content.l.{index}");
        labels.push((key, layer["digest"].as_str().unwrap().to_owned()));
    }
    daemon.content.put_labeled("default", &digest, &manifest, labels);
    sources.into_iter().map(|source| Layer::of(source.blob)).collect()
}

/// Unpacks a layer that containerd has from the registry, and of whose image it tells; returns the diffID.
async fn unpack(
    host: &str,
    daemon: &Daemon,
    layer: &Layer,
    key: &str,
) -> Result<String, tonic::Status> {
    let digest = layer.digest.to_string();
    daemon.content.put("default", &digest, &layer.blob, &["127.0.0.1/team/app"]);
    let mounts = daemon.prepare(&format!("default/{key}/extract-{key}"), "").await.unwrap();
    let mut descriptor = layer.descriptor();
    let image = format!("{host}/team/app:v1");
    descriptor.annotations.insert("containerd.io/snapshot/cri.image-ref".to_owned(), image);
    Ok(daemon.apply(descriptor, mounts).await?.digest)
}

fn osguard(daemon: &Daemon, arguments: &[&str]) {
    let output = Command::new(env!("CARGO_BIN_EXE_osguard"))
        .args(arguments)
        .current_dir(daemon.directory.path())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}
