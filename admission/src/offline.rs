//! Deciding about manifests, without a cluster.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::runtime::Runtime;

use crate::configuration::Mode;
use crate::decider::Decider;
use crate::decision::{Consequence, Finding, decide};
use crate::lookup::MAX_THREADS;
use crate::metrics::Metrics;
use crate::policy::Policy;
use crate::verdict::Effect;
use crate::workload::Workload;

/// Decides about manifests.
#[derive(Debug)]
pub struct Checker {
    runtime: Runtime,
    policy: Policy,
    decider: Arc<Decider>,
}

/// Is a finding, and under which rule it was made.
#[derive(Clone, Debug)]
pub struct Checked {
    /// What was found.
    pub finding: Finding,
    /// The name of the rule.
    pub rule: String,
    /// What happens to the object.
    pub mode: Mode,
}

impl Checked {
    /// Tells whether nobody knows at the moment.
    pub fn is_unavailable(&self) -> bool {
        let reason = self.finding.verdict.as_ref().map(|verdict| verdict.reason);
        reason.is_some_and(|reason| reason.effect() == Effect::Unavailable)
    }

    /// Tells whether the object would be refused for this.
    pub fn is_refused(&self) -> bool {
        self.finding.consequence == Consequence::Refused && self.mode == Mode::Enforce
    }
}

impl Checker {
    /// Makes one.
    ///
    /// # Errors
    ///
    /// Returns an error if the system refuses threads.
    pub fn new(policy: Policy) -> io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .max_blocking_threads(MAX_THREADS)
            .enable_all()
            .build()?;
        let decider = Decider::new(policy.cache, Arc::new(Metrics::default()), None);
        Ok(Self { runtime, policy, decider: Arc::new(decider) })
    }

    /// Decides about workloads; those that name no namespace are in `namespace`. Of namespaces that
    /// are exempt nothing is found. The findings are in the order of the workloads.
    pub fn check(&self, workloads: &[Workload], namespace: &str) -> Vec<Vec<Checked>> {
        let mut findings = vec![Vec::new(); workloads.len()];
        let mut namespaces: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
        for (number, workload) in workloads.iter().enumerate() {
            let namespace = workload.name.namespace.as_deref().unwrap_or(namespace);
            namespaces.entry(namespace).or_default().push(number);
        }
        let deadline = Instant::now() + LONGEST;
        for (namespace, numbers) in namespaces {
            if self.policy.is_exempt(Some(namespace)) {
                continue;
            }
            let rule = self.policy.rule(Some(namespace));
            let chosen: Vec<Workload> =
                numbers.iter().map(|&number| workloads[number].clone()).collect();
            let decided = decide(&self.decider, &self.policy, rule, None, &chosen, deadline);
            let mut decided = self.runtime.block_on(decided).into_iter();
            for (number, workload) in numbers.iter().zip(&chosen) {
                let count = workload.images.len() + usize::from(!workload.is_known);
                let checked = decided.by_ref().take(count).map(|finding| Checked {
                    finding,
                    rule: rule.name.clone(),
                    mode: rule.mode,
                });
                findings[*number] = checked.collect();
            }
        }
        findings
    }
}

/// Nobody waits for an answer within seconds, and nobody waits for ever.
const LONGEST: Duration = Duration::from_secs(600);
