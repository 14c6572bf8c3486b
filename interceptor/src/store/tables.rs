//! All tables together: who gets which rows, and when all of it is durable.

use arrow::error::ArrowError;
use cascade_proto::tables::{
    Call, Change, ChangeSource, Gap, GapKind, Mergelog, Moment, Request, RequestCall, Span, State,
    Table,
};

use super::segment::SyncError;
use super::table::{AnyTable, Settings, Synced, TableWriter};
use super::{Identity, Position, Rows};

/// The writers of all tables.
pub(super) struct Tables {
    settings: Settings,
    writers: Writers,
    /// What calls and gaps belong to.
    identity: Option<Identity>,
    /// What they belonged to before that came into doubt.
    doubted: Option<Identity>,
    /// Last revision accepted.
    accepted: Option<Position>,
}

/// One writer per table. A new table has a field here, its place in the two lists, and its rows in
/// [`Rows`] and [`Writers::accept`].
struct Writers {
    changes: TableWriter<Change>,
    states: TableWriter<State>,
    calls: TableWriter<Call>,
    gaps: TableWriter<Gap>,
    requests: TableWriter<Request>,
    request_calls: TableWriter<RequestCall>,
    mergelogs: TableWriter<Mergelog>,
    spans: TableWriter<Span>,
}

/// Number of tables that are written.
const TABLES: usize = 8;

impl Writers {
    fn new() -> Result<Self, ArrowError> {
        Ok(Self {
            changes: TableWriter::new()?,
            states: TableWriter::new()?,
            calls: TableWriter::new()?,
            gaps: TableWriter::new()?,
            requests: TableWriter::new()?,
            request_calls: TableWriter::new()?,
            mergelogs: TableWriter::new()?,
            spans: TableWriter::new()?,
        })
    }

    fn all(&self) -> [&dyn AnyTable; TABLES] {
        [
            &self.changes,
            &self.states,
            &self.calls,
            &self.gaps,
            &self.requests,
            &self.request_calls,
            &self.mergelogs,
            &self.spans,
        ]
    }

    fn all_mut(&mut self) -> [&mut dyn AnyTable; TABLES] {
        [
            &mut self.changes,
            &mut self.states,
            &mut self.calls,
            &mut self.gaps,
            &mut self.requests,
            &mut self.request_calls,
            &mut self.mergelogs,
            &mut self.spans,
        ]
    }

    /// Takes rows into memory; gives a checkpoint back.
    fn accept(&mut self, rows: Rows) -> Option<super::Checkpoint> {
        match rows {
            Rows::Changes(rows) => self.changes.accept(rows),
            Rows::States(rows) => self.states.accept(rows),
            Rows::Calls(rows) => self.calls.accept(rows),
            Rows::Gaps(rows) => self.gaps.accept(rows),
            Rows::Requests(rows) => self.requests.accept(rows),
            Rows::RequestCalls(rows) => self.request_calls.accept(rows),
            Rows::Mergelogs(rows) => self.mergelogs.accept(rows),
            Rows::Spans(rows) => self.spans.accept(rows),
            Rows::Checkpoint(checkpoint) => return Some(checkpoint),
        }
        None
    }
}

impl Tables {
    pub(super) fn new(settings: Settings, accepted: Option<Position>) -> Result<Self, ArrowError> {
        Ok(Self {
            settings,
            writers: Writers::new()?,
            identity: None,
            doubted: None,
            accepted,
        })
    }

    /// Takes rows into memory. A checkpoint is given back: it is for the caller to write, after
    /// everything accepted is durable.
    pub(super) fn accept(&mut self, rows: Rows, now: Moment) -> Option<super::Checkpoint> {
        let rows = match rows {
            Rows::Changes(rows) => {
                let rows = self.without_repeated(rows);
                if let Some(last) = rows.last() {
                    self.accepted = Some(Position::of(last));
                }
                Rows::Changes(rows)
            }
            rows => rows,
        };
        let checkpoint = self.writers.accept(rows);
        let limit = self.settings.max_batch_rows;
        self.encode_where(now, |table| table.pending() >= limit);
        checkpoint
    }

    /// Leaves out revisions that were accepted before. The ledger may read revisions again whose
    /// fate it does not know; the trace has each once.
    fn without_repeated(&self, mut rows: Vec<Change>) -> Vec<Change> {
        let Some(accepted) = &self.accepted else {
            return rows;
        };
        let before = rows.len();
        rows.retain(|row| row.source != ChangeSource::Watch || !accepted.covers(row));
        let repeated = (before - rows.len()) as u64;
        if repeated > 0 {
            tracing::debug!(
                repeated,
                "changes that are stored already were handed in again"
            );
            self.settings.metrics.repeated_changes.inc_by(repeated);
        }
        rows
    }

    /// Adds a row that the store itself has to say.
    pub(super) fn add_gap(&mut self, gap: Gap) {
        self.writers.gaps.accept(vec![gap]);
    }

    /// Counts calls that were dropped.
    pub(super) fn note_dropped(&mut self, calls: u64) {
        self.writers.calls.note_dropped(calls);
    }

