//! The set of roots that each change comes from; equal sets are stored once.

use std::hash::Hasher;
use std::ops::Deref;

use super::hash::{FastHasher, FastMap};
use super::intern::{HashTable, NONE};
use crate::storage::{List, Storage};

/// Roots that one change is counted for. A change that comes of more belongs to everything; what it
/// came of is answered by the graph.
pub const MAX_ROOTS: usize = 64;

/// For every change its set of roots.
#[derive(Debug, Default)]
pub struct RootSets {
    /// Per change the number of its set. Most have one root, which then is the number; those of sets with several count down
    /// from the largest.
    of_change: List<u32>,
    several: Sets,
    unions: FastMap<(u32, u32), u32>,
}

/// Sets of several roots, one after the other.
#[derive(Debug, Default)]
struct Sets {
    roots: Vec<u32>,
    ends: Vec<usize>,
    is_capped: Vec<bool>,
    table: HashTable,
}

/// The roots of a change, in order.
#[derive(Debug, Clone, Copy)]
pub enum Roots<'a> {
    /// One, which need not be stored anywhere.
    One([u32; 1]),
    /// Several, or none of a change that is not there.
    Several(&'a [u32]),
}

impl Deref for Roots<'_> {
    type Target = [u32];

    fn deref(&self) -> &[u32] {
        match self {
            Self::One(root) => root,
            Self::Several(roots) => roots,
        }
    }
}

impl RootSets {
    /// Of no changes yet.
    pub(crate) fn new(storage: &Storage) -> Self {
        Self {
            of_change: List::new(storage),
            ..Self::default()
        }
    }

    /// Adds the next change, with its causes; without a cause it is a root.
    pub(crate) fn add(&mut self, change: u32, causes: impl Iterator<Item = u32>) {
        let set = self.united(change, causes);
        self.of_change.push(set);
    }

    /// Gives a change that was added before other causes; what came of it in between keeps the roots it has.
    pub(crate) fn replace(&mut self, change: u32, causes: impl Iterator<Item = u32>) {
        let set = self.united(change, causes);
        self.of_change.set(change as usize, set);
    }

    /// Drops what only adding needs.
    pub(crate) fn shrink(&mut self) {
        self.several.table = HashTable::default();
        self.unions = FastMap::default();
        self.of_change.shrink_to_fit();
    }

    /// The set of all roots of some causes; without a cause the change itself.
    fn united(&mut self, change: u32, causes: impl Iterator<Item = u32>) -> u32 {
        let mut set: Option<u32> = None;
        for cause in causes {
            let Some(roots) = self.of_change.get(cause as usize) else {
                continue;
            };
            set = Some(set.map_or(roots, |set| self.union(set, roots)));
        }
        set.unwrap_or(change)
    }

    /// The roots of a change, in order.
    #[must_use]
    #[inline]
    pub fn roots(&self, change: u32) -> Roots<'_> {
        match self.of_change.get(change as usize) {
            Some(set) => self.set(set),
            None => Roots::Several(&[]),
        }
    }

    /// Whether a change comes of more roots than it is counted for.
    #[must_use]
    pub fn is_capped(&self, change: u32) -> bool {
        let set = self.of_change.get(change as usize);
        set.is_some_and(|set| self.several.is_capped(set))
    }

    #[inline]
    fn set(&self, number: u32) -> Roots<'_> {
        match self.several.get(number) {
            Some(roots) => Roots::Several(roots),
            None => Roots::One([number]),
        }
    }

    fn union(&mut self, left: u32, right: u32) -> u32 {
        if left == right {
            return left;
        }
        let key = (left.min(right), left.max(right));
        if let Some(known) = self.unions.get(&key) {
            return *known;
        }
        let mut all: Vec<u32> = Vec::new();
        for set in [left, right] {
            all.extend(self.set(set).iter());
        }
        all.sort_unstable();
        all.dedup();
        let is_capped = all.len() > MAX_ROOTS
            || [left, right]
                .into_iter()
                .any(|set| self.several.is_capped(set));
        all.truncate(MAX_ROOTS);
        let number = self.several.number(&all, is_capped);
        self.unions.insert(key, number);
        number
    }
}

impl Sets {
    /// The place of a set with this number; `None` if the number is that of a root.
    #[inline]
    fn place(&self, number: u32) -> Option<usize> {
        let place = (NONE - 1).checked_sub(number)? as usize;
        (place < self.ends.len()).then_some(place)
    }

    #[inline]
    fn get(&self, number: u32) -> Option<&[u32]> {
        let place = self.place(number)?;
        slice(&self.roots, &self.ends, place)
    }

    fn is_capped(&self, number: u32) -> bool {
        let place = self.place(number);
        place.and_then(|place| self.is_capped.get(place)) == Some(&true)
    }

    /// The number of a set of several roots.
    fn number(&mut self, set: &[u32], is_capped: bool) -> u32 {
        let mut hasher = FastHasher::default();
        set.iter().for_each(|root| hasher.write_u32(*root));
        let next = u32::try_from(self.ends.len()).unwrap_or(NONE);
        let (roots, ends) = (&self.roots, &self.ends);
        let is_same = |place: u32| slice(roots, ends, place as usize) == Some(set);
        let place = self
            .table
            .find_or_insert(hasher.finish() as u32, next, is_same);
        if place == next {
            self.roots.extend_from_slice(set);
            self.ends.push(self.roots.len());
            self.is_capped.push(is_capped);
        } else if is_capped && let Some(flag) = self.is_capped.get_mut(place as usize) {
            *flag = true;
        }
        (NONE - 1).saturating_sub(place)
    }
}

/// The roots of the set at a place.
fn slice<'a>(roots: &'a [u32], ends: &[usize], place: usize) -> Option<&'a [u32]> {
    let start = match place.checked_sub(1) {
        Some(before) => *ends.get(before)?,
        None => 0,
    };
    roots.get(start..*ends.get(place)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn roots_are_united_along_the_causes() {
        let mut sets = RootSets::default();
        sets.add(0, [].into_iter());
        sets.add(1, [].into_iter());
        sets.add(2, [0].into_iter());
        sets.add(3, [1, 2].into_iter());
        sets.add(4, [3, 0].into_iter());
        assert_eq!(*sets.roots(2), [0]);
        assert_eq!(*sets.roots(3), [0, 1]);
        assert_eq!(*sets.roots(4), [0, 1]);
        assert_eq!(sets.several.ends.len(), 1, "equal sets are stored once");
    }

    #[test]
    fn the_number_of_roots_is_bounded() {
        let mut sets = RootSets::default();
        let roots = u32::try_from(MAX_ROOTS).unwrap() + 1;
        for root in 0..roots {
            sets.add(root, [].into_iter());
        }
        sets.add(roots, 0..roots);
        assert_eq!(sets.roots(roots).len(), MAX_ROOTS);
        assert!(sets.is_capped(roots));
        assert!(!sets.is_capped(0));
    }
}
