//! What the ledger tells about itself.

use std::sync::Arc;
use std::time::Duration;

use cascade_proto::tables::{GapKind, Op};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};
use tokio::sync::watch;

/// What the ledger is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LedgerStatus {
    /// It has no watch: etcd or the trace folder does not answer as it should, or not yet.
    #[default]
    Connecting,
    /// It records changes, and reads what existed before.
    Snapshotting,
    /// It records changes on top of a complete snapshot.
    Following {
        /// Last revision that was handed to the store.
        revision: i64,
    },
}

/// Label `op`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct OpLabel {
    /// `create`, `update` or `delete`.
    pub op: &'static str,
}

/// Label `reason`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct ReasonLabel {
    /// Why a watch ended.
    pub reason: &'static str,
}

/// Label `kind`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct KindLabel {
    /// Kind of gap.
    pub kind: &'static str,
}

/// Label `carrier`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct CarrierLabel {
    /// As the column `cpid_carrier` names it.
    pub carrier: String,
}

/// Metrics of the ledger, and its status.
#[derive(Debug, Clone, Default)]
pub struct LedgerMetrics {
    /// 1 while a watch is open.
    pub connected: Gauge,
    /// Highest revision that etcd is known to have.
    pub etcd_revision: Gauge,
    /// Last revision handed to the store.
    pub revision: Gauge,
    /// Last revision that would survive a power loss.
    pub durable_revision: Gauge,
    /// Revisions that etcd is known to have and the store was not handed yet.
    pub lag_revisions: Gauge,
    /// Changes handed to the store.
    pub changes: Family<OpLabel, Counter>,
    /// Time from reading responses that arrived together to the store having taken their changes.
    hand_over: HandOver,
    /// Bytes of keys and values received, replaced values that had to be read included.
    pub received_bytes: Counter,
    /// Replaced values that were not remembered, and read from etcd.
    pub previous_reads: Counter,
    /// Memory of the values that are remembered until they are replaced, bytes.
    pub previous_bytes: Gauge,
    /// Watches that ended.
    pub interruptions: Family<ReasonLabel, Counter>,
    /// Gaps recorded.
    pub gaps: Family<KindLabel, Counter>,
    /// Snapshots completed.
    pub snapshots: Counter,
    /// Snapshots begun again because etcd compacted the revision they were read at.
    pub snapshot_restarts: Counter,
    /// Keys read for snapshots.
    pub snapshot_keys: Counter,
    /// Objects read with a CPID carrier that is malformed.
    pub carrier_errors: Family<CarrierLabel, Counter>,
    status: StatusSender,
}

#[derive(Debug, Clone)]
struct HandOver(Histogram);

impl Default for HandOver {
    fn default() -> Self {
        // 0.1 ms to 13 s.
        Self(Histogram::new(exponential_buckets(0.0001, 2.0, 18)))
    }
}

#[derive(Debug, Clone)]
struct StatusSender(Arc<watch::Sender<LedgerStatus>>);

impl Default for StatusSender {
    fn default() -> Self {
        Self(Arc::new(watch::Sender::new(LedgerStatus::default())))
    }
}

impl LedgerMetrics {
    /// Adds the metrics to `registry`.
    pub fn register(&self, registry: &mut Registry) {
        let ledger = registry.sub_registry_with_prefix("cascade_ledger");
        ledger.register(
            "connected",
            "1 while the ledger's watch is open",
            self.connected.clone(),
        );
        ledger.register(
            "etcd_revision",
            "Highest revision that etcd is known to have",
            self.etcd_revision.clone(),
        );
        ledger.register(
            "revision",
            "Last revision handed to the store",
            self.revision.clone(),
        );
        ledger.register(
            "durable_revision",
            "Last revision that would survive a power loss",
            self.durable_revision.clone(),
        );
        ledger.register(
            "lag_revisions",
            "Revisions that etcd is known to have and the store was not handed yet",
            self.lag_revisions.clone(),
        );
        ledger.register(
            "changes",
            "Changes handed to the store, by operation",
            self.changes.clone(),
        );
        ledger.register_with_unit(
            "hand_over",
            "Time from reading changes off the watch until the store has taken them",
            Unit::Seconds,
            self.hand_over.0.clone(),
        );
        ledger.register_with_unit(
            "received",
            "Keys and values received from etcd",
            Unit::Bytes,
            self.received_bytes.clone(),
        );
        ledger.register(
            "previous_reads",
            "Replaced values that were not remembered and read from etcd",
            self.previous_reads.clone(),
        );
        ledger.register_with_unit(
            "previous",
            "Values remembered until they are replaced",
            Unit::Bytes,
            self.previous_bytes.clone(),
        );
        ledger.register(
            "interruptions",
            "Watches that ended, by reason",
            self.interruptions.clone(),
        );
        ledger.register("gaps", "Gaps recorded, by kind", self.gaps.clone());
        ledger.register("snapshots", "Snapshots completed", self.snapshots.clone());
        ledger.register(
            "snapshot_restarts",
            "Snapshots begun again because etcd compacted their revision",
            self.snapshot_restarts.clone(),
        );
        ledger.register(
            "snapshot_keys",
            "Keys read for snapshots",
            self.snapshot_keys.clone(),
        );
        ledger.register(
            "carrier_errors",
            "Objects recorded with a malformed CPID carrier, by carrier",
            self.carrier_errors.clone(),
        );
    }

    /// Follows what the ledger is doing; readiness builds on it.
    #[must_use]
    pub fn status(&self) -> watch::Receiver<LedgerStatus> {
        self.status.0.subscribe()
    }

    pub(super) fn set_status(&self, status: LedgerStatus) {
        self.connected
            .set(i64::from(status != LedgerStatus::Connecting));
        self.status.0.send_replace(status);
    }

    pub(super) fn etcd_is_at(&self, revision: i64) {
        if revision > self.etcd_revision.get() {
            self.etcd_revision.set(revision);
        }
        self.update_lag();
    }

    pub(super) fn handed_over(&self, revision: i64) {
        self.revision.set(revision);
        self.etcd_is_at(revision);
    }

    /// A new history may have lower revisions.
    pub(super) fn history_begins(&self, etcd_revision: i64, revision: i64) {
        self.etcd_revision.set(etcd_revision);
        self.handed_over(revision);
    }

    fn update_lag(&self) {
        let lag = self.etcd_revision.get().saturating_sub(self.revision.get());
        self.lag_revisions.set(lag);
    }

    pub(super) fn remembers(&self, bytes: usize) {
        let bytes = i64::try_from(bytes).unwrap_or(i64::MAX);
        self.previous_bytes.set(bytes);
    }

    pub(super) fn took(&self, hand_over: Duration) {
        self.hand_over.0.observe(hand_over.as_secs_f64());
    }

    pub(super) fn count_change(&self, op: Op) {
        self.changes
            .get_or_create(&OpLabel { op: op.as_str() })
            .inc();
    }

    pub(super) fn count_gap(&self, kind: GapKind) {
        let label = KindLabel {
            kind: kind.as_str(),
        };
        self.gaps.get_or_create(&label).inc();
    }

    pub(super) fn count_interruption(&self, reason: &'static str) {
        self.interruptions
            .get_or_create(&ReasonLabel { reason })
            .inc();
    }
}
