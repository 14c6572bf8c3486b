//! One table's way to the disk: rows, batches, segments.

use std::collections::VecDeque;
use std::path::PathBuf;

use arrow::error::ArrowError;
use cascade_proto::journal::Encoder;
use cascade_proto::tables::{
    BatchBuilder, Call, Change, Gap, Mergelog, Moment, Request, RequestCall, Span, State, Table,
};

use super::files::Files;
use super::layout::hour_of;
use super::losses::lost_rows;
use super::metrics::StoreMetrics;
use super::seal::SealJob;
use super::segment::{Segment, SegmentOrigin, SyncError, widen};
use super::{Identity, Position};

/// How the rows of a table come to belong to a history.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Belonging {
    /// Every row says it; rows of different histories go to different files.
    Stated,
    /// It is filled in: rows wait for a while until the ledger knows it.
    FilledIn,
    /// They belong to no etcd.
    Nowhere,
}

/// A row as the store treats it.
pub(super) trait Row: Table + Send + 'static {
    /// How it comes to belong to a history.
    const BELONGING: Belonging;
    /// Whether a client waits for it to be durable.
    const ACKNOWLEDGED: bool = false;

    /// Cluster id and epoch, where they are stated.
    fn history(&self) -> Option<(&str, i32)> {
        None
    }
    /// Fills in cluster id and epoch where they are missing.
    fn fill(&mut self, _identity: &Identity) {}
    /// Where the ledger is after this row.
    fn position(&self) -> Option<Position> {
        None
    }
}

impl Row for Change {
    const BELONGING: Belonging = Belonging::Stated;

    fn history(&self) -> Option<(&str, i32)> {
        Some((&self.cluster_id, self.epoch))
    }
    fn position(&self) -> Option<Position> {
        Some(Position::of(self))
    }
}

impl Row for State {
    const BELONGING: Belonging = Belonging::Stated;

    fn history(&self) -> Option<(&str, i32)> {
        Some((&self.cluster_id, self.epoch))
    }
}

/// An epoch belongs to a cluster: it is filled in only for rows of that cluster, and for rows that
/// do not say which.
fn fill(cluster_id: &mut Option<String>, epoch: &mut Option<i32>, identity: &Identity) {
    if cluster_id
        .as_ref()
        .is_none_or(|cluster_id| *cluster_id == identity.cluster_id)
    {
        cluster_id.get_or_insert_with(|| identity.cluster_id.clone());
        epoch.get_or_insert(identity.epoch);
    }
}

/// The same for rows that are of no epoch: requests go on while etcd is restored.
fn fill_cluster(cluster_id: &mut Option<String>, identity: &Identity) {
    cluster_id.get_or_insert_with(|| identity.cluster_id.clone());
}

impl Row for Call {
    const BELONGING: Belonging = Belonging::FilledIn;

    fn fill(&mut self, identity: &Identity) {
        fill(&mut self.cluster_id, &mut self.epoch, identity);
    }
}

impl Row for Gap {
    const BELONGING: Belonging = Belonging::FilledIn;

    fn fill(&mut self, identity: &Identity) {
        fill(&mut self.cluster_id, &mut self.epoch, identity);
    }
}

impl Row for Request {
    const BELONGING: Belonging = Belonging::FilledIn;

    fn fill(&mut self, identity: &Identity) {
        fill_cluster(&mut self.cluster_id, identity);
    }
}

impl Row for RequestCall {
    const BELONGING: Belonging = Belonging::FilledIn;

    fn fill(&mut self, identity: &Identity) {
        fill_cluster(&mut self.cluster_id, identity);
    }
}

impl Row for Mergelog {
    const BELONGING: Belonging = Belonging::Nowhere;
    const ACKNOWLEDGED: bool = true;
}

impl Row for Span {
    const BELONGING: Belonging = Belonging::Nowhere;
    const ACKNOWLEDGED: bool = true;
}

/// What all tables of a store have in common.
pub(super) struct Settings {
    pub(super) trace: PathBuf,
    pub(super) instance: String,
    pub(super) producer: String,
    pub(super) files: Files,
    pub(super) metrics: StoreMetrics,
    /// Rows after which a batch is made before the flush interval is over.
    pub(super) max_batch_rows: usize,
    /// Rows and journal bytes at which a segment is ended before its hour is over.
    pub(super) max_segment_rows: u64,
    pub(super) max_segment_bytes: u64,
}

