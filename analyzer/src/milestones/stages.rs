//! `stages`: when each object reached each milestone, and how long after the root that it comes of.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{
    ArrayRef, Int32Array, Int64Array, StringArray, StringBuilder, TimestampMicrosecondArray,
};
use arrow::datatypes::{DataType, SchemaRef, TimeUnit};
use arrow::record_batch::RecordBatch;
use async_trait::async_trait;
use cascade_proto::tables::{ColumnDefinition, TableInfo};
use datafusion::execution::context::SessionContext;
use futures::StreamExt;

use super::Timelines;
use super::timelines::{History, Object, Occurrence};
use crate::derive::{Chunks, Derivation, Derived};
use crate::error::Error;
use crate::report::rows::{integers, texts};

/// Rows of one record batch.
const BATCH_ROWS: usize = 8192;

/// The table, as documented.
pub(crate) fn table_info() -> TableInfo {
    let column = |name: &str, data_type, nullable, documentation| ColumnDefinition {
        name: name.to_owned(),
        data_type,
        nullable,
        documentation,
    };
    let (text, integer) = (DataType::Utf8, DataType::Int64);
    let time = DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
    TableInfo {
        name: "stages",
        documentation: "One row per object, generation, root and milestone: when the object first reached it. \
            Milestones are declared (see docs/causality.md); what may have been reached before the trace or in a gap \
            has no row.",
        columns: vec![
            column(
                "cluster_id",
                text.clone(),
                false,
                "etcd cluster id, lowercase hex.",
            ),
            column(
                "epoch",
                DataType::Int32,
                false,
                "Counts restores of the same cluster, from 0.",
            ),
            column(
                "revision",
                integer.clone(),
                false,
                "Revision of the change that first reached it.",
            ),
            column(
                "ordinal",
                DataType::Int32,
                false,
                "Its position within the revision.",
            ),
            column(
                "root_revision",
                integer.clone(),
                false,
                "Revision of a root of that change.",
            ),
            column(
                "root_ordinal",
                DataType::Int32,
                false,
                "Its position within the revision.",
            ),
            column("api_group", text.clone(), true, "API group of the object."),
            column("kind", text.clone(), true, "Its kind."),
            column("namespace", text.clone(), true, "Its namespace."),
            column("name", text.clone(), true, "Its name."),
            column("uid", text.clone(), true, "Its uid."),
            column("key", text.clone(), false, "Its etcd key."),
            column(
                "generation",
                integer.clone(),
                true,
                "Generation in which it reached it.",
            ),
            column(
                "milestone",
                text,
                false,
                "`created`, `deletion_requested`, `deleted`, a declared one, or `condition.TYPE`: a condition \
                that became True.",
            ),
            column("time", time, true, "Commit of that change."),
            column(
                "unix_nano",
                integer.clone(),
                true,
                "The same, nanoseconds since 1970.",
            ),
            column(
                "since_created_ns",
                integer.clone(),
                true,
                "Since the object was created; NULL where that was before the trace.",
            ),
            column(
                "since_root_ns",
                integer.clone(),
                false,
                "Since the root's commit.",
            ),
            column(
                "since_generation_ns",
                integer.clone(),
                true,
                "Since the first change with this generation; NULL where that was before the trace.",
            ),
            column(
                "last_revision",
                integer.clone(),
                false,
                "Revision of the last change of this generation that reached it again after it was lost; the first \
                one, if it never was.",
            ),
            column("last_unix_nano", integer, true, "Commit of that change."),
        ],
    }
}

/// The derivation of the table.
#[derive(Debug)]
pub(crate) struct StagesDerivation {
    derived: Arc<Derived>,
}

impl StagesDerivation {
    pub(crate) fn new(derived: Arc<Derived>) -> Self {
        Self { derived }
    }
}

/// An occurrence under one root.
struct Row<'a> {
    history: &'a History,
    object: &'a Object,
    occurrence: &'a Occurrence,
    root: (i64, i64),
    since_root: i64,
}

#[async_trait]
impl Derivation for StagesDerivation {
    fn name(&self) -> &'static str {
        "stages"
    }

    fn schema(&self) -> SchemaRef {
        table_info().schema()
    }

    async fn rows(&self, context: &SessionContext) -> Result<Arc<dyn Chunks>, Error> {
        let timelines = self.derived.timelines(context).await?;
        let rows = rows(context, &timelines).await?;
        let batches = rows
            .chunks(BATCH_ROWS)
            .map(|rows| batch(self.schema(), &timelines, rows))
            .collect::<Result<Vec<_>, _>>()?;
        Ok(Arc::new(batches))
    }
}

