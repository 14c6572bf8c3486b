//! Reads what `verify` checks out of a session: rows in revision order, never a whole table.

use std::collections::{HashMap, HashSet};

use arrow::array::{Array, AsArray, BooleanArray, Int32Array, Int64Array, StringArray};
use arrow::datatypes::{Int32Type, Int64Type};
use arrow::record_batch::RecordBatch;
use cascade_proto::tables::{CallShape, GapKind, Op};
use datafusion::execution::SendableRecordBatchStream;
use futures::StreamExt;
use serde::Serialize;

use super::calls::{CallRow, Calls, OpenCall};
use super::findings::Ranges;
use super::history::{ChangeRow, History, KeyState};
use crate::error::Error;
use crate::progress::Progress;
use crate::report::model::ActorSources;
use crate::session::{JUDGED_GAPS, Session};

/// Names one history: revisions count within it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub(super) struct HistoryId {
    pub(super) cluster_id: String,
    pub(super) epoch: i32,
}

impl HistoryId {
    /// The condition that selects its rows.
    fn condition(&self) -> String {
        format!(
            "cluster_id = '{}' AND epoch = {}",
            self.cluster_id.replace('\'', "''"),
            self.epoch
        )
    }

    /// The condition that selects its calls. Those that an interceptor without a ledger recorded name
    /// no epoch: they are of the cluster's only one among `all`, and of none if there are several.
    fn condition_of_calls(&self, all: &[Self]) -> String {
        let is_other = |id: &Self| id.cluster_id == self.cluster_id && id != self;
        if all.iter().any(is_other) {
            return self.condition();
        }
        format!(
            "cluster_id = '{}' AND coalesce(epoch, {1}) = {1}",
            self.cluster_id.replace('\'', "''"),
            self.epoch
        )
    }
}

/// A row of `gaps`, as listed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct GapRow {
    pub(super) kind: String,
    pub(super) covers_revisions: bool,
    /// Another recording has all revisions that it covers.
    pub(super) is_filled: bool,
    pub(super) from_revision: Option<i64>,
    pub(super) to_revision: Option<i64>,
    pub(super) count: Option<i64>,
    pub(super) detail: Option<String>,
}

impl GapRow {
    /// The revision of a snapshot without a key, if that is what the row tells of.
    fn empty_snapshot(&self) -> Option<i64> {
        let begins = self.kind == GapKind::Restart.as_str() && self.from_revision.is_none();
        self.to_revision.filter(|_| begins)
    }
}

/// A history after all its rows were read.
#[derive(Debug)]
pub(super) struct Checked {
    pub(super) history: History,
    pub(super) calls: Calls,
    pub(super) gaps: Vec<GapRow>,
}

/// The histories in the trace, in order.
pub(super) async fn histories(session: &Session) -> Result<Vec<HistoryId>, Error> {
    let query = "SELECT cluster_id, epoch FROM (
            SELECT DISTINCT cluster_id, epoch FROM stored.changes
            UNION SELECT DISTINCT cluster_id, epoch FROM stored.states
        ) ORDER BY cluster_id, epoch";
    let mut histories = Vec::new();
    for batch in session.query(query).await? {
        let (clusters, epochs) = (strings(&batch, 0)?, int32s(&batch, 1)?);
        for row in 0..batch.num_rows() {
            histories.push(HistoryId {
                cluster_id: clusters.value(row).to_owned(),
                epoch: epochs.value(row),
            });
        }
    }
    Ok(histories)
}

