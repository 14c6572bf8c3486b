//! Listeners, and the threads that connections run on.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::RelayMetrics;
use super::connection::Patience;
use super::route::{RelayRoute, Route};
use super::tap::Observe;
use crate::transport::{AcceptedSocket, PeerAddress};

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
    socket: AcceptedSocket,
    peer: PeerAddress,
    route: Arc<Route>,
    number: i64,
    /// Its place among the connections that are relayed at the same time.
    place: OwnedSemaphorePermit,
}

/// What every connection needs.
pub(super) struct Shared {
    pub(super) observe: Arc<dyn Observe>,
    pub(super) metrics: RelayMetrics,
    pub(super) patience: Patience,
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

    /// Accepts connections of a route until the shutdown; then stops listening.
    pub async fn serve(&self, route: RelayRoute) {
        let (listener, route) = Route::new(route);
        let route = Arc::new(route);
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
                Ok((socket, peer)) => {
                    pause = FIRST_PAUSE;
                    self.deal_out(socket, peer, place, &route);
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
                "as many connections as may be; further ones wait until others end. Raise \
                 --max-connections, or the limit on open files (ulimit -n)"
            );
        }
        tokio::select! {
            () = self.shutdown.cancelled() => None,
            place = Arc::clone(&self.places).acquire_owned() => place.ok(),
        }
    }

    fn deal_out(
        &self,
        socket: AcceptedSocket,
        peer: PeerAddress,
        place: OwnedSemaphorePermit,
        route: &Arc<Route>,
    ) {
        self.shared.metrics.accepted.inc();
        let number = self.next_number.fetch_add(1, Ordering::Relaxed);
        tracing::debug!(connection = number, %peer, "accepted");
        let index = self.next_thread.fetch_add(1, Ordering::Relaxed) % self.threads.len().max(1);
        let accepted = Accepted {
            socket,
            peer,
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

    /// Whether all threads run, which only a panic could change.
    #[must_use]
    pub fn is_alive(&self) -> bool {
        self.threads.iter().all(|(_, handle)| !handle.is_finished())
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
        socket,
        peer,
        route,
        number,
        place: _place,
    } = accepted;
    match socket.into_socket() {
        Ok(socket) => route.run(socket, peer, number, &shared, &shutdown).await,
        Err(error) => {
            tracing::debug!(connection = number, %error, "lost a connection just accepted");
        }
    }
}
