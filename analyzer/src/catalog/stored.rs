//! The table provider over the files and journals of one table.

use std::sync::Arc;

use arrow::array::ArrayRef;
use arrow::datatypes::{Schema, SchemaRef};
use arrow::record_batch::{RecordBatch, RecordBatchOptions};
use async_trait::async_trait;
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::config::TableParquetOptions;
use datafusion::common::{DFSchema, Result, Statistics};
use datafusion::datasource::TableType;
use datafusion::datasource::file_format::FileFormat;
use datafusion::datasource::file_format::parquet::ParquetFormat;
use datafusion::datasource::listing::PartitionedFile;
use datafusion::datasource::listing::helpers::{expr_applicable_for_cols, filter_partitioned_file};
use datafusion::datasource::memory::MemorySourceConfig;
use datafusion::datasource::physical_plan::{FileGroup, FileScanConfig, FileScanConfigBuilder};
use datafusion::datasource::table_schema::TableSchemaBuilder;
use datafusion::execution::object_store::ObjectStoreUrl;
use datafusion::logical_expr::{Expr, TableProviderFilterPushDown};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::empty::EmptyExec;
use datafusion::physical_plan::union::UnionExec;
use datafusion::scalar::ScalarValue;

use super::layout::{PARTITION_COLUMNS, partition_fields};

/// Groups of files, each in order, that are merged rather than sorted even if that takes more partitions than were asked for:
/// recordings of one cluster by several interceptors overlap.
const MOST_MERGED: usize = 8;

/// A table as stored: sealed files of one or several stores, and batches read from journals.
///
/// It is a snapshot: the files are those that existed when the trace was opened. A plain
/// `ListingTable` lists anew for each query, and while an interceptor seals its journals the same
/// rows would then be read from the journal's batches and from the sealed file.
#[derive(Debug)]
pub struct StoredTable {
    /// Columns in the files.
    file_schema: SchemaRef,
    /// The same and the partition columns.
    schema: SchemaRef,
    stores: Vec<StoreFiles>,
    journals: Vec<JournalRows>,
}

/// Sealed files in one store.
#[derive(Debug)]
pub(super) struct StoreFiles {
    pub(super) store: ObjectStoreUrl,
    pub(super) files: Vec<PartitionedFile>,
}

/// Rows of one journal.
#[derive(Debug)]
pub(super) struct JournalRows {
    /// Values of the partition columns.
    pub(super) partition: Vec<ScalarValue>,
    /// In the file schema.
    pub(super) batches: Vec<RecordBatch>,
}

impl StoredTable {
    pub(super) fn new(
        file_schema: SchemaRef,
        stores: Vec<StoreFiles>,
        journals: Vec<JournalRows>,
    ) -> Self {
        let fields: Vec<_> = file_schema
            .fields()
            .iter()
            .cloned()
            .chain(partition_fields())
            .collect();
        Self {
            file_schema,
            schema: Arc::new(Schema::new(fields)),
            stores,
            journals,
        }
    }

    /// Whether a filter needs nothing but the names of folders.
    fn is_partition_filter(filter: &Expr) -> bool {
        let names = PARTITION_COLUMNS.each_ref().map(|(name, _)| *name);
        expr_applicable_for_cols(&names, filter)
    }