/// Reads one history out of `all` and checks it.
pub(super) async fn check(
    session: &Session,
    id: &HistoryId,
    all: &[HistoryId],
    progress: &mut Progress,
) -> Result<Checked, Error> {
    let condition = id.condition();
    let condition_of_calls = id.condition_of_calls(all);
    let gaps = gaps(session, id).await?;
    let covered = gaps
        .iter()
        .filter(|gap| gap.covers_revisions)
        .filter_map(|gap| Some((gap.from_revision?, gap.to_revision?)))
        .collect();
    let mut snapshots = snapshot_revisions(session, &condition).await?;
    snapshots.reverse(); // the next one last
    let first_change = first_revision(session, &condition).await?;

    // A ledger that starts on an empty etcd takes a snapshot of nothing, which leaves no rows; a row of
    // `gaps` says at which revision, unless no key ever was: the first one has revision 2. Otherwise it
    // starts with the keys of a snapshot.
    let first_snapshot = snapshots
        .last()
        .copied()
        .filter(|snapshot| first_change.is_none_or(|first| *snapshot < first));
    let empty_snapshot = gaps.iter().filter_map(GapRow::empty_snapshot).min();
    let begins_after = first_snapshot.or(empty_snapshot).unwrap_or(1);
    let first_expected = begins_after.saturating_add(1);
    let mut history = History::new(
        first_expected,
        first_snapshot.is_none(),
        Ranges::of(covered),
    );
    let is_observed = session
        .trace()
        .table("calls")
        .is_some_and(|calls| calls.rows > 0);
    let open = open_calls(session, &condition_of_calls).await?;
    let revoked = revoked_leases(session, &condition_of_calls).await?;
    let mut calls = Calls::new(is_observed, open).revoked(revoked);

    let mut changes = ChangeStream::open(session, &condition).await?;
    let mut committed = CallStream::open(session, &condition_of_calls).await?;
    let mut revision_calls = Vec::new();
    while let Some(rows) = changes.next_revision().await? {
        let Some(revision) = rows.first().map(|row| row.revision) else {
            continue;
        };
        while let Some(snapshot) = snapshots.pop_if(|snapshot| *snapshot < revision) {
            let keys = snapshot_keys(session, &condition, snapshot).await?;
            history.snapshot(snapshot, keys);
        }
        while committed
            .next_revision_before(revision, &mut revision_calls)
            .await?
        {
            // Calls from before the trace begins made what the snapshot holds.
            let at = revision_calls.first().map_or(0, |call| call.revision);
            let is_known = at < first_expected || history.is_known_missing(at);
            calls.without_changes(&revision_calls, is_known);
        }
        committed.at_revision(revision, &mut revision_calls).await?;
        calls.revision(&rows, &revision_calls);
        history.revision(revision, &rows);
        progress.add(rows.len() as u64);
    }
    while let Some(snapshot) = snapshots.pop() {
        let keys = snapshot_keys(session, &condition, snapshot).await?;
        history.snapshot(snapshot, keys);
    }
    while committed
        .next_revision_before(i64::MAX, &mut revision_calls)
        .await?
    {
        let at = revision_calls.first().map_or(0, |call| call.revision);
        if at < first_expected || history.is_known_missing(at) {
            calls.without_changes(&revision_calls, true);
        } else {
            calls.after_last_change(&revision_calls);
        }
    }
    Ok(Checked {
        history,
        calls,
        gaps,
    })
}

/// From what the actors of the history's changes are known; `None` when memory is not enough to tell.
pub(super) async fn actors(
    session: &Session,
    id: &HistoryId,
) -> Result<Option<ActorSources>, Error> {
    let query = format!(
        "SELECT actor_source, count(*) AS changes FROM writes WHERE {} GROUP BY actor_source",
        id.condition()
    );
    let batches = match session.query(&query).await {
        Ok(batches) => batches,
        Err(error) if error.is_out_of_memory() => return Ok(None),
        Err(error) => return Err(error),
    };
    let mut actors = ActorSources::default();
    for batch in batches {
        let (sources, counts) = (strings(&batch, 0)?, int64s(&batch, 1)?);
        for row in 0..batch.num_rows() {
            let count = match text(sources, row).as_deref() {
                Some("request") => &mut actors.request,
                Some("manager") => &mut actors.manager,
                _ => &mut actors.unknown,
            };
            *count += counts.value(row);
        }
    }
    Ok(Some(actors))
}

async fn gaps(session: &Session, id: &HistoryId) -> Result<Vec<GapRow>, Error> {
    // A gap from before the cluster was known counts for each history.
    let query = format!(
        "SELECT kind, covers_revisions, from_revision, to_revision, count, detail, is_filled
        FROM {JUDGED_GAPS}
        WHERE (cluster_id IS NULL OR cluster_id = '{}') AND (epoch IS NULL OR epoch = {})
        ORDER BY from_revision, from_unix_nano, kind",
        id.cluster_id.replace('\'', "''"),
        id.epoch
    );
    let mut gaps = Vec::new();
    for batch in session.query(&query).await? {
        let (kinds, covers) = (strings(&batch, 0)?, booleans(&batch, 1)?);
        let (from, to) = (int64s(&batch, 2)?, int64s(&batch, 3)?);
        let (counts, details) = (int64s(&batch, 4)?, strings(&batch, 5)?);
        let filled = booleans(&batch, 6)?;
        for row in 0..batch.num_rows() {
            gaps.push(GapRow {
                kind: kinds.value(row).to_owned(),
                covers_revisions: covers.value(row),
                is_filled: filled.is_valid(row) && filled.value(row),
                from_revision: int64(from, row),
                to_revision: int64(to, row),
                count: int64(counts, row),
                detail: text(details, row),
            });
        }
    }
    Ok(gaps)
}

async fn snapshot_revisions(session: &Session, condition: &str) -> Result<Vec<i64>, Error> {
    let query =
        format!("SELECT DISTINCT snapshot_revision FROM raw.states WHERE {condition} ORDER BY 1");
    let mut revisions = Vec::new();
    for batch in session.query(&query).await? {
        revisions.extend(int64s(&batch, 0)?.iter().flatten());
    }
    Ok(revisions)
}

