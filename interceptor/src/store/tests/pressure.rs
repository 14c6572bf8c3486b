//! More than the disk takes: the ledger waits, the observer never does.

use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use cascade_proto::tables::{Call, Change, Gap, GapKind, metadata_keys};

use super::super::files::{Files, Step};
use super::super::{Rejected, Rows, StoreConfig};
use super::support::*;

/// Holds up every write of a journal while it is shut.
#[derive(Clone, Default)]
struct Gate {
    shut: Arc<(Mutex<Shut>, Condvar)>,
}

#[derive(Default)]
struct Shut {
    shut: bool,
    waiting: bool,
}

impl Gate {
    fn files(&self) -> Files {
        let gate = Arc::clone(&self.shut);
        Files::with_hook(Arc::new(move |step, path| {
            let mut state = gate.0.lock().unwrap();
            while state.shut && step == Step::Write && has_extension(path, "journal") {
                state.waiting = true;
                state = gate.1.wait(state).unwrap();
            }
            Ok(Box::new(()))
        }))
    }

    fn shut(&self) {
        self.shut.0.lock().unwrap().shut = true;
    }

    fn open(&self) {
        let mut state = self.shut.0.lock().unwrap();
        *state = Shut::default();
        self.shut.1.notify_all();
    }

    fn is_waited_at(&self) -> bool {
        self.shut.0.lock().unwrap().waiting
    }
}

#[tokio::test]
async fn a_full_queue_refuses_calls_and_one_row_tells_how_many() {
    let trace = tempfile::tempdir().unwrap();
    let gate = Gate::default();
    let clock = SetClock::at(THREE_O_CLOCK);
    let config = StoreConfig {
        observer_queue_rows: 4,
        flush_interval: Duration::from_millis(5),
        ..config(trace.path())
    };
    let (store, _) = open_with(config, gate.files(), &clock);
    store.set_identity(identity(0));
    gate.shut();
    store.append(revisions(2..=3)).await.unwrap();
    wait_until(|| gate.is_waited_at()).await;

    // The writer is held up: four calls fit.
    for number in 1..=4 {
        store.try_append(Rows::Calls(vec![call(number)])).unwrap();
    }
    let mut two_operations = call(6);
    two_operations.op_index = 1;
    let refused = [vec![call(5)], vec![call(6), two_operations], vec![call(7)]];
    for calls in refused {
        assert_eq!(store.try_append(Rows::Calls(calls)), Err(Rejected::Full));
    }
    // What tells of a loss still gets in.
    store.try_append(Rows::Gaps(vec![gap()])).unwrap();
    gate.open();
    let path = trace.path().to_path_buf();
    wait_until(|| journal_rows::<Gap>(&path).len() == 2).await;
    store.try_append(Rows::Calls(vec![call(8)])).unwrap();
    store.close().await.unwrap();

    let streams: Vec<i64> = sealed_rows::<Call>(trace.path())
        .iter()
        .map(|call| call.stream)
        .collect();
    assert_eq!(streams, [1, 2, 3, 4, 8]);
    let gaps: Vec<Gap> = sealed_rows::<Gap>(trace.path())
        .into_iter()
        .filter(|gap| gap.kind == GapKind::ObserverOverflow)
        .collect();
    assert_eq!(gaps.len(), 1, "{gaps:?}");
    assert_eq!(gaps[0].count, Some(3));
    assert_eq!(gaps[0].from, Some(call(5).request));
    assert_eq!(gaps[0].to, Some(call(7).request));
    assert_eq!(gaps[0].cluster_id.as_deref(), Some(CLUSTER));
    assert!(!gaps[0].covers_revisions);
    let sealed = table_files(trace.path(), "calls").remove(0);
    assert_eq!(
        footer(&sealed, metadata_keys::DROPPED).as_deref(),
        Some("3")
    );
}

