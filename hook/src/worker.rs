//! The threads that sign.

use std::time::{Duration, Instant, SystemTime};

use libverity::digest::Digest;

use crate::backoff::Backoff;
use crate::metrics::{JobResult, Metrics};
use crate::queue::{Job, Queue, Verdict};
use crate::repository::Target;
use crate::sign::{Outcome, Retry, SignFailure, SignImage};

/// Signs what is due, until the queue is closed.
pub(crate) fn run(queue: &Queue, signer: &dyn SignImage, backoff: &Backoff, metrics: &Metrics) {
    while let Some(job) = queue.take() {
        let target = job.target.clone();
        let wait = backoff.wait(job.failures.saturating_add(1), seed(target.digest), None);
        let job = match queue.begin(job, wait) {
            Ok(Some(job)) => job,
            Ok(None) => continue,
            Err(error) => {
                tracing::error!(%target, %error, "cannot begin; it will be looked at again");
                continue;
            }
        };
        let started = Instant::now();
        let result = attempt(&job, signer);
        let took = started.elapsed();
        let (verdict, counted) = judge(&job, result, took, backoff);
        metrics.job(counted, took);
        if let Err(error) = queue.finish(job, verdict) {
            // What was signed is found signed then.
            tracing::error!(%target, %error, "cannot write the outcome; it will be looked at again");
        }
    }
}

fn attempt(job: &Job, signer: &dyn SignImage) -> Result<Outcome, SignFailure> {
    // An attempt that ended was judged. One that was not ended the whole process, by the memory that
    // it took for example, and shall not do so for ever.
    if job.failures >= MAX_ATTEMPTS {
        let reason = "no attempt has ended, and the last one ended the whole process".to_owned();
        return Err(SignFailure { reason, retry: Retry::Never });
    }
    signer.sign(&job.target)
}

fn age(job: &Job) -> Duration {
    SystemTime::now().duration_since(job.since).unwrap_or_default()
}

/// Decides what is to be done after an attempt, and says so in the log.
fn judge(
    job: &Job,
    result: Result<Outcome, SignFailure>,
    took: Duration,
    backoff: &Backoff,
) -> (Verdict, JobResult) {
    let Target { repository, digest } = &job.target;
    let seconds = took.as_secs_f64();
    match result {
        Ok(Outcome::AlreadySigned) => {
            tracing::info!(%repository, %digest, seconds, "signed before");
            (Verdict::Done { made: None }, JobResult::AlreadySigned)
        }
        Ok(Outcome::Ignored { what }) => {
            tracing::debug!(%repository, %digest, what, "nothing to sign");
            (Verdict::Done { made: None }, JobResult::Ignored)
        }
        Ok(Outcome::Index { manifests }) => {
            tracing::info!(%repository, %digest, manifests = manifests.len(), "an index");
            let target = |digest| Target { repository: repository.clone(), digest };
            (Verdict::Split(manifests.into_iter().map(target).collect()), JobResult::Index)
        }
        Ok(Outcome::Signed { artifact }) => {
            tracing::info!(%repository, %digest, %artifact, seconds, "signed");
            let made = Some(Target { repository: repository.clone(), digest: artifact });
            (Verdict::Done { made }, JobResult::Signed)
        }
        Err(SignFailure { reason, retry }) => {
            let attempts = job.failures.saturating_add(1);
            match retry {
                Retry::After(asked)
                    if age(job) < backoff.give_up_after && attempts < MAX_ATTEMPTS =>
                {
                    let wait = backoff.wait(attempts, seed(*digest), asked);
                    let again_in_seconds = wait.as_secs();
                    tracing::warn!(%repository, %digest, attempts, again_in_seconds, reason, "not signed yet");
                    (Verdict::Retry(wait), JobResult::Retried)
                }
                Retry::After(_) | Retry::Never => {
                    tracing::error!(%repository, %digest, attempts, reason, "not signed, and given up");
                    (Verdict::Failed { reason }, JobResult::Failed)
                }
            }
        }
    }
}

fn seed(digest: Digest) -> u64 {
    digest.as_bytes().iter().take(8).fold(0, |seed, byte| seed << 8 | u64::from(*byte))
}

/// How often a target is tried at most: twice what fits into a day by the waits of
/// [`Backoff::default`].
const MAX_ATTEMPTS: u32 = 300;
