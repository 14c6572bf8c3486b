//! Follows one open watch and hands whole revisions to the store.

use std::sync::Arc;
use std::time::{Duration, Instant};

use cascade_proto::tables::{GapKind, Moment, Op};
use tokio::task::JoinSet;
use tokio::time::MissedTickBehavior;
use tracing::{debug, info, warn};

use super::assemble::{Assembler, Hole, WholeRevision};
use super::connection::{CallError, Connection, Header};
use super::context::Context;
use super::error::{Interruption, LedgerError};
use super::history::{Known, Witness};
use super::metrics::LedgerStatus;
use super::previous::PreviousValues;
use super::replaced::add_replaced;
use super::rows::{InvalidEvent, RowMaker, UnplacedChange, place};
use super::snapshot::{Snapshot, SnapshotProgress};
use super::watch::{KeyspaceWatch, WatchBatch, WatchEnd};
use super::work::off_the_runtime;
use crate::clock::wall_clock;
use crate::store::{Durable, Rows};

/// How long responses are collected that are then stored together: waking a thread for each costs more than storing it.
const COLLECTING_TIME: Duration = Duration::from_millis(5);

/// They are so many at most …
const MAX_BATCHES: usize = 256;

/// … and this many bytes.
const MAX_BATCH_BYTES: usize = 1 << 20;

/// How often etcd is asked for its revision and term.
const PROBE_INTERVAL: Duration = Duration::from_secs(10);

/// A watch that delivers nothing for this long while etcd is ahead of it is given up. etcd has had
/// faults that lose events for slow watches (etcd-io/etcd issues 17507, 17529).
const STALL_LIMIT: Duration = Duration::from_secs(30);

/// How long the store may take to accept changes before the watch is cancelled: etcd keeps what a
/// watch does not read in memory first, and reads it from disk at the expense of writers later.
const STORE_PATIENCE: Duration = Duration::from_secs(10);

/// How often a moved position is written to a checkpoint; the changes themselves tell it too.
const CHECKPOINT_INTERVAL: Duration = Duration::from_secs(60);

/// How long the end of the program waits for what etcd has stored but not delivered yet. Usually that is nothing, and on a
/// busy machine some milliseconds.
const LAST_CHANGES: Duration = Duration::from_secs(2);

/// Follows a watch until it is interrupted.
pub(super) struct Follower<'a> {
    pub(super) known: &'a mut Known,
    /// The snapshot under way, if one is.
    pub(super) snapshot: &'a mut Option<SnapshotProgress>,
    pub(super) context: &'a Context,
    pub(super) rows: Arc<RowMaker>,
    pub(super) connection: Connection,
    /// Header of the answer that the session began with.
    pub(super) session: Header,
    pub(super) checkpointed: Instant,
    pub(super) previous: PreviousValues,
}

/// Work that goes on beside the watch.
enum Background {
    /// A snapshot has been read to its end, or not.
    Snapshot(Result<(), Interruption>),
    /// What etcd answered to a probe.
    Probe(Result<Header, CallError>),
}

/// Whether the watch keeps up with what etcd is known to have.
#[derive(Debug, Default)]
struct Progress {
    /// Where the watch was when etcd was first seen ahead of it, and when that was.
    behind: Option<(i64, Instant)>,
}

