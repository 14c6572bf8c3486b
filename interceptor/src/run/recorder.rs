//! From what the observer reports on the relay's threads to rows in the store.

use std::mem;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use cascade_proto::tables::{Call, Gap, GapKind, Moment};
use tokio::sync::Notify;

use crate::clock::{Reading, wall_clock};
use crate::decode::SharedHashKey;
use crate::observer::{ConnectionObserver, Observation, ObserverMetrics};
use crate::relay::{Observe, Tap};
use crate::store::{Rows, Store};

/// How long a finished call waits for others. Handing each to the store alone would wake another
/// thread for each, which clients feel; rows are written once per second anyway.
const COLLECTING_TIME: Duration = Duration::from_millis(25);
/// Rows that are handed over at once.
const FULL_BATCH: usize = 1024;
/// Connections share this many batches, so that threads rarely meet at one.
const BATCHES: usize = 8;

/// Observes connections and records what it sees. Clones share everything.
#[derive(Clone)]
pub(super) struct Recorder(Arc<Shared>);

struct Shared {
    store: Store,
    hash_key: SharedHashKey,
    hash_secrets: bool,
    metrics: ObserverMetrics,
    batches: [Mutex<Vec<Call>>; BATCHES],
    /// Some batch is not empty any more.
    begun: Notify,
}

impl Recorder {
    pub(super) fn new(
        store: Store,
        hash_key: SharedHashKey,
        hash_secrets: bool,
        metrics: ObserverMetrics,
    ) -> Self {
        Self(Arc::new(Shared {
            store,
            hash_key,
            hash_secrets,
            metrics,
            batches: Default::default(),
            begun: Notify::new(),
        }))
    }

    /// Hands batches to the store some time after they were begun. Never ends.
    pub(super) async fn hand_over_in_time(&self) {
        loop {
            self.0.begun.notified().await;
            tokio::time::sleep(COLLECTING_TIME).await;
            self.hand_over_all();
        }
    }

    /// Hands everything to the store now.
    pub(super) fn hand_over_all(&self) {
        for batch in &self.0.batches {
            let calls = mem::take(&mut *batch.lock().unwrap_or_else(PoisonError::into_inner));
            self.0.hand_over(calls);
        }
    }
}

impl Shared {
    fn record(&self, connection: i64, observation: Observation) {
        match observation {
            Observation::Call(calls) => self.collect(connection, calls),
            Observation::Missed {
                count,
                reason,
                from,
                to,
            } => self.record_gap(Gap {
                count: Some(count),
                from: Some(from),
                to: Some(to),
                detail: Some(format!("connection {connection}: {reason}")),
                ..self.gap(GapKind::ObserverOverflow)
            }),
            Observation::Unparsed { reason, moment } => {
                self.record_unparsed(connection, &reason, moment);
            }
        }
    }

    fn collect(&self, connection: i64, calls: Vec<Call>) {
        let index = usize::try_from(connection).unwrap_or_default() % BATCHES;
        let Some(batch) = self.batches.get(index) else {
            return;
        };
        let mut batch = batch.lock().unwrap_or_else(PoisonError::into_inner);
        let begins = batch.is_empty();
        batch.extend(calls);
        if batch.len() >= FULL_BATCH {
            let full = mem::take(&mut *batch);
            drop(batch);
            self.hand_over(full);
        } else if begins {
            drop(batch);
            self.begun.notify_one();
        }
    }

    fn hand_over(&self, calls: Vec<Call>) {
        if calls.is_empty() {
            return;
        }
        // The store counts what it has no room for, and tells of it in a row of `gaps`.
        if let Err(refused) = self.store.try_append(Rows::Calls(calls)) {
            tracing::debug!(%refused, "calls were not recorded");
        }
    }

    fn record_unparsed(&self, connection: i64, reason: &str, moment: Moment) {
        tracing::debug!(
            connection,
            reason,
            "a connection is relayed without being observed"
        );
        self.record_gap(Gap {
            count: Some(1),
            from: Some(moment),
            detail: Some(format!("connection {connection}: {reason}")),
            ..self.gap(GapKind::UnparsedConnection)
        });
    }

    fn record_gap(&self, gap: Gap) {
        if let Err(refused) = self.store.try_append(Rows::Gaps(vec![gap])) {
            tracing::debug!(%refused, "a gap was not recorded");
        }
    }

    /// A gap of `kind` that concerns calls only.
    fn gap(&self, kind: GapKind) -> Gap {
        gap(&self.store, kind)
    }
}

/// A gap of `kind` in `calls`; no change is missing by it.
pub(super) fn gap(store: &Store, kind: GapKind) -> Gap {
    Gap {
        cluster_id: None,
        epoch: None,
        instance: store.instance().to_string(),
        kind,
        covers_revisions: false,
        from_revision: None,
        to_revision: None,
        count: None,
        from: None,
        to: None,
        detail: None,
    }
}

impl Observe for Recorder {
    fn connection(&self, connection: i64) -> Option<Box<dyn Tap>> {
        let shared = &self.0;
        let observer = ConnectionObserver::new(
            connection,
            shared.store.instance(),
            shared.hash_key.clone(),
            shared.metrics.clone(),
        );
        Some(Box::new(RecordingTap {
            observer: observer.hash_secrets(shared.hash_secrets),
            connection,
            observations: Vec::new(),
            shared: Arc::clone(shared),
        }))
    }

    fn panicked(&self, connection: i64) {
        self.0
            .record_unparsed(connection, "the observer panicked", wall_clock());
    }
}

/// One connection's observer.
struct RecordingTap {
    observer: ConnectionObserver,
    connection: i64,
    observations: Vec<Observation>,
    shared: Arc<Shared>,
}

impl RecordingTap {
    fn record(&mut self) {
        for observation in self.observations.drain(..) {
            self.shared.record(self.connection, observation);
        }
    }
}

impl Tap for RecordingTap {
    fn request_bytes(&mut self, bytes: &[u8], now: Reading) {
        self.observer
            .request_bytes(bytes, now, &mut self.observations);
        self.record();
    }

    fn response_bytes(&mut self, bytes: &[u8], now: Reading) {
        self.observer
            .response_bytes(bytes, now, &mut self.observations);
        self.record();
    }

    fn closed(&mut self, now: Reading) {
        self.observer.closed(now, &mut self.observations);
        self.record();
    }

    fn is_active(&self) -> bool {
        self.observer.is_observing()
    }
}
