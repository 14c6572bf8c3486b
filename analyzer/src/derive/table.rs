//! A table whose rows are computed when they are first read.

use std::fmt::Debug;
use std::ops::Range;
use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use arrow::record_batch::RecordBatch;
use async_trait::async_trait;
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::{DataFusionError, Result, exec_datafusion_err, project_schema};
use datafusion::datasource::TableType;
use datafusion::execution::context::{SessionContext, SessionState};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::logical_expr::Expr;
use datafusion::physical_expr::{LexOrdering, PhysicalSortExpr, expressions};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::streaming::{PartitionStream, StreamingTableExec};
use futures::stream;

use crate::error::Error;

/// How a derived table is computed.
#[async_trait]
pub(crate) trait Derivation: Debug + Send + Sync {
    /// Name of the table.
    fn name(&self) -> &'static str;

    /// Its columns.
    fn schema(&self) -> SchemaRef;

    /// Columns that the rows are sorted by, ascending; empty when they are in no order.
    fn order(&self) -> &'static [&'static str] {
        &[]
    }

    /// The rows; computed at the first call, kept for the next ones. `context` answers questions to
    /// the raw tables.
    async fn rows(&self, context: &SessionContext) -> Result<Arc<dyn Chunks>, Error>;
}

/// Computed rows in chunks, which become record batches as they are read.
pub(crate) trait Chunks: Debug + Send + Sync {
    /// Number of chunks.
    fn count(&self) -> usize;

    /// Chunk `index`, of the columns at `projection` only.
    ///
    /// # Errors
    /// When Arrow refuses the columns, which would be a mistake in the derivation.
    fn chunk(&self, index: usize, projection: &[usize]) -> Result<RecordBatch>;
}

impl Chunks for Vec<RecordBatch> {
    fn count(&self) -> usize {
        self.len()
    }

    fn chunk(&self, index: usize, projection: &[usize]) -> Result<RecordBatch> {
        let batch = self
            .get(index)
            .ok_or_else(|| exec_datafusion_err!("no chunk {index}"))?;
        Ok(batch.project(projection)?)
    }
}

/// A derived table as DataFusion sees it.
#[derive(Debug)]
pub(crate) struct DerivedTable {
    derivation: Arc<dyn Derivation>,
}

impl DerivedTable {
    /// The table that `derivation` computes.
    pub(crate) fn new(derivation: Arc<dyn Derivation>) -> Self {
        Self { derivation }
    }

    /// Columns that the rows are sorted by, ascending.
    pub(crate) fn order(&self) -> &'static [&'static str] {
        self.derivation.order()
    }

    /// The rows.
    ///
    /// # Errors
    /// When they cannot be derived.
    pub(crate) async fn rows(&self, context: &SessionContext) -> Result<Arc<dyn Chunks>, Error> {
        self.derivation.rows(context).await
    }
}

/// A context with the settings, tables and memory of the session that plans a query, to compute what
/// its tables need. It is made anew each time: a table that kept one would keep itself alive.
///
/// # Errors
/// When the session is not one of DataFusion's own.
pub(crate) fn context_of(session: &dyn Session) -> Result<SessionContext> {
    let state = session
        .as_any()
        .downcast_ref::<SessionState>()
        .ok_or_else(|| exec_datafusion_err!("derived tables need a DataFusion session"))?;
    Ok(SessionContext::new_with_state(state.clone()))
}

/// Our error as DataFusion's.
pub(crate) fn external(error: Error) -> DataFusionError {
    match error {
        Error::Query(error) => error,
        error => DataFusionError::External(Box::new(error)),
    }
}

#[async_trait]
impl TableProvider for DerivedTable {
    fn schema(&self) -> SchemaRef {
        self.derivation.schema()
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    async fn scan(
        &self,
        session: &dyn Session,
        projection: Option<&Vec<usize>>,
        _filters: &[Expr],
        limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let rows = self
            .derivation
            .rows(&context_of(session)?)
            .await
            .map_err(external)?;
        scan_chunks(
            &rows,
            &self.derivation.schema(),
            self.derivation.order(),
            projection,
            session.config().target_partitions(),
            limit,
        )
    }
}

/// A plan that reads computed rows, in parallel.
fn scan_chunks(
    rows: &Arc<dyn Chunks>,
    schema: &SchemaRef,
    order: &[&str],
    projection: Option<&Vec<usize>>,
    partitions: usize,
    limit: Option<usize>,
) -> Result<Arc<dyn ExecutionPlan>> {
    let projected = project_schema(schema, projection)?;
    let columns: Arc<[usize]> = match projection {
        Some(columns) => columns.as_slice().into(),
        None => (0..schema.fields().len()).collect(),
    };
    let per_partition = rows.count().div_ceil(partitions.max(1)).max(1);
    let streams = (0..rows.count().max(1))
        .step_by(per_partition)
        .map(|first| {
            let partition = ChunkStream {
                rows: Arc::clone(rows),
                chunks: first..(first + per_partition).min(rows.count()),
                columns: Arc::clone(&columns),
                schema: Arc::clone(&projected),
            };
            Arc::new(partition) as Arc<dyn PartitionStream>
        })
        .collect();
    // A prefix of the order holds for the columns that are read.
    let sorted = order
        .iter()
        .map_while(|name| expressions::col(name, &projected).ok())
        .map(PhysicalSortExpr::new_default);
    let plan = StreamingTableExec::try_new(
        projected.clone(),
        streams,
        None,
        LexOrdering::new(sorted),
        false,
        limit,
    )?;
    Ok(Arc::new(plan))
}

/// Some chunks of computed rows.
#[derive(Debug)]
struct ChunkStream {
    rows: Arc<dyn Chunks>,
    chunks: Range<usize>,
    columns: Arc<[usize]>,
    schema: SchemaRef,
}

impl PartitionStream for ChunkStream {
    fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    fn execute(&self, _context: Arc<TaskContext>) -> SendableRecordBatchStream {
        let (rows, columns) = (Arc::clone(&self.rows), Arc::clone(&self.columns));
        let batches = self
            .chunks
            .clone()
            .map(move |index| rows.chunk(index, &columns));
        Box::pin(RecordBatchStreamAdapter::new(
            Arc::clone(&self.schema),
            stream::iter(batches),
        ))
    }
}
