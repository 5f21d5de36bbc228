//! Files that change while the webhook runs.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::routes::Shared;
use crate::causes::with_causes;
use crate::certificates::ServingCertificate;
use crate::metrics::Metrics;
use crate::policy::Policy;

/// Looks again and again whether there is a newer certificate or another policy. What cannot be used
/// is said once and not taken: what was in force before stays so.
pub(super) async fn keep_current(shared: Arc<Shared>, configuration: PathBuf) {
    let mut last_problem = String::new();
    loop {
        tokio::time::sleep(INTERVAL).await;
        let (shared, configuration) = (Arc::clone(&shared), configuration.clone());
        let problems = tokio::task::spawn_blocking(move || {
            let problems = [refresh_certificate(&shared), refresh_policy(&shared, &configuration)];
            problems.into_iter().flatten().collect::<Vec<_>>().join(" | ")
        });
        let Ok(problem) = problems.await else { continue };
        if problem != last_problem && !problem.is_empty() {
            tracing::error!(problem, "what has changed cannot be used");
        }
        last_problem = problem;
    }
}

/// Puts into the metrics when the certificate expires.
pub(super) fn show_expiry(certificate: &ServingCertificate, metrics: &Metrics) {
    let not_after = certificate.current().not_after;
    let seconds = not_after.duration_since(UNIX_EPOCH).unwrap_or_default();
    metrics.set_certificate_expiry(seconds.as_secs_f64());
}

fn refresh_certificate(shared: &Shared) -> Option<String> {
    match shared.certificate.refresh(SystemTime::now()) {
        Ok(false) => None,
        Ok(true) => {
            tracing::info!("took a newer certificate");
            shared.metrics.reloaded("certificate", true);
            show_expiry(&shared.certificate, &shared.metrics);
            None
        }
        Err(error) => {
            shared.metrics.reloaded("certificate", false);
            Some(with_causes(&error))
        }
    }
}

fn refresh_policy(shared: &Shared, configuration: &std::path::Path) -> Option<String> {
    match Policy::read(configuration) {
        Ok(policy) if policy.generation == shared.reviewer.policy().generation => {
            nodes_problem(shared)
        }
        Ok(policy) => {
            tracing::info!(policy = %policy.generation, "took another policy");
            shared.metrics.reloaded("policy", true);
            shared.reviewer.set_policy(policy);
            nodes_problem(shared)
        }
        Err(error) => {
            shared.metrics.reloaded("policy", false);
            Some(with_causes(&error))
        }
    }
}

/// What cannot be read of nodes is no reason to keep what was in force: no image starts then.
fn nodes_problem(shared: &Shared) -> Option<String> {
    let policy = shared.reviewer.policy();
    policy.nodes.as_ref().and_then(|nodes| nodes.problem()).map(str::to_owned)
}

/// How often files are looked at; kubelet takes up to a minute to renew a mounted one.
const INTERVAL: Duration = Duration::from_secs(5);
