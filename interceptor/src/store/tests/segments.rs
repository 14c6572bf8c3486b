//! When one file ends and the next begins, and what the files say about themselves.

use std::fs::File;
use std::path::PathBuf;

use cascade_proto::tables::{Call, Change, Gap, metadata_keys};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use parquet::basic::{Compression, Encoding};
use parquet::file::metadata::ParquetMetaData;

use super::super::files::Files;
use super::super::{Identity, Rows, Store, StoreConfig, StoreError};
use super::support::*;

fn sealed(trace: &std::path::Path, table: &str) -> Vec<PathBuf> {
    let mut files = table_files(trace, table);
    assert!(files.iter().all(|path| has_extension(path, "parquet")));
    files.sort();
    files
}

fn metadata(path: &PathBuf) -> std::sync::Arc<ParquetMetaData> {
    let builder = ParquetRecordBatchReaderBuilder::try_new(File::open(path).unwrap()).unwrap();
    std::sync::Arc::clone(builder.metadata())
}

#[tokio::test]
async fn a_segment_ends_with_its_hour() {
    let trace = tempfile::tempdir().unwrap();
    let clock = SetClock::at(THREE_O_CLOCK + 3599 * SECOND);
    let config = StoreConfig {
        flush_interval: std::time::Duration::from_millis(1),
        ..config(trace.path())
    };
    let (store, _) = open_with(config, Files::default(), &clock);
    store.append(revisions(2..=3)).await.unwrap();
    store.flush().await.unwrap();
    clock.set(THREE_O_CLOCK + 3600 * SECOND);
    // Nothing more has to come for the past hour to be sealed.
    let first = trace.path().join("changes/date=2026-01-02/hour=03");
    wait_until(|| {
        std::fs::read_dir(&first)
            .unwrap()
            .all(|entry| has_extension(&entry.unwrap().path(), "parquet"))
    })
    .await;
    store.append(revisions(4..=5)).await.unwrap();
    store.close().await.unwrap();

    let files = sealed(trace.path(), "changes");
    assert_eq!(files.len(), 2);
    assert!(files[0].starts_with(&first));
    assert!(files[1].starts_with(trace.path().join("changes/date=2026-01-02/hour=04")));
    assert_eq!(sealed_rows::<Change>(trace.path()).len(), 5);
}

#[tokio::test]
async fn a_segment_ends_when_it_is_large_and_a_history_has_files_of_its_own() {
    let trace = tempfile::tempdir().unwrap();
    let config = StoreConfig {
        max_batch_rows: 4,
        max_segment_rows: 10,
        ..config(trace.path())
    };
    let (store, _) = Store::open(config).unwrap();
    for at in 2..=20 {
        store.append(Rows::Changes(revision(0, at))).await.unwrap();
    }
    // A restore: the same revisions again, and other ones.
    for at in 15..=17 {
        store.append(Rows::Changes(revision(1, at))).await.unwrap();
    }
    store.close().await.unwrap();

    let expected: Vec<Change> = (2..=20)
        .flat_map(|at| revision(0, at))
        .chain((15..=17).flat_map(|at| revision(1, at)))
        .collect();
    assert_eq!(sealed_rows::<Change>(trace.path()), expected);
    let ranges: Vec<_> = sealed(trace.path(), "changes")
        .iter()
        .map(|path| {
            let value = |key| footer(path, key).unwrap();
            (
                metadata(path).file_metadata().num_rows(),
                value(metadata_keys::FIRST_REVISION),
                value(metadata_keys::LAST_REVISION),
            )
        })
        .collect();
    let range = |rows, first: &str, last: &str| (rows, first.to_owned(), last.to_owned());
    assert_eq!(
        ranges,
        [
            range(12, "2", "10"),
            range(12, "11", "19"),
            range(1, "20", "20"),
            range(4, "15", "17"),
        ]
    );
}

#[tokio::test]
async fn parquet_is_laid_down_as_designed() {
    let trace = tempfile::tempdir().unwrap();
    let (store, _) = Store::open(config(trace.path())).unwrap();
    store.append(revisions(2..=50)).await.unwrap();
    store.close().await.unwrap();

    let metadata = metadata(&sealed(trace.path(), "changes")[0]);
    let group = metadata.row_group(0);
    let column = |name: &str| {
        group
            .columns()
            .iter()
            .position(|column| column.column_path().string() == name)
            .unwrap()
    };
    let encodings = |name: &str| group.column(column(name)).encodings().collect::<Vec<_>>();
    for name in ["revision", "seen_unix_nano", "seen_time"] {
        assert!(
            encodings(name).contains(&Encoding::DELTA_BINARY_PACKED),
            "{name}"
        );
        assert!(
            !encodings(name).contains(&Encoding::RLE_DICTIONARY),
            "{name}"
        );
    }
    assert!(encodings("kind").contains(&Encoding::RLE_DICTIONARY));
    assert!(
        group
            .columns()
            .iter()
            .all(|column| matches!(column.compression(), Compression::ZSTD(_)))
    );
    let sorting: Vec<usize> = group
        .sorting_columns()
        .unwrap()
        .iter()
        .map(|sorting| usize::try_from(sorting.column_idx).unwrap())
        .collect();
    assert_eq!(
        sorting,
        [column("epoch"), column("revision"), column("ordinal")]
    );
    let statistics = group.column(column("revision")).statistics().unwrap();
    assert_eq!(
        statistics.min_bytes_opt(),
        Some(2_i64.to_le_bytes().as_slice())
    );
    assert!(
        group
            .column(column("revision"))
            .column_index_offset()
            .is_some()
    );
    assert!(group.column(column("uid")).bloom_filter_offset().is_some());
}

