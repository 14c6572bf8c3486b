//! Somebody changes the folder while it is written: what is lost is told, the rest goes on.

use std::fs;
use std::path::Path;

use cascade_proto::tables::{Change, Gap, GapKind};

use super::super::files::Files;
use super::super::{Rows, Store, StoreError};
use super::support::*;

fn storage_gaps(trace: &Path) -> Vec<Gap> {
    let mut gaps = sealed_rows::<Gap>(trace);
    gaps.extend(journal_rows::<Gap>(trace));
    gaps.retain(|gap| gap.kind == GapKind::Storage);
    gaps
}

#[tokio::test]
async fn a_journal_that_is_removed_is_told_and_replaced() {
    let trace = tempfile::tempdir().unwrap();
    let (store, _) = Store::open(config(trace.path())).unwrap();
    store.append(revisions(2..=5)).await.unwrap();
    store.flush().await.unwrap();
    fs::remove_dir_all(trace.path().join("changes")).unwrap();
    store.append(revisions(6..=7)).await.unwrap();
    store.flush().await.unwrap();
    assert_eq!(
        store.durable().borrow().change.as_ref().unwrap().revision,
        7
    );
    store.close().await.unwrap();

    let stored: Vec<Change> = (6..=7).flat_map(|at| revision(0, at)).collect();
    assert_eq!(sealed_rows::<Change>(trace.path()), stored);
    let gaps = storage_gaps(trace.path());
    assert_eq!(gaps.len(), 1, "{gaps:?}");
    assert!(gaps[0].covers_revisions);
    assert_eq!(gaps[0].from_revision, Some(2));
    assert_eq!(gaps[0].to_revision, Some(5));
    assert_eq!(gaps[0].count, Some(5));
    assert_eq!(gaps[0].cluster_id.as_deref(), Some(CLUSTER));
}

#[tokio::test]
async fn a_journal_that_is_removed_before_it_is_sealed_is_told() {
    let trace = tempfile::tempdir().unwrap();
    let (store, _) = Store::open(config(trace.path())).unwrap();
    store.append(revisions(2..=5)).await.unwrap();
    store.flush().await.unwrap();
    fs::remove_dir_all(trace.path().join("changes")).unwrap();
    store.close().await.unwrap();
    let gaps = storage_gaps(trace.path());
    assert_eq!(gaps.len(), 1, "{gaps:?}");
    assert!(gaps[0].covers_revisions);
    assert_eq!(gaps[0].from_revision, Some(2));
    assert_eq!(gaps[0].to_revision, Some(5));
    assert_eq!(gaps[0].count, Some(5));
    assert_eq!(gaps[0].instance, "test");
}

#[tokio::test]
async fn a_journal_that_is_damaged_is_sealed_as_far_as_it_is_whole_and_kept() {
    let trace = tempfile::tempdir().unwrap();
    let (store, _) = Store::open(config(trace.path())).unwrap();
    store.append(revisions(2..=5)).await.unwrap();
    store.flush().await.unwrap();
    store.append(revisions(6..=9)).await.unwrap();
    store.flush().await.unwrap();
    let journal = table_files(trace.path(), "changes").remove(0);
    let mut bytes = fs::read(&journal).unwrap();
    let last = bytes.len() - 9;
    bytes[last] ^= 1;
    fs::write(&journal, bytes).unwrap();
    store.close().await.unwrap();

    let stored: Vec<Change> = (2..=5).flat_map(|at| revision(0, at)).collect();
    assert_eq!(sealed_rows::<Change>(trace.path()), stored);
    assert!(
        table_files(trace.path(), "changes")
            .iter()
            .any(|path| has_extension(path, "damaged"))
    );
    let gaps = storage_gaps(trace.path());
    assert_eq!(gaps.len(), 1, "{gaps:?}");
    assert!(gaps[0].covers_revisions);
    assert_eq!(gaps[0].from_revision, Some(6));
    assert_eq!(gaps[0].to_revision, Some(9));
    assert_eq!(gaps[0].count, Some(6));

    // The next process leaves it alone.
    let (store, recovered) = Store::open(config(trace.path())).unwrap();
    assert_eq!(recovered.last_change, Some(change(0, 5, 0, 1)));
    store.close().await.unwrap();
    assert_eq!(sealed_rows::<Change>(trace.path()), stored);
}

#[tokio::test]
async fn a_trace_folder_that_is_moved_away_is_not_made_anew() {
    let folder = tempfile::tempdir().unwrap();
    let trace = folder.path().join("trace");
    let clock = SetClock::at(THREE_O_CLOCK);
    let (store, _) = open_with(config(&trace), Files::default(), &clock);
    store.append(revisions(2..=5)).await.unwrap();
    store.flush().await.unwrap();

    let away = folder.path().join("away");
    fs::rename(&trace, &away).unwrap();
    store.append(revisions(6..=7)).await.unwrap();
    let error = store.flush().await.unwrap_err();
    assert!(matches!(error, StoreError::Failing { .. }), "{error}");
    assert!(error.to_string().contains("removed"), "{error}");
    assert!(!trace.is_dir());

    fs::rename(&away, &trace).unwrap();
    store.flush().await.unwrap();
    store.append(Rows::Checkpoint(checkpoint(7))).await.unwrap();
    store.close().await.unwrap();
    let stored: Vec<Change> = (2..=7).flat_map(|at| revision(0, at)).collect();
    assert_eq!(sealed_rows::<Change>(&trace), stored);
}

#[tokio::test]
async fn a_store_that_is_dropped_writes_what_it_accepted() {
    let trace = tempfile::tempdir().unwrap();
    let (store, _) = Store::open(config(trace.path())).unwrap();
    store.append(revisions(2..=5)).await.unwrap();
    let mut durable = store.durable();
    drop(store);
    // Ends when the writer has gone.
    while durable.changed().await.is_ok() {}
    assert_eq!(durable.borrow().change.as_ref().unwrap().revision, 5);
    let stored: Vec<Change> = (2..=5).flat_map(|at| revision(0, at)).collect();
    assert_eq!(journal_rows::<Change>(trace.path()), stored);

    let (store, recovered) = Store::open(config(trace.path())).unwrap();
    assert_eq!(recovered.last_change, Some(change(0, 5, 0, 1)));
    store.close().await.unwrap();
    assert_eq!(sealed_rows::<Change>(trace.path()), stored);
}
