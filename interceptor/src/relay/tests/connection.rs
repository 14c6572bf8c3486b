//! What a pair of connections does to bytes, ends and failures.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use proptest::prelude::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::frames::{any_frames, stream_of};
use super::*;
use crate::clock::Reading;
use crate::relay::connection::Connection;
use crate::relay::tap::GuardedTap;
use crate::relay::{
    Ending, MAXIMUM_BACKLOG, Observe, Patience, RelayMetrics, RelayStream, Tap, Unobserved,
};

/// Longer than any test takes.
pub(super) const LONG: Duration = Duration::from_secs(600);
pub(super) const SHORT: Duration = Duration::from_millis(20);

/// A relayed pair: what the client and the server hold.
pub(super) struct Pair<C = DuplexStream, S = C> {
    pub(super) client: C,
    pub(super) server: S,
    shutdown: CancellationToken,
    pub(super) running: JoinHandle<Ending>,
    pub(super) metrics: RelayMetrics,
}

pub(super) fn run<C, D, U, S>(
    (client, downstream): (C, D),
    (upstream, server): (U, S),
    observe: Arc<dyn Observe>,
    patience: Patience,
) -> Pair<C, S>
where
    D: RelayStream + 'static,
    U: RelayStream + 'static,
{
    let metrics = RelayMetrics::default();
    let shutdown = CancellationToken::new();
    let tap = GuardedTap::new(7, observe, metrics.clone());
    let connection = Connection::new(downstream, upstream, tap, metrics.clone(), patience);
    let token = shutdown.clone();
    Pair {
        client,
        server,
        shutdown,
        running: tokio::spawn(async move { connection.run(&token).await.ending }),
        metrics,
    }
}

/// Waits for nobody, or for as long as it takes.
pub(super) fn patience(grace: Duration, linger: Duration) -> Patience {
    Patience {
        grace,
        linger,
        farewell: SHORT,
    }
}

impl Pair {
    pub(super) fn observed(observe: Arc<dyn Observe>, capacity: usize) -> Self {
        run(
            duplex(capacity),
            duplex(capacity),
            observe,
            patience(LONG, LONG),
        )
    }

    fn with(patience: Patience) -> Self {
        run(duplex(1024), duplex(1024), Arc::new(Unobserved), patience)
    }

    pub(super) async fn close(self) -> Ending {
        drop((self.client, self.server));
        self.running.await.unwrap()
    }
}

pub(super) async fn expect(stream: &mut (impl AsyncReadExt + Unpin), expected: &[u8]) {
    let mut bytes = vec![0; expected.len()];
    stream.read_exact(&mut bytes).await.unwrap();
    assert_eq!(bytes, expected);
}

pub(super) async fn expect_end(stream: &mut (impl AsyncReadExt + Unpin)) {
    assert_eq!(stream.read(&mut [0]).await.unwrap(), 0);
}

/// A question and its answer travel.
pub(super) async fn exchange(pair: &mut Pair, question: &[u8], answer: &[u8]) {
    pair.client.write_all(question).await.unwrap();
    expect(&mut pair.server, question).await;
    pair.server.write_all(answer).await.unwrap();
    expect(&mut pair.client, answer).await;
}

#[tokio::test]
async fn bytes_are_timed_until_the_last_of_them_is_written() {
    let mut pair = Pair::observed(Arc::new(Unobserved), 1024);
    exchange(&mut pair, b"question", b"answer").await;
    let metrics = pair.metrics.clone();
    assert_eq!(metrics.request_latency.count(), 1);
    assert_eq!(metrics.response_latency.count(), 1);
    // More than fits into what lies between server and client: some of it waits here.
    let long = [7; 3000];
    pair.server.write_all(&long).await.unwrap();
    let written = metrics.response_latency.count();
    expect(&mut pair.client, &long).await;
    assert!(metrics.response_latency.count() > written);
    assert_eq!(metrics.request_latency.count(), 1);
    pair.close().await;
}

#[tokio::test]
async fn a_half_close_is_passed_on_and_the_other_half_goes_on() {
    let mut pair = Pair::with(patience(LONG, LONG));
    pair.client.write_all(b"question").await.unwrap();
    pair.client.shutdown().await.unwrap();
    expect(&mut pair.server, b"question").await;
    expect_end(&mut pair.server).await;
    // The server may take its time.
    tokio::task::yield_now().await;
    pair.server.write_all(b"answer").await.unwrap();
    expect(&mut pair.client, b"answer").await;
    pair.server.shutdown().await.unwrap();
    expect_end(&mut pair.client).await;
    assert_eq!(pair.running.await.unwrap(), Ending::Closed);
}

