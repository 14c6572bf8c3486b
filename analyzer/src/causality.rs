//! The cause of every change, without instrumenting anything.
//!
//! [`kernel`] finds the causes and knows nothing of tables; `load` reads `changes` into it, `tables` makes
//! `edges`, `roots` and the others of what it found. docs/causality.md tells the rules, and how
//! often they are right.

mod actions;
pub(crate) mod agreement;
mod identifiers;
pub mod kernel;
mod load;
mod mergelogs;
pub(crate) mod tables;
#[cfg(test)]
mod tests;
mod told;

use std::ops::Range;
use std::sync::OnceLock;

use uuid::Uuid;

use crate::storage::List;
use actions::Actions;
use kernel::{Cascade, Changes, CpidOrigin, Cpids, Graph, NO_TIME, NONE, Reach, RootSets, Without};
use load::LoadedHistory;
pub(crate) use load::load;
use told::Told;

/// Kinds that say what happened, or that somebody lives, as the tables write them: beside what a cascade is about.
pub(crate) const SIDE_KINDS: [&str; 3] =
    ["Event", "Event.events.k8s.io", "Lease.coordination.k8s.io"];

/// The causes in all histories of a session.
#[derive(Debug)]
pub(crate) struct Causes {
    pub(crate) histories: Vec<History>,
}

/// The causes in one cluster between two restores.
#[derive(Debug)]
pub(crate) struct History {
    pub(crate) cluster_id: String,
    pub(crate) epoch: i32,
    pub(crate) changes: Changes,
    pub(crate) graph: Graph,
    actions: Actions,
    told: Told,
    /// What follows from the graph, each when it is first asked for.
    roots: OnceLock<RootSets>,
    cpids: OnceLock<DerivedCpids>,
    reach: OnceLock<ReachAndPaths>,
    /// The last commit.
    end: OnceLock<i64>,
}

/// Derived CPIDs, with their identifiers.
#[derive(Debug)]
pub(crate) struct DerivedCpids {
    pub(crate) cpids: Cpids,
    /// Bytes of the identifiers.
    ids: List<[u8; 16]>,
}

impl DerivedCpids {
    fn of(cluster_id: &str, epoch: i32, changes: &Changes, graph: &Graph) -> Self {
        let cpids = Cpids::of(graph, &changes.storage);
        let mut ids: List<[u8; 16]> = List::new(&changes.storage);
        for origin in cpids.origins() {
            let id = match origin {
                CpidOrigin::Root(root) => changes.row(root).map_or(Uuid::nil(), |root| {
                    identifiers::root(cluster_id, epoch, root.revision, root.ordinal)
                }),
                CpidOrigin::Merge(sources) => {
                    let sources = sources.iter();
                    let mut sources: Vec<Uuid> = sources
                        .filter_map(|source| ids.get(*source as usize))
                        .map(Uuid::from_bytes)
                        .collect();
                    sources.sort_unstable();
                    identifiers::merge(&sources)
                }
            };
            ids.push(id.into_bytes());
        }
        Self { cpids, ids }
    }

    /// The identifier of a CPID.
    pub(crate) fn id(&self, cpid: u32) -> Option<Uuid> {
        self.ids.get(cpid as usize).map(Uuid::from_bytes)
    }

    /// The CPID of a change.
    pub(crate) fn of_change(&self, change: u32) -> Option<Uuid> {
        self.id(self.cpids.cpid(change)?)
    }
}

/// Reach, with the identifiers of its paths.
#[derive(Debug)]
struct ReachAndPaths {
    reach: Reach,
    path_ids: Vec<i64>,
    /// Per path: the first change that has it.
    first: Vec<u32>,
}

impl Causes {
    /// Finds the causes of all changes, without some of the evidence.
    pub(crate) fn of(loaded: Vec<LoadedHistory>, without: Without) -> Self {
        let histories = loaded
            .into_iter()
            .map(|loaded| {
                let (changes, graph) = kernel::find_causes(loaded.changes, without);
                let actions = Actions::of(&loaded.cluster_id, loaded.epoch, &changes, &graph);
                History {
                    cluster_id: loaded.cluster_id,
                    epoch: loaded.epoch,
                    changes,
                    graph,
                    actions,
                    told: loaded.told,
                    roots: OnceLock::new(),
                    cpids: OnceLock::new(),
                    reach: OnceLock::new(),
                    end: OnceLock::new(),
                }
            })
            .collect();
        Self { histories }
    }

