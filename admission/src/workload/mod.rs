//! Workloads: pods, what makes pods, and the images that they name.
//!
//! Requests of the API server and manifests of a developer go through the same code; manifests have
//! lines besides.

mod field;
mod kind;
mod manifest;
mod node;
mod pod_spec;

use std::fmt;

use serde::Deserialize;

pub use self::field::Field;
pub use self::manifest::{MAX_MANIFEST_BYTES, ManifestError, parse_manifests};

use self::kind::Shape;
use self::node::{InMemory, Located, Node};
use self::pod_spec::PodSpec;

/// Is an object of Kubernetes, as far as it has to do with images.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Workload {
    /// What it is called.
    pub name: ObjectName,
    /// The line on which it begins, counted from 1, if it is from a text.
    pub line: Option<u64>,
    /// Whether its kind is one of those that are known to start containers, or it has at least the
    /// specification of a pod where these have it. If not, nothing is known of its images.
    pub is_known: bool,
    /// Every image that it names.
    pub images: Vec<ImageUse>,
    /// What it asks of the nodes that its pods run on.
    pub placement: Placement,
    /// The names of the secrets that its pods pull images with, and of their service account.
    pub pull: PullAccount,
}

/// Says what an object is called.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ObjectName {
    /// The kind, such as `Deployment`.
    pub kind: String,
    /// The namespace, if it says one.
    pub namespace: Option<String>,
    /// The name, or what the API server will make one of.
    pub name: String,
}

impl fmt::Display for ObjectName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} ", self.kind)?;
        if let Some(namespace) = &self.namespace {
            write!(formatter, "{namespace}/")?;
        }
        formatter.write_str(&self.name)
    }
}

/// Is one place that names an image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImageUse {
    /// The name, as it is written there.
    pub image: String,
    /// Where in the object.
    pub field: Field,
    /// The line in the text, counted from 1, if there is one.
    pub line: Option<u64>,
}

/// Says on which nodes pods may run, as far as labels that every node has tell.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Placement {
    /// The operating system, by Go's name.
    pub os: Option<String>,
    /// The architecture, by Go's name.
    pub architecture: Option<String>,
    /// The value of the label `kubernetes.io/hostname`.
    pub host: Option<String>,
    /// The name of the one node.
    pub node: Option<String>,
}

impl Placement {
    /// Returns it without what names single nodes.
    #[must_use]
    pub fn platform(&self) -> Self {
        Self { host: None, node: None, ..self.clone() }
    }
}

/// Says as whom the images of pods are pulled.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PullAccount {
    /// The secrets that the pod names.
    pub secrets: Vec<String>,
    /// The service account; `None` means `default`.
    pub service_account: Option<String>,
}

/// Is an object as the API server sends it, without all that has nothing to do with images.
#[derive(Debug, Deserialize)]
#[serde(transparent)]
pub struct Object(InMemory);

impl Object {
    /// Reads the object for its images, or the objects of a list.
    ///
    /// # Errors
    ///
    /// Returns what is wrong with it.
    pub fn workloads(&self) -> Result<Vec<Workload>, WorkloadError> {
        let mut workloads = Vec::new();
        collect(&self.0, &Field::default(), 0, &mut workloads)?;
        Ok(workloads)
    }
}

/// Says why an object cannot be read for its images.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum WorkloadError {
    /// Something is not what it must be.
    #[error("{field} is not {expected}{}", on_line(*line))]
    Malformed {
        /// Where.
        field: Field,
        /// What it should be.
        expected: &'static str,
        /// The line in the text.
        line: Option<u64>,
    },
    /// Lists are in lists.
    #[error("lists are nested more than {limit} deep")]
    Nested {
        /// How deep they may be.
        limit: usize,
    },
    /// There are more images than are looked up for one object.
    #[error("the object names more than {limit} images")]
    TooManyImages {
        /// How many there may be.
        limit: usize,
    },
}

