//! `stages`: when each object reached each milestone, and how long after the root that it comes of.

use std::ops::Range;
use std::sync::Arc;

use arrow::array::{
    ArrayRef, Int32Array, Int64Array, StringArray, StringBuilder, TimestampMicrosecondArray,
};
use arrow::datatypes::{DataType, SchemaRef, TimeUnit};
use arrow::record_batch::{RecordBatch, RecordBatchOptions};
use async_trait::async_trait;
use cascade_proto::tables::{ColumnDefinition, TableInfo};
use datafusion::common::{Result as QueryResult, exec_datafusion_err};
use datafusion::execution::context::SessionContext;

use super::Timelines;
use super::timelines::{History, Object, ObjectChange, Occurrence};
use crate::causality::kernel::{Change, NONE};
use crate::causality::{self, Causes};
use crate::derive::{Chunks, Derivation, Derived};
use crate::error::Error;

/// Occurrences whose rows make one record batch.
const CHUNK_OCCURRENCES: usize = 4096;

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
    change: &'a ObjectChange,
    last: &'a ObjectChange,
    root: &'a Change,
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

    fn order(&self) -> &'static [&'static str] {
        &["cluster_id", "epoch", "revision", "ordinal"]
    }

    async fn rows(&self, context: &SessionContext) -> Result<Arc<dyn Chunks>, Error> {
        let causes = self.derived.causes(context).await?;
        let timelines = self.derived.timelines(context).await?;
        Ok(Arc::new(StageChunks::new(causes, timelines)))
    }
}

/// Where an occurrence is.
#[derive(Debug, Clone, Copy)]
struct Place {
    /// Number of the change among all changes.
    change: u32,
    /// Position of the object, and of the occurrence among the object's.
    object: u32,
    occurrence: u32,
}

/// The occurrences of a history, in the order of the changes.
#[derive(Debug)]
struct Occurrences {
    /// Position among the histories of the causes.
    history: usize,
    places: Vec<Place>,
}

/// The rows, made as they are read.
#[derive(Debug)]
struct StageChunks {
    causes: Arc<Causes>,
    timelines: Arc<Timelines>,
    histories: Vec<Occurrences>,
    /// Positions among the histories here, and places of their occurrences.
    chunks: Vec<(usize, Range<usize>)>,
    schema: SchemaRef,
}

impl StageChunks {
    fn new(causes: Arc<Causes>, timelines: Arc<Timelines>) -> Self {
        let mut histories = Vec::new();
        let mut chunks = Vec::new();
        for (number, found) in causes.histories.iter().enumerate() {
            let Some(history) = timelines.history(&found.cluster_id, found.epoch) else {
                continue;
            };
            let places = places(found, history);
            let mut first = 0;
            while first < places.len() {
                let mut end = places.len().min(first + CHUNK_OCCURRENCES);
                // Those of one change stay together.
                let change = |place: usize| places.get(place).map(|place: &Place| place.change);
                while end < places.len() && change(end) == change(end - 1) {
                    end += 1;
                }
                chunks.push((histories.len(), first..end));
                first = end;
            }
            histories.push(Occurrences {
                history: number,
                places,
            });
        }
        Self {
            causes,
            timelines,
            histories,
            chunks,
            schema: table_info().schema(),
        }
    }

    /// The history of a chunk, and its rows: every occurrence once per root of its change.
    fn rows(&self, index: usize) -> Option<(&causality::History, Vec<Row<'_>>)> {
        let (position, range) = self.chunks.get(index)?;
        let occurrences = self.histories.get(*position)?;
        let found = self.causes.histories.get(occurrences.history)?;
        let history = self.timelines.history(&found.cluster_id, found.epoch)?;
        let places = occurrences.places.get(range.clone())?;
        let mut rows = Vec::new();
        for of_change in places.chunk_by(|left, right| left.change == right.change) {
            let Some(first) = of_change.first() else {
                continue;
            };
            for reached in found.reach().rows_of(first.change) {
                let Some(root) = found.changes.row(reached.root) else {
                    continue;
                };
                rows.extend(of_change.iter().filter_map(|place| {
                    let object = history.objects.get(place.object as usize)?;
                    let occurrence = object.occurrences.get(place.occurrence as usize)?;
                    Some(Row {
                        history,
                        object,
                        occurrence,
                        change: history.change(occurrence.change)?,
                        last: history.change(occurrence.last)?,
                        root,
                        since_root: reached.since_root(),
                    })
                }));
            }
        }
        Some((found, rows))
    }
}

