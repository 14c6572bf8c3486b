//! `writes`: who made each change, when, and for which reported cause.
//!
//! Changes, calls and requests are each read once, in whatever order they come, into one compact row
//! per change; nothing is joined by hashing whole tables. A call finds its change by revision and
//! key, a request its call by the ids of kube-apiserver's spans. Where memory is limited, rows and whatever
//! else has an entry per change are in a file.

mod actor;
mod callers;
mod changes_table;
pub(super) mod clocks;
mod columns;
mod copies;
mod cpids;
mod links;
mod origins;
mod parted_links;
mod read;
mod rows;
mod span_map;
mod spans;
#[cfg(test)]
mod tests;
mod words;

use std::sync::Arc;

use arrow::array::ArrayRef;
use arrow::datatypes::SchemaRef;
use arrow::record_batch::{RecordBatch, RecordBatchOptions};
use async_trait::async_trait;
use cascade_proto::tables::TableInfo;
use datafusion::common::Result as QueryResult;
use datafusion::common::runtime::SpawnedTask;
use datafusion::execution::context::SessionContext;
use datafusion::execution::memory_pool::{MemoryConsumer, MemoryReservation};

pub(crate) use changes_table::WritesBeside;

use super::histories::HistoryName;
use super::mergelogs::Mergelogs;
use super::{Chunks, Derivation, Derived};
use crate::catalog::Trace;
use crate::error::Error;
use crate::storage::Storage;
use callers::{Caller, Callers};
use clocks::Clocks;
use links::Links;
use parted_links::{PartedLinks, Parts};
use read::Changes;
pub(crate) use rows::Cursor;
use rows::{History, Row};
use spans::Spans;
use words::{Word, Words};

/// Rows of one record batch.
const CHUNK_ROWS: usize = 8192;

/// How a change was made, as `writes` tells it.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Write<'w> {
    /// Commit, nanoseconds since 1970.
    pub(crate) commit: Option<i64>,
    /// API request, nanoseconds since 1970.
    pub(crate) request: Option<i64>,
    /// etcd call, nanoseconds since 1970.
    pub(crate) call: Option<i64>,
    /// Who wrote it.
    pub(crate) actor: Option<&'w str>,
    /// The same, if the request tells it.
    pub(crate) requester: Option<&'w str>,
    /// Subresource of the request.
    pub(crate) subresource: Option<&'w str>,
    /// CPID that the write itself carries.
    pub(crate) cpid_reported: Option<&'w str>,
    /// Nanoseconds by which the call's clock was ahead of the request's; part of `request` already.
    pub(crate) clock_offset: Option<i64>,
}

/// How calls are matched with their requests.
#[derive(Debug, Clone, Copy)]
struct Matching {
    /// Links that there are.
    links: usize,
    /// In so many parts, one after the other; all at once without.
    parts: Option<Parts>,
}

/// Who made each change.
#[derive(Debug)]
pub(crate) struct Writes {
    histories: Vec<History>,
    words: Words,
    callers: Vec<Caller>,
    clocks: Clocks,
    /// Histories and their rows, in chunks.
    chunks: Vec<(usize, std::ops::Range<usize>)>,
    /// The memory that the rows take, as part of what the session may use; none if they are in a file.
    _memory: MemoryReservation,
    storage: Storage,
}

impl Writes {
    /// Reads changes, calls and requests.
    ///
    /// # Errors
    /// When a table cannot be read, or memory is not enough.
    pub(super) async fn compute(
        context: &SessionContext,
        trace: &Arc<Trace>,
        names: &[HistoryName],
        mergelogs: &Mergelogs,
        storage: &Storage,
    ) -> Result<Self, Error> {
        let links = trace.table("request_calls").map_or(0, |table| table.rows);
        let links = usize::try_from(links).unwrap_or(usize::MAX);
        let parts = storage.is_file().then(|| Parts::for_links(links));
        let matching = Matching { links, parts };
        Self::compute_by(context, trace, names, mergelogs, storage, matching).await
    }

    async fn compute_by(
        context: &SessionContext,
        trace: &Arc<Trace>,
        names: &[HistoryName],
        mergelogs: &Mergelogs,
        storage: &Storage,
        matching: Matching,
    ) -> Result<Self, Error> {
        let runtime = context.runtime_env();
        let memory = MemoryConsumer::new("writes").register(&runtime.memory_pool);
        let mut words = Words::default();
        let spans = Spans::default();
        // Each has enough to do for a thread of its own.
        let reading = matching.parts.is_none().then(|| {
            let (context, spans) = (context.clone(), spans.clone());
            SpawnedTask::spawn(async move { Links::read(&context, matching.links, spans).await })
        });
        let mut changes =
            Changes::read(context, trace, names, &mut words, storage, &memory).await?;
        let origins =
            read::calls(context, trace, &mut changes, &spans, &mut words, storage).await?;
        let mut histories = changes.histories;
        let mut clocks = Clocks::default();
        let mut callers = Callers::default();
        if let Some(reading) = reading {
            let mut links;
            (links, callers) = reading.join().await.map_err(Error::task)??;
            links.translate(&callers.translate(&mut words));
            if let Some(origins) = origins {
                origins.resolve(&mut histories, &mut clocks, |calls| links.of_calls(calls));
            }
        } else if let Some((origins, parts)) = origins.zip(matching.parts) {
            callers = Callers::new(words);
            let (lists, calls) = ((storage, parts), origins.spans());
            let mut links = PartedLinks::read(context, lists, &spans, &mut callers, calls).await?;
            words = callers.take_words();
            origins.resolve(&mut histories, &mut clocks, |calls| links.of_calls(calls));
        }
        clocks.estimate();
        for history in &mut histories {
            clocks.correct(&mut history.rows);
        }
        let callers = callers.into_list();
        let named = (callers.as_slice(), &mut words);
        cpids::refine(context, &mut histories, named, mergelogs, storage).await?;
        let chunks = histories
            .iter()
            .enumerate()
            .flat_map(|(index, history)| {
                let rows = history.rows.len();
                (0..rows)
                    .step_by(CHUNK_ROWS)
                    .map(move |first| (index, first..(first + CHUNK_ROWS).min(rows)))
            })
            .collect();
        Ok(Self {
            histories,
            words,
            callers,
            clocks,
            chunks,
            _memory: memory,
            storage: storage.clone(),
        })
    }

