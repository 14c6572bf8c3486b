//! The observer between real clients and a real etcd: an HTTP/2 client in Rust (etcd-client, on h2)
//! and one in Go (etcdctl, on grpc-go).

// Helpers of tests fail by panicking, but clippy's exemption covers `#[test]` functions only.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod observed;
#[path = "../support/mod.rs"]
mod support;

use cascade_interceptor::decode::HashKey;
use cascade_interceptor::observer::Observation;
use cascade_proto::tables::{Branch, CallOutcome, CallShape};
use etcd_client::{
    Compare, CompareOp, DeleteOptions, LockOptions, ProclaimOptions, PutOptions, ResignOptions,
    Txn, TxnOp,
};
use observed::ObservedEtcd;
use support::{Etcd, EtcdOptions, eventually, within_patience};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

fn equal(key: &str, revision: i64) -> Compare {
    Compare::mod_revision(key, CompareOp::Equal, revision)
}

#[tokio::test(flavor = "multi_thread")]
async fn writes_and_their_revisions() {
    let observed = ObservedEtcd::start().await;
    let mut client = observed.client().await;

    let answer = client.put("k", "v", None).await.unwrap();
    let header = answer.header().unwrap();
    let row = observed.row().await;
    assert_eq!(
        (row.shape, row.outcome),
        (CallShape::Update, CallOutcome::Committed)
    );
    assert_eq!((row.key.as_deref(), row.grpc_status), (Some("k"), Some(0)));
    assert_eq!(row.revision, Some(header.revision()));
    assert_eq!(row.cluster_id, Some(format!("{:x}", header.cluster_id())));
    assert_eq!(row.value_hash, None, "no key yet");
    assert_eq!(row.method, "/etcdserverpb.KV/Put");
    assert!(row.duration_ns.unwrap() > 0);

    let hash_key = HashKey::from_cluster_id(header.cluster_id());
    observed.hash_key.set(hash_key.clone());
    let value = "v".repeat(200_000); // many frames
    let answer = client.put("k", value.clone(), None).await.unwrap();
    let row = observed.row().await;
    assert_eq!(row.revision, Some(answer.header().unwrap().revision()));
    assert_eq!(row.value_hash, Some(hash_key.hash(value.as_bytes())));
    assert!(row.request_bytes > 200_000);

    client.put("k2", "v", None).await.unwrap();
    client.put("other", "v", None).await.unwrap();
    observed.calls(2).await;
    let options = DeleteOptions::new().with_range("l");
    let answer = client.delete("k", Some(options)).await.unwrap();
    let row = observed.row().await;
    assert_eq!((row.shape, row.deleted), (CallShape::DeleteRange, Some(2)));
    assert_eq!(
        (row.key.as_deref(), row.range_end.as_deref()),
        (Some("k"), Some("l"))
    );
    assert_eq!(row.revision, Some(answer.header().unwrap().revision()));

    client.delete("not there", None).await.unwrap();
    let row = observed.row().await;
    assert_eq!(
        (row.shape, row.outcome),
        (CallShape::Delete, CallOutcome::Committed)
    );
    assert_eq!((row.deleted, row.revision), (Some(0), None));
}

