//! The conditions of objects, as a query answers with them.

use arrow::array::{Array, AsArray, ListArray, StringArray};
use arrow::record_batch::RecordBatch;

use crate::error::Error;

/// The column `conditions` of a batch.
pub(super) struct Conditions<'a> {
    lists: &'a ListArray,
    types: &'a StringArray,
    statuses: &'a StringArray,
}

impl<'a> Conditions<'a> {
    pub(super) fn of(batch: &'a RecordBatch) -> Result<Self, Error> {
        let found = || {
            let lists = batch.column_by_name("conditions")?.as_list_opt::<i32>()?;
            let entries = lists.values().as_struct_opt()?;
            let texts = |name| entries.column_by_name(name)?.as_string_opt::<i32>();
            Some(Self {
                lists,
                types: texts("type")?,
                statuses: texts("status")?,
            })
        };
        found().ok_or_else(|| Error::Internal("conditions are not as expected".to_owned()))
    }

    fn entries(&self, row: usize) -> std::ops::Range<usize> {
        let offsets = self.lists.value_offsets().get(row..row + 2);
        match offsets {
            Some([start, end]) if self.lists.is_valid(row) => {
                // Offsets are not negative.
                usize::try_from(*start).unwrap_or(0)..usize::try_from(*end).unwrap_or(0)
            }
            _ => 0..0,
        }
    }

    /// Whether there is none.
    pub(super) fn are_none(&self, row: usize) -> bool {
        self.entries(row).is_empty()
    }

    /// The types of those whose status is True.
    pub(super) fn true_ones(&self, row: usize) -> impl Iterator<Item = &'a str> {
        self.entries(row)
            .filter(|entry| {
                self.types.is_valid(*entry)
                    && self.statuses.is_valid(*entry)
                    && self.statuses.value(*entry) == "True"
            })
            .map(|entry| self.types.value(entry))
    }

    /// Whether there is one of a type, whatever its status.
    pub(super) fn has(&self, row: usize, condition: &str) -> bool {
        self.entries(row)
            .any(|entry| self.types.is_valid(entry) && self.types.value(entry) == condition)
    }
}
