//! What loops say they have seen: `status.observedGeneration`.
//!
//! A loop writes the generation that it worked from into the status, as the last thing of a reconcile.
//! So whatever it wrote before that status came of this generation or an older one, and a
//! generation that an earlier status names had been seen before.

use super::changes::Changes;
use super::intern::NONE;

/// The generations that statuses name, per object and actor in the order of the changes.
#[derive(Debug, Default)]
pub(crate) struct Observed {
    entries: Vec<Entry>,
    /// Per object: where its entries begin.
    starts: Vec<u32>,
}

#[derive(Debug, Clone, Copy)]
struct Entry {
    change: u32,
    actor: u32,
    generation: i64,
}

/// What a loop had seen, and has seen when it next tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) before: Option<i64>,
    pub(crate) after: Option<i64>,
}

impl Observed {
    pub(crate) fn of(changes: &Changes) -> Self {
        let tells = |index: usize| {
            let change = changes.rows.get(index)?;
            let generation = change.observed_generation.get()?;
            (change.facets.is_status_only() && change.actor != NONE).then_some((change, generation))
        };
        let mut counts = vec![0_u32; changes.objects as usize + 1];
        for index in 0..changes.rows.len() {
            if let Some((change, _)) = tells(index)
                && let Some(count) = counts.get_mut(change.object as usize)
            {
                *count += 1;
            }
        }
        let mut start = 0;
        for count in &mut counts {
            let next = start + *count;
            *count = start;
            start = next;
        }
        let nothing = Entry {
            change: NONE,
            actor: NONE,
            generation: 0,
        };
        let mut entries = vec![nothing; start as usize];
        let mut ends = counts.clone();
        for index in 0..changes.rows.len() {
            let Some((change, generation)) = tells(index) else {
                continue;
            };
            let Some(end) = ends.get_mut(change.object as usize) else {
                continue;
            };
            if let Some(entry) = entries.get_mut(*end as usize) {
                *entry = Entry {
                    // The builder counts changes with 32 bits.
                    change: u32::try_from(index).unwrap_or(NONE),
                    actor: change.actor,
                    generation,
                };
            }
            *end += 1;
        }
        // Most objects have a status by one actor, and are in order.
        for bounds in counts.windows(2) {
            let [start, end] = bounds else {
                continue;
            };
            let entries = entries.get_mut(*start as usize..*end as usize);
            if let Some(entries) = entries {
                entries.sort_unstable_by_key(|entry| (entry.actor, entry.change));
            }
        }
        Self {
            entries,
            starts: counts,
        }
    }

    /// What `actor` had seen of `object` before it wrote `change`, and when it wrote it.
    pub(crate) fn seen(&self, object: u32, actor: u32, change: u32) -> Seen {
        let object = object as usize;
        let bounds = self.starts.get(object).zip(self.starts.get(object + 1));
        let entries = bounds
            .and_then(|(start, end)| self.entries.get(*start as usize..*end as usize))
            .unwrap_or(&[]);
        let next = entries.partition_point(|entry| (entry.actor, entry.change) < (actor, change));
        let (before, after) = entries.split_at(next);
        let theirs = |entry: Option<&Entry>| {
            let entry = entry.filter(|entry| entry.actor == actor)?;
            Some(entry.generation)
        };
        Seen {
            before: theirs(before.last()),
            after: theirs(after.first()),
        }
    }
}
