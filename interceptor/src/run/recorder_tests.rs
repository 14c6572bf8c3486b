//! A decoder that panics costs rows, and tells of them.

use std::ops::ControlFlow;

use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;

use super::super::switch::SwitchMetrics;
use super::*;
use crate::relay::{Relay, RelayMetrics, RelayOptions, RelayRoute};
use crate::store::{StoreConfig, read_table};
use crate::transport::{Dialer, Listener};

/// Records as a recorder does, with taps that panic at an exclamation mark.
struct Jumpy(Recorder);

struct JumpyTap(Box<dyn Tap>);

impl Observe for Jumpy {
    fn connection(&self, connection: i64) -> Option<Box<dyn Tap>> {
        let tap = self.0.connection(connection)?;
        Some(Box::new(JumpyTap(tap)))
    }

    fn panicked(&self, connection: i64) {
        self.0.panicked(connection);
    }
}

impl Tap for JumpyTap {
    fn request_bytes(&mut self, bytes: &[u8], now: Reading) {
        assert!(!bytes.contains(&b'!'), "as asked");
        self.0.request_bytes(bytes, now);
    }

    fn response_bytes(&mut self, bytes: &[u8], now: Reading) {
        self.0.response_bytes(bytes, now);
    }

    fn closed(&mut self, now: Reading) {
        self.0.closed(now);
    }

    fn is_active(&self) -> bool {
        self.0.is_active()
    }
}

/// Sends back what it gets, on one connection.
async fn echo(listener: TcpListener) {
    let (mut stream, _) = listener.accept().await.unwrap();
    let (mut reader, mut writer) = stream.split();
    tokio::io::copy(&mut reader, &mut writer).await.unwrap();
}

async fn echoed(stream: &mut TcpStream, bytes: &[u8]) {
    stream.write_all(bytes).await.unwrap();
    let mut answer = vec![0; bytes.len()];
    stream.read_exact(&mut answer).await.unwrap();
    assert_eq!(answer, bytes);
}

fn gaps(store: &Store) -> Vec<Gap> {
    let mut gaps = Vec::new();
    let visit = |gap| {
        gaps.push(gap);
        ControlFlow::Continue(())
    };
    read_table::<Gap>(store.trace_dir(), None, visit).unwrap();
    gaps
}

#[tokio::test]
async fn a_panic_is_counted_and_told_and_the_traffic_goes_on() {
    let folder = TempDir::new().unwrap();
    let (store, _) = Store::open(StoreConfig::new(folder.path())).unwrap();
    let observing = Observing {
        hash_key: SharedHashKey::default(),
        key_source: HashKeySource::Ledger,
        memory: 1 << 20,
        metrics: ObserverMetrics::default(),
    };
    let switch = ObservationSwitch::new(true, wall_clock(), SwitchMetrics::default());
    let recorder = Recorder::new(store.clone(), observing, switch);
    let upstream = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", upstream.local_addr().unwrap());
    let echoing = tokio::spawn(echo(upstream));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let shutdown = CancellationToken::new();
    let metrics = RelayMetrics::default();
    let relay = Relay::start(
        &RelayOptions::default(),
        Arc::new(Jumpy(recorder)),
        metrics.clone(),
        shutdown.clone(),
    );
    let relay = Arc::new(relay.unwrap());
    let route = RelayRoute {
        listener: Listener::from_tcp(listener),
        tls: None,
        etcd: Dialer::new(url.parse().unwrap(), None).unwrap(),
    };
    let serving = tokio::spawn({
        let relay = Arc::clone(&relay);
        async move { relay.serve(route).await }
    });

    let mut client = TcpStream::connect(address).await.unwrap();
    // Too little for the observer to say that this is no HTTP/2.
    echoed(&mut client, b"P").await;
    assert_eq!(metrics.observer_panics(), 0);
    echoed(&mut client, b"!").await;
    assert_eq!(metrics.observer_panics(), 1);
    for _ in 0..10 {
        echoed(&mut client, b"what follows, ! again").await;
    }
    assert_eq!(metrics.observer_panics(), 1);
    drop(client);
    echoing.await.unwrap();

    store.flush().await.unwrap();
    let gaps = gaps(&store);
    let [gap] = gaps.as_slice() else {
        panic!("{gaps:?}");
    };
    assert_eq!(gap.kind, GapKind::UnparsedConnection);
    assert_eq!((gap.count, gap.covers_revisions), (Some(1), false));
    assert!(gap.from.is_some());
    let detail = gap.detail.as_deref();
    assert_eq!(detail, Some("connection 1: the observer panicked"));
    shutdown.cancel();
    serving.await.unwrap();
    Arc::into_inner(relay).unwrap().finish().await;
    store.close().await.unwrap();
}