#[tokio::test]
async fn a_server_that_closes_takes_its_client_with_it() {
    let mut pair = Pair::with(patience(LONG, SHORT));
    pair.server.write_all(b"last words").await.unwrap();
    drop(pair.server);
    expect(&mut pair.client, b"last words").await;
    expect_end(&mut pair.client).await;
    // The client does not close, and is not waited for.
    assert_eq!(pair.running.await.unwrap(), Ending::ServerClosed);
    assert!(pair.client.write_all(b"more").await.is_err());
}

#[tokio::test]
async fn what_a_client_sent_before_it_vanished_is_delivered() {
    let mut pair = Pair::with(patience(LONG, LONG));
    pair.client.write_all(b"put").await.unwrap();
    drop(pair.client);
    expect(&mut pair.server, b"put").await;
    expect_end(&mut pair.server).await;
    // Nobody reads the answer.
    pair.server.write_all(b"answer").await.unwrap();
    assert_eq!(pair.running.await.unwrap(), Ending::ClientLost);
}

async fn tcp_pair() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (near, far) = tokio::join!(TcpStream::connect(address), listener.accept());
    (near.unwrap(), far.unwrap().0)
}

async fn tcp() -> Pair<TcpStream> {
    run(
        tcp_pair().await,
        tcp_pair().await,
        Arc::new(Unobserved),
        patience(LONG, LONG),
    )
}

#[tokio::test]
async fn a_reset_stays_a_reset() {
    let mut pair = tcp().await;
    pair.server.set_zero_linger().unwrap();
    drop(pair.server);
    let error = pair.client.read(&mut [0]).await.unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
    assert_eq!(pair.running.await.unwrap(), Ending::ServerLost);

    let mut pair = tcp().await;
    pair.client.write_all(b"put").await.unwrap();
    expect(&mut pair.server, b"put").await;
    pair.client.set_zero_linger().unwrap();
    drop(pair.client);
    let error = pair.server.read(&mut [0]).await.unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
    assert_eq!(pair.running.await.unwrap(), Ending::ClientLost);
}

/// A client that does not read stops the server, and costs a bounded amount of memory; the other
/// direction of the same connection goes on.
#[tokio::test]
async fn a_slow_reader_holds_back_the_writer() {
    let mut pair = Pair::with(patience(LONG, LONG));
    let chunk = [7_u8; 1000];
    let mut accepted = 0;
    // A duplex stream takes bytes until its own buffer is full and the relay reads no more.
    let stalled = async {
        loop {
            pair.server.write_all(&chunk).await.unwrap();
            accepted += chunk.len();
        }
    };
    let questions = async {
        // Far more turns than the relay needs to fill all buffers.
        for _ in 0..1000 {
            pair.client.write_all(b"?").await.unwrap();
            tokio::task::yield_now().await;
        }
    };
    tokio::select! {
        () = questions => {}
        () = stalled => unreachable!(),
    }
    // Two stream buffers of 1024 bytes, one backlog.
    assert!(accepted >= 1024, "{accepted}");
    assert!(accepted <= MAXIMUM_BACKLOG + 4 * 1024, "{accepted}");
    expect(&mut pair.server, &[b'?'; 1000]).await;
}

/// Remembers what it was shown.
#[derive(Default)]
struct Witness {
    requests: Vec<u8>,
    responses: Vec<u8>,
    closed: u32,
}

#[derive(Default, Clone)]
struct Witnesses(Arc<Mutex<Witness>>);

impl Observe for Witnesses {
    fn connection(&self, _connection: i64) -> Option<Box<dyn Tap>> {
        Some(Box::new(self.clone()))
    }

    fn panicked(&self, _connection: i64) {}
}

impl Tap for Witnesses {
    fn request_bytes(&mut self, bytes: &[u8], _now: Reading) {
        self.0.lock().unwrap().requests.extend(bytes);
    }

    fn response_bytes(&mut self, bytes: &[u8], _now: Reading) {
        self.0.lock().unwrap().responses.extend(bytes);
    }

    fn closed(&mut self, _now: Reading) {
        self.0.lock().unwrap().closed += 1;
    }

    fn is_active(&self) -> bool {
        true
    }
}

