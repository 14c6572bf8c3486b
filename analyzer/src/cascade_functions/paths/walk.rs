//! Finds the arrivals in one cascade, and the critical path to each.

use std::collections::HashMap;

use crate::cascade_functions::endpoint::StepWords;
use crate::cascade_functions::rows::Key;
use crate::cascade_functions::sums::Sums;
use crate::causality::SIDE_KINDS;
use crate::causality::kernel::MAX_STEPS;

/// Whether a change is beside what a cascade is about: no cascade ends with it.
pub(super) fn is_side(words: &StepWords) -> bool {
    SIDE_KINDS.contains(&words.kind.as_str())
}

/// A change that a root reached.
#[derive(Debug, Clone, Copy)]
pub(super) struct Reached {
    /// Number of the history.
    pub(super) history: usize,
    pub(super) root: Key,
    pub(super) key: Key,
    /// What was before it on the critical path.
    pub(super) before: Option<Key>,
    /// Since the root.
    pub(super) sums: Sums,
    /// Number of the words for it.
    pub(super) step: u32,
    /// Number of its operation and facet.
    pub(super) aspect: u32,
    pub(super) object: u32,
    pub(super) namespace: Option<u32>,
    pub(super) name: Option<u32>,
    /// Whether it reached the milestone that is asked for.
    pub(super) is_milestone: bool,
    pub(super) min_confidence: f64,
}

/// The first time that an object fits the end of a path, after a start.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Arrival {
    pub(super) history: usize,
    pub(super) root: Key,
    pub(super) start: Key,
    pub(super) key: Key,
    pub(super) step: u32,
    pub(super) object: u32,
    pub(super) namespace: Option<u32>,
    pub(super) name: Option<u32>,
    /// Since the start.
    pub(super) sums: Sums,
    /// The steps of the signature, each with the time since the step before it; they add up.
    pub(super) steps: Vec<(u32, i64)>,
    /// Whether no other object arrived later after the same start.
    pub(super) is_last: bool,
    pub(super) min_confidence: f64,
}

/// The rows of one root.
#[derive(Debug)]
pub(super) struct Cascade {
    /// Per step whether a path may begin there; `None`: at the root.
    from: Option<Vec<bool>>,
    /// Per step whether a path may end there; `None`: with the last change.
    to: Option<Vec<bool>>,
    side: Vec<bool>,
    rows: Vec<Reached>,
    /// Position of what was before each row.
    before: Vec<Option<usize>>,
    positions: HashMap<Key, usize>,
}

impl Cascade {
    pub(super) fn new(from: Option<Vec<bool>>, to: Option<Vec<bool>>, side: Vec<bool>) -> Self {
        Self {
            from,
            to,
            side,
            rows: Vec::new(),
            before: Vec::new(),
            positions: HashMap::new(),
        }
    }

    /// Adds the next row, in revision order.
    pub(super) fn add(&mut self, row: Reached) {
        let before = row.before.and_then(|key| self.positions.get(&key).copied());
        self.positions.insert(row.key, self.rows.len());
        self.rows.push(row);
        self.before.push(before);
    }

    /// The arrivals among the rows so far, which are forgotten.
    pub(super) fn finish(&mut self) -> Vec<Arrival> {
        let mut arrivals = Vec::new();
        // The nearest start before each row.
        let mut starts: Vec<Option<usize>> = Vec::with_capacity(self.rows.len());
        for position in 0..self.rows.len() {
            starts.push(self.start_of(position, &starts));
        }
        match &self.to {
            Some(fits) => {
                for (position, row) in self.rows.iter().enumerate() {
                    if row.is_milestone
                        && fits.get(row.step as usize) == Some(&true)
                        && let Some(start) = starts.get(position).copied().flatten()
                    {
                        arrivals.extend(self.arrival(start, position));
                    }
                }
            }
            None => arrivals.extend(self.ends(&starts)),
        }
        self.rows.clear();
        self.before.clear();
        self.positions.clear();
        arrivals
    }

    /// The nearest change before a row, on its critical path, with which a path may begin.
    fn start_of(&self, position: usize, starts: &[Option<usize>]) -> Option<usize> {
        let before = self.before.get(position).copied().flatten()?;
        let is_start = match &self.from {
            Some(fits) => {
                let row = self.rows.get(before)?;
                fits.get(row.step as usize) == Some(&true)
            }
            None => self.before.get(before).is_some_and(Option::is_none),
        };
        if is_start {
            return Some(before);
        }
        starts.get(before).copied().flatten()
    }

    /// For each start, the path to the last change after it.
    fn ends(&self, starts: &[Option<usize>]) -> Vec<Arrival> {
        let mut last: HashMap<usize, usize> = HashMap::new();
        for (position, start) in starts.iter().enumerate() {
            let (Some(start), Some(row)) = (start, self.rows.get(position)) else {
                continue;
            };
            if self.side.get(row.step as usize) == Some(&true) {
                continue;
            }
            let known = last.get(start).and_then(|known| self.rows.get(*known));
            if known.is_none_or(|known| (known.sums.total, known.key) <= (row.sums.total, row.key))
            {
                last.insert(*start, position);
            }
        }
        let mut ends: Vec<(usize, usize)> = last.into_iter().collect();
        ends.sort_unstable();
        ends.into_iter()
            .filter_map(|(start, end)| self.arrival(start, end))
            .collect()
    }

