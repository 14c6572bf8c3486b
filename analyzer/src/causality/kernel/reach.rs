//! What each root reached, when, and by which critical path.
//!
//! The critical path from a change back to a root follows, at each step, the cause within the root's
//! reach that was committed last: what the change had to wait for. Its times telescope: they add up to
//! the time since the root.

use super::change::NO_TIME;
use super::changes::Changes;
use super::hash::FastMap;
use super::intern::NONE;
use super::output::Graph;
use super::paths::{Paths, Trails};
use super::root_sets::RootSets;

/// One change that a root reached.
#[derive(Debug, Clone, Copy, PartialEq)]
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
    /// Whether the cascade changes the object no more.
    pub is_last_arrival: bool,
    /// Smallest confidence on the critical path.
    pub min_confidence: f32,
    /// Nanoseconds since the root's commit, from commits to the requests that reacted (without a request span: to their commits).
    pub reaction: i64,
    /// From requests to etcd calls; hops without a request span count nothing.
    pub api: i64,
    /// From etcd calls to commits, likewise.
    pub storage: i64,
}

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
    rows: Vec<Reached>,
    /// Per change: its first row.
    starts: Vec<u32>,
    paths: Paths,
}

/// What each root reached: numbers of rows, in the order of the changes.
#[derive(Debug)]
pub struct ByRoot {
    rows: Vec<u32>,
    /// Per change: where its rows begin if it is a root.
    starts: Vec<u32>,
}

impl ByRoot {
    /// The roots and their rows, in the order of the roots.
    pub fn iter(&self) -> impl Iterator<Item = (u32, &[u32])> {
        (0_u32..)
            .zip(self.starts.windows(2))
            .filter_map(|(root, bounds)| {
                let [start, end] = bounds else {
                    return None;
                };
                let rows = self.rows.get(*start as usize..*end as usize)?;
                (!rows.is_empty()).then_some((root, rows))
            })
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
        let mut reach = Self {
            rows: Vec::with_capacity(changes.rows().len()),
            starts: Vec::with_capacity(changes.rows().len()),
            paths: Paths::default(),
        };
        // (root, object) → its newest row and number of arrivals.
        let mut arrivals: FastMap<(u32, u32), (u32, u32)> = FastMap::default();
        let mut trails = Trails::default();
        for (index, change) in (0_u32..).zip(changes.rows()) {
            let first = u32::try_from(reach.rows.len()).unwrap_or(NONE);
            reach.starts.push(first);
            for root in roots.roots(index) {
                let row = reach.row(changes, graph, *root, index);
                let number = u32::try_from(reach.rows.len()).unwrap_or(NONE);
                let (last, count) = arrivals.entry((*root, change.object)).or_insert((NONE, 0));
                if let Some(last) = reach.rows.get_mut(*last as usize) {
                    last.is_last_arrival = false;
                }
                *last = number;
                *count += 1;
                let arrival = *count;
                reach.rows.push(Reached { arrival, ..row });
                let path = reach
                    .paths
                    .extend(changes, &reach.rows, number, &mut trails);
                if let Some(row) = reach.rows.get_mut(number as usize) {
                    row.path = path;
                }
            }
        }
        reach
    }

    fn row(&self, changes: &Changes, graph: &Graph, root: u32, change: u32) -> Reached {
        let start = Reached {
            root,
            change,
            predecessor: NONE,
            depth: 0,
            path: NONE,
            arrival: 0,
            is_last_arrival: true,
            min_confidence: 1.0,
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

    /// The rows by root.
    #[must_use]
    pub fn by_root(&self) -> ByRoot {
        let mut starts = vec![0_u32; self.starts.len() + 1];
        for row in &self.rows {
            if let Some(count) = starts.get_mut(row.root as usize + 1) {
                *count += 1;
            }
        }
        let mut sum = 0;
        for start in &mut starts {
            sum += *start;
            *start = sum;
        }
        let mut next = starts.clone();
        let mut rows = vec![NONE; self.rows.len()];
        for (number, row) in (0_u32..).zip(&self.rows) {
            let Some(next) = next.get_mut(row.root as usize) else {
                continue;
            };
            if let Some(slot) = rows.get_mut(*next as usize) {
                *slot = number;
            }
            *next += 1;
        }
        ByRoot { rows, starts }
    }

    /// All rows.
    #[must_use]
    pub fn rows(&self) -> &[Reached] {
        &self.rows
    }

    /// The rows of a change, one per root.
    #[must_use]
    pub fn rows_of(&self, change: u32) -> &[Reached] {
        let index = change as usize;
        let Some(start) = self.starts.get(index) else {
            return &[];
        };
        let end = self
            .starts
            .get(index + 1)
            .map_or(self.rows.len(), |end| *end as usize);
        self.rows.get(*start as usize..end).unwrap_or(&[])
    }

    /// The row of a change under a root.
    #[must_use]
    pub fn find(&self, root: u32, change: u32) -> Option<u32> {
        let rows = self.rows_of(change);
        let position = rows.binary_search_by_key(&root, |row| row.root).ok()?;
        let start = self.starts.get(change as usize)?;
        Some(start + u32::try_from(position).ok()?)
    }

    /// The changes of the critical path that ends in a row, the root first.
    #[must_use]
    pub fn critical_path(&self, row: u32) -> Vec<Reached> {
        let mut path = Vec::new();
        let mut next = row;
        while let Some(reached) = self.rows.get(next as usize) {
            path.push(*reached);
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
