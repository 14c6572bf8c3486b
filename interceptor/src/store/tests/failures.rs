//! A disk that refuses: nothing accepted is lost, nothing is there twice, and what was refused is
//! told.

use cascade_proto::tables::{Call, Change, Gap, GapKind};

use super::super::files::Step;
use super::super::{Rejected, Rows, Store, StoreError};
use super::support::*;

/// Every kind of step between an append and a durable row.
const STEPS: &[Step] = &[
    Step::CreateFolder,
    Step::CreateFile,
    Step::Write,
    Step::SyncFile,
    Step::SyncFolder,
];

#[tokio::test]
async fn accepted_rows_outlive_a_failing_disk_and_refused_calls_are_counted() {
    for step in STEPS {
        let trace = folder_in_memory();
        let disk = BadDisk::default();
        let clock = SetClock::at(THREE_O_CLOCK);
        let (store, _) = open_with(config(trace.path()), disk.files(), &clock);
        store.set_identity(identity(0));

        disk.refuse(*step);
        store.append(revisions(2..=9)).await.unwrap();
        store.append(Rows::Checkpoint(checkpoint(9))).await.unwrap();
        let error = store.flush().await.unwrap_err();
        assert!(
            matches!(error, StoreError::Failing { .. }),
            "{step:?}: {error}"
        );
        assert_eq!(store.durable().borrow().change, None, "{step:?}");
        let error = store.append(revisions(10..=11)).await.unwrap_err();
        assert!(
            matches!(error, StoreError::Failing { .. }),
            "{step:?}: {error}"
        );
        for number in 1..=3 {
            assert_eq!(
                store.try_append(Rows::Calls(vec![call(number)])),
                Err(Rejected::Failing)
            );
        }

        disk.recover();
        clock.set(THREE_O_CLOCK + 60 * SECOND);
        store.flush().await.unwrap();
        store.writable().await.unwrap();
        assert_eq!(
            store.durable().borrow().checkpoint,
            Some(checkpoint(9)),
            "{step:?}"
        );
        // The ledger does not know what became of its last append, and starts a little early.
        store.append(revisions(8..=11)).await.unwrap();
        store.try_append(Rows::Calls(vec![call(4)])).unwrap();
        store.close().await.unwrap();

        let stored: Vec<Change> = (2..=11).flat_map(|at| revision(0, at)).collect();
        assert_eq!(sealed_rows::<Change>(trace.path()), stored, "{step:?}");
        assert_eq!(sealed_rows::<Call>(trace.path()).len(), 1, "{step:?}");
        let gaps = sealed_rows::<Gap>(trace.path());
        assert_eq!(gaps.len(), 1, "{step:?}: {gaps:?}");
        assert_eq!(gaps[0].kind, GapKind::Storage);
        assert_eq!(gaps[0].count, Some(3));
        assert!(!gaps[0].covers_revisions);
        assert_eq!(gaps[0].from.unwrap().unix_nano, THREE_O_CLOCK);
        assert_eq!(gaps[0].to.unwrap().unix_nano, THREE_O_CLOCK + 60 * SECOND);
        assert_eq!(gaps[0].epoch, Some(0));
    }
}

/// Appends and flushes until that works, as the ledger does: what was accepted is not handed in
/// again.
async fn insist(store: &Store, rows: Rows, disk: &BadDisk) {
    if store.append(rows.clone()).await.is_err() {
        disk.recover();
        store.flush().await.unwrap();
        store.append(rows).await.unwrap();
    }
    if store.flush().await.is_err() {
        disk.recover();
        store.flush().await.unwrap();
    }
}

#[tokio::test]
async fn the_disk_may_begin_to_refuse_at_any_step() {
    for steps in 0.. {
        let trace = folder_in_memory();
        let disk = BadDisk::default();
        let clock = SetClock::at(THREE_O_CLOCK);
        let (store, _) = open_with(config(trace.path()), disk.files(), &clock);
        disk.refuse_after(steps);
        for at in [2, 5, 8] {
            insist(&store, revisions(at..=at + 2), &disk).await;
            insist(&store, Rows::Calls(vec![call(at)]), &disk).await;
            insist(&store, Rows::Checkpoint(checkpoint(at + 2)), &disk).await;
            clock.set(THREE_O_CLOCK + 1800 * at * SECOND);
        }
        disk.recover();
        let durable = store.durable();
        store.close().await.unwrap();
        assert_eq!(durable.borrow().checkpoint, Some(checkpoint(10)));
        let stored: Vec<Change> = (2..=10).flat_map(|at| revision(0, at)).collect();
        assert_eq!(sealed_rows::<Change>(trace.path()), stored, "{steps}");
        assert_eq!(sealed_rows::<Call>(trace.path()).len(), 3, "{steps}");
        assert!(sealed_rows::<Gap>(trace.path()).len() <= 1, "{steps}");
        if !disk.has_refused() {
            assert!(steps > 30, "{steps} steps");
            return;
        }
    }
}

#[tokio::test]
async fn a_journal_that_cannot_be_sealed_is_kept() {
    let trace = tempfile::tempdir().unwrap();
    let disk = BadDisk::default();
    let clock = SetClock::at(THREE_O_CLOCK);
    let (store, _) = open_with(config(trace.path()), disk.files(), &clock);
    store.append(revisions(2..=9)).await.unwrap();
    store.flush().await.unwrap();
    disk.refuse(Step::CreateFile);
    let error = store.close().await.unwrap_err();
    assert!(
        matches!(error, StoreError::Unsealed { journals: 1 }),
        "{error}"
    );

    let (store, recovered) = Store::open(config(trace.path())).unwrap();
    assert_eq!(recovered.last_change, Some(change(0, 9, 1, 2)));
    store.close().await.unwrap();
    let stored: Vec<Change> = (2..=9).flat_map(|at| revision(0, at)).collect();
    assert_eq!(sealed_rows::<Change>(trace.path()), stored);
    assert_eq!(journal_rows::<Change>(trace.path()), []);
}
