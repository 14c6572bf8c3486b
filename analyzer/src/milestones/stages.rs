//! `stages`: when each object reached each milestone, and how long after the root that it comes of.

use std::borrow::Cow;
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
use super::timelines::{History, Maybe, Object, ObjectChange, Occurrence};
use crate::causality::{self, Causes};
use crate::derive::{Chunks, Derivation, Derived};
use crate::error::Error;
use crate::storage::List;

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

/// An occurrence, with what is known of it in whatever row.
struct Stage {
    object: Object,
    occurrence: Occurrence,
    change: ObjectChange,
    generation: Maybe,
    commit: Option<i64>,
    last_revision: i64,
}

/// An occurrence under one root.
struct Row {
    /// Position among the occurrences of the chunk.
    stage: usize,
    root_revision: i64,
    root_ordinal: i32,
    since_root: i64,
}

/// The occurrences of a chunk and their rows.
struct Rows<'a> {
    found: &'a causality::History,
    history: &'a History,
    stages: Vec<Stage>,
    rows: Vec<Row>,
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

/// The occurrences of a history, in the order of the changes.
#[derive(Debug)]
struct Occurrences {
    /// Position among the histories of the causes.
    history: usize,
    /// Number of the change of each among all changes.
    changes: List<u32>,
}

/// The rows, made as they are read.
#[derive(Debug)]
pub(super) struct StageChunks {
    causes: Arc<Causes>,
    timelines: Arc<Timelines>,
    histories: Vec<Occurrences>,
    /// Positions among the histories here, and places of their occurrences.
    chunks: Vec<(usize, Range<usize>)>,
    schema: SchemaRef,
}

