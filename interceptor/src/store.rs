//! Writes rows durably: a journal first, then Parquet.
//!
//! One thread writes. A table's rows go to a *segment*: one table, one hour, one history. While it
//! is open it is a journal (an Arrow IPC stream) that is synced once per flush interval; when the
//! hour is over, or the segment is large, another thread turns it into a Parquet file of the same
//! name and removes the journal. Where both exist, the sealed file wins.
//!
//! # What is promised
//! - **Accepted** ([`Store::append`] or [`Store::try_append`] returned `Ok`): the rows are in
//!   memory, in order. They reach the disk unless the process ends first; a failing disk only
//!   delays them: nothing accepted is dropped because of it.
//! - **Durable** ([`Store::flush`] returned `Ok`, [`Store::acknowledge`] did for mergelogs and spans,
//!   or [`Store::durable`] says so): the rows survive a power loss. Within a table they became durable in the order of acceptance; a checkpoint is
//!   durable only after all rows accepted before it.
//! - **Once**: changes that a watch hands in again, at or below the last accepted revision of the
//!   same history, are not stored again.
//! - **Refused** (an error was returned): nothing of that append was taken. Calls refused for lack
//!   of room, or because the disk fails, are counted, and a row of `gaps` tells how many and when.
//! - After [`Store::open`] the trace holds exactly the durable rows of earlier processes, and of
//!   the accepted ones a prefix in order: a journal is cut after its last complete batch, and a
//!   batch of `changes` ends where a revision ends.
//!
//! While the disk fails the store refuses everything and keeps trying; the ledger stops its watch,
//! waits for [`Store::writable`], and goes on after the last revision that was accepted.

mod columns;
mod error;
mod files;
mod folder;
mod inspect;
mod layout;
mod listing;
mod losses;
mod metrics;
mod read;
mod recover;
mod room;
mod rows;
mod seal;
mod segment;
mod state;
mod summary;
mod table;
mod tables;
#[cfg(test)]
mod tests;
mod weight;
mod writer;

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Sender, channel};
use std::time::Duration;

use tokio::sync::{AcquireError, OwnedSemaphorePermit, TryAcquireError, oneshot, watch};

pub use error::{Rejected, StoreError};
pub use inspect::{FolderFacts, inspect};
pub(crate) use layout::sanitise_instance;
pub use metrics::{OperationLabel, StoreMetrics, TableLabel};
pub use read::{Wanted, read_table};
pub use rows::{Checkpoint, Durable, Identity, Position, Recovered, Rows};
pub use state::StateFile;
pub(crate) use weight::call as call_bytes;

use crate::clock::wall_clock;
use files::Files;
use folder::Folder;
use losses::Losses;
use room::{Place, Room, gauge};
use seal::Sealer;
use table::Settings;
use tables::Tables;
use writer::{Clock, Failure, Message, Schedule, Shared, Writer};

/// Settings of a store.
#[derive(Debug, Clone)]
pub struct StoreConfig {
    /// The trace folder; created if it is missing.
    pub trace_dir: PathBuf,
    /// Name of this interceptor, part of every file name. `None`: the name the folder was used
    /// with before, or for a new folder one made of the host's name.
    pub instance: Option<String>,
    /// Name and version of the program, for the footers.
    pub producer: String,
    /// Time between syncs: at most this much is lost in a power loss. Default 1 s.
    pub flush_interval: Duration,
    /// Rows of the ledger that may wait for the writer. Default 16,384.
    pub ledger_queue_rows: u32,
    /// Rows of the observer that may wait for the writer. Default 65,536.
    pub observer_queue_rows: u32,
    /// Mergelogs and spans that may wait for the writer. Default 16,384.
    pub reported_queue_rows: u32,
    /// Rows of requests that may wait for the writer. Default 65,536.
    pub request_queue_rows: u32,
    /// Memory that waiting rows of the ledger may take, in bytes. Default 128 MiB.
    pub ledger_queue_bytes: usize,
    /// Memory that waiting rows of the observer may take, in bytes. Default 192 MiB.
    pub observer_queue_bytes: usize,
    /// Memory that waiting mergelogs and spans may take, in bytes. Default 128 MiB.
    pub reported_queue_bytes: usize,
    /// Memory that waiting rows of requests may take, in bytes. Default 128 MiB.
    pub request_queue_bytes: usize,
    /// Rows after which a batch is written before the flush interval is over. Default 8,192.
    pub max_batch_rows: usize,
    /// Rows at which a segment is sealed before its hour is over. Default 2 Mi.
    pub max_segment_rows: u64,
    /// Journal bytes at which a segment is sealed before its hour is over. Default 256 MiB.
    pub max_segment_bytes: u64,
    /// Where the store counts.
    pub metrics: StoreMetrics,
}

