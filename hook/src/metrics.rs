//! What the hook counts, for Prometheus.

use std::fmt::Write as _;
use std::sync::atomic::AtomicU64;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue, LabelValueEncoder};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};

use crate::notification::Action;
use crate::queue::Counts;

/// Holds the counters. No label has a value that comes from outside: their number is fixed.
#[derive(Debug)]
pub(crate) struct Metrics {
    registry: Registry,
    events: Family<EventLabels, Counter>,
    refused: Family<RefusalLabels, Counter>,
    jobs: Family<JobLabels, Counter>,
    queue: Family<QueueLabels, Gauge>,
    sign_duration: Histogram,
    last_success: Gauge<f64, AtomicU64>,
    ready: Gauge,
}

/// Says what was done with an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum EventResult {
    /// The target is pending already, or was done a moment ago.
    Duplicate,
    /// The target is gone, and what was known of it forgotten.
    Forgotten,
    /// It is of no interest.
    Ignored,
    /// It makes no sense.
    Malformed,
    /// The allow-list does not name the repository.
    NotAllowed,
    /// The target was queued.
    Queued,
}

/// Says why a request was refused as a whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum RefusalReason {
    /// The sender took too long.
    Slow,
    /// It is no notification.
    Invalid,
    /// The queue is full.
    QueueFull,
    /// The queue cannot be written.
    QueueUnusable,
    /// It is too long.
    TooLarge,
    /// The token is missing or wrong.
    Unauthorized,
}

/// Says how an attempt ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum JobResult {
    /// The image had its signatures before.
    AlreadySigned,
    /// It failed for good.
    Failed,
    /// It was nothing to sign.
    Ignored,
    /// It was an index, and its manifests were queued.
    Index,
    /// It will be tried again.
    Retried,
    /// The image was signed.
    Signed,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct EventLabels {
    action: &'static str,
    result: EventResult,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RefusalLabels {
    reason: RefusalReason,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct JobLabels {
    result: JobResult,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct QueueLabels {
    state: &'static str,
}

impl Metrics {
    pub(crate) fn new() -> Self {
        let mut metrics = Self {
            registry: Registry::with_prefix("osguard_hook"),
            events: Family::default(),
            refused: Family::default(),
            jobs: Family::default(),
            queue: Family::default(),
            // From a tenth of a second to half an hour.
            sign_duration: Histogram::new(exponential_buckets(0.1, 2.0, 15)),
            last_success: Gauge::default(),
            ready: Gauge::default(),
        };
        metrics.register();
        // A counter that has not counted yet is there with zero, so that alerts can be written.
        for result in JobResult::ALL {
            metrics.jobs.get_or_create(&JobLabels { result }).inc_by(0);
        }
        for reason in RefusalReason::ALL {
            metrics.refused.get_or_create(&RefusalLabels { reason }).inc_by(0);
        }
        metrics
    }

    fn register(&mut self) {
        let registry = &mut self.registry;
        registry.register(
            "events",
            "Events in notifications, by what they tell of and what was done with them",
            self.events.clone(),
        );
        registry.register(
            "requests_refused",
            "Notifications that were refused as a whole, by reason",
            self.refused.clone(),
        );
        registry.register("jobs", "Attempts to sign, by how they ended", self.jobs.clone());
        registry.register(
            "queue",
            "What is in the queue: waiting for its turn, being signed, or failed for good",
            self.queue.clone(),
        );
        registry.register_with_unit(
            "sign_duration",
            "How long it took to sign an image",
            Unit::Seconds,
            self.sign_duration.clone(),
        );
        registry.register_with_unit(
            "last_success_timestamp",
            "When an image was last signed or found signed, since 1970",
            Unit::Seconds,
            self.last_success.clone(),
        );
        registry.register(
            "ready",
            "Whether the queue, the registry and the key can be used",
            self.ready.clone(),
        );
    }

    pub(crate) fn event(&self, action: Action, result: EventResult) {
        self.events.get_or_create(&EventLabels { action: action.name(), result }).inc();
    }

    pub(crate) fn refused(&self, reason: RefusalReason) {
        self.refused.get_or_create(&RefusalLabels { reason }).inc();
    }

    pub(crate) fn job(&self, result: JobResult, took: Duration) {
        self.jobs.get_or_create(&JobLabels { result }).inc();
        if result == JobResult::Signed {
            self.sign_duration.observe(took.as_secs_f64());
        }
        if matches!(result, JobResult::Signed | JobResult::AlreadySigned) {
            let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
            self.last_success.set(now.as_secs_f64());
        }
    }

    pub(crate) fn set_ready(&self, is_ready: bool) {
        self.ready.set(is_ready.into());
    }

    /// Writes all metrics in the OpenMetrics text format.
    pub(crate) fn encode(&self, counts: Counts) -> String {
        for (state, count) in
            [("waiting", counts.waiting), ("running", counts.running), ("failed", counts.failed)]
        {
            self.queue
                .get_or_create(&QueueLabels { state })
                .set(i64::try_from(count).unwrap_or(i64::MAX));
        }
        let mut text = String::new();
        // Writing into a string does not fail.
        let _ = prometheus_client::encoding::text::encode(&mut text, &self.registry);
        text
    }
}

/// The media type of what [`Metrics::encode`] writes.
pub(crate) const MEDIA_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

impl EventResult {
    fn name(self) -> &'static str {
        match self {
            Self::Duplicate => "duplicate",
            Self::Forgotten => "forgotten",
            Self::Ignored => "ignored",
            Self::Malformed => "malformed",
            Self::NotAllowed => "not-allowed",
            Self::Queued => "queued",
        }
    }
}

impl RefusalReason {
    const ALL: [Self; 6] = [
        Self::Slow,
        Self::Invalid,
        Self::QueueFull,
        Self::QueueUnusable,
        Self::TooLarge,
        Self::Unauthorized,
    ];

    fn name(self) -> &'static str {
        match self {
            Self::Slow => "slow",
            Self::Invalid => "invalid",
            Self::QueueFull => "queue-full",
            Self::QueueUnusable => "queue-unusable",
            Self::TooLarge => "too-large",
            Self::Unauthorized => "unauthorized",
        }
    }
}

impl JobResult {
    const ALL: [Self; 6] = [
        Self::AlreadySigned,
        Self::Failed,
        Self::Ignored,
        Self::Index,
        Self::Retried,
        Self::Signed,
    ];

    fn name(self) -> &'static str {
        match self {
            Self::AlreadySigned => "already-signed",
            Self::Failed => "failed",
            Self::Ignored => "ignored",
            Self::Index => "index",
            Self::Retried => "retried",
            Self::Signed => "signed",
        }
    }
}

