//! What the relay counts.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::{Registry, Unit};

use super::Ending;
use super::latency::Latency;

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct DirectionLabels {
    direction: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct EndingLabels {
    ending: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ReasonLabels {
    reason: &'static str,
}

/// Metrics of the relay; clones share their values.
#[derive(Debug, Clone)]
pub struct RelayMetrics {
    pub(super) accepted: Counter,
    pub(super) open: Gauge,
    ended: Family<EndingLabels, Counter>,
    bytes: Family<DirectionLabels, Counter>,
    pub(super) request_bytes: Counter,
    pub(super) response_bytes: Counter,
    latency: Family<DirectionLabels, Latency>,
    pub(super) request_latency: Latency,
    pub(super) response_latency: Latency,
    connect_failures: Family<ReasonLabels, Counter>,
    handshake_failures: Family<ReasonLabels, Counter>,
    pub(super) accept_failures: Counter,
    pub(super) full: Counter,
    pub(super) tap_panics: Counter,
}

impl Default for RelayMetrics {
    fn default() -> Self {
        let bytes = Family::<DirectionLabels, Counter>::default();
        // Looked up once: the two are on the path of every byte.
        let of = |direction| bytes.get_or_create(&DirectionLabels { direction }).clone();
        let latency = Family::<DirectionLabels, Latency>::default();
        let latency_of = |direction| {
            latency
                .get_or_create(&DirectionLabels { direction })
                .clone()
        };
        Self {
            accepted: Counter::default(),
            open: Gauge::default(),
            ended: Family::default(),
            request_bytes: of("request"),
            response_bytes: of("response"),
            bytes,
            request_latency: latency_of("request"),
            response_latency: latency_of("response"),
            latency,
            connect_failures: Family::default(),
            handshake_failures: Family::default(),
            accept_failures: Counter::default(),
            full: Counter::default(),
            tap_panics: Counter::default(),
        }
    }
}

impl RelayMetrics {
    /// Adds the metrics to `registry`.
    pub fn register(&self, registry: &mut Registry) {
        registry.register(
            "cascade_relay_connections_accepted",
            "Connections accepted from clients",
            self.accepted.clone(),
        );
        registry.register(
            "cascade_relay_connections_open",
            "Connections being relayed",
            self.open.clone(),
        );
        registry.register(
            "cascade_relay_connections_ended",
            "Connections that ended, by how they ended",
            self.ended.clone(),
        );
        registry.register_with_unit(
            "cascade_relay",
            "Bytes read from clients (request) and from etcd (response)",
            Unit::Bytes,
            self.bytes.clone(),
        );
        registry.register_with_unit(
            "cascade_relay_added_latency",
            "Time from reading bytes to having written the last of them, by direction",
            Unit::Seconds,
            self.latency.clone(),
        );
        registry.register(
            "cascade_relay_upstream_connect_failures",
            "Connections refused because etcd could not be reached, or refused TLS, by reason",
            self.connect_failures.clone(),
        );
        registry.register(
            "cascade_relay_client_handshake_failures",
            "Connections of clients that ended before they were admitted, by reason",
            self.handshake_failures.clone(),
        );
        registry.register(
            "cascade_relay_accept_failures",
            "Failed attempts to accept a connection, for example for want of file descriptors",
            self.accept_failures.clone(),
        );
        registry.register(
            "cascade_relay_full",
            "Times that a listener waited because as many connections were open as may be",
            self.full.clone(),
        );
        registry.register(
            "cascade_relay_observer_panics",
            "Connections whose observer panicked; their traffic went on unobserved",
            self.tap_panics.clone(),
        );
    }

    pub(super) fn count_connect_failure(&self, reason: &'static str) {
        let labels = ReasonLabels { reason };
        self.connect_failures.get_or_create(&labels).inc();
    }

    pub(super) fn count_handshake_failure(&self, reason: &'static str) {
        let labels = ReasonLabels { reason };
        self.handshake_failures.get_or_create(&labels).inc();
    }

    pub(super) fn count_ending(&self, ending: Ending) {
        self.ended
            .get_or_create(&EndingLabels {
                ending: ending.label(),
            })
            .inc();
    }

    /// Connections that are being relayed.
    #[must_use]
    pub fn open_connections(&self) -> i64 {
        self.open.get()
    }

    /// Connections whose tap panicked.
    #[must_use]
    pub fn observer_panics(&self) -> u64 {
        self.tap_panics.get()
    }
}
