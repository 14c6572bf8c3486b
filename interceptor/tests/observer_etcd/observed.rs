//! A relay in front of an etcd that shows every byte to an observer.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use cascade_interceptor::clock::Reading;
use cascade_interceptor::decode::SharedHashKey;
use cascade_interceptor::observer::{ConnectionObserver, Observation, ObserverMetrics};
use cascade_proto::tables::Call;
use etcd_client::Client;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

use super::support::{Etcd, eventually};

/// Passes bytes on, one connection upstream for each downstream, and shows them to an observer.
pub(crate) struct ObservedEtcd {
    pub(crate) etcd: Etcd,
    pub(crate) endpoint: String,
    seen: Arc<Mutex<Vec<Observation>>>,
    pub(crate) metrics: ObserverMetrics,
    pub(crate) hash_key: SharedHashKey,
    accepting: JoinHandle<()>,
}

impl ObservedEtcd {
    pub(crate) async fn start() -> Self {
        Self::start_with(Etcd::start()).await
    }

    pub(crate) async fn start_with(etcd: Etcd) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("its address");
        let upstream = etcd.address();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let metrics = ObserverMetrics::default();
        let hash_key = SharedHashKey::default();
        let instance: Arc<str> = Arc::from("test");
        let accepting = {
            let (seen, metrics, hash_key) = (Arc::clone(&seen), metrics.clone(), hash_key.clone());
            tokio::spawn(async move {
                for number in 1.. {
                    let (client, _) = listener.accept().await.expect("a connection");
                    let observer = ConnectionObserver::new(
                        number,
                        Arc::clone(&instance),
                        hash_key.clone(),
                        metrics.clone(),
                    );
                    let seen = Arc::clone(&seen);
                    tokio::spawn(async move {
                        let server = TcpStream::connect(upstream).await.expect("etcd accepts");
                        relay(client, server, observer, &seen).await;
                    });
                }
            })
        };
        let endpoint = format!("http://{address}");
        Self {
            etcd,
            endpoint,
            seen,
            metrics,
            hash_key,
            accepting,
        }
    }

    pub(crate) async fn client(&self) -> Client {
        Client::connect([&self.endpoint], None)
            .await
            .expect("a client through the relay")
    }

    pub(crate) fn seen(&self) -> MutexGuard<'_, Vec<Observation>> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The rows of the next `count` calls, in the order in which they ended.
    pub(crate) async fn calls(&self, count: usize) -> Vec<Vec<Call>> {
        let what = format!("{count} calls to be observed");
        eventually(&what, async || (self.seen().len() >= count).then_some(())).await;
        let seen: Vec<Observation> = std::mem::take(&mut *self.seen());
        assert_eq!(seen.len(), count, "{seen:#?}");
        let rows = seen.into_iter().map(|observation| match observation {
            Observation::Call(rows) => rows,
            other => panic!("not a call: {other:?}"),
        });
        rows.collect()
    }

    /// The only row of the next call.
    pub(crate) async fn row(&self) -> Call {
        let mut rows = self.calls(1).await.remove(0);
        assert_eq!(rows.len(), 1, "{rows:#?}");
        rows.remove(0)
    }
}

impl Drop for ObservedEtcd {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

/// Relays until either side ends, in small pieces, so that frames and messages are cut.
async fn relay(
    mut client: TcpStream,
    mut server: TcpStream,
    mut observer: ConnectionObserver,
    seen: &Mutex<Vec<Observation>>,
) {
    let (mut request, mut response) = ([0; 1000], [0; 1000]);
    loop {
        // One observer, one task, both directions; bytes are shown before they are passed on.
        let passed_on = tokio::select! {
            read = client.read(&mut request) => match read {
                Ok(length @ 1..) => {
                    let mut out = Vec::new();
                    observer.request_bytes(&request[..length], Reading::now(), &mut out);
                    seen.lock().unwrap_or_else(PoisonError::into_inner).append(&mut out);
                    server.write_all(&request[..length]).await
                }
                _ => break,
            },
            read = server.read(&mut response) => match read {
                Ok(length @ 1..) => {
                    let mut out = Vec::new();
                    observer.response_bytes(&response[..length], Reading::now(), &mut out);
                    seen.lock().unwrap_or_else(PoisonError::into_inner).append(&mut out);
                    client.write_all(&response[..length]).await
                }
                _ => break,
            },
        };
        if passed_on.is_err() {
            break;
        }
    }
    let mut out = Vec::new();
    observer.closed(Reading::now(), &mut out);
    seen.lock()
        .unwrap_or_else(PoisonError::into_inner)
        .append(&mut out);
}
