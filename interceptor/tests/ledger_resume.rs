//! The ledger across its own end: what is recorded goes on without a loss or a repetition, and what
//! cannot go on is told.

// Helpers of tests fail by panicking, but clippy's exemption covers `#[test]` functions only.
#![allow(clippy::unwrap_used)]

mod support;

use std::collections::BTreeSet;

use cascade_interceptor::store::StoreConfig;
use cascade_proto::tables::{Change, Gap, GapKind, Op, State};
use support::oracle::{assert_complete, existing, recorded, replayed, states_as_told, watched};
use support::{Etcd, Recorder, RecorderProcess, Workload, config, eventually, revision, trace};
use tempfile::TempDir;

/// Kind, whether changes are missing, first and last revision, count.
type GapSummary = (GapKind, bool, Option<i64>, Option<i64>, Option<i64>);

fn summaries(gaps: &[Gap]) -> Vec<GapSummary> {
    let summary = |gap: &Gap| {
        (
            gap.kind,
            gap.covers_revisions,
            gap.from_revision,
            gap.to_revision,
            gap.count,
        )
    };
    gaps.iter().map(summary).collect()
}

fn of_epoch(changes: &[Change], epoch: i32) -> Vec<Change> {
    let of_epoch = changes.iter().filter(|change| change.epoch == epoch);
    of_epoch.cloned().collect()
}