    /// A scan of the files that `filters`, on partition columns, leave.
    async fn scan_files(
        &self,
        state: &dyn Session,
        store: &StoreFiles,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        limit: Option<usize>,
    ) -> Result<Option<Arc<dyn ExecutionPlan>>> {
        let partition_schema = partition_schema()?;
        let mut files = Vec::with_capacity(store.files.len());
        for file in &store.files {
            files.extend(filter_partitioned_file(
                file.clone(),
                filters,
                &partition_schema,
            )?);
        }
        if files.is_empty() {
            return Ok(None);
        }
        let statistics = Statistics::try_merge_iter(
            files.iter().filter_map(|file| file.statistics.as_deref()),
            &self.schema,
        )?;
        let ordering = files
            .first()
            .and_then(|file| file.ordering.clone())
            .filter(|first| {
                files
                    .iter()
                    .all(|file| file.ordering.as_ref() == Some(first))
            });
        let partitions = state.config().target_partitions().max(1);
        let mut groups = FileGroup::new(files).split_files(partitions);
        if let Some(ordering) = &ordering {
            // Files that follow one another keep their order when read as one, so that queries in
            // revision order merge instead of sorting. Not possible when they overlap.
            let ordered = FileScanConfig::split_groups_by_statistics_with_target_partitions(
                &self.schema,
                &groups,
                ordering,
                partitions,
            );
            if let Ok(ordered) = ordered
                && ordered.len() <= partitions.max(MOST_MERGED)
            {
                groups = ordered;
            }
        }
        let options = TableParquetOptions {
            global: state.config_options().execution.parquet.clone(),
            ..TableParquetOptions::default()
        };
        let format = ParquetFormat::default().with_options(options);
        let table_schema = TableSchemaBuilder::new(Arc::clone(&self.file_schema))
            .with_table_partition_cols(partition_fields())
            .build();
        let scan =
            FileScanConfigBuilder::new(store.store.clone(), format.file_source(table_schema))
                .with_file_groups(groups)
                .with_statistics(statistics)
                .with_projection_indices(projection.cloned())?
                .with_limit(limit)
                .with_output_ordering(ordering.into_iter().collect())
                .build();
        format.create_physical_plan(state, scan).await.map(Some)
    }

    /// The journals' rows that `filters`, on partition columns, leave.
    fn scan_journals(
        &self,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
    ) -> Result<Option<Arc<dyn ExecutionPlan>>> {
        let partition_schema = partition_schema()?;
        let mut partitions = Vec::new();
        for journal in &self.journals {
            let stand_in =
                PartitionedFile::new("", 0).with_partition_values(journal.partition.clone());
            if filter_partitioned_file(stand_in, filters, &partition_schema)?.is_none() {
                continue;
            }
            let batches: Result<Vec<_>> = journal
                .batches
                .iter()
                .map(|batch| self.with_partition(batch, &journal.partition))
                .collect();
            partitions.push(batches?);
        }
        if partitions.is_empty() {
            return Ok(None);
        }
        let scan = MemorySourceConfig::try_new_exec(
            &partitions,
            Arc::clone(&self.schema),
            projection.cloned(),
        )?;
        Ok(Some(scan))
    }

    fn with_partition(&self, batch: &RecordBatch, values: &[ScalarValue]) -> Result<RecordBatch> {
        let rows = batch.num_rows();
        let mut columns: Vec<ArrayRef> = batch.columns().to_vec();
        for value in values {
            columns.push(value.to_array_of_size(rows)?);
        }
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        let schema = Arc::clone(&self.schema);
        Ok(RecordBatch::try_new_with_options(
            schema, columns, &options,
        )?)
    }
}

/// The partition columns alone.
fn partition_schema() -> Result<DFSchema> {
    DFSchema::try_from(Schema::new(partition_fields()))
}

#[async_trait]
impl TableProvider for StoredTable {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    fn supports_filters_pushdown(
        &self,
        filters: &[&Expr],
    ) -> Result<Vec<TableProviderFilterPushDown>> {
        Ok(filters
            .iter()
            .map(|filter| {
                if Self::is_partition_filter(filter) {
                    TableProviderFilterPushDown::Exact
                } else {
                    // The plan keeps the filter; the optimizer moves it into the Parquet scan.
                    TableProviderFilterPushDown::Inexact
                }
            })
            .collect())
    }

    async fn scan(
        &self,
        state: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let (partition_filters, others): (Vec<Expr>, Vec<Expr>) =
            filters.iter().cloned().partition(Self::is_partition_filter);
        // A limit counts rows after filters.
        let limit = limit.filter(|_| others.is_empty());
        let mut plans = Vec::new();
        for store in &self.stores {
            let plan = self
                .scan_files(state, store, projection, &partition_filters, limit)
                .await?;
            plans.extend(plan);
        }
        plans.extend(self.scan_journals(projection, &partition_filters)?);
        match plans.len() {
            0 => {
                let schema = datafusion::common::project_schema(&self.schema, projection)?;
                Ok(Arc::new(EmptyExec::new(schema)))
            }
            1 => Ok(plans.remove(0)),
            _ => UnionExec::try_new(plans),
        }
    }
}
