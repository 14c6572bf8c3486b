//! A pair of connections, downstream and upstream, and how it ends.

use std::borrow::Cow;
use std::future::poll_fn;
use std::io;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::clock::Reading;

use super::frames::{Frames, Protocol, StreamFilter};
use super::tap::GuardedTap;
use super::transfer::{End, Inspect, Transfer};
use super::{RelayMetrics, RelayStream};

/// How long a connection waits for others.
#[derive(Debug, Clone, Copy)]
pub struct Patience {
    /// At a shutdown, for calls in flight.
    pub grace: Duration,
    /// For a client to close its side after the server closed the other, or for the last words of
    /// a side after one direction broke. Clients of etcd close at once.
    pub linger: Duration,
    /// For a client to close after an orderly shutdown, before its socket is closed under it.
    pub farewell: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            grace: Duration::from_secs(5),
            linger: Duration::from_secs(5),
            farewell: Duration::from_secs(1),
        }
    }
}

/// How a connection ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// Both sides closed in order.
    Closed,
    /// The client's connection was lost, for example by a reset.
    ClientLost,
    /// The server's connection was lost, for example by a reset.
    ServerLost,
    /// The server closed, and the client did not follow in time.
    ServerClosed,
    /// The interceptor shuts down; no call was in flight.
    Drained,
    /// The interceptor shuts down and did not wait any longer.
    Cut,
}

impl Ending {
    /// The value of the metric's label.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::ClientLost => "client_lost",
            Self::ServerLost => "server_lost",
            Self::ServerClosed => "server_closed",
            Self::Drained => "drained",
            Self::Cut => "cut",
        }
    }
}

/// How a connection ended, and why.
#[derive(Debug)]
pub(super) struct Ended {
    /// How.
    pub(super) ending: Ending,
    /// What the stream that was lost had to say.
    pub(super) error: Option<io::Error>,
}

/// Where a direction stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Half {
    Open,
    /// Its source ended and its sink was told.
    Ended,
    /// Its sink failed; what the sink's side still has to say comes in the other direction.
    Broken,
}

/// Two streams, tied together.
pub(super) struct Connection<D, U> {
    downstream: D,
    upstream: U,
    request: Transfer,
    request_half: Half,
    response: Transfer,
    response_half: Half,
    patience: Patience,
    observation: Observation,
    /// What the stream that was lost had to say.
    lost: Option<io::Error>,
}

/// What looks at the bytes of a connection, and what may be done to them.
struct Observation {
    frames: Frames,
    tap: GuardedTap,
    metrics: RelayMetrics,
    /// When the answer that is being relayed was read.
    answer_read: Option<Reading>,
    /// The interceptor shuts down.
    draining: bool,
    /// Set when the client was sent a GOAWAY.
    filter: Option<StreamFilter>,
}

impl<D: RelayStream, U: RelayStream> Connection<D, U> {
    pub(super) fn new(
        downstream: D,
        upstream: U,
        tap: GuardedTap,
        metrics: RelayMetrics,
        patience: Patience,
    ) -> Self {
        Self {
            downstream,
            upstream,
            request: Transfer::default(),
            request_half: Half::Open,
            response: Transfer::default(),
            response_half: Half::Open,
            patience,
            observation: Observation {
                frames: Frames::new(),
                tap,
                metrics,
                answer_read: None,
                draining: false,
                filter: None,
            },
            lost: None,
        }
    }

    /// Relays until the connection ends. Once `shutdown` is cancelled, the connection is ended in
    /// order.
    pub(super) async fn run(mut self, shutdown: &CancellationToken) -> Ended {
        let relayed = tokio::select! {
            biased;
            () = shutdown.cancelled() => None,
            ending = self.relay() => Some(ending),
        };
        let ending = match relayed {
            Some(ending) => ending,
            None => {
                self.observation.draining = true;
                let drained = timeout(self.patience.grace, self.relay()).await;
                drained.unwrap_or(Ending::Cut)
            }
        };
        match ending {
            Ending::Closed | Ending::ServerClosed => {}
            Ending::ClientLost => {
                let (lost, patience) = (self.lost.as_ref(), self.patience);
                pass_on_loss(&mut self.upstream, lost, patience).await;
            }
            Ending::ServerLost => {
                let (lost, patience) = (self.lost.as_ref(), self.patience);
                pass_on_loss(&mut self.downstream, lost, patience).await;
            }
            Ending::Drained | Ending::Cut => self.farewell().await,
        }
        Ended {
            ending,
            error: self.lost,
        }
    }