fn of_snapshot(states: &[State], epoch: i32, revision: i64) -> Vec<State> {
    let of_snapshot = states
        .iter()
        .filter(|state| state.epoch == epoch && state.snapshot_revision == revision);
    of_snapshot.cloned().collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_is_told_and_loses_nothing() {
    let etcd = Etcd::start();
    let mut client = etcd.client().await;
    let mut workload = Workload::new(11);
    let trace = TempDir::new().unwrap();
    let recorder = Recorder::start(&etcd.endpoint(), trace.path());
    recorder.following().await;
    let stopped_at = workload.writes(&mut client, 50).await;
    recorder.recorded(stopped_at).await;
    recorder.stop().await;

    let while_down = workload.writes(&mut client, 50).await;
    let recorder = Recorder::start(&etcd.endpoint(), trace.path());
    recorder.recorded(while_down).await;
    recorder.stop().await;
    // And once more with nothing written meanwhile.
    let recorder = Recorder::start(&etcd.endpoint(), trace.path());
    recorder.following().await;
    assert_eq!(recorder.metrics.durable_revision.get(), while_down);
    let last = workload.writes(&mut client, 20).await;
    recorder.recorded(last).await;
    recorder.stop().await;

    let changes = trace::changes(trace.path());
    assert_complete(&changes, 2, last);
    assert_eq!(recorded(&changes), watched(&mut client, 2, last).await);
    assert!(changes.iter().all(|change| change.epoch == 0));
    let gaps = trace::gaps(trace.path());
    assert_eq!(
        summaries(&gaps),
        [
            (GapKind::Restart, false, None, None, None),
            (
                GapKind::Restart,
                false,
                Some(stopped_at + 1),
                Some(while_down),
                None
            ),
        ]
    );
    for gap in &gaps {
        let (from, to) = (gap.from.unwrap(), gap.to.unwrap());
        assert!(from < to, "{gap:?}");
    }
}

/// Not a test of its own: what the child processes of the next one run.
#[tokio::test(flavor = "multi_thread")]
async fn recorder_process() {
    RecorderProcess::entry().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn kills_lose_and_repeat_nothing() {
    let etcd = Etcd::start();
    let mut client = etcd.client().await;
    let trace = TempDir::new().unwrap();
    let mut workload = Workload::new(12);
    let writer_endpoint = etcd.endpoint();
    let stop_writing = tokio_util::sync::CancellationToken::new();
    let first = workload.writes(&mut client, 30).await;
    let writer = tokio::spawn({
        let stop_writing = stop_writing.clone();
        async move {
            let mut client = etcd_client::Client::connect([writer_endpoint], None)
                .await
                .unwrap();
            while !stop_writing.is_cancelled() {
                workload.write(&mut client).await.unwrap();
            }
        }
    });
    let mut wanted = first + 1;
    for _ in 0..5 {
        let mut process =
            RecorderProcess::start("recorder_process", &etcd.endpoint(), trace.path());
        wanted = tokio::task::spawn_blocking(move || {
            process.recorded(wanted);
            process.kill();
            wanted + 150
        })
        .await
        .unwrap();
        eventually("more is written", async || {
            (revision(&mut client).await >= wanted).then_some(())
        })
        .await;
    }
    stop_writing.cancel();
    writer.await.unwrap();
    let last = revision(&mut client).await;
    let recorder = Recorder::start(&etcd.endpoint(), trace.path());
    recorder.recorded(last).await;
    recorder.stop().await;

    let changes = trace::changes(trace.path());
    let begin = changes.first().unwrap().revision;
    assert_complete(&changes, begin, last);
    assert_eq!(recorded(&changes), watched(&mut client, begin, last).await);
    let gaps = trace::gaps(trace.path());
    assert!(
        gaps.iter()
            .all(|gap| gap.kind == GapKind::Restart && !gap.covers_revisions)
    );
    // A kill may come before the snapshot is complete: then it is abandoned, which a gap tells, and the next process
    // takes another one.
    let states = trace::states(trace.path());
    let snapshots: BTreeSet<i64> = states.iter().map(|state| state.snapshot_revision).collect();
    let complete = *snapshots.last().unwrap();
    for abandoned in snapshots.iter().filter(|snapshot| **snapshot != complete) {
        assert!(
            gaps.iter()
                .any(|gap| gap.from_revision == Some(*abandoned)
                    && gap.to_revision == Some(*abandoned)),
            "nothing tells that the snapshot at {abandoned} is not complete"
        );
    }
    assert_eq!(
        states_as_told(&of_snapshot(&states, 0, complete)),
        existing(&mut client, complete).await
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn compaction_while_down_is_a_gap_and_a_new_snapshot() {
    let etcd = Etcd::start();
    let mut client = etcd.client().await;
    let mut workload = Workload::new(13);
    let trace = TempDir::new().unwrap();
    let recorder = Recorder::start(&etcd.endpoint(), trace.path());
    recorder.following().await;
    let stopped_at = workload.writes(&mut client, 60).await;
    recorder.recorded(stopped_at).await;
    recorder.stop().await;

    let compacted = workload.writes(&mut client, 60).await;
    let restarted_at = workload.writes(&mut client, 60).await;
    let before = watched(&mut client, 2, stopped_at).await;
    etcd.compact(compacted).await;
    let recorder = Recorder::start(&etcd.endpoint(), trace.path());
    // The snapshot is owed until then.
    recorder.recorded(restarted_at).await;
    let last = workload.writes(&mut client, 60).await;
    recorder.recorded(last).await;
    recorder.stop().await;

    let changes = trace::changes(trace.path());
    let (old, new): (Vec<_>, Vec<_>) = changes
        .into_iter()
        .partition(|change| change.revision <= stopped_at);
    assert_complete(&old, 2, stopped_at);
    assert_eq!(recorded(&old), before);
    // What etcd still had is there: only what was compacted is missing.
    assert_complete(&new, compacted + 1, last);
    assert_eq!(
        recorded(&new),
        watched(&mut client, compacted + 1, last).await
    );
    assert_eq!(
        summaries(&trace::gaps(trace.path())),
        [
            (
                GapKind::Compacted,
                true,
                Some(stopped_at + 1),
                Some(compacted),
                Some(compacted - stopped_at)
            ),
            (
                GapKind::Restart,
                false,
                Some(stopped_at + 1),
                Some(restarted_at),
                None
            ),
        ]
    );
    let states = of_snapshot(&trace::states(trace.path()), 0, compacted);
    assert_eq!(
        states_as_told(&states),
        existing(&mut client, compacted).await
    );
    assert_eq!(
        replayed(&states, &new, last),
        existing(&mut client, last).await
    );
}

/// A delete or update whose previous value is compacted says so by NULL.
#[tokio::test(flavor = "multi_thread")]
async fn previous_values_that_are_gone_are_null() {
    let etcd = Etcd::start();
    let mut client = etcd.client().await;
    let trace = TempDir::new().unwrap();
    let recorder = Recorder::start(&etcd.endpoint(), trace.path());
    recorder.following().await;
    client.put("/registry/pods/ns/a", "1", None).await.unwrap();
    client.put("/registry/pods/ns/b", "1", None).await.unwrap();
    let stopped_at = revision(&mut client).await;
    recorder.recorded(stopped_at).await;
    recorder.stop().await;
    client.put("/registry/pods/ns/a", "2", None).await.unwrap();
    client.delete("/registry/pods/ns/b", None).await.unwrap();
    let last = revision(&mut client).await;
    // A watch may begin at the compact revision itself, but what was before it is gone.
    etcd.compact(stopped_at + 1).await;
    let recorder = Recorder::start(&etcd.endpoint(), trace.path());
    recorder.recorded(last).await;
    recorder.stop().await;
    let changes = trace::changes(trace.path());
    assert_complete(&changes, 2, last);
    let update = &changes[2];
    assert_eq!((update.op, update.prev_revision), (Op::Update, None));
    assert_eq!((update.create_revision, update.version), (Some(2), Some(2)));
    assert_eq!((&update.changed, &update.object.writers), (&None, &None));
    let delete = &changes[3];
    assert_eq!((delete.op, delete.prev_revision), (Op::Delete, Some(3)));
}

#[tokio::test(flavor = "multi_thread")]
async fn too_long_a_backlog_is_given_up() {
    let etcd = Etcd::start();
    let mut client = etcd.client().await;
    let mut workload = Workload::new(14);
    let trace = TempDir::new().unwrap();
    let limited = || {
        let mut config = config(&etcd.endpoint());
        config.max_catchup_revisions = 40;
        Recorder::start_with(config, StoreConfig::new(trace.path()))
    };
    let recorder = limited();
    recorder.following().await;
    let stopped_at = workload.writes(&mut client, 30).await;
    recorder.recorded(stopped_at).await;
    recorder.stop().await;
    let restarted_at = workload.writes(&mut client, 80).await;
    let recorder = limited();
    recorder.following().await;
    let last = workload.writes(&mut client, 30).await;
    recorder.recorded(last).await;
    recorder.stop().await;

    let changes = trace::changes(trace.path());
    let (old, new): (Vec<_>, Vec<_>) = changes
        .into_iter()
        .partition(|change| change.revision <= stopped_at);
    assert_complete(&old, 2, stopped_at);
    assert_complete(&new, restarted_at + 1, last);
    let gaps = trace::gaps(trace.path());
    assert_eq!(
        summaries(&gaps),
        [
            (
                GapKind::CatchupLimit,
                true,
                Some(stopped_at + 1),
                Some(restarted_at),
                Some(restarted_at - stopped_at)
            ),
            (
                GapKind::Restart,
                false,
                Some(stopped_at + 1),
                Some(restarted_at),
                None
            ),
        ]
    );
    let states = of_snapshot(&trace::states(trace.path()), 0, restarted_at);
    assert_eq!(
        replayed(&states, &new, last),
        existing(&mut client, last).await
    );
}

/// The hard case of a restore: by the time the ledger looks, the other history is longer than the
/// recorded one, of the same cluster, and even of the same raft term.
#[tokio::test(flavor = "multi_thread")]
async fn a_restored_etcd_is_recognised_though_it_is_ahead() {
    let mut etcd = Etcd::start();
    let trace = TempDir::new().unwrap();
    let mut client = etcd.client().await;
    Workload::new(15).writes(&mut client, 20).await;
    etcd.stop();
    let backup = etcd.save_data();
    etcd.run();
    let mut client = etcd.client().await;
    let recorder = Recorder::start(&etcd.endpoint(), trace.path());
    recorder.following().await;
    let begin = revision(&mut client).await;
    let parted_at = Workload::new(16).writes(&mut client, 40).await;
    recorder.recorded(parted_at).await;
    recorder.stop().await;
    let old_history = watched(&mut client, begin + 1, parted_at).await;

    etcd.stop();
    etcd.replace_data(&backup);
    etcd.run();
    let mut client = etcd.client().await;
    let restored_at = Workload::new(17).writes(&mut client, 90).await;
    assert!(restored_at > parted_at);
    let recorder = Recorder::start(&etcd.endpoint(), trace.path());
    recorder.following().await;
    let last = Workload::new(18).writes(&mut client, 30).await;
    recorder.recorded(last).await;
    recorder.stop().await;

    let changes = trace::changes(trace.path());
    assert_eq!(recorded(&of_epoch(&changes, 0)), old_history);
    let new = of_epoch(&changes, 1);
    assert_complete(&new, restored_at + 1, last);
    assert_eq!(
        recorded(&new),
        watched(&mut client, restored_at + 1, last).await
    );
    assert_eq!(
        summaries(&trace::gaps(trace.path())),
        [
            (GapKind::Restart, false, None, None, None),
            (GapKind::Restored, true, None, Some(restored_at), None),
        ]
    );
    let states = of_snapshot(&trace::states(trace.path()), 1, restored_at);
    assert_eq!(
        replayed(&states, &new, last),
        existing(&mut client, last).await
    );
}

/// The same while the ledger runs, with an etcd that starts empty.
#[tokio::test(flavor = "multi_thread")]
async fn an_etcd_that_lost_its_disk_is_a_new_epoch() {
    let mut etcd = Etcd::start();
    let mut client = etcd.client().await;
    let trace = TempDir::new().unwrap();
    let recorder = Recorder::start(&etcd.endpoint(), trace.path());
    recorder.following().await;
    let lost = Workload::new(19).writes(&mut client, 40).await;
    recorder.recorded(lost).await;
    etcd.kill();
    etcd.forget_data("test");
    etcd.run();
    recorder.sees_an_empty_etcd().await;
    recorder.following().await;
    let mut client = etcd.client().await;
    let last = Workload::new(20).writes(&mut client, 30).await;
    recorder.recorded(last).await;
    recorder.stop().await;

    let changes = trace::changes(trace.path());
    assert_complete(&of_epoch(&changes, 0), 2, lost);
    let new = of_epoch(&changes, 1);
    assert_complete(&new, 2, last);
    assert_eq!(recorded(&new), watched(&mut client, 2, last).await);
    assert_eq!(
        summaries(&trace::gaps(trace.path())),
        [(GapKind::Restored, false, None, Some(1), None)]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn another_cluster_has_epochs_of_its_own() {
    let mut etcd = Etcd::start();
    let trace = TempDir::new().unwrap();
    let mut client = etcd.client().await;
    Workload::new(21).writes(&mut client, 20).await;
    let recorder = Recorder::start(&etcd.endpoint(), trace.path());
    recorder.following().await;
    let first = Workload::new(22).writes(&mut client, 20).await;
    recorder.recorded(first).await;
    let first_key = recorder.hash_key.get();
    // To another cluster while it runs, and back to one with the first id after a restart.
    etcd.stop();
    etcd.forget_data("other");
    etcd.run();
    recorder.sees_an_empty_etcd().await;
    let mut client = etcd.client().await;
    let second = Workload::new(23).writes(&mut client, 20).await;
    recorder.recorded(second).await;
    assert_ne!(recorder.hash_key.get(), first_key);
    recorder.stop().await;
    etcd.stop();
    etcd.forget_data("test");
    etcd.run();
    let recorder = Recorder::start(&etcd.endpoint(), trace.path());
    recorder.following().await;
    let mut client = etcd.client().await;
    let third = Workload::new(24).writes(&mut client, 20).await;
    recorder.recorded(third).await;
    assert_eq!(recorder.hash_key.get(), first_key);
    recorder.stop().await;

    let changes = trace::changes(trace.path());
    let mut histories: Vec<(&str, i32)> = changes
        .iter()
        .map(|change| (change.cluster_id.as_str(), change.epoch))
        .collect();
    histories.sort_unstable();
    histories.dedup();
    let mut epochs: Vec<i32> = histories.iter().map(|(_, epoch)| *epoch).collect();
    epochs.sort_unstable();
    assert_eq!(epochs, [0, 0, 1], "{histories:?}");
    let returned = of_epoch(&changes, 1);
    assert_complete(&returned, 2, third);
    assert!(histories.contains(&(returned[0].cluster_id.as_str(), 0)));
}

#[tokio::test(flavor = "multi_thread")]
async fn compaction_during_a_snapshot_begins_it_again() {
    let etcd = Etcd::start();
    let mut client = etcd.client().await;
    for index in 0..3_000 {
        let key = format!("/registry/events/ns/{index:04}");
        client.put(key, "x", None).await.unwrap();
    }
    let trace = TempDir::new().unwrap();
    let mut slow = config(&etcd.endpoint());
    slow.snapshot_page_bytes = 1; // one key in a page
    let recorder = Recorder::start_with(slow, StoreConfig::new(trace.path()));
    eventually("the snapshot has begun", async || {
        (recorder.metrics.snapshot_keys.get() > 0).then_some(())
    })
    .await;
    client
        .put("/registry/events/ns/later", "x", None)
        .await
        .unwrap();
    let compacted = revision(&mut client).await;
    etcd.compact(compacted).await;
    recorder.following().await;
    assert_eq!(recorder.metrics.snapshot_restarts.get(), 1);
    let last = Workload::new(25).writes(&mut client, 20).await;
    recorder.recorded(last).await;
    recorder.stop().await;

    let changes = trace::changes(trace.path());
    assert_complete(&changes, compacted, last);
    let states = of_snapshot(&trace::states(trace.path()), 0, compacted);
    assert_eq!(states.len(), 3_001);
    assert_eq!(
        states_as_told(&states),
        existing(&mut client, compacted).await
    );
    let abandoned = Some(compacted - 1);
    assert_eq!(
        summaries(&trace::gaps(trace.path())),
        [(GapKind::Compacted, false, abandoned, abandoned, None)]
    );
}

/// A snapshot goes on where it stopped when the connection breaks, and is abandoned, and told to be,
/// when the process ends.
#[tokio::test(flavor = "multi_thread")]
async fn an_interrupted_snapshot_goes_on_or_is_told() {
    let mut etcd = Etcd::start();
    let mut client = etcd.client().await;
    for index in 0..1_500 {
        let key = format!("/registry/events/ns/{index:04}");
        client.put(key, "x", None).await.unwrap();
    }
    let begin = revision(&mut client).await;
    let trace = TempDir::new().unwrap();
    let slow = |endpoint: &str| {
        let mut slow = config(endpoint);
        slow.snapshot_page_bytes = 1;
        Recorder::start_with(slow, StoreConfig::new(trace.path()))
    };
    let begun = async |recorder: &Recorder| {
        eventually("the snapshot has begun", async || {
            (recorder.metrics.snapshot_keys.get() > 50).then_some(())
        })
        .await;
    };
    let recorder = slow(&etcd.endpoint());
    begun(&recorder).await;
    recorder.stop().await;

    client
        .put("/registry/events/ns/later", "x", None)
        .await
        .unwrap();
    let recorder = slow(&etcd.endpoint());
    begun(&recorder).await;
    etcd.kill_and_restart();
    recorder.following().await;
    assert_eq!(recorder.metrics.snapshots.get(), 1);
    recorder.stop().await;

    let mut client = etcd.client().await;
    let states = trace::states(trace.path());
    assert!(!of_snapshot(&states, 0, begin).is_empty());
    let complete = of_snapshot(&states, 0, begin + 1);
    assert_eq!(complete.len(), 1_501);
    assert_eq!(
        states_as_told(&complete),
        existing(&mut client, begin + 1).await
    );
    assert_complete(&trace::changes(trace.path()), begin + 1, begin + 1);
    assert_eq!(
        summaries(&trace::gaps(trace.path())),
        [
            (GapKind::Restart, false, Some(begin), Some(begin), None),
            (
                GapKind::Restart,
                false,
                Some(begin + 1),
                Some(begin + 1),
                None
            ),
        ]
    );
}
