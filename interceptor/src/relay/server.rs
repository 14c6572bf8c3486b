//! Listeners, and the threads that connections run on.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::connection::{Connection, Patience};
use super::socket::{Upstream, prepare};
use super::tap::{GuardedTap, Observe};
use super::{RelayMetrics, RelayStream};

/// Pauses after a failed accept: the first, and the longest.
const FIRST_PAUSE: Duration = Duration::from_millis(10);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// How a relay behaves.
#[derive(Debug, Clone)]
pub struct RelayOptions {
    /// Threads that connections are dealt out to; each runs its connections alone, which costs
    /// 20 to 60 % less CPU than a scheduler that moves them about.
    pub threads: usize,
    /// How long connections wait for others.
    pub patience: Patience,
    /// Connections that are relayed at the same time; further ones wait in the listener's queue.
    pub max_connections: usize,
}

impl Default for RelayOptions {
    /// One thread per core, and any number of connections.
    fn default() -> Self {
        Self {
            threads: std::thread::available_parallelism().map_or(1, usize::from),
            patience: Patience::default(),
            max_connections: Semaphore::MAX_PERMITS,
        }
    }
}

/// An accepted connection on its way to the thread that will run it.
struct Accepted {
    stream: std::net::TcpStream,
    route: Arc<Route>,
    number: i64,
    /// Its place among the connections that are relayed at the same time.
    place: OwnedSemaphorePermit,
}

/// Where a listener's connections go.
struct Route {
    upstream: Upstream,
    /// The last attempt to connect failed; said once, not for every client that tries again.
    unreachable: AtomicBool,
}

/// What every connection needs.
struct Shared {
    observe: Arc<dyn Observe>,
    metrics: RelayMetrics,
    patience: Patience,
}

/// Threads that relay connections.
pub struct Relay {
    threads: Vec<(mpsc::UnboundedSender<Accepted>, JoinHandle<()>)>,
    next_thread: AtomicUsize,
    next_number: AtomicI64,
    places: Arc<Semaphore>,
    said_full: AtomicBool,
    shutdown: CancellationToken,
    shared: Arc<Shared>,
}

impl Relay {
    /// Starts the threads. Once `shutdown` is cancelled, connections end in order.
    ///
    /// # Errors
    /// A thread cannot be started.
    pub fn start(
        options: &RelayOptions,
        observe: Arc<dyn Observe>,
        metrics: RelayMetrics,
        shutdown: CancellationToken,
    ) -> Result<Self, io::Error> {
        let shared = Arc::new(Shared {
            observe,
            metrics,
            patience: options.patience,
        });
        let mut threads = Vec::new();
        for index in 0..options.threads.max(1) {
            let (sender, receiver) = mpsc::unbounded_channel();
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()?;
            // A token of its own: connections look at it at every turn, and a token is a lock.
            let (shared, shutdown) = (Arc::clone(&shared), shutdown.child_token());
            let thread = std::thread::Builder::new()
                .name(format!("relay-{index}"))
                .spawn(move || runtime.block_on(run_thread(receiver, shared, shutdown)))?;
            threads.push((sender, thread));
        }
        Ok(Self {
            threads,
            next_thread: AtomicUsize::new(0),
            next_number: AtomicI64::new(1),
            places: Arc::new(Semaphore::new(
                options.max_connections.clamp(1, Semaphore::MAX_PERMITS),
            )),
            said_full: AtomicBool::new(false),
            shutdown,
            shared,
        })
    }

    /// Accepts connections for `upstream` until the shutdown; then stops listening.
    pub async fn serve(&self, listener: TcpListener, upstream: Upstream) {
        let route = Arc::new(Route {
            upstream,
            unreachable: AtomicBool::new(false),
        });
        let mut pause = FIRST_PAUSE;
        loop {
            let Some(place) = self.place().await else {
                return;
            };
            let accepted = tokio::select! {
                biased;
                () = self.shutdown.cancelled() => return,
                accepted = listener.accept() => accepted,
            };
            match accepted {
                Ok((stream, peer)) => {
                    pause = FIRST_PAUSE;
                    self.deal_out(stream, peer, place, &route);
                }
                // The client gave up before it was its turn.
                Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
                Err(error) => {
                    self.shared.metrics.accept_failures.inc();
                    // Mostly for want of file descriptors. Waiting connections stay in the
                    // listener's queue, so trying again at once would only burn the CPU.
                    tracing::warn!(
                        %error,
                        pause_ms = pause.as_millis(),
                        "cannot accept a connection; raise the limit on open files (ulimit -n)"
                    );
                    tokio::select! {
                        () = self.shutdown.cancelled() => return,
                        () = tokio::time::sleep(pause) => {}
                    }
                    pause = (pause * 2).min(LONGEST_PAUSE);
                }
            }
        }
    }

