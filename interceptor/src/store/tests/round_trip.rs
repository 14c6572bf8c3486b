//! What goes in comes out.

use cascade_proto::tables::{Call, Change, Gap, State, metadata_keys};

use super::super::{Rows, Store};
use super::support::*;

#[tokio::test]
async fn rows_of_every_table_survive_journal_and_parquet() {
    let trace = tempfile::tempdir().unwrap();
    let (store, recovered) = Store::open(config(trace.path())).unwrap();
    assert_eq!(recovered, super::super::Recovered::default());
    store.set_identity(identity(0));

    let changes: Vec<Change> = (2..50).flat_map(|at| revision(0, at)).collect();
    let states: Vec<State> = (1..20).map(|at| state(30, at)).collect();
    let calls: Vec<Call> = (2..50).map(call).collect();
    store.append(Rows::Changes(changes.clone())).await.unwrap();
    store.append(Rows::States(states.clone())).await.unwrap();
    store.try_append(Rows::Calls(calls.clone())).unwrap();
    store.append(Rows::Gaps(vec![gap()])).await.unwrap();
    store.flush().await.unwrap();

    let mut calls_filled = calls;
    for call in &mut calls_filled {
        call.cluster_id = Some(CLUSTER.to_owned());
        call.epoch = Some(0);
    }
    let mut gap_filled = gap();
    gap_filled.cluster_id = Some(CLUSTER.to_owned());
    gap_filled.epoch = Some(0);
    assert_eq!(journal_rows::<Change>(trace.path()), changes);
    assert_eq!(journal_rows::<State>(trace.path()), states);
    assert_eq!(journal_rows::<Call>(trace.path()), calls_filled);
    assert_eq!(journal_rows::<Gap>(trace.path()), [gap_filled.clone()]);

    store.close().await.unwrap();
    assert_eq!(journal_rows::<Change>(trace.path()), []);
    assert_eq!(sealed_rows::<Change>(trace.path()), changes);
    assert_eq!(sealed_rows::<State>(trace.path()), states);
    assert_eq!(sealed_rows::<Call>(trace.path()), calls_filled);
    assert_eq!(sealed_rows::<Gap>(trace.path()), [gap_filled]);

    let file = table_files(trace.path(), "changes").remove(0);
    let value = |key| footer(&file, key);
    assert_eq!(value(metadata_keys::SCHEMA_VERSION).as_deref(), Some("1"));
    assert_eq!(value(metadata_keys::TABLE).as_deref(), Some("changes"));
    assert_eq!(value(metadata_keys::PRODUCER).as_deref(), Some("tests 1"));
    assert_eq!(value(metadata_keys::INSTANCE).as_deref(), Some("test"));
    assert_eq!(value(metadata_keys::CLUSTER_ID).as_deref(), Some(CLUSTER));
    assert_eq!(value(metadata_keys::FIRST_REVISION).as_deref(), Some("2"));
    assert_eq!(value(metadata_keys::LAST_REVISION).as_deref(), Some("49"));
    assert_eq!(value(metadata_keys::DROPPED), None);
    let segment = value(metadata_keys::SEGMENT).unwrap();
    assert!(
        file.to_str()
            .unwrap()
            .ends_with(&format!("/test-{segment}.parquet"))
    );
    let file = table_files(trace.path(), "calls").remove(0);
    assert_eq!(footer(&file, metadata_keys::DROPPED).as_deref(), Some("0"));
}

#[tokio::test]
async fn a_second_process_goes_on_where_the_first_ended() {
    let trace = tempfile::tempdir().unwrap();
    let (store, _) = Store::open(config(trace.path())).unwrap();
    store.append(revisions(2..=10)).await.unwrap();
    store
        .append(Rows::Checkpoint(checkpoint(10)))
        .await
        .unwrap();
    store.append(revisions(11..=12)).await.unwrap();
    store.close().await.unwrap();

    let (store, recovered) = Store::open(config(trace.path())).unwrap();
    assert_eq!(recovered.checkpoint, Some(checkpoint(10)));
    assert_eq!(recovered.last_change, Some(change(0, 12, 1, 2)));
    assert!(!recovered.interrupted);
    assert!(recovered.last_alive.is_some());
    assert_eq!(
        store.durable().borrow().change.as_ref().unwrap().revision,
        12
    );

    // Handed in again: stored once.
    store.append(revisions(9..=14)).await.unwrap();
    store.close().await.unwrap();
    let stored: Vec<Change> = (2..=14).flat_map(|at| revision(0, at)).collect();
    assert_eq!(sealed_rows::<Change>(trace.path()), stored);
}
