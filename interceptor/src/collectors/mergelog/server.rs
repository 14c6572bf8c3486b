//! Listens, and ends in order.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::{Duration, Instant};

use cascade_proto::wire::mergelog::FILE_DESCRIPTOR_SET;
use cascade_proto::wire::mergelog::mergelog_service_server::MergelogServiceServer;
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::Server;
use tonic::transport::server::Router;

use super::admission::Admission;
use super::collection::Collection;
use super::metrics::TraceServerMetrics;
use super::service::Service;
use crate::collectors::listener::{Encryption, incoming};
use crate::collectors::rate::RateLimit;
use crate::complaints::Complaints;
use crate::store::{Store, StoreError};
use crate::tls::{HandshakeError, ServerTls};

/// Connections at a time.
const MAX_CONNECTIONS: usize = 256;
/// Requests of one connection at a time; a client waits with more. Fewer than there are places for posts, so
/// that one connection whose requests never end does not take them all.
const MAX_STREAMS: u32 = 8;
/// How long a request may take, its message included.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(60);
/// Time after which a silent connection is asked whether it lives.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(60);
/// How long requests in progress may take at the end.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(5);
/// Pause between looks for cycles among the mergelogs.
const CYCLE_INTERVAL: Duration = Duration::from_secs(10);

/// Settings of the trace server.
#[derive(Debug, Clone)]
pub struct TraceServerConfig {
    /// With which certificate it serves, and whom it lets in; `None` serves plain text.
    pub tls: Option<ServerTls>,
    /// Requests per second, of all clients together; health checks are not counted. Default 10,000.
    pub max_requests_per_second: u32,
    /// Largest request, in bytes. Default 4 MiB.
    pub max_message_bytes: usize,
    /// Largest answer, in bytes. Default 32 MiB.
    pub max_answer_bytes: usize,
    /// Memory for the index of the mergelogs, and as much for that of the spans, in bytes. Default
    /// 512 MiB.
    pub max_index_bytes: usize,
    /// Whether clients may hide what was posted.
    pub allow_delete: bool,
}

impl Default for TraceServerConfig {
    fn default() -> Self {
        Self {
            tls: None,
            max_requests_per_second: 10_000,
            max_message_bytes: 4 << 20,
            max_answer_bytes: 32 << 20,
            max_index_bytes: 512 << 20,
            allow_delete: false,
        }
    }
}

/// Why the trace server does not start.
#[derive(Debug, thiserror::Error)]
pub enum TraceServerError {
    /// The system refuses a thread.
    #[error("cannot start the trace server: {0}")]
    System(#[from] io::Error),
}

/// A trace server that runs.
#[derive(Debug)]
pub struct TraceServer {
    stop: CancellationToken,
    /// Dropped without a value when the server panicked.
    ended: oneshot::Receiver<()>,
    stage: Arc<Stage>,
}

/// How far the server has come, for its health.
#[derive(Debug, Default)]
struct Stage(AtomicU8);

impl Stage {
    const LOADING: u8 = 0;
    const SERVING: u8 = 1;
    const ENDED: u8 = 2;

    fn set(&self, stage: u8) {
        self.0.store(stage, Ordering::Relaxed);
    }
}

impl TraceServer {
    /// Serves `listener`, on a thread of its own: large messages take the processor for
    /// milliseconds at a time, which nothing that concerns the traffic should feel.
    ///
    /// Connections are answered once what is stored has been read.
    ///
    /// # Errors
    /// The system refuses a thread.
    pub fn start(
        config: &TraceServerConfig,
        listener: std::net::TcpListener,
        store: Store,
        metrics: TraceServerMetrics,
    ) -> Result<Self, TraceServerError> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .thread_name("trace-server-disk")
            .max_blocking_threads(4)
            .build()?;
        let stop = CancellationToken::new();
        let stage = Arc::new(Stage::default());
        let running = Running {
            config: config.clone(),
            store,
            metrics,
            stop: stop.clone(),
            stage: Arc::clone(&stage),
        };
        let (sender, ended) = oneshot::channel();
        std::thread::Builder::new()
            .name("trace-server".to_owned())
            .spawn(move || {
                if let Err(error) = runtime.block_on(running.run(listener)) {
                    tracing::error!(error, "the trace server has ended; traffic goes on");
                }
                // Reading that is under way is of no use to anybody.
                runtime.shutdown_background();
                // Nobody waits for it when the start has failed meanwhile.
                let _ = sender.send(());
            })?;
        Ok(Self { stop, ended, stage })
    }

    /// A check that fails while it does not serve.
    pub fn check(&self) -> impl Fn() -> Result<(), String> + Send + Sync + 'static {
        let stage = Arc::clone(&self.stage);
        move || match stage.0.load(Ordering::Relaxed) {
            Stage::SERVING => Ok(()),
            Stage::LOADING => Err("reading what was reported before".to_owned()),
            _ => Err("ended; see the log".to_owned()),
        }
    }

    /// Lets requests in progress end, and takes no more.
    pub async fn finish(self) {
        self.stop.cancel();
        if self.ended.await.is_err() {
            tracing::error!("the trace server has panicked");
        }
    }
}