    fn arrival(&self, start: usize, end: usize) -> Option<Arrival> {
        let (first, row) = (self.rows.get(start)?, self.rows.get(end)?);
        // From the end back; where an object passes through the same aspect more than once, the last counts,
        // as in `path_steps`.
        let mut passed: Vec<(u32, u32)> = Vec::new();
        let mut told: Vec<&Reached> = Vec::new();
        let mut next = Some(end);
        while let Some(position) = next
            && told.len() < MAX_STEPS
        {
            let reached = self.rows.get(position)?;
            if !passed.contains(&(reached.object, reached.aspect)) {
                passed.push((reached.object, reached.aspect));
                told.push(reached);
            }
            next = match position == start {
                true => None,
                false => self.before.get(position).copied().flatten(),
            };
        }
        let mut before = first.sums.total;
        let steps = told.into_iter().rev().map(|reached| {
            let hop = reached.sums.total - before;
            before = reached.sums.total;
            (reached.step, hop)
        });
        Some(Arrival {
            history: row.history,
            root: row.root,
            start: first.key,
            key: row.key,
            step: row.step,
            object: row.object,
            namespace: row.namespace,
            name: row.name,
            sums: row.sums.since(first.sums),
            steps: steps.collect(),
            is_last: false,
            min_confidence: row.min_confidence,
        })
    }
}

/// Keeps the first arrival of each object after each start, and marks the last object after each. A start that
/// several roots reached counts once.
pub(super) fn keep_first(arrivals: &mut Vec<Arrival>) {
    arrivals.sort_by_key(|arrival| (arrival.history, arrival.start, arrival.object, arrival.key));
    arrivals.dedup_by_key(|arrival| (arrival.history, arrival.start, arrival.object));
    arrivals.sort_by_key(|arrival| {
        (
            arrival.history,
            arrival.start,
            arrival.sums.total,
            arrival.key,
        )
    });
    for index in 0..arrivals.len() {
        let place = |arrival: &Arrival| (arrival.history, arrival.start);
        let next = arrivals.get(index + 1).map(place);
        if let Some(arrival) = arrivals.get_mut(index) {
            arrival.is_last = next != Some(place(arrival));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reached(revision: i64, before: Option<i64>, step: u32, object: u32) -> Reached {
        Reached {
            history: 0,
            root: (1, 0),
            key: (revision, 0),
            before: before.map(|revision| (revision, 0)),
            sums: Sums {
                total: (revision - 1) * 10,
                ..Sums::default()
            },
            step,
            aspect: step,
            object,
            namespace: None,
            name: None,
            is_milestone: true,
            min_confidence: 1.0,
        }
    }

    /// Steps: 0 a Deployment changes, 1 its Pod is created, 2 the Pod changes.
    fn arrivals(from: Option<Vec<bool>>, to: Option<Vec<bool>>) -> Vec<Arrival> {
        let mut cascade = Cascade::new(from, to, vec![false; 3]);
        for row in [
            reached(1, None, 0, 0),
            reached(2, Some(1), 1, 1),
            reached(3, Some(1), 1, 2),
            reached(4, Some(2), 2, 1),
            reached(5, Some(4), 2, 1),
            reached(6, Some(3), 2, 2),
        ] {
            cascade.add(row);
        }
        let mut arrivals = cascade.finish();
        keep_first(&mut arrivals);
        arrivals
    }

    fn told(arrivals: &[Arrival]) -> Vec<(i64, i64, i64, bool)> {
        let told = arrivals.iter().map(|arrival| {
            (
                arrival.start.0,
                arrival.key.0,
                arrival.sums.total,
                arrival.is_last,
            )
        });
        told.collect()
    }

    #[test]
    fn every_object_arrives_once_and_one_is_last() {
        let found = arrivals(None, Some(vec![false, false, true]));
        assert_eq!(told(&found), [(1, 4, 30, false), (1, 6, 50, true)]);
        for arrival in &found {
            let sum: i64 = arrival.steps.iter().map(|(_, hop)| hop).sum();
            assert_eq!(sum, arrival.sums.total);
            assert_eq!(arrival.steps.len(), 3);
        }
    }

    #[test]
    fn a_path_begins_at_the_nearest_start() {
        let found = arrivals(
            Some(vec![true, true, false]),
            Some(vec![false, false, true]),
        );
        assert_eq!(told(&found), [(2, 4, 20, true), (3, 6, 30, true)]);
    }

    #[test]
    fn without_an_end_it_is_the_last_change() {
        let found = arrivals(None, None);
        assert_eq!(told(&found), [(1, 6, 50, true)]);
    }

    #[test]
    fn what_an_object_does_again_is_told_once() {
        let mut cascade = Cascade::new(None, None, vec![false; 3]);
        for row in [
            reached(1, None, 0, 0),
            reached(2, Some(1), 2, 1),
            reached(3, Some(2), 2, 1),
            reached(4, Some(3), 0, 0),
        ] {
            cascade.add(row);
        }
        let found = cascade.finish();
        let [arrival] = found.as_slice() else {
            panic!("{found:?}");
        };
        // The root's own step comes again at the end, and the second change of the Pod counts.
        assert_eq!(arrival.steps, [(2, 20), (0, 10)]);
    }
}
