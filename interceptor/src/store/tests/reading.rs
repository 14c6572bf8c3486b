//! Tables are read back while they are written and sealed.

use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;

use cascade_proto::tables::{Mergelog, Table};

use super::super::files::Files;
use super::super::{Rows, Store, StoreError, Wanted, read_table};
use super::support::*;

fn numbers(trace: &Path, wanted: Option<&Wanted>) -> Result<Vec<i64>, StoreError> {
    let mut found = Vec::new();
    read_table(trace, wanted, |row: Mergelog| {
        found.push(row.new_cpid.parse().unwrap());
        ControlFlow::Continue(())
    })?;
    Ok(found)
}

async fn post(store: &Store, numbers: impl Iterator<Item = i64>) {
    let rows = numbers.map(mergelog).collect();
    store.append(Rows::Mergelogs(rows)).await.unwrap();
    store.acknowledge().await.unwrap();
}

#[tokio::test]
async fn sealed_files_and_journals_are_read_in_order() {
    let trace = folder_in_memory();
    assert!(numbers(trace.path(), None).unwrap().is_empty());
    let clock = SetClock::at(THREE_O_CLOCK);
    let (store, _) = open_with(config(trace.path()), Files::default(), &clock);
    post(&store, 0..3).await;
    assert_eq!(numbers(trace.path(), None).unwrap(), [0, 1, 2]);
    store.close().await.unwrap();
    assert_eq!(numbers(trace.path(), None).unwrap(), [0, 1, 2]);

    // A later hour, and an instance whose name sorts before.
    clock.set(THREE_O_CLOCK + 7200 * SECOND);
    let again = super::super::StoreConfig {
        instance: Some("a".to_owned()),
        ..config(trace.path())
    };
    let (store, _) = open_with(again, Files::default(), &clock);
    post(&store, 3..5).await;
    assert_eq!(numbers(trace.path(), None).unwrap(), [0, 1, 2, 3, 4]);
    let even = Wanted {
        column: "new_cpid",
        keep: Arc::new(|cpid| cpid.parse::<i64>().unwrap() % 2 == 0),
    };
    assert_eq!(numbers(trace.path(), Some(&even)).unwrap(), [0, 2, 4]);

    let mut first = None;
    read_table(trace.path(), None, |row: Mergelog| {
        first = Some(row);
        ControlFlow::Break(())
    })
    .unwrap();
    assert_eq!(first, Some(mergelog(0)));
    store.close().await.unwrap();
}

#[tokio::test]
async fn a_damaged_file_is_named_and_the_others_are_read() {
    let trace = folder_in_memory();
    let clock = SetClock::at(THREE_O_CLOCK);
    for number in 0..2 {
        let (store, _) = open_with(config(trace.path()), Files::default(), &clock);
        post(&store, number..=number).await;
        store.close().await.unwrap();
    }
    let files = table_files(trace.path(), Mergelog::NAME);
    std::fs::write(&files[0], b"PAR1 it is not").unwrap();
    let mut found = Vec::new();
    let error = read_table(trace.path(), None, |row: Mergelog| {
        found.push(row);
        ControlFlow::Continue(())
    })
    .unwrap_err();
    assert!(error.to_string().contains(files[0].to_str().unwrap()));
    assert_eq!(found, [mergelog(1)]);
}
