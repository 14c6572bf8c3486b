//! What has to be known of a journal before it is turned into Parquet: the footer and the writer's
//! settings come before the first row.

use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::Path;
use std::sync::Arc;

use arrow::array::{Array, AsArray};
use arrow::datatypes::{Int32Type, Int64Type, Schema, SchemaRef};
use arrow::record_batch::RecordBatch;
use cascade_proto::journal::{JournalError, JournalReader};
use cascade_proto::tables::{Call, Change, Table, metadata_keys};
use parquet::file::metadata::KeyValue;

use super::columns::{order_columns, revision_column};
use super::segment::widen;

/// Opens the durable part of a journal; `None` when there is no such file.
pub(super) fn open_journal(
    journal: &Path,
    length: u64,
) -> Result<Option<JournalReader<impl Read + use<>>>, JournalError> {
    match File::open(journal) {
        Ok(file) => JournalReader::open(BufReader::new(file), length).map(Some),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// What has to be known before the first row is written.
pub(super) struct Summary {
    pub(super) schema: SchemaRef,
    /// The journal's.
    metadata: Vec<(String, String)>,
    pub(super) rows: u64,
    pub(super) revisions: Option<(i64, i64)>,
    /// The one cluster that all rows are of.
    pub(super) cluster_id: Option<String>,
    several_clusters: bool,
    /// Whether the rows are in the order that the table promises.
    pub(super) sorted: bool,
    last: Option<(i32, i64, i32)>,
    /// In `changes`: the highest epoch and revision.
    pub(super) newest: Option<(i32, i64)>,
}

impl Summary {
    /// Reads the journal once, without copying; `None` when there is no such file.
    pub(super) fn read(
        journal: &Path,
        length: u64,
        table: &str,
    ) -> Result<Option<Self>, JournalError> {
        let Some(mut batches) = open_journal(journal, length)? else {
            return Ok(None);
        };
        let schema = batches
            .schema()
            .unwrap_or_else(|| Arc::new(Schema::empty()));
        let mut metadata: Vec<(String, String)> = schema.metadata().clone().into_iter().collect();
        metadata.sort();
        let mut summary = Self {
            // Without the metadata that the journal adds.
            schema: Arc::new(Schema::new(schema.fields().clone())),
            metadata,
            rows: 0,
            revisions: None,
            cluster_id: None,
            several_clusters: false,
            sorted: !order_columns(table).is_empty(),
            last: None,
            newest: None,
        };
        while let Some(batch) = batches.next_batch()? {
            summary.add(table, &batch);
        }
        Ok(Some(summary))
    }

    fn add(&mut self, table: &str, batch: &RecordBatch) {
        self.rows += batch.num_rows() as u64;
        if let Some(revisions) = revision_column(table)
            .and_then(|name| batch.column_by_name(name))
            .and_then(|column| column.as_primitive_opt::<Int64Type>().cloned())
        {
            let low = arrow::compute::min(&revisions);
            let high = arrow::compute::max(&revisions);
            self.revisions = widen(self.revisions, low.zip(high));
        }
        if let Some(clusters) = batch
            .column_by_name("cluster_id")
            .and_then(|column| column.as_string_opt::<i32>())
        {
            for cluster in clusters.iter().flatten() {
                match &self.cluster_id {
                    None => self.cluster_id = Some(cluster.to_owned()),
                    Some(known) => self.several_clusters |= known != cluster,
                }
            }
        }
        if table == Change::NAME {
            self.sorted &= self.continues_in_order(batch);
        }
    }

    /// Whether epoch, revision and ordinal rise from row to row.
    fn continues_in_order(&mut self, batch: &RecordBatch) -> bool {
        let int32 = |name| {
            batch
                .column_by_name(name)
                .and_then(|column| column.as_primitive_opt::<Int32Type>())
        };
        let revision = batch
            .column_by_name("revision")
            .and_then(|column| column.as_primitive_opt::<Int64Type>());
        let (Some(epoch), Some(revision), Some(ordinal)) =
            (int32("epoch"), revision, int32("ordinal"))
        else {
            return false;
        };
        if epoch.null_count() + revision.null_count() + ordinal.null_count() > 0 {
            return false;
        }
        let mut rises = true;
        let rows = epoch.values().iter().zip(revision.values().iter());
        for ((epoch, revision), ordinal) in rows.zip(ordinal.values().iter()) {
            let place = (*epoch, *revision, *ordinal);
            rises &= self.last.is_none_or(|last| last < place);
            self.last = Some(place);
            self.newest = self.newest.max(Some((*epoch, *revision)));
        }
        rises
    }

    /// The footer's metadata: the journal's, and what is known only now.
    pub(super) fn footer(&self, table: &str, dropped: Option<u64>) -> Vec<KeyValue> {
        let mut footer: Vec<KeyValue> = self
            .metadata
            .iter()
            .filter(|(key, _)| key != metadata_keys::CLUSTER_ID)
            .map(|(key, value)| KeyValue::new(key.clone(), value.clone()))
            .collect();
        let mut add = |key: &str, value: Option<String>| {
            if let Some(value) = value {
                footer.push(KeyValue::new(key.to_owned(), value));
            }
        };
        let cluster_id = self.cluster_id.clone().filter(|_| !self.several_clusters);
        add(metadata_keys::CLUSTER_ID, cluster_id);
        add(
            metadata_keys::FIRST_REVISION,
            self.revisions.map(|(first, _)| first.to_string()),
        );
        add(
            metadata_keys::LAST_REVISION,
            self.revisions.map(|(_, last)| last.to_string()),
        );
        if table == Call::NAME {
            add(
                metadata_keys::DROPPED,
                dropped.map(|dropped| dropped.to_string()),
            );
        }
        footer
    }
}