/// Every occurrence, once per root of its change.
async fn rows<'a>(
    context: &SessionContext,
    timelines: &'a Timelines,
) -> Result<Vec<Row<'a>>, Error> {
    type Place = (usize, i64, i64);
    let mut occurrences: HashMap<Place, Vec<(&Object, &Occurrence)>> = HashMap::new();
    for (number, history) in timelines.histories.iter().enumerate() {
        for object in &history.objects {
            for occurrence in &object.occurrences {
                let place = (number, occurrence.revision, occurrence.ordinal);
                occurrences
                    .entry(place)
                    .or_default()
                    .push((object, occurrence));
            }
        }
    }
    let query =
        "SELECT cluster_id, epoch, revision, ordinal, root_revision, root_ordinal, since_root_ns
        FROM reach ORDER BY cluster_id, epoch, revision, ordinal, root_revision, root_ordinal";
    let mut batches = context.sql(query).await?.execute_stream().await?;
    let mut found = Vec::new();
    let mut number = 0;
    while let Some(batch) = batches.next().await.transpose()? {
        let (clusters, epochs) = (texts(&batch, "cluster_id")?, integers(&batch, "epoch")?);
        let (revisions, ordinals) = (integers(&batch, "revision")?, integers(&batch, "ordinal")?);
        let (roots, root_ordinals) = (
            integers(&batch, "root_revision")?,
            integers(&batch, "root_ordinal")?,
        );
        let since = integers(&batch, "since_root_ns")?;
        for row in 0..batch.num_rows() {
            let is_of = |history: &History| {
                *history.cluster_id == *clusters.value(row) && history.epoch == epochs.value(row)
            };
            if !timelines.histories.get(number).is_some_and(is_of) {
                // One without objects that are followed is not among them.
                match timelines.histories.iter().position(is_of) {
                    Some(position) => number = position,
                    None => continue,
                }
            }
            let place = (number, revisions.value(row), ordinals.value(row));
            let Some(history) = timelines.histories.get(number) else {
                continue;
            };
            for (object, occurrence) in occurrences.get(&place).into_iter().flatten() {
                found.push(Row {
                    history,
                    object,
                    occurrence,
                    root: (roots.value(row), root_ordinals.value(row)),
                    since_root: since.value(row),
                });
            }
        }
    }
    Ok(found)
}

fn batch(schema: SchemaRef, timelines: &Timelines, rows: &[Row<'_>]) -> Result<RecordBatch, Error> {
    let required = |text: &dyn for<'r> Fn(&'r Row<'_>) -> &'r str| -> ArrayRef {
        Arc::new(StringArray::from_iter_values(rows.iter().map(text)))
    };
    let optional = |text: &dyn for<'r> Fn(&'r Row<'_>) -> Option<&'r str>| -> ArrayRef {
        let mut texts = StringBuilder::new();
        for row in rows {
            texts.append_option(text(row));
        }
        Arc::new(texts.finish())
    };
    let numbers = |number: &dyn Fn(&Row<'_>) -> Option<i64>| -> ArrayRef {
        Arc::new(Int64Array::from_iter(rows.iter().map(number)))
    };
    let small = |number: &dyn Fn(&Row<'_>) -> i64| -> ArrayRef {
        let small = rows
            .iter()
            .map(|row| i32::try_from(number(row)).unwrap_or(i32::MAX));
        Arc::new(Int32Array::from_iter_values(small))
    };
    let since =
        |row: &Row<'_>, start: Option<i64>| Some(row.occurrence.commit?.saturating_sub(start?));
    let micros = rows
        .iter()
        .map(|row| Some(row.occurrence.commit?.div_euclid(1_000)));
    let milestone = |row: &Row<'_>| {
        let names = &timelines.milestones;
        names
            .get(row.occurrence.milestone as usize)
            .map(|name| &**name)
    };
    let columns: Vec<ArrayRef> = vec![
        required(&|row| &row.history.cluster_id),
        small(&|row| row.history.epoch),
        numbers(&|row| Some(row.occurrence.revision)),
        small(&|row| row.occurrence.ordinal),
        numbers(&|row| Some(row.root.0)),
        small(&|row| row.root.1),
        optional(&|row| row.object.api_group.as_deref()),
        optional(&|row| row.object.kind.as_deref()),
        optional(&|row| row.object.namespace.as_deref()),
        optional(&|row| row.object.name.as_deref()),
        optional(&|row| row.object.uid.as_deref()),
        required(&|row| &row.object.key),
        numbers(&|row| row.occurrence.generation),
        Arc::new(StringArray::from_iter_values(
            rows.iter().map(|row| milestone(row).unwrap_or_default()),
        )),
        Arc::new(TimestampMicrosecondArray::from_iter(micros).with_timezone("UTC")),
        numbers(&|row| row.occurrence.commit),
        numbers(&|row| since(row, row.object.created)),
        numbers(&|row| Some(row.since_root)),
        numbers(&|row| since(row, row.occurrence.generation_began)),
        numbers(&|row| Some(row.occurrence.last_revision)),
        numbers(&|row| row.occurrence.last_commit),
    ];
    RecordBatch::try_new(schema, columns).map_err(|error| Error::Internal(error.to_string()))
}
