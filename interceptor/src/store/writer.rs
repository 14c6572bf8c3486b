//! The one thread that writes.
//!
//! It alternates between taking messages into memory, which cannot fail, and making them durable,
//! which can. While the disk refuses, everything already accepted stays in memory (the queue is
//! bounded, and nothing more is let in), and the same data is tried again until it succeeds.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use cascade_proto::tables::{GapKind, Moment};
use tokio::sync::{oneshot, watch};

use super::folder::Folder;
use super::losses::Losses;
use super::metrics::StoreMetrics;
use super::seal::Sealer;
use super::segment::SyncError;
use super::table::Synced;
use super::tables::Tables;
use super::{Checkpoint, Durable, Identity, Place, Rows, StoreError};

/// Pause between attempts while the disk refuses.
const PROBE_INTERVAL: Duration = Duration::from_secs(1);
/// Pause between log lines while the disk refuses.
const LOG_AGAIN_AFTER: Duration = Duration::from_secs(60);
/// How long calls and gaps wait in memory for the ledger to say which cluster they are of.
const IDENTITY_WAIT: Duration = Duration::from_secs(5);
/// The same after etcd went away, from the first of them on: the ledger tries again every five
/// seconds, and an attempt takes a moment.
const DOUBT_WAIT: Duration = Duration::from_secs(10);
/// Bytes that wait for an fsync before one is made ahead of time.
const MAX_UNSYNCED_BYTES: usize = 16 << 20;
/// Bytes of rows that are in no batch yet before one is made ahead of time.
const MAX_PENDING_BYTES: usize = 8 << 20;
/// Messages that are taken before those who wait for an fsync get it.
const MAX_MESSAGES_BEFORE_SYNC: usize = 4096;

/// What the thread is told.
pub(super) enum Message {
    /// Rows to be stored, and the room they take in the queue.
    Rows(Rows, Place),
    /// What calls and gaps belong to from here on.
    Identity(Identity),
    /// What calls and gaps belong to from here on is not known until the next identity.
    DoubtIdentity,
    /// Make everything before this durable.
    Flush(Reply),
    /// Make what clients wait for durable, of everything before this.
    Acknowledge(Reply),
    /// Make everything durable, seal it, and end.
    Close(Reply),
}

/// Where the answer goes. Whoever asked may have given up waiting.
pub(super) type Reply = oneshot::Sender<Result<(), StoreError>>;

/// Whether rows are accepted: `None`, or what failed.
pub(super) type Failure = Option<Arc<str>>;

/// Reads the wall clock.
pub(super) type Clock = Arc<dyn Fn() -> Moment + Send + Sync>;

/// What the thread shares with the handles.
pub(super) struct Shared {
    pub(super) losses: Arc<Losses>,
    pub(super) failure: watch::Sender<Failure>,
    pub(super) durable: watch::Sender<Durable>,
    /// Whether at least half of the observer's room is free.
    pub(super) has_room: Box<dyn Fn() -> bool + Send>,
}

/// The thread's state.
pub(super) struct Writer {
    pub(super) folder: Folder,
    pub(super) tables: Tables,
    pub(super) sealer: Sealer,
    pub(super) clock: Clock,
    pub(super) metrics: StoreMetrics,
    pub(super) shared: Shared,
    pub(super) flush_interval: Duration,
    pub(super) schedule: Schedule,
    /// The newest checkpoint that is not durable; all rows before it are accepted.
    pub(super) checkpoint: Option<Checkpoint>,
    /// Bytes of the rows that were taken since all tables last made batches; more than are left.
    pub(super) pending_bytes: usize,
    pub(super) failing: Option<Failing>,
    /// What arrived while the disk refuses, in order. Its rows still hold their room in the queue.
    pub(super) backlog: VecDeque<Message>,
}

/// When the thread is due to do what.
pub(super) struct Schedule {
    next_flush: Instant,
    /// Until then calls and gaps wait for the ledger to say which cluster they are of.
    identity_deadline: Instant,
}