#[tokio::test(flavor = "multi_thread")]
async fn transactions_as_kube_apiserver_sends_them() {
    let observed = ObservedEtcd::start().await;
    let mut client = observed.client().await;
    let key = "/registry/pods/default/web";

    let create = || {
        Txn::new()
            .when([equal(key, 0)])
            .and_then([TxnOp::put(key, "1", None)])
    };
    let answer = client.txn(create()).await.unwrap();
    let created = answer.header().unwrap().revision();
    let row = observed.row().await;
    assert_eq!(
        (row.shape, row.outcome),
        (CallShape::Create, CallOutcome::Committed)
    );
    assert_eq!(
        (row.branch, row.compare_revision),
        (Some(Branch::Success), Some(0))
    );
    assert_eq!(
        (row.key.as_deref(), row.revision),
        (Some(key), Some(created))
    );

    assert!(!client.txn(create()).await.unwrap().succeeded());
    let row = observed.row().await;
    assert_eq!(
        (row.shape, row.outcome),
        (CallShape::Create, CallOutcome::Conflict)
    );
    assert_eq!((row.branch, row.revision), (Some(Branch::Failure), None));
    assert_eq!(row.grpc_status, Some(0));

    let update = || {
        Txn::new()
            .when([equal(key, created)])
            .and_then([TxnOp::put(key, "2", None)])
            .or_else([TxnOp::get(key, None)])
    };
    let answer = client.txn(update()).await.unwrap();
    let updated = answer.header().unwrap().revision();
    let row = observed.row().await;
    assert_eq!(
        (row.shape, row.outcome),
        (CallShape::Update, CallOutcome::Committed)
    );
    assert_eq!(
        (row.compare_revision, row.revision),
        (Some(created), Some(updated))
    );

    assert!(!client.txn(update()).await.unwrap().succeeded());
    let row = observed.row().await;
    assert_eq!(
        (row.shape, row.outcome),
        (CallShape::Update, CallOutcome::Conflict)
    );

    let delete = Txn::new()
        .when([equal(key, updated)])
        .and_then([TxnOp::delete(key, None)])
        .or_else([TxnOp::get(key, None)]);
    let answer = client.txn(delete).await.unwrap();
    let row = observed.row().await;
    assert_eq!((row.shape, row.deleted), (CallShape::Delete, Some(1)));
    assert_eq!(
        (row.compare_revision, row.revision),
        (Some(updated), Some(answer.header().unwrap().revision()))
    );

    // Reads, also in a transaction, are no calls of interest.
    client.get(key, None).await.unwrap();
    let read = Txn::new()
        .and_then([TxnOp::get(key, None)])
        .or_else([TxnOp::get(key, None)]);
    client.txn(read).await.unwrap();
    client.put("last", "", None).await.unwrap();
    assert_eq!(observed.row().await.key.as_deref(), Some("last"));
}

#[tokio::test(flavor = "multi_thread")]
async fn nested_transactions() {
    let observed = ObservedEtcd::start().await;
    let mut client = observed.client().await;
    let inner = Txn::new()
        .when([equal("b", 9)])
        .and_then([TxnOp::put("b", "", None)]);
    let other = Txn::new()
        .when([equal("c", 0)])
        .and_then([TxnOp::put("c", "", None)]);
    let outer = Txn::new().and_then([
        TxnOp::get("a", None),
        TxnOp::put("a", "", None),
        TxnOp::txn(inner),
        TxnOp::txn(other),
        TxnOp::delete("d", None),
    ]);
    let answer = client.txn(outer).await.unwrap();
    let revision = Some(answer.header().unwrap().revision());
    let rows = observed.calls(1).await.remove(0);
    let seen: Vec<_> = rows
        .iter()
        .map(|row| {
            (
                row.op_index,
                row.key.as_deref().unwrap(),
                row.shape,
                row.outcome,
                row.revision,
            )
        })
        .collect();
    use CallOutcome::{Committed, Conflict};
    assert_eq!(
        seen,
        [
            (0, "a", CallShape::Update, Committed, revision),
            (1, "b", CallShape::Update, Conflict, None),
            (2, "c", CallShape::Create, Committed, revision),
            (3, "d", CallShape::Delete, Committed, None),
        ]
    );
    assert!(rows.iter().all(|row| row.call_id == rows[0].call_id));
}

#[tokio::test(flavor = "multi_thread")]
async fn leases_and_compaction() {
    let observed = ObservedEtcd::start().await;
    let mut client = observed.client().await;

    let lease = client.lease_grant(3600, None).await.unwrap();
    let row = observed.row().await;
    assert_eq!(
        (row.shape, row.outcome),
        (CallShape::LeaseGrant, CallOutcome::Committed)
    );
    assert_eq!(
        (row.lease_id, row.lease_ttl),
        (Some(lease.id()), Some(lease.ttl()))
    );
    assert_eq!((row.key, row.revision), (None, None));

    let options = PutOptions::new().with_lease(lease.id());
    let answer = client.put("leased", "", Some(options)).await.unwrap();
    let revision = answer.header().unwrap().revision();
    assert_eq!(observed.row().await.lease_id, Some(lease.id()));

    client.lease_revoke(lease.id()).await.unwrap();
    let row = observed.row().await;
    assert_eq!(
        (row.shape, row.lease_id),
        (CallShape::LeaseRevoke, Some(lease.id()))
    );
    assert_eq!((row.outcome, row.revision), (CallOutcome::Committed, None));

    client.compact(revision, None).await.unwrap();
    let row = observed.row().await;
    assert_eq!(
        (row.shape, row.outcome),
        (CallShape::Compact, CallOutcome::Committed)
    );
    assert_eq!((row.compare_revision, row.revision), (Some(revision), None));
}