/// Reads an object, or the objects of a list.
fn collect<L: Located>(
    root: &L,
    at: &Field,
    depth: usize,
    workloads: &mut Vec<Workload>,
) -> Result<(), WorkloadError> {
    if depth > MAX_NESTED_LISTS {
        return Err(WorkloadError::Nested { limit: MAX_NESTED_LISTS });
    }
    if !matches!(root.node(), Node::Map(_)) {
        return Err(malformed(root, at, "an object with apiVersion and kind"));
    }
    let text = |name| -> Result<String, WorkloadError> {
        match member(root, name) {
            Some(found) => match found.node() {
                Node::Text(text) if !text.is_empty() => Ok(text.clone()),
                _ => Err(malformed(found, &at.member(name), "a name")),
            },
            None => Err(malformed(root, &at.member(name), "there")),
        }
    };
    let (api_version, kind) = (text("apiVersion")?, text("kind")?);
    let shape = Shape::of(&api_version, &kind);
    if shape == Shape::List {
        let at = at.member("items");
        for (number, item) in items(root, "items", &at)?.iter().enumerate() {
            collect(item, &at.item(number), depth + 1, workloads)?;
        }
        return Ok(());
    }
    let is_pod = api_version == "v1" && kind == "Pod";
    let mut workload = Workload {
        name: object_name(root, kind),
        line: root.line(),
        is_known: shape != Shape::Unknown,
        images: Vec::new(),
        placement: Placement::default(),
        pull: PullAccount::default(),
    };
    for place in shape.places() {
        let Some(spec) = PodSpec::find(root, at, place) else { continue };
        // Of an unknown kind `spec` may be anything.
        if shape == Shape::Unknown && !spec.has_containers() {
            continue;
        }
        workload.is_known = true;
        spec.read(is_pod, &mut workload)?;
    }
    let images: usize = workloads.iter().map(|workload| workload.images.len()).sum();
    if images + workload.images.len() > MAX_IMAGES {
        return Err(WorkloadError::TooManyImages { limit: MAX_IMAGES });
    }
    workloads.push(workload);
    Ok(())
}

fn object_name<L: Located>(root: &L, kind: String) -> ObjectName {
    let metadata = member(root, "metadata");
    let text = |name| {
        let found = member(metadata?, name)?;
        match found.node() {
            Node::Text(text) => Some(text.clone()),
            _ => None,
        }
    };
    ObjectName {
        kind,
        namespace: text("namespace").filter(|namespace| !namespace.is_empty()),
        name: text("name").or_else(|| Some(text("generateName")? + "*")).unwrap_or_default(),
    }
}

/// Returns a member that is there and not null.
fn member<'a, L: Located>(parent: &'a L, name: &str) -> Option<&'a L> {
    let Node::Map(members) = parent.node() else { return None };
    let (_, found) = members.iter().find(|(known, _)| *known == name)?;
    (!matches!(found.node(), Node::Null)).then_some(found)
}

/// Returns the items of a member, none if it is not there.
fn items<'a, L: Located>(parent: &'a L, name: &str, at: &Field) -> Result<&'a [L], WorkloadError> {
    match member(parent, name) {
        None => Ok(&[]),
        Some(found) => match found.node() {
            Node::List(items) => Ok(items),
            _ => Err(malformed(found, at, "a list")),
        },
    }
}

fn malformed<L: Located>(found: &L, field: &Field, expected: &'static str) -> WorkloadError {
    WorkloadError::Malformed { field: field.clone(), expected, line: found.line() }
}

fn on_line(line: Option<u64>) -> String {
    line.map_or_else(String::new, |line| format!(" (line {line})"))
}

/// How deep lists may be in lists; nobody nests them.
const MAX_NESTED_LISTS: usize = 4;

/// How many images one object, or the objects of one file, may name. A pod of 500 containers is the
/// largest that was heard of.
pub const MAX_IMAGES: usize = 4096;