    /// Who wrote a change, and from what that is known.
    fn actor(&self, row: &Row) -> Option<(&str, &'static str)> {
        actor_of(row, &self.callers, &self.words)
    }

    /// What is known of how a change was made; `cursor` remembers where the last one was found.
    pub(crate) fn of_change(
        &self,
        cursor: &mut Cursor,
        (cluster_id, epoch): (&str, i32),
        (revision, ordinal): (i64, i32),
    ) -> Write<'_> {
        let Some(row) = self.find(cursor, cluster_id, epoch, revision, ordinal) else {
            return Write::default();
        };
        let caller = callers::at(&self.callers, row.caller);
        let text_of = |word: &dyn Fn(&Caller) -> Word| self.words.text(word(caller?));
        let requester = text_of(&|caller| caller.actor);
        Write {
            commit: row.committed(),
            request: row.requested.get(),
            call: row.called.get(),
            actor: requester.or_else(|| self.words.text(row.manager)),
            requester,
            subresource: text_of(&|caller| caller.subresource),
            cpid_reported: self.words.text(row.reported),
            clock_offset: self.clocks.offset_of(&row),
        }
    }

    /// What was found about the clocks, with the names of both of each pair.
    pub(super) fn clocks(&self) -> impl Iterator<Item = clocks::NamedWindow<'_>> {
        self.clocks.windows(&self.words)
    }

    /// The row of a change; `cursor` remembers where the last one was found.
    fn find(
        &self,
        cursor: &mut Cursor,
        cluster_id: &str,
        epoch: i32,
        revision: i64,
        ordinal: i32,
    ) -> Option<Row> {
        cursor.enter(&self.histories, cluster_id, epoch)?;
        let rows = &self.histories.get(cursor.history)?.rows;
        let index = rows::first_at(rows, cursor.row, (revision, ordinal));
        cursor.row = index;
        rows.get(index)
            .filter(|row| row.place() == (revision, ordinal))
    }
}

/// Who wrote a change: the request knows best, then the object's field managers.
fn actor_of<'a>(
    row: &Row,
    callers: &[Caller],
    words: &'a Words,
) -> Option<(&'a str, &'static str)> {
    let caller = callers::at(callers, row.caller);
    let from_request = caller.and_then(|caller| words.text(caller.actor));
    let from_manager = || Some((words.text(row.manager)?, "manager"));
    from_request
        .map(|actor| (actor, "request"))
        .or_else(from_manager)
}

impl Chunks for Writes {
    fn count(&self) -> usize {
        self.chunks.len()
    }

    fn chunk(&self, index: usize, projection: &[usize]) -> QueryResult<RecordBatch> {
        let found = self.chunks.get(index).and_then(|(history, range)| {
            let history = self.histories.get(*history)?;
            Some((history, history.rows.slice(range.clone())))
        });
        let (history, rows) = found.ok_or_else(|| {
            datafusion::common::exec_datafusion_err!("no chunk {index} of writes")
        })?;
        self.storage.check()?;
        let rows: Vec<Option<&Row>> = rows.iter().map(Some).collect();
        let schema = Arc::new(table_info().schema().project(projection)?);
        let arrays: Vec<ArrayRef> = projection
            .iter()
            .map(|column| columns::array_of_table(*column, self, history, &rows))
            .collect();
        let options = RecordBatchOptions::new().with_row_count(Some(rows.len()));
        Ok(RecordBatch::try_new_with_options(schema, arrays, &options)?)
    }
}

/// The table `writes`, as documented.
pub(super) fn table_info() -> TableInfo {
    TableInfo {
        name: "writes",
        documentation: "One row per change: who made it, when it was committed, and which CPID it \
            reports. Derived from changes, calls and requests; the view `changes` has these columns too.",
        columns: columns::table_columns(),
    }
}

/// The derivation of the table `writes`.
#[derive(Debug)]
pub(super) struct WritesDerivation {
    derived: Arc<Derived>,
}

impl WritesDerivation {
    pub(super) fn new(derived: Arc<Derived>) -> Self {
        Self { derived }
    }
}

#[async_trait]
impl Derivation for WritesDerivation {
    fn name(&self) -> &'static str {
        "writes"
    }

    fn schema(&self) -> SchemaRef {
        table_info().schema()
    }

    fn order(&self) -> &'static [&'static str] {
        &["cluster_id", "epoch", "revision", "ordinal"]
    }

    async fn rows(&self, context: &SessionContext) -> Result<Arc<dyn Chunks>, Error> {
        let writes: Arc<dyn Chunks> = self.derived.writes(context).await?;
        Ok(writes)
    }
}
