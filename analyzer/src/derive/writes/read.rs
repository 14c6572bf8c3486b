//! Reads changes and the calls that made them.

use datafusion::arrow::array::Array as _;
use datafusion::execution::context::SessionContext;
use datafusion::execution::memory_pool::MemoryReservation;
use futures::StreamExt;

use super::origins::Origins;
use super::rows::{CallId, Cursor, History, Nanos, Row, first_at};
use super::spans::Spans;
use super::words::{Word, Words};
use crate::catalog::Trace;
use crate::causality::kernel::hash_of_text;
use crate::derive::columns::{int32s, int64, int64s, stream, stream_in_order, text, texts};
use crate::derive::histories::{HistoryName, conditions};
use crate::error::Error;
use crate::session::STORED_SCHEMA;
use crate::storage::{List, Storage};

/// The changes of each history.
pub(super) struct Changes {
    pub(super) histories: Vec<History>,
}

impl Changes {
    /// Reads all changes. A change that several recordings hold is taken from the one that saw it
    /// first, as `raw.changes` does.
    pub(super) async fn read(
        context: &SessionContext,
        trace: &Trace,
        names: &[HistoryName],
        words: &mut Words,
        storage: &Storage,
        memory: &MemoryReservation,
    ) -> Result<Self, Error> {
        let empty = |name: &HistoryName| History {
            name: name.clone(),
            rows: List::new(storage),
        };
        let mut changes = Self {
            histories: names.iter().map(empty).collect(),
        };
        // Files declare their order and are merged by it. Journals do not: with one, sorting the small
        // rows afterwards is cheaper than having all columns sorted before.
        let is_ordered = trace
            .table("changes")
            .is_some_and(|table| table.journals == 0);
        if let [history] = changes.histories.as_mut_slice()
            && !storage.is_file()
        {
            // Usually there is one, and its size is known: growing step by step would take up to twice
            // the memory.
            let rows = trace.table("changes").map_or(0, |table| table.rows);
            let rows = usize::try_from(rows).unwrap_or(usize::MAX);
            memory.try_grow(rows.saturating_mul(size_of::<Row>()))?;
            history.rows = List::with_capacity(storage, rows);
        }
        for (history, condition) in changes.histories.iter_mut().zip(conditions(names)) {
            let rows = rows_query(&condition, is_ordered);
            read_history(context, history, &rows, words, memory).await?;
        }
        Ok(changes)
    }

    /// The place of the row that an operation on `key` made: its history, and its position there.
    fn place_of(
        &self,
        cursor: &mut Cursor,
        (cluster_id, epoch): (&str, Option<i32>),
        revision: i64,
        key: &str,
    ) -> Option<(usize, usize)> {
        let epoch = epoch.or_else(|| self.only_epoch(cluster_id))?;
        cursor.enter(&self.histories, cluster_id, epoch)?;
        let key = hash_of_text(key);
        let rows = &self.histories.get(cursor.history)?.rows;
        cursor.row = first_at(rows, cursor.row, (revision, i32::MIN));
        for position in cursor.row.. {
            let row = rows.get(position).filter(|row| row.revision == revision)?;
            if row.key == key {
                return Some((cursor.history, position));
            }
        }
        None
    }

    fn row(&self, (history, position): (usize, usize)) -> Option<Row> {
        self.histories.get(history)?.rows.get(position)
    }

    fn update(&mut self, (history, position): (usize, usize), change: impl FnOnce(&mut Row)) {
        if let Some(history) = self.histories.get_mut(history) {
            history.rows.update(position, change);
        }
    }

    /// The epoch of a cluster that was not restored: that of calls which an interceptor without a
    /// ledger recorded. With several it is not known which of them such a call is of.
    fn only_epoch(&self, cluster_id: &str) -> Option<i32> {
        let is_of = |history: &&History| *history.name.cluster_id == *cluster_id;
        let mut epochs = self.histories.iter().filter(is_of);
        let only = epochs.next()?.name.epoch;
        epochs.next().is_none().then_some(only)
    }
}

/// What is kept of the changes of the history that a condition selects.
fn rows_query(condition: &str, is_ordered: bool) -> String {
    let order = if is_ordered {
        "ORDER BY epoch, revision, ordinal"
    } else {
        ""
    };
    format!(
        "SELECT revision, ordinal, key, seen_unix_nano, newest_writer(writers) AS manager
        FROM {STORED_SCHEMA}.changes WHERE {condition} {order}"
    )
}

