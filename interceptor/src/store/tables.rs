//! All tables together: who gets which rows, and when all of it is durable.

use arrow::error::ArrowError;
use cascade_proto::tables::{Call, Change, ChangeSource, Gap, GapKind, Moment, State, Table};

use super::segment::SyncError;
use super::table::{Row, Settings, Synced, TableWriter};
use super::{Identity, Position, Rows};

/// The writers of all tables.
pub(super) struct Tables {
    settings: Settings,
    changes: TableWriter<Change>,
    states: TableWriter<State>,
    calls: TableWriter<Call>,
    gaps: TableWriter<Gap>,
    /// What calls and gaps belong to.
    identity: Option<Identity>,
    /// Last revision accepted.
    accepted: Option<Position>,
}

impl Tables {
    pub(super) fn new(settings: Settings, accepted: Option<Position>) -> Result<Self, ArrowError> {
        Ok(Self {
            settings,
            changes: TableWriter::new()?,
            states: TableWriter::new()?,
            calls: TableWriter::new()?,
            gaps: TableWriter::new()?,
            identity: None,
            accepted,
        })
    }

    /// Takes rows into memory. A checkpoint is given back: it is for the caller to write, after
    /// everything accepted is durable.
    pub(super) fn accept(&mut self, rows: Rows, now: Moment) -> Option<super::Checkpoint> {
        match rows {
            Rows::Changes(rows) => {
                let rows = self.without_repeated(rows);
                if let Some(last) = rows.last() {
                    self.accepted = Some(Position::of(last));
                }
                self.changes.accept(rows);
            }
            Rows::States(rows) => self.states.accept(rows),
            Rows::Calls(rows) => self.calls.accept(rows),
            Rows::Gaps(rows) => self.gaps.accept(rows),
            Rows::Checkpoint(checkpoint) => return Some(checkpoint),
        }
        let limit = self.settings.max_batch_rows;
        let settings = &self.settings;
        let identity = self.identity.as_ref();
        let mut failed = None;
        note(
            &mut failed,
            encode_full(&mut self.changes, limit, settings, identity, now),
        );
        note(
            &mut failed,
            encode_full(&mut self.states, limit, settings, identity, now),
        );
        note(
            &mut failed,
            encode_full(&mut self.calls, limit, settings, identity, now),
        );
        note(
            &mut failed,
            encode_full(&mut self.gaps, limit, settings, identity, now),
        );
        self.report(failed);
        None
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
        self.gaps.accept(vec![gap]);
    }

    /// Counts calls that were dropped.
    pub(super) fn note_dropped(&mut self, calls: u64) {
        self.calls.note_dropped(calls);
    }

    /// Sets what calls and gaps belong to from here on. Those before belong to the previous
    /// history, or, before the first one, to this one.
    pub(super) fn set_identity(&mut self, identity: Identity, now: Moment) {
        if self.identity.as_ref() == Some(&identity) {
            return;
        }
        if self.identity.is_some() {
            self.encode(now);
            self.calls.close_segment();
            self.gaps.close_segment();
        }
        self.identity = Some(identity);
    }

    pub(super) fn has_identity(&self) -> bool {
        self.identity.is_some()
    }

    /// Makes batches of all pending rows.
    pub(super) fn encode(&mut self, now: Moment) {
        self.encode_ledger(now);
        let identity = self.identity.as_ref();
        let mut failed = None;
        note(
            &mut failed,
            self.calls.encode(&self.settings, identity, now),
        );
        note(&mut failed, self.gaps.encode(&self.settings, identity, now));
        self.report(failed);
    }

    /// Makes batches of the pending rows that say themselves which history they belong to.
    pub(super) fn encode_ledger(&mut self, now: Moment) {
        let identity = self.identity.as_ref();
        let mut failed = None;
        note(
            &mut failed,
            self.changes.encode(&self.settings, identity, now),
        );
        note(
            &mut failed,
            self.states.encode(&self.settings, identity, now),
        );
        self.report(failed);
    }

    /// Ends the open segments whose hour is over.
    pub(super) fn close_past_segments(&mut self, now: Moment) {
        self.changes.close_past_segment(now);
        self.states.close_past_segment(now);
        self.calls.close_past_segment(now);
        self.gaps.close_past_segment(now);
    }

    /// Ends all open segments.
    pub(super) fn close_segments(&mut self) {
        self.changes.close_segment();
        self.states.close_segment();
        self.calls.close_segment();
        self.gaps.close_segment();
    }

    /// Bytes that wait for an fsync.
    pub(super) fn unsynced_bytes(&self) -> usize {
        self.changes.unsynced_bytes()
            + self.states.unsynced_bytes()
            + self.calls.unsynced_bytes()
            + self.gaps.unsynced_bytes()
    }

    /// Whether there are neither rows in memory nor segments to look after.
    pub(super) fn is_idle(&self) -> bool {
        self.changes.is_idle()
            && self.states.is_idle()
            && self.calls.is_idle()
            && self.gaps.is_idle()
    }

    /// Makes all batches durable. What could be done is in `synced` also after an error.
    pub(super) fn sync(&mut self, now: Moment, synced: &mut Synced) -> Result<(), SyncError> {
        let settings = &self.settings;
        // Every table is tried: one broken folder need not hold up the others.
        let changes = self.changes.sync(settings, now, synced);
        let states = self.states.sync(settings, now, synced);
        let calls = self.calls.sync(settings, now, synced);
        let gaps = self.gaps.sync(settings, now, synced);
        for gap in std::mem::take(&mut synced.lost) {
            self.add_gap(gap);
        }
        changes.and(states).and(calls).and(gaps)
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

/// Makes a batch once there are enough rows for one.
fn encode_full<T: Row>(
    table: &mut TableWriter<T>,
    limit: usize,
    settings: &Settings,
    identity: Option<&Identity>,
    now: Moment,
) -> Result<(), (&'static str, ArrowError)> {
    if table.pending() < limit {
        return Ok(());
    }
    table.encode(settings, identity, now)
}

fn note(
    failed: &mut Option<(&'static str, ArrowError)>,
    result: Result<(), (&'static str, ArrowError)>,
) {
    if let Err(error) = result {
        *failed = Some(error);
    }
}