impl Schedule {
    pub(super) fn start(flush_interval: Duration) -> Self {
        let now = Instant::now();
        Self {
            next_flush: now + flush_interval,
            identity_deadline: now + IDENTITY_WAIT,
        }
    }
}

/// Since when and how the disk refuses.
pub(super) struct Failing {
    since: Moment,
    reason: Arc<str>,
    last_logged: Instant,
}

/// What could not be made durable now.
struct FlushError {
    operation: &'static str,
    reason: String,
}

impl Writer {
    /// Runs until the store is closed or nobody holds it any more.
    pub(super) fn run(mut self, messages: &Receiver<Message>) {
        let mut next = None;
        loop {
            let wait = self
                .schedule
                .next_flush
                .saturating_duration_since(Instant::now());
            let received = match next.take() {
                Some(message) => Ok(message),
                None => messages.recv_timeout(wait),
            };
            match received {
                Ok(Message::Close(reply)) => {
                    let _ = reply.send(self.close());
                    return;
                }
                Ok(Message::Flush(reply)) => {
                    let _ = reply.send(self.flush_all());
                }
                Ok(Message::Acknowledge(reply)) => {
                    next = self.acknowledge_together(reply, messages);
                }
                Ok(message) => self.take_or_keep(message),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => {
                    tracing::warn!(
                        "the store was not closed; its journals are sealed at the next start"
                    );
                    // Failures are logged where they happen.
                    let _ = self.flush_all();
                    self.sealer.finish();
                    return;
                }
            }
            if Instant::now() >= self.schedule.next_flush {
                self.tick();
            }
        }
    }

    /// Makes one fsync do for all who wait for one by now. Returns a message that is not theirs.
    fn acknowledge_together(
        &mut self,
        first: Reply,
        messages: &Receiver<Message>,
    ) -> Option<Message> {
        let mut replies = vec![first];
        let mut next = None;
        for message in messages.try_iter().take(MAX_MESSAGES_BEFORE_SYNC) {
            match message {
                Message::Acknowledge(reply) => replies.push(reply),
                Message::Rows(..) | Message::Identity(_) | Message::DoubtIdentity => {
                    self.take_or_keep(message);
                }
                Message::Flush(_) | Message::Close(_) => {
                    next = Some(message);
                    break;
                }
            }
        }
        let result = self.flush_acknowledged();
        for reply in replies {
            let _ = reply.send(result.clone());
        }
        next
    }

    /// Takes a message into memory, or keeps it for later while the disk refuses.
    fn take_or_keep(&mut self, message: Message) {
        if self.failing.is_some() {
            self.backlog.push_back(message);
        } else {
            self.take(message);
        }
    }

    /// Takes one message into memory.
    fn take(&mut self, message: Message) {
        let now = (self.clock)();
        match message {
            Message::Rows(rows, place) => {
                self.metrics.queued_rows.dec_by(super::gauge(rows.len()));
                if let Some(checkpoint) = self.tables.accept(rows, now) {
                    self.checkpoint = Some(checkpoint);
                }
                self.pending_bytes = self.pending_bytes.saturating_add(place.bytes);
                if self.pending_bytes >= MAX_PENDING_BYTES {
                    self.pending_bytes = 0;
                    self.tables.encode(now);
                }
            }
            Message::Identity(identity) => self.tables.set_identity(identity, now),
            Message::DoubtIdentity => self.tables.doubt_identity(now),
            // Answered before they come here.
            Message::Flush(_) | Message::Acknowledge(_) | Message::Close(_) => {}
        }
        if self.tables.unsynced_bytes() >= MAX_UNSYNCED_BYTES {
            let _ = self.flush();
        }
    }

    /// What is due once per flush interval. Failures are logged where they happen.
    fn tick(&mut self) {
        if self.failing.is_none() {
            if (self.shared.has_room)() {
                self.report_losses();
            }
            self.tables.close_past_segments((self.clock)());
        }
        let _ = self.flush();
    }

