//! The derived tables of causes, as DataFusion reads them.

mod cascades;
mod cpids;
mod edges;
mod hops;
mod path_steps;
mod reach;
mod roots;

use std::ops::Range;
use std::sync::Arc;

use arrow::array::{ArrayRef, Int32Array, Int64Array, StringBuilder};
use arrow::datatypes::{DataType, SchemaRef};
use arrow::record_batch::{RecordBatch, RecordBatchOptions};
use async_trait::async_trait;
use cascade_proto::tables::{ColumnDefinition, TableInfo};
use datafusion::common::{Result as QueryResult, exec_datafusion_err};
use datafusion::execution::context::SessionContext;

pub(crate) use cpids::{CPIDS_RAW_COLUMNS, CpidsBeside, cpids_info};

use super::{Causes, History};
use crate::derive::{Chunks, Derivation, Derived};
use crate::error::Error;

/// Changes whose rows make one record batch.
const CHUNK_CHANGES: u32 = 4096;

/// A table whose rows are made from the causes of a range of changes.
pub(super) trait CauseTable: std::fmt::Debug + Send + Sync {
    /// Name and columns; the first two are the cluster and the epoch.
    fn info(&self) -> TableInfo;

    /// Columns that the rows are sorted by, ascending.
    fn order(&self) -> &'static [&'static str] {
        &["cluster_id", "epoch", "revision", "ordinal"]
    }

    /// The other columns, for the rows of some changes of a history.
    fn columns(&self, history: &History, changes: Range<u32>) -> Vec<ArrayRef>;
}

/// The tables, in the order of the documentation.
fn all() -> Vec<Arc<dyn CauseTable>> {
    vec![
        Arc::new(edges::Edges),
        Arc::new(roots::Roots),
        Arc::new(cpids::MergesTable),
        Arc::new(reach::ReachTable),
        Arc::new(path_steps::PathSteps),
        Arc::new(hops::Hops),
        Arc::new(cascades::CascadesTable),
    ]
}

/// Descriptions of those that people query.
pub(crate) fn infos() -> Vec<TableInfo> {
    let infos = all().into_iter().map(|table| table.info());
    // Those in a schema of their own are parts of others.
    infos.filter(|info| !info.name.contains('.')).collect()
}

/// How each is computed.
pub(crate) fn derivations(derived: &Arc<Derived>) -> Vec<Arc<dyn Derivation>> {
    all()
        .into_iter()
        .map(|table| {
            let derivation = CauseDerivation {
                derived: Arc::clone(derived),
                table,
            };
            Arc::new(derivation) as Arc<dyn Derivation>
        })
        .collect()
}

/// A column that is never NULL.
pub(crate) fn required(
    name: &str,
    data_type: DataType,
    documentation: &'static str,
) -> ColumnDefinition {
    ColumnDefinition {
        name: name.to_owned(),
        data_type,
        nullable: false,
        documentation,
    }
}

/// A column that may be NULL.
pub(crate) fn optional(
    name: &str,
    data_type: DataType,
    documentation: &'static str,
) -> ColumnDefinition {
    ColumnDefinition {
        nullable: true,
        ..required(name, data_type, documentation)
    }
}

/// The columns that every table of causes begins with.
pub(super) fn history_columns() -> [ColumnDefinition; 2] {
    [
        required(
            "cluster_id",
            DataType::Utf8,
            "etcd cluster id, lowercase hex.",
        ),
        required(
            "epoch",
            DataType::Int32,
            "Counts restores of the same cluster, from 0.",
        ),
    ]
}

/// The columns that a table of single changes begins with; `revision` says which change it is.
pub(crate) fn change_columns(revision: &'static str) -> [ColumnDefinition; 4] {
    let [cluster_id, epoch] = history_columns();
    [
        cluster_id,
        epoch,
        required("revision", DataType::Int64, revision),
        required(
            "ordinal",
            DataType::Int32,
            "Its position within the revision.",
        ),
    ]
}

#[derive(Debug)]
struct CauseDerivation {
    derived: Arc<Derived>,
    table: Arc<dyn CauseTable>,
}

#[async_trait]
impl Derivation for CauseDerivation {
    fn name(&self) -> &'static str {
        self.table.info().name
    }

    fn schema(&self) -> SchemaRef {
        self.table.info().schema()
    }

    fn order(&self) -> &'static [&'static str] {
        self.table.order()
    }

    async fn rows(&self, context: &SessionContext) -> Result<Arc<dyn Chunks>, Error> {
        let causes = self.derived.causes(context).await?;
        Ok(Arc::new(CauseChunks::new(causes, Arc::clone(&self.table))))
    }
}

/// The rows of one table, made as they are read.
#[derive(Debug)]
struct CauseChunks {
    causes: Arc<Causes>,
    table: Arc<dyn CauseTable>,
    schema: SchemaRef,
    chunks: Vec<(usize, Range<u32>)>,
}

impl CauseChunks {
    fn new(causes: Arc<Causes>, table: Arc<dyn CauseTable>) -> Self {
        let mut chunks = Vec::new();
        for (history, found) in causes.histories.iter().enumerate() {
            let mut start = 0;
            while start < found.len() {
                let end = found.len().min(start + CHUNK_CHANGES);
                chunks.push((history, start..end));
                start = end;
            }
        }
        Self {
            schema: table.info().schema(),
            causes,
            table,
            chunks,
        }
    }
}

/// The rows of all tables.
#[cfg(test)]
pub(super) fn rows(causes: &Arc<Causes>) -> Vec<Vec<RecordBatch>> {
    let rows = |table: Arc<dyn CauseTable>| {
        let columns: Vec<usize> = (0..table.info().columns.len()).collect();
        let chunks = CauseChunks::new(Arc::clone(causes), table);
        (0..chunks.count())
            .map(|chunk| chunks.chunk(chunk, &columns).unwrap())
            .collect()
    };
    all().into_iter().map(rows).collect()
}

impl Chunks for CauseChunks {
    fn count(&self) -> usize {
        self.chunks.len()
    }

    fn chunk(&self, index: usize, projection: &[usize]) -> QueryResult<RecordBatch> {
        let missing = || exec_datafusion_err!("no chunk {index}");
        let (history, range) = self.chunks.get(index).ok_or_else(missing)?;
        let history = self.causes.histories.get(*history).ok_or_else(missing)?;
        let columns = self.table.columns(history, range.clone());
        history.changes.storage.check()?;
        let rows = columns.first().map_or(0, |column| column.len());
        let mut clusters = StringBuilder::new();
        (0..rows).for_each(|_| clusters.append_value(&history.cluster_id));
        let mut all: Vec<ArrayRef> = vec![
            Arc::new(clusters.finish()),
            Arc::new(Int32Array::from_value(history.epoch, rows)),
        ];
        all.extend(columns);
        let projected: Option<Vec<ArrayRef>> = projection
            .iter()
            .map(|column| all.get(*column).cloned())
            .collect();
        let projected = projected.ok_or_else(missing)?;
        let schema = Arc::new(self.schema.project(projection)?);
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        Ok(RecordBatch::try_new_with_options(
            schema, projected, &options,
        )?)
    }
}

/// Revisions and ordinals of changes, as two columns.
pub(super) fn keys(history: &History, changes: &[u32]) -> [ArrayRef; 2] {
    let found = || changes.iter().map(|change| history.changes.row(*change));
    [
        Arc::new(Int64Array::from_iter(
            found().map(|change| change.map(|change| change.revision)),
        )),
        Arc::new(Int32Array::from_iter(
            found().map(|change| change.map(|change| change.ordinal)),
        )),
    ]
}