#[tokio::test(flavor = "multi_thread")]
async fn locks_and_elections() {
    let observed = ObservedEtcd::start().await;
    let mut client = observed.client().await;
    let lease = client.lease_grant(3600, None).await.unwrap().id();
    observed.row().await;

    let lock = client
        .lock("name", Some(LockOptions::new().with_lease(lease)))
        .await
        .unwrap();
    let key = String::from_utf8(lock.key().to_vec()).unwrap();
    let row = observed.row().await;
    assert_eq!(
        (row.shape, row.outcome),
        (CallShape::Other, CallOutcome::Committed)
    );
    assert_eq!(
        (row.method.as_str(), row.lease_id),
        ("/v3lockpb.Lock/Lock", Some(lease))
    );
    assert_eq!(row.key, Some(key.clone()));
    client.unlock(lock.key()).await.unwrap();
    assert_eq!(observed.row().await.key, Some(key));

    let leader = client.campaign("office", "me", lease).await.unwrap();
    let leader_key = leader.leader().unwrap().clone();
    let key = Some(String::from_utf8(leader_key.key().to_vec()).unwrap());
    assert_eq!(observed.row().await.key, key);
    let options = ProclaimOptions::new().with_leader(leader_key.clone());
    client.proclaim("still me", Some(options)).await.unwrap();
    assert_eq!(observed.row().await.key, key);
    client
        .resign(Some(ResignOptions::new().with_leader(leader_key)))
        .await
        .unwrap();
    let row = observed.row().await;
    assert_eq!((row.key, row.outcome), (key, CallOutcome::Committed));
}

