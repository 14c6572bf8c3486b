//! What came of each root, counted.

use std::collections::HashSet;

use super::builder::Changes;
use super::change::NO_TIME;
use super::hash::FastMap;
use super::kinds::KindClass;
use super::reach::Reach;
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
    kinds: HashSet<u32>,
    actors: HashSet<u32>,
    others: HashSet<u32>,
    depth: u32,
    /// Newest change that counts for settling: its row and commit.
    last: Option<(u32, i64)>,
    /// Set at the first quiet.
    settled: Option<(u32, i64)>,
}

/// All cascades by root.
#[derive(Debug, Default)]
pub struct Cascades {
    by_root: FastMap<u32, Cascade>,
}

impl Cascades {
    /// Counts what every root reached.
    #[must_use]
    pub fn of(changes: &Changes, roots: &RootSets, reach: &Reach) -> Self {
        let mut collected: FastMap<u32, Collected> = FastMap::default();
        let mut end = NO_TIME;
        for (number, row) in (0_u32..).zip(reach.rows()) {
            let Some(change) = changes.row(row.change) else {
                continue;
            };
            end = end.max(change.commit);
            let all = roots.roots(row.change);
            let cascade = collected.entry(row.root).or_default();
            if all.len() == 1 {
                cascade.exclusive += 1;
            } else {
                cascade.shared += 1;
                cascade
                    .others
                    .extend(all.iter().filter(|root| **root != row.root));
            }
            cascade.objects += u32::from(row.arrival == 1);
            cascade.kinds.insert(change.kind);
            cascade.actors.insert(change.actor);
            cascade.depth = cascade.depth.max(row.depth);
            let is_noise = matches!(
                changes.class(change.kind),
                KindClass::Event | KindClass::Lease
            );
            if is_noise && row.root != row.change {
                continue;
            }
            if let Some((last, commit)) = cascade.last
                && cascade.settled.is_none()
                && change.commit.saturating_sub(commit) > QUIET_NS
            {
                cascade.settled = Some((last, commit));
            }
            cascade.last = Some((number, change.commit));
        }
        let by_root = collected
            .into_iter()
            .map(|(root, found)| (root, found.finish(changes, reach, root, end)))
            .collect();
        Self { by_root }
    }

    /// The cascade of a root.
    #[must_use]
    pub fn get(&self, root: u32) -> Option<Cascade> {
        self.by_root.get(&root).copied()
    }
}

impl Collected {
    fn finish(self, changes: &Changes, reach: &Reach, root: u32, end: i64) -> Cascade {
        let settled = self.settled.or_else(|| {
            self.last
                .filter(|(_, commit)| end.saturating_sub(*commit) > QUIET_NS)
        });
        let started = changes.row(root).map_or(NO_TIME, |root| root.commit);
        let count = |set: &HashSet<u32>| u32::try_from(set.len()).unwrap_or(u32::MAX);
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