async fn first_revision(session: &Session, condition: &str) -> Result<Option<i64>, Error> {
    let query = format!("SELECT min(revision) FROM stored.changes WHERE {condition}");
    let batches = session.query(&query).await?;
    match batches.first() {
        Some(batch) if batch.num_rows() == 1 => Ok(int64(int64s(batch, 0)?, 0)),
        _ => Ok(None),
    }
}

async fn snapshot_keys(
    session: &Session,
    condition: &str,
    snapshot: i64,
) -> Result<HashMap<Box<str>, KeyState>, Error> {
    let query = format!(
        "SELECT key, revision, create_revision, version FROM raw.states
        WHERE {condition} AND snapshot_revision = {snapshot}"
    );
    let mut rows = stream(session, &query).await?;
    let mut keys = HashMap::new();
    while let Some(batch) = rows.next().await {
        let batch = batch?;
        let names = strings(&batch, 0)?;
        let (revisions, created) = (int64s(&batch, 1)?, int64s(&batch, 2)?);
        let versions = int64s(&batch, 3)?;
        for row in 0..batch.num_rows() {
            let state = KeyState {
                revision: revisions.value(row),
                create_revision: created.value(row),
                version: versions.value(row),
            };
            keys.insert(names.value(row).into(), state);
        }
    }
    Ok(keys)
}

async fn open_calls(session: &Session, condition: &str) -> Result<Vec<OpenCall>, Error> {
    // An answer that was not seen tells no cluster: the instance's rows are taken all the same.
    let query = format!(
        "SELECT shape, key, compare_revision, value_hash FROM raw.calls
        WHERE outcome IN ('unknown', 'cancelled') AND key IS NOT NULL
            AND shape IN ('create', 'update', 'delete')
            AND (cluster_id IS NULL OR ({condition}))
        ORDER BY request_unix_nano"
    );
    let mut calls = Vec::new();
    for batch in session.query(&query).await? {
        let (shapes, keys) = (strings(&batch, 0)?, strings(&batch, 1)?);
        let (compared, hashes) = (int64s(&batch, 2)?, int64s(&batch, 3)?);
        for row in 0..batch.num_rows() {
            calls.push(OpenCall {
                shape: CallShape::parse(shapes.value(row)).unwrap_or(CallShape::Other),
                key: keys.value(row).to_owned(),
                compare_revision: int64(compared, row),
                value_hash: int64(hashes, row),
            });
        }
    }
    Ok(calls)
}

/// Leases whose revocation was answered.
async fn revoked_leases(session: &Session, condition: &str) -> Result<HashSet<i64>, Error> {
    let query = format!(
        "SELECT DISTINCT lease_id FROM raw.calls
        WHERE shape = 'lease_revoke' AND outcome = 'committed' AND ({condition})"
    );
    let mut leases = HashSet::new();
    for batch in session.query(&query).await? {
        leases.extend(int64s(&batch, 0)?.iter().flatten());
    }
    Ok(leases)
}

/// Rows of changes, one revision at a time.
struct ChangeStream {
    rows: SendableRecordBatchStream,
    batch: Option<RecordBatch>,
    position: usize,
}

impl ChangeStream {
    async fn open(session: &Session, condition: &str) -> Result<Self, Error> {
        // In the order that files declare, so that they are merged, not sorted.
        let query = format!(
            "SELECT revision, ordinal, revision_size, key, op, source, prev_revision,
                create_revision, version, lease_id, value_hash, instance
            FROM stored.changes WHERE {condition} ORDER BY epoch, revision, ordinal"
        );
        Ok(Self {
            rows: stream(session, &query).await?,
            batch: None,
            position: 0,
        })
    }

    async fn next_revision(&mut self) -> Result<Option<Vec<ChangeRow>>, Error> {
        let mut rows: Vec<ChangeRow> = Vec::new();
        loop {
            if self
                .batch
                .as_ref()
                .is_none_or(|batch| self.position >= batch.num_rows())
            {
                self.position = 0;
                self.batch = self.rows.next().await.transpose()?;
            }
            let Some(batch) = &self.batch else {
                return Ok((!rows.is_empty()).then_some(rows));
            };
            if batch.num_rows() == 0 {
                continue;
            }
            let revision = int64s(batch, 0)?.value(self.position);
            if rows.first().is_some_and(|first| first.revision != revision) {
                return Ok(Some(rows));
            }
            rows.push(change_row(batch, self.position)?);
            self.position += 1;
        }
    }
}

