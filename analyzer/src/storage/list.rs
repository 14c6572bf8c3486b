//! A list, wherever its entries are.

use std::borrow::Cow;
use std::ops::Range;
use std::sync::Arc;

use super::pages::Pages;
use super::{Record, Storage};

/// A list whose entries are copied out of it.
#[derive(Debug)]
pub struct List<T: Record> {
    entries: Entries<T>,
}

#[derive(Debug)]
enum Entries<T: Record> {
    Memory(Vec<T>),
    Pages(Arc<Pages<T>>),
}

impl<T: Record> Default for List<T> {
    /// An empty one in memory.
    fn default() -> Self {
        Self::from(Vec::new())
    }
}

impl<T: Record> From<Vec<T>> for List<T> {
    /// One in memory.
    fn from(entries: Vec<T>) -> Self {
        Self {
            entries: Entries::Memory(entries),
        }
    }
}

impl<T: Record> Extend<T> for List<T> {
    fn extend<I: IntoIterator<Item = T>>(&mut self, entries: I) {
        entries.into_iter().for_each(|entry| self.push(entry));
    }
}

impl<T: Record> List<T> {
    /// An empty list.
    #[must_use]
    pub fn new(storage: &Storage) -> Self {
        Self::with_capacity(storage, 0)
    }

    /// An empty list that need not grow in memory for so many entries.
    #[must_use]
    pub fn with_capacity(storage: &Storage, entries: usize) -> Self {
        Self {
            entries: match &storage.pager {
                None => Entries::Memory(Vec::with_capacity(entries)),
                Some(pager) => Entries::Pages(Pages::create(pager)),
            },
        }
    }

    /// A list of so many entries that are all the same.
    #[must_use]
    pub fn filled(storage: &Storage, entry: T, entries: usize) -> Self {
        if !storage.is_file() {
            return Self::from(vec![entry; entries]);
        }
        let list = Self::new(storage);
        if let Entries::Pages(pages) = &list.entries {
            pages.fill(entries, entry);
        }
        list
    }

    /// Number of entries.
    #[must_use]
    pub fn len(&self) -> usize {
        match &self.entries {
            Entries::Memory(entries) => entries.len(),
            Entries::Pages(pages) => pages.len(),
        }
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// An entry, if there are so many.
    #[must_use]
    #[inline]
    pub fn get(&self, index: usize) -> Option<T> {
        match &self.entries {
            Entries::Memory(entries) => entries.get(index).copied(),
            Entries::Pages(pages) => pages.get(index),
        }
    }

    /// The last entry.
    #[must_use]
    pub fn last(&self) -> Option<T> {
        self.get(self.len().checked_sub(1)?)
    }

    /// Adds an entry.
    #[inline]
    pub fn push(&mut self, entry: T) {
        match &mut self.entries {
            Entries::Memory(entries) => entries.push(entry),
            Entries::Pages(pages) => pages.push(entry),
        }
    }

    /// Adds entries.
    pub fn extend_from_slice(&mut self, added: &[T]) {
        match &mut self.entries {
            Entries::Memory(entries) => entries.extend_from_slice(added),
            Entries::Pages(pages) => pages.extend(added),
        }
    }

    /// Changes an entry; tells whether there is one.
    #[inline]
    pub fn update(&mut self, index: usize, change: impl FnOnce(&mut T)) -> bool {
        match &mut self.entries {
            Entries::Memory(entries) => entries.get_mut(index).map(change).is_some(),
            Entries::Pages(pages) => pages.update(index, change),
        }
    }

    /// Puts another entry in the place of one, if there is one.
    #[inline]
    pub fn set(&mut self, index: usize, entry: T) {
        self.update(index, |known| *known = entry);
    }

    /// Entries that there is room for without taking more memory; none in a file.
    #[must_use]
    pub fn capacity(&self) -> usize {
        match &self.entries {
            Entries::Memory(entries) => entries.capacity(),
            Entries::Pages(_) => 0,
        }
    }

    /// Changes the list as a whole. One in a file is in memory meanwhile.
    pub fn rearrange(&mut self, change: impl FnOnce(&mut Vec<T>)) {
        if let Entries::Memory(entries) = &mut self.entries {
            return change(entries);
        }
        let mut entries: Vec<T> = self.iter().collect();
        change(&mut entries);
        self.truncate(0);
        self.extend_from_slice(&entries);
    }

    /// Drops all entries after the first ones.
    pub fn truncate(&mut self, entries: usize) {
        match &mut self.entries {
            Entries::Memory(list) => list.truncate(entries),
            Entries::Pages(pages) => pages.truncate(entries),
        }
    }

    /// Gives memory back that no entry takes.
    pub fn shrink_to_fit(&mut self) {
        if let Entries::Memory(entries) = &mut self.entries {
            entries.shrink_to_fit();
        }
    }

    /// Entries in a row; those that there are.
    #[must_use]
    pub fn slice(&self, range: Range<usize>) -> Cow<'_, [T]> {
        let range = range.start.min(range.end)..range.end.min(self.len());
        match &self.entries {
            Entries::Memory(entries) => Cow::Borrowed(entries.get(range).unwrap_or(&[])),
            Entries::Pages(pages) => {
                let mut read = Vec::with_capacity(range.len());
                let mut next = range.start;
                while next < range.end {
                    next = pages.read(next, range.end, &mut read);
                }
                Cow::Owned(read)
            }
        }
    }

