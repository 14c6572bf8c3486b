//! Wires the stages together.
//!
//! Order of a start: the trace folder, then etcd is looked for, then the listeners open. From then
//! on nothing that goes wrong with recording ends the process or touches the traffic, unless the
//! operator prefers an end to traffic without a trace (`--on-trace-failure=exit`). Order of an end:
//! no new connections; connections end in order; the collectors and the ledger stop; everything is
//! sealed.

mod address;
mod clock_watch;
mod clusters;
mod disk_use;
mod exposure;
mod listen;
mod memory;
mod otlp;
mod places;
mod reach;
mod recorder;
mod recording;
mod supervisor;
mod switch;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use tokio::net::TcpListener;
use tokio::sync::Notify;
use tokio::task::{AbortHandle, JoinSet};
use tokio_util::sync::CancellationToken;

use crate::collectors::mergelog::TraceServerError;
use crate::ledger::LedgerError;
use crate::metrics::{Health, Pages, ProcessMetrics};
use crate::relay::{
    Observe, Relay, RelayMetrics, RelayOptions, RelayRoute, Unobserved, raise_descriptor_limit,
};
use crate::store::StoreError;
use crate::tls::{self, ClientTls, ServerTls, TlsError, TlsMetrics};
use crate::transport::{BoundAddress, ConnectError, Dialer, Listener, Upstream};
use listen::InheritedSockets;
use otlp::Otlp;
use recording::Recording;
use supervisor::Supervisor;

pub use address::{AddressError, Listen, ListenAddress, ListenPlace, Route};
pub use memory::{MemoryLimit, MemoryLimitError};
pub use otlp::OtlpSettings;
pub use places::{PlaceError, check_places};
pub use recording::{LedgerSettings, RecordingConfig, TraceServerSettings};

/// Fewer connections than this do not let a large kube-apiserver start: it opens one for each
/// resource and for each version of a custom resource.
pub(crate) const COMFORTABLE_CONNECTIONS: usize = 4096;

/// What to run.
#[derive(Debug, Clone)]
pub struct Config {
    /// Listeners and the members they lead to; empty relays nothing.
    pub routes: Vec<Route>,
    /// How connections are relayed.
    pub relay: RelayOptions,
    /// TLS on both legs.
    pub tls: TlsLegs,
    /// Asks for another look at the certificates.
    pub reload: Arc<Notify>,
    /// Where metrics and health are served.
    pub metrics_listen: ListenAddress,
    /// How long a start waits for etcd to be reachable.
    pub reach_timeout: Duration,
    /// What is recorded; `None` only relays.
    pub recording: Option<RecordingConfig>,
}

/// TLS on both legs.
#[derive(Debug, Clone, Default)]
pub struct TlsLegs {
    /// Towards kube-apiserver, on listeners that speak TLS.
    pub clients: Option<ServerTls>,
    /// Towards members of etcd that speak TLS.
    pub etcd: Option<ClientTls>,
    /// Clients that nobody can tell apart may use the interceptor's own certificate.
    pub admit_anyone: bool,
}

/// Where a started interceptor can be reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Started {
    /// Addresses of the listeners, in the order of [`Config::routes`].
    pub listeners: Vec<BoundAddress>,
    /// Address of metrics and health.
    pub metrics: SocketAddr,
    /// Address of the trace server, if there is one.
    pub trace_server: Option<SocketAddr>,
}

