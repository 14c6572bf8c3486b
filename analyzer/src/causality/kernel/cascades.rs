//! What came of each root, counted.

use super::change::NO_TIME;
use super::changes::Changes;
use super::hash::FastSet;
use super::kinds::KindClass;
use super::reach::{Reach, Reached};
use super::root_sets::RootSets;

/// Quiet after which a cascade counts as settled, nanoseconds.
pub const QUIET_NS: i64 = 30_000_000_000;
/// Entries for which the room of a set is kept.
const KEPT_ROOM: usize = 256;

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

/// What is collected of a cascade. Used again for the next one: a trace has millions of them.
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

/// An empty set with the room of one that is no longer needed. Emptying a large one takes longer than making a new one.
fn cleared(mut set: FastSet<u32>) -> FastSet<u32> {
    if set.capacity() > KEPT_ROOM {
        return FastSet::default();
    }
    set.clear();
    set
}

/// All cascades, in the order of their roots.
#[derive(Debug, Default)]
pub struct Cascades {
    cascades: Vec<Cascade>,
}

impl Cascades {
    /// Counts what every root reached.
    #[must_use]
    pub fn of(changes: &Changes, roots: &RootSets, reach: &Reach) -> Self {
        let commits = changes.rows().iter().map(|change| change.commit);
        let end = commits.max().unwrap_or(NO_TIME);
        let mut collected = Collected::default();
        let mut cascades = Vec::new();
        for (root, rows) in reach.by_root().iter() {
            collected.clear();
            for number in rows {
                if let Some(row) = reach.rows().get(*number as usize) {
                    collected.add(changes, roots, *number, row);
                }
            }
            cascades.push(collected.told(changes, reach, root, end));
        }
        cascades.shrink_to_fit();
        Self { cascades }
    }

    /// The cascade of a root.
    #[must_use]
    pub fn get(&self, root: u32) -> Option<Cascade> {
        let found = self
            .cascades
            .binary_search_by_key(&root, |cascade| cascade.root);
        self.cascades.get(found.ok()?).copied()
    }
}

impl Collected {
    /// Forgets all, but keeps the room.
    fn clear(&mut self) {
        *self = Self {
            kinds: cleared(std::mem::take(&mut self.kinds)),
            actors: cleared(std::mem::take(&mut self.actors)),
            others: cleared(std::mem::take(&mut self.others)),
            ..Self::default()
        };
    }

    /// Takes in the next change of the cascade, and the number of its row.
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
