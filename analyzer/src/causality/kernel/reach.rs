//! What each root reached, when, and by which critical path.
//!
//! The critical path from a change back to a root follows, at each step, the cause within the root's
//! reach that was committed last: what the change had to wait for. Its times telescope: they add up to
//! the time since the root.

use std::borrow::Cow;
use std::ops::Range;

use bytemuck::{CheckedBitPattern, NoUninit};

use super::change::NO_TIME;
use super::changes::Changes;
use super::hash::FastMap;
use super::intern::NONE;
use super::output::Graph;
use super::paths::{Paths, Trails};
use super::root_sets::RootSets;
use crate::storage::{List, Storage};

/// One change that a root reached.
#[derive(Debug, Clone, Copy, PartialEq, NoUninit, CheckedBitPattern)]
#[repr(C)]
pub struct Reached {
    /// Index of the root.
    pub root: u32,
    /// Index of the change.
    pub change: u32,
    /// Row of the change before it on the critical path, [`NONE`] for the root itself.
    pub predecessor: u32,
    /// Edges of the critical path.
    pub depth: u32,
    /// Number of the critical path's signature.
    pub path: u32,
    /// How often this object was changed in this cascade, this change included.
    pub arrival: u32,
    /// Smallest confidence on the critical path.
    pub min_confidence: f32,
    /// Whether the cascade changes the object no more.
    pub is_last_arrival: bool,
    /// Nothing.
    unused: [u8; 3],
    /// Nanoseconds since the root's commit, from commits to the requests that reacted (without a request span: to their commits).
    pub reaction: i64,
    /// From requests to etcd calls; hops without a request span count nothing.
    pub api: i64,
    /// From etcd calls to commits, likewise.
    pub storage: i64,
}

/// Room for objects that is kept for the next cascade.
const KEPT_ROOM: usize = 4096;

impl Reached {
    /// Nanoseconds from the root's commit to the change's: the parts of all hops together.
    #[must_use]
    pub fn since_root(&self) -> i64 {
        self.reaction + self.api + self.storage
    }
}

/// Everything that every root reached, in the order of the changes, and of the roots of each.
#[derive(Debug)]
pub struct Reach {
    rows: List<Reached>,
    /// Per change: its first row.
    starts: List<u32>,
    by_root: ByRoot,
    paths: Paths,
}

/// What each root reached: numbers of rows, in the order of the changes.
#[derive(Debug, Default)]
pub struct ByRoot {
    rows: List<u32>,
    /// Per change: where its rows begin if it is a root.
    starts: List<u32>,
}

impl ByRoot {
    fn of(storage: &Storage, reached: &List<Reached>, changes: usize) -> Self {
        let mut starts = List::filled(storage, 0_u32, changes + 1);
        for row in reached.iter() {
            starts.update(row.root as usize + 1, |count| *count += 1);
        }
        let mut next = List::with_capacity(storage, changes + 1);
        let mut sum = 0;
        for root in 0..=changes {
            sum += starts.get(root).unwrap_or(0);
            starts.set(root, sum);
            next.push(sum);
        }
        let mut rows = List::filled(storage, NONE, reached.len());
        for (number, row) in (0_u32..).zip(reached.iter()) {
            let mut place = NONE;
            next.update(row.root as usize, |next| {
                place = *next;
                *next += 1;
            });
            rows.set(place as usize, number);
        }
        Self { rows, starts }
    }

    /// The rows of a root; none of what is no root.
    #[must_use]
    pub fn rows(&self, root: u32) -> Cow<'_, [u32]> {
        let root = root as usize;
        let bounds = self.starts.get(root).zip(self.starts.get(root + 1));
        let (start, end) = bounds.unwrap_or_default();
        self.rows.slice(start as usize..end as usize)
    }

    /// The roots and their rows, in the order of the roots.
    pub fn iter(&self) -> impl Iterator<Item = (u32, Cow<'_, [u32]>)> {
        let roots = 0..u32::try_from(self.starts.len()).unwrap_or(NONE);
        roots
            .map(|root| (root, self.rows(root)))
            .filter(|(_, rows)| !rows.is_empty())
    }
}

/// The three parts of a hop; they add up to the time between the two commits.
#[must_use]
pub fn hop_parts(changes: &Changes, cause: u32, effect: u32) -> Option<(i64, i64, i64)> {
    let cause = changes.row(cause)?;
    let effect = changes.row(effect)?;
    if cause.commit == NO_TIME || effect.commit == NO_TIME {
        return None;
    }
    if effect.request == NO_TIME || effect.call == NO_TIME {
        return Some((effect.commit - cause.commit, 0, 0));
    }
    Some((
        effect.request - cause.commit,
        effect.call - effect.request,
        effect.commit - effect.call,
    ))
}