impl StoreConfig {
    /// The defaults, for a trace folder.
    #[must_use]
    pub fn new(trace_dir: impl Into<PathBuf>) -> Self {
        Self {
            trace_dir: trace_dir.into(),
            instance: None,
            producer: concat!("cascade-interceptor ", env!("CARGO_PKG_VERSION")).to_owned(),
            flush_interval: Duration::from_secs(1),
            ledger_queue_rows: 16 * 1024,
            observer_queue_rows: 64 * 1024,
            request_queue_rows: 64 * 1024,
            reported_queue_rows: 16 * 1024,
            ledger_queue_bytes: 128 << 20,
            observer_queue_bytes: 192 << 20,
            reported_queue_bytes: 128 << 20,
            request_queue_bytes: 128 << 20,
            max_batch_rows: 8 * 1024,
            max_segment_rows: 2 << 20,
            max_segment_bytes: 256 << 20,
            metrics: StoreMetrics::default(),
        }
    }
}

/// Rows of `gaps` that may wait even when the observer's queue is full: they are few, and each
/// tells of something that is lost.
const GAP_QUEUE_ROWS: u32 = 4 * 1024;
/// Memory that they may take, in bytes.
const GAP_QUEUE_BYTES: usize = 4 << 20;

/// A handle on an open trace folder; clones lead to the same store.
///
/// When the last handle goes without [`Store::close`], what was accepted is still written, and the
/// journals are sealed the next time the folder is opened.
#[derive(Debug, Clone)]
pub struct Store {
    messages: Sender<Message>,
    ledger_room: Room,
    observer_room: Room,
    reported_room: Room,
    request_room: Room,
    gap_room: Room,
    losses: Arc<Losses>,
    failure: watch::Receiver<Failure>,
    durable: watch::Receiver<Durable>,
    instance: Arc<str>,
    trace_dir: Arc<Path>,
    metrics: StoreMetrics,
}

/// The outside world of a store, which tests replace.
struct Surroundings {
    files: Files,
    clock: Clock,
}

impl Default for Surroundings {
    fn default() -> Self {
        Self {
            files: Files::default(),
            clock: Arc::new(wall_clock),
        }
    }
}

impl Store {
    /// Opens or creates a trace folder, takes up what an earlier process left, and starts writing.
    /// Blocks for as long as it takes to read the journals left behind.
    ///
    /// # Errors
    /// When the folder is in use, holds something else, was written by a newer version, or cannot
    /// be read and written.
    pub fn open(config: StoreConfig) -> Result<(Self, Recovered), StoreError> {
        Self::open_in(config, Surroundings::default())
    }

