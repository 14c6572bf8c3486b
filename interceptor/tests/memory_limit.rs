//! The ceiling on memory, in front of a real etcd: what does not fit is not observed, the traffic and
//! the ledger do not notice.

// Helpers of tests fail by panicking, but clippy's exemption covers `#[test]` functions only.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use cascade_proto::tables::{Call, CallOutcome};
use support::oracle::assert_complete;
use support::{Etcd, Interceptor, eventually, revision, trace};
use tempfile::TempDir;

/// More connections than the observer's share has room for, with a message each.
const CONNECTIONS: usize = 24;
const MESSAGE_BYTES: usize = 1 << 20;
/// A quarter of the limit.
const SHARE: f64 = (16 << 20) as f64;

#[tokio::test(flavor = "multi_thread")]
async fn what_does_not_fit_is_not_read_and_passes_all_the_same() {
    let etcd = Etcd::start();
    let trace = TempDir::new().unwrap();
    let interceptor = Interceptor::serve(&etcd, trace.path(), &["--memory-limit=64MiB"]);
    interceptor.ready().await;
    assert_eq!(
        interceptor.labelled_metric("cascade_memory_limit_bytes", "observer"),
        SHARE
    );
    let mut clients = Vec::new();
    for number in 0..CONNECTIONS {
        let mut client = interceptor.client().await;
        client
            .put(format!("small/{number}"), "x", None)
            .await
            .unwrap();
        clients.push(client);
    }
    // Of each message only the begin comes through: etcd does not make room for more.
    etcd.freeze();
    let mut puts = Vec::new();
    for (number, mut client) in clients.into_iter().enumerate() {
        puts.push(tokio::spawn(async move {
            let value = vec![b'x'; MESSAGE_BYTES];
            client.put(format!("large/{number}"), value, None).await
        }));
    }
    let mut most = 0.0_f64;
    eventually("messages are left out for lack of room", async || {
        most = most.max(interceptor.metric("cascade_observer_buffered_bytes"));
        let open = interceptor.metric("cascade_observer_open_calls");
        let left_out =
            interceptor.labelled_metric("cascade_observer_opaque_messages_total", "no_room");
        (open == CONNECTIONS as f64 && left_out >= 9.0).then_some(())
    })
    .await;
    assert!(most <= SHARE, "{most}");
    assert!(most > SHARE / 2.0, "{most}");
    etcd.thaw();
    for put in puts {
        put.await.unwrap().unwrap();
    }
    let last = revision(&mut etcd.client().await).await;
    interceptor.ledger_reached(last).await;
    assert_eq!(interceptor.metric("cascade_observer_buffered_bytes"), 0.0);
    assert_eq!(interceptor.stop().code(), Some(0));

    assert_complete(&trace::changes(trace.path()), 2, last);
    let calls: Vec<Call> = trace::rows(trace.path());
    assert_eq!(calls.len(), 2 * CONNECTIONS);
    assert!(
        calls
            .iter()
            .all(|call| call.outcome == CallOutcome::Committed)
    );
    let unread = calls.iter().filter(|call| call.key.is_none()).count();
    assert!((9..CONNECTIONS).contains(&unread), "{unread}");
}