    /// The causes of a cluster and epoch.
    pub(crate) fn history(&self, cluster_id: &str, epoch: i32) -> Option<&History> {
        self.histories
            .iter()
            .find(|history| history.epoch == epoch && history.cluster_id == cluster_id)
    }
}

impl History {
    /// Number of changes.
    pub(crate) fn len(&self) -> u32 {
        // The kernel counts changes with 32 bits.
        u32::try_from(self.changes.rows().len()).unwrap_or(u32::MAX)
    }

    /// The change with this key, searched from `near`, which becomes the place after it: that of the next one if
    /// changes are asked for in order.
    pub(crate) fn find(&self, near: &mut usize, revision: i64, ordinal: i32) -> Option<u32> {
        let rows = self.changes.rows();
        let place = |row: &kernel::Change| (row.revision, row.ordinal);
        let is_at = |at: usize| {
            rows.get(at)
                .is_some_and(|row| place(&row) == (revision, ordinal))
        };
        if !is_at(*near) {
            let all = 0..rows.len();
            *near = rows.partition_point(all, |row| place(row) < (revision, ordinal));
            is_at(*near).then_some(())?;
        }
        let found = u32::try_from(*near).ok()?;
        *near += 1;
        Some(found)
    }

    /// The action that a root belongs to.
    pub(crate) fn action_id(&self, root: u32) -> Option<Uuid> {
        self.actions.id(root)
    }

    /// Who wrote a change, as `changes` tells.
    pub(crate) fn named_actor(&self, change: u32) -> Option<&str> {
        self.told.actor(change)
    }

    /// The changes that carry a CPID by themselves, in order, and the CPIDs.
    pub(crate) fn reported_cpids(&self) -> impl Iterator<Item = (u32, &str)> {
        self.told.reported()
    }

    /// Nanoseconds by which the clock of a change's call was ahead of that of its request.
    pub(crate) fn clock_offset(&self, change: u32) -> Option<i64> {
        self.told.clock_offset(change)
    }

    /// The roots of every change.
    pub(crate) fn roots(&self) -> &RootSets {
        self.roots.get_or_init(|| self.graph.roots())
    }

    /// The CPID of every change.
    pub(crate) fn cpids(&self) -> &DerivedCpids {
        self.cpids.get_or_init(|| {
            DerivedCpids::of(&self.cluster_id, self.epoch, &self.changes, &self.graph)
        })
    }

    /// What every root reached.
    pub(crate) fn reach(&self) -> &Reach {
        &self.reach_and_paths().reach
    }

    fn reach_and_paths(&self) -> &ReachAndPaths {
        self.reach.get_or_init(|| {
            let reach = Reach::of(&self.changes, &self.graph, self.roots());
            let path_ids = (0..reach.paths().len())
                .map(|path| identifiers::path(&reach.paths().text(&self.changes, path)))
                .collect();
            let mut first = vec![NONE; reach.paths().len() as usize];
            for row in reach.rows().iter() {
                if let Some(first) = first.get_mut(row.path as usize)
                    && *first == NONE
                {
                    *first = row.change;
                }
            }
            ReachAndPaths {
                reach,
                path_ids,
                first,
            }
        })
    }

    /// The identifier of a path's signature.
    pub(crate) fn path_id(&self, path: u32) -> i64 {
        let ids = &self.reach_and_paths().path_ids;
        ids.get(path as usize).copied().unwrap_or(0)
    }

    /// The paths that some changes are the first to have.
    pub(crate) fn new_paths(&self, changes: Range<u32>) -> Vec<u32> {
        let found = self.reach_and_paths();
        let mut paths: Vec<u32> = changes
            .flat_map(|change| found.reach.rows_of(change))
            .filter(|row| found.first.get(row.path as usize) == Some(&row.change))
            .map(|row| row.path)
            .collect();
        paths.sort_unstable();
        paths.dedup();
        paths
    }

    /// Bytes that the changes wrote that came of a root.
    pub(crate) fn bytes(&self, root: u32) -> i64 {
        let reach = self.reach();
        let rows = reach.by_root().rows(root);
        let reached = rows
            .iter()
            .filter_map(|row| reach.rows().get(*row as usize));
        reached
            .map(|row| i64::from(self.told.value_bytes(row.change)))
            .sum()
    }

    /// What came of a root.
    pub(crate) fn cascade(&self, root: u32) -> Option<Cascade> {
        let end = self.end.get_or_init(|| {
            let commits = self.changes.rows().iter().map(|change| change.commit);
            commits.max().unwrap_or(NO_TIME)
        });
        Cascade::of(&self.changes, self.roots(), self.reach(), root, *end)
    }
}
