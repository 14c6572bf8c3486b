//! The ledger against a real etcd: what is written is recorded, once, in order, as etcd has it.

// Helpers of tests fail by panicking, but clippy's exemption covers `#[test]` functions only.
#![allow(clippy::unwrap_used)]

mod support;

use std::path::Path;

use cascade_interceptor::ledger::LedgerConfig;
use cascade_interceptor::store::StoreConfig;
use cascade_proto::tables::{GapKind, Op};
use etcd_client::{Client, LeaseGrantOptions, PutOptions, Txn, TxnOp};
use support::oracle::{assert_complete, existing, recorded, replayed, states_as_told, watched};
use support::{Etcd, EtcdOptions, Recorder, Workload, config, eventually, revision, trace};
use tempfile::TempDir;

/// Compares a sealed trace without gaps with what etcd has, from `first` on.
async fn assert_recorded(trace: &Path, client: &mut Client, first: i64, last: i64) {
    let changes = trace::changes(trace);
    assert_complete(&changes, first, last);
    assert_eq!(recorded(&changes), watched(client, first, last).await);
    assert_eq!(trace::gaps(trace), []);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_empty_etcd_is_recorded_from_its_first_key_on() {
    let etcd = Etcd::start();
    let trace = TempDir::new().unwrap();
    let recorder = Recorder::start(&etcd.endpoint(), trace.path());
    recorder.following().await;
    let mut client = etcd.client().await;
    let last = Workload::new(1).writes(&mut client, 400).await;
    recorder.recorded(last).await;
    // From a key's first revision on, what a change replaces is known.
    assert_eq!(recorder.metrics.previous_reads.get(), 0);
    assert_eq!(recorder.metrics.revision.get(), last);
    assert_eq!(recorder.metrics.lag_revisions.get(), 0);
    assert!(recorder.hash_key.get().is_some());
    recorder.stop().await;
    assert_recorded(trace.path(), &mut client, 2, last).await;
    assert_eq!(trace::states(trace.path()), []);
    let changes = trace::changes(trace.path());
    assert!(changes.iter().all(|change| change.seen.is_some()));
    for revision in (2..=last).step_by(13).chain([last]) {
        assert_eq!(
            replayed(&[], &changes, revision),
            existing(&mut client, revision).await,
            "at revision {revision}"
        );
    }
}

/// What there is no room to remember, etcd is asked for.
#[tokio::test(flavor = "multi_thread")]
async fn replaced_values_are_recorded_without_room_to_remember_them() {
    let etcd = Etcd::start();
    let trace = TempDir::new().unwrap();
    let config = LedgerConfig {
        previous_values_bytes: 2_000,
        ..config(&etcd.endpoint())
    };
    let recorder = Recorder::start_with(config, StoreConfig::new(trace.path()));
    recorder.following().await;
    let mut client = etcd.client().await;
    let last = Workload::new(3).writes(&mut client, 400).await;
    recorder.recorded(last).await;
    let metrics = &recorder.metrics;
    assert!(metrics.previous_reads.get() > 0);
    assert!((1..=2_000).contains(&metrics.previous_bytes.get()));
    recorder.stop().await;
    assert_recorded(trace.path(), &mut client, 2, last).await;
}

/// However soon the recording ends after clients were told that something is stored, it is there.
#[tokio::test(flavor = "multi_thread")]
async fn what_was_stored_before_the_end_is_recorded() {
    let etcd = Etcd::start();
    let trace = TempDir::new().unwrap();
    let recorder = Recorder::start(&etcd.endpoint(), trace.path());
    recorder.following().await;
    let mut client = etcd.client().await;
    for round in 0..20 {
        let puts = (0..100).map(|key| {
            let value = vec![b'x'; 10_000 + round];
            TxnOp::put(format!("key-{key}"), value, None)
        });
        let txn = Txn::new().and_then(puts.collect::<Vec<_>>());
        client.txn(txn).await.unwrap();
    }
    let last = revision(&mut client).await;
    recorder.stop().await;
    assert_recorded(trace.path(), &mut client, 2, last).await;
}

/// Nothing in `states` tells then where the changes begin.
#[tokio::test(flavor = "multi_thread")]
async fn an_etcd_whose_keys_are_all_gone_says_where_its_changes_begin() {
    let etcd = Etcd::start();
    let mut client = etcd.client().await;
    client.put("gone", "1", None).await.unwrap();
    client.delete("gone", None).await.unwrap();
    let begin = revision(&mut client).await;
    let trace = TempDir::new().unwrap();
    let recorder = Recorder::start(&etcd.endpoint(), trace.path());
    recorder.following().await;
    client.put("key", "1", None).await.unwrap();
    recorder.recorded(begin + 1).await;
    recorder.stop().await;

    assert_complete(&trace::changes(trace.path()), begin + 1, begin + 1);
    assert_eq!(trace::states(trace.path()), []);
    let gaps = trace::gaps(trace.path());
    let [told] = &gaps[..] else {
        panic!("not one gap: {gaps:?}")
    };
    assert_eq!(
        (told.kind, told.covers_revisions, told.from_revision),
        (GapKind::Restart, false, None)
    );
    assert_eq!(told.to_revision, Some(begin));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_existed_before_is_in_the_snapshot() {
    let etcd = Etcd::start();
    let mut client = etcd.client().await;
    let mut workload = Workload::new(2);
    for index in 0..700 {
        let key = format!("/registry/events/ns/{index:04}");
        client.put(key, vec![b'x'; index], None).await.unwrap();
    }
    let begin = workload.writes(&mut client, 200).await;
    let trace = TempDir::new().unwrap();
    let recorder = Recorder::start(&etcd.endpoint(), trace.path());
    // Written while the snapshot is read, or not: both must be right.
    let last = workload.writes(&mut client, 200).await;
    recorder.recorded(last).await;
    recorder.stop().await;

    let states = trace::states(trace.path());
    let snapshot = states[0].snapshot_revision;
    assert!((begin..=last).contains(&snapshot));
    assert!(
        states
            .iter()
            .all(|state| state.snapshot_revision == snapshot)
    );
    assert_eq!(states.len(), states_as_told(&states).len(), "a key twice");
    assert_eq!(
        states_as_told(&states),
        existing(&mut client, snapshot).await
    );
    assert_recorded(trace.path(), &mut client, snapshot + 1, last).await;
    let changes = trace::changes(trace.path());
    assert_eq!(
        replayed(&states, &changes, last),
        existing(&mut client, last).await
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revision_with_a_thousand_large_deletes_is_one_revision() {
    let etcd = Etcd::start_with(EtcdOptions {
        arguments: vec!["--max-txn-ops=2000".to_owned()],
        ..EtcdOptions::default()
    });
    let mut client = etcd.client().await;
    let trace = TempDir::new().unwrap();
    let recorder = Recorder::start(&etcd.endpoint(), trace.path());
    recorder.following().await;
    // One transaction of 1,000 puts, then their deletion with 10 MB of previous values: more than
    // fits into one response, so it comes in fragments.
    let put = |index: usize| TxnOp::put(format!("/registry/a/{index:04}"), vec![b'x'; 1_000], None);
    client
        .txn(Txn::new().and_then((0..1_000).map(put).collect::<Vec<_>>()))
        .await
        .unwrap();
    for index in 0..1_000 {
        let key = format!("/registry/a/{index:04}");
        client.put(key, vec![b'y'; 10_000], None).await.unwrap();
    }
    let everything = etcd_client::DeleteOptions::new().with_prefix();
    client
        .delete("/registry/a/", Some(everything))
        .await
        .unwrap();
    client.put("/registry/a/after", "z", None).await.unwrap();
    let last = revision(&mut client).await;
    recorder.recorded(last).await;
    recorder.stop().await;
    assert_recorded(trace.path(), &mut client, 2, last).await;
    let changes = trace::changes(trace.path());
    let deletes: Vec<_> = changes
        .iter()
        .filter(|change| change.op == Op::Delete)
        .collect();
    assert_eq!(deletes.len(), 1_000);
    assert!(deletes.iter().all(|change| change.revision_size == 1_000
        && change.revision == last - 1
        && change.object.value_bytes == Some(10_000)));
}

#[tokio::test(flavor = "multi_thread")]
async fn values_of_one_and_a_half_megabytes_pass() {
    let etcd = Etcd::start_with(EtcdOptions {
        arguments: vec!["--max-request-bytes=4194304".to_owned()],
        ..EtcdOptions::default()
    });
    let mut client = etcd.client().await;
    let large = |byte: u8| vec![byte; 1_500_000];
    for index in 0..12 {
        let key = format!("/registry/configmaps/ns/{index:02}");
        client.put(key, large(b'a'), None).await.unwrap();
    }
    let trace = TempDir::new().unwrap();
    let recorder = Recorder::start(&etcd.endpoint(), trace.path());
    recorder.following().await;
    let before = revision(&mut client).await;
    for index in 0..12 {
        let key = format!("/registry/configmaps/ns/{index:02}");
        client.put(key.clone(), large(b'b'), None).await.unwrap();
        client.delete(key, None).await.unwrap();
    }
    // Larger than etcd allows by default, as its administrator may choose.
    client
        .put("/registry/big", vec![b'c'; 4_000_000], None)
        .await
        .unwrap();
    client.delete("/registry/big", None).await.unwrap();
    let last = revision(&mut client).await;
    recorder.recorded(last).await;
    recorder.stop().await;
    assert_recorded(trace.path(), &mut client, before + 1, last).await;
    let states = trace::states(trace.path());
    assert_eq!(states_as_told(&states), existing(&mut client, before).await);
    assert!(
        states
            .iter()
            .all(|state| state.object.value_bytes == Some(1_500_000))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn expired_leases_delete_keys() {
    let etcd = Etcd::start();
    let mut client = etcd.client().await;
    let trace = TempDir::new().unwrap();
    let recorder = Recorder::start(&etcd.endpoint(), trace.path());
    recorder.following().await;
    let lease = LeaseGrantOptions::new().with_id(4_711);
    client.lease_grant(1, Some(lease)).await.unwrap();
    for name in ["a", "b", "c"] {
        let options = PutOptions::new().with_lease(4_711);
        let key = format!("/registry/events/ns/{name}");
        client.put(key, "value", Some(options)).await.unwrap();
    }
    let written = revision(&mut client).await;
    let expired = eventually("the lease expires", async || {
        let revision = revision(&mut client).await;
        (revision > written).then_some(revision)
    })
    .await;
    recorder.recorded(expired).await;
    recorder.stop().await;
    assert_recorded(trace.path(), &mut client, 2, expired).await;
    let changes = trace::changes(trace.path());
    let deletes: Vec<_> = changes
        .iter()
        .filter(|change| change.op == Op::Delete)
        .collect();
    assert_eq!(deletes.len(), 3);
    assert!(deletes.iter().all(|change| change.lease_id == Some(4_711)
        && change.revision_size == 3
        && change.prev_revision.is_some()));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_ledger_waits_for_an_etcd_that_is_down() {
    let mut etcd = Etcd::start();
    etcd.stop();
    let trace = TempDir::new().unwrap();
    let recorder = Recorder::start(&etcd.endpoint(), trace.path());
    eventually("failed attempts", async || {
        let label = cascade_interceptor::ledger::ReasonLabel {
            reason: "call_failed",
        };
        let failures = recorder.metrics.interruptions.get_or_create(&label).get();
        (failures >= 3).then_some(())
    })
    .await;
    etcd.run();
    recorder.following().await;
    let mut client = etcd.client().await;
    let last = Workload::new(3).writes(&mut client, 20).await;
    recorder.recorded(last).await;
    recorder.stop().await;
    assert_recorded(trace.path(), &mut client, 2, last).await;
}

/// Writes all the time while etcd is stopped and killed again and again.
#[tokio::test(flavor = "multi_thread")]
async fn restarts_of_etcd_lose_and_repeat_nothing() {
    let mut etcd = Etcd::start();
    let trace = TempDir::new().unwrap();
    let recorder = Recorder::start(&etcd.endpoint(), trace.path());
    recorder.following().await;
    let mut workload = Workload::new(4);
    for round in 0..6 {
        let endpoint = etcd.endpoint();
        let writer = tokio::spawn(async move {
            let mut client = Client::connect([endpoint], None).await.unwrap();
            // Until etcd is gone.
            while workload.write(&mut client).await.is_ok() {}
            workload
        });
        let begin = recorder.metrics.revision.get();
        eventually("writes arrive", async || {
            (recorder.metrics.revision.get() > begin + 30).then_some(())
        })
        .await;
        if round % 2 == 0 {
            etcd.kill_and_restart();
        } else {
            etcd.restart();
        }
        workload = writer.await.unwrap();
    }
    let mut client = etcd.client().await;
    let last = workload.writes(&mut client, 10).await;
    recorder.recorded(last).await;
    recorder.stop().await;
    assert_recorded(trace.path(), &mut client, 2, last).await;
}