/// Writes `bytes` in chunks and closes.
async fn send(mut stream: impl AsyncWriteExt + Unpin, bytes: Vec<u8>, lengths: Vec<usize>) {
    for chunk in chunks(&bytes, &lengths) {
        stream.write_all(chunk).await.unwrap();
    }
    stream.shutdown().await.unwrap();
}

async fn receive(mut stream: impl AsyncReadExt + Unpin) -> Vec<u8> {
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).await.unwrap();
    bytes
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever the bytes, their sizes and the buffers: both sides and the tap get exactly them.
    #[test]
    fn bytes_arrive_as_sent(
        request in prop::collection::vec(any::<u8>(), 0..200_000),
        response in prop::collection::vec(any::<u8>(), 0..200_000),
        lengths in prop::collection::vec(1..70_000_usize, 1..4),
        capacity in 1..5000_usize,
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let witnesses = Witnesses::default();
            let pair = Pair::observed(Arc::new(witnesses.clone()), capacity);
            let (client_reads, client_writes) = tokio::io::split(pair.client);
            let (server_reads, server_writes) = tokio::io::split(pair.server);
            let ((), (), at_server, at_client, ending) = tokio::join!(
                send(client_writes, request.clone(), lengths.clone()),
                send(server_writes, response.clone(), lengths.clone()),
                receive(server_reads),
                receive(client_reads),
                pair.running,
            );
            assert_eq!(ending.unwrap(), Ending::Closed);
            let witness = witnesses.0.lock().unwrap();
            assert!(at_server == request && witness.requests == request);
            assert!(at_client == response && witness.responses == response);
            assert_eq!(witness.closed, 1);
        });
    }
}

/// Cuts `bytes` into frames.
fn cut(mut bytes: &[u8]) -> Vec<Vec<u8>> {
    let mut frames = Vec::new();
    while !bytes.is_empty() {
        let length = u32::from_be_bytes([0, bytes[0], bytes[1], bytes[2]]);
        let (frame, rest) = bytes.split_at(9 + usize::try_from(length).unwrap());
        frames.push(frame.to_vec());
        bytes = rest;
    }
    frames
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    /// Whenever a shutdown comes: what the client gets is what the server sent, with one GOAWAY
    /// between two frames, and what the server gets lacks only what that GOAWAY gave back.
    #[test]
    fn a_shutdown_adds_one_goaway_and_keeps_back_what_it_says(
        request in any_frames(),
        response in any_frames(),
        lengths in prop::collection::vec(1..60_usize, 1..4),
        capacity in 1..100_usize,
        turns in 0..40_usize,
    ) {
        // A call that is never answered keeps the connection open to the end.
        let call = frame(HEADERS, END_HEADERS | END_STREAM, 41, b"call");
        let begin = vec![frame(SETTINGS, 0, 0, b""), call];
        let sent: Vec<_> = begin.into_iter().chain(request).collect();
        let answered: Vec<_> = std::iter::once(frame(SETTINGS, 0, 0, b""))
            .chain(response.into_iter().filter(|frame| stream_of(frame) != 41))
            .collect();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let (at_server, at_client) = runtime.block_on(async {
            let pair = run(
                duplex(capacity),
                duplex(capacity),
                Arc::new(Unobserved),
                patience(LONG, LONG),
            );
            let (client_reads, client_writes) = tokio::io::split(pair.client);
            let (server_reads, server_writes) = tokio::io::split(pair.server);
            let shutdown = async {
                for _ in 0..turns {
                    tokio::task::yield_now().await;
                }
                pair.shutdown.cancel();
            };
            let bytes = [PREFACE, &sent.concat()].concat();
            let ((), (), at_server, at_client, (), ending) = tokio::join!(
                send(client_writes, bytes, lengths.clone()),
                send(server_writes, answered.concat(), lengths.clone()),
                receive(server_reads),
                receive(client_reads),
                shutdown,
                pair.running,
            );
            assert_eq!(ending.unwrap(), Ending::Closed);
            (at_server, at_client)
        });
        let mut at_client = cut(&at_client);
        let said = at_client.iter().position(|frame| frame[3] == GOAWAY);
        let last_stream = said.map(|position| {
            let frame = at_client.remove(position);
            u32::from_be_bytes(frame[9..13].try_into().unwrap())
        });
        prop_assert_eq!(at_client, answered);

        let at_server = cut(at_server.strip_prefix(PREFACE).unwrap());
        let mut arrived = at_server.iter().peekable();
        for frame in &sent {
            if arrived.next_if_eq(&frame).is_some() {
                let opens = frame[3] == HEADERS && Some(stream_of(frame)) > last_stream;
                prop_assert!(last_stream.is_none() || !opens, "given back and delivered");
            } else {
                prop_assert!(last_stream.is_some_and(|last| stream_of(frame) > last), "lost");
            }
        }
        prop_assert_eq!(arrived.next(), None);
    }
}

