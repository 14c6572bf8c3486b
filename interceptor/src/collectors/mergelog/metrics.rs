//! What the trace server tells about itself.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::{Registry, Unit};

/// Label `table`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct TableLabel {
    /// `mergelogs` or `spans`.
    pub table: &'static str,
}

/// Labels of what was refused.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct RefusalLabels {
    /// `mergelogs` or `spans`.
    pub table: &'static str,
    /// `invalid`, `storage`, `index_full`, `answer_too_large`, `unreadable`, `not_allowed`.
    pub reason: &'static str,
}

/// Label `reason` of a connection that came to nothing.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct HandshakeLabel {
    /// As the relay names them (docs/tls.md).
    pub reason: &'static str,
}

/// Label `rule`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct RuleLabel {
    /// `made_twice`, `one_source`, `own_source`, `unspecified` or `cycle`.
    pub rule: &'static str,
}

/// Metrics of the trace server.
#[derive(Debug, Clone, Default)]
pub struct TraceServerMetrics {
    /// Posts that were acknowledged, by table.
    pub posts: Family<TableLabel, Counter>,
    /// Rows handed to the store, by table.
    pub rows: Family<TableLabel, Counter>,
    /// Rows that had been stored before, by table.
    pub repeated_rows: Family<TableLabel, Counter>,
    /// Answers that were given up because their client did not take them.
    pub given_up: Counter,
    /// Requests that were refused because too many came in a second.
    pub limited_requests: Counter,
    /// Connections whose TLS handshake failed, by reason.
    pub handshake_failures: Family<HandshakeLabel, Counter>,
    /// Requests that were refused, by table and reason.
    pub refused: Family<RefusalLabels, Counter>,
    /// Mergelogs, of cycles their number, that break a rule.
    pub violations: Family<RuleLabel, Gauge>,
    /// Rows that the index knows, by table.
    pub index_rows: Family<TableLabel, Gauge>,
    /// Bytes of the index in memory, by table.
    pub index_bytes: Family<TableLabel, Gauge>,
}

impl TraceServerMetrics {
    /// Adds the metrics to `registry`.
    pub fn register(&self, registry: &mut Registry) {
        let server = registry.sub_registry_with_prefix("cascade_trace_server");
        server.register(
            "posts",
            "Posts of mergelogs and spans that were acknowledged",
            self.posts.clone(),
        );
        server.register(
            "rows",
            "Mergelogs and spans that were stored",
            self.rows.clone(),
        );
        server.register(
            "repeated_rows",
            "Mergelogs and spans that were posted again and not stored again",
            self.repeated_rows.clone(),
        );
        server.register(
            "answers_given_up",
            "Answers that were given up because their client did not take them",
            self.given_up.clone(),
        );
        server.register(
            "limited_requests",
            "Requests refused because there were more in a second than \
             --mergelog-max-requests-per-second allows",
            self.limited_requests.clone(),
        );
        server.register(
            "handshake_failures",
            "Connections whose TLS handshake failed, by reason",
            self.handshake_failures.clone(),
        );
        server.register(
            "refused",
            "Requests that were refused, by reason",
            self.refused.clone(),
        );
        server.register(
            "violations",
            "Mergelogs that break a rule, by rule; of cycles their number",
            self.violations.clone(),
        );
        server.register(
            "index_rows",
            "Mergelogs and spans that are answered from",
            self.index_rows.clone(),
        );
        server.register_with_unit(
            "index",
            "Memory of the index of mergelogs and spans",
            Unit::Bytes,
            self.index_bytes.clone(),
        );
    }

    pub(super) fn count_handshake_failure(&self, reason: &'static str) {
        self.handshake_failures
            .get_or_create(&HandshakeLabel { reason })
            .inc();
    }

    pub(super) fn refuse(&self, table: &'static str, reason: &'static str) {
        self.refused
            .get_or_create(&RefusalLabels { table, reason })
            .inc();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metrics_have_names_and_units_as_prometheus_wants_them() {
        let metrics = TraceServerMetrics::default();
        let mut registry = Registry::default();
        metrics.register(&mut registry);
        let table = TableLabel { table: "mergelogs" };
        metrics.posts.get_or_create(&table).inc();
        metrics.index_bytes.get_or_create(&table).set(7);
        metrics.refuse("spans", "invalid");
        metrics
            .violations
            .get_or_create(&RuleLabel { rule: "cycle" })
            .set(2);
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
        for line in [
            "cascade_trace_server_posts_total{table=\"mergelogs\"} 1",
            "cascade_trace_server_index_bytes{table=\"mergelogs\"} 7",
            "cascade_trace_server_refused_total{table=\"spans\",reason=\"invalid\"} 1",
            "cascade_trace_server_violations{rule=\"cycle\"} 2",
        ] {
            assert!(
                text.lines().any(|found| found == line),
                "{line} not in\n{text}"
            );
        }
    }
}
