//! What the webhook's configuration has API servers send: its rules and conditions, on requests that API servers have sent.

#![expect(clippy::unwrap_used, reason = "a test ends where its preparation fails")]

use std::fs;
use std::path::{Path, PathBuf};

use cel::{Context, Program, Value as CelValue};
use serde_json::Value;

#[test]
fn what_starts_something_is_sent_and_nothing_else_is() {
    let configurations = configurations();
    let [validating, mutating] = &configurations[..] else { panic!() };
    let mut seen = 0;
    for (name, request) in recorded() {
        let is_sent = |configuration: &Value| is_sent(&configuration["webhooks"][0], &request);
        let last = name.rsplit('-').next().unwrap();
        let starts_nothing = ["binding", "delete", "eviction", "exec", "resize", "scale", "status"];
        // Only the node itself may make a mirror, and what is being deleted has to be let go of. `rollout` is no kind of
        // Kubernetes' own.
        let is_left_out = ["pod-mirror", "pod-deleted", "deployment-deleted", "rollout"]
            .iter()
            .any(|prefix| name.starts_with(prefix));
        let is_expected = !starts_nothing.contains(&last) && !is_left_out;
        assert_eq!(is_sent(validating), is_expected, "{name}");
        let is_new_pod = request["operation"] == "CREATE" && request["kind"]["kind"] == "Pod";
        assert_eq!(is_sent(mutating), is_expected && is_new_pod, "{name}");
        seen += 1;
    }
    assert!(seen > 80, "{seen}");
}

#[test]
fn no_other_than_the_node_leaves_its_pod_out() {
    let configurations = configurations();
    for (name, mut request) in recorded() {
        if name == "pod-mirror-unsigned" {
            for somebody in ["kubernetes-admin", "system:serviceaccount:shop:default", "node-1"] {
                request["userInfo"]["username"] = somebody.into();
                for configuration in &configurations {
                    assert!(is_sent(&configuration["webhooks"][0], &request), "{somebody}");
                }
            }
        }
        // Who has a pod deleted cannot get something else into it before it is gone.
        if name == "pod-deleted-same-image" {
            request["subResource"] = "ephemeralcontainers".into();
            assert!(is_sent(&configurations[0]["webhooks"][0], &request));
        }
    }
}

/// Tells whether an API server sends it. A condition that cannot be evaluated has it refuse the request instead.
fn is_sent(webhook: &Value, request: &Value) -> bool {
    let has = |list: &Value, value: &str| list.as_array().unwrap().iter().any(|one| one == value);
    let of = |name: &str| request["resource"][name].as_str().unwrap();
    let resource = match request["subResource"].as_str() {
        Some(part) => format!("{}/{part}", of("resource")),
        None => of("resource").to_owned(),
    };
    let is_in_rules = webhook["rules"].as_array().unwrap().iter().any(|rule| {
        has(&rule["apiGroups"], of("group"))
            && has(&rule["apiVersions"], of("version"))
            && has(&rule["resources"], &resource)
            && has(&rule["operations"], request["operation"].as_str().unwrap())
    });
    let conditions = webhook["matchConditions"].as_array().unwrap();
    is_in_rules && conditions.iter().all(|condition| holds(condition, request))
}

fn holds(condition: &Value, request: &Value) -> bool {
    let mut context = Context::default();
    let mut request = request.clone();
    for name in ["object", "oldObject"] {
        let object = request.as_object_mut().unwrap().remove(name).unwrap();
        context.add_variable(name, object).unwrap();
    }
    context.add_variable("request", request).unwrap();
    let expression = condition["expression"].as_str().unwrap();
    match Program::compile(expression).unwrap().execute(&context) {
        Ok(CelValue::Bool(holds)) => holds,
        other => panic!("{}: {other:?}", condition["name"]),
    }
}

/// Returns the requests, each with the name of its file.
fn recorded() -> Vec<(String, Value)> {
    let mut requests = Vec::new();
    for version in ["1.29", "1.36"] {
        let directory = root().join("testdata/admission-reviews/recorded").join(version);
        for entry in fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
            let review: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
            requests.push((name, review["request"].clone()));
        }
    }
    requests
}

/// Returns the one that judges, and the one that pins tags.
fn configurations() -> Vec<Value> {
    let text = fs::read_to_string(root().join("deploy/admission/webhook.yaml")).unwrap();
    serde_saphyr::from_multiple(&text).unwrap()
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}
