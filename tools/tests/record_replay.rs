//! Recording what goes to a real etcd, and replaying it into another.
#![allow(clippy::unwrap_used, clippy::panic)] // helpers of tests fail by panicking

mod support;

use std::path::Path;
use std::time::Instant;

use cascade_tools::capture::capture;
use cascade_tools::extract::extract_calls;
use cascade_tools::recording::{Chunk, RecordedCall, RecordingReader, RecordingWriter};
use cascade_tools::replay::{ReplayOptions, Replayed, replay};
use cascade_tools::truth::watch_all;
use etcd_client::{Client, Compare, CompareOp, GetOptions, PutOptions, Txn, TxnOp};
use support::Etcd;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

/// Records what `traffic` does, given the address of the recording relay.
async fn record<F: Future<Output = ()>>(
    etcd: &Etcd,
    folder: &Path,
    traffic: impl FnOnce(String) -> F,
) -> anyhow::Result<Vec<RecordedCall>> {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let relay = format!("http://{}", listener.local_addr().unwrap());
    let (begun, shutdown) = (Instant::now(), CancellationToken::new());
    let connections = folder.join("connections.zst");
    let relaying = tokio::spawn({
        let (address, path, shutdown) = (etcd.address(), connections.clone(), shutdown.clone());
        async move { capture(listener, address, &path, begun, shutdown).await }
    });
    let watching = tokio::spawn({
        let (endpoint, shutdown) = (etcd.endpoint(), shutdown.clone());
        async move { watch_all(&endpoint, begun, shutdown).await }
    });
    traffic(relay).await;
    shutdown.cancel();
    relaying.await.unwrap().unwrap();
    let truth = watching.await.unwrap().unwrap();
    let chunks: Vec<Chunk> = RecordingReader::<Chunk>::open(&connections)
        .unwrap()
        .collect::<Result<_, _>>()
        .unwrap();
    extract_calls(chunks, &truth)
}

/// Every key with its revisions, and the current revision.
async fn content(etcd: &Etcd) -> (Vec<(String, i64, i64, i64)>, i64) {
    let mut client = etcd.client().await;
    let all = client
        .get("\0", Some(GetOptions::new().with_from_key()))
        .await
        .unwrap();
    let keys = all
        .kvs()
        .iter()
        .map(|kv| {
            let key = kv.key_str().unwrap().to_owned();
            (key, kv.create_revision(), kv.mod_revision(), kv.version())
        })
        .collect();
    (keys, all.header().unwrap().revision())
}

async fn replay_calls(
    calls: &[RecordedCall],
    folder: &Path,
    etcd: &Etcd,
) -> anyhow::Result<Replayed> {
    let path = folder.join("calls.zst");
    let mut writer = RecordingWriter::create(&path)?;
    for call in calls {
        writer.write(call)?;
    }
    writer.finish()?;
    let options = ReplayOptions {
        endpoint: etcd.endpoint(),
        speed: f64::INFINITY,
    };
    replay(&path, &options, |_| {}).await
}

/// A create, an update, a conflict, a no-op delete, a lease with a key, deletes, several keys at once.
async fn every_kind_of_call(endpoint: String) {
    let mut client = Client::connect([&endpoint], None).await.unwrap();
    let create = Txn::new()
        .when([Compare::mod_revision("/registry/a", CompareOp::Equal, 0)])
        .and_then([TxnOp::put("/registry/a", "1", None)])
        .or_else([TxnOp::get("/registry/a", None)]);
    assert!(client.txn(create.clone()).await.unwrap().succeeded());
    assert!(
        !client.txn(create).await.unwrap().succeeded(),
        "the second create is a conflict"
    );
    client.put("/registry/a", "2", None).await.unwrap();
    client.delete("/registry/none", None).await.unwrap();
    let lease = client.lease_grant(3600, None).await.unwrap().id();
    let leased = PutOptions::new().with_lease(lease);
    client
        .put("/registry/events/e", "3", Some(leased))
        .await
        .unwrap();
    let both = [
        TxnOp::put("/registry/b", "4", None),
        TxnOp::put("/registry/c", "5", None),
    ];
    client.txn(Txn::new().and_then(both)).await.unwrap();
    client.delete("/registry/b", None).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replay_gives_the_same_revisions() {
    let (recorded, replayed) = (Etcd::start(), Etcd::start());
    let folder = tempfile::tempdir().unwrap();
    let calls = record(&recorded, folder.path(), every_kind_of_call)
        .await
        .unwrap();
    assert_eq!(calls.iter().filter(|call| call.committed).count(), 5);
    assert_eq!(
        calls.len(),
        8,
        "with the conflict, the no-op delete and the lease"
    );
    let done = replay_calls(&calls, folder.path(), &replayed)
        .await
        .unwrap();
    assert_eq!(
        done,
        Replayed {
            calls: 8,
            revision: 6
        }
    );
    assert_eq!(content(&recorded).await, content(&replayed).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_expired_lease_is_replayed_as_its_revocation() {
    let (recorded, replayed) = (Etcd::start(), Etcd::start());
    let folder = tempfile::tempdir().unwrap();
    let calls = record(&recorded, folder.path(), |endpoint| async move {
        let mut client = Client::connect([&endpoint], None).await.unwrap();
        let lease = client.lease_grant(1, None).await.unwrap().id();
        let leased = PutOptions::new().with_lease(lease);
        let put = client
            .put("/registry/events/e", "1", Some(leased))
            .await
            .unwrap();
        let put_at = put.header().unwrap().revision();
        // The expiry is a revision that nobody asked for.
        while client
            .get("/", None)
            .await
            .unwrap()
            .header()
            .unwrap()
            .revision()
            == put_at
        {
            tokio::task::yield_now().await;
        }
    })
    .await
    .unwrap();
    assert!(calls.last().unwrap().lease_expiry);
    replay_calls(&calls, folder.path(), &replayed)
        .await
        .unwrap();
    assert_eq!(content(&recorded).await, content(&replayed).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_write_past_the_recorder_is_an_error() {
    let etcd = Etcd::start();
    let folder = tempfile::tempdir().unwrap();
    let mut direct = etcd.client().await;
    let error = record(&etcd, folder.path(), |_| async move {
        direct.put("/registry/a", "1", None).await.unwrap();
    })
    .await
    .unwrap_err()
    .to_string();
    assert!(
        error.contains("revision 2 was made by no recorded call"),
        "{error}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replay_into_an_etcd_with_content_stops_at_the_first_call() {
    let (recorded, replayed) = (Etcd::start(), Etcd::start());
    let folder = tempfile::tempdir().unwrap();
    let calls = record(&recorded, folder.path(), every_kind_of_call)
        .await
        .unwrap();
    replayed
        .client()
        .await
        .put("/registry/z", "1", None)
        .await
        .unwrap();
    let error = replay_calls(&calls, folder.path(), &replayed)
        .await
        .unwrap_err();
    assert!(
        format!("{error:#}").contains("revision 3 instead of 2"),
        "{error:#}"
    );
    assert_eq!(
        content(&replayed).await.1,
        3,
        "nothing was sent after the call that differs"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_recording_of_a_control_plane_replays_with_equal_revisions() {
    let etcd = Etcd::start();
    let calls =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../testdata/recordings/rollout/calls.zst");
    let options = ReplayOptions {
        endpoint: etcd.endpoint(),
        speed: f64::INFINITY,
    };
    let replayed = replay(&calls, &options, |_| {}).await.unwrap();
    assert!(replayed.calls > 1000, "{replayed:?}");
    assert_eq!(content(&etcd).await.1, replayed.revision);
}