/// Whoever calls etcd chooses how long keys are: a queue of few rows may be full, too.
#[tokio::test]
async fn a_queue_is_full_by_its_memory_too() {
    let trace = tempfile::tempdir().unwrap();
    let gate = Gate::default();
    let clock = SetClock::at(THREE_O_CLOCK);
    let config = StoreConfig {
        observer_queue_bytes: 256 << 10,
        flush_interval: Duration::from_millis(5),
        ..config(trace.path())
    };
    let metrics = config.metrics.clone();
    let (store, _) = open_with(config, gate.files(), &clock);
    store.set_identity(identity(0));
    gate.shut();
    store.append(revisions(2..=3)).await.unwrap();
    wait_until(|| gate.is_waited_at()).await;
    let before = metrics.queued_bytes.get();
    let large = |number| {
        let mut call = call(number);
        call.key = Some("x".repeat(100 << 10));
        Rows::Calls(vec![call])
    };
    assert_eq!(store.try_append(large(1)), Ok(()));
    assert_eq!(store.try_append(large(2)), Ok(()));
    let queued = metrics.queued_bytes.get() - before;
    assert!((200 << 10..256 << 10).contains(&queued), "{queued}");
    assert_eq!(store.try_append(large(3)), Err(Rejected::Full));
    // What is small still fits.
    store.try_append(Rows::Calls(vec![call(4)])).unwrap();
    gate.open();
    let path = trace.path().to_path_buf();
    wait_until(|| journal_rows::<Gap>(&path).len() == 1).await;
    // Nothing takes more than the whole queue, which is free again.
    let mut huge = call(5);
    huge.key = Some("x".repeat(1 << 20));
    store.try_append(Rows::Calls(vec![huge])).unwrap();
    store.close().await.unwrap();
    assert_eq!(metrics.queued_bytes.get(), 0);
    let streams: Vec<i64> = sealed_rows::<Call>(trace.path())
        .iter()
        .map(|call| call.stream)
        .collect();
    assert_eq!(streams, [1, 2, 4, 5]);
    let gaps = sealed_rows::<Gap>(trace.path());
    let told: Vec<_> = gaps.iter().map(|gap| (gap.kind, gap.count)).collect();
    assert_eq!(told, [(GapKind::ObserverOverflow, Some(1))]);
}

#[tokio::test]
async fn a_full_queue_makes_the_ledger_wait_and_loses_nothing() {
    let trace = tempfile::tempdir().unwrap();
    let gate = Gate::default();
    let clock = SetClock::at(THREE_O_CLOCK);
    let config = StoreConfig {
        ledger_queue_rows: 4,
        flush_interval: Duration::from_millis(5),
        ..config(trace.path())
    };
    let (store, _) = open_with(config, gate.files(), &clock);
    gate.shut();
    store.append(revisions([2])).await.unwrap();
    wait_until(|| gate.is_waited_at()).await;
    let ledger = tokio::spawn({
        let store = store.clone();
        async move {
            for at in 3..=40 {
                store.append(revisions([at])).await.unwrap();
            }
            // More rows than the whole queue holds.
            store.append(revisions(41..=60)).await.unwrap();
        }
    });
    // It cannot have come far, however long it runs.
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    assert!(!ledger.is_finished());
    gate.open();
    ledger.await.unwrap();
    store.close().await.unwrap();
    let stored: Vec<Change> = (2..=60).flat_map(|at| revision(0, at)).collect();
    assert_eq!(sealed_rows::<Change>(trace.path()), stored);
}

#[tokio::test]
async fn an_append_that_is_given_up_leaves_nothing_behind() {
    let trace = tempfile::tempdir().unwrap();
    let gate = Gate::default();
    let clock = SetClock::at(THREE_O_CLOCK);
    let config = StoreConfig {
        ledger_queue_rows: 2,
        flush_interval: Duration::from_millis(5),
        ..config(trace.path())
    };
    let (store, _) = open_with(config, gate.files(), &clock);
    gate.shut();
    store.append(revisions([2])).await.unwrap();
    wait_until(|| gate.is_waited_at()).await;
    store.append(revisions([3])).await.unwrap();
    let waiting = store.append(revisions([4]));
    assert!(tokio::time::timeout(Duration::ZERO, waiting).await.is_err());
    gate.open();
    store.append(revisions([5])).await.unwrap();
    store.close().await.unwrap();
    let revisions: Vec<i64> = sealed_rows::<Change>(trace.path())
        .iter()
        .map(|change| change.revision)
        .collect();
    assert_eq!(revisions, [2, 3, 3, 5]);
}
