//! The specification of a pod.

use super::field::Field;
use super::node::{Located, Node};
use super::{ImageUse, Placement, Workload, WorkloadError, items, malformed, member};

/// Is the specification of a pod within an object.
pub(super) struct PodSpec<'a, L> {
    spec: &'a L,
    at: Field,
}

impl<'a, L: Located> PodSpec<'a, L> {
    /// Finds it at the end of `place`.
    pub(super) fn find(root: &'a L, at: &Field, place: &[&'static str]) -> Option<Self> {
        let mut found = Self { spec: root, at: at.clone() };
        for name in place {
            found = Self { spec: member(found.spec, name)?, at: found.at.member(name) };
        }
        Some(found)
    }

    /// Tells whether it looks like one.
    pub(super) fn has_containers(&self) -> bool {
        CONTAINERS.iter().any(|name| member(self.spec, name).is_some())
    }

    /// Adds what it says to the workload that it is a part of.
    ///
    /// In a pod every container needs an image. In a template it may be left for somebody else to
    /// fill in, and then there is a pod later on that is asked for.
    pub(super) fn read(&self, is_pod: bool, workload: &mut Workload) -> Result<(), WorkloadError> {
        let Self { spec, at } = self;
        if !matches!(spec.node(), Node::Map(_)) {
            return Err(malformed(*spec, at, "an object"));
        }
        for name in CONTAINERS {
            let at = at.member(name);
            for (number, container) in items(*spec, name, &at)?.iter().enumerate() {
                let at = at.item(number);
                if !matches!(container.node(), Node::Map(_)) {
                    return Err(malformed(container, &at, "a container"));
                }
                image(container, "image", &at, is_pod, workload)?;
            }
        }
        let volumes_at = at.member("volumes");
        for (number, volume) in items(*spec, "volumes", &volumes_at)?.iter().enumerate() {
            let at = volumes_at.item(number).member("image");
            match member(volume, "image") {
                None => {}
                Some(source) if matches!(source.node(), Node::Map(_)) => {
                    image(source, "reference", &at, is_pod, workload)?;
                }
                Some(other) => return Err(malformed(other, &at, "an object with a reference")),
            }
        }
        workload.placement = self.placement();
        let secrets_at = at.member("imagePullSecrets");
        for secret in items(*spec, "imagePullSecrets", &secrets_at)? {
            workload.pull.secrets.extend(text(secret, "name"));
        }
        workload.pull.service_account = text(*spec, "serviceAccountName");
        Ok(())
    }

    fn placement(&self) -> Placement {
        let selected = |name| text(member(self.spec, "nodeSelector")?, name);
        Placement {
            os: selected("kubernetes.io/os"),
            architecture: selected("kubernetes.io/arch"),
            host: selected("kubernetes.io/hostname"),
            node: text(self.spec, "nodeName"),
        }
    }
}

fn image<L: Located>(
    parent: &L,
    name: &'static str,
    at: &Field,
    is_needed: bool,
    workload: &mut Workload,
) -> Result<(), WorkloadError> {
    let field = at.member(name);
    let found = member(parent, name);
    match found.map(Located::node) {
        Some(Node::Text(image)) if !image.is_empty() => {
            let line = found.and_then(Located::line);
            workload.images.push(ImageUse { image: image.clone(), field, line });
            Ok(())
        }
        None | Some(Node::Text(_)) if !is_needed => Ok(()),
        _ => Err(malformed(found.unwrap_or(parent), &field, "the name of an image")),
    }
}

fn text<L: Located>(parent: &L, name: &str) -> Option<String> {
    match member(parent, name)?.node() {
        Node::Text(text) if !text.is_empty() => Some(text.clone()),
        _ => None,
    }
}

/// Where containers are; sidecars are among the initial ones.
const CONTAINERS: [&str; 3] = ["initContainers", "containers", "ephemeralContainers"];
