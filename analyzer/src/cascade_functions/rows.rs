//! Keys of changes in the answers of queries.

use std::sync::Arc;

use arrow::array::{ArrayRef, Int32Array, Int64Array, StringArray};
use arrow::datatypes::{DataType, Field};
use arrow::record_batch::RecordBatch;

use crate::error::Error;
use crate::report::rows::{integer, integers, texts};

/// Revision and ordinal: a change within its history.
pub(super) type Key = (i64, i64);

/// A cluster and an epoch.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct HistoryName {
    pub(super) cluster_id: Arc<str>,
    pub(super) epoch: i64,
}

/// The histories of rows that are sorted by them.
#[derive(Debug)]
pub(super) struct Histories {
    clusters: StringArray,
    epochs: Int64Array,
}

impl Histories {
    /// Of a batch with the columns `cluster_id` and `epoch`.
    pub(super) fn of(batch: &RecordBatch) -> Result<Self, Error> {
        Ok(Self {
            clusters: texts(batch, "cluster_id")?,
            epochs: integers(batch, "epoch")?,
        })
    }

    /// The history of a row; `previous` if it is the same.
    pub(super) fn at(&self, row: usize, previous: Option<&HistoryName>) -> HistoryName {
        let (cluster_id, epoch) = (self.clusters.value(row), self.epochs.value(row));
        match previous {
            Some(same) if *same.cluster_id == *cluster_id && same.epoch == epoch => same.clone(),
            _ => HistoryName {
                cluster_id: cluster_id.into(),
                epoch,
            },
        }
    }
}

/// Keys in two columns.
#[derive(Debug)]
pub(super) struct Keys {
    revisions: Int64Array,
    ordinals: Int64Array,
}

impl Keys {
    /// Of the columns `<prefix>revision` and `<prefix>ordinal`.
    pub(super) fn of(batch: &RecordBatch, prefix: &str) -> Result<Self, Error> {
        Ok(Self {
            revisions: integers(batch, &format!("{prefix}revision"))?,
            ordinals: integers(batch, &format!("{prefix}ordinal"))?,
        })
    }

    /// The key in a row; `None` for NULL.
    pub(super) fn get(&self, row: usize) -> Option<Key> {
        integer(&self.revisions, row).zip(integer(&self.ordinals, row))
    }
}

/// The fields that name a history.
pub(super) fn history_fields() -> [Field; 2] {
    [
        Field::new("cluster_id", DataType::Utf8, false),
        Field::new("epoch", DataType::Int32, false),
    ]
}

/// The fields that name a change; NULL where there may be none.
pub(super) fn key_fields(prefix: &str, nullable: bool) -> [Field; 2] {
    [
        Field::new(format!("{prefix}revision"), DataType::Int64, nullable),
        Field::new(format!("{prefix}ordinal"), DataType::Int32, nullable),
    ]
}

/// Columns of [`history_fields`].
pub(super) fn history_columns<'a>(
    histories: impl Iterator<Item = &'a HistoryName> + Clone,
) -> [ArrayRef; 2] {
    let clusters = histories.clone().map(|history| &*history.cluster_id);
    let epochs = histories.map(|history| i32::try_from(history.epoch).unwrap_or(i32::MAX));
    [
        Arc::new(StringArray::from_iter_values(clusters)),
        Arc::new(Int32Array::from_iter_values(epochs)),
    ]
}

/// Columns of [`key_fields`].
pub(super) fn key_columns(keys: impl Iterator<Item = Option<Key>> + Clone) -> [ArrayRef; 2] {
    let revisions = keys.clone().map(|key| key.map(|(revision, _)| revision));
    let ordinals = keys.map(|key| key.and_then(|(_, ordinal)| i32::try_from(ordinal).ok()));
    [
        Arc::new(Int64Array::from_iter(revisions)),
        Arc::new(Int32Array::from_iter(ordinals)),
    ]
}

/// A column of numbers.
pub(super) fn numbers(values: impl Iterator<Item = i64>) -> ArrayRef {
    Arc::new(Int64Array::from_iter_values(values))
}