impl Follower<'_> {
    /// Follows until something ends it.
    pub(super) async fn follow(mut self, watch: KeyspaceWatch) -> Interruption {
        let mut watch = Some(watch);
        let mut assembler = Assembler::after(self.known.revision);
        let mut progress = Progress::default();
        let mut durable = self.context.store.durable();
        let mut probe_timer = tokio::time::interval(PROBE_INTERVAL);
        probe_timer.set_missed_tick_behavior(MissedTickBehavior::Delay);
        // Dropping the set ends what is in it.
        let mut background = JoinSet::new();
        self.go_on_with_snapshot(&mut background);
        // Of a history without a recorded change, the snapshot's revision is all there is.
        let begins_after = self.known.revision;
        self.context.metrics.durable_revision.set(begins_after);
        self.show_durable(&durable.borrow_and_update());
        self.show_status();
        loop {
            let Some(open_watch) = watch.as_mut() else {
                return Interruption::SlowStore;
            };
            let result = tokio::select! {
                () = self.context.shutdown.cancelled() => {
                    let last = self.take_last_changes(&mut watch, &mut assembler);
                    if let Ok(Err(interruption)) = tokio::time::timeout(LAST_CHANGES, last).await {
                        debug!(%interruption, "the last changes are left to the next start");
                    }
                    Err(Interruption::Shutdown)
                }
                first = open_watch.next() => match first {
                    Ok(first) => self.take(first, &mut watch, &mut assembler).await,
                    Err(end) => Err(end.into()),
                },
                Some(finished) = background.join_next() => match finished {
                    Ok(Background::Snapshot(taken)) => {
                        self.snapshot_ended(taken, &mut background).await
                    }
                    Ok(Background::Probe(answer)) => {
                        self.probed(answer, &assembler, &mut progress).await
                    }
                    Err(error) => Err(LedgerError::Runtime(error.to_string()).into()),
                },
                _ = probe_timer.tick() => {
                    let mut connection = self.connection.clone();
                    background.spawn(async move { Background::Probe(connection.header().await) });
                    Ok(())
                }
                Ok(()) = durable.changed() => {
                    self.show_durable(&durable.borrow_and_update());
                    Ok(())
                }
            };
            if let Err(interruption) = result {
                return interruption;
            }
        }
    }

    /// Goes on to the revision that etcd has now, so that a recording that is ended does not lack what clients were told
    /// is stored. Where etcd is gone or slow, the next start goes on from here.
    async fn take_last_changes(
        &mut self,
        watch: &mut Option<KeyspaceWatch>,
        assembler: &mut Assembler<UnplacedChange>,
    ) -> Result<(), Interruption> {
        let header = self.connection.header().await?;
        self.check(header)?;
        while self.known.revision < header.revision
            && let Some(open_watch) = watch
        {
            let first = open_watch.next().await?;
            self.take(first, watch, assembler).await?;
        }
        Ok(())
    }

    /// Stores a response, and those that arrive soon after it.
    async fn take(
        &mut self,
        first: WatchBatch,
        watch: &mut Option<KeyspaceWatch>,
        assembler: &mut Assembler<UnplacedChange>,
    ) -> Result<(), Interruption> {
        let begun = Instant::now();
        let collected = tokio::time::Instant::from_std(begun + COLLECTING_TIME);
        let mut arrived = vec![(first, wall_clock())];
        let mut bytes: usize = arrived.iter().map(|(batch, _)| size(batch)).sum();
        let mut end: Option<WatchEnd> = None;
        while let Some(open_watch) = watch
            && arrived.len() < MAX_BATCHES
            && bytes < MAX_BATCH_BYTES
            && let Ok(next) = tokio::time::timeout_at(collected, open_watch.next()).await
        {
            match next {
                Ok(batch) => {
                    bytes += size(&batch);
                    arrived.push((batch, wall_clock()));
                }
                Err(ended) => {
                    end = Some(ended);
                    break;
                }
            }
        }
        let mut etcd_revision = 0;
        for (batch, _) in &mut arrived {
            self.check(batch.header)?;
            etcd_revision = etcd_revision.max(batch.header.revision);
            batch.events.retain(|event| {
                let revision = event.kv.as_ref().map(|kv| kv.mod_revision);
                // Events without a key are left for the error that they are.
                revision.is_none_or(|revision| assembler.wants(revision))
            });
        }
        let events = arrived.iter_mut().flat_map(|(batch, _)| &mut batch.events);
        bytes += add_replaced(events, &mut self.previous, &self.connection, self.context).await?;
        let rows = Arc::clone(&self.rows);
        // Those that are remembered are about as large as those that have arrived.
        let decoded = off_the_runtime(2 * bytes, move || decode(&rows, arrived)).await??;
        let (whole, hole) = assemble(assembler, decoded);
        self.store_revisions(whole, watch).await?;
        self.context.metrics.took(begun.elapsed());
        self.context.metrics.received_bytes.inc_by(bytes as u64);
        self.context.metrics.etcd_is_at(etcd_revision);
        match (hole, end) {
            (Some(hole), _) => Err(hole.into()),
            (None, Some(end)) => Err(end.into()),
            (None, None) => Ok(()),
        }
    }

    /// Hands whole revisions to the store, and remembers that it took them.
    async fn store_revisions(
        &mut self,
        whole: Vec<WholeRevision<UnplacedChange>>,
        watch: &mut Option<KeyspaceWatch>,
    ) -> Result<(), Interruption> {
        let mut changes = Vec::with_capacity(whole.iter().map(|whole| whole.items.len()).sum());
        let mut last_key = None;
        for revision in whole {
            last_key = place(revision, &mut changes);
        }
        let (Some(last), Some(key)) = (changes.last(), last_key) else {
            return Ok(());
        };
        let revision = last.revision;
        let witness = Witness::of(last, key.to_vec());
        let ops: Vec<Op> = changes.iter().map(|change| change.op).collect();
        self.append(Rows::Changes(changes), watch).await?;
        for op in ops {
            self.context.metrics.count_change(op);
        }
        self.known.revision = revision;
        self.known.witness = Some(witness);
        self.context.metrics.handed_over(revision);
        if self.known.snapshot_revision.is_some() {
            self.show_status();
        }
        Ok(())
    }

    /// Appends; while the store takes its time nothing is read, which only our own watch feels. If
    /// it takes too long the watch is cancelled, and the append waited for all the same.
    async fn append(
        &mut self,
        rows: Rows,
        watch: &mut Option<KeyspaceWatch>,
    ) -> Result<(), Interruption> {
        let append = self.context.store.append(rows);
        tokio::pin!(append);
        tokio::select! {
            appended = &mut append => return Ok(appended?),
            () = tokio::time::sleep(STORE_PATIENCE) => {}
            () = self.context.shutdown.cancelled() => {
                // What has arrived is still stored, if the store takes it soon.
                return match tokio::time::timeout(LAST_CHANGES, append).await {
                    Ok(appended) => Ok(appended?),
                    Err(_) => Err(Interruption::Shutdown),
                };
            }
        }
        *watch = None;
        self.context.metrics.set_status(LedgerStatus::Connecting);
        tokio::select! {
            appended = append => Ok(appended?),
            () = self.context.shutdown.cancelled() => Err(Interruption::Shutdown),
        }
    }

    fn go_on_with_snapshot(&self, background: &mut JoinSet<Background>) {
        let Some(progress) = &*self.snapshot else {
            return;
        };
        let snapshot = Snapshot {
            progress: progress.clone(),
            connection: self.connection.clone(),
            store: self.context.store.clone(),
            rows: Arc::clone(&self.rows),
            metrics: self.context.metrics.clone(),
            session: self.session,
        };
        background.spawn(async move { Background::Snapshot(snapshot.take().await) });
    }

    async fn snapshot_ended(
        &mut self,
        taken: Result<(), Interruption>,
        background: &mut JoinSet<Background>,
    ) -> Result<(), Interruption> {
        let Some(progress) = &*self.snapshot else {
            return Ok(()); // only a snapshot under way can end
        };
        let revision = progress.revision();
        match taken {
            Ok(()) => {
                info!(revision, keys = progress.keys(), "snapshot complete");
                if progress.keys() == 0 {
                    let make = self.context.gap_maker(&self.known.identity);
                    let gaps = make.empty_snapshot(revision).into_iter().collect();
                    self.context.append_gaps(gaps).await?;
                }
                self.context.metrics.snapshots.inc();
                self.known.snapshot_revision = Some(revision);
                self.known.snapshot_under_way = None;
                *self.snapshot = None;
                self.show_status();
                self.write_checkpoint().await
            }
            Err(Interruption::Call(CallError::Compacted { .. })) => {
                self.begin_snapshot_again(revision).await?;
                self.go_on_with_snapshot(background);
                Ok(())
            }
            Err(other) => Err(other),
        }
    }

    /// etcd compacted the revision that a snapshot was read at. The watch is not concerned: it
    /// goes on, and the new snapshot is of a revision that it has seen or will see.
    async fn begin_snapshot_again(&mut self, abandoned: i64) -> Result<(), Interruption> {
        let header = self.connection.header().await?;
        self.check(header)?;
        warn!(
            revision = abandoned,
            new_revision = header.revision,
            "etcd compacted the revision that a snapshot was read at; it begins again"
        );
        self.context.metrics.snapshot_restarts.inc();
        let gap = self
            .context
            .gap_maker(&self.known.identity)
            .abandoned_snapshot(GapKind::Compacted, abandoned);
        self.context.append_gaps(vec![gap]).await?;
        let page_bytes = self.context.config.snapshot_page_bytes;
        *self.snapshot = Some(SnapshotProgress::begin(header.revision, page_bytes));
        self.known.snapshot_under_way = Some(header.revision);
        self.write_checkpoint().await
    }

    async fn probed(
        &mut self,
        answer: Result<Header, CallError>,
        assembler: &Assembler<UnplacedChange>,
        progress: &mut Progress,
    ) -> Result<(), Interruption> {
        let header = match answer {
            Ok(header) => header,
            Err(error) => {
                // The watch itself may be fine; if not, it tells.
                debug!(%error, "etcd did not answer a probe");
                return Ok(());
            }
        };
        self.check(header)?;
        if header.raft_term < self.known.raft_term {
            return Err(Interruption::HistoryMoved {
                what: "the raft term fell".to_owned(),
            });
        }
        self.context.metrics.etcd_is_at(header.revision);
        let now = Instant::now();
        let revision = assembler.handed_out();
        if progress.is_stalled(revision, header.revision, now) {
            return Err(Interruption::Stalled {
                etcd_revision: header.revision,
                revision,
            });
        }
        let term_rose = header.raft_term > self.known.raft_term;
        self.known.raft_term = self.known.raft_term.max(header.raft_term);
        if term_rose || now.saturating_duration_since(self.checkpointed) >= CHECKPOINT_INTERVAL {
            self.write_checkpoint().await?;
        }
        Ok(())
    }

    async fn write_checkpoint(&mut self) -> Result<(), Interruption> {
        self.checkpointed = Instant::now();
        self.context.append_checkpoint(self.known).await
    }

    /// The connection reconnects by itself: behind it may be another etcd now.
    fn check(&self, header: Header) -> Result<(), Interruption> {
        if header.cluster_id == self.session.cluster_id {
            return Ok(());
        }
        Err(Interruption::HistoryMoved {
            what: "answers come from another cluster".to_owned(),
        })
    }

    fn show_status(&self) {
        self.context
            .metrics
            .set_status(if self.known.snapshot_revision.is_some() {
                LedgerStatus::Following {
                    revision: self.known.revision,
                }
            } else {
                LedgerStatus::Snapshotting
            });
    }

    fn show_durable(&self, durable: &Durable) {
        let identity = &self.known.identity;
        let change = durable.change.as_ref().filter(|position| {
            position.cluster_id == identity.cluster_id && position.epoch == identity.epoch
        });
        if let Some(position) = change {
            self.context.metrics.durable_revision.set(position.revision);
        }
    }
}