/// A table's writer, whatever its rows are. Everything but [`AnyTable::sync`] works in memory and
/// cannot fail for reasons of the disk, so a failure never leaves half of an append behind.
pub(super) trait AnyTable {
    /// Whether pending rows may wait for the ledger to say which history they belong to.
    fn waits_for_identity(&self) -> bool;

    /// Whether clients wait for its rows to be durable.
    fn is_acknowledged(&self) -> bool;

    /// Rows that are in no batch yet.
    fn pending(&self) -> usize;

    /// Bytes that are not durable yet, pending rows not counted.
    fn unsynced_bytes(&self) -> usize;

    /// Whether there are neither rows in memory nor segments to look after.
    fn is_idle(&self) -> bool;

    /// Makes batches of the pending rows. Appends are not torn apart: a batch ends where one ended.
    ///
    /// The error names the table; it would be a mistake in the table's definition.
    fn encode(
        &mut self,
        settings: &Settings,
        identity: Option<&Identity>,
        now: Moment,
    ) -> Result<(), (&'static str, ArrowError)>;

    /// Ends the open segment; it is sealed once all of it is durable.
    fn close_segment(&mut self);

    /// Ends the open segment if its hour is over.
    fn close_past_segment(&mut self, now: Moment);

    /// Makes all batches durable, in order, and takes out the segments that are ready to be sealed.
    /// After an error the rest stays in memory, to be tried again.
    fn sync(
        &mut self,
        settings: &Settings,
        now: Moment,
        synced: &mut Synced,
    ) -> Result<(), SyncError>;
}

/// Writes one table.
pub(super) struct TableWriter<T: Row> {
    /// Rows that are in no batch yet.
    pending: Vec<T>,
    builder: BatchBuilder<T>,
    encoder: Encoder,
    /// In the order in which they were begun. All but the last are closed.
    segments: VecDeque<Segment>,
    /// Calls dropped while no segment was open.
    dropped: u64,
}

/// What became durable.
#[derive(Default)]
pub(super) struct Synced {
    /// Segments to be sealed.
    pub(super) jobs: Vec<SealJob>,
    /// Last revision of `changes`.
    pub(super) last: Option<Position>,
    /// Rows that were durable and are gone.
    pub(super) lost: Vec<Gap>,
}

impl<T: Row> TableWriter<T> {
    pub(super) fn new() -> Result<Self, ArrowError> {
        Ok(Self {
            pending: Vec::new(),
            builder: BatchBuilder::default(),
            encoder: Encoder::new()?,
            segments: VecDeque::new(),
            dropped: 0,
        })
    }

    /// Takes the rows of one append.
    pub(super) fn accept(&mut self, rows: Vec<T>) {
        if self.pending.is_empty() {
            self.pending = rows;
        } else {
            self.pending.extend(rows);
        }
    }

    /// Counts calls that were dropped.
    pub(super) fn note_dropped(&mut self, calls: u64) {
        match self.segments.back_mut() {
            Some(segment) if !segment.is_closed() => segment.dropped += calls,
            _ => self.dropped += calls,
        }
    }

