//! CPIDs that writes report by themselves: which changes carried one, and which others it came of.

use std::collections::VecDeque;

use super::hash::{FastMap, FastSet};
use super::intern::NONE;

/// Newest changes that are remembered of one CPID.
const MAX_CARRIERS: usize = 16;
/// CPIDs that are looked at to find out whether one came of another.
const MAX_ANCESTORS: usize = 256;

/// Which CPIDs came of which, as their makers told the trace server.
#[derive(Debug, Default)]
pub(crate) struct Mergelogs {
    sources: FastMap<u32, Box<[u32]>>,
}

impl Mergelogs {
    /// `made` was made of `sources`. A CPID is made once; what is told of it later changes nothing.
    pub(crate) fn add(&mut self, made: u32, sources: Box<[u32]>) {
        self.sources.entry(made).or_insert(sources);
    }

    /// The CPIDs that one was made of; none for one that starts a cascade.
    pub(crate) fn sources(&self, cpid: u32) -> &[u32] {
        self.sources.get(&cpid).map_or(&[], |sources| sources)
    }

    /// Whether `cpid` is `ancestor`, or came of it.
    pub(crate) fn came_of(&self, cpid: u32, ancestor: u32) -> bool {
        let mut waiting = vec![cpid];
        let mut seen = FastSet::default();
        while let Some(cpid) = waiting.pop() {
            if cpid == ancestor {
                return true;
            }
            if seen.len() < MAX_ANCESTORS && seen.insert(cpid) {
                waiting.extend(self.sources(cpid));
            }
        }
        false
    }
}

/// The changes that carried each CPID so far.
#[derive(Debug, Default)]
pub(crate) struct Carriers {
    newest: FastMap<u32, VecDeque<u32>>,
}

impl Carriers {
    /// A change carries a CPID, or [`NONE`].
    pub(crate) fn add(&mut self, change: u32, cpid: u32) {
        if cpid == NONE {
            return;
        }
        let newest = self.newest.entry(cpid).or_default();
        newest.truncate(MAX_CARRIERS - 1);
        newest.push_front(change);
    }

    /// The changes that carried a CPID, newest first.
    pub(crate) fn of(&self, cpid: u32) -> impl Iterator<Item = u32> + '_ {
        self.newest.get(&cpid).into_iter().flatten().copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn descent_goes_over_many_merges_and_ends_in_circles() {
        let mut mergelogs = Mergelogs::default();
        mergelogs.add(3, Box::new([1, 2]));
        mergelogs.add(5, Box::new([3, 4]));
        mergelogs.add(6, Box::new([7]));
        mergelogs.add(7, Box::new([6]));
        assert!(mergelogs.came_of(5, 1) && mergelogs.came_of(5, 5));
        assert!(!mergelogs.came_of(1, 5) && !mergelogs.came_of(6, 1));
        mergelogs.add(3, Box::new([9]));
        assert_eq!(mergelogs.sources(3), [1, 2]);
    }

    #[test]
    fn the_newest_carriers_are_kept() {
        let mut carriers = Carriers::default();
        for change in 0..100 {
            carriers.add(change, 1);
        }
        carriers.add(100, NONE);
        let newest: Vec<u32> = carriers.of(1).collect();
        assert_eq!((newest.first(), newest.len()), (Some(&99), MAX_CARRIERS));
        assert_eq!(carriers.of(NONE).count(), 0);
    }
}