fn change_row(batch: &RecordBatch, row: usize) -> Result<ChangeRow, Error> {
    let op = strings(batch, 4)?.value(row);
    Ok(ChangeRow {
        revision: int64s(batch, 0)?.value(row),
        ordinal: int32s(batch, 1)?.value(row),
        revision_size: int32s(batch, 2)?.value(row),
        key: strings(batch, 3)?.value(row).to_owned(),
        op: Op::parse(op).ok_or_else(|| Error::Usage(format!("changes.op is {op:?}")))?,
        is_import: strings(batch, 5)?.value(row) == "import",
        prev_revision: int64(int64s(batch, 6)?, row),
        create_revision: int64(int64s(batch, 7)?, row),
        version: int64(int64s(batch, 8)?, row),
        lease_id: int64(int64s(batch, 9)?, row),
        value_hash: int64(int64s(batch, 10)?, row),
        instance: strings(batch, 11)?.value(row).to_owned(),
    })
}

/// Committed operations, one revision at a time.
struct CallStream {
    rows: SendableRecordBatchStream,
    batch: Option<RecordBatch>,
    position: usize,
}

impl CallStream {
    async fn open(session: &Session, condition: &str) -> Result<Self, Error> {
        let query = format!(
            "SELECT revision, shape, key, range_end, deleted, call_id FROM raw.calls
            WHERE {condition} AND outcome = 'committed' AND revision IS NOT NULL
            ORDER BY revision"
        );
        Ok(Self {
            rows: stream(session, &query).await?,
            batch: None,
            position: 0,
        })
    }

    /// The revision of the next operation.
    async fn peek(&mut self) -> Result<Option<i64>, Error> {
        loop {
            match &self.batch {
                Some(batch) if self.position < batch.num_rows() => {
                    return Ok(Some(int64s(batch, 0)?.value(self.position)));
                }
                _ => {
                    self.position = 0;
                    self.batch = self.rows.next().await.transpose()?;
                    if self.batch.is_none() {
                        return Ok(None);
                    }
                }
            }
        }
    }

    /// Takes the operations of `revision`, if it is the next one.
    async fn at_revision(&mut self, revision: i64, calls: &mut Vec<CallRow>) -> Result<(), Error> {
        calls.clear();
        while self.peek().await? == Some(revision) {
            if let Some(batch) = &self.batch {
                calls.push(call_row(batch, self.position)?);
            }
            self.position += 1;
        }
        Ok(())
    }

    /// Takes the operations of the next revision, if it is below `limit`; false when it is not.
    async fn next_revision_before(
        &mut self,
        limit: i64,
        calls: &mut Vec<CallRow>,
    ) -> Result<bool, Error> {
        match self.peek().await? {
            Some(revision) if revision < limit => {
                self.at_revision(revision, calls).await?;
                Ok(true)
            }
            _ => Ok(false),
        }
    }
}

fn call_row(batch: &RecordBatch, row: usize) -> Result<CallRow, Error> {
    Ok(CallRow {
        revision: int64s(batch, 0)?.value(row),
        shape: CallShape::parse(strings(batch, 1)?.value(row)).unwrap_or(CallShape::Other),
        key: text(strings(batch, 2)?, row),
        range_end: text(strings(batch, 3)?, row),
        deleted: int64(int64s(batch, 4)?, row),
        call_id: strings(batch, 5)?.value(row).to_owned(),
    })
}

async fn stream(session: &Session, query: &str) -> Result<SendableRecordBatchStream, Error> {
    let frame = session.context().sql(query).await?;
    Ok(frame.execute_stream().await?)
}

/// The column at `index`; another type than the table's definition says is a mistake here.
fn column<'a, A>(
    batch: &'a RecordBatch,
    index: usize,
    downcast: impl Fn(&'a dyn Array) -> Option<&'a A>,
) -> Result<&'a A, Error> {
    batch
        .columns()
        .get(index)
        .and_then(|array| downcast(array.as_ref()))
        .ok_or_else(|| Error::Internal(format!("column {index} of a query is not as expected")))
}

fn strings(batch: &RecordBatch, index: usize) -> Result<&StringArray, Error> {
    column(batch, index, |array| array.as_string_opt())
}

fn int64s(batch: &RecordBatch, index: usize) -> Result<&Int64Array, Error> {
    column(batch, index, |array| array.as_primitive_opt::<Int64Type>())
}

fn int32s(batch: &RecordBatch, index: usize) -> Result<&Int32Array, Error> {
    column(batch, index, |array| array.as_primitive_opt::<Int32Type>())
}

fn booleans(batch: &RecordBatch, index: usize) -> Result<&BooleanArray, Error> {
    column(batch, index, |array| array.as_boolean_opt())
}

fn int64(array: &Int64Array, row: usize) -> Option<i64> {
    array.is_valid(row).then(|| array.value(row))
}

fn text(array: &StringArray, row: usize) -> Option<String> {
    array.is_valid(row).then(|| array.value(row).to_owned())
}