impl Progress {
    /// Whether the watch has stood still at `revision` for too long while etcd is at
    /// `etcd_revision`.
    fn is_stalled(&mut self, revision: i64, etcd_revision: i64, now: Instant) -> bool {
        if revision >= etcd_revision {
            self.behind = None;
            return false;
        }
        match self.behind {
            Some((at, since)) if at == revision => {
                now.saturating_duration_since(since) >= STALL_LIMIT
            }
            _ => {
                self.behind = Some((revision, now));
                false
            }
        }
    }
}

/// Bytes of keys and values in a response.
fn size(batch: &WatchBatch) -> usize {
    let kvs = batch.events.iter().filter_map(|event| event.kv.as_ref());
    kvs.map(|kv| kv.key.len() + kv.value.len()).sum()
}

/// The changes of one response, and whether it goes on in the next.
type Decoded = (Vec<UnplacedChange>, bool);

fn decode(
    rows: &RowMaker,
    arrived: Vec<(WatchBatch, Moment)>,
) -> Result<Vec<Decoded>, InvalidEvent> {
    let mut decoded = Vec::with_capacity(arrived.len());
    for (batch, seen) in arrived {
        let changes: Result<Vec<_>, _> = batch
            .events
            .into_iter()
            .map(|event| rows.change(event, seen))
            .collect();
        decoded.push((changes?, batch.fragment));
    }
    Ok(decoded)
}

