//! What `deploy/admission` says fits together, and the webhook takes its configuration.

#![expect(clippy::unwrap_used, reason = "a test ends where its preparation fails")]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use osguard_admission::configuration::Mode;
use osguard_admission::policy::Policy;
use osguard_admission::workload::parse_manifests;
use osguard_testkit::clients::Clients;
use osguard_testkit::command::run;
use osguard_testkit::or_skip;
use serde_json::Value;

#[test]
fn everything_is_listed_and_is_an_object_of_its_namespace() {
    let kustomization = one("kustomization.yaml");
    let mut listed: BTreeSet<String> = texts(&kustomization["resources"]).into_iter().collect();
    // A right that only some need is not given to all.
    for optional in [NODES, PULL_SECRETS] {
        assert!(listed.insert(optional.to_owned()));
    }
    let there: BTreeSet<String> = fs::read_dir(directory())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.ends_with(".yaml") && name != "kustomization.yaml")
        .collect();
    assert_eq!(listed, there);
    let mut names = BTreeSet::new();
    for file in &listed {
        for object in documents(file) {
            let (kind, name) = (text(&object["kind"]), text(&object["metadata"]["name"]));
            assert!(object["apiVersion"].is_string(), "{file}");
            assert!(names.insert((kind.to_owned(), name.to_owned())), "{kind} {name} twice");
            match kind {
                "Namespace" => assert_eq!(name, text(&kustomization["namespace"])),
                "ClusterRole"
                | "ClusterRoleBinding"
                | "MutatingWebhookConfiguration"
                | "ValidatingWebhookConfiguration" => {}
                _ => assert_eq!(object["metadata"]["namespace"], kustomization["namespace"]),
            }
        }
    }
}

#[test]
fn requests_find_their_way_to_the_webhook() {
    let (deployment, service) = (one("deployment.yaml"), one("service.yaml"));
    let spec = &deployment["spec"]["template"]["spec"];
    let labels = &deployment["spec"]["template"]["metadata"]["labels"];
    for selector in [
        &deployment["spec"]["selector"]["matchLabels"],
        &service["spec"]["selector"],
        &one("disruption-budget.yaml")["spec"]["selector"]["matchLabels"],
        &one("network-policy.yaml")["spec"]["podSelector"]["matchLabels"],
    ] {
        assert_eq!(selector, labels);
    }
    let container = &spec["containers"][0];
    let port = &container["ports"][0];
    assert_eq!(service["spec"]["ports"][0]["targetPort"], port["name"]);
    assert_eq!(one("network-policy.yaml")["spec"]["ingress"][0]["ports"][0]["port"], port["name"]);
    let arguments = texts(&container["args"]);
    let flag = |name: &str| -> String {
        let start = format!("--{name}=");
        let value = arguments.iter().find_map(|argument| argument.strip_prefix(&start));
        value.unwrap_or_else(|| panic!("no {name}")).to_owned()
    };
    assert_eq!(flag("listen"), format!("0.0.0.0:{}", port["containerPort"]));
    for (probe, path) in [("readinessProbe", "/readyz"), ("livenessProbe", "/healthz")] {
        let get = &container[probe]["httpGet"];
        assert_eq!((text(&get["path"]), text(&get["scheme"])), (path, "HTTPS"));
        assert_eq!(get["port"], port["name"]);
    }
    // What is mounted is there, and what is used is mounted.
    let mounts: Vec<&Value> = container["volumeMounts"].as_array().unwrap().iter().collect();
    let volumes: Vec<&Value> = spec["volumes"].as_array().unwrap().iter().collect();
    for mount in &mounts {
        assert!(volumes.iter().any(|volume| volume["name"] == mount["name"]), "{mount}");
        assert_eq!(mount["readOnly"], true);
    }
    assert_eq!(mounts.len(), volumes.len());
    let mounted =
        |path: &str| mounts.iter().any(|mount| path.starts_with(text(&mount["mountPath"])));
    assert!(mounted(&flag("config")) && mounted(&flag("self-made")));
    assert_eq!(spec["serviceAccountName"], one("service-account.yaml")["metadata"]["name"]);
    let drain: i64 = flag("drain").parse().unwrap();
    assert!(spec["terminationGracePeriodSeconds"].as_i64().unwrap() > drain + 30);

    let name = format!(
        "{}.{}.svc",
        text(&service["metadata"]["name"]),
        text(&service["metadata"]["namespace"])
    );
    assert_eq!(flag("name"), name);
    for configuration in documents("webhook.yaml") {
        let webhook = &configuration["webhooks"][0];
        let target = &webhook["clientConfig"]["service"];
        assert_eq!(target["name"], service["metadata"]["name"]);
        assert_eq!(target["namespace"], service["metadata"]["namespace"]);
        assert_eq!(target["port"], service["spec"]["ports"][0]["port"]);
        assert!(["/validate", "/mutate"].contains(&text(&target["path"])));
        assert_eq!(webhook["admissionReviewVersions"], serde_json::json!(["v1"]));
        assert_eq!(webhook["sideEffects"], "None");
        assert!(text(&webhook["name"]).split('.').count() >= 3);
        // No label that somebody could set leaves anything out.
        let selector = &webhook["namespaceSelector"]["matchExpressions"];
        let left_out = &selector[0];
        assert_eq!(selector.as_array().unwrap().len(), 1);
        assert_eq!(left_out["key"], "kubernetes.io/metadata.name");
        assert!(webhook.get("objectSelector").is_none());
    }
    assert_eq!(documents("webhook.yaml")[0]["webhooks"][0]["failurePolicy"], "Fail");
}

