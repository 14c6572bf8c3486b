//! From what the observer reports on the relay's threads to rows in the store.

use std::mem;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use cascade_proto::tables::{Call, Gap, GapKind, Moment};
use tokio::sync::Notify;

use super::switch::{ObservationSwitch, Switched, list};
use crate::clock::{Reading, wall_clock};
use crate::decode::{HashKey, SharedHashKey};
use crate::observer::{ConnectionObserver, Observation, ObserverMetrics};
use crate::relay::{Observe, Tap};
use crate::store::{Rows, Store, call_bytes};

/// How long a finished call waits for others. Handing each to the store alone would wake another
/// thread for each, which clients feel; rows are written once per second anyway.
const COLLECTING_TIME: Duration = Duration::from_millis(25);
/// Rows that are handed over at once.
const FULL_BATCH: usize = 1024;
/// Bytes of rows that are handed over at once.
const FULL_BATCH_BYTES: usize = 1 << 20;
/// Connections share this many batches, so that threads rarely meet at one.
const BATCHES: usize = 8;

/// Who sets the key that values are hashed with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum HashKeySource {
    /// A file of the operator's, read at the start; Secrets are hashed too.
    File,
    /// The ledger, which knows the cluster.
    Ledger,
    /// The first answer of etcd: there is no ledger.
    Answers,
}

/// Observes connections and records what it sees. Clones share everything.
#[derive(Clone)]
pub(super) struct Recorder(Arc<Shared>);

/// How connections are observed.
pub(super) struct Observing {
    /// Key of hashes, once it is known.
    pub(super) hash_key: SharedHashKey,
    /// Who sets it.
    pub(super) key_source: HashKeySource,
    /// Most memory for what is not complete, in bytes.
    pub(super) memory: usize,
    /// Where it is counted.
    pub(super) metrics: ObserverMetrics,
}

struct Shared {
    store: Store,
    observing: Observing,
    /// The cluster that the hash key was derived from, if it is learned from etcd's answers: without a
    /// ledger nobody else tells it. 0 is none yet.
    learned_cluster: Option<AtomicU64>,
    switch: ObservationSwitch,
    batches: [Mutex<Batch>; BATCHES],
    /// Some batch is not empty any more.
    begun: Notify,
}

/// Finished calls that wait for others.
#[derive(Default)]
struct Batch {
    calls: Vec<Call>,
    /// Memory of these calls, in bytes.
    bytes: usize,
}

