//! Deciding about workloads: all of their images, and what follows.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

use tokio::task::JoinSet;

use crate::cluster::PullCredentials;
use crate::configuration::{Unavailable, UnknownKinds};
use crate::decider::{Decider, Question};
use crate::nodes::{NodeSet, NodeSource, ObservedNodes};
use crate::policy::{Policy, Rule};
use crate::verdict::{Effect, ImageVerdict, Reason};
use crate::workload::{ImageUse, ObjectName, Placement, PullAccount, Workload};

/// Says of one place in an object whether it may be as it is.
#[derive(Clone, Debug)]
pub struct Finding {
    /// The object.
    pub object: ObjectName,
    /// Where the image is named; `None` of an object of an unknown kind.
    pub image: Option<ImageUse>,
    /// What is said of the image.
    pub verdict: Option<Arc<ImageVerdict>>,
    /// What follows under the rule.
    pub consequence: Consequence,
}

/// Says what follows from a finding.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Consequence {
    /// It may be.
    Passes,
    /// It may be, though nobody knows whether it should: the policy says so.
    PassesUnseen,
    /// It may not be.
    Refused,
}

/// Decides about workloads in a namespace, until `deadline` at the latest. The findings are in the
/// order of the workloads and their images. Pull secrets are read if it is known for sure in which
/// namespace of the cluster the workloads are.
pub async fn decide(
    decider: &Arc<Decider>,
    policy: &Policy,
    rule: &Rule,
    namespace: Option<&str>,
    workloads: &[Workload],
    deadline: Instant,
) -> Vec<Finding> {
    let mut verdicts: HashMap<Asked<'_>, Option<Arc<ImageVerdict>>> = HashMap::new();
    let mut waiting = JoinSet::new();
    let mut asked = Vec::new();
    let observed = match &policy.nodes {
        Some(source) => Some(observe(source, deadline).await),
        None => None,
    };
    for workload in workloads {
        let pull = pull_credentials(policy, namespace, workload, deadline).await;
        let nodes = observed.as_ref().map(|observed| chosen(observed, &workload.placement));
        for image in &workload.images {
            let key = (image.image.as_str(), &workload.placement, &workload.pull);
            if verdicts.contains_key(&key) {
                continue;
            }
            let question = Question {
                image: image.image.clone(),
                demands: Arc::clone(&rule.demands),
                registries: Arc::clone(&policy.registries),
                placement: workload.placement.clone(),
                nodes: nodes.clone(),
                pull: pull.clone(),
            };
            let known = decider.known(&question);
            match &known {
                Some(verdict) => decider.count(verdict),
                None => {
                    let (decider, number) = (Arc::clone(decider), asked.len());
                    asked.push(key);
                    waiting
                        .spawn(async move { (number, decider.decide(&question, deadline).await) });
                }
            }
            verdicts.insert(key, known);
        }
    }
    // A task that panics leaves its image without a verdict, and so refused.
    while let Some(joined) = waiting.join_next().await {
        if let Ok((number, verdict)) = joined {
            verdicts.insert(asked[number], Some(verdict));
        }
    }
    let mut findings = Vec::new();
    for workload in workloads {
        if !workload.is_known {
            findings.push(unknown(policy, workload));
        }
        for image in &workload.images {
            let verdict =
                verdicts.get(&(image.image.as_str(), &workload.placement, &workload.pull)).cloned();
            let verdict = verdict.flatten().unwrap_or_else(|| {
                Arc::new(ImageVerdict::new(None, Reason::Internal, ["it was given up".to_owned()]))
            });
            findings.push(Finding {
                object: workload.name.clone(),
                image: Some(image.clone()),
                consequence: consequence(rule, verdict.reason),
                verdict: Some(verdict),
            });
        }
    }
    findings
}

type Asked<'a> = (&'a str, &'a Placement, &'a PullAccount);

/// Returns what the pods of a workload have for registries.
pub(crate) async fn pull_credentials(
    policy: &Policy,
    namespace: Option<&str>,
    workload: &Workload,
    deadline: Instant,
) -> Option<Arc<PullCredentials>> {
    let (cluster, namespace) = (policy.cluster.as_ref()?, namespace?);
    let credentials = cluster.credentials(namespace, &workload.pull);
    tokio::time::timeout_at(deadline.into(), credentials).await.ok()?
}

async fn observe(source: &NodeSource, deadline: Instant) -> ObservedNodes {
    let observed = tokio::time::timeout_at(deadline.into(), source.nodes()).await;
    observed.unwrap_or_else(|_| Err("what the nodes say of themselves did not come in time".into()))
}

/// Returns the nodes on which pods may run, or why nothing is known of them.
fn chosen(observed: &ObservedNodes, placement: &Placement) -> Result<NodeSet, Arc<str>> {
    let nodes = observed.as_ref().map_err(Arc::clone)?;
    nodes.chosen(placement).ok_or_else(|| match &placement.node {
        Some(name) => format!("nothing is known of the node {}", name.escape_debug()).into(),
        None => "nothing is known of any node that it may run on".into(),
    })
}

fn consequence(rule: &Rule, reason: Reason) -> Consequence {
    match (reason.effect(), rule.demands.unavailable) {
        (Effect::Pass, _) => Consequence::Passes,
        (Effect::Unavailable, Unavailable::Allow) => Consequence::PassesUnseen,
        (Effect::Refuse | Effect::Unavailable, _) => Consequence::Refused,
    }
}

fn unknown(policy: &Policy, workload: &Workload) -> Finding {
    Finding {
        object: workload.name.clone(),
        image: None,
        verdict: None,
        consequence: match policy.unknown_kinds {
            UnknownKinds::Allow => Consequence::PassesUnseen,
            UnknownKinds::Deny => Consequence::Refused,
        },
    }
}

impl std::fmt::Display for Finding {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (Some(image), Some(verdict)) = (&self.image, &self.verdict) else {
            return write!(
                formatter,
                "nothing is known of what images an object of the kind {} names",
                self.object.kind
            );
        };
        let name: String = image.image.chars().take(MAX_SHOWN_NAME).collect();
        write!(formatter, "{} {}", image.field, name.escape_debug())?;
        if let Some(digest) = verdict.digest
            && !image.image.contains('@')
        {
            write!(formatter, " ({digest})")?;
        }
        write!(formatter, ": {verdict}")
    }
}

/// How much of a name is shown; the longest that means something has 255 letters, a tag and a digest.
const MAX_SHOWN_NAME: usize = 500;
