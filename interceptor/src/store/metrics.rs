//! What the store tells about itself.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};

/// Label `table`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct TableLabel {
    /// Name of a table.
    pub table: &'static str,
}

/// Label `operation`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct OperationLabel {
    /// What was tried: `journal`, `checkpoint` or `seal`.
    pub operation: &'static str,
}

/// Metrics of the store.
#[derive(Debug, Clone)]
pub struct StoreMetrics {
    /// Rows made durable, by table.
    pub rows: Family<TableLabel, Counter>,
    /// Bytes written to journals.
    pub journal_bytes: Counter,
    /// Time to write and fsync one table's journal.
    pub sync_seconds: Histogram,
    /// Time to turn one journal into Parquet.
    pub seal_seconds: Histogram,
    /// Bytes of sealed Parquet files.
    pub sealed_bytes: Counter,
    /// Journals that wait to be sealed, those being written excluded.
    pub unsealed_segments: Gauge,
    /// Rows that wait for the writer.
    pub queued_rows: Gauge,
    /// Memory that these rows take, about, in bytes.
    pub queued_bytes: Gauge,
    /// Calls that were not taken because the queue was full or the storage failed.
    pub rejected_calls: Counter,
    /// Changes that were handed in again and not stored again.
    pub repeated_changes: Counter,
    /// Failed attempts to write, by operation.
    pub failures: Family<OperationLabel, Counter>,
    /// 1 while the trace folder cannot be written.
    pub failing: Gauge,
    /// Highest revision of `changes` that would survive a power loss.
    pub durable_revision: Gauge,
}

impl Default for StoreMetrics {
    fn default() -> Self {
        Self {
            rows: Family::default(),
            journal_bytes: Counter::default(),
            // 0.1 ms to 6.5 s.
            sync_seconds: Histogram::new(exponential_buckets(0.0001, 4.0, 9)),
            // 10 ms to 160 s.
            seal_seconds: Histogram::new(exponential_buckets(0.01, 4.0, 8)),
            sealed_bytes: Counter::default(),
            unsealed_segments: Gauge::default(),
            queued_rows: Gauge::default(),
            queued_bytes: Gauge::default(),
            rejected_calls: Counter::default(),
            repeated_changes: Counter::default(),
            failures: Family::default(),
            failing: Gauge::default(),
            durable_revision: Gauge::default(),
        }
    }
}

impl StoreMetrics {
    /// Adds the metrics to `registry`.
    pub fn register(&self, registry: &mut Registry) {
        let store = registry.sub_registry_with_prefix("cascade_store");
        store.register("rows", "Rows made durable, by table", self.rows.clone());
        store.register_with_unit(
            "journal",
            "Bytes written to journals",
            Unit::Bytes,
            self.journal_bytes.clone(),
        );
        store.register_with_unit(
            "sync",
            "Time to write and fsync one table's journal",
            Unit::Seconds,
            self.sync_seconds.clone(),
        );
        store.register_with_unit(
            "seal",
            "Time to turn one journal into Parquet",
            Unit::Seconds,
            self.seal_seconds.clone(),
        );
        store.register_with_unit(
            "sealed",
            "Bytes of sealed Parquet files",
            Unit::Bytes,
            self.sealed_bytes.clone(),
        );
        store.register(
            "unsealed_segments",
            "Finished journals that wait to be turned into Parquet",
            self.unsealed_segments.clone(),
        );
        store.register(
            "queued_rows",
            "Rows that wait for the writer",
            self.queued_rows.clone(),
        );
        store.register_with_unit(
            "queued",
            "Memory of rows that wait for the writer",
            Unit::Bytes,
            self.queued_bytes.clone(),
        );
        store.register(
            "rejected_calls",
            "Calls not recorded because the queue was full or the trace folder could not be written",
            self.rejected_calls.clone(),
        );
        store.register(
            "repeated_changes",
            "Changes that were read again and not stored again",
            self.repeated_changes.clone(),
        );
        store.register(
            "failures",
            "Failed attempts to write to the trace folder, by operation",
            self.failures.clone(),
        );
        store.register(
            "failing",
            "1 while the trace folder cannot be written",
            self.failing.clone(),
        );
        store.register(
            "durable_revision",
            "Highest etcd revision in the trace that would survive a power loss",
            self.durable_revision.clone(),
        );
    }

    pub(super) fn failed(&self, operation: &'static str) {
        self.failures
            .get_or_create(&OperationLabel { operation })
            .inc();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metrics_have_names_and_units_as_prometheus_wants_them() {
        let metrics = StoreMetrics::default();
        let mut registry = Registry::default();
        metrics.register(&mut registry);
        metrics.failed("seal");
        metrics
            .rows
            .get_or_create(&TableLabel { table: "changes" })
            .inc();
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
        for line in [
            "cascade_store_rows_total{table=\"changes\"} 1",
            "cascade_store_journal_bytes_total 0",
            "cascade_store_sync_seconds_count 0",
            "cascade_store_seal_seconds_count 0",
            "cascade_store_sealed_bytes_total 0",
            "cascade_store_unsealed_segments 0",
            "cascade_store_queued_rows 0",
            "cascade_store_queued_bytes 0",
            "cascade_store_rejected_calls_total 0",
            "cascade_store_repeated_changes_total 0",
            "cascade_store_failures_total{operation=\"seal\"} 1",
            "cascade_store_failing 0",
            "cascade_store_durable_revision 0",
        ] {
            assert!(
                text.lines().any(|found| found == line),
                "{line} not in\n{text}"
            );
        }
    }
}
