//! Wires the stages together.
//!
//! Order of a start: the trace folder, then etcd is looked for, then the listeners open. From then
//! on nothing that goes wrong with recording ends the process or touches the traffic. Order of an
//! end: no new connections; connections end in order; the ledger stops; everything is sealed.

mod address;
mod reach;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::metrics::{Health, ProcessMetrics};
use crate::relay::{
    Observe, Relay, RelayMetrics, RelayOptions, Unobserved, Upstream, raise_descriptor_limit,
};

pub use address::{AddressError, ListenAddress, Route};

/// Fewer connections than this do not let a large kube-apiserver start: it opens one for each
/// resource and for each version of a custom resource.
const COMFORTABLE_CONNECTIONS: u64 = 4096;

/// What to run.
#[derive(Debug, Clone)]
pub struct Config {
    /// Listeners and the members they lead to; empty relays nothing.
    pub routes: Vec<Route>,
    /// How connections are relayed.
    pub relay: RelayOptions,
    /// Where metrics and health are served.
    pub metrics_listen: ListenAddress,
    /// How long a start waits for etcd to be reachable.
    pub reach_timeout: Duration,
}

/// Where a started interceptor can be reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Started {
    /// Addresses of the listeners, in the order of [`Config::routes`].
    pub listeners: Vec<SocketAddr>,
    /// Address of metrics and health.
    pub metrics: SocketAddr,
}

/// Why the interceptor did not start or did not end well.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// A port is taken, or an address is not of this host.
    #[error("cannot listen on {address}: {source}; choose another address with {flag}")]
    Listen {
        /// The address.
        address: ListenAddress,
        /// The flag that sets it.
        flag: &'static str,
        /// Why.
        source: std::io::Error,
    },
    /// No member of a list accepts connections.
    #[error(
        "cannot reach etcd at {members}: {source}; check that it runs and the URL given with {flag}"
    )]
    Unreachable {
        /// The members tried.
        members: String,
        /// The flag that names them.
        flag: &'static str,
        /// What the last attempt said.
        source: std::io::Error,
    },
    /// The system refused a thread or another resource.
    #[error("cannot start: {0}")]
    System(#[from] std::io::Error),
}

/// Runs until `shutdown` is ready, then ends in order. `started` is called once all listeners are
/// open.
///
/// # Errors
/// See [`RunError`]. After the start only the end can fail.
pub async fn run(
    config: Config,
    shutdown: impl Future<Output = ()>,
    started: impl FnOnce(&Started),
) -> Result<(), RunError> {
    prepare_descriptors();
    let members: Vec<Upstream> = config
        .routes
        .iter()
        .map(|route| route.etcd.clone())
        .collect();
    reach::reach(&members, config.reach_timeout, "--etcd").await?;

    let mut listeners = Vec::new();
    for route in &config.routes {
        listeners.push(listen(&route.listen, "--listen").await?);
    }
    let metrics_listener = listen(&config.metrics_listen, "--metrics-listen").await?;

    let relay_metrics = RelayMetrics::default();
    let mut registry = registry();
    relay_metrics.register(&mut registry);
    let draining = CancellationToken::new();
    let mut health = Health::default();
    health.add("relay", {
        let draining = draining.clone();
        move || match draining.is_cancelled() {
            false => Ok(()),
            true => Err("shutting down".to_owned()),
        }
    });

    let observe: Arc<dyn Observe> = Arc::new(Unobserved);
    let relay = Arc::new(Relay::start(
        &config.relay,
        observe,
        relay_metrics,
        draining.clone(),
    )?);
    let addresses = Started {
        listeners: listeners
            .iter()
            .map(TcpListener::local_addr)
            .collect::<Result<_, _>>()?,
        metrics: metrics_listener.local_addr()?,
    };
    let mut serving = tokio::task::JoinSet::new();
    for (listener, route) in listeners.into_iter().zip(&config.routes) {
        let (relay, etcd) = (Arc::clone(&relay), route.etcd.clone());
        let address = listener.local_addr()?;
        tracing::info!(%address, etcd = %etcd.url(), "relaying");
        serving.spawn(async move { relay.serve(listener, etcd).await });
    }
    let stop = CancellationToken::new();
    tracing::info!(address = %addresses.metrics, "serving metrics");
    let metrics_server = tokio::spawn(crate::metrics::serve(
        metrics_listener,
        Arc::new(registry),
        Arc::new(health),
        stop.clone(),
    ));
    started(&addresses);

    shutdown.await;
    tracing::info!("shutting down");
    draining.cancel();
    while serving.join_next().await.is_some() {}
    // The listeners held the other references.
    if let Some(relay) = Arc::into_inner(relay) {
        relay.finish().await;
    }
    stop.cancel();
    if metrics_server.await.is_err() {
        tracing::error!("the metrics server has panicked");
    }
    tracing::info!("ended");
    Ok(())
}

async fn listen(address: &ListenAddress, flag: &'static str) -> Result<TcpListener, RunError> {
    TcpListener::bind(address.as_str())
        .await
        .map_err(|source| RunError::Listen {
            address: address.clone(),
            flag,
            source,
        })
}

fn prepare_descriptors() {
    match raise_descriptor_limit() {
        Err(error) => tracing::warn!(%error, "cannot raise the limit on open files"),
        Ok(limit) => {
            let few = limit
                .connections()
                .filter(|connections| *connections < COMFORTABLE_CONNECTIONS);
            if let Some(connections) = few {
                tracing::warn!(
                    connections,
                    "the limit on open files allows few connections; raise it (ulimit -n)"
                );
            }
        }
    }
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