    /// Tells of what had to be refused.
    fn report_losses(&mut self) {
        if let Some(loss) = self.shared.losses.take_overflow() {
            tracing::warn!(
                calls = loss.calls,
                "calls were not recorded: the queue of the store was full"
            );
            self.tables.note_dropped(loss.calls);
            let detail = "the queue of the store was full".to_owned();
            let gap = loss.gap(GapKind::ObserverOverflow, self.folder.instance(), detail);
            self.tables.add_gap(gap);
        }
        // Refused by somebody who had not noticed yet that writing works again.
        if let Some(loss) = self.shared.losses.take_storage() {
            self.tables.note_dropped(loss.calls);
            let detail = "the trace folder could not be written".to_owned();
            let gap = loss.gap(GapKind::Storage, self.folder.instance(), detail);
            self.tables.add_gap(gap);
        }
        for gap in self.shared.losses.take_segments() {
            self.tables.add_gap(gap);
        }
    }

    /// Makes everything that was appended so far durable, the backlog of a failure included.
    fn flush_all(&mut self) -> Result<(), StoreError> {
        self.schedule.identity_deadline = Instant::now();
        loop {
            let was_failing = self.failing.is_some();
            self.flush()?;
            if !was_failing {
                return Ok(());
            }
        }
    }

    /// Makes the rows durable that clients wait for. The others keep their interval: syncing them
    /// along would make their batches small, and every client wait for them.
    fn flush_acknowledged(&mut self) -> Result<(), StoreError> {
        if let Some(failing) = &self.failing {
            // Tried again once per probe interval, not once per client.
            return Err(StoreError::Failing {
                reason: Arc::clone(&failing.reason),
            });
        }
        if !self.tables.owes_acknowledged() {
            return Ok(());
        }
        let now = (self.clock)();
        let result = self.check_folder().and_then(|()| {
            self.tables.encode_acknowledged(now);
            self.sync(now, Tables::sync_acknowledged)
        });
        result.map_err(|error| {
            self.schedule.next_flush = Instant::now() + PROBE_INTERVAL;
            self.fail(&error, now)
        })
    }

    /// Makes everything accepted durable, and keeps track of whether that works.
    fn flush(&mut self) -> Result<(), StoreError> {
        let now = (self.clock)();
        match self.write(now) {
            Ok(()) => {
                self.schedule.next_flush = Instant::now() + self.flush_interval;
                if let Some(failing) = self.failing.take() {
                    self.resume(&failing, now);
                }
                match &self.failing {
                    None => Ok(()),
                    Some(failing) => Err(StoreError::Failing {
                        reason: Arc::clone(&failing.reason),
                    }),
                }
            }
            Err(error) => {
                self.schedule.next_flush = Instant::now() + PROBE_INTERVAL;
                Err(self.fail(&error, now))
            }
        }
    }

    fn write(&mut self, now: Moment) -> Result<(), FlushError> {
        if self.tables.is_idle() && self.checkpoint.is_none() && self.failing.is_none() {
            return Ok(());
        }
        self.check_folder()?;
        if self.tables.is_in_doubt() && !self.tables.has_rows_without_identity() {
            self.schedule.identity_deadline = Instant::now() + DOUBT_WAIT;
        }
        let may_wait = !self.tables.has_identity()
            && self.checkpoint.is_none()
            && Instant::now() < self.schedule.identity_deadline;
        if may_wait {
            self.tables.encode_identified(now);
        } else {
            self.pending_bytes = 0;
            self.tables.encode(now);
        }
        self.sync(now, Tables::sync)?;
        if let Some(checkpoint) = &self.checkpoint {
            self.folder
                .write_checkpoint(checkpoint)
                .map_err(|error| FlushError {
                    operation: "checkpoint",
                    reason: error.to_string(),
                })?;
            let checkpoint = self.checkpoint.take();
            self.shared
                .durable
                .send_modify(|durable| durable.checkpoint = checkpoint);
        }
        Ok(())
    }

    /// Whether the trace folder is still the one that was opened.
    fn check_folder(&self) -> Result<(), FlushError> {
        if self.folder.is_there() {
            return Ok(());
        }
        Err(FlushError {
            operation: "journal",
            reason: "the trace folder was removed or replaced; put it back, or restart the interceptor to begin a new trace".to_owned(),
        })
    }