    fn open_in(
        config: StoreConfig,
        surroundings: Surroundings,
    ) -> Result<(Self, Recovered), StoreError> {
        let Surroundings { files, clock } = surroundings;
        let trace_dir = config.trace_dir;
        let metrics = config.metrics;
        let mut folder = Folder::open(&trace_dir, config.instance.as_deref(), &files)?;
        let recovery = recover::recover(&folder, &files)?;
        folder.note_opened(clock())?;
        let recovered = recovery.recovered;
        let instance: Arc<str> = folder.instance().into();

        let losses = Arc::new(Losses::default());
        let settings = Settings {
            trace: trace_dir.clone(),
            instance: instance.to_string(),
            producer: config.producer,
            files,
            metrics: metrics.clone(),
            max_batch_rows: config.max_batch_rows,
            max_segment_rows: config.max_segment_rows,
            max_segment_bytes: config.max_segment_bytes,
        };
        let start = || StoreError::io("start a thread for", &trace_dir);
        let sealer =
            Sealer::start(&settings, recovery.newest, Arc::clone(&losses)).map_err(start())?;
        for job in recovery.jobs {
            sealer.submit(job);
        }

        let change = recovered.last_change.as_ref().map(Position::of);
        if let Some(change) = &change {
            metrics.durable_revision.set(change.revision);
        }
        let (failure, failure_receiver) = watch::channel(None);
        let (durable, durable_receiver) = watch::channel(Durable {
            change: change.clone(),
            checkpoint: recovered.checkpoint.clone(),
        });
        let observer_room = Room::new(config.observer_queue_rows, config.observer_queue_bytes);
        let room = observer_room.clone();
        let tables =
            Tables::new(settings, change).map_err(|error| start()(std::io::Error::other(error)))?;
        let writer = Writer {
            folder,
            tables,
            sealer,
            clock,
            metrics: metrics.clone(),
            shared: Shared {
                losses: Arc::clone(&losses),
                failure,
                durable,
                has_room: Box::new(move || room.is_half_free()),
            },
            flush_interval: config.flush_interval,
            schedule: Schedule::start(config.flush_interval),
            checkpoint: None,
            pending_bytes: 0,
            failing: None,
            backlog: VecDeque::new(),
        };
        let (messages, receiver) = channel();
        std::thread::Builder::new()
            .name("cascade-store".to_owned())
            .spawn(move || writer.run(&receiver))
            .map_err(start())?;
        let store = Self {
            messages,
            ledger_room: Room::new(config.ledger_queue_rows, config.ledger_queue_bytes),
            observer_room,
            reported_room: Room::new(config.reported_queue_rows, config.reported_queue_bytes),
            request_room: Room::new(config.request_queue_rows, config.request_queue_bytes),
            gap_room: Room::new(GAP_QUEUE_ROWS, GAP_QUEUE_BYTES),
            losses,
            failure: failure_receiver,
            durable: durable_receiver,
            instance,
            trace_dir: trace_dir.into(),
            metrics,
        };
        Ok((store, recovered))
    }

    /// The instance that rows and files carry.
    #[must_use]
    pub fn instance(&self) -> Arc<str> {
        Arc::clone(&self.instance)
    }

    /// The trace folder.
    #[must_use]
    pub fn trace_dir(&self) -> &Path {
        &self.trace_dir
    }

    /// A file for what a stage must remember beyond the end of the process, such as `name.json`.
    #[must_use]
    pub fn state_file(&self, name: &str) -> StateFile {
        StateFile::new(&self.trace_dir, name)
    }

    /// Accepts rows; waits while the queue is full. All of the rows are accepted or none.
    ///
    /// Appends of one task are kept in order. When the future is dropped before it is ready,
    /// nothing was accepted.
    ///
    /// # Errors
    /// [`StoreError::Failing`] while the trace folder cannot be written, at once and not only when
    /// the queue is full; [`StoreError::InvalidRows`] when changes are not whole revisions in
    /// order; [`StoreError::Closed`].
    pub async fn append(&self, rows: Rows) -> Result<(), StoreError> {
        rows.check()?;
        if rows.is_empty() {
            return Ok(());
        }
        let mut failure = self.failure.clone();
        let room = match &rows {
            Rows::Mergelogs(_) | Rows::Spans(_) => &self.reported_room,
            _ => &self.ledger_room,
        };
        let bytes = weight::bytes(&rows);
        let permits = room.permits(rows.len(), bytes);
        let room = Arc::clone(&room.free).acquire_many_owned(permits);
        let permit = tokio::select! {
            biased;
            failure = failure.wait_for(Option::is_some) => {
                return Err(match failure.as_deref() {
                    Ok(Some(reason)) => StoreError::Failing { reason: Arc::clone(reason) },
                    _ => StoreError::Closed,
                });
            }
            permit = room => permit.map_err(|_: AcquireError| StoreError::Closed)?,
        };
        self.send_rows(rows, bytes, permit)
            .map_err(|()| StoreError::Closed)
    }

    /// Accepts rows if there is room at once; never waits. Refused calls are counted, and a row of
    /// `gaps` tells of them once there is room again; what else is refused is for the caller to tell.
    ///
    /// # Errors
    /// [`Rejected`] when the rows were not taken.
    pub fn try_append(&self, rows: Rows) -> Result<(), Rejected> {
        if rows.is_empty() {
            return Ok(());
        }
        if rows.check().is_err() {
            return Err(Rejected::Invalid);
        }
        if self.failure.borrow().is_some() {
            self.count_rejected(self.losses.storage(&rows));
            return Err(Rejected::Failing);
        }
        let room = match &rows {
            Rows::Gaps(_) => &self.gap_room,
            // Apart: however many requests there are, calls have their room.
            Rows::Requests(_) | Rows::RequestCalls(_) => &self.request_room,
            _ => &self.observer_room,
        };
        let bytes = weight::bytes(&rows);
        let permits = room.permits(rows.len(), bytes);
        match Arc::clone(&room.free).try_acquire_many_owned(permits) {
            Ok(permit) => self
                .send_rows(rows, bytes, permit)
                .map_err(|()| Rejected::Closed),
            Err(TryAcquireError::NoPermits) => {
                self.count_rejected(self.losses.overflow(&rows));
                Err(Rejected::Full)
            }
            Err(TryAcquireError::Closed) => Err(Rejected::Closed),
        }
    }

