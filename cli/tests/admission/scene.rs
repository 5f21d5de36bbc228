//! What a cluster has: a registry with images, somebody who is trusted, and requests.

use std::fs;
use std::path::Path;
use std::process::Command;

use osguard_testkit::image::{Compression, LayerSource, LayoutMaker, TarMaker};
use osguard_testkit::tls::TlsAuthority;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::webhook::Webhook;

/// Holds a directory with `admission.toml`, `trust.toml` and the keys of alice, who is trusted for
/// `team/**`, and of mallory, who is not.
pub(crate) struct Scene {
    pub(crate) directory: TempDir,
    pub(crate) authority: TlsAuthority,
    registry: String,
}

impl Scene {
    /// Prepares a cluster whose images lie in a registry.
    pub(crate) fn new(registry: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let keys = Path::new(env!("CARGO_MANIFEST_DIR")).join("../testdata/keys");
        for name in ["alice.crt", "alice.key", "mallory.crt", "mallory.key"] {
            fs::copy(keys.join(name), directory.path().join(name)).unwrap();
        }
        let authority = TlsAuthority::new().unwrap();
        let scene = Self { directory, authority, registry: registry.to_owned() };
        scene.trust("");
        scene.configure("", "");
        scene
    }

    /// Writes a file.
    pub(crate) fn write(&self, name: &str, contents: &str) {
        let beside = self.directory.path().join(".new");
        fs::write(&beside, contents).unwrap();
        fs::rename(beside, self.directory.path().join(name)).unwrap();
    }

    /// Writes the trust configuration, with more at its end.
    pub(crate) fn trust(&self, more: &str) {
        let registry = &self.registry;
        self.write(
            "trust.toml",
            &format!(
                "version = 1\n[stores.release]\ncertificates = [\"alice.crt\"]\n\
                 [[scopes]]\nrepositories = [\"{registry}/team/**\"]\nstores = [\"release\"]\n{more}"
            ),
        );
    }

    /// Writes the configuration, with more about images, and more at its end. A tag is looked up each
    /// time that it is asked for.
    pub(crate) fn configure(&self, images: &str, more: &str) {
        self.write(
            "admission.toml",
            &format!(
                "version = 1\ndefault = \"enforce\"\nexempt = [\"osguard\", \"kube-*\"]\n\
                 [images]\ntrust = \"trust.toml\"\n{images}\n\
                 [[rules]]\nname = \"trial\"\nnamespaces = [\"audit-*\"]\nmode = \"audit\"\n\
                 [[rules]]\nname = \"soon\"\nnamespaces = [\"warn\"]\nmode = \"warn\"\n\
                 [cache]\ntag-seconds = 0\nbad-seconds = 0\n{more}"
            ),
        );
    }

    /// Starts the webhook.
    pub(crate) fn webhook(&self) -> Webhook {
        self.webhook_with(&[])
    }

    pub(crate) fn webhook_with(&self, flags: &[&str]) -> Webhook {
        Webhook::start(self.directory.path(), &self.authority, flags)
    }

    /// Pushes an image of two layers, signed with `key` if there is one, and returns its digest.
    pub(crate) fn push(&self, name: &str, key: Option<&str>) -> String {
        let layout = self.directory.path().join("layout");
        let mut layout = LayoutMaker::new(&layout).unwrap();
        let digest = layout.image("v1", &[layer("base"), layer(name)]).unwrap();
        let mut flags = vec!["push", "oci:layout:v1", name];
        flags.extend(key.iter().flat_map(|key| ["--sign", "--key", key]));
        self.osguard(&flags);
        digest
    }

    /// Runs `osguard`, which has to succeed.
    pub(crate) fn osguard(&self, arguments: &[&str]) {
        let ran = Command::new(env!("CARGO_BIN_EXE_osguard"))
            .args(arguments)
            .current_dir(self.directory.path())
            .env_clear()
            .env("HOME", self.directory.path())
            .output()
            .unwrap();
        assert!(ran.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&ran.stderr));
    }

    /// Returns the name of an image in the registry.
    pub(crate) fn image(&self, name: &str) -> String {
        format!("{}/{name}", self.registry)
    }
}

/// Makes a layer with one file.
pub(crate) fn layer(text: &str) -> LayerSource {
    LayerSource::new(TarMaker::new().file("file", text.as_bytes()).finish(), Compression::Plain)
        .unwrap()
}

/// Returns a pod with one container.
pub(crate) fn pod(image: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": { "name": "web", "labels": { "app": "web" } },
        "spec": { "containers": [{ "name": "main", "image": image, "ports": [{ "containerPort": 80 }] }] },
        "status": {},
    })
}

/// Returns a request as an API server sends it, to make an object in a namespace.
pub(crate) fn create(namespace: &str, object: &Value) -> Value {
    let api_version = object["apiVersion"].as_str().unwrap();
    let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
    let kind = json!({ "group": group, "version": version, "kind": object["kind"] });
    json!({
        "apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview",
        "request": {
            "uid": UID,
            "kind": kind, "requestKind": kind,
            "resource": { "group": group, "version": version, "resource": "things" },
            "requestResource": { "group": group, "version": version, "resource": "things" },
            "name": object["metadata"]["name"], "namespace": namespace, "operation": "CREATE",
            "userInfo": {
                "username": "system:serviceaccount:kube-system:replicaset-controller",
                "uid": "5f1b5c0c", "groups": ["system:serviceaccounts", "system:authenticated"],
                "extra": { "authentication.kubernetes.io/credential-id": ["JTI=1"] },
            },
            "object": object, "oldObject": null, "dryRun": false,
            "options": { "kind": "CreateOptions", "apiVersion": "meta.k8s.io/v1" },
        },
    })
}

/// Returns a request to change an object.
pub(crate) fn update(namespace: &str, old: &Value, new: &Value) -> Value {
    let mut review = create(namespace, new);
    review["request"]["operation"] = json!("UPDATE");
    review["request"]["oldObject"] = old.clone();
    review["request"]["options"]["kind"] = json!("UpdateOptions");
    review
}

/// Returns what the user is told, or nothing if the request is allowed.
#[track_caller]
pub(crate) fn refusal(response: &Value) -> Option<String> {
    assert_eq!(response["uid"], UID);
    match response["allowed"].as_bool().unwrap() {
        true => {
            assert!(response.get("status").is_none(), "{response}");
            None
        }
        false => {
            assert_eq!(response["status"]["code"], 403);
            Some(response["status"]["message"].as_str().unwrap().to_owned())
        }
    }
}

pub(crate) const UID: &str = "705ab4f5-6393-11e8-b7cc-42010a800002";
