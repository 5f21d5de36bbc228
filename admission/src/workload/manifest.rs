//! Manifests: objects in files, in YAML or JSON, one or several of them.

use super::node::InText;
use super::{Field, Workload, WorkloadError, collect};

/// Reads all objects of a file: YAML documents, lists, or JSON, which is YAML.
///
/// Aliases and merged members are taken as `kubectl` takes them; what they can blow up to is
/// limited.
///
/// # Errors
///
/// Returns what is wrong with the text or with one of its objects, with the line.
pub fn parse_manifests(text: &str) -> Result<Vec<Workload>, ManifestError> {
    if text.len() > MAX_MANIFEST_BYTES {
        return Err(ManifestError::TooLong {
            limit_bytes: MAX_MANIFEST_BYTES,
            found_bytes: text.len(),
        });
    }
    let options = serde_saphyr::options! {
        budget: serde_saphyr::budget! {
            max_depth: MAX_DEPTH,
            flow_nesting_limit: MAX_DEPTH,
            max_documents: MAX_DOCUMENTS,
            max_nodes: MAX_NODES,
            max_recorded_anchor_bytes: MAX_MANIFEST_BYTES,
        },
        with_snippet: false,
    };
    let documents: Vec<InText> =
        serde_saphyr::from_multiple_with_options(text, options).map_err(|error| {
            ManifestError::Yaml {
                line: error.location().map(|location| location.line()).filter(|&line| line > 0),
                reason: first_line(&error.to_string()),
            }
        })?;
    let mut workloads = Vec::new();
    for document in &documents {
        collect(document, &Field::default(), 0, &mut workloads)?;
    }
    Ok(workloads)
}

/// Says why a manifest cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ManifestError {
    /// An object is not what it must be.
    #[error(transparent)]
    Object(#[from] WorkloadError),
    /// The text is too long.
    #[error("it has {found_bytes} bytes, and {limit_bytes} are the limit")]
    TooLong {
        /// How many bytes are allowed.
        limit_bytes: usize,
        /// How many there are.
        found_bytes: usize,
    },
    /// It is not YAML.
    #[error("it is not YAML: {reason}")]
    Yaml {
        /// The line, if the parser says it.
        line: Option<u64>,
        /// What the parser said.
        reason: String,
    },
}

impl ManifestError {
    /// Returns the line that is meant, counted from 1.
    pub fn line(&self) -> Option<u64> {
        match self {
            Self::Object(WorkloadError::Malformed { line, .. }) | Self::Yaml { line, .. } => *line,
            _ => None,
        }
    }
}

fn first_line(text: &str) -> String {
    text.lines().next().unwrap_or_default().chars().take(500).collect()
}

/// The longest file. What a cluster takes in one object has 3 MiB at most; files of many objects are
/// longer.
pub const MAX_MANIFEST_BYTES: usize = 16 << 20;

/// How deep values may be nested; a pod in a list is about 15 deep.
const MAX_DEPTH: usize = 100;

const MAX_DOCUMENTS: usize = 10_000;

/// How many values there may be, those that aliases repeat included.
const MAX_NODES: usize = 2_000_000;

#[cfg(test)]
mod tests {
    use super::*;

    fn places(text: &str) -> Vec<String> {
        let workloads = parse_manifests(text).unwrap();
        let images = workloads.iter().flat_map(|workload| {
            let name = &workload.name;
            workload.images.iter().map(move |image| {
                format!("{name} {}:{} {}", image.line.unwrap_or(0), image.field, image.image)
            })
        });
        images.collect()
    }