    fn count_rejected(&self, calls: u64) {
        self.metrics.rejected_calls.inc_by(calls);
    }

    fn send_rows(&self, rows: Rows, bytes: usize, permit: OwnedSemaphorePermit) -> Result<(), ()> {
        let place = Place::new(bytes, self.metrics.queued_bytes.clone(), permit);
        let queued = gauge(rows.len());
        self.metrics.queued_rows.inc_by(queued);
        self.messages.send(Message::Rows(rows, place)).map_err(|_| {
            self.metrics.queued_rows.dec_by(queued);
        })
    }

    /// Sets what calls and gaps belong to that lack a cluster id or an epoch, from here on.
    pub fn set_identity(&self, identity: Identity) {
        // A store that is closed takes no more rows that could lack it.
        let _ = self.messages.send(Message::Identity(identity));
    }

    /// Says that what comes from here on may belong to another history: etcd went away, and what
    /// comes back need not be the same. Calls and gaps that do not say it themselves then wait some
    /// seconds for [`Store::set_identity`]; without it they are stored without an epoch.
    pub fn doubt_identity(&self) {
        // As above.
        let _ = self.messages.send(Message::DoubtIdentity);
    }

    /// What would survive a power loss, now and as it changes.
    #[must_use]
    pub fn durable(&self) -> watch::Receiver<Durable> {
        self.durable.clone()
    }

    /// Waits until the store accepts rows.
    ///
    /// # Errors
    /// [`StoreError::Closed`] when it never will again.
    pub async fn writable(&self) -> Result<(), StoreError> {
        self.failure
            .clone()
            .wait_for(Option::is_none)
            .await
            .map(|_| ())
            .map_err(|_| StoreError::Closed)
    }

    /// Waits until the trace folder cannot be written, and says why.
    pub async fn failure(&self) -> StoreError {
        let mut failure = self.failure.clone();
        match failure.wait_for(Option::is_some).await.as_deref() {
            Ok(Some(reason)) => StoreError::Failing {
                reason: Arc::clone(reason),
            },
            _ => StoreError::Closed,
        }
    }

    /// Makes everything appended so far durable.
    ///
    /// # Errors
    /// [`StoreError::Failing`] when that is not possible now; it is still tried again later.
    pub async fn flush(&self) -> Result<(), StoreError> {
        self.ask(Message::Flush).await
    }

    /// Makes the mergelogs and spans appended so far durable; the other tables keep their interval.
    /// Calls that wait at the same time share an fsync.
    ///
    /// # Errors
    /// [`StoreError::Failing`] when that is not possible now. The rows are still accepted: they
    /// become durable later unless the process ends first, and must not be appended again.
    pub async fn acknowledge(&self) -> Result<(), StoreError> {
        self.ask(Message::Acknowledge).await
    }

    /// Makes everything durable and turns all journals into Parquet. Whatever is appended through
    /// another handle afterwards is refused. If this is cut short by the end of the process, the
    /// rest is done when the folder is opened the next time.
    ///
    /// # Errors
    /// [`StoreError::Failing`] when the trace folder cannot be written: rows not durable by now are
    /// lost; [`StoreError::Unsealed`] when journals are left for the next start.
    pub async fn close(self) -> Result<(), StoreError> {
        self.ask(Message::Close).await
    }

    async fn ask(
        &self,
        message: impl FnOnce(oneshot::Sender<Result<(), StoreError>>) -> Message,
    ) -> Result<(), StoreError> {
        let (reply, answer) = oneshot::channel();
        self.messages
            .send(message(reply))
            .map_err(|_| StoreError::Closed)?;
        answer.await.map_err(|_| StoreError::Closed)?
    }
}
