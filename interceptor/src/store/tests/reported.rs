//! Mergelogs and spans: whoever posts them waits until they are durable.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use cascade_proto::tables::{Call, Mergelog, Span, metadata_keys};
use futures::future::join_all;

use super::super::files::{Files, Step};
use super::super::{Rows, Store, StoreError};
use super::support::*;

#[tokio::test]
async fn acknowledged_rows_survive_a_power_loss() {
    let trace = folder_in_memory();
    let clock = SetClock::at(THREE_O_CLOCK);
    let (store, _) = open_with(config(trace.path()), Files::default(), &clock);
    // A call that waits for the ledger to say which cluster it is of.
    store.try_append(Rows::Calls(vec![call(1)])).unwrap();
    let mergelogs = vec![mergelog(3), mergelog(4)];
    store
        .append(Rows::Mergelogs(mergelogs.clone()))
        .await
        .unwrap();
    store.append(Rows::Spans(vec![span(3)])).await.unwrap();
    store.acknowledge().await.unwrap();

    // What is on the disk now, opened by another process.
    let copy = folder_in_memory();
    copy_folder(trace.path(), copy.path());
    assert_eq!(
        journal_rows::<Call>(copy.path()),
        [],
        "posts must not push calls out before their cluster is known"
    );
    let (recovered, _) = Store::open(config(copy.path())).unwrap();
    recovered.close().await.unwrap();
    assert_eq!(sealed_rows::<Mergelog>(copy.path()), mergelogs);
    assert_eq!(sealed_rows::<Span>(copy.path()), [span(3)]);
    store.close().await.unwrap();
}

#[tokio::test]
async fn rows_accepted_by_a_failing_disk_are_not_acknowledged_and_not_lost() {
    for step in [Step::Write, Step::SyncFile] {
        let trace = folder_in_memory();
        let disk = BadDisk::default();
        let clock = SetClock::at(THREE_O_CLOCK);
        let (store, _) = open_with(config(trace.path()), disk.files(), &clock);
        disk.refuse(step);
        store
            .append(Rows::Mergelogs(vec![mergelog(3)]))
            .await
            .unwrap();
        for _ in 0..2 {
            let error = store.acknowledge().await.unwrap_err();
            assert!(matches!(error, StoreError::Failing { .. }), "{error}");
        }
        let refused = store.append(Rows::Mergelogs(vec![mergelog(4)])).await;
        assert!(matches!(refused, Err(StoreError::Failing { .. })));

        disk.recover();
        store.flush().await.unwrap();
        store.acknowledge().await.unwrap();
        assert_eq!(journal_rows::<Mergelog>(trace.path()), [mergelog(3)]);
        store.close().await.unwrap();
        assert_eq!(sealed_rows::<Mergelog>(trace.path()), [mergelog(3)]);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn posts_that_wait_at_the_same_time_share_an_fsync() {
    const POSTS: i64 = 50;
    let trace = folder_in_memory();
    let disk = Arc::new(SlowDisk::default());
    let clock = SetClock::at(THREE_O_CLOCK);
    let (store, _) = open_with(config(trace.path()), disk.files(), &clock);

    disk.held.store(true, Ordering::SeqCst);
    let post = |number| {
        let store = store.clone();
        tokio::spawn(async move {
            store
                .append(Rows::Mergelogs(vec![mergelog(number)]))
                .await
                .unwrap();
            store.acknowledge().await.unwrap();
        })
    };
    let first = post(1);
    disk.reached(1).await;
    let others: Vec<_> = (2..=POSTS).map(post).collect();
    let metrics = store.metrics.clone();
    wait_until(|| metrics.queued_rows.get() == POSTS - 1).await;
    disk.held.store(false, Ordering::SeqCst);
    first.await.unwrap();
    for posted in join_all(others).await {
        posted.unwrap();
    }
    let syncs = disk.syncs.load(Ordering::SeqCst);
    assert!(syncs < 10, "{syncs} fsyncs for {POSTS} posts");
    store.close().await.unwrap();
    assert_eq!(sealed_rows::<Mergelog>(trace.path()).len(), POSTS as usize);
}

/// A disk whose fsyncs wait while somebody holds it.
#[derive(Default)]
struct SlowDisk {
    held: AtomicBool,
    syncs: AtomicUsize,
}

impl SlowDisk {
    fn files(self: &Arc<Self>) -> Files {
        let disk = Arc::clone(self);
        Files::with_hook(Arc::new(move |step, path| {
            if step == Step::SyncFile && has_extension(path, "journal") {
                disk.syncs.fetch_add(1, Ordering::SeqCst);
                while disk.held.load(Ordering::SeqCst) {
                    std::thread::sleep(Duration::from_millis(1));
                }
            }
            Ok(Box::new(()))
        }))
    }

    async fn reached(&self, syncs: usize) {
        wait_until(|| self.syncs.load(Ordering::SeqCst) >= syncs).await;
    }
}

#[tokio::test]
async fn they_belong_to_no_cluster() {
    let trace = folder_in_memory();
    let clock = SetClock::at(THREE_O_CLOCK);
    let (store, _) = open_with(config(trace.path()), Files::default(), &clock);
    for epoch in 0..2 {
        store.set_identity(identity(epoch));
        store
            .append(Rows::Mergelogs(vec![mergelog(epoch.into())]))
            .await
            .unwrap();
    }
    store.close().await.unwrap();
    let files = table_files(trace.path(), "mergelogs");
    assert_eq!(
        files.len(),
        1,
        "another epoch is no reason for another file"
    );
    assert_eq!(footer(&files[0], metadata_keys::CLUSTER_ID), None);
}