    async fn relay(&mut self) -> Ending {
        if let Some(ending) = poll_fn(|context| self.poll(context)).await {
            return ending;
        }
        // One side is gone. What the other one still has to say is due now.
        let rest = timeout(
            self.patience.linger,
            poll_fn(|context| self.poll_to_end(context)),
        )
        .await;
        rest.unwrap_or(match (self.request_half, self.response_half) {
            (Half::Broken, _) => Ending::ServerLost,
            (_, Half::Broken) => Ending::ClientLost,
            _ => Ending::ServerClosed,
        })
    }

    /// Ready with an ending, or with `None` when the rest is due soon.
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Option<Ending>> {
        if let Some(ending) = self.poll_halves(context) {
            return Poll::Ready(Some(ending));
        }
        let gone = self.request_half == Half::Broken || self.response_half != Half::Open;
        if gone {
            Poll::Ready(None)
        } else {
            Poll::Pending
        }
    }

    fn poll_to_end(&mut self, context: &mut Context<'_>) -> Poll<Ending> {
        self.poll_halves(context).map_or(Poll::Pending, Poll::Ready)
    }

    fn poll_halves(&mut self, context: &mut Context<'_>) -> Option<Ending> {
        self.say_goaway();
        if self.request_half == Half::Open {
            let polled = self.request.poll(
                context,
                &mut self.downstream,
                &mut self.upstream,
                &mut Requests(&mut self.observation),
            );
            match polled {
                Poll::Pending => {}
                Poll::Ready(End::Complete) => self.request_half = Half::Ended,
                Poll::Ready(End::SinkLost(error)) => {
                    tracing::debug!(%error, "the server does not take requests any more");
                    self.request_half = Half::Broken;
                }
                Poll::Ready(End::SourceLost(error)) => {
                    tracing::debug!(%error, "lost the client");
                    self.lost = Some(error);
                    return Some(Ending::ClientLost);
                }
            }
        }
        // The request may have been what a GOAWAY had to wait for.
        self.say_goaway();
        if self.response_half == Half::Open {
            let polled = self.response.poll(
                context,
                &mut self.upstream,
                &mut self.downstream,
                &mut Responses(&mut self.observation),
            );
            match polled {
                Poll::Pending => {}
                Poll::Ready(End::Complete) => self.response_half = Half::Ended,
                Poll::Ready(End::SinkLost(error)) => {
                    tracing::debug!(%error, "the client does not take answers any more");
                    self.response_half = Half::Broken;
                }
                Poll::Ready(End::SourceLost(error)) => {
                    tracing::debug!(%error, "lost the server");
                    self.lost = Some(error);
                    return Some(Ending::ServerLost);
                }
            }
        }
        self.ending()
    }

    fn ending(&self) -> Option<Ending> {
        match (self.request_half, self.response_half) {
            // The server closed in order before it was written to: its last words were delivered.
            (Half::Ended | Half::Broken, Half::Ended) => Some(Ending::Closed),
            (Half::Ended | Half::Broken, Half::Broken) => Some(Ending::ClientLost),
            _ if self.is_drained() => Some(Ending::Drained),
            _ => None,
        }
    }

    /// Adds a GOAWAY behind the bytes sent to the client, if it is due and can be placed here.
    fn say_goaway(&mut self) {
        let observation = &mut self.observation;
        let wanted = observation.draining && observation.filter.is_none();
        if !wanted || !self.response.is_open() {
            return;
        }
        if let Some((goaway, filter)) = observation.frames.goaway() {
            self.response.insert(&goaway);
            observation.filter = Some(filter);
        }
    }

