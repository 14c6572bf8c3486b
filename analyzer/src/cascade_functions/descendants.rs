//! `cascade(change)`: exactly what followed a change, by the chosen triggers; the change need not be a root.
//!
//! Causes come before effects, so one pass over the edges in revision order finds everything, and memory is
//! needed for the cascade alone.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{ArrayRef, Float64Array, Int64Array};
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
use crate::derive::{Chunks, Derivation};
use crate::error::Error;
use crate::report::rows::{floats, integer, integers};

/// What followed a change.
#[derive(Debug)]
pub(super) struct Descendants {
    start: ChangeArgument,
}

/// A change that followed.
#[derive(Debug)]
struct Followed {
    history: HistoryName,
    key: Key,
    /// Its causes among those that followed, with the confidence of each.
    causes: Vec<(usize, f64)>,
    commit: Option<i64>,
    /// The cause that was committed last.
    predecessor: Option<usize>,
    depth: i64,
    min_confidence: f64,
}

impl Descendants {
    pub(super) fn plan(arguments: &[Expr]) -> QueryResult<Self> {
        let start = ChangeArgument::plan("cascade", arguments)?;
        Ok(Self { start })
    }

    /// The changes of the revision itself, one per history.
    async fn starts(context: &SessionContext, revision: i64) -> Result<Vec<Followed>, Error> {
        let query = format!(
            "SELECT cluster_id, epoch, revision, ordinal FROM raw.changes WHERE revision = {revision}
            ORDER BY cluster_id, epoch, ordinal"
        );
        let mut starts = Vec::new();
        for batch in context.sql(&query).await?.collect().await? {
            let (histories, keys) = (Histories::of(&batch)?, Keys::of(&batch, "")?);
            for row in 0..batch.num_rows() {
                if let Some(key) = keys.get(row) {
                    starts.push(Followed::new(histories.at(row, None), key, Vec::new()));
                }
            }
        }
        Ok(starts)
    }

    /// Adds everything that followed. Returns the position of each change.
    async fn follow(
        context: &SessionContext,
        revision: i64,
        found: &mut Vec<Followed>,
    ) -> Result<HashMap<(HistoryName, Key), usize>, Error> {
        let mut positions: HashMap<(HistoryName, Key), usize> = found
            .iter()
            .enumerate()
            .map(|(position, change)| ((change.history.clone(), change.key), position))
            .collect();
        let query = format!(
            "SELECT cluster_id, epoch, effect_revision, effect_ordinal, cause_revision, cause_ordinal,
                confidence
            FROM edges WHERE relation = 'trigger' AND chosen AND effect_revision >= {revision}
                AND cause_revision >= {revision}
            ORDER BY cluster_id, epoch, effect_revision, effect_ordinal"
        );
        let mut batches = context.sql(&query).await?.execute_stream().await?;
        let mut last: Option<HistoryName> = None;
        while let Some(batch) = batches.next().await.transpose()? {
            let histories = Histories::of(&batch)?;
            let (effects, causes) = (Keys::of(&batch, "effect_")?, Keys::of(&batch, "cause_")?);
            let confidences = floats(&batch, "confidence")?;
            for row in 0..batch.num_rows() {
                let history = histories.at(row, last.as_ref());
                last = Some(history.clone());
                let Some((effect, cause)) = effects.get(row).zip(causes.get(row)) else {
                    continue;
                };
                let Some(cause) = positions.get(&(history.clone(), cause)).copied() else {
                    continue;
                };
                let edge = (cause, confidences.value(row));
                let position = *positions
                    .entry((history.clone(), effect))
                    .or_insert(found.len());
                match found.get_mut(position) {
                    Some(change) => change.causes.push(edge),
                    None => found.push(Followed::new(history, effect, vec![edge])),
                }
            }
        }
        Ok(positions)
    }

