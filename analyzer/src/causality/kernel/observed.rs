//! What loops say they have seen: `status.observedGeneration`.
//!
//! A loop writes the generation that it worked from into the status, as the last thing of a reconcile.
//! So whatever it wrote before that status came of this generation or an older one, and a
//! generation that an earlier status names had been seen before.

use bytemuck::{Pod, Zeroable};

use super::change::Change;
use super::changes::Changes;
use super::intern::NONE;
use crate::storage::List;

/// The generations that statuses name, per object and actor in the order of the changes.
#[derive(Debug, Default)]
pub(crate) struct Observed {
    entries: List<Entry>,
    /// Per object: where its entries begin.
    starts: List<u32>,
}

#[derive(Debug, Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct Entry {
    generation: i64,
    change: u32,
    actor: u32,
}

/// What a loop had seen, and has seen when it next tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) before: Option<i64>,
    pub(crate) after: Option<i64>,
}

impl Observed {
    pub(crate) fn of(changes: &Changes) -> Self {
        let (storage, objects) = (&changes.storage, changes.objects as usize);
        // How many each object has; then where they begin.
        let mut starts = List::filled(storage, 0_u32, objects + 1);
        let tells = || (0_u32..).zip(changes.rows.iter()).filter_map(told_by);
        for entry in tells() {
            starts.update(entry.0, |count| *count += 1);
        }
        let mut ends = List::with_capacity(storage, objects + 1);
        let mut start = 0;
        for object in 0..=objects {
            let count = starts.get(object).unwrap_or(0);
            starts.set(object, start);
            ends.push(start);
            start += count;
        }
        let nothing = Entry {
            generation: 0,
            change: NONE,
            actor: NONE,
        };
        let mut entries = List::filled(storage, nothing, start as usize);
        for (object, entry) in tells() {
            let mut place = 0;
            if ends.update(object, |end| {
                place = *end;
                *end += 1;
            }) {
                entries.set(place as usize, entry);
            }
        }
        let mut observed = Self { entries, starts };
        for object in 0..objects {
            observed.sort(object);
        }
        observed
    }

    /// Puts the entries of an object into the order of actors.
    fn sort(&mut self, object: usize) {
        let order = |entry: &Entry| (entry.actor, entry.change);
        let range = self.range(object);
        // Most objects have a status by one actor, and are in order.
        if range.len() < 2 || self.entries.slice(range.clone()).is_sorted_by_key(order) {
            return;
        }
        let mut entries = self.entries.slice(range.clone()).into_owned();
        entries.sort_unstable_by_key(order);
        for (place, entry) in range.zip(entries) {
            self.entries.set(place, entry);
        }
    }

    /// Where the entries of an object are.
    fn range(&self, object: usize) -> std::ops::Range<usize> {
        let bounds = self.starts.get(object).zip(self.starts.get(object + 1));
        bounds.map_or(0..0, |(start, end)| start as usize..end as usize)
    }

    /// What `actor` had seen of `object` before it wrote `change`, and when it wrote it.
    pub(crate) fn seen(&self, object: u32, actor: u32, change: u32) -> Seen {
        let range = self.range(object as usize);
        let is_before = |entry: &Entry| (entry.actor, entry.change) < (actor, change);
        let next = self.entries.partition_point(range.clone(), is_before);
        let theirs = |place: Option<usize>| {
            let place = place.filter(|place| range.contains(place))?;
            let entry = self.entries.get(place)?;
            (entry.actor == actor).then_some(entry.generation)
        };
        Seen {
            before: theirs(next.checked_sub(1)),
            after: theirs(Some(next)),
        }
    }
}

/// The object, and the generation that a change says its actor has seen.
fn told_by((index, change): (u32, Change)) -> Option<(usize, Entry)> {
    let generation = change.observed_generation.get()?;
    let entry = Entry {
        generation,
        change: index,
        actor: change.actor,
    };
    (change.facets.is_status_only() && change.actor != NONE)
        .then_some((change.object as usize, entry))
}
