//! Sets of labels: sorted numbers of `key=value`.

use std::borrow::Cow;

use crate::storage::{List, Storage};

/// Sets by number, from 0.
#[derive(Debug, Default)]
pub(crate) struct LabelSets {
    pairs: List<u32>,
    /// Where each set ends.
    ends: List<u64>,
}

impl LabelSets {
    /// None yet.
    pub(crate) fn new(storage: &Storage) -> Self {
        Self {
            pairs: List::new(storage),
            ends: List::new(storage),
        }
    }

    /// Adds the next set.
    pub(crate) fn push(&mut self, pairs: &[u32]) {
        self.pairs.extend_from_slice(pairs);
        self.ends.push(self.pairs.len() as u64);
    }

    /// A set; the empty one if there are not so many.
    pub(crate) fn get(&self, number: u32) -> Cow<'_, [u32]> {
        let number = number as usize;
        let Some(end) = self.ends.get(number) else {
            return Cow::Borrowed(&[]);
        };
        let start = number
            .checked_sub(1)
            .and_then(|before| self.ends.get(before));
        self.pairs.slice(start.unwrap_or(0) as usize..end as usize)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sets_are_found_by_number() {
        let mut sets = LabelSets::new(&Storage::default());
        for set in [&[1, 2][..], &[], &[3]] {
            sets.push(set);
        }
        assert_eq!(*sets.get(0), [1, 2]);
        assert_eq!([sets.get(1).len(), sets.get(3).len()], [0, 0]);
        assert_eq!(*sets.get(2), [3]);
    }
}