    /// Waits for a place for one more connection; `None` at the shutdown.
    async fn place(&self) -> Option<OwnedSemaphorePermit> {
        if let Ok(place) = Arc::clone(&self.places).try_acquire_owned() {
            return Some(place);
        }
        self.shared.metrics.full.inc();
        // Said once: from now on it may be true at every connection.
        if !self.said_full.swap(true, Ordering::Relaxed) {
            tracing::warn!(
                "as many connections as there are file descriptors for; further ones wait until \
                 others end. Raise the limit on open files (ulimit -n)"
            );
        }
        tokio::select! {
            () = self.shutdown.cancelled() => None,
            place = Arc::clone(&self.places).acquire_owned() => place.ok(),
        }
    }

    fn deal_out(
        &self,
        stream: TcpStream,
        peer: SocketAddr,
        place: OwnedSemaphorePermit,
        route: &Arc<Route>,
    ) {
        self.shared.metrics.accepted.inc();
        let number = self.next_number.fetch_add(1, Ordering::Relaxed);
        tracing::debug!(connection = number, %peer, "accepted");
        let stream = match stream.into_std() {
            Ok(stream) => stream,
            Err(error) => {
                tracing::warn!(connection = number, %error, "lost a connection just accepted");
                return;
            }
        };
        let index = self.next_thread.fetch_add(1, Ordering::Relaxed) % self.threads.len().max(1);
        let accepted = Accepted {
            stream,
            route: Arc::clone(route),
            number,
            place,
        };
        let sent = self
            .threads
            .get(index)
            .is_some_and(|(sender, _)| sender.send(accepted).is_ok());
        if !sent {
            tracing::error!(connection = number, "a relay thread has died");
        }
    }

    /// Waits until all connections have ended and their threads have stopped. To be called after
    /// the shutdown was asked for and no listener is served any more.
    pub async fn finish(self) {
        let (senders, handles): (Vec<_>, Vec<_>) = self.threads.into_iter().unzip();
        drop(senders);
        // A thread ends when its queue is empty and its connections have ended.
        let joined = tokio::task::spawn_blocking(move || {
            handles
                .into_iter()
                .filter_map(|handle| handle.join().err())
                .count()
        });
        match joined.await {
            Ok(0) => {}
            Ok(_) | Err(_) => tracing::error!("a relay thread has panicked"),
        }
    }
}

/// Runs the connections that are dealt out to this thread.
async fn run_thread(
    mut accepted: mpsc::UnboundedReceiver<Accepted>,
    shared: Arc<Shared>,
    shutdown: CancellationToken,
) {
    let connections = TaskTracker::new();
    while let Some(accepted) = accepted.recv().await {
        connections.spawn(run_connection(
            accepted,
            Arc::clone(&shared),
            shutdown.clone(),
        ));
    }
    connections.close();
    connections.wait().await;
}

async fn run_connection(accepted: Accepted, shared: Arc<Shared>, shutdown: CancellationToken) {
    let Accepted {
        stream,
        route,
        number,
        place: _place,
    } = accepted;
    let downstream = match TcpStream::from_std(stream).and_then(|stream| {
        prepare(&stream)?;
        Ok(stream)
    }) {
        Ok(downstream) => downstream,
        Err(error) => {
            tracing::debug!(connection = number, %error, "lost a connection just accepted");
            return;
        }
    };
    let connecting = tokio::select! {
        connected = route.upstream.connect() => connected,
        () = shutdown.cancelled() => return,
    };
    match connecting {
        Ok(upstream) => {
            if route.unreachable.swap(false, Ordering::Relaxed) {
                tracing::info!(etcd = %route.upstream, "etcd can be reached again");
            }
            relay_pair(downstream, upstream, number, &shared, &shutdown).await;
        }
        Err(error) => {
            shared.metrics.connect_failures.inc();
            if !route.unreachable.swap(true, Ordering::Relaxed) {
                tracing::warn!(
                    etcd = %route.upstream,
                    %error,
                    "cannot reach etcd; clients' connections are reset until it can be reached"
                );
            }
            downstream.reset_on_close();
        }
    }
}

/// Counts a connection as open, for as long as it exists.
struct OpenConnection<'a>(&'a RelayMetrics);

impl<'a> OpenConnection<'a> {
    fn new(metrics: &'a RelayMetrics) -> Self {
        metrics.open.inc();
        Self(metrics)
    }
}

impl Drop for OpenConnection<'_> {
    fn drop(&mut self) {
        self.0.open.dec();
    }
}

async fn relay_pair<D: RelayStream, U: RelayStream>(
    downstream: D,
    upstream: U,
    number: i64,
    shared: &Shared,
    shutdown: &CancellationToken,
) {
    let metrics = &shared.metrics;
    let tap = GuardedTap::new(number, Arc::clone(&shared.observe), metrics.clone());
    let open = OpenConnection::new(metrics);
    let connection = Connection::new(downstream, upstream, tap, metrics.clone(), shared.patience);
    let ending = connection.run(shutdown).await;
    drop(open);
    metrics.count_ending(ending);
    tracing::debug!(connection = number, ending = ending.label(), "ended");
}
