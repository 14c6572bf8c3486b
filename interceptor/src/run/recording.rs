//! The stages that record: store, observer, ledger.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use cascade_cpid::carriers::Carrier;
use cascade_proto::tables::{Gap, GapKind, Moment};
use futures::FutureExt;
use prometheus_client::registry::Registry;
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::RunError;
use super::address::ListenAddress;
use super::clock_watch::{self, ClockStep};
use super::disk_use;
use super::memory::MemoryLimit;
use super::otlp::OtlpSettings;
use super::recorder::{HashKeySource, Observing, Recorder, gap};
use super::switch::{ObservationSwitch, SwitchMetrics};
use crate::clock::wall_clock;
use crate::collectors::mergelog::{TraceServer, TraceServerConfig, TraceServerMetrics};
use crate::decode::{DecodeOptions, ExcludedResources, HashKey, SharedHashKey};
use crate::ledger::{
    self, ConnectSettings, LedgerConfig, LedgerError, LedgerMetrics, LedgerStatus,
};
use crate::metrics::{Control, Health};
use crate::observer::ObserverMetrics;
use crate::relay::{Observe, Unobserved};
use crate::store::{Recovered, Rows, Store, StoreConfig, StoreError, StoreMetrics};
use crate::tls::ServerTls;
use crate::transport::Upstream;

/// What to record, and where.
#[derive(Debug, Clone)]
pub struct RecordingConfig {
    /// The trace folder.
    pub trace_dir: PathBuf,
    /// Name of this interceptor; `None` leaves it to the store.
    pub instance: Option<String>,
    /// Longest time until a row is on the disk.
    pub flush_interval: Duration,
    /// Whether the run ends once the trace cannot be written or the ledger cannot go on, instead of
    /// relaying without recording.
    pub ends_with_trace: bool,
    /// Most memory that what waits may take.
    pub memory_limit: MemoryLimit,
    /// Key of all hashes; `None` makes one from the cluster id. Only with one are Secrets hashed.
    pub hash_key: Option<HashKey>,
    /// Resources of which only identity and sizes are recorded.
    pub excluded: ExcludedResources,
    /// Where CPIDs stand on objects, by preference.
    pub carriers: Arc<[Carrier]>,
    /// Whether relayed connections are observed from the begin; it can be switched later.
    pub observe: bool,
    /// Whether and where the keyspace is watched.
    pub ledger: Option<LedgerSettings>,
    /// Whether and where kube-apiserver's spans are received.
    pub otlp: Option<OtlpSettings>,
    /// Whether and where mergelogs and spans are taken.
    pub trace_server: Option<TraceServerSettings>,
}

/// Where and how mergelogs and spans are taken.
#[derive(Debug, Clone)]
pub struct TraceServerSettings {
    /// Where to listen.
    pub listen: ListenAddress,
    /// How to serve.
    pub server: TraceServerConfig,
}

/// Where and how the keyspace is watched.
#[derive(Debug, Clone)]
pub struct LedgerSettings {
    /// Members of etcd.
    pub members: Vec<Upstream>,
    /// A longer backlog is given up for a snapshot.
    pub max_catchup_revisions: i64,
    /// How to connect.
    pub connect: ConnectSettings,
}

/// Dropped without a value when the ledger panicked.
type LedgerEnd = oneshot::Receiver<Result<(), LedgerError>>;

/// The stages that record.
pub(super) struct Recording {
    config: RecordingConfig,
    store: Store,
    /// For the ledger to go on after.
    recovered: Option<Recovered>,
    hash_key: SharedHashKey,
    recorder: Option<Recorder>,
    /// Tasks that never end by themselves.
    errands: JoinSet<()>,
    /// How the ledger ended, once it has.
    ledger: Option<LedgerEnd>,
    stop_ledger: CancellationToken,
    trace_server: Option<TraceServer>,
}

