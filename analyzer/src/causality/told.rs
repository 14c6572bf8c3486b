//! What the tables tell of changes beside their causes: kept while the changes are read, so that nothing else need be.

use super::kernel::{Interner, NONE};
use crate::derive::writes::Write;
use crate::storage::{List, Storage};

/// What is known of each change, by its number.
#[derive(Debug, Default)]
pub(super) struct Told {
    value_bytes: List<i32>,
    named: Named,
    clock_offsets: ClockOffsets,
    reported: Reported,
}

impl Told {
    /// Nothing yet.
    pub(super) fn new(storage: &Storage) -> Self {
        Self {
            value_bytes: List::new(storage),
            named: Named {
                names: Interner::default(),
                of_change: List::new(storage),
            },
            ..Self::default()
        }
    }

    /// Adds the next change: how it was made, and how many bytes it wrote.
    pub(super) fn push(&mut self, write: &Write<'_>, value_bytes: i32) {
        // The kernel counts changes with 32 bits.
        let change = u32::try_from(self.value_bytes.len()).unwrap_or(NONE);
        self.value_bytes.push(value_bytes);
        self.named.push(write.actor);
        self.clock_offsets.push(write.clock_offset);
        if let Some(cpid) = write.cpid_reported {
            self.reported.push(change, cpid);
        }
    }

    /// Bytes of the value that a change wrote.
    pub(super) fn value_bytes(&self, change: u32) -> i32 {
        self.value_bytes.get(change as usize).unwrap_or(0)
    }

    /// Who wrote a change, as `changes` tells.
    pub(super) fn actor(&self, change: u32) -> Option<&str> {
        self.named.actor(change)
    }

    /// Nanoseconds by which the clock of a change's call was ahead of that of its request.
    pub(super) fn clock_offset(&self, change: u32) -> Option<i64> {
        self.clock_offsets.of(change)
    }

    /// The changes that carry a CPID by themselves, in order, and the CPIDs.
    pub(super) fn reported(&self) -> impl Iterator<Item = (u32, &str)> {
        let reported = self.reported.cpids.iter();
        reported.filter_map(|(change, cpid)| Some((*change, self.reported.texts.text(*cpid)?)))
    }
}

/// CPIDs that changes carry by themselves; most carry none.
#[derive(Debug, Default)]
struct Reported {
    texts: Interner,
    /// The change, and the number of its CPID.
    cpids: Vec<(u32, u32)>,
}

impl Reported {
    fn push(&mut self, change: u32, cpid: &str) {
        let cpid = self.texts.number(cpid);
        self.cpids.push((change, cpid));
    }
}

/// By how much the clocks of kube-apiserver and interceptor differed at each change. It seldom changes, and is kept as
/// runs: the first change of each, and the nanoseconds.
#[derive(Debug, Default)]
struct ClockOffsets {
    runs: Vec<(u32, Option<i64>)>,
    changes: u32,
}

impl ClockOffsets {
    /// Adds the next change.
    fn push(&mut self, offset: Option<i64>) {
        if self.runs.last().is_none_or(|(_, last)| *last != offset) {
            self.runs.push((self.changes, offset));
        }
        self.changes += 1;
    }

    /// Nanoseconds by which the clock of a change's call was ahead of that of its request.
    fn of(&self, change: u32) -> Option<i64> {
        let next = self.runs.partition_point(|(first, _)| *first <= change);
        self.runs.get(next.checked_sub(1)?)?.1
    }
}

/// Who wrote each change as the recording tells it; the kernel finds out more.
#[derive(Debug, Default)]
struct Named {
    names: Interner,
    of_change: List<u32>,
}

impl Named {
    /// Adds the next change.
    fn push(&mut self, name: Option<&str>) {
        let number = name.map_or(NONE, |name| self.names.number(name));
        self.of_change.push(number);
    }

    /// Who wrote a change.
    fn actor(&self, change: u32) -> Option<&str> {
        let number = self.of_change.get(change as usize)?;
        self.names.text(number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_pushed_is_told_by_number() {
        let mut told = Told::default();
        let write = |actor, clock_offset, cpid_reported| Write {
            actor,
            clock_offset,
            cpid_reported,
            ..Write::default()
        };
        told.push(&write(Some("kubectl"), Some(5), None), 10);
        told.push(&write(None, Some(5), Some("a")), 0);
        told.push(&write(Some("kubelet"), None, Some("b")), 30);
        told.push(&write(Some("kubectl"), Some(7), Some("a")), 40);
        let actors = [0, 1, 2, 3, 4].map(|change| told.actor(change));
        let [first, nobody, other, same, missing] = actors;
        assert_eq!((first, same), (Some("kubectl"), Some("kubectl")));
        assert_eq!((nobody, other, missing), (None, Some("kubelet"), None));
        let offsets = [0, 1, 2, 3].map(|change| told.clock_offset(change));
        assert_eq!(offsets, [Some(5), Some(5), None, Some(7)]);
        assert_eq!(
            [0, 3, 4].map(|change| told.value_bytes(change)),
            [10, 40, 0]
        );
        let reported: Vec<(u32, &str)> = told.reported().collect();
        assert_eq!(reported, [(1, "a"), (2, "b"), (3, "a")]);
    }
}
