//! Requests in the shapes of real API servers: `testdata/admission-reviews`.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use osguard_testkit::registry::Registry;
use serde_json::Value;

use crate::scene::Scene;

#[test]
fn requests_of_all_versions_are_understood() {
    let registry = Registry::start().unwrap();
    let scene = Scene::new(&registry.host());
    scene.push(&scene.image("team/app:signed"), Some("alice.key"));
    scene.push(&scene.image("team/app:unsigned"), None);
    let webhook = scene.webhook();
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../testdata/admission-reviews");
    let mut seen: BTreeMap<String, usize> = BTreeMap::new();
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        let file = path.file_stem().unwrap().to_str().unwrap();
        if path.extension().is_none_or(|end| end != "json") {
            continue;
        }
        let text = fs::read_to_string(&path).unwrap();
        let text = text.replace("registry.example", &registry.host());
        let review: Value = serde_json::from_str(&text).unwrap();
        let response = webhook.post("/validate?timeout=10s", text.as_bytes()).response();
        assert_eq!(response["uid"], review["request"]["uid"], "{file}");
        let expected = match file.rsplit('-').next().unwrap() {
            "signed" => "passed",
            "unsigned" => "refused",
            "image" | "status" | "resize" => "no-new-image",
            "delete" | "exec" => "starts-nothing",
            // The webhook's configuration does not send them: nothing in them names an image.
            "binding" | "eviction" | "scale" => "unknown-kind",
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
        *seen.entry(file.split('-').next().unwrap().to_owned()).or_default() += 1;

        // Pinning tags is for pods that are made; other requests come back as they are.
        let answer = webhook.post("/mutate?timeout=10s", text.as_bytes()).response();
        assert_eq!(answer["allowed"], true, "{file}");
    }
    let versions: Vec<&str> = seen.keys().map(String::as_str).collect();
    assert_eq!(versions, ["1.29", "1.30", "1.31", "1.32", "1.33", "1.34", "1.35", "1.36"]);
    assert!(seen.values().all(|count| *count > 2), "{seen:?}");
}
