//! What the nodes of the cluster say of themselves, and which of them a pod may run on.
//!
//! A node takes an image if it converts layers by the profile that was signed, and its kernel has a certificate behind the
//! signature in its keyrings. Nodes that say the same are one class: a cluster of a thousand nodes has a few, and a verdict
//! stays good when one more node comes.

mod directory;
mod source;

use std::collections::{BTreeSet, HashMap};
use std::fmt::Write as _;
use std::sync::Arc;

use libverity::digest::Digest;
use libverity::layer::Profile;
use osguard_policy::node_description::NodeDescription;

pub use self::source::{NodeSource, ObservedNodes};
use crate::workload::Placement;

/// Is a node, and what it says of itself.
#[derive(Clone, Debug)]
pub struct Node {
    /// Its name.
    pub name: String,
    /// Its operating system, if that is known.
    pub os: Option<String>,
    /// Its architecture, if that is known.
    pub architecture: Option<String>,
    /// The value of its label `kubernetes.io/hostname`.
    pub host: String,
    /// What it says, or why that cannot be used.
    pub description: Result<NodeDescription, String>,
}

/// Are the nodes of a cluster.
#[derive(Debug)]
pub struct Nodes {
    /// Tells what they say from what they have said before.
    pub id: Digest,
    classes: Vec<Arc<NodeClass>>,
    by_name: HashMap<String, usize>,
    by_host: HashMap<String, BTreeSet<usize>>,
}

/// Are the nodes on which a pod may run.
#[derive(Clone, Debug)]
pub struct NodeSet {
    /// Tells what they say, whoever of them says it.
    pub id: Digest,
    classes: Vec<Arc<NodeClass>>,
}

/// Are nodes that say the same.
#[derive(Debug)]
pub struct NodeClass {
    /// The first of them, by name.
    pub example: String,
    os: Option<String>,
    architecture: Option<String>,
    facts: Result<Facts, String>,
    id: Digest,
}

/// Is what a node says, as far as it matters to images.
#[derive(Debug)]
pub struct Facts {
    /// By which profiles it converts layers.
    pub profiles: Vec<Profile>,
    /// The certificates that its kernel takes, by their identifiers.
    pub certificates: BTreeSet<String>,
}

impl Nodes {
    /// Puts nodes together that say the same.
    pub fn new(mut nodes: Vec<Node>) -> Self {
        nodes.sort_by(|one, other| one.name.cmp(&other.name));
        let mut classes: Vec<Arc<NodeClass>> = Vec::new();
        let mut known: HashMap<Digest, usize> = HashMap::new();
        let mut by_name = HashMap::new();
        let mut by_host: HashMap<String, BTreeSet<usize>> = HashMap::new();
        let mut all = String::new();
        for node in nodes {
            let class = NodeClass::of(&node);
            let _ = write!(all, "{:?}{:?}{}", node.name, node.host, class.id);
            let number = *known.entry(class.id).or_insert_with(|| {
                classes.push(Arc::new(class));
                classes.len() - 1
            });
            by_host.entry(node.host).or_default().insert(number);
            by_name.insert(node.name, number);
        }
        Self { id: Digest::of(all.as_bytes()), classes, by_name, by_host }
    }

    /// Returns the nodes on which a pod may run, as far as its node selector tells; `None` if there are none.
    pub fn chosen(&self, placement: &Placement) -> Option<NodeSet> {
        let is_chosen = |class: &&Arc<NodeClass>| {
            let fits = |wanted: &Option<String>, own: &Option<String>| {
                wanted.is_none() || own.is_none() || wanted == own
            };
            fits(&placement.os, &class.os) && fits(&placement.architecture, &class.architecture)
        };
        let one = |number: &usize| self.classes.get(*number);
        let classes: Vec<Arc<NodeClass>> = match (&placement.node, &placement.host) {
            // Whatever else it asks for, it runs there or nowhere.
            (Some(name), _) => self.by_name.get(name).and_then(one).cloned().into_iter().collect(),
            (None, Some(host)) => {
                let numbers = self.by_host.get(host).into_iter().flatten();
                numbers.filter_map(one).filter(is_chosen).cloned().collect()
            }
            (None, None) => self.classes.iter().filter(is_chosen).cloned().collect(),
        };
        let ids: String = classes.iter().map(|class| class.id.to_string()).collect();
        (!classes.is_empty()).then(|| NodeSet { id: Digest::of(ids.as_bytes()), classes })
    }
}

impl NodeSet {
    /// Returns the nodes that would take an image of this platform out of an index; of an image without an index, all.
    pub fn for_image<'a>(
        &'a self,
        platform: Option<(&'a str, &'a str)>,
    ) -> impl Iterator<Item = &'a NodeClass> {
        let runs = move |class: &&Arc<NodeClass>| {
            let Some((os, architecture)) = platform else { return true };
            class.os.as_deref().is_none_or(|own| own == os)
                && class.architecture.as_deref().is_none_or(|own| {
                    // What containerd takes where there is nothing better.
                    own == architecture
                        || matches!((own, architecture), ("amd64", "386") | ("arm64", "arm"))
                })
        };
        self.classes.iter().filter(runs).map(|class| &**class)
    }
}