/// The occurrences of a history in the order of the changes.
fn places(found: &causality::History, history: &History) -> Vec<Place> {
    let changes = found.changes.rows().iter();
    let positions = history.positions(changes.map(|change| (change.revision, change.ordinal)));
    let mut numbers = vec![NONE; history.changes.len()];
    for (number, position) in (0_u32..).zip(positions) {
        if let Some(slot) = numbers.get_mut(position as usize) {
            *slot = number;
        }
    }
    let mut places = Vec::new();
    for (object, known) in (0_u32..).zip(&history.objects) {
        for (occurrence, reached) in (0_u32..).zip(&known.occurrences) {
            let change = numbers.get(reached.change as usize);
            places.push(Place {
                change: change.copied().unwrap_or(NONE),
                object,
                occurrence,
            });
        }
    }
    places.sort_by_key(|place| place.change);
    places
}

impl Chunks for StageChunks {
    fn count(&self) -> usize {
        self.chunks.len()
    }

    fn chunk(&self, index: usize, projection: &[usize]) -> QueryResult<RecordBatch> {
        let (history, rows) = self
            .rows(index)
            .ok_or_else(|| exec_datafusion_err!("no chunk {index} of stages"))?;
        let columns: Vec<ArrayRef> = projection
            .iter()
            .map(|column| self.column(self.schema.field(*column).name(), history, &rows))
            .collect();
        let schema = Arc::new(self.schema.project(projection)?);
        let options = RecordBatchOptions::new().with_row_count(Some(rows.len()));
        Ok(RecordBatch::try_new_with_options(
            schema, columns, &options,
        )?)
    }
}

impl StageChunks {
    fn column(&self, name: &str, history: &causality::History, rows: &[Row<'_>]) -> ArrayRef {
        let texts = |number: &dyn Fn(&Object) -> u32| -> ArrayRef {
            let mut texts = StringBuilder::new();
            for row in rows {
                texts.append_option(self.timelines.text(number(row.object)));
            }
            Arc::new(texts.finish())
        };
        let numbers = |number: &dyn Fn(&Row<'_>) -> Option<i64>| -> ArrayRef {
            Arc::new(Int64Array::from_iter(rows.iter().map(number)))
        };
        let small = |number: &dyn Fn(&Row<'_>) -> i32| -> ArrayRef {
            Arc::new(Int32Array::from_iter_values(rows.iter().map(number)))
        };
        let since = |row: &Row<'_>, start: u32| {
            let commit = row.change.commit.get()?;
            Some(commit.saturating_sub(row.history.commit(start)?))
        };
        match name {
            "cluster_id" => {
                let clusters = rows.iter().map(|_| &history.cluster_id);
                Arc::new(StringArray::from_iter_values(clusters))
            }
            "epoch" => small(&|_| history.epoch),
            "revision" => numbers(&|row| Some(row.change.revision)),
            "ordinal" => small(&|row| row.change.ordinal),
            "root_revision" => numbers(&|row| Some(row.root.revision)),
            "root_ordinal" => small(&|row| row.root.ordinal),
            "api_group" => texts(&|object| object.api_group),
            "kind" => texts(&|object| object.kind),
            "namespace" => texts(&|object| object.namespace),
            "name" => texts(&|object| object.name),
            "uid" => texts(&|object| object.uid),
            "key" => texts(&|object| object.key),
            "generation" => numbers(&|row| row.change.generation.get()),
            "milestone" => {
                let names = &self.timelines.milestones;
                let milestone = |row: &Row<'_>| names.get(row.occurrence.milestone as usize);
                let milestones = rows
                    .iter()
                    .map(|row| milestone(row).map_or("", |name| &**name));
                Arc::new(StringArray::from_iter_values(milestones))
            }
            "time" => {
                let commits = rows.iter().map(|row| row.change.commit.get());
                let micros = commits.map(|commit| Some(commit?.div_euclid(1_000)));
                Arc::new(TimestampMicrosecondArray::from_iter(micros).with_timezone("UTC"))
            }
            "unix_nano" => numbers(&|row| row.change.commit.get()),
            "since_created_ns" => numbers(&|row| since(row, row.object.created)),
            "since_root_ns" => numbers(&|row| Some(row.since_root)),
            "since_generation_ns" => numbers(&|row| since(row, row.occurrence.generation_began)),
            "last_revision" => numbers(&|row| Some(row.last.revision)),
            // `last_unix_nano`, the only one that is left.
            _ => numbers(&|row| row.last.commit.get()),
        }
    }
}
