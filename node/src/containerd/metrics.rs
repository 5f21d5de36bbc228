//! What the daemon counts, for Prometheus.

use std::fmt::Write as _;
use std::time::Duration;

use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue, LabelValueEncoder};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};

use crate::canary::CanaryMetrics;

/// Holds the counters. No label has a value that comes from outside: their number is fixed.
#[derive(Debug)]
pub(crate) struct Metrics {
    registry: Registry,
    requests: Family<RequestLabels, Counter>,
    activations: Family<ActivationLabels, Counter>,
    activation_duration: Histogram,
    unpack_duration: Histogram,
    unpacked_bytes: Counter,
    removal_failures: Counter,
    ready: Gauge,
    layers: Family<LayerLabels, Gauge>,
    snapshots: Gauge,
    pending_removals: Gauge,
}

/// Says how it ended that a layer was to be mounted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum ActivationResult {
    /// It is not signed, and signatures are required.
    Refused,
    /// It is mounted with a signature that the kernel accepts.
    Signed,
    /// It is mounted without one.
    Unsigned,
}

/// Is what is counted at the moment at which somebody asks.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Counts {
    pub(crate) snapshots: u64,
    pub(crate) layers: u64,
    pub(crate) mounted_signed: usize,
    pub(crate) mounted_unsigned: usize,
    pub(crate) pending_removals: usize,
    pub(crate) is_ready: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RequestLabels {
    method: &'static str,
    /// The gRPC code, as `failed-precondition`.
    code: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ActivationLabels {
    result: ActivationResult,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct LayerLabels {
    state: &'static str,
}

impl Metrics {
    pub(crate) fn new() -> Self {
        let mut metrics = Self {
            registry: Registry::with_prefix("osguard_node"),
            requests: Family::default(),
            activations: Family::default(),
            // From a millisecond to 16 seconds.
            activation_duration: Histogram::new(exponential_buckets(0.001, 2.0, 15)),
            // From 10 ms to 10 minutes.
            unpack_duration: Histogram::new(exponential_buckets(0.01, 2.0, 17)),
            unpacked_bytes: Counter::default(),
            removal_failures: Counter::default(),
            ready: Gauge::default(),
            layers: Family::default(),
            snapshots: Gauge::default(),
            pending_removals: Gauge::default(),
        };
        metrics.register();
        // A counter that has not counted yet is there with zero, so that alerts can be written.
        for result in ActivationResult::ALL {
            metrics.activations.get_or_create(&ActivationLabels { result }).inc_by(0);
        }
        metrics
    }

    /// Adds what the canary finds; without one there is nothing that could be mistaken for a result.
    pub(crate) fn canary(&mut self) -> CanaryMetrics {
        CanaryMetrics::registered(&mut self.registry)
    }

    /// Counts an answer to containerd.
    pub(crate) fn answered(&self, method: &'static str, code: tonic::Code) {
        self.requests.get_or_create(&RequestLabels { method, code: code_name(code) }).inc();
    }

    /// Counts a layer that was mounted, or was not.
    pub(crate) fn activated(&self, result: ActivationResult, duration: Duration) {
        self.activations.get_or_create(&ActivationLabels { result }).inc();
        self.activation_duration.observe(duration.as_secs_f64());
    }

    /// Counts a layer that was converted from a blob of that size.
    pub(crate) fn unpacked(&self, duration: Duration, blob_bytes: u64) {
        self.unpack_duration.observe(duration.as_secs_f64());
        self.unpacked_bytes.inc_by(blob_bytes);
    }

    /// Counts a failure to remove something, which will be tried again.
    pub(crate) fn removal_failed(&self) {
        self.removal_failures.inc();
    }

    /// Writes all metrics in the OpenMetrics text format.
    pub(crate) fn encode(&self, counts: Counts) -> String {
        let gauge = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
        let state = |state, count: usize| {
            self.layers.get_or_create(&LayerLabels { state }).set(gauge(count));
        };
        state("known", usize::try_from(counts.layers).unwrap_or(usize::MAX));
        state("mounted-signed", counts.mounted_signed);
        state("mounted-unsigned", counts.mounted_unsigned);
        self.snapshots.set(i64::try_from(counts.snapshots).unwrap_or(i64::MAX));
        self.pending_removals.set(gauge(counts.pending_removals));
        self.ready.set(counts.is_ready.into());
        let mut text = String::new();
        // Writing into a string does not fail.
        let _ = prometheus_client::encoding::text::encode(&mut text, &self.registry);
        text
    }

    fn register(&mut self) {
        let registry = &mut self.registry;
        registry.register(
            "requests",
            "Requests of containerd, by method and gRPC code",
            self.requests.clone(),
        );
        registry.register(
            "layer_activations",
            "Layers that were to be mounted, by whether the kernel has accepted a signature",
            self.activations.clone(),
        );
        registry.register_with_unit(
            "layer_activation_duration",
            "How long it took to mount a layer",
            Unit::Seconds,
            self.activation_duration.clone(),
        );
        registry.register_with_unit(
            "unpack_duration",
            "How long it took to convert a layer",
            Unit::Seconds,
            self.unpack_duration.clone(),
        );
        registry.register_with_unit(
            "unpacked_blobs",
            "Blobs that were converted",
            Unit::Bytes,
            self.unpacked_bytes.clone(),
        );
        registry.register(
            "removal_failures",
            "Failed attempts to remove a layer or a directory; they are repeated",
            self.removal_failures.clone(),
        );
        registry.register("ready", "Whether /readyz says so", self.ready.clone());
        registry.register("layers", "Layers, by state", self.layers.clone());
        registry.register("snapshots", "Snapshots", self.snapshots.clone());
        registry.register(
            "pending_removals",
            "Layers and directories that are still to be removed",
            self.pending_removals.clone(),
        );
    }
}

/// The media type of what [`Metrics::encode`] writes.
pub(crate) const MEDIA_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

impl ActivationResult {
    const ALL: [Self; 3] = [Self::Refused, Self::Signed, Self::Unsigned];
}

impl EncodeLabelValue for ActivationResult {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> Result<(), std::fmt::Error> {
        encoder.write_str(match self {
            Self::Refused => "refused",
            Self::Signed => "signed",
            Self::Unsigned => "unsigned",
        })
    }
}

fn code_name(code: tonic::Code) -> &'static str {
    use tonic::Code;
    match code {
        Code::Ok => "ok",
        Code::Cancelled => "cancelled",
        Code::InvalidArgument => "invalid-argument",
        Code::DeadlineExceeded => "deadline-exceeded",
        Code::NotFound => "not-found",
        Code::AlreadyExists => "already-exists",
        Code::FailedPrecondition => "failed-precondition",
        Code::Aborted => "aborted",
        Code::Unimplemented => "unimplemented",
        Code::Unavailable => "unavailable",
        Code::DataLoss => "data-loss",
        Code::ResourceExhausted => "resource-exhausted",
        _ => "internal",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_counted_is_shown() {
        let metrics = Metrics::new();
        metrics.answered("Prepare", tonic::Code::Ok);
        metrics.activated(ActivationResult::Refused, Duration::from_millis(3));
        metrics.unpacked(Duration::from_secs(1), 1000);
        metrics.removal_failed();
        let counts = Counts { layers: 2, mounted_signed: 1, is_ready: true, ..Counts::default() };
        let text = metrics.encode(counts);
        for line in [
            "osguard_node_requests_total{method=\"Prepare\",code=\"ok\"} 1",
            "osguard_node_layer_activations_total{result=\"refused\"} 1",
            "osguard_node_layer_activations_total{result=\"unsigned\"} 0",
            "osguard_node_unpacked_blobs_bytes_total 1000",
            "osguard_node_removal_failures_total 1",
            "osguard_node_layers{state=\"known\"} 2",
            "osguard_node_layers{state=\"mounted-signed\"} 1",
            "osguard_node_ready 1",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} in\n{text}");
        }
    }
}