    /// Syncs tables. A revision is announced as soon as `changes` has it, whatever becomes of the
    /// other tables.
    fn sync(
        &mut self,
        now: Moment,
        sync_tables: impl FnOnce(&mut Tables, Moment, &mut Synced) -> Result<(), SyncError>,
    ) -> Result<(), FlushError> {
        let mut synced = Synced::default();
        let result = sync_tables(&mut self.tables, now, &mut synced);
        for job in synced.jobs {
            self.sealer.submit(job);
        }
        if let Some(last) = synced.last {
            self.metrics.durable_revision.set(last.revision);
            self.shared.durable.send_if_modified(|durable| {
                let news = durable.change.as_ref() != Some(&last);
                durable.change = Some(last);
                news
            });
        }
        result.map_err(|error| FlushError {
            operation: "journal",
            reason: match error {
                SyncError::Io(error) => error.to_string(),
                SyncError::Vanished => "a journal was removed".to_owned(),
            },
        })
    }

    /// Notes that the disk refuses; from here on nothing is accepted.
    fn fail(&mut self, error: &FlushError, now: Moment) -> StoreError {
        self.metrics.failed(error.operation);
        let folder = self.folder.root().display();
        let reason: Arc<str> = error.reason.as_str().into();
        match &mut self.failing {
            None => {
                tracing::error!(%folder, error = %reason, "cannot write the trace; recording stops until it works again, traffic goes on");
                self.metrics.failing.set(1);
                self.failing = Some(Failing {
                    since: now,
                    reason: Arc::clone(&reason),
                    last_logged: Instant::now(),
                });
            }
            Some(failing) => {
                failing.reason = Arc::clone(&reason);
                if failing.last_logged.elapsed() >= LOG_AGAIN_AFTER {
                    failing.last_logged = Instant::now();
                    tracing::error!(%folder, error = %reason, "still cannot write the trace");
                }
            }
        }
        self.shared.failure.send_replace(Some(Arc::clone(&reason)));
        StoreError::Failing { reason }
    }

    /// Goes on after a failure: what had been accepted is durable now, what waits is taken, and a
    /// row tells what was refused.
    fn resume(&mut self, failing: &Failing, now: Moment) {
        tracing::info!(folder = %self.folder.root().display(), "the trace can be written again");
        self.metrics.failing.set(0);
        self.shared.failure.send_replace(None);
        let loss = self.shared.losses.take_storage().unwrap_or_default();
        self.tables.note_dropped(loss.calls);
        let detail = format!("the trace folder could not be written: {}", failing.reason);
        let mut gap = loss.gap(GapKind::Storage, self.folder.instance(), detail);
        gap.from = Some(failing.since);
        gap.to = Some(now);
        self.tables.add_gap(gap);
        for message in std::mem::take(&mut self.backlog) {
            if self.failing.is_none() {
                self.take(message);
            } else {
                self.backlog.push_back(message);
            }
        }
    }

    /// Makes everything durable, seals it, and releases the folder.
    fn close(mut self) -> Result<(), StoreError> {
        self.report_losses();
        let flushed = self.flush_all();
        self.tables.close_segments();
        // Hands the closed segments to the sealing thread; those that are not durable stay.
        let synced = flushed.and_then(|()| self.flush());
        let unsealed = self.sealer.finish();

        synced?;
        let now = (self.clock)();
        let lost = self.shared.losses.take_segments();
        if !lost.is_empty() {
            // Found by the sealing thread just now. Their journal is sealed at the next start.
            for gap in lost {
                self.tables.add_gap(gap);
            }
            self.tables.encode(now);
            if let Err(error) = self.tables.sync(now, &mut Synced::default()) {
                tracing::error!(?error, "cannot record that rows were lost");
            }
        }
        self.folder.note_closed(now)?;
        match unsealed {
            0 => Ok(()),
            journals => Err(StoreError::Unsealed { journals }),
        }
    }
}