/// A connection with a watch (stream 1) and an unanswered call (stream 3).
async fn busy(grace: Duration) -> Pair {
    let mut pair = Pair::with(patience(grace, LONG));
    let mut request = PREFACE.to_vec();
    request.extend(frame(SETTINGS, 0, 0, b""));
    request.extend(frame(HEADERS, END_HEADERS, 1, b"watch"));
    request.extend(frame(DATA, 0, 1, b"create"));
    request.extend(frame(HEADERS, END_HEADERS, 3, b"txn"));
    request.extend(frame(DATA, END_STREAM, 3, b"put"));
    let mut response = frame(SETTINGS, 0, 0, b"");
    response.extend(frame(HEADERS, END_HEADERS, 1, b"ok"));
    response.extend(frame(DATA, 0, 1, b"created"));
    exchange(&mut pair, &request, &response).await;
    pair
}

#[tokio::test]
async fn a_shutdown_says_goaway_and_waits_for_calls() {
    let mut pair = busy(LONG).await;
    pair.shutdown.cancel();
    expect(&mut pair.client, &goaway(3)).await;

    // What the GOAWAY declared unprocessed is kept back; the rest still travels both ways.
    let unprocessed = frame(HEADERS, END_HEADERS | END_STREAM, 5, b"txn");
    let ping = frame(PING, 0, 0, &[1; 8]);
    pair.client
        .write_all(&[unprocessed, ping.clone()].concat())
        .await
        .unwrap();
    expect(&mut pair.server, &ping).await;
    let event = frame(DATA, 0, 1, b"event");
    let end = frame(HEADERS, END_HEADERS | END_STREAM, 3, b"status");
    let answer = [event, frame(HEADERS, END_HEADERS, 3, b"ok"), end].concat();
    pair.server.write_all(&answer).await.unwrap();
    expect(&mut pair.client, &answer).await;

    // Only the watch is left.
    expect_end(&mut pair.client).await;
    expect_end(&mut pair.server).await;
    assert_eq!(pair.running.await.unwrap(), Ending::Drained);
}

#[tokio::test]
async fn a_goaway_is_put_between_frames_of_a_stream_of_bytes() {
    let mut pair = busy(LONG).await;
    let event = frame(DATA, 0, 1, &[9; 100]);
    pair.server.write_all(&event[..50]).await.unwrap();
    expect(&mut pair.client, &event[..50]).await;
    pair.shutdown.cancel();
    // The chunk that follows both ends a frame and begins one.
    let next = [&event[50..], &event[..30]].concat();
    pair.server.write_all(&next).await.unwrap();
    expect(&mut pair.client, &event[50..]).await;
    expect(&mut pair.client, &goaway(3)).await;
    expect(&mut pair.client, &event[..30]).await;
}

#[tokio::test]
async fn a_shutdown_does_not_wait_longer_than_its_grace() {
    let mut pair = busy(SHORT).await;
    pair.shutdown.cancel();
    expect(&mut pair.client, &goaway(3)).await;
    expect_end(&mut pair.client).await;
    assert_eq!(pair.running.await.unwrap(), Ending::Cut);
}

#[tokio::test]
async fn a_connection_that_said_nothing_is_closed_at_once() {
    let mut pair = Pair::with(patience(LONG, LONG));
    pair.shutdown.cancel();
    expect_end(&mut pair.client).await;
    assert_eq!(pair.running.await.unwrap(), Ending::Drained);
}

#[tokio::test]
async fn a_connection_that_is_not_http2_gets_no_goaway() {
    let mut pair = Pair::with(patience(SHORT, LONG));
    exchange(&mut pair, b"GET /health HTTP/1.1\r\n\r\n", b"HTTP/1.1 ").await;
    pair.shutdown.cancel();
    expect_end(&mut pair.client).await;
    assert_eq!(pair.running.await.unwrap(), Ending::Cut);
}
