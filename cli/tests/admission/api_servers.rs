//! Requests in the shapes of real API servers, and those that real ones have sent: `testdata/admission-reviews`.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use base64ct::{Base64, Encoding as _};
use osguard_testkit::registry::Registry;
use serde_json::Value;

use crate::scene::Scene;
use crate::webhook::Webhook;

#[test]
fn requests_of_all_versions_are_understood() {
    let registry = Registry::start().unwrap();
    let cluster = Cluster::new(&registry);
    let mut seen: BTreeMap<String, usize> = BTreeMap::new();
    for path in requests(&directory()) {
        let file = name(&path);
        cluster.replay(&path);
        *seen.entry(file.split('-').next().unwrap().to_owned()).or_default() += 1;
    }
    let versions: Vec<&str> = seen.keys().map(String::as_str).collect();
    assert_eq!(versions, ["1.29", "1.30", "1.31", "1.32", "1.33", "1.34", "1.35", "1.36"]);
    assert!(seen.values().all(|count| *count > 2), "{seen:?}");
}

#[test]
fn requests_that_api_servers_have_sent_are_judged() {
    let registry = Registry::start().unwrap();
    let cluster = Cluster::new(&registry);
    for version in ["1.29", "1.36"] {
        let requests = requests(&directory().join("recorded").join(version));
        assert!(requests.len() > 40, "{version}: {}", requests.len());
        let pinned = requests.iter().filter(|path| cluster.replay(path) > 0).count();
        assert!(pinned > 2, "{version}: {pinned}");
    }
}

/// Is a webhook, and a registry with a signed image and an unsigned one.
struct Cluster {
    webhook: Webhook,
    host: String,
    /// Digests in recorded requests, and those of the images here.
    digests: [(&'static str, String); 2],
    _scene: Scene,
}

impl Cluster {
    fn new(registry: &Registry) -> Self {
        let scene = Scene::new(&registry.host());
        let signed = scene.push(&scene.image("team/app:signed"), Some("alice.key"));
        let unsigned = scene.push(&scene.image("team/app:unsigned"), None);
        Self {
            webhook: scene.webhook(),
            host: registry.host(),
            digests: [(SIGNED, signed), (UNSIGNED, unsigned)],
            _scene: scene,
        }
    }

    /// Asks what an API server has asked, and holds the answer against the end of the file's name. Returns how many tags were
    /// pinned.
    fn replay(&self, path: &Path) -> usize {
        let file = name(path);
        let mut text = fs::read_to_string(path).unwrap().replace("registry.example", &self.host);
        for (recorded, here) in &self.digests {
            text = text.replace(recorded, here);
        }
        let review: Value = serde_json::from_str(&text).unwrap();
        let response = self.webhook.post("/validate?timeout=10s", text.as_bytes()).response();
        assert_eq!(response["uid"], review["request"]["uid"], "{file}");
        let expected = match file.rsplit('-').next().unwrap() {
            "signed" => "passed",
            "unsigned" => "refused",
            "image" | "status" | "resize" => "no-new-image",
            "delete" | "exec" => "starts-nothing",
            // The webhook's configuration does not send them: nothing in them names an image.
            "binding" | "eviction" | "other" | "scale" => "unknown-kind",
            other => panic!("{file}: {other}"),
        };
        let found = response["auditAnnotations"]["verdict"].as_str().unwrap();
        assert_eq!(found, expected, "{file}: {response}");
        let is_allowed = !matches!(expected, "refused" | "unknown-kind");
        assert_eq!(response["allowed"], is_allowed, "{file}: {response}");
        if expected == "refused" {
            let message = response["status"]["message"].as_str().unwrap();
            assert!(
                message.contains("app:unsigned") && message.contains("not signed"),
                "{message}"
            );
        }

        // Pinning tags is for pods that are made; other requests come back as they are.
        let answer = self.webhook.post("/mutate?timeout=10s", text.as_bytes()).response();
        assert_eq!(answer["allowed"], true, "{file}");
        let Some(patch) = answer["patch"].as_str() else { return 0 };
        let patch: Vec<Value> =
            serde_json::from_slice(&Base64::decode_vec(patch).unwrap()).unwrap();
        for change in &patch {
            let path = change["path"].as_str().unwrap();
            let before = review["request"]["object"].pointer(path).unwrap().as_str().unwrap();
            let after = change["value"].as_str().unwrap();
            assert!(after.starts_with(&format!("{before}@sha256:")), "{file}: {after}");
        }
        patch.len()
    }
}

fn directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../testdata/admission-reviews")
}

fn requests(directory: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    entries.filter(|path| path.extension().is_some_and(|end| end == "json")).collect()
}

fn name(path: &Path) -> &str {
    path.file_stem().unwrap().to_str().unwrap()
}

/// The digests of the two images where the requests were recorded; a tag is pinned before it is judged.
const SIGNED: &str = "sha256:5845d27f218a75a97d28a02605d7987c6859eaa59d631d09dc1a63d754b94a53";
const UNSIGNED: &str = "sha256:90ad5b9d32e51f0f0efe6c7763daeaa2e9fcd5053c142fc5bce846027ad8c05c";