    /// Makes a batch of rows of one history.
    fn encode_run(
        &mut self,
        rows: &[T],
        settings: &Settings,
        identity: Option<&Identity>,
        now: Moment,
    ) -> Result<(), ArrowError> {
        let history = match rows.first().and_then(Row::history) {
            Some((cluster_id, epoch)) => Some(Identity {
                cluster_id: cluster_id.to_owned(),
                epoch,
            }),
            None => identity.cloned(),
        };
        let mut revisions = None;
        for row in rows {
            self.builder.push(row);
            let revision = row.revision();
            revisions = widen(revisions, revision.map(|revision| (revision, revision)));
        }
        let batch = self.builder.finish()?;

        let fits = self
            .segments
            .back()
            .is_some_and(|segment| segment.takes(history.as_ref(), hour_of(now)));
        if !fits {
            self.close_segment();
            let mut segment = Segment::begin(
                &origin::<T>(settings, history, now),
                &self.builder.schema(),
                &self.encoder,
            )?;
            segment.dropped = std::mem::take(&mut self.dropped);
            self.segments.push_back(segment);
        }
        let Some(segment) = self.segments.back_mut() else {
            return Ok(()); // there is one: it fits or was just begun
        };
        let last = rows.last().and_then(Row::position);
        segment.push(&batch, revisions, last, &mut self.encoder)?;
        if segment.rows() >= settings.max_segment_rows
            || segment.bytes() >= settings.max_segment_bytes
        {
            segment.close();
        }
        Ok(())
    }
}

impl<T: Row> AnyTable for TableWriter<T> {
    fn waits_for_identity(&self) -> bool {
        T::BELONGING == Belonging::FilledIn
    }

    fn is_acknowledged(&self) -> bool {
        T::ACKNOWLEDGED
    }

    fn pending(&self) -> usize {
        self.pending.len()
    }

    fn unsynced_bytes(&self) -> usize {
        self.segments.iter().map(Segment::unsynced_bytes).sum()
    }

    fn is_idle(&self) -> bool {
        self.pending.is_empty() && self.segments.is_empty()
    }

    fn encode(
        &mut self,
        settings: &Settings,
        identity: Option<&Identity>,
        now: Moment,
    ) -> Result<(), (&'static str, ArrowError)> {
        if self.pending.is_empty() {
            return Ok(());
        }
        let mut rows = std::mem::take(&mut self.pending);
        let identity = identity.filter(|_| T::BELONGING != Belonging::Nowhere);
        if let Some(identity) = identity {
            for row in &mut rows {
                row.fill(identity);
            }
        }
        rows.chunk_by(|one, other| one.history() == other.history())
            .try_for_each(|run| self.encode_run(run, settings, identity, now))
            .map_err(|error| (T::NAME, error))
    }

    fn close_segment(&mut self) {
        if let Some(segment) = self.segments.back_mut() {
            segment.close();
        }
    }

    fn close_past_segment(&mut self, now: Moment) {
        if let Some(segment) = self.segments.back_mut()
            && segment.hour() != hour_of(now)
        {
            segment.close();
        }
    }

    fn sync(
        &mut self,
        settings: &Settings,
        now: Moment,
        synced: &mut Synced,
    ) -> Result<(), SyncError> {
        while let Some(segment) = self.segments.front_mut() {
            let mut result = segment.sync(&settings.files, &settings.metrics);
            if let Err(SyncError::Vanished) = result {
                let history = segment.identity().cloned();
                let replacement = Segment::begin(
                    &origin::<T>(settings, history, now),
                    &self.builder.schema(),
                    &self.encoder,
                )
                .map_err(|error| SyncError::Io(std::io::Error::other(error)))?;
                let journal = segment.names().journal();
                let lost = segment.replace_journal(replacement);
                if lost.rows > 0 {
                    tracing::error!(journal = %journal.display(), rows = lost.rows, "a journal was removed while it was written; its rows are lost");
                    synced.lost.push(lost_rows(
                        T::NAME,
                        &settings.instance,
                        lost.identity.as_ref(),
                        lost.rows,
                        lost.revisions,
                    ));
                }
                result = segment.sync(&settings.files, &settings.metrics);
            }
            result?;
            synced.last = segment.last().cloned().or(synced.last.take());
            if !segment.is_closed() {
                break;
            }
            if segment.durable_bytes() > 0 {
                synced.jobs.push(SealJob {
                    names: segment.names().clone(),
                    table: T::NAME,
                    length: segment.durable_bytes(),
                    content: segment.content(),
                    dropped: Some(segment.dropped),
                });
            }
            self.segments.pop_front();
        }
        Ok(())
    }
}

fn origin<'a, T: Row>(
    settings: &'a Settings,
    identity: Option<Identity>,
    begun: Moment,
) -> SegmentOrigin<'a> {
    SegmentOrigin {
        trace: &settings.trace,
        table: T::NAME,
        instance: &settings.instance,
        producer: &settings.producer,
        begun,
        identity,
    }
}
