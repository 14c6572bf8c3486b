//! What came of each root, counted.

use super::change::NO_TIME;
use super::changes::Changes;
use super::hash::FastSet;
use super::kinds::KindClass;
use super::reach::{Reach, Reached};
use super::root_sets::RootSets;

/// Quiet after which a cascade counts as settled, nanoseconds.
pub const QUIET_NS: i64 = 30_000_000_000;

/// One root's cascade.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cascade {
    /// Index of the root.
    pub root: u32,
    /// Changes that came of this root alone, itself included.
    pub exclusive: u32,
    /// Changes that came of other roots too.
    pub shared: u32,
    /// Objects changed.
    pub objects: u32,
    /// Kinds of these objects.
    pub kinds: u32,
    /// Actors that changed them.
    pub actors: u32,
    /// Longest critical path.
    pub depth: u32,
    /// Other roots that it shares changes with.
    pub merged_with: u32,
    /// Commit of the last change before [`QUIET_NS`] of quiet; `None` when the trace ends before.
    pub settled: Option<i64>,
    /// From the root's commit until then.
    pub settled_after: Option<i64>,
    /// Signature of the critical path to that change.
    pub path: Option<u32>,
}

/// What is collected of a cascade.
#[derive(Debug, Default)]
struct Collected {
    exclusive: u32,
    shared: u32,
    objects: u32,
    kinds: FastSet<u32>,
    actors: FastSet<u32>,
    others: FastSet<u32>,
    depth: u32,
    /// Newest change that counts for settling: its row and commit.
    last: Option<(u32, i64)>,
    /// Set at the first quiet.
    settled: Option<(u32, i64)>,
}

impl Cascade {
    /// Counts what a root reached, in a trace that ends at `end`; `None` if it is no root.
    #[must_use]
    pub fn of(
        changes: &Changes,
        roots: &RootSets,
        reach: &Reach,
        root: u32,
        end: i64,
    ) -> Option<Self> {
        let rows = reach.by_root().rows(root);
        if rows.is_empty() {
            return None;
        }
        let mut collected = Collected::default();
        for number in rows.iter() {
            if let Some(row) = reach.rows().get(*number as usize) {
                collected.add(changes, roots, *number, &row);
            }
        }
        Some(collected.told(changes, reach, root, end))
    }
}

impl Collected {
    fn add(&mut self, changes: &Changes, roots: &RootSets, number: u32, row: &Reached) {
        let Some(change) = changes.row(row.change) else {
            return;
        };
        let all = roots.roots(row.change);
        if all.len() == 1 {
            self.exclusive += 1;
        } else {
            self.shared += 1;
            self.others
                .extend(all.iter().filter(|root| **root != row.root));
        }
        self.objects += u32::from(row.arrival == 1);
        self.kinds.insert(change.kind);
        self.actors.insert(change.actor);
        self.depth = self.depth.max(row.depth);
        let is_noise = matches!(
            changes.class(change.kind),
            KindClass::Event | KindClass::Lease
        );
        if is_noise && row.root != row.change {
            return;
        }
        if let Some((last, commit)) = self.last
            && self.settled.is_none()
            && change.commit.saturating_sub(commit) > QUIET_NS
        {
            self.settled = Some((last, commit));
        }
        self.last = Some((number, change.commit));
    }

    /// The cascade; the trace ends at `end`.
    fn told(&self, changes: &Changes, reach: &Reach, root: u32, end: i64) -> Cascade {
        let settled = self.settled.or_else(|| {
            self.last
                .filter(|(_, commit)| end.saturating_sub(*commit) > QUIET_NS)
        });
        let started = changes.row(root).map_or(NO_TIME, |root| root.commit);
        let count = |set: &FastSet<u32>| u32::try_from(set.len()).unwrap_or(u32::MAX);
        Cascade {
            root,
            exclusive: self.exclusive,
            shared: self.shared,
            objects: self.objects,
            kinds: count(&self.kinds),
            actors: count(&self.actors),
            depth: self.depth,
            merged_with: count(&self.others),
            settled: settled.map(|(_, commit)| commit),
            settled_after: settled.map(|(_, commit)| commit.saturating_sub(started)),
            path: settled
                .or(self.last)
                .and_then(|(row, _)| reach.rows().get(row as usize))
                .map(|row| row.path),
        }
    }
}