/// Puts responses together; the revisions before a hole are whole.
fn assemble(
    assembler: &mut Assembler<UnplacedChange>,
    responses: Vec<Decoded>,
) -> (Vec<WholeRevision<UnplacedChange>>, Option<Hole>) {
    let mut whole = Vec::new();
    for (changes, fragment) in responses {
        for change in changes {
            if let Err(hole) = assembler.push(change.revision(), change, &mut whole) {
                return (whole, Some(hole));
            }
        }
        assembler.end_response(fragment, &mut whole);
    }
    (whole, None)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_watch_is_stalled_when_it_stands_still_behind_etcd() {
        let start = Instant::now();
        let after = |seconds| start + Duration::from_secs(seconds);
        let mut progress = Progress::default();
        assert!(!progress.is_stalled(5, 5, start));
        assert!(!progress.is_stalled(5, 9, after(10)));
        assert!(!progress.is_stalled(5, 9, after(39)));
        assert!(progress.is_stalled(5, 9, after(40)));
        // It moves, though slowly.
        assert!(!progress.is_stalled(6, 90, after(50)));
        assert!(!progress.is_stalled(7, 90, after(90)));
        // It has caught up, and etcd goes on.
        assert!(!progress.is_stalled(90, 90, after(100)));
        assert!(!progress.is_stalled(90, 91, after(900)));
        assert!(progress.is_stalled(90, 91, after(931)));
    }
}
