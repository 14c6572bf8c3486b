//! The set of roots that each change comes from; equal sets are stored once.

use super::hash::FastMap;

/// Roots that one change is counted for. A change that comes of more belongs to everything; what it
/// came of is answered by the graph.
pub const MAX_ROOTS: usize = 64;

/// For every change the number of its set of roots.
#[derive(Debug, Default)]
pub struct RootSets {
    of_change: Vec<u32>,
    sets: Vec<Box<[u32]>>,
    numbers: FastMap<Box<[u32]>, u32>,
    unions: FastMap<(u32, u32), u32>,
    overflowed: Vec<bool>,
}

impl RootSets {
    /// Adds the next change, with its causes; without a cause it is a root.
    pub(crate) fn add(&mut self, change: u32, causes: impl Iterator<Item = u32>) {
        let set = self.united(change, causes);
        self.of_change.push(set);
    }

    /// Gives a change that was added before other causes; what came of it in between keeps the roots it has.
    pub(crate) fn replace(&mut self, change: u32, causes: impl Iterator<Item = u32>) {
        let set = self.united(change, causes);
        if let Some(slot) = self.of_change.get_mut(change as usize) {
            *slot = set;
        }
    }

    /// Drops what only adding needs.
    pub(crate) fn shrink(&mut self) {
        self.numbers = FastMap::default();
        self.unions = FastMap::default();
        self.of_change.shrink_to_fit();
    }

    /// The set of all roots of some causes; without a cause the change itself.
    fn united(&mut self, change: u32, causes: impl Iterator<Item = u32>) -> u32 {
        let mut set: Option<u32> = None;
        for cause in causes {
            let Some(roots) = self.of_change.get(cause as usize).copied() else {
                continue;
            };
            set = Some(set.map_or(roots, |set| self.union(set, roots)));
        }
        set.unwrap_or_else(|| self.number(vec![change], false))
    }

    /// The roots of a change, in order.
    #[must_use]
    pub fn roots(&self, change: u32) -> &[u32] {
        self.of_change
            .get(change as usize)
            .and_then(|set| self.sets.get(*set as usize))
            .map_or(&[], |set| set)
    }

    /// Whether a change has more roots than [`MAX_ROOTS`], of which only the first are listed.
    #[must_use]
    pub fn is_capped(&self, change: u32) -> bool {
        self.of_change
            .get(change as usize)
            .and_then(|set| self.overflowed.get(*set as usize))
            .copied()
            .unwrap_or(false)
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
            all.extend(self.sets.get(set as usize).into_iter().flatten());
        }
        all.sort_unstable();
        all.dedup();
        let is_capped = all.len() > MAX_ROOTS
            || [left, right]
                .iter()
                .any(|set| self.overflowed.get(*set as usize) == Some(&true));
        all.truncate(MAX_ROOTS);
        let number = self.number(all, is_capped);
        self.unions.insert(key, number);
        number
    }

    fn number(&mut self, set: Vec<u32>, is_capped: bool) -> u32 {
        let set = set.into_boxed_slice();
        if let Some(known) = self.numbers.get(&set) {
            if is_capped && let Some(flag) = self.overflowed.get_mut(*known as usize) {
                *flag = true;
            }
            return *known;
        }
        let number = u32::try_from(self.sets.len()).unwrap_or(u32::MAX);
        self.sets.push(set.clone());
        self.overflowed.push(is_capped);
        self.numbers.insert(set, number);
        number
    }
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
        assert_eq!(sets.roots(2), [0]);
        assert_eq!(sets.roots(3), [0, 1]);
        assert_eq!(sets.roots(4), [0, 1]);
        assert_eq!(sets.sets.len(), 3, "equal sets are stored once");
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
