//! What is counted, for Prometheus.

use std::sync::atomic::AtomicU64;
use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};

use crate::verdict::Reason;

/// Holds the counters. No label has a value that comes from outside: their number is fixed.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    images: Family<ImageLabels, Counter>,
    reviews: Family<ReviewLabels, Counter>,
    refused: Family<RefusalLabels, Counter>,
    cache: Family<CacheLabels, Counter>,
    calls: Family<CallLabels, Counter>,
    review_duration: Histogram,
    lookup_duration: Histogram,
    connections: Gauge,
    entries: Gauge,
    bytes: Gauge,
    certificate_expiry: Gauge<f64, AtomicU64>,
    reloads: Family<ReloadLabels, Counter>,
    ready: Gauge,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ImageLabels {
    reason: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ReviewLabels {
    answer: &'static str,
    mode: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RefusalLabels {
    reason: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct CacheLabels {
    result: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct CallLabels {
    result: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ReloadLabels {
    what: &'static str,
    result: &'static str,
}

/// Says how a look into a registry has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Call {
    /// It has found what it looked for, or that there is nothing.
    Answered,
    /// It has failed.
    Failed,
    /// It was not made, for the registry had asked to slow down or had failed a moment ago.
    HeldBack,
    /// The registry asks to slow down.
    TooManyRequests,
}

impl Default for Metrics {
    fn default() -> Self {
        let mut metrics = Self {
            registry: Registry::with_prefix("osguard_admission"),
            images: Family::default(),
            reviews: Family::default(),
            refused: Family::default(),
            cache: Family::default(),
            calls: Family::default(),
            // From a tenth of a millisecond to thirteen seconds.
            review_duration: Histogram::new(exponential_buckets(0.0001, 2.0, 18)),
            lookup_duration: Histogram::new(exponential_buckets(0.001, 2.0, 18)),
            connections: Gauge::default(),
            entries: Gauge::default(),
            bytes: Gauge::default(),
            certificate_expiry: Gauge::default(),
            reloads: Family::default(),
            ready: Gauge::default(),
        };
        metrics.register();
        // A counter that has not counted yet is there with zero, so that alerts can be written.
        for reason in Reason::ALL {
            metrics.images.get_or_create(&ImageLabels { reason: reason.name() }).inc_by(0);
        }
        for call in [Call::Answered, Call::Failed, Call::HeldBack, Call::TooManyRequests] {
            metrics.calls.get_or_create(&CallLabels { result: call.name() }).inc_by(0);
        }
        metrics
    }
}

impl Metrics {
    fn register(&mut self) {
        let registry = &mut self.registry;
        registry.register("images", "Verdicts on images, by reason", self.images.clone());
        registry.register(
            "reviews",
            "Requests that were answered, by the answer and the mode of the rule",
            self.reviews.clone(),
        );
        registry.register(
            "requests_refused",
            "Requests that are none, by reason",
            self.refused.clone(),
        );
        registry.register("cache", "Verdicts and tags that were known, or not", self.cache.clone());
        registry.register(
            "registry_calls",
            "Looks into registries, by how they ended",
            self.calls.clone(),
        );
        registry.register_with_unit(
            "review_duration",
            "How long a request took",
            Unit::Seconds,
            self.review_duration.clone(),
        );
        registry.register_with_unit(
            "lookup_duration",
            "How long a look into a registry took",
            Unit::Seconds,
            self.lookup_duration.clone(),
        );
        registry.register("connections", "Connections that are open", self.connections.clone());
        registry.register("cache_entries", "Verdicts that are kept", self.entries.clone());
        registry.register_with_unit(
            "cache_size",
            "What the verdicts that are kept take",
            Unit::Bytes,
            self.bytes.clone(),
        );
        registry.register_with_unit(
            "certificate_expiry_timestamp",
            "When the serving certificate expires, since 1970",
            Unit::Seconds,
            self.certificate_expiry.clone(),
        );
        registry.register(
            "reloads",
            "Changed files that were taken or could not be used",
            self.reloads.clone(),
        );
        registry.register("ready", "Whether requests can be answered", self.ready.clone());
    }

    pub(crate) fn image(&self, reason: Reason) {
        self.images.get_or_create(&ImageLabels { reason: reason.name() }).inc();
    }

    pub(crate) fn review(&self, answer: &'static str, mode: &'static str, took: Duration) {
        self.reviews.get_or_create(&ReviewLabels { answer, mode }).inc();
        self.review_duration.observe(took.as_secs_f64());
    }

    pub(crate) fn refused(&self, reason: &'static str) {
        self.refused.get_or_create(&RefusalLabels { reason }).inc();
    }

    pub(crate) fn cache(&self, is_known: bool) {
        let result = if is_known { "hit" } else { "miss" };
        self.cache.get_or_create(&CacheLabels { result }).inc();
    }

    pub(crate) fn call(&self, call: Call, took: Option<Duration>) {
        self.calls.get_or_create(&CallLabels { result: call.name() }).inc();
        if let Some(took) = took {
            self.lookup_duration.observe(took.as_secs_f64());
        }
    }

    pub(crate) fn connected(&self, difference: i64) {
        self.connections.inc_by(difference);
    }

    pub(crate) fn reloaded(&self, what: &'static str, is_good: bool) {
        let result = if is_good { "taken" } else { "failed" };
        self.reloads.get_or_create(&ReloadLabels { what, result }).inc();
    }

    pub(crate) fn set_certificate_expiry(&self, seconds: f64) {
        self.certificate_expiry.set(seconds);
    }

    /// Writes all metrics in the OpenMetrics text format.
    pub(crate) fn encode(&self, is_ready: bool, (entries, bytes): (usize, usize)) -> String {
        self.ready.set(is_ready.into());
        self.entries.set(i64::try_from(entries).unwrap_or(i64::MAX));
        self.bytes.set(i64::try_from(bytes).unwrap_or(i64::MAX));
        let mut text = String::new();
        // Writing into a string does not fail.
        let _ = prometheus_client::encoding::text::encode(&mut text, &self.registry);
        text
    }
}

impl Call {
    fn name(self) -> &'static str {
        match self {
            Self::Answered => "answered",
            Self::Failed => "failed",
            Self::HeldBack => "held-back",
            Self::TooManyRequests => "too-many-requests",
        }
    }
}

/// The media type of what [`Metrics::encode`] writes.
pub(crate) const MEDIA_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_counted_is_shown() {
        let metrics = Metrics::default();
        metrics.image(Reason::NotSigned);
        metrics.review("denied", "enforce", Duration::from_millis(3));
        metrics.call(Call::TooManyRequests, Some(Duration::from_millis(20)));
        metrics.cache(true);
        metrics.connected(1);
        let text = metrics.encode(true, (3, 1000));
        for line in [
            r#"osguard_admission_images_total{reason="not-signed"} 1"#,
            r#"osguard_admission_images_total{reason="signed"} 0"#,
            r#"osguard_admission_reviews_total{answer="denied",mode="enforce"} 1"#,
            r#"osguard_admission_registry_calls_total{result="too-many-requests"} 1"#,
            r#"osguard_admission_cache_total{result="hit"} 1"#,
            "osguard_admission_connections 1",
            "osguard_admission_cache_entries 3",
            "osguard_admission_cache_size_bytes 1000",
            "osguard_admission_review_duration_seconds_count 1",
            "osguard_admission_ready 1",
            "# EOF",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} is not in:\n{text}");
        }
    }
}