    /// The first place of some, which are sorted by it, whose entry is not before what is sought.
    pub fn partition_point(&self, range: Range<usize>, is_before: impl Fn(&T) -> bool) -> usize {
        let (mut from, mut to) = (range.start, range.end.min(self.len()));
        while from < to {
            let middle = from + (to - from) / 2;
            match self.get(middle) {
                Some(entry) if is_before(&entry) => from = middle + 1,
                _ => to = middle,
            }
        }
        from
    }

    /// All entries in their order.
    pub fn iter(&self) -> impl Iterator<Item = T> + '_ {
        self.range(0..self.len())
    }

    /// Entries in a row, one after the other; those that there are.
    pub fn range(&self, range: Range<usize>) -> impl Iterator<Item = T> + '_ {
        match &self.entries {
            Entries::Memory(entries) => {
                let range = range.start.min(entries.len())..range.end.min(entries.len());
                Walk::Memory(entries.get(range).unwrap_or(&[]).iter())
            }
            Entries::Pages(pages) => Walk::Pages {
                pages,
                next: range.start,
                end: range.end.min(pages.len()),
                read: Vec::new(),
                place: 0,
            },
        }
    }
}

/// Goes through entries; a page at a time is copied.
enum Walk<'l, T: Record> {
    Memory(std::slice::Iter<'l, T>),
    Pages {
        pages: &'l Pages<T>,
        next: usize,
        end: usize,
        read: Vec<T>,
        place: usize,
    },
}

impl<T: Record> Iterator for Walk<'_, T> {
    type Item = T;

    #[inline]
    fn next(&mut self) -> Option<T> {
        match self {
            Self::Memory(entries) => entries.next().copied(),
            Self::Pages {
                pages,
                next,
                end,
                read,
                place,
            } => {
                if *place == read.len() {
                    read.clear();
                    *place = 0;
                    *next = pages.read(*next, *end, read);
                }
                let entry = read.get(*place).copied()?;
                *place += 1;
                Some(entry)
            }
        }
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        match self {
            Self::Memory(entries) => entries.size_hint(),
            Self::Pages {
                next,
                end,
                read,
                place,
                ..
            } => {
                let left = end.saturating_sub(*next) + read.len() - place;
                (0, Some(left))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::support::Random;

    /// Lists in memory, in a file of which nearly nothing is in memory, and in one of which all is.
    fn storages() -> [Storage; 3] {
        let folder = std::env::temp_dir();
        [
            Storage::default(),
            Storage::in_file(&folder, 40_000).unwrap(),
            Storage::in_file(&folder, 1 << 30).unwrap(),
        ]
    }

    #[test]
    fn a_list_is_the_same_wherever_it_is() {
        for storage in storages() {
            let mut random = Random::new(3);
            let mut lists: Vec<List<[u32; 3]>> = (0..3).map(|_| List::new(&storage)).collect();
            let mut known: Vec<Vec<[u32; 3]>> = vec![Vec::new(); 3];
            for step in 0..60_000_u32 {
                let which = random.below(3) as usize;
                let (list, known) = (&mut lists[which], &mut known[which]);
                let index = random.below(known.len() as u64 + 2) as usize;
                match random.below(16) {
                    0..8 => {
                        list.push([step, 1, 2]);
                        known.push([step, 1, 2]);
                    }
                    8..11 => {
                        let changed = list.update(index, |entry| entry[1] = step);
                        assert_eq!(changed, index < known.len());
                        if let Some(entry) = known.get_mut(index) {
                            entry[1] = step;
                        }
                    }
                    11 if random.below(100) == 0 => {
                        list.truncate(index);
                        known.truncate(index);
                    }
                    _ => assert_eq!(list.get(index), known.get(index).copied()),
                }
                assert_eq!(list.len(), known.len());
            }
            for (list, known) in lists.iter().zip(&known) {
                assert!(list.iter().eq(known.iter().copied()));
                assert_eq!(list.last(), known.last().copied());
                for (start, end) in [(0, 10), (700, 1500), (1, known.len() + 9), (9, 3)] {
                    let expected = known.get(start..end.min(known.len())).unwrap_or(&[]);
                    assert_eq!(*list.slice(start..end), *expected, "{start} {end}");
                    assert!(list.range(start..end).eq(expected.iter().copied()));
                }
            }
            storage.check().unwrap();
        }
    }

    #[test]
    fn what_nobody_has_set_is_what_the_list_was_filled_with() {
        for storage in storages() {
            let mut list = List::filled(&storage, 7_u64, 30_000);
            for index in (0..30_000).step_by(1000) {
                list.set(index, 8);
            }
            list.push(9);
            list.extend_from_slice(&[10, 11]);
            assert_eq!(list.len(), 30_003);
            let expected = |index: usize| match index {
                30_000..30_003 => 9 + index as u64 - 30_000,
                _ if index.is_multiple_of(1000) => 8,
                _ => 7,
            };
            assert!(list.iter().eq((0..30_003).map(expected)));
        }
    }

    #[test]
    fn lists_of_several_threads_share_what_memory_there_is() {
        let [_, storage, _] = storages();
        let list: Vec<u32> = (0..100_000).collect();
        let mut shared = List::new(&storage);
        shared.extend_from_slice(&list);
        std::thread::scope(|scope| {
            for thread in 0..4 {
                let (list, shared, storage) = (&list, &shared, &storage);
                scope.spawn(move || {
                    let mut random = Random::new(thread);
                    let mut own = List::new(storage);
                    for _ in 0..20_000 {
                        let index = random.below(list.len() as u64 + 5) as usize;
                        assert_eq!(shared.get(index), list.get(index).copied());
                        own.push(index as u64);
                    }
                    assert_eq!(own.len(), 20_000);
                });
            }
        });
        storage.check().unwrap();
    }
}
