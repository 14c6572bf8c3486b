//! What objects are tied to: names, labels, owners, and whom they refer to.
//!
//! Most changes of an object leave its ties as they are. So they are kept once for all changes that follow each other with
//! the same ones, and a change has their number.

use std::borrow::Cow;

use bytemuck::{Pod, Zeroable};

use super::intern::NONE;
use crate::storage::{List, Storage};

/// The ties of an object. Numbers are [`NONE`] where there is nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub(crate) struct Ties {
    /// Number of the name of its namespace's Namespace object.
    pub(crate) namespace: u32,
    /// Number of the name of the Node that it runs on.
    pub(crate) node: u32,
    /// For Endpoints: number of the name of their Service, which is theirs. No other kinds are linked by bearing
    /// the same name.
    pub(crate) namesake: u32,
    /// Number of its label set.
    pub(crate) labels: u32,
    /// Number of its selector, a label set.
    pub(crate) selector: u32,
    /// For an Event: number of its reason and reporter; else the kind of what it would name.
    pub(crate) reason: u32,
    /// Number of the CPID that the write itself carries.
    pub(crate) cpid: u32,
}

/// Those of an object that is tied to nothing.
pub(crate) const UNTIED: Ties = Ties {
    namespace: NONE,
    node: NONE,
    namesake: NONE,
    labels: NONE,
    selector: NONE,
    reason: NONE,
    cpid: NONE,
};

/// Ties, and where the references that belong to them are.
#[derive(Debug, Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct Entry {
    ties: Ties,
    /// Where its owners, related objects and names begin in the list of references, one after the other.
    start: u32,
    owners: u32,
    related: u32,
    names: u32,
}

/// All ties by number.
#[derive(Debug, Default)]
pub(crate) struct AllTies {
    entries: List<Entry>,
    references: List<u32>,
}

/// The references of one change, while they are collected.
#[derive(Debug, Default)]
pub(crate) struct References {
    /// Objects that own it, the managing one first.
    pub(crate) owners: Vec<u32>,
    /// Objects whose uids it mentions.
    pub(crate) related: Vec<u32>,
    /// Names of objects that it refers to.
    pub(crate) names: Vec<u32>,
}

/// Collects ties.
#[derive(Debug, Default)]
pub(crate) struct TiesBuilder {
    all: AllTies,
    /// Per object: the number of its newest ties.
    newest: List<u32>,
}

impl References {
    /// Makes room for those of the next change.
    pub(crate) fn clear(&mut self) {
        self.owners.clear();
        self.related.clear();
        self.names.clear();
    }
}

impl TiesBuilder {
    /// Nothing yet.
    pub(crate) fn new(storage: &Storage) -> Self {
        Self {
            all: AllTies {
                entries: List::new(storage),
                references: List::new(storage),
            },
            newest: List::new(storage),
        }
    }

    /// The number of an object's ties at its next change.
    pub(crate) fn number(&mut self, object: u32, ties: Ties, references: &References) -> u32 {
        let object = object as usize;
        while self.newest.len() <= object {
            self.newest.push(NONE);
        }
        let before = self.newest.get(object).unwrap_or(NONE);
        if self.all.ties(before) == ties && self.all.has(before, references) {
            return before;
        }
        let number = self.all.add(ties, references);
        self.newest.set(object, number);
        number
    }

    /// All together.
    pub(crate) fn finish(self) -> AllTies {
        self.all
    }
}

impl AllTies {
    /// The ties with a number.
    #[inline]
    pub(crate) fn ties(&self, number: u32) -> Ties {
        self.entry(number).map_or(UNTIED, |entry| entry.ties)
    }

    /// Objects that own it, the managing one first.
    #[inline]
    pub(crate) fn owners(&self, number: u32) -> Cow<'_, [u32]> {
        self.entry(number).map_or(Cow::Borrowed(&[]), |entry| {
            self.list(entry.start, entry.owners)
        })
    }

    /// Objects whose uids it mentions.
    pub(crate) fn related(&self, number: u32) -> Cow<'_, [u32]> {
        self.entry(number).map_or(Cow::Borrowed(&[]), |entry| {
            self.list(entry.start + entry.owners, entry.related)
        })
    }

    /// Names of objects that it refers to.
    pub(crate) fn names(&self, number: u32) -> Cow<'_, [u32]> {
        self.entry(number).map_or(Cow::Borrowed(&[]), |entry| {
            self.list(entry.start + entry.owners + entry.related, entry.names)
        })
    }

    #[inline]
    fn entry(&self, number: u32) -> Option<Entry> {
        self.entries.get(number as usize)
    }

    #[inline]
    fn list(&self, start: u32, length: u32) -> Cow<'_, [u32]> {
        let start = start as usize;
        self.references.slice(start..start + length as usize)
    }

    /// Whether the ties with a number are there and have these references.
    fn has(&self, number: u32, references: &References) -> bool {
        self.entry(number).is_some_and(|entry| {
            // All at once: they stand one after the other.
            let known = self.list(entry.start, entry.owners + entry.related + entry.names);
            let lengths = [entry.owners, entry.related, entry.names].map(|length| length as usize);
            let lists = [&references.owners, &references.related, &references.names];
            lists.map(Vec::len) == lengths && known.iter().eq(lists.into_iter().flatten())
        })
    }

    fn add(&mut self, ties: Ties, references: &References) -> u32 {
        // 2^32 references do not fit into memory.
        let count = |length: usize| u32::try_from(length).unwrap_or(NONE);
        let number = count(self.entries.len());
        self.entries.push(Entry {
            ties,
            start: count(self.references.len()),
            owners: count(references.owners.len()),
            related: count(references.related.len()),
            names: count(references.names.len()),
        });
        for list in [&references.owners, &references.related, &references.names] {
            self.references.extend_from_slice(list);
        }
        number
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn references(owners: &[u32], related: &[u32], names: &[u32]) -> References {
        References {
            owners: owners.to_vec(),
            related: related.to_vec(),
            names: names.to_vec(),
        }
    }

    #[test]
    fn changes_in_a_row_share_their_ties() {
        let mut builder = TiesBuilder::new(&Storage::default());
        let tied = Ties { node: 7, ..UNTIED };
        let first = builder.number(4, UNTIED, &references(&[1], &[2], &[3]));
        let other = builder.number(2, UNTIED, &references(&[1], &[2], &[3]));
        let same = builder.number(4, UNTIED, &references(&[1], &[2], &[3]));
        let moved = builder.number(4, UNTIED, &references(&[1, 2], &[], &[3]));
        let bound = builder.number(4, tied, &references(&[1, 2], &[], &[3]));
        assert_eq!([first, other, same, moved, bound], [0, 1, 0, 2, 3]);
        let all = builder.finish();
        assert_eq!(*all.owners(moved), [1, 2]);
        assert_eq!(
            (&*all.related(first), &*all.related(moved)),
            (&[2][..], &[][..])
        );
        assert_eq!(
            (&*all.names(other), &*all.names(bound)),
            (&[3][..], &[3][..])
        );
        assert_eq!(all.ties(bound), tied);
    }

    #[test]
    fn what_has_no_number_is_tied_to_nothing() {
        let mut builder = TiesBuilder::new(&Storage::default());
        // The first ties of an object are kept even if there are none.
        assert_eq!(builder.number(0, UNTIED, &References::default()), 0);
        let all = builder.finish();
        assert_eq!(all.ties(NONE), UNTIED);
        assert!(all.owners(NONE).is_empty());
    }
}