    /// Dates the changes that were found at these positions.
    async fn date(
        context: &SessionContext,
        found: &mut [Followed],
        positions: &HashMap<(HistoryName, Key), usize>,
    ) -> Result<(), Error> {
        let revisions = found.iter().map(|change| change.key.0);
        let Some((first, last)) = revisions.clone().min().zip(revisions.max()) else {
            return Ok(());
        };
        let query = format!(
            "SELECT cluster_id, epoch, revision, ordinal, commit_unix_nano FROM writes
            WHERE revision BETWEEN {first} AND {last}"
        );
        let mut batches = context.sql(&query).await?.execute_stream().await?;
        while let Some(batch) = batches.next().await.transpose()? {
            let (histories, keys) = (Histories::of(&batch)?, Keys::of(&batch, "")?);
            let commits = integers(&batch, "commit_unix_nano")?;
            let mut history: Option<HistoryName> = None;
            for row in 0..batch.num_rows() {
                let Some(key) = keys.get(row) else { continue };
                let name = histories.at(row, history.as_ref());
                history = Some(name.clone());
                let position = positions.get(&(name, key));
                if let Some(change) = position.and_then(|position| found.get_mut(*position)) {
                    change.commit = integer(&commits, row);
                }
            }
        }
        Ok(())
    }

    /// Finds the critical predecessor of each: causes come first.
    fn link(found: &mut [Followed]) {
        for position in 0..found.len() {
            let Some(change) = found.get(position) else {
                continue;
            };
            let critical = change
                .causes
                .iter()
                .filter_map(|(cause, confidence)| Some((*cause, *confidence, found.get(*cause)?)))
                .max_by_key(|(_, _, cause)| (cause.commit, cause.key));
            let Some((cause, confidence, before)) = critical else {
                continue;
            };
            let (depth, weakest) = (before.depth + 1, before.min_confidence.min(confidence));
            if let Some(change) = found.get_mut(position) {
                change.predecessor = Some(cause);
                change.depth = depth;
                change.min_confidence = weakest;
            }
        }
    }
}

impl Followed {
    fn new(history: HistoryName, key: Key, causes: Vec<(usize, f64)>) -> Self {
        Self {
            history,
            key,
            causes,
            commit: None,
            predecessor: None,
            depth: 0,
            min_confidence: 1.0,
        }
    }
}

#[async_trait]
impl Derivation for Descendants {
    fn name(&self) -> &'static str {
        "cascade"
    }

    fn schema(&self) -> SchemaRef {
        let mut fields: Vec<Field> = history_fields().into();
        fields.extend(key_fields("", false));
        fields.push(Field::new("depth", DataType::Int64, false));
        fields.push(Field::new("since_ns", DataType::Int64, true));
        fields.extend(key_fields("predecessor_", true));
        fields.push(Field::new("min_confidence", DataType::Float64, false));
        Arc::new(Schema::new(fields))
    }

    async fn rows(&self, context: &SessionContext) -> Result<Arc<dyn Chunks>, Error> {
        let mut found = Vec::new();
        if let Some(revision) = self.start.revision(context).await? {
            found = Self::starts(context, revision).await?;
            let positions = Self::follow(context, revision, &mut found).await?;
            Self::date(context, &mut found, &positions).await?;
            Self::link(&mut found);
        }
        // The commit of the start that each goes back to, along the critical path.
        let mut began: Vec<Option<i64>> = Vec::with_capacity(found.len());
        for change in &found {
            let start = match change.predecessor {
                Some(before) => began.get(before).copied().flatten(),
                None => change.commit,
            };
            began.push(start);
        }
        let since = found
            .iter()
            .zip(&began)
            .map(|(change, began)| Some(change.commit?.saturating_sub((*began)?)));
        let key_of = |position: usize| found.get(position).map(|change: &Followed| change.key);
        let mut columns: Vec<ArrayRef> =
            history_columns(found.iter().map(|change| &change.history)).into();
        columns.extend(key_columns(found.iter().map(|change| Some(change.key))));
        columns.push(numbers(found.iter().map(|change| change.depth)));
        columns.push(Arc::new(Int64Array::from_iter(since)));
        columns.extend(key_columns(
            found
                .iter()
                .map(|change| change.predecessor.and_then(key_of)),
        ));
        columns.push(Arc::new(Float64Array::from_iter_values(
            found.iter().map(|change| change.min_confidence),
        )));
        let batch = RecordBatch::try_new(self.schema(), columns)
            .map_err(|error| Error::Internal(error.to_string()))?;
        Ok(Arc::new(vec![batch]))
    }
}