async fn read_history(
    context: &SessionContext,
    history: &mut History,
    query: &str,
    words: &mut Words,
    memory: &MemoryReservation,
) -> Result<(), Error> {
    let mut batches = stream_in_order(context, query).await?;
    let rows = &mut history.rows;
    let mut capacity = rows.capacity();
    let mut last: Option<Row> = None;
    let mut is_in_order = true;
    while let Some(batch) = batches.next().await.transpose()? {
        let (revisions, ordinals) = (int64s(&batch, "revision")?, int32s(&batch, "ordinal")?);
        let (keys, seen) = (texts(&batch, "key")?, int64s(&batch, "seen_unix_nano")?);
        let managers = texts(&batch, "manager")?;
        for row in 0..batch.num_rows() {
            let row = Row::new(
                revisions.value(row),
                ordinals.value(row),
                hash_of_text(keys.value(row)),
                Nanos::new(int64(seen, row)),
                words.of(text(managers, row)),
            );
            match &last {
                Some(known) if known.place() == row.place() => {
                    if known.first_seen() <= row.first_seen() {
                        continue;
                    }
                    rows.set(rows.len() - 1, row);
                }
                _ => {
                    is_in_order &= last.is_none_or(|last| last.place() < row.place());
                    rows.push(row);
                }
            }
            last = Some(row);
        }
        let grown = rows.capacity() - capacity;
        memory.try_grow(grown * size_of::<Row>())?;
        capacity += grown;
    }
    if !is_in_order {
        rows.rearrange(put_in_order);
    }
    Ok(())
}

/// Sorts rows; of several of one change the one that was seen first stays.
fn put_in_order(rows: &mut Vec<Row>) {
    rows.sort_unstable_by_key(|row| (row.place(), row.first_seen()));
    rows.dedup_by_key(|row| row.place());
}

/// Adds the committed calls, and tells where they came from. Should several claim one change, the first one sent is taken.
pub(super) async fn calls(
    context: &SessionContext,
    trace: &Trace,
    changes: &mut Changes,
    spans: &Spans,
    words: &mut Words,
    storage: &Storage,
) -> Result<Option<Origins>, Error> {
    let rows = |table| trace.table(table).map_or(0, |table| table.rows);
    if rows("calls") == 0 {
        return Ok(None);
    }
    let mut origins = (rows("request_calls") > 0).then(|| Origins::of(&changes.histories, storage));
    let ids = match origins {
        Some(_) => "trace_id, span_id, ",
        None => "",
    };
    let query = format!(
        "SELECT cluster_id, epoch, revision, key, call_id, instance, request_unix_nano, response_unix_nano,
            {ids} cpid
        FROM {STORED_SCHEMA}.calls
        WHERE outcome = 'committed' AND revision IS NOT NULL AND key IS NOT NULL
            AND cluster_id IS NOT NULL"
    );
    let mut cursor = Cursor::default();
    let mut batches = stream(context, &query).await?;
    while let Some(batch) = batches.next().await.transpose()? {
        let (clusters, epochs) = (texts(&batch, "cluster_id")?, int32s(&batch, "epoch")?);
        let (revisions, keys) = (int64s(&batch, "revision")?, texts(&batch, "key")?);
        let (ids, instances) = (texts(&batch, "call_id")?, texts(&batch, "instance")?);
        let called = int64s(&batch, "request_unix_nano")?;
        let answered = int64s(&batch, "response_unix_nano")?;
        let cpids = texts(&batch, "cpid")?;
        let named = match origins {
            Some(_) => Some((texts(&batch, "trace_id")?, texts(&batch, "span_id")?)),
            None => None,
        };
        for index in 0..batch.num_rows() {
            let epoch = (!epochs.is_null(index)).then(|| epochs.value(index));
            let history = (clusters.value(index), epoch);
            let revision = revisions.value(index);
            let place = changes.place_of(&mut cursor, history, revision, keys.value(index));
            let Some((place, row)) = place.and_then(|place| Some((place, changes.row(place)?)))
            else {
                continue;
            };
            let (head, number) = CallId::split(ids.value(index));
            let sent = Nanos::new(int64(called, index));
            if is_earlier(&row, words, sent, head, number) {
                continue;
            }
            let call = CallId::new(words.of(Some(head)), number);
            let reported = words.of(text(cpids, index));
            changes.update(place, |row| {
                row.call = call;
                row.called = sent;
                row.answered = Nanos::new(int64(answered, index));
                row.reported = reported;
            });
            if let Some((origins, (traces, ids))) = origins.as_mut().zip(named) {
                let ids = text(traces, index).zip(text(ids, index));
                let span = ids.map(|(trace_id, span_id)| spans.key(trace_id, span_id));
                origins.set(place, span, words.of(text(instances, index)));
            }
        }
    }
    Ok(origins)
}

/// Whether the row has a call already that was sent before this one; of two sent at the same moment the
/// one whose id sorts first.
fn is_earlier(row: &Row, words: &Words, sent: Nanos, head: &str, number: Option<u32>) -> bool {
    if row.call.head == Word::NONE {
        return false;
    }
    let kept = words.text(row.call.head).unwrap_or_default();
    (row.called.get(), kept, row.call.number()) <= (sent.get(), head, number)
}