impl Recording {
    /// Opens the trace folder. Where nothing is relayed, nothing is observed.
    ///
    /// # Errors
    /// The trace folder cannot be used.
    pub(super) fn open(
        config: RecordingConfig,
        relaying: bool,
        registry: &mut Registry,
        health: &mut Health,
    ) -> Result<Self, RunError> {
        let store_metrics = StoreMetrics::default();
        store_metrics.register(registry);
        let memory = config.memory_limit;
        memory.register(registry);
        let (store, recovered) = Store::open(StoreConfig {
            instance: config.instance.clone(),
            flush_interval: config.flush_interval,
            metrics: store_metrics,
            ledger_queue_bytes: memory.changes(),
            observer_queue_bytes: memory.calls(),
            reported_queue_bytes: memory.reported(),
            request_queue_bytes: memory.requests(),
            ..StoreConfig::new(&config.trace_dir)
        })?;
        tracing::info!(
            trace_dir = %store.trace_dir().display(),
            instance = %store.instance(),
            "recording"
        );
        health.add("store", {
            let store = store.clone();
            move || match store.writable().now_or_never() {
                Some(Ok(())) => Ok(()),
                Some(Err(error)) => Err(error.to_string()),
                None => Err("the trace folder cannot be written; see the log".to_owned()),
            }
        });
        let hash_key = SharedHashKey::default();
        if let Some(key) = &config.hash_key {
            hash_key.set(key.clone());
        }
        let recorder = relaying.then(|| {
            let metrics = ObserverMetrics::default();
            metrics.register(registry);
            let switch_metrics = SwitchMetrics::default();
            switch_metrics.register(registry);
            let now = wall_clock();
            let switch = ObservationSwitch::new(config.observe, now, switch_metrics);
            if !config.observe {
                note(
                    &store,
                    Gap {
                        from: Some(now),
                        detail: Some("started with observation off".to_owned()),
                        ..gap(&store, GapKind::ObservationOff)
                    },
                );
            }
            let key_source = match (&config.hash_key, &config.ledger) {
                (Some(_), _) => HashKeySource::File,
                (None, Some(_)) => HashKeySource::Ledger,
                (None, None) => HashKeySource::Answers,
            };
            let observing = Observing {
                hash_key: hash_key.clone(),
                key_source,
                memory: memory.observer(),
                metrics,
            };
            Recorder::new(store.clone(), observing, switch)
        });
        let mut errands = JoinSet::new();
        if let Some(recorder) = recorder.clone() {
            errands.spawn(async move { recorder.hand_over_in_time().await });
        }
        let disk_use = disk_use::register(registry);
        errands.spawn(disk_use::keep_measuring(
            store.trace_dir().to_owned(),
            disk_use,
        ));
        let clock_steps = clock_watch::register(registry);
        let noticed = {
            let store = store.clone();
            move |step| note_clock_step(&store, step)
        };
        errands.spawn(clock_watch::keep_watching(clock_steps, noticed));
        Ok(Self {
            config,
            store,
            recovered: Some(recovered),
            hash_key,
            recorder,
            errands,
            ledger: None,
            stop_ledger: CancellationToken::new(),
            trace_server: None,
        })
    }

    /// Most memory that recording may hold.
    pub(super) fn memory_limit(&self) -> MemoryLimit {
        self.config.memory_limit
    }

    /// Where rows go.
    pub(super) fn store(&self) -> Store {
        self.store.clone()
    }

    /// Starts the ledger, if there is to be one, on a thread of its own: decoding takes the
    /// processor for milliseconds at a time, which connections waiting to be accepted would feel.
    ///
    /// # Errors
    /// The system refuses a thread.
    pub(super) fn start_ledger(
        &mut self,
        registry: &mut Registry,
        health: &mut Health,
    ) -> Result<(), RunError> {
        let Some(recovered) = self.recovered.take() else {
            return Ok(());
        };
        let Some(settings) = &self.config.ledger else {
            // The ledger would have told of it.
            note_restart(&self.store, &recovered);
            return Ok(());
        };
        let options = DecodeOptions {
            hash_secrets: self.config.hash_key.is_some(),
            excluded: self.config.excluded.clone(),
            carriers: Arc::clone(&self.config.carriers),
            ..DecodeOptions::default()
        };
        let metrics = LedgerMetrics::default();
        metrics.register(registry);
        health.add("ledger", ledger_check(&metrics));
        let ledger = ledger::run(
            ledger_config(&self.store, settings, self.config.memory_limit),
            options,
            self.store.clone(),
            recovered,
            self.hash_key.clone(),
            metrics,
            self.stop_ledger.clone(),
        );
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .thread_name("ledger-decode")
            .build()?;
        let (sender, ended) = oneshot::channel();
        std::thread::Builder::new()
            .name("ledger".to_owned())
            .spawn(move || {
                // Nobody waits for it any more when the start has failed meanwhile.
                let _ = sender.send(runtime.block_on(ledger));
            })?;
        self.ledger = Some(ended);
        Ok(())
    }

    /// Starts the trace server, if there is to be one.
    ///
    /// # Errors
    /// The system refuses a thread.
    pub(super) fn start_trace_server(
        &mut self,
        listener: TcpListener,
        registry: &mut Registry,
        health: &mut Health,
    ) -> Result<(), RunError> {
        let Some(settings) = &self.config.trace_server else {
            return Ok(());
        };
        let address = listener.local_addr()?;
        let encrypted = settings.server.tls.is_some();
        tracing::info!(%address, encrypted, "taking mergelogs and spans");
        let checks_clients = settings
            .server
            .tls
            .as_ref()
            .is_some_and(ServerTls::authenticates_clients);
        if !address.ip().is_loopback() && !checks_clients {
            tracing::warn!(%address, "anyone who reaches the trace server can post to it; give --mergelog-client-ca");
        }
        let metrics = TraceServerMetrics::default();
        metrics.register(registry);
        let server = TraceServer::start(
            &settings.server,
            listener.into_std()?,
            self.store.clone(),
            metrics,
        )?;
        health.add("trace-server", server.check());
        self.trace_server = Some(server);
        Ok(())
    }