impl EncodeLabelValue for EventResult {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> std::fmt::Result {
        encoder.write_str(self.name())
    }
}

impl EncodeLabelValue for RefusalReason {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> std::fmt::Result {
        encoder.write_str(self.name())
    }
}

impl EncodeLabelValue for JobResult {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> std::fmt::Result {
        encoder.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_counted_is_shown() {
        let metrics = Metrics::new();
        metrics.event(Action::Push, EventResult::Queued);
        metrics.event(Action::Push, EventResult::Queued);
        metrics.event(Action::Pull, EventResult::Ignored);
        metrics.refused(RefusalReason::Unauthorized);
        metrics.job(JobResult::Signed, Duration::from_secs(3));
        metrics.set_ready(true);
        let text = metrics.encode(Counts { waiting: 5, running: 2, failed: 1 });
        for line in [
            r#"osguard_hook_events_total{action="push",result="queued"} 2"#,
            r#"osguard_hook_events_total{action="pull",result="ignored"} 1"#,
            r#"osguard_hook_requests_refused_total{reason="unauthorized"} 1"#,
            r#"osguard_hook_requests_refused_total{reason="queue-full"} 0"#,
            r#"osguard_hook_jobs_total{result="signed"} 1"#,
            r#"osguard_hook_jobs_total{result="failed"} 0"#,
            r#"osguard_hook_queue{state="waiting"} 5"#,
            r#"osguard_hook_queue{state="failed"} 1"#,
            "osguard_hook_sign_duration_seconds_count 1",
            "osguard_hook_ready 1",
            "# EOF",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} is not in:\n{text}");
        }
        assert!(text.contains("osguard_hook_last_success_timestamp_seconds 1"), "{text}");
    }
}