impl NodeClass {
    /// Returns what the nodes say.
    ///
    /// # Errors
    ///
    /// Returns why they take no image.
    pub fn facts(&self) -> Result<&Facts, &str> {
        self.facts.as_ref().map_err(String::as_str)
    }

    fn of(node: &Node) -> Self {
        let facts = node.description.as_ref().map_err(Clone::clone).and_then(|description| {
            let kernel = description.kernel_version();
            if kernel.is_none_or(|kernel| kernel < OLDEST_KERNEL) {
                let (major, minor) = OLDEST_KERNEL;
                return Err(format!(
                    "its kernel {} is older than {major}.{minor}, the first that enforces signatures of volumes",
                    description.kernel
                ));
            }
            let mut profiles = description.profiles.clone();
            profiles.sort();
            profiles.dedup();
            Ok(Facts { profiles, certificates: description.identifiers() })
        });
        let said = node.description.as_ref().ok();
        let os = node.os.clone().or_else(|| said.map(|said| said.os.clone()));
        let architecture =
            node.architecture.clone().or_else(|| said.map(|said| said.architecture.clone()));
        let id = Digest::of(format!("{os:?}{architecture:?}{facts:?}").as_bytes());
        Self { example: node.name.clone(), os, architecture, facts, id }
    }
}

/// The first kernel with IPE.
const OLDEST_KERNEL: (u32, u32) = (6, 12);

#[cfg(test)]
mod tests {
    use super::*;

    fn node(name: &str, architecture: &str, kernel: &str, identifier: &str) -> Node {
        let text = serde_json::json!({
            "schema": "osguard.node.describe.v1", "name": name, "os": "linux",
            "architecture": architecture, "kernel": kernel, "profiles": ["containerd-full-v1"],
            "certificates": [{ "identifier": identifier, "subject": "a", "keyring": ".platform" }],
        });
        let description = NodeDescription::parse(text.to_string().as_bytes());
        Node {
            name: name.to_owned(),
            os: None,
            architecture: None,
            host: format!("{name}.example"),
            description: description.map_err(|error| error.to_string()),
        }
    }

    fn nodes() -> Nodes {
        Nodes::new(vec![
            node("c", "arm64", "6.12.1", "aa"),
            node("b", "amd64", "6.12.1", "aa"),
            node("a", "amd64", "6.12.48", "AA"),
            node("d", "amd64", "6.1.0", "aa"),
        ])
    }

    #[test]
    fn pods_run_where_their_selectors_let_them() {
        let nodes = nodes();
        let chosen = |placement: Placement| -> String {
            let Some(set) = nodes.chosen(&placement) else { return "none".to_owned() };
            let names = set.classes.iter().map(|class| class.example.as_str());
            names.collect::<Vec<_>>().join(" ")
        };
        let some = |text: &str| Some(text.to_owned());
        assert_eq!(chosen(Placement::default()), "a c d");
        let arm = Placement { architecture: some("arm64"), ..Placement::default() };
        assert_eq!(chosen(arm.clone()), "c");
        assert_eq!(chosen(Placement { os: some("windows"), ..Placement::default() }), "none");
        assert_eq!(chosen(Placement { host: some("b.example"), ..Placement::default() }), "a");
        assert_eq!(chosen(Placement { host: some("b.example"), ..arm.clone() }), "none");
        assert_eq!(chosen(Placement { node: some("b"), ..arm }), "a");
        assert_eq!(chosen(Placement { node: some("new"), ..Placement::default() }), "none");
    }

    #[test]
    fn one_more_node_that_says_the_same_changes_no_verdict() {
        let id = |nodes: &Nodes| nodes.chosen(&Placement::default()).unwrap().id;
        let (few, more) = (
            Nodes::new(vec![node("a", "amd64", "6.12.1", "aa")]),
            Nodes::new(vec![node("a", "amd64", "6.12.1", "aa"), node("b", "amd64", "7.2.0", "aa")]),
        );
        assert_eq!(id(&few), id(&more));
        assert_ne!(few.id, more.id);
        let other = Nodes::new(vec![node("a", "amd64", "6.12.1", "bb")]);
        assert_ne!(id(&few), id(&other));
    }

    #[test]
    fn old_kernels_and_silent_nodes_take_nothing() {
        let mut silent = node("e", "amd64", "6.12.1", "aa");
        silent.description = Err("it says nothing".to_owned());
        let nodes = Nodes::new(vec![silent, node("d", "amd64", "6.1.0", "aa")]);
        let set = nodes.chosen(&Placement::default()).unwrap();
        assert_eq!(set.for_image(None).count(), 2);
        assert!(set.for_image(None).all(|class| class.facts().is_err()));
        // Of what runs where nobody knows, everything is assumed.
        assert_eq!(set.for_image(Some(("linux", "s390x"))).count(), 1);
        assert_eq!(set.for_image(Some(("linux", "386"))).count(), 2);
    }
}
