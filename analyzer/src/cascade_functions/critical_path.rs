//! `critical_path(change)`: the way from each of its roots to a change, hop by hop, as `reach` has it.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::ArrayRef;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use arrow::record_batch::RecordBatch;
use async_trait::async_trait;
use datafusion::common::Result as QueryResult;
use datafusion::execution::context::SessionContext;
use datafusion::logical_expr::Expr;
use futures::StreamExt;

use super::argument::ChangeArgument;
use super::rows::{
    Histories, HistoryName, Key, Keys, history_columns, history_fields, key_columns, key_fields,
    numbers,
};
use super::sums::{SumColumns, Sums};
use crate::derive::{Chunks, Derivation};
use crate::error::Error;

/// The critical paths to a change.
#[derive(Debug)]
pub(super) struct CriticalPath {
    end: ChangeArgument,
}

/// A change on a path.
#[derive(Debug)]
struct Step {
    history: HistoryName,
    root: Key,
    position: i64,
    key: Key,
    since_root: i64,
    /// From the step before to this one.
    hop: Sums,
}

/// A change that a root reached, with what was before it.
type Reached = (Option<Key>, Sums);

impl CriticalPath {
    pub(super) fn plan(arguments: &[Expr]) -> QueryResult<Self> {
        let end = ChangeArgument::plan("critical_path", arguments)?;
        Ok(Self { end })
    }

    async fn steps(context: &SessionContext, revision: i64) -> Result<Vec<Step>, Error> {
        // All that the roots of the change had reached before it; root after root.
        let query = format!(
            "SELECT r.cluster_id, r.epoch, r.root_revision, r.root_ordinal, r.revision, r.ordinal,
                r.predecessor_revision, r.predecessor_ordinal,
                r.since_root_ns, r.reaction_ns, r.api_ns, r.storage_ns
            FROM (SELECT * FROM reach WHERE revision <= {revision}) r
            JOIN (SELECT DISTINCT cluster_id, epoch, root_revision, root_ordinal FROM reach
                WHERE revision = {revision}) e
            ON e.cluster_id = r.cluster_id AND e.epoch = r.epoch
                AND e.root_revision = r.root_revision AND e.root_ordinal = r.root_ordinal
            ORDER BY r.cluster_id, r.epoch, r.root_revision, r.root_ordinal, r.revision, r.ordinal"
        );
        let mut batches = context.sql(&query).await?.execute_stream().await?;
        let mut steps = Vec::new();
        let mut cascade: HashMap<Key, Reached> = HashMap::new();
        let mut current: Option<(HistoryName, Key)> = None;
        while let Some(batch) = batches.next().await.transpose()? {
            let (histories, roots) = (Histories::of(&batch)?, Keys::of(&batch, "root_")?);
            let (keys, before) = (Keys::of(&batch, "")?, Keys::of(&batch, "predecessor_")?);
            let sums = SumColumns::of(&batch)?;
            for row in 0..batch.num_rows() {
                let Some((root, key)) = roots.get(row).zip(keys.get(row)) else {
                    continue;
                };
                let history = histories.at(row, current.as_ref().map(|(history, _)| history));
                let place = (history, root);
                if current.as_ref() != Some(&place) {
                    cascade.clear();
                    current = Some(place.clone());
                }
                cascade.insert(key, (before.get(row), sums.at(row)));
                if key.0 == revision {
                    add_path(&place, key, &cascade, &mut steps);
                }
            }
        }
        Ok(steps)
    }
}

/// Walks back from `end` to the root.
fn add_path(
    (history, root): &(HistoryName, Key),
    end: Key,
    cascade: &HashMap<Key, Reached>,
    steps: &mut Vec<Step>,
) {
    let mut path = Vec::new();
    let mut next = Some(end);
    while let Some(key) = next {
        let Some((before, sums)) = cascade.get(&key) else {
            break;
        };
        path.push((key, *sums));
        // Predecessors are earlier revisions, so this ends.
        next = before.filter(|before| *before < key);
    }
    let mut before = Sums::default();
    for (position, (key, sums)) in (0_i64..).zip(path.into_iter().rev()) {
        steps.push(Step {
            history: history.clone(),
            root: *root,
            position,
            key,
            since_root: sums.total,
            hop: sums.since(before),
        });
        before = sums;
    }
}

#[async_trait]
impl Derivation for CriticalPath {
    fn name(&self) -> &'static str {
        "critical_path"
    }

    fn schema(&self) -> SchemaRef {
        let mut fields: Vec<Field> = history_fields().into();
        fields.extend(key_fields("root_", false));
        fields.push(Field::new("position", DataType::Int64, false));
        fields.extend(key_fields("", false));
        for name in [
            "since_root_ns",
            "hop_ns",
            "reaction_ns",
            "api_ns",
            "storage_ns",
        ] {
            fields.push(Field::new(name, DataType::Int64, false));
        }
        Arc::new(Schema::new(fields))
    }

    async fn rows(&self, context: &SessionContext) -> Result<Arc<dyn Chunks>, Error> {
        let steps = match self.end.revision(context).await? {
            Some(revision) => Self::steps(context, revision).await?,
            None => Vec::new(),
        };
        let mut columns: Vec<ArrayRef> =
            history_columns(steps.iter().map(|step| &step.history)).into();
        columns.extend(key_columns(steps.iter().map(|step| Some(step.root))));
        columns.push(numbers(steps.iter().map(|step| step.position)));
        columns.extend(key_columns(steps.iter().map(|step| Some(step.key))));
        columns.push(numbers(steps.iter().map(|step| step.since_root)));
        columns.push(numbers(steps.iter().map(|step| step.hop.total)));
        columns.push(numbers(steps.iter().map(|step| step.hop.reaction)));
        columns.push(numbers(steps.iter().map(|step| step.hop.api)));
        columns.push(numbers(steps.iter().map(|step| step.hop.storage)));
        let batch = RecordBatch::try_new(self.schema(), columns)
            .map_err(|error| Error::Internal(error.to_string()))?;
        Ok(Arc::new(vec![batch]))
    }
}