#[tokio::test]
async fn calls_and_gaps_get_the_identity_that_is_known_when_they_are_written() {
    let trace = tempfile::tempdir().unwrap();
    let (store, _) = Store::open(config(trace.path())).unwrap();
    // Before the ledger knows: they wait for it.
    store.try_append(Rows::Calls(vec![call(1)])).unwrap();
    store.set_identity(identity(0));
    store.try_append(Rows::Gaps(vec![gap()])).unwrap();
    let mut foreign = call(2);
    foreign.cluster_id = Some("abc".to_owned());
    store.try_append(Rows::Calls(vec![foreign])).unwrap();
    let mut told = call(3);
    told.cluster_id = Some(CLUSTER.to_owned());
    store.try_append(Rows::Calls(vec![told])).unwrap();
    store.set_identity(identity(1));
    store.try_append(Rows::Calls(vec![call(4)])).unwrap();
    store.close().await.unwrap();

    let found: Vec<_> = sealed_rows::<Call>(trace.path())
        .into_iter()
        .map(|call| (call.stream, call.cluster_id.unwrap(), call.epoch))
        .collect();
    let row = |stream, cluster: &str, epoch| (stream, cluster.to_owned(), epoch);
    assert_eq!(
        found,
        [
            row(1, CLUSTER, Some(0)),
            row(2, "abc", None),
            row(3, CLUSTER, Some(0)),
            row(4, CLUSTER, Some(1)),
        ]
    );
    assert_eq!(sealed_rows::<Gap>(trace.path())[0].epoch, Some(0));
    // Of several clusters no one is named.
    let files = sealed(trace.path(), "calls");
    assert_eq!(footer(&files[0], metadata_keys::CLUSTER_ID), None);
    assert_eq!(
        footer(&files[1], metadata_keys::CLUSTER_ID).as_deref(),
        Some(CLUSTER)
    );
}

#[tokio::test]
async fn calls_of_a_history_in_doubt_wait_for_the_one_that_comes() {
    let trace = tempfile::tempdir().unwrap();
    let (store, _) = Store::open(config(trace.path())).unwrap();
    let add = |number| {
        let mut answered = call(number);
        answered.cluster_id = Some(CLUSTER.to_owned());
        store.try_append(Rows::Calls(vec![answered])).unwrap();
    };
    store.set_identity(identity(0));
    add(1);
    store.doubt_identity();
    store.doubt_identity();
    add(2);
    store.set_identity(identity(1)); // etcd was restored
    add(3);
    store.doubt_identity();
    add(4);
    store.set_identity(identity(1)); // it was not
    add(5);
    store.doubt_identity();
    add(6);
    store.flush().await.unwrap(); // no time left to wait
    store.set_identity(identity(1));
    add(7);
    store.close().await.unwrap();

    let mut found: Vec<_> = sealed_rows::<Call>(trace.path())
        .into_iter()
        .map(|call| (call.stream, call.epoch))
        .collect();
    found.sort_unstable();
    assert_eq!(
        found,
        [
            (1, Some(0)),
            (2, Some(1)),
            (3, Some(1)),
            (4, Some(1)),
            (5, Some(1)),
            (6, None),
            (7, Some(1)),
        ]
    );
}

#[tokio::test]
async fn changes_that_are_not_whole_revisions_in_order_are_refused() {
    let trace = tempfile::tempdir().unwrap();
    let (store, _) = Store::open(config(trace.path())).unwrap();
    let cases = [
        (vec![change(0, 3, 0, 2)], "end is missing"),
        (vec![change(0, 3, 1, 2)], "begin is missing"),
        (
            vec![change(0, 3, 0, 2), change(0, 4, 0, 1)],
            "end is missing",
        ),
        (vec![change(0, 4, 0, 1), change(0, 3, 0, 1)], "out of order"),
        (vec![change(0, 4, 0, 1), change(0, 4, 0, 1)], "out of order"),
        (vec![change(0, 3, 0, 3), change(0, 3, 2, 3)], "out of order"),
        (vec![change(0, 3, 0, 2), change(0, 4, 1, 2)], "out of order"),
    ];
    for (rows, reason) in cases {
        let error = store.append(Rows::Changes(rows)).await.unwrap_err();
        assert!(matches!(error, StoreError::InvalidRows { .. }), "{error}");
        assert!(error.to_string().contains(reason), "{error}");
    }
    let another = Identity {
        epoch: 1,
        ..identity(0)
    };
    let restored = vec![change(0, 9, 0, 1), change(another.epoch, 4, 0, 1)];
    store.append(Rows::Changes(restored)).await.unwrap();
    store.close().await.unwrap();
}