#[test]
fn rights_are_the_least() {
    let account = one("service-account.yaml");
    for (file, verb, resources) in [
        (PULL_SECRETS, "get", &["secrets", "serviceaccounts"][..]),
        (NODES, "list", &["nodes"][..]),
    ] {
        let role_and_binding = documents(file);
        let [role, binding] = &role_and_binding[..] else { panic!() };
        assert_eq!(role["rules"].as_array().unwrap().len(), 1);
        assert_eq!(texts(&role["rules"][0]["verbs"]), [verb]);
        assert_eq!(texts(&role["rules"][0]["resources"]), resources);
        assert_eq!(binding["roleRef"]["name"], role["metadata"]["name"]);
        assert_eq!(binding["subjects"][0]["name"], account["metadata"]["name"]);
        assert_eq!(binding["subjects"][0]["namespace"], account["metadata"]["namespace"]);
    }
    assert_eq!(account["automountServiceAccountToken"], false);
    let deployment = one("deployment.yaml");
    let spec = &deployment["spec"]["template"]["spec"];
    assert_eq!(spec["automountServiceAccountToken"], false);
    assert_eq!(spec["securityContext"]["runAsNonRoot"], true);
    let security = &spec["containers"][0]["securityContext"];
    assert_eq!(security["allowPrivilegeEscalation"], false);
    assert_eq!(security["readOnlyRootFilesystem"], true);
    assert_eq!(texts(&security["capabilities"]["drop"]), ["ALL"]);
}

