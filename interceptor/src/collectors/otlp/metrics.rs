//! What the receiver tells about itself.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use super::span::Role;

/// Label `kind`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct KindLabel {
    /// What a span is: `request`, `call` (to etcd) or `other`.
    pub kind: &'static str,
}

/// Metrics of the receiver.
#[derive(Debug, Clone, Default)]
pub struct OtlpMetrics {
    /// Spans received, by kind; malformed ones excluded.
    pub spans: Family<KindLabel, Counter>,
    /// Messages that were refused because too many came in a second.
    pub limited_requests: Counter,
    /// Malformed spans.
    pub refused_spans: Counter,
    /// Spans that were sent again.
    pub duplicate_spans: Counter,
    /// Mutating calls whose request did not arrive in time.
    pub unresolved_calls: Counter,
    /// Mutating calls without a request above them.
    pub background_calls: Counter,
    /// Mutating calls for which there was no room to wait for their request.
    pub dropped_calls: Counter,
    /// Rows that the store did not take.
    pub rejected_rows: Counter,
    /// Spans that are remembered now.
    pub remembered_spans: Gauge,
    /// Requests that wait now for what belongs to them.
    pub waiting_requests: Gauge,
    /// Audit events read.
    pub audit_events: Counter,
    /// Lines of the audit log that are no event, or too long.
    pub malformed_events: Counter,
    /// Audit events whose request was not received.
    pub unmatched_events: Counter,
}

impl OtlpMetrics {
    /// Adds the metrics to `registry`.
    pub fn register(&self, registry: &mut Registry) {
        let otlp = registry.sub_registry_with_prefix("cascade_otlp");
        otlp.register(
            "spans",
            "Spans received, by what they are; malformed ones excluded",
            self.spans.clone(),
        );
        for (name, help, counter) in [
            (
                "limited_requests",
                "Messages refused because there were more in a second than \
                 --otlp-max-requests-per-second allows",
                &self.limited_requests,
            ),
            (
                "refused_spans",
                "Malformed spans received",
                &self.refused_spans,
            ),
            (
                "duplicate_spans",
                "Spans received again and ignored",
                &self.duplicate_spans,
            ),
            (
                "unresolved_calls",
                "Calls to etcd whose request did not arrive in time",
                &self.unresolved_calls,
            ),
            (
                "background_calls",
                "Calls to etcd that kube-apiserver made on its own, without a request",
                &self.background_calls,
            ),
            (
                "dropped_calls",
                "Calls to etcd for which there was no room to wait for their request",
                &self.dropped_calls,
            ),
            (
                "rejected_rows",
                "Rows of requests and request_calls that the store did not take",
                &self.rejected_rows,
            ),
        ] {
            otlp.register(name, help, counter.clone());
        }
        otlp.register(
            "remembered_spans",
            "Spans kept in memory for children that come late",
            self.remembered_spans.clone(),
        );
        otlp.register(
            "waiting_requests",
            "Requests that wait for the rest of their spans or their audit event",
            self.waiting_requests.clone(),
        );
        let audit = registry.sub_registry_with_prefix("cascade_audit");
        for (name, help, counter) in [
            ("events", "Audit events read", &self.audit_events),
            (
                "malformed_events",
                "Lines of the audit log that are no event, or too long",
                &self.malformed_events,
            ),
            (
                "unmatched_events",
                "Audit events whose request was not received over OTLP",
                &self.unmatched_events,
            ),
        ] {
            audit.register(name, help, counter.clone());
        }
    }

    pub(super) fn count(&self, role: &Role) {
        let kind = match role {
            Role::Request(_) => "request",
            Role::Call { .. } => "call",
            Role::Stored { .. } | Role::Handled { .. } | Role::Other => "other",
        };
        self.spans.get_or_create(&KindLabel { kind }).inc();
    }
}
