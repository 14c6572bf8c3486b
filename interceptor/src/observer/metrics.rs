//! What the observer counts.

use std::time::Duration;

use cascade_proto::tables::Call;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OutcomeLabels {
    outcome: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ReasonLabels {
    reason: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct DirectionLabels {
    direction: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct FieldLabels {
    field: &'static str,
}

/// Metrics of the observer; clones share their values.
#[derive(Debug, Clone)]
pub struct ObserverMetrics {
    calls: Family<OutcomeLabels, Counter>,
    duration: Histogram,
    missed: Family<ReasonLabels, Counter>,
    opaque: Family<ReasonLabels, Counter>,
    unparsed: Family<ReasonLabels, Counter>,
    header_errors: Family<DirectionLabels, Counter>,
    malformed: Family<FieldLabels, Counter>,
    pub(super) open_calls: Gauge,
    pub(super) buffered_bytes: Gauge,
}

impl Default for ObserverMetrics {
    fn default() -> Self {
        Self {
            calls: Family::default(),
            // etcd's writes take from tenths of a millisecond to seconds.
            duration: Histogram::new([
                0.000_25, 0.000_5, 0.001, 0.002, 0.004, 0.008, 0.016, 0.032, 0.064, 0.128, 0.256,
                0.512, 1.024, 2.048, 4.096, 8.192,
            ]),
            missed: Family::default(),
            opaque: Family::default(),
            unparsed: Family::default(),
            header_errors: Family::default(),
            malformed: Family::default(),
            open_calls: Gauge::default(),
            buffered_bytes: Gauge::default(),
        }
    }
}

impl ObserverMetrics {
    /// Adds the metrics to `registry`.
    pub fn register(&self, registry: &mut Registry) {
        registry.register(
            "cascade_observer_calls",
            "Mutating etcd calls observed, by the outcome of their last operation",
            self.calls.clone(),
        );
        registry.register_with_unit(
            "cascade_observer_call_duration",
            "Time from the first byte of a mutating call's request to its answer",
            Unit::Seconds,
            self.duration.clone(),
        );
        registry.register(
            "cascade_observer_calls_missed",
            "Calls that may have been mutating and are not in the trace",
            self.missed.clone(),
        );
        registry.register(
            "cascade_observer_opaque_messages",
            "Messages of mutating calls whose content could not be read",
            self.opaque.clone(),
        );
        registry.register(
            "cascade_observer_unparsed_connections",
            "Connections whose observation ended because they are not HTTP/2 or do not keep to it",
            self.unparsed.clone(),
        );
        registry.register(
            "cascade_observer_header_errors",
            "Header blocks that could not be decoded",
            self.header_errors.clone(),
        );
        registry.register(
            "cascade_observer_malformed_fields",
            "Header fields of mutating calls that were ignored because they are malformed",
            self.malformed.clone(),
        );
        registry.register(
            "cascade_observer_open_calls",
            "Mutating calls that have not ended",
            self.open_calls.clone(),
        );
        registry.register_with_unit(
            "cascade_observer_buffered",
            "Memory held for messages and header blocks in several parts and for open calls",
            Unit::Bytes,
            self.buffered_bytes.clone(),
        );
    }

    pub(super) fn count_call(&self, last: &Call) {
        let outcome = last.outcome.as_str();
        self.calls.get_or_create(&OutcomeLabels { outcome }).inc();
        if let Some(nanos) = last.duration_ns {
            let duration = Duration::from_nanos(u64::try_from(nanos).unwrap_or(0));
            self.duration.observe(duration.as_secs_f64());
        }
    }

    pub(super) fn count_missed(&self, reason: &'static str) {
        self.missed.get_or_create(&ReasonLabels { reason }).inc();
    }

    pub(super) fn count_opaque(&self, reason: &'static str) {
        self.opaque.get_or_create(&ReasonLabels { reason }).inc();
    }

    pub(super) fn count_unparsed(&self, reason: &'static str) {
        self.unparsed.get_or_create(&ReasonLabels { reason }).inc();
    }

    pub(super) fn count_header_error(&self, direction: &'static str) {
        self.header_errors
            .get_or_create(&DirectionLabels { direction })
            .inc();
    }

    pub(super) fn count_malformed(&self, field: &'static str) {
        self.malformed.get_or_create(&FieldLabels { field }).inc();
    }
}