/// Pods of the daemon have rights that those of the webhook must not have, and a namespace has one label for both.
#[test]
fn daemons_of_nodes_have_a_namespace_of_their_own() {
    let read = |file: &str| -> Value {
        let path = directory().join("../kubernetes").join(file);
        serde_saphyr::from_str(&fs::read_to_string(path).unwrap()).unwrap()
    };
    let (namespace, base) = (read("namespace.yaml"), read("kustomization.yaml"));
    assert_eq!(namespace["metadata"]["name"], base["namespace"]);
    let level = |namespace: &Value| {
        text(&namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"]).to_owned()
    };
    assert_eq!(level(&namespace), "privileged");
    assert_eq!(level(&one("namespace.yaml")), "restricted");
    assert_ne!(base["namespace"], one("kustomization.yaml")["namespace"]);
    // Before a daemon runs no replica of the webhook may be there.
    for configuration in documents("webhook.yaml") {
        let left_out = &configuration["webhooks"][0]["namespaceSelector"]["matchExpressions"][0];
        assert!(texts(&left_out["values"]).contains(&text(&base["namespace"]).to_owned()));
    }
}

/// What `kubectl apply -k` would send.
#[test]
fn kubectl_puts_it_together() {
    let clients = Clients::new().unwrap();
    let Some(mut kubectl) = or_skip(clients.kubectl()) else { return };
    let place = tempfile::tempdir().unwrap();
    copy(&directory(), place.path());
    let keys = Path::new(env!("CARGO_MANIFEST_DIR")).join("../testdata/keys");
    fs::copy(keys.join("alice.crt"), place.path().join("configuration/release.crt")).unwrap();
    let printed = run(kubectl.arg("kustomize").arg(place.path())).unwrap();
    let objects: Vec<Value> =
        serde_saphyr::from_multiple(std::str::from_utf8(&printed).unwrap()).unwrap();
    let settings = objects.iter().find(|object| object["kind"] == "ConfigMap").unwrap();
    let names: Vec<&String> = settings["data"].as_object().unwrap().keys().collect();
    assert_eq!(names, ["admission.toml", "release.crt", "trust.toml"]);
    let deployment = objects.iter().find(|object| object["kind"] == "Deployment").unwrap();
    let image = text(&deployment["spec"]["template"]["spec"]["containers"][0]["image"]);
    assert_eq!(image, "registry.example/osguard:0.1");
}

/// The kinds that are sent are those of which the webhook knows where their images are.
#[test]
fn what_is_sent_is_what_is_known() {
    let rules = documents("webhook.yaml")[0]["webhooks"][0]["rules"].clone();
    let mut sent = Vec::new();
    for rule in rules.as_array().unwrap() {
        for (group, version) in texts(&rule["apiGroups"]).iter().zip(texts(&rule["apiVersions"])) {
            for resource in texts(&rule["resources"]) {
                sent.push((group.clone(), version.clone(), resource));
            }
        }
        assert_eq!(texts(&rule["operations"]), ["CREATE", "UPDATE"]);
    }
    let kinds = [
        ("pods", "Pod"),
        ("podtemplates", "PodTemplate"),
        ("replicationcontrollers", "ReplicationController"),
        ("daemonsets", "DaemonSet"),
        ("deployments", "Deployment"),
        ("replicasets", "ReplicaSet"),
        ("statefulsets", "StatefulSet"),
        ("cronjobs", "CronJob"),
        ("jobs", "Job"),
    ];
    for (group, version, resource) in &sent {
        if resource == "pods/ephemeralcontainers" {
            continue;
        }
        let (_, kind) = kinds.iter().find(|(known, _)| known == resource).unwrap();
        let separator = if group.is_empty() { "" } else { "/" };
        let object = format!("apiVersion: {group}{separator}{version}\nkind: {kind}\n");
        assert!(parse_manifests(&object).unwrap()[0].is_known, "{object}");
    }
    assert_eq!(sent.len(), kinds.len() + 1);
}

#[test]
fn the_configuration_is_taken() {
    let kustomization = one("kustomization.yaml");
    let generator = &kustomization["configMapGenerator"][0];
    let volume = one("deployment.yaml")["spec"]["template"]["spec"]["volumes"][0].clone();
    assert_eq!(volume["configMap"]["name"], generator["name"]);
    let place = tempfile::tempdir().unwrap();
    for file in texts(&generator["files"]) {
        let name = Path::new(&file).file_name().unwrap();
        let source = match name.to_str().unwrap() {
            // Whoever deploys it puts his own there; a certificate of ours would be believed.
            "release.crt" => {
                assert!(!directory().join(&file).exists());
                Path::new(env!("CARGO_MANIFEST_DIR")).join("../testdata/keys/alice.crt")
            }
            _ => directory().join(&file),
        };
        fs::copy(source, place.path().join(name)).unwrap();
    }
    let policy = Policy::read(&place.path().join("admission.toml")).unwrap();
    assert_eq!(policy.rule(Some("default")).mode, Mode::Enforce);
    let left_out = &documents("webhook.yaml")[0]["webhooks"][0]["namespaceSelector"];
    for namespace in texts(&left_out["matchExpressions"][0]["values"]) {
        assert!(policy.is_exempt(Some(&namespace)), "{namespace}");
    }
    assert!(policy.is_exempt(Some(text(&kustomization["namespace"]))));
    assert!(!policy.is_exempt(Some("default")) && !policy.is_exempt(None));
}

fn copy(from: &Path, to: &Path) {
    for entry in fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let target = to.join(path.file_name().unwrap());
        match path.is_dir() {
            true => {
                fs::create_dir(&target).unwrap();
                copy(&path, &target);
            }
            false => drop(fs::copy(&path, &target).unwrap()),
        }
    }
}

fn directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/admission")
}

fn documents(file: &str) -> Vec<Value> {
    let text = fs::read_to_string(directory().join(file)).unwrap();
    serde_saphyr::from_multiple(&text).unwrap_or_else(|error| panic!("{file}: {error}"))
}

fn one(file: &str) -> Value {
    let mut documents = documents(file);
    assert_eq!(documents.len(), 1, "{file}");
    documents.remove(0)
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_else(|| panic!("{value} is no text"))
}

fn texts(value: &Value) -> Vec<String> {
    value.as_array().unwrap().iter().map(|value| text(value).to_owned()).collect()
}

const NODES: &str = "nodes.yaml";
const PULL_SECRETS: &str = "pull-secrets.yaml";
