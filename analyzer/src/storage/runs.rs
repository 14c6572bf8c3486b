//! Lists of lists, one after the other.

use std::borrow::Cow;
use std::ops::Range;

use super::{List, Record, Storage};

/// Runs of entries by number, from 0.
#[derive(Debug, Default)]
pub(crate) struct Runs<T: Record> {
    entries: List<T>,
    /// Where each run ends.
    ends: List<u64>,
}

impl<T: Record> Runs<T> {
    /// None yet.
    pub(crate) fn new(storage: &Storage) -> Self {
        Self {
            entries: List::new(storage),
            ends: List::new(storage),
        }
    }

    /// Adds the next run.
    pub(crate) fn push(&mut self, run: &[T]) {
        self.entries.extend_from_slice(run);
        self.ends.push(self.entries.len() as u64);
    }

    /// How many runs there are.
    pub(crate) fn len(&self) -> usize {
        self.ends.len()
    }

    /// A run; the empty one if there are not so many.
    #[inline]
    pub(crate) fn get(&self, number: u32) -> Cow<'_, [T]> {
        self.entries.slice(self.range(number))
    }

    /// Where a run ends; 0 if there are not so many.
    pub(crate) fn end(&self, number: u32) -> usize {
        self.ends.get(number as usize).unwrap_or(0) as usize
    }

    /// The entry before an end.
    pub(crate) fn before(&self, end: usize) -> Option<T> {
        self.entries.get(end.checked_sub(1)?)
    }

    fn range(&self, number: u32) -> Range<usize> {
        let number = number as usize;
        let Some(end) = self.ends.get(number) else {
            return 0..0;
        };
        let start = number
            .checked_sub(1)
            .and_then(|before| self.ends.get(before));
        start.unwrap_or(0) as usize..end as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_are_found_by_number() {
        let mut runs = Runs::new(&Storage::default());
        for run in [&[1, 2][..], &[], &[3]] {
            runs.push(run);
        }
        assert_eq!(*runs.get(0), [1, 2]);
        assert_eq!([runs.get(1).len(), runs.get(3).len()], [0, 0]);
        assert_eq!(*runs.get(2), [3]);
    }
}