#[tokio::test(flavor = "multi_thread")]
async fn refusals_and_their_status() {
    let options = EtcdOptions {
        arguments: vec!["--max-request-bytes=10000".to_owned()],
        ..EtcdOptions::default()
    };
    let observed = ObservedEtcd::start_with(Etcd::start_with(options)).await;
    let mut client = observed.client().await;
    let put = |key| TxnOp::put(key, "", None);

    for _ in 0..2 {
        // The second one's status is an index into the header table.
        client
            .txn(Txn::new().and_then([put("k"), put("k")]))
            .await
            .unwrap_err();
        let rows = observed.calls(1).await.remove(0);
        assert_eq!(rows.len(), 2);
        assert_eq!(
            (rows[0].outcome, rows[0].grpc_status),
            (CallOutcome::Error, Some(3))
        );
        assert_eq!((rows[0].revision, rows[0].branch), (None, None));
    }

    client.put("", "v", None).await.unwrap_err();
    let row = observed.row().await;
    assert_eq!(
        (row.outcome, row.grpc_status),
        (CallOutcome::Error, Some(3))
    );

    let options = PutOptions::new().with_lease(12345);
    client.put("k", "v", Some(options)).await.unwrap_err();
    let row = observed.row().await;
    assert_eq!(
        (row.outcome, row.grpc_status),
        (CallOutcome::Error, Some(5))
    );

    client.put("k", "v", None).await.unwrap();
    let revision = observed.row().await.revision.unwrap();
    client.compact(revision, None).await.unwrap();
    client.compact(revision, None).await.unwrap_err();
    let calls = observed.calls(2).await;
    assert_eq!(calls[0][0].outcome, CallOutcome::Committed);
    assert_eq!(
        (calls[1][0].outcome, calls[1][0].grpc_status),
        (CallOutcome::Error, Some(11))
    );

    // Larger than etcd takes.
    client.put("k", "v".repeat(20_000), None).await.unwrap_err();
    let row = observed.row().await;
    assert_eq!(
        (row.outcome, row.grpc_status),
        (CallOutcome::Error, Some(3))
    );
    // Larger than its gRPC server takes: refused before it is complete, or after.
    client
        .put("k", "v".repeat(2 << 20), None)
        .await
        .unwrap_err();
    let row = observed.row().await;
    assert_ne!(row.outcome, CallOutcome::Committed);
    assert_eq!(row.grpc_status, Some(8));
    assert!(row.request_bytes > 2 << 20);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_gives_up_and_an_etcd_that_dies() {
    let mut observed = ObservedEtcd::start().await;
    let mut client = observed.client().await;
    client.put("k", "v", None).await.unwrap();
    observed.row().await;

    observed.etcd.freeze();
    let mut other = client.clone();
    let given_up = tokio::spawn(async move { other.put("given up", "v", None).await.map(|_| ()) });
    open_calls(&observed, 1).await;
    given_up.abort();
    let row = observed.row().await;
    assert_eq!(
        (row.key.as_deref(), row.outcome),
        (Some("given up"), CallOutcome::Cancelled)
    );
    assert_eq!(
        (row.response, row.duration_ns, row.grpc_status),
        (None, None, None)
    );

    let mut other = client.clone();
    let lost = tokio::spawn(async move { other.put("lost", "v", None).await.map(|_| ()) });
    open_calls(&observed, 1).await;
    observed.etcd.kill();
    within_patience("the call to fail", lost)
        .await
        .unwrap()
        .unwrap_err();
    let row = observed.row().await;
    assert_eq!(
        (row.key.as_deref(), row.outcome),
        (Some("lost"), CallOutcome::Unknown)
    );
    open_calls(&observed, 0).await;
}

async fn open_calls(observed: &ObservedEtcd, count: i64) {
    let mut registry = prometheus_client::registry::Registry::default();
    observed.metrics.register(&mut registry);
    let line = format!("cascade_observer_open_calls {count}");
    eventually(&line, async || {
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry).expect("metrics");
        text.lines().any(|found| found == line).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn many_calls_at_once_on_one_connection() {
    let observed = ObservedEtcd::start().await;
    let client = observed.client().await;
    let mut calls = tokio::task::JoinSet::new();
    for number in 0..200 {
        let mut client = client.clone();
        calls.spawn(async move {
            let key = format!("k{number}");
            let value = "v".repeat(number * 100);
            let answer = client.put(key.clone(), value, None).await.unwrap();
            (key, answer.header().unwrap().revision())
        });
    }
    let mut expected = calls.join_all().await;
    let mut seen: Vec<_> = observed
        .calls(200)
        .await
        .into_iter()
        .map(|rows| (rows[0].key.clone().unwrap(), rows[0].revision.unwrap()))
        .collect();
    expected.sort();
    seen.sort();
    assert_eq!(seen, expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_on_grpc_go() {
    let observed = ObservedEtcd::start().await;
    let run = |arguments: &'static [&'static str]| {
        let endpoint = observed.endpoint.clone();
        async move {
            tokio::task::spawn_blocking(move || support::etcdctl(&endpoint, arguments))
                .await
                .expect("etcdctl runs")
        }
    };
    run(&["put", "k", "v", "--command-timeout=7s"]).await;
    let row = observed.row().await;
    assert_eq!(
        (row.key.as_deref(), row.outcome),
        (Some("k"), CallOutcome::Committed)
    );
    assert_eq!(row.grpc_status, Some(0));
    let deadline = row.deadline_ns.unwrap();
    assert!((1..=7_000_000_000).contains(&deadline), "{deadline}");

    run(&["lease", "grant", "100"]).await;
    assert_eq!(observed.row().await.lease_ttl, Some(100));
    run(&["del", "k"]).await;
    let row = observed.row().await;
    assert_eq!((row.shape, row.deleted), (CallShape::Delete, Some(1)));
    run(&["get", "k"]).await;
    run(&["member", "list"]).await;
    assert!(observed.seen().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn plain_http_on_the_same_port() {
    let observed = ObservedEtcd::start().await;
    let address = observed.endpoint.trim_start_matches("http://").to_owned();
    let mut stream = TcpStream::connect(address).await.unwrap();
    let request = b"GET /health HTTP/1.1\r\nHost: etcd\r\nConnection: close\r\n\r\n";
    stream.write_all(request).await.unwrap();
    let mut answer = String::new();
    within_patience("an answer", stream.read_to_string(&mut answer))
        .await
        .unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    let seen = std::mem::take(&mut *observed.seen());
    assert!(
        matches!(&seen[..], [Observation::Unparsed { .. }]),
        "{seen:?}"
    );
}
