//! Sums along a critical path, as `reach` has them.

use arrow::array::Int64Array;
use arrow::record_batch::RecordBatch;

use crate::error::Error;
use crate::report::rows::integers;

/// Nanoseconds along a path, and how they divide; the parts can be negative.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Sums {
    pub(super) total: i64,
    pub(super) reaction: i64,
    pub(super) api: i64,
    pub(super) storage: i64,
}

impl Sums {
    /// From `start` on, which is on the same path.
    pub(super) fn since(self, start: Self) -> Self {
        Self {
            total: self.total - start.total,
            reaction: self.reaction - start.reaction,
            api: self.api - start.api,
            storage: self.storage - start.storage,
        }
    }
}

/// The sums of a batch.
#[derive(Debug)]
pub(super) struct SumColumns {
    total: Int64Array,
    reaction: Int64Array,
    api: Int64Array,
    storage: Int64Array,
}

impl SumColumns {
    /// Of a batch with the columns of `reach`.
    pub(super) fn of(batch: &RecordBatch) -> Result<Self, Error> {
        Ok(Self {
            total: integers(batch, "since_root_ns")?,
            reaction: integers(batch, "reaction_ns")?,
            api: integers(batch, "api_ns")?,
            storage: integers(batch, "storage_ns")?,
        })
    }

    /// Those from the root to the change in a row.
    pub(super) fn at(&self, row: usize) -> Sums {
        Sums {
            total: self.total.value(row),
            reaction: self.reaction.value(row),
            api: self.api.value(row),
            storage: self.storage.value(row),
        }
    }
}