impl Reach {
    /// Follows the chosen edges from every root.
    #[must_use]
    pub fn of(changes: &Changes, graph: &Graph, roots: &RootSets) -> Self {
        let storage = &changes.storage;
        let mut reach = Self {
            rows: List::with_capacity(storage, changes.rows().len()),
            starts: List::with_capacity(storage, changes.rows().len()),
            by_root: ByRoot::default(),
            paths: Paths::default(),
        };
        let mut trails = Trails::new(storage);
        for (index, change) in (0_u32..).zip(changes.rows().iter()) {
            let first = u32::try_from(reach.rows.len()).unwrap_or(NONE);
            reach.starts.push(first);
            for root in roots.roots(index).iter() {
                let row = reach.row(changes, graph, *root, index);
                let before = reach.rows.get(row.predecessor as usize);
                let before = before.map(|before| (row.predecessor, before.path));
                let path = reach.paths.extend(&change, before, &mut trails);
                reach.rows.push(Reached { path, ..row });
            }
        }
        drop(trails);
        reach.by_root = ByRoot::of(storage, &reach.rows, changes.rows().len());
        reach.count_arrivals(changes);
        reach
    }

    /// Counts how often each cascade changed each object. It is done cascade by cascade, since the objects of all together are
    /// many.
    fn count_arrivals(&mut self, changes: &Changes) {
        let mut arrivals: FastMap<u32, (u32, u32)> = FastMap::default();
        for (_, numbers) in self.by_root.iter().filter(|(_, rows)| rows.len() > 1) {
            if arrivals.capacity() > KEPT_ROOM {
                arrivals = FastMap::default();
            }
            arrivals.clear();
            for number in numbers.iter() {
                let row = self.rows.get(*number as usize);
                let Some(change) = row.and_then(|row| changes.row(row.change)) else {
                    continue;
                };
                let (last, count) = arrivals.entry(change.object).or_insert((NONE, 0));
                let before = std::mem::replace(last, *number);
                *count += 1;
                if *count > 1 {
                    let arrival = *count;
                    self.rows
                        .update(before as usize, |row| row.is_last_arrival = false);
                    self.rows
                        .update(*number as usize, |row| row.arrival = arrival);
                }
            }
        }
    }

    /// The rows of every root.
    #[must_use]
    pub fn by_root(&self) -> &ByRoot {
        &self.by_root
    }

    fn row(&self, changes: &Changes, graph: &Graph, root: u32, change: u32) -> Reached {
        let start = Reached {
            root,
            change,
            predecessor: NONE,
            depth: 0,
            path: NONE,
            arrival: 1,
            min_confidence: 1.0,
            is_last_arrival: true,
            unused: [0; 3],
            reaction: 0,
            api: 0,
            storage: 0,
        };
        let commit = |change: u32| changes.row(change).map(|row| row.commit);
        let critical = graph
            .chosen(change)
            .filter_map(|edge| Some((edge, self.find(root, edge.cause)?)))
            .max_by_key(|(edge, _)| (commit(edge.cause), edge.cause));
        let Some((edge, before)) = critical else {
            return start;
        };
        let Some(predecessor) = self.rows.get(before as usize) else {
            return start;
        };
        let (reaction, api, storage) = hop_parts(changes, edge.cause, change).unwrap_or((0, 0, 0));
        Reached {
            predecessor: before,
            depth: predecessor.depth + 1,
            min_confidence: predecessor.min_confidence.min(edge.confidence),
            reaction: predecessor.reaction + reaction,
            api: predecessor.api + api,
            storage: predecessor.storage + storage,
            ..start
        }
    }

    /// All rows.
    #[must_use]
    pub fn rows(&self) -> &List<Reached> {
        &self.rows
    }

    /// The rows of a change, one per root.
    pub fn rows_of(&self, change: u32) -> impl Iterator<Item = Reached> + '_ {
        self.rows.range(self.places(change))
    }

    /// Where the rows of a change are.
    fn places(&self, change: u32) -> Range<usize> {
        let index = change as usize;
        let Some(start) = self.starts.get(index) else {
            return 0..0;
        };
        let end = self.starts.get(index + 1);
        start as usize..end.map_or(self.rows.len(), |end| end as usize)
    }

    /// The row of a change in the reach of a root.
    #[must_use]
    pub fn find(&self, root: u32, change: u32) -> Option<u32> {
        let places = self.places(change);
        let place = match places.len() {
            // Most changes have one root.
            0 | 1 => places.start,
            _ => self
                .rows
                .partition_point(places.clone(), |row| row.root < root),
        };
        let row = self.rows.get(place).filter(|_| place < places.end)?;
        (row.root == root).then(|| u32::try_from(place).ok())?
    }

    /// The changes of the critical path that ends in a row, the root first.
    #[must_use]
    pub fn critical_path(&self, row: u32) -> Vec<Reached> {
        let mut path = Vec::new();
        let mut next = row;
        while let Some(reached) = self.rows.get(next as usize) {
            path.push(reached);
            next = reached.predecessor;
        }
        path.reverse();
        path
    }

    /// Signatures of the critical paths.
    #[must_use]
    pub fn paths(&self) -> &Paths {
        &self.paths
    }
}
