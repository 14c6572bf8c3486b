//! The etcd helper that other tests rely on does what it says.

// Helpers of tests fail by panicking, but clippy's exemption covers `#[test]` functions only.
#![allow(clippy::unwrap_used)]

mod support;

use support::{Etcd, EtcdOptions, eventually};

async fn revision_and_cluster(etcd: &Etcd) -> (i64, u64) {
    let answer = etcd.client().await.get("a", None).await.unwrap();
    let header = answer.header().unwrap();
    (header.revision(), header.cluster_id())
}

#[tokio::test]
async fn data_and_address_survive_kill_and_restart() {
    let mut etcd = Etcd::start();
    let endpoint = etcd.endpoint();
    etcd.client().await.put("a", "1", None).await.unwrap();
    etcd.kill_and_restart();
    etcd.restart();
    assert_eq!(etcd.endpoint(), endpoint);
    let answer = etcd.client().await.get("a", None).await.unwrap();
    assert_eq!(answer.kvs()[0].value(), b"1");
}

#[tokio::test]
async fn replaced_data_is_an_older_history_of_the_same_cluster() {
    let mut etcd = Etcd::start();
    etcd.client().await.put("a", "1", None).await.unwrap();
    let before = revision_and_cluster(&etcd).await;
    etcd.stop();
    let saved = etcd.save_data();
    etcd.run();
    etcd.client().await.put("a", "2", None).await.unwrap();
    etcd.stop();
    etcd.replace_data(&saved);
    etcd.run();
    assert_eq!(revision_and_cluster(&etcd).await, before);
}

#[tokio::test]
async fn the_token_decides_whether_a_new_cluster_has_a_new_id() {
    let mut etcd = Etcd::start_with(EtcdOptions {
        arguments: vec!["--max-request-bytes=10485760".to_owned()],
        ..EtcdOptions::default()
    });
    let (_, first_id) = revision_and_cluster(&etcd).await;
    etcd.client()
        .await
        .put("a", vec![b'x'; 3 << 20], None)
        .await
        .unwrap();
    etcd.kill();
    etcd.forget_data("test");
    etcd.run();
    assert_eq!(revision_and_cluster(&etcd).await, (1, first_id));
    etcd.stop();
    etcd.forget_data("other");
    etcd.run();
    assert_ne!(revision_and_cluster(&etcd).await, (1, first_id));
}

#[tokio::test]
async fn a_compacted_revision_is_gone() {
    let etcd = Etcd::start();
    let mut client = etcd.client().await;
    for value in ["1", "2", "3"] {
        client.put("a", value, None).await.unwrap();
    }
    etcd.compact(4).await;
    let pinned = etcd_client::GetOptions::new().with_revision(2);
    let failure = client.get("a", Some(pinned)).await.unwrap_err();
    assert!(failure.to_string().contains("compacted"), "{failure}");
    assert!(etcd.etcdctl(&["get", "a"]).contains('3'));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_frozen_etcd_answers_once_it_is_thawed() {
    let etcd = Etcd::start();
    etcd.freeze();
    let mut client = etcd.client().await;
    let mut answer = tokio::spawn(async move { client.get("a", None).await });
    tokio::select! {
        // The kernel accepts connections for a frozen process, so the call hangs.
        early = &mut answer => panic!("a frozen etcd answered: {early:?}"),
        () = tokio::time::sleep(std::time::Duration::from_millis(200)) => {}
    }
    etcd.thaw();
    let mut answer = Some(answer);
    let revision = eventually("an answer after thawing", async || {
        if answer
            .as_ref()
            .is_some_and(tokio::task::JoinHandle::is_finished)
        {
            let finished = answer.take()?.await.unwrap().unwrap();
            return finished.header().map(etcd_client::ResponseHeader::revision);
        }
        None
    })
    .await;
    assert_eq!(revision, 1);
}