/// How connections are treated.
fn server() -> Server {
    Server::builder()
        .max_concurrent_streams(MAX_STREAMS)
        .http2_keepalive_interval(Some(KEEPALIVE_INTERVAL))
        .timeout(REQUEST_TIMEOUT)
}

struct Running {
    config: TraceServerConfig,
    store: Store,
    metrics: TraceServerMetrics,
    stop: CancellationToken,
    stage: Arc<Stage>,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.stage.set(Stage::ENDED);
    }
}

impl Running {
    async fn run(self, listener: std::net::TcpListener) -> Result<(), String> {
        let listener = TcpListener::from_std(listener).map_err(|error| error.to_string())?;
        let service = tokio::select! {
            service = self.load() => service?,
            () = self.stop.cancelled() => return Ok(()),
        };
        let router = self.router(service.clone()).await?;
        self.stage.set(Stage::SERVING);
        let stop = self.stop.clone();
        let serving = router.serve_with_incoming_shutdown(
            incoming(listener, MAX_CONNECTIONS, self.encryption()),
            async move { stop.cancelled().await },
        );
        tokio::select! {
            served = serving => served.map_err(|error| error.to_string()),
            () = look_for_cycles(service.mergelogs) => Ok(()), // never ends
            () = self.time_is_up() => {
                tracing::warn!("requests to the trace server were cut off: they took too long to end");
                Ok(())
            }
        }
    }

    async fn time_is_up(&self) {
        self.stop.cancelled().await;
        tokio::time::sleep(DRAIN_TIMEOUT).await;
    }

    async fn load(&self) -> Result<Service, String> {
        let load = {
            let (store, metrics) = (self.store.clone(), self.metrics.clone());
            let (limit, stop) = (self.config.max_index_bytes, self.stop.clone());
            move || {
                let mergelogs = Collection::load(&store, &metrics, limit, &stop)?;
                let spans = Collection::load(&store, &metrics, limit, &stop)?;
                Ok::<_, StoreError>((mergelogs, spans))
            }
        };
        let (mergelogs, spans) = tokio::task::spawn_blocking(load)
            .await
            .map_err(|error| error.to_string())?
            .map_err(|error| error.to_string())?;
        Ok(Service {
            mergelogs,
            spans,
            allow_delete: self.config.allow_delete,
            max_answer_bytes: self.config.max_answer_bytes,
            metrics: self.metrics.clone(),
        })
    }

    fn encryption(&self) -> Option<Encryption> {
        let metrics = self.metrics.clone();
        let complaints = Complaints::default();
        let failed = move |error: &HandshakeError| {
            let reason = error.label();
            metrics.count_handshake_failure(reason);
            if matches!(error, HandshakeError::Lost(_)) {
                return tracing::debug!(reason, %error, "a client of the trace server went away");
            }
            if let Some(left_out) = complaints.due(reason, Instant::now()) {
                tracing::warn!(reason, %error, left_out, "a client of the trace server was not let in");
            }
        };
        Some(Encryption {
            tls: self.config.tls.clone()?,
            failed: Arc::new(failed),
        })
    }

    async fn router(&self, service: Service) -> Result<Router, String> {
        let (reporter, health) = tonic_health::server::health_reporter();
        reporter
            .set_serving::<MergelogServiceServer<Service>>()
            .await;
        let reflection = || {
            tonic_reflection::server::Builder::configure()
                .register_encoded_file_descriptor_set(FILE_DESCRIPTOR_SET)
                .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
        };
        let reflection_v1 = reflection().build_v1().map_err(|error| error.to_string())?;
        let reflection_v1alpha = reflection()
            .build_v1alpha()
            .map_err(|error| error.to_string())?;
        let service = MergelogServiceServer::new(service)
            .max_decoding_message_size(self.config.max_message_bytes);
        let limit = RateLimit::new(
            self.config.max_requests_per_second,
            "--mergelog-max-requests-per-second",
            self.metrics.limited_requests.clone(),
        );
        let service = Admission::new(service, self.metrics.clone());
        Ok(server()
            .add_service(InterceptedService::new(service, limit.clone()))
            .add_service(InterceptedService::new(reflection_v1, limit.clone()))
            .add_service(InterceptedService::new(reflection_v1alpha, limit))
            // A flood must not make it look dead.
            .add_service(health))
    }
}

async fn look_for_cycles(mergelogs: Collection<cascade_proto::tables::Mergelog>) {
    loop {
        mergelogs.state().await.index.look_for_cycles();
        tokio::time::sleep(CYCLE_INTERVAL).await;
    }
}
