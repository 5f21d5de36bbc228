//! Answering requests.

use std::collections::BTreeSet;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};

use osguard_registry::reference::Selector;

use super::request::{Operation, Request};
use super::response::{Patch, Response};
use crate::configuration::{Mode, UnknownKinds};
use crate::decider::{Decider, Question};
use crate::decision::{Consequence, Finding, decide, pull_credentials};
use crate::image_name;
use crate::metrics::Metrics;
use crate::policy::{Policy, Rule};
use crate::workload::{Object, Workload};

/// Answers requests by the policy that is in force at the time.
#[derive(Debug)]
pub struct Reviewer {
    decider: Arc<Decider>,
    metrics: Arc<Metrics>,
    policy: RwLock<Arc<Policy>>,
}

impl Reviewer {
    /// Makes one.
    pub fn new(policy: Policy, decider: Decider, metrics: Arc<Metrics>) -> Self {
        Self { decider: Arc::new(decider), metrics, policy: RwLock::new(Arc::new(policy)) }
    }

    /// Returns the policy that is in force.
    pub fn policy(&self) -> Arc<Policy> {
        Arc::clone(&self.policy.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Puts another policy in force. Requests that are being answered keep to theirs.
    pub fn set_policy(&self, policy: Policy) {
        *self.policy.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(policy);
    }

    /// Returns what decides about images.
    pub fn decider(&self) -> &Arc<Decider> {
        &self.decider
    }

    /// Says whether the request may be done, at `deadline` at the latest.
    pub async fn validate(&self, request: &Request, deadline: Instant) -> Response {
        let started = Instant::now();
        let policy = self.policy();
        let rule = policy.rule(request.namespace.as_deref());
        let response = self.validated(request, &policy, rule, deadline).await;
        self.conclude(request, rule, &response, started.elapsed());
        response
    }

    /// Puts digests in the place of tags, at `deadline` at the latest. What cannot be resolved stays
    /// as it is: whether it may start is for [`Self::validate`] to say.
    pub async fn mutate(&self, request: &Request, deadline: Instant) -> Response {
        let policy = self.policy();
        let mut response = Response::allow(&request.uid);
        if policy.is_exempt(request.namespace.as_deref()) {
            return response;
        }
        let rule = policy.rule(request.namespace.as_deref());
        let Ok(workloads) = changed(request) else { return response };
        let mut patches = Vec::new();
        for workload in &workloads {
            let namespace = request.namespace.as_deref();
            let pull = pull_credentials(&policy, namespace, workload, deadline).await;
            for image in &workload.images {
                let Ok(reference) = image_name::parse(&image.image) else { continue };
                let Selector::Tag(_) = reference.selector else { continue };
                let question = Question {
                    image: image.image.clone(),
                    demands: Arc::clone(&rule.demands),
                    registries: Arc::clone(&policy.registries),
                    placement: workload.placement.clone(),
                    nodes: None,
                    pull: pull.clone(),
                };
                let resolved = self.decider.resolve(&question, &reference);
                match tokio::time::timeout_at(deadline.into(), resolved).await {
                    Ok(Ok(digest)) => patches.push(Patch::replace(
                        image.field.pointer(),
                        image_name::pinned(&image.image, &digest),
                    )),
                    Ok(Err(verdict)) => {
                        response = response
                            .warn(&format!("osguard: {} keeps its tag: {verdict}", image.field));
                    }
                    Err(_) => {
                        response = response.warn(&format!(
                            "osguard: {} keeps its tag: the registry takes too long",
                            image.field
                        ));
                    }
                }
            }
        }
        let count = patches.len();
        tracing::debug!(uid = request.uid, count, "pinned tags");
        response.patch(&patches)
    }

    async fn validated(
        &self,
        request: &Request,
        policy: &Policy,
        rule: &Rule,
        deadline: Instant,
    ) -> Response {
        let uid = &request.uid;
        if policy.is_exempt(request.namespace.as_deref()) {
            return Response::allow(uid).annotate(VERDICT, "exempt");
        }
        if matches!(request.operation, Operation::Delete | Operation::Connect) {
            return Response::allow(uid).annotate(VERDICT, "starts-nothing");
        }
        let workloads = match changed(request) {
            Ok(workloads) => workloads,
            Err(reason) => {
                let subject = format!("osguard cannot tell what this object starts: {reason}");
                return under(rule.mode, uid, "malformed", &[subject], &[]);
            }
        };
        if workloads.iter().all(|workload| workload.is_known && workload.images.is_empty()) {
            return Response::allow(uid).annotate(VERDICT, "no-new-image");
        }
        let namespace = request.namespace.as_deref();
        let findings = decide(&self.decider, policy, rule, namespace, &workloads, deadline).await;
        answer(rule, uid, &findings, policy.unknown_kinds)
    }

    /// Counts the answer and writes it to the log.
    fn conclude(&self, request: &Request, rule: &Rule, response: &Response, took: Duration) {
        let mode = rule.mode.name();
        let verdict = response.audit_annotations.get(VERDICT).map_or("", String::as_str);
        let answer = match (response.allowed, response.warnings.is_empty(), verdict) {
            (false, ..) => "denied",
            (true, true, "refused" | "malformed") => "audited",
            (true, true, _) => "allowed",
            (true, false, _) => "warned",
        };
        self.metrics.review(answer, mode, took);
        let Request { uid, namespace, name, kind, .. } = request;
        let (namespace, name) = (namespace.as_deref(), name.as_deref());
        let kind = kind.kind.as_str();
        let rule = rule.name.as_str();
        let milliseconds = took.as_secs_f64() * 1000.0;
        if answer == "allowed" {
            tracing::debug!(uid, namespace, kind, name, rule, verdict, milliseconds, "allowed");
        } else {
            let reasons = response.audit_annotations.get(REASONS).map_or("", String::as_str);
            tracing::warn!(
                uid,
                namespace,
                kind,
                name,
                rule,
                mode,
                verdict,
                milliseconds,
                reasons,
                "{answer}"
            );
        }
    }
}

/// Reads what the request would start that did not run before: what has not changed was asked for
/// once, and must not be in the way when something else of the object is changed.
fn changed(request: &Request) -> Result<Vec<Workload>, String> {
    let Some(object) = &request.object else { return Err("there is no object".to_owned()) };
    let mut workloads = object.workloads().map_err(|error| error.to_string())?;
    if request.operation != Operation::Update {
        return Ok(workloads);
    }
    let before = request.old_object.as_ref().map(Object::workloads);
    let Some(Ok(before)) = before else { return Ok(workloads) };
    let before: BTreeSet<(String, &str)> = before
        .iter()
        .flat_map(|workload| &workload.images)
        .map(|image| (image.field.to_string(), image.image.as_str()))
        .collect();
    for workload in &mut workloads {
        workload
            .images
            .retain(|image| !before.contains(&(image.field.to_string(), image.image.as_str())));
    }
    Ok(workloads)
}

fn answer(rule: &Rule, uid: &str, findings: &[Finding], unknown_kinds: UnknownKinds) -> Response {
    let of = |consequence| -> Vec<String> {
        let such = findings.iter().filter(|finding| finding.consequence == consequence);
        such.map(ToString::to_string).collect()
    };
    let (mut refused, unseen) = (of(Consequence::Refused), of(Consequence::PassesUnseen));
    let count = refused.len();
    if count > MAX_FINDINGS {
        refused.truncate(MAX_FINDINGS);
        refused.push(format!("and {} more", count - MAX_FINDINGS));
    }
    let is_unknown = unknown_kinds == UnknownKinds::Deny
        && findings.iter().any(|finding| finding.image.is_none());
    let verdict = match (count, unseen.is_empty(), is_unknown) {
        (0, true, _) => "passed",
        (0, false, _) => "passed-unseen",
        (_, _, true) => "unknown-kind",
        (..) => "refused",
    };
    under(rule.mode, uid, verdict, &refused, &unseen)
}

/// Answers as the mode has it.
fn under(mode: Mode, uid: &str, verdict: &str, refused: &[String], unseen: &[String]) -> Response {
    let reasons = refused.iter().chain(unseen).cloned().collect::<Vec<_>>().join(" | ");
    let mut response = match mode {
        Mode::Enforce if !refused.is_empty() => {
            Response::deny(uid, &format!("osguard: {}", refused.join(" | ")))
        }
        _ => Response::allow(uid),
    };
    if mode == Mode::Warn {
        for reason in refused {
            response = response.warn(&format!("osguard: would be refused: {reason}"));
        }
    }
    for reason in unseen {
        response = response.warn(&format!("osguard: allowed unseen: {reason}"));
    }
    response = response.annotate(VERDICT, verdict).annotate("mode", mode.name());
    match reasons.is_empty() {
        true => response,
        false => response.annotate(REASONS, &reasons),
    }
}

const VERDICT: &str = "verdict";
const REASONS: &str = "reasons";

/// How many findings are told of one object.
const MAX_FINDINGS: usize = 10;