    #[test]
    fn images_are_found_with_line_and_field() {
        let text = "\
apiVersion: v1
kind: Pod
metadata: {name: one, namespace: shop}
spec:
  initContainers:
  - name: setup
    image: init
  - name: sidecar
    image: sidecar
    restartPolicy: Always
  containers:
  - {name: main, image: \"main:v1\"}
  ephemeralContainers:
  - name: debug
    image: busybox
  volumes:
  - name: data
    emptyDir: {}
  - name: model
    image:
      reference: model:v2
---
apiVersion: batch/v1
kind: CronJob
metadata: {generateName: night-}
spec:
  jobTemplate:
    spec:
      template:
        spec:
          containers:
          - image: job
---
apiVersion: v1
kind: ConfigMap
metadata: {name: settings}
data: {image: none}
";
        assert_eq!(
            places(text),
            [
                "Pod shop/one 7:spec.initContainers[0].image init",
                "Pod shop/one 9:spec.initContainers[1].image sidecar",
                "Pod shop/one 12:spec.containers[0].image main:v1",
                "Pod shop/one 15:spec.ephemeralContainers[0].image busybox",
                "Pod shop/one 21:spec.volumes[1].image.reference model:v2",
                "CronJob night-* 32:spec.jobTemplate.spec.template.spec.containers[0].image job",
            ]
        );
        let workloads = parse_manifests(text).unwrap();
        assert!(!workloads[2].is_known && workloads[2].images.is_empty());
    }

    #[test]
    fn every_kind_with_pods_is_looked_at() {
        let pod = "{nodeSelector: {kubernetes.io/arch: arm64}, containers: [{image: a}]}";
        for (api_version, kind, spec) in [
            ("v1", "Pod", format!("spec: {pod}")),
            ("v1", "PodTemplate", format!("template: {{spec: {pod}}}")),
            ("v1", "ReplicationController", format!("spec: {{template: {{spec: {pod}}}}}")),
            ("apps/v1", "DaemonSet", format!("spec: {{template: {{spec: {pod}}}}}")),
            ("apps/v1", "Deployment", format!("spec: {{template: {{spec: {pod}}}}}")),
            ("apps/v1", "ReplicaSet", format!("spec: {{template: {{spec: {pod}}}}}")),
            ("apps/v1", "StatefulSet", format!("spec: {{template: {{spec: {pod}}}}}")),
            ("batch/v1", "Job", format!("spec: {{template: {{spec: {pod}}}}}")),
            (
                "batch/v1",
                "CronJob",
                format!("spec: {{jobTemplate: {{spec: {{template: {{spec: {pod}}}}}}}}}"),
            ),
            // Kinds of others that have pods where these have them.
            ("argoproj.io/v1alpha1", "Rollout", format!("spec: {{template: {{spec: {pod}}}}}")),
        ] {
            let object = format!("{{apiVersion: {api_version}, kind: {kind}, {spec}}}");
            let list = format!("{{apiVersion: v1, kind: List, items: [{object}]}}");
            for text in [&object, &list] {
                let workloads = parse_manifests(text).unwrap();
                let [workload] = &workloads[..] else { panic!("{text}") };
                assert!(workload.is_known, "{kind}");
                assert_eq!(workload.images.len(), 1, "{kind}");
                assert_eq!(workload.placement.architecture.as_deref(), Some("arm64"), "{kind}");
            }
        }
    }

    #[test]
    fn json_is_read_as_well() {
        let text = r#"{"apiVersion": "v1", "kind": "Pod",
            "spec": {"containers": [
                {"image": "a"}]}}"#;
        assert_eq!(places(text), ["Pod  3:spec.containers[0].image a"]);
    }

    #[test]
    fn aliases_and_merged_members_are_followed() {
        let text = "\
apiVersion: v1
kind: Pod
spec:
  containers:
  - &one {name: a, image: first}
  - <<: *one
    name: b
  - {name: c, image: second}
";
        assert_eq!(places(text).len(), 3);
        assert!(places(text)[1].ends_with("spec.containers[1].image first"));
    }

    #[test]
    fn what_is_malformed_is_said_with_its_line() {
        let pod = |spec: &str| format!("apiVersion: v1\nkind: Pod\nspec:\n  {spec}\n");
        for (text, line, said) in [
            (pod("containers: {image: a}"), 4, "spec.containers is not a list"),
            (pod("containers: [a]"), 4, "spec.containers[0] is not a container"),
            (pod("containers: [{image: 7}]"), 4, "spec.containers[0].image is not the name"),
            (pod("containers: [{name: a}]"), 4, "spec.containers[0].image is not the name"),
            (pod("volumes: [{image: a}]"), 4, "spec.volumes[0].image is not an object"),
            ("kind: Pod".to_owned(), 1, "apiVersion is not there"),
            ("apiVersion: v1\nkind: [Pod]".to_owned(), 2, "kind is not a name"),
            ("- a".to_owned(), 1, "is not an object"),
            ("apiVersion: v1\nkind: Pod\nkind: Pod".to_owned(), 3, "duplicate"),
            ("apiVersion: v1\nkind: \"Pod".to_owned(), 2, "not YAML"),
        ] {
            let error = parse_manifests(&text).unwrap_err();
            assert!(error.to_string().contains(said), "{text}: {error}");
            assert_eq!(error.line(), Some(line), "{text}: {error}");
        }
    }

    #[test]
    fn what_would_blow_up_is_refused() {
        let mut laughs = "a: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
        for level in 1..12 {
            let before = format!("*a{}, ", level - 1).repeat(10);
            laughs += &format!("b{level}: &a{level} [{before}]\n");
        }
        let deep = "[".repeat(100_000);
        let many = format!(
            "apiVersion: v1\nkind: Pod\nspec:\n  containers: [{}]",
            "{image: a},".repeat(super::super::MAX_IMAGES + 1)
        );
        let nested = "{apiVersion: v1, kind: List, items: [".repeat(6) + &"]}".repeat(6);
        for text in [&laughs, &deep, &many, &nested, &" ".repeat(MAX_MANIFEST_BYTES + 1)] {
            assert!(parse_manifests(text).is_err(), "{text:.60}");
        }
    }
}
