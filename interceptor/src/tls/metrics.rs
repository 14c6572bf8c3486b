//! What TLS counts.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

/// A leg, or another place where TLS ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Side {
    /// Towards kube-apiserver.
    Clients,
    /// Towards etcd.
    Etcd,
    /// Towards the clients of the trace server.
    TraceServer,
}

impl Side {
    /// The value of the metrics' label.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::Clients => "clients",
            Self::Etcd => "etcd",
            Self::TraceServer => "trace_server",
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct SideLabels {
    side: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ReloadLabels {
    side: &'static str,
    result: &'static str,
}

/// Metrics of TLS; clones share their values.
#[derive(Debug, Clone, Default)]
pub struct TlsMetrics {
    reloads: Family<ReloadLabels, Counter>,
    expiry: Family<SideLabels, Gauge>,
}

impl TlsMetrics {
    /// Adds the metrics to `registry`.
    pub fn register(&self, registry: &mut Registry) {
        registry.register(
            "cascade_tls_reloads",
            "Changed certificate files, by whether they are in use now (loaded) or the old ones \
             still are (failed)",
            self.reloads.clone(),
        );
        registry.register(
            "cascade_tls_certificate_expiry_timestamp_seconds",
            "End of the validity of the interceptor's own certificate, in seconds since 1970",
            self.expiry.clone(),
        );
    }

    pub(super) fn count_reload(&self, side: Side, loaded: bool) {
        let labels = ReloadLabels {
            side: side.label(),
            result: if loaded { "loaded" } else { "failed" },
        };
        self.reloads.get_or_create(&labels).inc();
    }

    pub(super) fn set_expiry(&self, side: Side, not_after: i64) {
        let labels = SideLabels { side: side.label() };
        self.expiry.get_or_create(&labels).set(not_after);
    }
}
