//! The ledger when etcd or the trace folder is in trouble: it waits, tells, and goes on.

// Helpers of tests fail by panicking, but clippy's exemption covers `#[test]` functions only.
#![allow(clippy::unwrap_used)]

mod support;

use std::path::Path;
use std::time::Duration;

use cascade_interceptor::ledger::{LedgerConfig, LedgerStatus, ReasonLabel};
use cascade_interceptor::store::{Rows, StoreConfig};
use cascade_proto::tables::{Gap, GapKind};
use etcd_client::Client;
use support::oracle::{assert_complete, recorded, watched};
use support::{Etcd, Recorder, Workload, config, eventually, revision, trace};
use tempfile::TempDir;

/// Waits until watches have ended for one of these reasons, `times` altogether.
async fn interrupted(recorder: &Recorder, reasons: &[&'static str], times: u64) {
    eventually("the ledger is interrupted", async || {
        let count = |reason: &&'static str| {
            let label = ReasonLabel { reason };
            recorder.metrics.interruptions.get_or_create(&label).get()
        };
        (reasons.iter().map(count).sum::<u64>() >= times).then_some(())
    })
    .await;
}

async fn assert_recorded(trace: &Path, client: &mut Client, last: i64) {
    let changes = trace::changes(trace);
    assert_complete(&changes, 2, last);
    assert_eq!(recorded(&changes), watched(client, 2, last).await);
    assert_eq!(trace::gaps(trace), []);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_ledger_turns_to_another_member() {
    let mut members = Etcd::start_cluster(3);
    let trace = TempDir::new().unwrap();
    let endpoints = members.iter().map(Etcd::endpoint).collect();
    let recorder = Recorder::start_with(
        LedgerConfig::new("test", endpoints),
        StoreConfig::new(trace.path()),
    );
    recorder.following().await;
    let mut workload = Workload::new(31);
    // The member it is connected to goes, then comes back and the next one goes, …
    for gone in 0..3 {
        members[gone].kill();
        let mut client = members[(gone + 1) % 3].client().await;
        let reached = eventually("a write succeeds again", async || {
            workload.write(&mut client).await.ok()?;
            Some(revision(&mut client).await)
        })
        .await;
        recorder.recorded(reached).await;
        Etcd::run_together(&mut members);
    }
    // Two of three gone: no leader, no writes, and a watch that ends instead of being silent.
    members[0].kill();
    members[1].kill();
    recorder
        .status("notices", |status| status == LedgerStatus::Connecting)
        .await;
    Etcd::run_together(&mut members);
    let mut client = members[2].client().await;
    let last = workload.writes(&mut client, 20).await;
    recorder.recorded(last).await;
    recorder.stop().await;
    assert_recorded(trace.path(), &mut client, last).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_frozen_etcd_is_noticed() {
    let etcd = Etcd::start();
    let trace = TempDir::new().unwrap();
    let mut config = config(&etcd.endpoint());
    config.connect.keep_alive_interval = Duration::from_secs(5);
    config.connect.keep_alive_timeout = Duration::from_secs(1);
    config.connect.call_timeout = Duration::from_secs(1);
    let recorder = Recorder::start_with(config, StoreConfig::new(trace.path()));
    recorder.following().await;
    let mut client = etcd.client().await;
    let mut workload = Workload::new(32);
    let before = workload.writes(&mut client, 20).await;
    recorder.recorded(before).await;
    etcd.freeze();
    interrupted(&recorder, &["broken", "call_failed"], 2).await;
    etcd.thaw();
    let mut client = etcd.client().await;
    let last = workload.writes(&mut client, 20).await;
    recorder.recorded(last).await;
    recorder.stop().await;
    assert_recorded(trace.path(), &mut client, last).await;
}

/// What the relay sees of a restored etcd, clients may have seen before the ledger does.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_seen_of_a_restored_etcd_is_not_of_the_old_epoch() {
    let mut etcd = Etcd::start();
    let trace = TempDir::new().unwrap();
    let recorder = Recorder::start(&etcd.endpoint(), trace.path());
    recorder.following().await;
    let mut client = etcd.client().await;
    let before = Workload::new(35).writes(&mut client, 20).await;
    recorder.recorded(before).await;
    // Filled in by the store as calls are.
    let see = |number| {
        let gap = Gap {
            cluster_id: None,
            epoch: None,
            instance: "test".to_owned(),
            kind: GapKind::UnparsedConnection,
            covers_revisions: false,
            from_revision: None,
            to_revision: None,
            count: Some(number),
            from: None,
            to: None,
            detail: None,
        };
        recorder.store.try_append(Rows::Gaps(vec![gap])).unwrap();
    };
    see(1);
    etcd.kill();
    interrupted(&recorder, &["broken", "call_failed"], 2).await;
    see(2);
    etcd.forget_data("test");
    etcd.run();
    recorder.sees_an_empty_etcd().await;
    recorder.following().await;
    see(3);
    recorder.stop().await;

    let gaps = trace::gaps(trace.path());
    let epoch_of = |number| {
        let found = gaps.iter().find(|gap| gap.count == Some(number));
        found.unwrap().epoch
    };
    assert_eq!(epoch_of(1), Some(0));
    // None if etcd took longer to start than rows wait.
    assert_ne!(epoch_of(2), Some(0));
    assert_eq!(epoch_of(3), Some(1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_ledger_waits_until_it_is_let_in() {
    let etcd = Etcd::start();
    let trace = TempDir::new().unwrap();
    let recorder = Recorder::start(&etcd.endpoint(), trace.path());
    recorder.following().await;
    let mut client = etcd.client().await;
    let mut workload = Workload::new(33);
    let before = workload.writes(&mut client, 20).await;
    recorder.recorded(before).await;
    etcd.etcdctl(&["user", "add", "root:secret"]);
    etcd.etcdctl(&["user", "grant-role", "root", "root"]);
    etcd.etcdctl(&["auth", "enable"]);
    // The open watch stays; a new one is refused.
    let other_trace = TempDir::new().unwrap();
    let refused = Recorder::start(&etcd.endpoint(), other_trace.path());
    interrupted(&refused, &["call_failed", "cancelled"], 3).await;
    etcd.etcdctl(&["--user=root:secret", "auth", "disable"]);
    refused.following().await;
    let last = workload.writes(&mut client, 20).await;
    recorder.recorded(last).await;
    refused.recorded(last).await;
    recorder.stop().await;
    refused.stop().await;
    assert_recorded(trace.path(), &mut client, last).await;
}

/// The folder of a table is taken away and given back. Segments are small, so that the store soon
/// needs the folder.
#[tokio::test(flavor = "multi_thread")]
async fn a_trace_folder_that_cannot_be_written_delays_changes() {
    let etcd = Etcd::start();
    let trace = TempDir::new().unwrap();
    let mut store = StoreConfig::new(trace.path());
    store.max_segment_rows = 25;
    store.flush_interval = Duration::from_millis(20);
    let recorder = Recorder::start_with(config(&etcd.endpoint()), store);
    recorder.following().await;
    let mut client = etcd.client().await;
    let mut workload = Workload::new(34);
    let before = workload.writes(&mut client, 60).await;
    recorder.recorded(before).await;
    recorder.store.flush().await.unwrap();
    let (folder, away) = (trace.path().join("changes"), trace.path().join("away"));
    // A journal that is being sealed while its folder is on the way would be taken for removed.
    eventually("all journals but the open one are sealed", async || {
        let files = trace::files(&folder);
        let hidden = files.iter().filter(|file| {
            let name = file.file_name().unwrap_or_default();
            name.to_string_lossy().starts_with('.')
        });
        (hidden.count() <= 1).then_some(())
    })
    .await;
    std::fs::rename(&folder, &away).unwrap();
    std::fs::write(&folder, "in the way").unwrap();
    // Nothing is accepted while it lasts, and the watch is given up.
    eventually("the store fails", async || {
        workload.write(&mut client).await.unwrap();
        (*recorder.metrics.status().borrow() == LedgerStatus::Connecting).then_some(())
    })
    .await;
    workload.writes(&mut client, 50).await;
    std::fs::remove_file(&folder).unwrap();
    std::fs::rename(&away, &folder).unwrap();
    let last = workload.writes(&mut client, 50).await;
    recorder.recorded(last).await;
    recorder.stop().await;
    let changes = trace::changes(trace.path());
    assert_complete(&changes, 2, last);
    assert_eq!(recorded(&changes), watched(&mut client, 2, last).await);
}
