//! What a container's bundle says about it: the annotations in its `config.json` (OCI runtime specification).

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufReader, Read};
use std::path::{Path, PathBuf};

use osguard_policy::audit::context::Container;
use serde::Deserialize;

/// Adds name, pod and image of a container, as far as its bundle is found and tells them.
pub(super) fn describe(container: &mut Container) {
    if let Some(config) = config(&container.id.id) {
        describe_from(container, &config);
    }
}

#[derive(Deserialize)]
struct Config {
    #[serde(default)]
    annotations: BTreeMap<String, String>,
}

fn describe_from(container: &mut Container, config: &Config) {
    let value = |keys: &[&str]| keys.iter().find_map(|key| config.annotations.get(*key)).cloned();
    container.name = value(&CONTAINER_NAMES);
    container.image = value(&IMAGE_NAMES);
    container.pod = match (value(&POD_NAMESPACES), value(&POD_NAMES)) {
        (Some(namespace), Some(name)) => Some(format!("{namespace}/{name}")),
        (None, name) => name,
        (Some(_), None) => None,
    };
}

/// Reads the configuration of a container; none where no runtime has it where it is expected.
fn config(id: &str) -> Option<Config> {
    let namespaces = std::fs::read_dir(CONTAINERD).into_iter().flatten().flatten();
    let bundles = namespaces
        .map(|namespace| namespace.path().join(id))
        .chain(CONTAINERS_STORAGE.map(|storage| Path::new(storage).join(id).join("userdata")));
    bundles.map(|bundle| bundle.join("config.json")).find_map(|path: PathBuf| {
        let file = File::open(path).ok()?.take(CONFIG_LIMIT_BYTES);
        serde_json::from_reader(BufReader::new(file)).ok()
    })
}

const CONTAINERD: &str = "/run/containerd/io.containerd.runtime.v2.task";

/// Where CRI-O and Podman keep bundles.
const CONTAINERS_STORAGE: [&str; 2] = [
    "/run/containers/storage/overlay-containers",
    "/var/lib/containers/storage/overlay-containers",
];

const CONTAINER_NAMES: [&str; 4] = [
    "io.kubernetes.cri.container-name",
    "io.kubernetes.container.name",
    "nerdctl/name",
    "io.podman.annotations.container-name",
];
const IMAGE_NAMES: [&str; 3] = [
    "io.kubernetes.cri.image-name",
    "io.kubernetes.cri-o.ImageName",
    "org.opencontainers.image.ref.name",
];
const POD_NAMES: [&str; 2] = ["io.kubernetes.cri.sandbox-name", "io.kubernetes.pod.name"];
const POD_NAMESPACES: [&str; 2] =
    ["io.kubernetes.cri.sandbox-namespace", "io.kubernetes.pod.namespace"];

/// The longest configuration that is read; 100 KiB is a long one.
const CONFIG_LIMIT_BYTES: u64 = 4 << 20;

#[cfg(test)]
mod tests {
    use osguard_policy::audit::container::ContainerId;

    use super::*;

    #[test]
    fn annotations_name_pod_and_image() {
        let id = ContainerId { runtime: None, id: "0".repeat(64), pod: None };
        let mut container = Container { id, name: None, pod: None, image: None };
        let config = r#"{"ociVersion":"1.1.0","annotations":{"io.kubernetes.cri.image-name":"app:v1",
            "io.kubernetes.cri.sandbox-name":"web-0","io.kubernetes.cri.sandbox-namespace":"shop",
            "io.kubernetes.cri.container-name":"web"}}"#;
        describe_from(&mut container, &serde_json::from_str(config).unwrap());
        assert_eq!(container.pod.as_deref(), Some("shop/web-0"));
        assert_eq!(container.image.as_deref(), Some("app:v1"));
        assert_eq!(container.name.as_deref(), Some("web"));
        describe_from(&mut container, &serde_json::from_str("{}").unwrap());
        assert_eq!((container.pod, container.image), (None, None));
    }

    #[test]
    fn a_container_that_nobody_knows_stays_as_it_is() {
        assert!(config(&"0".repeat(64)).is_none());
    }
}