impl StageChunks {
    pub(super) fn new(causes: Arc<Causes>, timelines: Arc<Timelines>) -> Self {
        let mut histories = Vec::new();
        let mut chunks = Vec::new();
        for (number, found) in causes.histories.iter().enumerate() {
            let Some(history) = timelines.history(&found.cluster_id, found.epoch) else {
                continue;
            };
            let places = found.changes.rows().iter();
            let places = places.map(|change| (change.revision, change.ordinal));
            let changes = history.places_of_occurrences(places);
            let mut first = 0;
            while first < changes.len() {
                let mut end = changes.len().min(first + CHUNK_OCCURRENCES);
                // Those of one change stay together.
                while end < changes.len() && changes.get(end) == changes.get(end - 1) {
                    end += 1;
                }
                chunks.push((histories.len(), first..end));
                first = end;
            }
            histories.push(Occurrences {
                history: number,
                changes,
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

    /// The rows of a chunk: every occurrence once per root of its change.
    fn rows(&self, index: usize) -> Option<Rows<'_>> {
        let (position, range) = self.chunks.get(index)?;
        let occurrences = self.histories.get(*position)?;
        let found = self.causes.histories.get(occurrences.history)?;
        let history = self.timelines.history(&found.cluster_id, found.epoch)?;
        let changes = occurrences.changes.slice(range.clone());
        let reached = history.occurrences.slice(range.clone());
        let mut stages = Vec::with_capacity(reached.len());
        let mut rows = Vec::with_capacity(reached.len());
        let mut next = 0;
        for of_change in changes.chunk_by(|left, right| left == right) {
            let first_stage = stages.len();
            let occurrences = reached.get(next..next + of_change.len()).unwrap_or(&[]);
            next += of_change.len();
            stages.extend(occurrences.iter().filter_map(|found| stage(history, found)));
            let Some(change) = of_change.first() else {
                continue;
            };
            for reached in found.reach().rows_of(*change) {
                let Some(root) = found.changes.row(reached.root) else {
                    continue;
                };
                rows.extend((first_stage..stages.len()).map(|stage| Row {
                    stage,
                    root_revision: root.revision,
                    root_ordinal: root.ordinal,
                    since_root: reached.since_root(),
                }));
            }
        }
        Some(Rows {
            found,
            history,
            stages,
            rows,
        })
    }
}

/// What is known of an occurrence.
fn stage(history: &History, occurrence: &Occurrence) -> Option<Stage> {
    let change = history.changes.get(occurrence.change as usize)?;
    let last = match occurrence.last == occurrence.change {
        true => change,
        false => history.changes.get(occurrence.last as usize)?,
    };
    Some(Stage {
        object: history.objects.get(occurrence.object as usize)?,
        occurrence: *occurrence,
        change,
        generation: history.states.get(change.state as usize)?.generation,
        commit: history.commit(occurrence.change),
        last_revision: last.revision,
    })
}

impl Chunks for StageChunks {
    fn count(&self) -> usize {
        self.chunks.len()
    }

    fn chunk(&self, index: usize, projection: &[usize]) -> QueryResult<RecordBatch> {
        let rows = self
            .rows(index)
            .ok_or_else(|| exec_datafusion_err!("no chunk {index} of stages"))?;
        let columns: Vec<ArrayRef> = projection
            .iter()
            .map(|column| self.column(self.schema.field(*column).name(), &rows))
            .collect();
        rows.history.storage().check()?;
        let schema = Arc::new(self.schema.project(projection)?);
        let options = RecordBatchOptions::new().with_row_count(Some(rows.rows.len()));
        Ok(RecordBatch::try_new_with_options(
            schema, columns, &options,
        )?)
    }
}

impl StageChunks {
    fn column(&self, name: &str, rows: &Rows<'_>) -> ArrayRef {
        let history = rows.history;
        let named = |number: &dyn Fn(&Object) -> u32| {
            rows.texts(&|object| self.timelines.text(number(object)).map(Cow::Borrowed))
        };
        let since = |stage: &Stage, start: u32| {
            let commit = stage.commit?;
            Some(commit.saturating_sub(history.commit(start)?))
        };
        match name {
            "cluster_id" => {
                let clusters = rows.rows.iter().map(|_| &rows.found.cluster_id);
                Arc::new(StringArray::from_iter_values(clusters))
            }
            "epoch" => Arc::new(Int32Array::from_value(rows.found.epoch, rows.rows.len())),
            "revision" => rows.numbers(&|stage| Some(stage.change.revision)),
            "ordinal" => {
                let ordinals = rows.stages().map(|stage| stage.change.ordinal);
                Arc::new(Int32Array::from_iter_values(ordinals))
            }
            "root_revision" => {
                let roots = rows.rows.iter().map(|row| row.root_revision);
                Arc::new(Int64Array::from_iter_values(roots))
            }
            "root_ordinal" => {
                let roots = rows.rows.iter().map(|row| row.root_ordinal);
                Arc::new(Int32Array::from_iter_values(roots))
            }
            "api_group" => named(&|object| object.api_group),
            "kind" => named(&|object| object.kind),
            "namespace" => named(&|object| object.namespace),
            "name" => rows.texts(&|object| history.name(object)),
            "uid" => rows.texts(&|object| history.uid(object)),
            "key" => rows.texts(&|object| history.key(object)),
            "generation" => rows.numbers(&|stage| stage.generation.get()),
            "milestone" => {
                let names = &self.timelines.milestones;
                let milestones = rows.stages().map(|stage| stage.occurrence.milestone);
                Arc::new(StringArray::from_iter_values(
                    milestones.map(|milestone| names.text(milestone).unwrap_or_default()),
                ))
            }
            "time" => {
                let commits = rows.stages().map(|stage| stage.commit);
                let micros = commits.map(|commit| Some(commit?.div_euclid(1_000)));
                Arc::new(TimestampMicrosecondArray::from_iter(micros).with_timezone("UTC"))
            }
            "unix_nano" => rows.numbers(&|stage| stage.commit),
            "since_created_ns" => rows.numbers(&|stage| since(stage, stage.object.created)),
            "since_root_ns" => {
                let since = rows.rows.iter().map(|row| row.since_root);
                Arc::new(Int64Array::from_iter_values(since))
            }
            "since_generation_ns" => {
                rows.numbers(&|stage| since(stage, stage.occurrence.generation_began))
            }
            "last_revision" => rows.numbers(&|stage| Some(stage.last_revision)),
            // `last_unix_nano`, the only one that is left.
            _ => rows.numbers(&|stage| history.commit(stage.occurrence.last)),
        }
    }
}

impl Rows<'_> {
    /// The occurrence of each row.
    fn stages(&self) -> impl Iterator<Item = &Stage> {
        let rows = self.rows.iter();
        rows.filter_map(|row| self.stages.get(row.stage))
    }

    fn numbers(&self, number: &dyn Fn(&Stage) -> Option<i64>) -> ArrayRef {
        Arc::new(Int64Array::from_iter(self.stages().map(number)))
    }

    /// A text of the object of each row. Rows of one object come together, whose text is looked for once.
    fn texts<'t>(&self, text: &dyn Fn(&Object) -> Option<Cow<'t, str>>) -> ArrayRef {
        let mut texts = StringBuilder::new();
        let mut last = None;
        let mut found = None;
        for stage in self.stages() {
            if last != Some(stage.occurrence.object) {
                last = Some(stage.occurrence.object);
                found = text(&stage.object);
            }
            texts.append_option(found.as_deref());
        }
        Arc::new(texts.finish())
    }
}