impl Recorder {
    pub(super) fn new(store: Store, observing: Observing, switch: ObservationSwitch) -> Self {
        let learns = observing.key_source == HashKeySource::Answers;
        Self(Arc::new(Shared {
            store,
            observing,
            learned_cluster: learns.then(AtomicU64::default),
            switch,
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

    /// Whether connections are observed.
    pub(super) fn is_on(&self) -> bool {
        self.0.switch.is_on()
    }

    /// Switches observation on or off.
    pub(super) fn switch(&self, on: bool) {
        self.0.switch_observation(on);
    }

    /// Hands everything to the store now.
    pub(super) fn hand_over_all(&self) {
        for batch in &self.0.batches {
            let batch = mem::take(&mut *batch.lock().unwrap_or_else(PoisonError::into_inner));
            self.0.hand_over(batch.calls);
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

    fn switch_observation(&self, on: bool) {
        let now = wall_clock();
        match self.switch.switch(on, now) {
            None => {}
            Some(Switched::Off) => {
                tracing::warn!("observation was switched off: calls are not recorded");
                self.record_gap(Gap {
                    from: Some(now),
                    detail: Some("observation was switched off".to_owned()),
                    ..self.gap(GapKind::ObservationOff)
                });
            }
            Some(Switched::On { since, unobserved }) => {
                tracing::info!(
                    unobserved = unobserved.len(),
                    "observation was switched on again; open connections that it missed bytes of stay unobserved"
                );
                let mut detail =
                    "observation was switched on again after it was off for this time".to_owned();
                if !unobserved.is_empty() {
                    let connections = list(&unobserved);
                    detail.push_str("; unobserved until they end: connections ");
                    detail.push_str(&connections);
                }
                self.record_gap(Gap {
                    count: i64::try_from(unobserved.len()).ok(),
                    from: Some(since),
                    to: Some(now),
                    detail: Some(detail),
                    ..self.gap(GapKind::ObservationOff)
                });
            }
        }
    }

    /// Tells what was missed of a connection after observation was switched on again.
    fn note_end(&self, connection: i64, now: Moment) {
        if let Some(since) = self.switch.ended(connection) {
            self.record_gap(Gap {
                count: Some(1),
                from: Some(since),
                to: Some(now),
                detail: Some(format!(
                    "connection {connection}: not observed to its end, as observation had been off"
                )),
                ..self.gap(GapKind::ObservationOff)
            });
        }
    }

    /// Derives the hash key from the cluster that answered a call, so that the hashes are those that the
    /// ledger of another interceptor of this cluster writes. Until the first answer there are none.
    fn learn_hash_key(&self, calls: &[Call]) {
        let Some(learned) = &self.learned_cluster else {
            return;
        };
        let answered = calls.iter().find_map(|call| call.cluster_id.as_deref());
        let Some(cluster_id) = answered.and_then(|text| u64::from_str_radix(text, 16).ok()) else {
            return;
        };
        if learned.swap(cluster_id, Ordering::Relaxed) != cluster_id {
            self.observing
                .hash_key
                .set(HashKey::from_cluster_id(cluster_id));
        }
    }

    fn collect(&self, connection: i64, calls: Vec<Call>) {
        self.learn_hash_key(&calls);
        let index = usize::try_from(connection).unwrap_or_default() % BATCHES;
        let Some(batch) = self.batches.get(index) else {
            return;
        };
        let mut batch = batch.lock().unwrap_or_else(PoisonError::into_inner);
        let begins = batch.calls.is_empty();
        batch.bytes += calls.iter().map(call_bytes).sum::<usize>();
        batch.calls.extend(calls);
        if batch.calls.len() >= FULL_BATCH || batch.bytes >= FULL_BATCH_BYTES {
            let full = mem::take(&mut *batch);
            drop(batch);
            self.hand_over(full.calls);
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
            shared.observing.hash_key.clone(),
            shared.observing.metrics.clone(),
        );
        let observer = observer
            .hash_secrets(shared.observing.key_source == HashKeySource::File)
            .memory_limit(shared.observing.memory);
        Some(Box::new(RecordingTap {
            observer: Some(Box::new(observer)),
            connection,
            observations: Vec::new(),
            was_left: false,
            shared: Arc::clone(shared),
        }))
    }

    fn panicked(&self, connection: i64) {
        let now = wall_clock();
        self.0
            .record_unparsed(connection, "the observer panicked", now);
        // That row tells of its rest.
        let _ = self.0.switch.ended(connection);
    }
}

/// One connection's observer.
struct RecordingTap {
    /// `None` once there is nothing more to observe.
    observer: Option<Box<ConnectionObserver>>,
    connection: i64,
    observations: Vec<Observation>,
    /// Bytes went by while observation was off.
    was_left: bool,
    shared: Arc<Shared>,
}

impl RecordingTap {
    /// Shows something to the observer, unless observation is off: then it ends for good.
    fn observe(
        &mut self,
        now: Reading,
        show: impl FnOnce(&mut ConnectionObserver, &mut Vec<Observation>),
    ) {
        let Some(observer) = &mut self.observer else {
            return;
        };
        if !self.shared.switch.is_on() && self.shared.switch.leave(self.connection) {
            self.was_left = true;
            observer.closed(now, &mut self.observations);
        } else {
            show(observer, &mut self.observations);
        }
        if !observer.is_observing() {
            self.observer = None;
        }
        self.record();
    }

    fn record(&mut self) {
        for observation in self.observations.drain(..) {
            self.shared.record(self.connection, observation);
        }
    }
}

impl Tap for RecordingTap {
    fn request_bytes(&mut self, bytes: &[u8], now: Reading) {
        self.observe(now, |observer, observations| {
            observer.request_bytes(bytes, now, observations);
        });
    }

    fn response_bytes(&mut self, bytes: &[u8], now: Reading) {
        self.observe(now, |observer, observations| {
            observer.response_bytes(bytes, now, observations);
        });
    }

    fn closed(&mut self, now: Reading) {
        if let Some(mut observer) = self.observer.take() {
            observer.closed(now, &mut self.observations);
            self.record();
        }
        if self.was_left {
            self.shared.note_end(self.connection, now.moment);
        }
    }

    fn is_active(&self) -> bool {
        self.observer.is_some()
    }
}

#[cfg(test)]
#[path = "recorder_tests.rs"]
mod tests;
