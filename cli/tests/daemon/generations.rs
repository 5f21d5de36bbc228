//! `osguard node list --image`, which asks containerd; devices are seen in a virtual machine.

use std::path::Path;
use std::process::{Command, Output};

use osguard_testkit::digest::sha256;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::content::Content;

/// Is a containerd with its socket.
struct Scene {
    directory: TempDir,
    content: Content,
}

impl Scene {
    fn new() -> Self {
        let scene = Self { directory: tempfile::tempdir().unwrap(), content: Content::default() };
        scene.content.serve(&scene.directory.path().join("containerd.sock"));
        scene
    }

    /// Puts a document into a namespace and returns its digest.
    fn put(&self, namespace: &str, document: &Value) -> String {
        let text = document.to_string();
        let digest = sha256(text.as_bytes());
        self.content.put(namespace, &digest, text.as_bytes(), &[]);
        digest
    }

    fn list(&self, image: &str, more: &[&str]) -> Output {
        list(&self.directory.path().join("containerd.sock"), image, more)
    }

    async fn report(self, image: &'static str) -> Value {
        let listing = move || self.list(image, &["--output", "json"]);
        let output = tokio::task::spawn_blocking(listing).await.unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice(&output.stdout).unwrap()
    }
}

fn list(socket: &Path, image: &str, more: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_osguard"));
    command.args(["node", "list", "--image", image, "--containerd"]).arg(socket);
    command.arg("--state").arg(socket.with_file_name("state"));
    command.args(more).output().unwrap()
}

fn manifest(layers: &[&str]) -> Value {
    let layer =
        |name: &&str| json!({ "mediaType": LAYER, "digest": sha256(name.as_bytes()), "size": 1 });
    json!({
        "schemaVersion": 2, "mediaType": MANIFEST,
        "config": { "mediaType": CONFIG, "digest": sha256(b"config"), "size": 1 },
        "layers": layers.iter().map(layer).collect::<Vec<_>>(),
    })
}

fn index(entries: &[(&str, &str)]) -> Value {
    let entry = |(architecture, digest): &(&str, &str)| {
        json!({ "mediaType": MANIFEST, "digest": digest, "size": 1,
                "platform": { "os": "linux", "architecture": architecture } })
    };
    json!({
        "schemaVersion": 2, "mediaType": INDEX,
        "manifests": entries.iter().map(entry).collect::<Vec<_>>(),
    })
}

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const INDEX: &str = "application/vnd.oci.image.index.v1+json";
const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const LAYER: &str = "application/vnd.oci.image.layer.v1.tar";

#[tokio::test(flavor = "multi_thread")]
async fn both_generations_are_told_with_what_they_share() {
    let scene = Scene::new();
    let old = scene.put("k8s.io", &manifest(&["base", "old"]));
    let new = scene.put("k8s.io", &manifest(&["base", "new"]));
    scene.content.name("k8s.io", "registry.example/app:v1", &old);
    scene.content.name("k8s.io", "registry.example/app:v2", &new);
    // Others, and names that are no references.
    scene.content.name("k8s.io", "registry.example/other:v1", &old);
    scene.content.name("k8s.io", &new, &new);
    // In another namespace, for this machine's platform.
    let host = if cfg!(target_arch = "x86_64") { "amd64" } else { "arm64" };
    let image = scene.put("other", &manifest(&["base"]));
    let foreign = sha256(b"not here");
    let multi = scene.put("other", &index(&[("riscv64", &foreign), (host, &image)]));
    scene.content.name("other", "registry.example/app@sha256:00", &multi);
    scene.content.name("other", "registry.example/app:multi", &multi);

    let report = scene.report("registry.example/app:whatever").await;
    let layer = |name: &str, shared: bool| json!({ "digest": sha256(name.as_bytes()), "shared": shared, "devices": [] });
    let expected = json!([
        { "name": "registry.example/app:v1", "manifest": old, "namespace": "k8s.io",
          "layers": [layer("base", true), layer("old", false)] },
        { "name": "registry.example/app:v2", "manifest": new, "namespace": "k8s.io",
          "layers": [layer("base", true), layer("new", false)] },
        { "name": "registry.example/app:multi", "manifest": image, "namespace": "other",
          "layers": [layer("base", true)] },
    ]);
    assert_eq!(report["generations"], expected);
    assert_eq!((&report["devices"], &report["unknown"]), (&json!(0), &json!([])));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_containerd_does_not_have_is_not_known() {
    let scene = Scene::new();
    let missing = sha256(b"missing");
    let lying = sha256(b"something else");
    scene.content.put("default", &lying, manifest(&["base"]).to_string().as_bytes(), &[]);
    let noise = sha256(b"noise");
    scene.content.put("default", &noise, b"noise", &[]);
    let elsewhere = scene.put("default", &index(&[("riscv64", &missing)]));
    let nested = scene.put("default", &json!({
        "schemaVersion": 2, "mediaType": INDEX,
        "manifests": [{ "mediaType": INDEX, "digest": elsewhere, "size": 1,
                        "platform": { "os": "linux", "architecture": if cfg!(target_arch = "x86_64") { "amd64" } else { "arm64" } } }],
    }));
    for (tag, digest) in [
        ("missing", &*missing),
        ("lying", &lying),
        ("noise", &noise),
        ("elsewhere", &elsewhere),
        ("nested", &nested),
        ("none", "sha256:0"),
    ] {
        scene.content.name("default", &format!("registry.example/app:{tag}"), digest);
    }
    let report = scene.report("registry.example/app").await;
    assert_eq!(report["generations"], json!([]));
    let unknown = report["unknown"].as_array().unwrap();
    let tells = |tag: &str, reason: &str| {
        let begin = format!("registry.example/app:{tag} in the namespace default: ");
        assert!(
            unknown.iter().any(|line| {
                let line = line.as_str().unwrap();
                line.starts_with(&begin) && line.contains(reason)
            }),
            "{tag}: {unknown:#?}"
        );
    };
    tells("missing", "not found");
    tells("lying", "it is not what its digest says");
    tells("noise", "");
    tells("elsewhere", "has no image for linux/");
    tells("nested", "has no image for linux/");
    tells("none", "is no digest");
    assert_eq!(unknown.len(), 6);
}

#[test]
fn a_containerd_that_does_not_answer_is_told() {
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("containerd.sock");
    let ran = list(&socket, "registry.example/app", &[]);
    assert_eq!(ran.status.code(), Some(3), "{ran:?}");
    // Somebody had listened.
    drop(std::os::unix::net::UnixListener::bind(&socket).unwrap());
    let ran = list(&socket, "registry.example/app", &[]);
    assert!(ran.status.success(), "{ran:?}");
    let told = String::from_utf8(ran.stdout).unwrap();
    assert!(told.contains("Nothing of registry.example/app:latest is here"), "{told}");
    assert!(told.contains(&format!("not known: {}: ", socket.display())), "{told}");
    let ran = list(&socket, "no reference", &[]);
    assert_eq!(ran.status.code(), Some(2), "{ran:?}");
}
