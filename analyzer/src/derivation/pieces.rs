//! `cascades`, a piece after the other: what the kernel counted joined with how each cascade ended, where memory is too short for a
//! table of either. Both come in the order of the roots.

use std::collections::VecDeque;
use std::sync::Arc;

use arrow::array::AsArray;
use arrow::datatypes::{Int32Type, Int64Type, SchemaRef};
use arrow::record_batch::RecordBatch;
use datafusion::catalog::{MemTable, MemorySchemaProvider};
use datafusion::common::Result as QueryResult;
use datafusion::execution::context::SessionContext;
use datafusion::prelude::SessionConfig;

use crate::derive::{self, CASCADES, Chunks};
use crate::error::Error;
use crate::session::CAUSES_SCHEMA;

/// Cascades of a piece, at least: some MiB.
const PIECE_ROWS: usize = 16 * 1024;
/// How both sides are sorted, and what they are joined by.
const ORDER: [&str; 4] = ["cluster_id", "epoch", "revision", "ordinal"];

/// A place in that order.
type Place = (String, i32, i64, i32);

/// Two tables in the same order, of which parts that belong together are joined.
pub(super) struct Pieces {
    context: SessionContext,
    counted: Side,
    ended: Side,
    /// What was read of how cascades ended, and may belong to the next piece.
    waiting: VecDeque<RecordBatch>,
}

/// One of the tables.
struct Side {
    name: String,
    chunks: Arc<dyn Chunks>,
    schema: SchemaRef,
    next: usize,
}

impl Side {
    async fn of(context: &SessionContext, table: &str) -> Result<Option<Self>, Error> {
        let name = format!("{CAUSES_SCHEMA}.{table}");
        let found = derive::computed(context, &name, &ORDER).await?;
        Ok(found.map(|(chunks, schema)| Self {
            name,
            chunks,
            schema,
            next: 0,
        }))
    }

    fn read(&mut self) -> QueryResult<Option<RecordBatch>> {
        if self.next == self.chunks.count() {
            return Ok(None);
        }
        let columns: Vec<usize> = (0..self.schema.fields().len()).collect();
        let batch = self.chunks.chunk(self.next, &columns)?;
        self.next += 1;
        Ok(Some(batch))
    }
}

impl Pieces {
    /// The pieces of a session; `None` if one of both tables is not derived in memory.
    pub(super) async fn of(context: &SessionContext) -> Result<Option<Self>, Error> {
        let counted = Side::of(context, "cascades").await?;
        let ended = Side::of(context, "convergence").await?;
        let Some((counted, ended)) = counted.zip(ended) else {
            return Ok(None);
        };
        let config = SessionConfig::new().with_target_partitions(1);
        // With memory of its own, since a piece never takes much.
        let joining = SessionContext::new_with_config(config);
        for catalog in joining.catalog_names() {
            if let Some(catalog) = joining.catalog(&catalog) {
                catalog.register_schema(CAUSES_SCHEMA, Arc::new(MemorySchemaProvider::new()))?;
            }
        }
        Ok(Some(Self {
            context: joining,
            counted,
            ended,
            waiting: VecDeque::new(),
        }))
    }

    /// The columns of `cascades`.
    pub(super) async fn schema(&self) -> Result<SchemaRef, Error> {
        self.register(Vec::new(), Vec::new())?;
        let plan = self.context.sql(CASCADES).await?;
        Ok(Arc::clone(plan.schema().inner()))
    }

    /// Makes rows the tables that are joined.
    fn register(&self, counted: Vec<RecordBatch>, ended: Vec<RecordBatch>) -> QueryResult<()> {
        for (side, batches) in [(&self.counted, counted), (&self.ended, ended)] {
            let name = side.name.as_str();
            let rows = MemTable::try_new(Arc::clone(&side.schema), vec![batches])?;
            self.context.deregister_table(name)?;
            self.context.register_table(name, Arc::new(rows))?;
        }
        Ok(())
    }

    /// The next piece of `cascades`; `None` after the last.
    pub(super) async fn next(&mut self) -> Result<Option<Vec<RecordBatch>>, Error> {
        let (mut counted, mut rows) = (Vec::new(), 0);
        while rows < PIECE_ROWS
            && let Some(batch) = self.counted.read()?
        {
            rows += batch.num_rows();
            counted.push(batch);
        }
        let Some(last) = counted.iter().rev().find_map(last_place) else {
            return Ok(None);
        };
        while self.waiting.back().and_then(last_place).as_ref() < Some(&last)
            && let Some(batch) = self.ended.read()?
        {
            self.waiting.push_back(batch);
        }
        self.register(counted, self.waiting.iter().cloned().collect())?;
        let query = format!("SELECT * FROM ({CASCADES}) ORDER BY {}", ORDER.join(", "));
        let joined = self.context.sql(&query).await?.collect().await?;
        while let Some(first) = self.waiting.front()
            && last_place(first).is_none_or(|place| place <= last)
        {
            self.waiting.pop_front();
        }
        Ok(Some(joined))
    }
}

/// The place of the last row.
fn last_place(batch: &RecordBatch) -> Option<Place> {
    let last = batch.num_rows().checked_sub(1)?;
    let [cluster_id, epoch, revision, ordinal] = ORDER.map(|name| batch.column_by_name(name));
    Some((
        cluster_id?.as_string_opt::<i32>()?.value(last).to_owned(),
        epoch?.as_primitive_opt::<Int32Type>()?.value(last),
        revision?.as_primitive_opt::<Int64Type>()?.value(last),
        ordinal?.as_primitive_opt::<Int32Type>()?.value(last),
    ))
}
