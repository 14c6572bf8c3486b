//! Reads everything that exists, as of one revision.

use std::sync::{Arc, Mutex, PoisonError};

use cascade_proto::tables::{Moment, State};
use cascade_proto::wire::etcd::KeyValue;

use super::connection::{Connection, Header};
use super::error::{Interruption, LedgerError};
use super::metrics::LedgerMetrics;
use super::pages::{PagePlanner, PageRequest, PageSummary};
use super::rows::RowMaker;
use super::work::off_the_runtime;
use crate::clock::wall_clock;
use crate::store::{Rows, Store};

/// How far a snapshot has come. It outlives the connection, so that the next one goes on with it.
#[derive(Debug, Clone)]
pub(super) struct SnapshotProgress {
    revision: i64,
    position: Arc<Mutex<Position>>,
}

#[derive(Debug)]
struct Position {
    planner: PagePlanner,
    keys: u64,
}

impl SnapshotProgress {
    /// A snapshot at `revision` that has nothing yet.
    pub(super) fn begin(revision: i64, page_bytes: usize) -> Self {
        Self {
            revision,
            position: Arc::new(Mutex::new(Position {
                planner: PagePlanner::new(page_bytes),
                keys: 0,
            })),
        }
    }

    /// The revision that is read.
    pub(super) fn revision(&self) -> i64 {
        self.revision
    }

    /// Number of keys stored.
    pub(super) fn keys(&self) -> u64 {
        self.with(|position| position.keys)
    }

    fn request(&self) -> Option<PageRequest> {
        self.with(|position| position.planner.request().cloned())
    }

    fn page_stored(&self, page: PageSummary<'_>, keys: u64) {
        self.with(|position| {
            position.planner.page_read(page);
            position.keys += keys;
        });
    }

    fn with<T>(&self, work: impl FnOnce(&mut Position) -> T) -> T {
        // Nothing that is done under the lock can panic halfway.
        work(&mut self.position.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// What taking a snapshot needs.
pub(super) struct Snapshot {
    pub(super) progress: SnapshotProgress,
    pub(super) connection: Connection,
    pub(super) store: Store,
    pub(super) rows: Arc<RowMaker>,
    pub(super) metrics: LedgerMetrics,
    /// Header of the answer that the session began with: other terms or clusters must not mix.
    pub(super) session: Header,
}

impl Snapshot {
    /// Reads and stores the pages that are left. Dropping the future, or an error, loses nothing:
    /// `progress` says where to go on.
    pub(super) async fn take(mut self) -> Result<(), Interruption> {
        let revision = self.progress.revision();
        while let Some(request) = self.progress.request() {
            let page = self.connection.page(&request, revision).await?;
            let seen = wall_clock();
            self.check(page.header)?;
            self.metrics.etcd_is_at(page.header.revision);
            let sizes = page.values.iter().map(|kv| kv.key.len() + kv.value.len());
            let bytes: usize = sizes.clone().sum();
            let largest = sizes.max().unwrap_or(0);
            let keys = page.values.len() as u64;
            let last_key = page.values.last().map(|kv| kv.key.clone());
            let states = self.decode(page.values, bytes, revision, seen).await?;
            // A dropped append stores nothing, and nothing can drop us between it and the note.
            self.store.append(Rows::States(states)).await?;
            let summary = PageSummary {
                last_key: last_key.as_deref(),
                largest,
                more: page.more,
            };
            self.progress.page_stored(summary, keys);
            self.metrics.snapshot_keys.inc_by(keys);
            self.metrics.received_bytes.inc_by(bytes as u64);
        }
        Ok(())
    }

    async fn decode(
        &self,
        values: Vec<KeyValue>,
        bytes: usize,
        revision: i64,
        seen: Moment,
    ) -> Result<Vec<State>, LedgerError> {
        let rows = Arc::clone(&self.rows);
        off_the_runtime(bytes, move || {
            let state = |kv| rows.state(kv, revision, seen);
            values.iter().map(state).collect()
        })
        .await
    }

    /// The connection reconnects by itself: behind it may be another etcd now.
    fn check(&self, header: Header) -> Result<(), Interruption> {
        let same = |header: Header| (header.cluster_id, header.raft_term);
        if same(header) == same(self.session) {
            return Ok(());
        }
        Err(Interruption::HistoryMoved {
            what: "cluster or raft term changed while a snapshot was read".to_owned(),
        })
    }
}