    /// What the relay is to show its bytes to.
    pub(super) fn observe(&self) -> Arc<dyn Observe> {
        match &self.recorder {
            Some(recorder) => Arc::new(recorder.clone()),
            None => Arc::new(Unobserved),
        }
    }

    /// Switches observation on and off, where there is something to observe.
    pub(super) fn control(&self) -> Option<Control> {
        let (read, write) = (self.recorder.clone()?, self.recorder.clone()?);
        Some(Control::new(
            move || read.is_on(),
            move |on| write.switch(on),
        ))
    }

    /// Ready when recording has failed so that the run is to end.
    pub(super) async fn fatal_failure(&mut self, relaying: bool) -> RunError {
        let ends_with_trace = self.config.ends_with_trace;
        let store = self.store.clone();
        let error = tokio::select! {
            error = store.failure(), if ends_with_trace => return error.into(),
            error = self.ledger_failure() => error,
        };
        if ends_with_trace || !relaying {
            return error;
        }
        tracing::error!(%error, "changes are not recorded any more; relaying goes on");
        std::future::pending().await
    }

    /// Ready when the ledger has stopped by itself, which it does only when it cannot go on.
    async fn ledger_failure(&mut self) -> RunError {
        match &mut self.ledger {
            None => std::future::pending().await,
            Some(ledger) => {
                let ended = ledger.await;
                self.ledger = None;
                ledger_error(ended)
            }
        }
    }

    /// Stops the trace server and the ledger, and seals everything. To be called when nothing is relayed any more.
    ///
    /// # Errors
    /// The trace folder could not be written, or the ledger failed while it was stopped.
    pub(super) async fn close(self) -> Result<(), RunError> {
        if let Some(trace_server) = self.trace_server {
            trace_server.finish().await;
        }
        self.stop_ledger.cancel();
        let ledger = match self.ledger {
            None => Ok(()),
            Some(ledger) => match ledger.await {
                Ok(Ok(())) => Ok(()),
                failed => Err(ledger_error(failed)),
            },
        };
        drop(self.errands);
        if let Some(recorder) = self.recorder {
            recorder.hand_over_all();
        }
        // Whatever the ledger's trouble was, the rows come first.
        self.store.close().await?;
        ledger
    }
}

fn ledger_config(store: &Store, settings: &LedgerSettings, memory: MemoryLimit) -> LedgerConfig {
    let members = settings.members.iter().map(Upstream::url).collect();
    LedgerConfig {
        max_catchup_revisions: settings.max_catchup_revisions,
        connect: settings.connect.clone(),
        previous_values_bytes: memory.previous(),
        ..LedgerConfig::new(store.instance().to_string(), members)
    }
}

fn ledger_error(ended: Result<Result<(), LedgerError>, oneshot::error::RecvError>) -> RunError {
    match ended {
        Ok(Ok(())) => RunError::LedgerEnded,
        Ok(Err(error)) => RunError::Ledger(error),
        Err(_) => RunError::LedgerPanicked,
    }
}

fn ledger_check(
    metrics: &LedgerMetrics,
) -> impl Fn() -> Result<(), String> + Send + Sync + 'static {
    let status = metrics.status();
    move || match *status.borrow() {
        LedgerStatus::Following { .. } => Ok(()),
        LedgerStatus::Snapshotting => Err("reading what existed before".to_owned()),
        LedgerStatus::Connecting => Err("no watch on etcd; see the log".to_owned()),
    }
}

fn note_restart(store: &Store, recovered: &Recovered) {
    let Some(last_alive) = recovered.last_alive.filter(|_| recovered.interrupted) else {
        return;
    };
    let now: Moment = wall_clock();
    note(
        store,
        Gap {
            from: Some(last_alive),
            to: Some(now),
            detail: Some("the interceptor was not running".to_owned()),
            ..gap(store, GapKind::Restart)
        },
    );
}

fn note_clock_step(store: &Store, step: ClockStep) {
    let milliseconds = step.forward() / 1_000_000;
    tracing::warn!(
        milliseconds,
        "the wall clock was set; durations are right all the same"
    );
    note(
        store,
        Gap {
            from: Some(step.expected),
            to: Some(step.found),
            detail: Some(format!(
                "the wall clock was set by {milliseconds} ms between one second and the next: from \
                 what it would have shown to what it shows"
            )),
            ..gap(store, GapKind::ClockStep)
        },
    );
}

fn note(store: &Store, gap: Gap) {
    if let Err(refused) = store.try_append(Rows::Gaps(vec![gap])) {
        tracing::warn!(%refused, "a gap was not recorded");
    }
}

impl From<StoreError> for RunError {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}