    /// Sets what calls and gaps belong to from here on. Those before belong to the previous
    /// history, or, before the first one and since it came into doubt, to this one.
    pub(super) fn set_identity(&mut self, identity: Identity, now: Moment) {
        let doubted = self.doubted.take();
        let previous = self.identity.as_ref().or(doubted.as_ref());
        if previous.is_some_and(|previous| *previous != identity) {
            // Those that waited in doubt are not of the previous one: they stay for this one.
            if self.identity.is_some() {
                self.encode(now);
            }
            for table in self.writers.all_mut() {
                if table.waits_for_identity() {
                    table.close_segment();
                }
            }
        }
        self.identity = Some(identity);
    }

    /// What calls and gaps belong to from here on is not known until [`Tables::set_identity`].
    pub(super) fn doubt_identity(&mut self, now: Moment) {
        if self.identity.is_some() {
            self.encode(now);
            self.doubted = self.identity.take();
        }
    }

    /// Whether the identity was known and is in doubt now.
    pub(super) fn is_in_doubt(&self) -> bool {
        self.doubted.is_some()
    }

    /// Whether rows wait that need an identity.
    pub(super) fn has_rows_without_identity(&self) -> bool {
        let writers = self.writers.all();
        let mut waiting = writers.iter().filter(|table| table.waits_for_identity());
        !self.has_identity() && waiting.any(|table| table.pending() > 0)
    }

    pub(super) fn has_identity(&self) -> bool {
        self.identity.is_some()
    }

    /// Makes batches of all pending rows.
    pub(super) fn encode(&mut self, now: Moment) {
        self.encode_where(now, |_| true);
    }

    /// Makes batches of the pending rows that need not wait for the identity.
    pub(super) fn encode_identified(&mut self, now: Moment) {
        self.encode_where(now, |table| !table.waits_for_identity());
    }

    /// Makes batches of the pending rows that clients wait for.
    pub(super) fn encode_acknowledged(&mut self, now: Moment) {
        self.encode_where(now, |table| table.is_acknowledged());
    }

    fn encode_where(&mut self, now: Moment, which: impl Fn(&dyn AnyTable) -> bool) {
        let identity = self.identity.as_ref();
        let mut failed = None;
        for table in self.writers.all_mut() {
            if which(table)
                && let Err(error) = table.encode(&self.settings, identity, now)
            {
                failed = Some(error);
            }
        }
        self.report(failed);
    }

    /// Ends the open segments whose hour is over.
    pub(super) fn close_past_segments(&mut self, now: Moment) {
        for table in self.writers.all_mut() {
            table.close_past_segment(now);
        }
    }

    /// Ends all open segments.
    pub(super) fn close_segments(&mut self) {
        for table in self.writers.all_mut() {
            table.close_segment();
        }
    }

    /// Bytes that wait for an fsync.
    pub(super) fn unsynced_bytes(&self) -> usize {
        let tables = self.writers.all();
        tables.iter().map(|table| table.unsynced_bytes()).sum()
    }

    /// Whether there are neither rows in memory nor segments to look after.
    pub(super) fn is_idle(&self) -> bool {
        self.writers.all().iter().all(|table| table.is_idle())
    }

    /// Whether rows that clients wait for are not durable yet.
    pub(super) fn owes_acknowledged(&self) -> bool {
        self.writers.all().iter().any(|table| {
            table.is_acknowledged() && (table.pending() > 0 || table.unsynced_bytes() > 0)
        })
    }

    /// Makes all batches durable. What could be done is in `synced` also after an error.
    pub(super) fn sync(&mut self, now: Moment, synced: &mut Synced) -> Result<(), SyncError> {
        self.sync_where(now, synced, |_| true)
    }

    /// Makes the batches durable that clients wait for, and leaves the others alone.
    pub(super) fn sync_acknowledged(
        &mut self,
        now: Moment,
        synced: &mut Synced,
    ) -> Result<(), SyncError> {
        self.sync_where(now, synced, |table| table.is_acknowledged())
    }

    fn sync_where(
        &mut self,
        now: Moment,
        synced: &mut Synced,
        which: impl Fn(&dyn AnyTable) -> bool,
    ) -> Result<(), SyncError> {
        let mut result = Ok(());
        for table in self.writers.all_mut() {
            // Every table is tried: one broken folder need not hold up the others.
            if which(table) {
                result = result.and(table.sync(&self.settings, now, synced));
            }
        }
        for gap in std::mem::take(&mut synced.lost) {
            self.add_gap(gap);
        }
        result
    }

    /// Tells of rows that could not be made into a batch.
    fn report(&mut self, failed: Option<(&'static str, ArrowError)>) {
        let Some((table, error)) = failed else { return };
        tracing::error!(table, %error, "rows do not fit their table and are lost; this is a defect, please report it");
        self.add_gap(Gap {
            cluster_id: None,
            epoch: None,
            instance: self.settings.instance.clone(),
            kind: GapKind::Storage,
            covers_revisions: table == Change::NAME,
            from_revision: None,
            to_revision: None,
            count: None,
            from: None,
            to: None,
            detail: Some(format!("rows of {table} could not be encoded: {error}")),
        });
    }
}