    /// Whether the interceptor may close the connection without a call being lost by it.
    fn is_drained(&self) -> bool {
        let observation = &self.observation;
        if !observation.draining {
            return false;
        }
        let frames = &observation.frames;
        let told = match frames.protocol() {
            Protocol::Undecided { matched } => matched == 0,
            Protocol::Http2 => observation.filter.is_some() || frames.server_said_goaway(),
            // There is no telling whether an answer is due.
            Protocol::Other => false,
        };
        told && !frames.calls_in_flight()
            && frames.response_is_whole()
            && self.response.is_drained()
            && self.request.is_drained()
    }

    /// Closes both sides in order: the client gets everything and then the end of the stream.
    async fn farewell(&mut self) {
        let (downstream, upstream) = (&mut self.downstream, &mut self.upstream);
        let closing = async {
            // Either side may be gone already; there is nobody to tell then.
            let (_, _) = tokio::join!(upstream.shutdown(), downstream.shutdown());
            // A socket that is closed with unread bytes sends a reset, which may overtake the
            // bytes on their way to the client.
            let mut discarded = [0; 1024];
            while matches!(downstream.read(&mut discarded).await, Ok(count) if count > 0) {}
        };
        if timeout(self.patience.farewell, closing).await.is_err() {
            tracing::debug!("a client did not close its connection after the end of the stream");
        }
    }
}

/// Lets a peer know that the other side was lost.
async fn pass_on_loss(stream: &mut impl RelayStream, lost: Option<&io::Error>, patience: Patience) {
    // TLS that ends without saying so: somebody was killed. Everything before it is delivered, and
    // then the same is done here, where that is possible.
    let cut = lost.is_some_and(|error| error.kind() == io::ErrorKind::UnexpectedEof);
    if !(cut && stream.shows_a_cut()) {
        stream.reset_on_close();
        return;
    }
    if timeout(patience.farewell, stream.flush()).await.is_err() {
        tracing::debug!("a peer does not take the last bytes of a connection that was cut");
    }
}

/// The direction from client to server.
struct Requests<'a>(&'a mut Observation);

impl Inspect for Requests<'_> {
    fn before_write<'a>(&mut self, bytes: &'a [u8], read: Instant) -> Cow<'a, [u8]> {
        let Observation {
            frames,
            tap,
            metrics,
            filter,
            ..
        } = &mut *self.0;
        metrics.request_bytes.inc_by(count(bytes));
        let outgoing = match filter {
            None => Cow::Borrowed(bytes),
            Some(filter) => Cow::Owned(filter.filter(bytes)),
        };
        frames.request_bytes(&outgoing);
        if tap.is_active() && !outgoing.is_empty() {
            tap.request_bytes(&outgoing, Reading::at(read));
        }
        outgoing
    }

    fn delivered(&mut self, read: Instant) {
        self.0.metrics.request_latency.observe(read.elapsed());
    }

    fn after_write(&mut self, _bytes: &[u8]) {}
}

/// The direction from server to client.
struct Responses<'a>(&'a mut Observation);

impl Inspect for Responses<'_> {
    fn before_write<'a>(&mut self, bytes: &'a [u8], read: Instant) -> Cow<'a, [u8]> {
        let Observation {
            frames,
            tap,
            metrics,
            answer_read,
            draining,
            filter,
        } = &mut *self.0;
        *answer_read = tap.is_active().then(|| Reading::at(read));
        metrics.response_bytes.inc_by(count(bytes));
        if !*draining || filter.is_some() {
            frames.response_bytes(bytes, false);
            return Cow::Borrowed(bytes);
        }
        let (before, after) = bytes.split_at(frames.response_bytes(bytes, true).min(bytes.len()));
        let goaway = frames.goaway();
        frames.response_bytes(after, false);
        match goaway {
            None => Cow::Borrowed(bytes),
            Some((frame, new_filter)) => {
                *filter = Some(new_filter);
                Cow::Owned([before, &frame, after].concat())
            }
        }
    }

    fn delivered(&mut self, read: Instant) {
        self.0.metrics.response_latency.observe(read.elapsed());
    }

    /// After the write, so that the client does not wait for the observer.
    fn after_write(&mut self, bytes: &[u8]) {
        if let Some(now) = self.0.answer_read.take() {
            self.0.tap.response_bytes(bytes, now);
        }
    }
}

fn count(bytes: &[u8]) -> u64 {
    // usize is at most 64 bits wide.
    bytes.len() as u64
}