/// Why the interceptor did not start or did not end well.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// A port is taken, or an address is not of this host.
    #[error("cannot listen on {address}: {source}; choose another address with {flag}")]
    Listen {
        /// The address.
        address: String,
        /// The flag that sets it.
        flag: &'static str,
        /// Why.
        source: std::io::Error,
    },
    /// No member of a list accepts connections.
    #[error("cannot reach etcd at {members}: {source}; {advice}")]
    Unreachable {
        /// The members tried.
        members: String,
        /// What to do.
        advice: String,
        /// What the last attempt said.
        source: ConnectError,
    },
    /// Listeners and certificates do not fit together.
    #[error("{0}")]
    Exposed(String),
    /// Members that are to be recorded belong to several clusters.
    #[error(
        "these are members of several etcd clusters, and a trace is of one: {0}; start another \
         interceptor, with a --trace-dir of its own, for each cluster"
    )]
    SeveralClusters(String),
    /// TLS cannot be set up as asked for.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The trace folder cannot be used, or could not be written at the end.
    #[error(transparent)]
    Store(StoreError),
    /// The ledger cannot go on.
    #[error("the ledger has stopped: {0}")]
    Ledger(#[source] LedgerError),
    /// The ledger ended without being asked to.
    #[error("the ledger has stopped; please report this")]
    LedgerEnded,
    /// A bug.
    #[error("the ledger has panicked; please report this, with the log")]
    LedgerPanicked,
    /// The trace server does not start.
    #[error(transparent)]
    TraceServer(#[from] TraceServerError),
    /// The system refused a thread or another resource.
    #[error("cannot start: {0}")]
    System(#[from] std::io::Error),
}

/// Runs until `shutdown` is ready, then ends in order. `started` is called once all listeners are
/// open.
///
/// # Errors
/// See [`RunError`]. After the start only the end can fail, unless nothing is relayed (then the
/// ledger is all there is, and its failure ends the run) or [`RecordingConfig::ends_with_trace`].
pub async fn run(
    mut config: Config,
    shutdown: impl Future<Output = ()>,
    started: impl FnOnce(&Started),
) -> Result<(), RunError> {
    if let Some(connections) = connections_possible() {
        config.relay.max_connections = config.relay.max_connections.min(connections);
    }
    let mut registry = registry();
    let mut health = Health::default();
    let recording = config.recording.clone();
    let mut recording = recording
        .map(|recording| {
            let relaying = !config.routes.is_empty();
            Recording::open(recording, relaying, &mut registry, &mut health)
        })
        .transpose()?;
    let served = serve(
        &config,
        recording.as_mut(),
        registry,
        health,
        shutdown,
        started,
    )
    .await;
    // Whatever happened, what was recorded is sealed.
    let closed = match recording {
        Some(recording) => recording.close().await,
        None => Ok(()),
    };
    served.and(closed)?;
    tracing::info!("ended");
    Ok(())
}

/// Refuses a route that would give strangers the rights of the interceptor's own certificate, as far
/// as this can be told before it is opened.
///
/// # Errors
/// [`RunError::Exposed`], which says what to do.
pub fn check_exposure(route: &Route, tls: &TlsLegs) -> Result<(), RunError> {
    exposure::listener_tls(&route.listen, tls)?;
    exposure::check(route, route.listen.is_local(), tls)
}

/// From looking for etcd to the end of the last connection.
async fn serve(
    config: &Config,
    mut recording: Option<&mut Recording>,
    mut registry: Registry,
    mut health: Health,
    shutdown: impl Future<Output = ()>,
    started: impl FnOnce(&Started),
) -> Result<(), RunError> {
    reach_members(config).await?;
    clusters::check(config).await?;
    let listeners = open_listeners(config).await?;
    let otlp = match config
        .recording
        .as_ref()
        .and_then(|recording| recording.otlp.as_ref())
    {
        Some(settings) => Some((listen(&settings.listen, "--otlp-listen").await?, settings)),
        None => None,
    };
    let metrics_listener = listen(&config.metrics_listen, "--metrics-listen").await?;
    let trace_server = config
        .recording
        .as_ref()
        .and_then(|recording| recording.trace_server.as_ref());
    let trace_server_listener = match trace_server {
        Some(settings) => Some(listen(&settings.listen, "--mergelog-listen").await?),
        None => None,
    };
    let addresses = Started {
        listeners: listeners
            .iter()
            .map(Listener::address)
            .collect::<Result<_, _>>()?,
        metrics: metrics_listener.local_addr()?,
        trace_server: trace_server_listener
            .as_ref()
            .map(TcpListener::local_addr)
            .transpose()?,
    };
    let _reloading = keep_certificates_fresh(config, &mut registry);

    let draining = CancellationToken::new();
    health.add("listening", {
        let draining = draining.clone();
        move || match draining.is_cancelled() {
            false => Ok(()),
            true => Err("shutting down".to_owned()),
        }
    });
    if let Some(recording) = &mut recording {
        recording.start_ledger(&mut registry, &mut health)?;
        if let Some(listener) = trace_server_listener {
            recording.start_trace_server(listener, &mut registry, &mut health)?;
        }
    }
    let otlp = match (&recording, otlp) {
        (Some(recording), Some((listener, settings))) => {
            let (store, memory) = (recording.store(), recording.memory_limit().spans());
            Some(Otlp::start(
                listener,
                settings,
                memory,
                store,
                &mut registry,
            )?)
        }
        _ => None,
    };
    let relay_metrics = RelayMetrics::default();
    relay_metrics.register(&mut registry);
    let observe: Arc<dyn Observe> = match &recording {
        Some(recording) => recording.observe(),
        None => Arc::new(Unobserved),
    };
    let relay = Arc::new(Relay::start(
        &config.relay,
        observe,
        relay_metrics,
        draining.clone(),
    )?);
    let mut serving = JoinSet::new();
    for ((listener, address), route) in listeners
        .into_iter()
        .zip(&addresses.listeners)
        .zip(&config.routes)
    {
        let tls = exposure::listener_tls(&route.listen, &config.tls)?.cloned();
        let etcd = Dialer::new(route.etcd.clone(), config.tls.etcd.as_ref())?;
        tracing::info!(%address, etcd = %route.etcd, tls = tls.is_some(), "relaying");
        let (relay, route) = (
            Arc::clone(&relay),
            RelayRoute {
                listener,
                tls,
                etcd,
            },
        );
        serving.spawn(async move { relay.serve(route).await });
    }
    let stop_metrics = CancellationToken::new();
    tracing::info!(address = %addresses.metrics, "serving metrics");
    let pages = Pages {
        registry,
        health,
        observation: recording.as_ref().and_then(|recording| recording.control()),
    };
    let metrics_server = tokio::spawn(crate::metrics::serve(
        metrics_listener,
        Arc::new(pages),
        stop_metrics.clone(),
    ));
    started(&addresses);
    let supervisor = Supervisor::of_this_process();
    supervisor.ready();

    let ended = tokio::select! {
        ended = wait_for_end(shutdown, recording, !config.routes.is_empty()) => ended,
        never = supervisor.reassure(|| relay.is_alive()) => match never {},
    };
    tracing::info!("shutting down");
    supervisor.stopping();
    draining.cancel();
    while serving.join_next().await.is_some() {}
    // The listeners held the other references.
    if let Some(relay) = Arc::into_inner(relay) {
        relay.finish().await;
    }
    if let Some(otlp) = otlp {
        // After the traffic: what kube-apiserver tells of its last requests is still taken.
        otlp.stop().await;
    }
    stop_metrics.cancel();
    if metrics_server.await.is_err() {
        tracing::error!("the metrics server has panicked");
    }
    ended
}

/// Waits for `shutdown`, or for a failure of recording that ends the run.
async fn wait_for_end(
    shutdown: impl Future<Output = ()>,
    recording: Option<&mut Recording>,
    relaying: bool,
) -> Result<(), RunError> {
    let Some(recording) = recording else {
        shutdown.await;
        return Ok(());
    };
    tokio::select! {
        () = shutdown => Ok(()),
        error = recording.fatal_failure(relaying) => {
            tracing::error!(%error, "recording has failed: ending");
            Err(error)
        }
    }
}

/// Waits until etcd can be reached where it was said to be.
async fn reach_members(config: &Config) -> Result<(), RunError> {
    let relayed: Vec<Upstream> = config
        .routes
        .iter()
        .map(|route| route.etcd.clone())
        .collect();
    let patience = config.reach_timeout;
    let tls = config.tls.etcd.as_ref();
    reach::reach(&dialers(&relayed, tls)?, patience, "--etcd or --route").await?;
    let ledger = config
        .recording
        .as_ref()
        .and_then(|recording| recording.ledger.as_ref());
    match ledger {
        Some(ledger) if ledger.members != relayed => {
            let flag = if relayed.is_empty() {
                "--etcd"
            } else {
                "--ledger-etcd"
            };
            reach::reach(&dialers(&ledger.members, tls)?, patience, flag).await
        }
        _ => Ok(()),
    }
}

fn dialers(members: &[Upstream], tls: Option<&ClientTls>) -> Result<Vec<Dialer>, TlsError> {
    members
        .iter()
        .map(|member| Dialer::new(member.clone(), tls))
        .collect()
}

/// Opens the listeners of all routes, none of which lets in more than it should.
async fn open_listeners(config: &Config) -> Result<Vec<Listener>, RunError> {
    let mut inherited = InheritedSockets::take();
    let mut listeners = Vec::new();
    for route in &config.routes {
        let opened = inherited.open(&route.listen).await;
        let listener = opened.map_err(|source| RunError::Listen {
            address: route.listen.to_string(),
            flag: "--listen or --route",
            source,
        })?;
        let is_local = listener.address()?.is_local();
        exposure::check(route, Some(is_local), &config.tls)?;
        exposure::warn(route, &config.tls)?;
        listeners.push(listener);
    }
    inherited.warn_of_unused();
    Ok(listeners)
}

/// Ends the task on drop.
struct Reloading(AbortHandle);

impl Drop for Reloading {
    fn drop(&mut self) {
        self.0.abort();
    }
}

fn keep_certificates_fresh(config: &Config, registry: &mut Registry) -> Reloading {
    let metrics = TlsMetrics::default();
    let clients = config.tls.clients.as_ref().map(ServerTls::refreshable);
    let etcd = config.tls.etcd.as_ref().map(ClientTls::refreshable);
    let trace_server = config.recording.as_ref().and_then(|recording| {
        let server = &recording.trace_server.as_ref()?.server;
        server.tls.as_ref().map(ServerTls::refreshable)
    });
    let parts: Vec<_> = [clients, etcd, trace_server]
        .into_iter()
        .flatten()
        .collect();
    if !parts.is_empty() {
        metrics.register(registry);
    }
    let keeping = tls::keep_fresh(parts, Arc::clone(&config.reload), metrics);
    Reloading(tokio::spawn(keeping).abort_handle())
}

async fn listen(address: &ListenAddress, flag: &'static str) -> Result<TcpListener, RunError> {
    TcpListener::bind(address.as_str())
        .await
        .map_err(|source| RunError::Listen {
            address: address.to_string(),
            flag,
            source,
        })
}

/// Raises the limit on open files, and returns how many connections it allows.
fn connections_possible() -> Option<usize> {
    let limit = raise_descriptor_limit()
        .inspect_err(|error| tracing::warn!(%error, "cannot raise the limit on open files"))
        .ok()?;
    let connections = limit.connections()?;
    if connections < COMFORTABLE_CONNECTIONS {
        tracing::warn!(
            connections,
            "the limit on open files allows few connections; raise it (ulimit -n)"
        );
    }
    Some(connections)
}

/// A registry that says what runs.
fn registry() -> Registry {
    let mut registry = Registry::default();
    let info = Family::<[(&str, &str); 1], Gauge>::default();
    info.get_or_create(&[("version", env!("CARGO_PKG_VERSION"))])
        .set(1);
    registry.register("cascade_build_info", "Version of the interceptor", info);
    ProcessMetrics::register(&mut registry);
    registry
}
