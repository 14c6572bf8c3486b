//! Change Propagation IDs by the paper's rule (arXiv:2411.01336), over trigger edges.
//!
//! A change without a cause starts a CPID. One whose causes have one CPID carries it. If the causes have
//! several, those that another one descends from do not count; if more than one is left, they are
//! merged into a new CPID. Equal sources give the same CPID.

use super::hash::FastMap;
use super::output::Graph;
use crate::storage::{List, Storage};

/// Ancestors known of a CPID, newest first. As in the paper, fewer only make more merges: what can be
/// reached from a CPID stays the same.
pub const KEPT_ANCESTORS: usize = 64;

/// What a CPID stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CpidOrigin {
    /// The change that started it.
    Root(u32),
    /// The CPIDs that met, ascending.
    Merge(Box<[u32]>),
}

/// The CPID of every change.
#[derive(Debug, Default)]
pub struct Cpids {
    of_change: List<u32>,
    /// Per CPID: the change that carried it first.
    first: List<u32>,
    /// What merged CPIDs were made of.
    sources: FastMap<u32, Box<[u32]>>,
    /// What merged CPIDs descend from.
    ancestors: FastMap<u32, Box<[u32]>>,
    merges: FastMap<Box<[u32]>, u32>,
}

impl Cpids {
    /// Follows the chosen edges of all changes.
    #[must_use]
    pub fn of(graph: &Graph, storage: &Storage) -> Self {
        let mut cpids = Self {
            of_change: List::with_capacity(storage, graph.len()),
            first: List::new(storage),
            ..Self::default()
        };
        let mut sources = Vec::new();
        for change in 0..graph.len() {
            // The kernel counts changes with 32 bits.
            let Ok(change) = u32::try_from(change) else {
                break;
            };
            sources.clear();
            sources.extend(
                graph
                    .chosen(change)
                    .filter_map(|edge| cpids.of_change.get(edge.cause as usize)),
            );
            let cpid = cpids.merge(change, &mut sources);
            cpids.of_change.push(cpid);
        }
        // What only merging needs.
        cpids.ancestors = FastMap::default();
        cpids.merges = FastMap::default();
        cpids
    }

    /// The CPID of a change.
    #[must_use]
    pub fn cpid(&self, change: u32) -> Option<u32> {
        self.of_change.get(change as usize)
    }

    /// What each CPID stands for, sources before what they were merged into.
    pub fn origins(&self) -> impl Iterator<Item = CpidOrigin> + '_ {
        let numbered = (0_u32..).zip(self.first.iter());
        numbered.map(|(cpid, first)| match self.sources.get(&cpid) {
            Some(sources) => CpidOrigin::Merge(sources.clone()),
            None => CpidOrigin::Root(first),
        })
    }

    /// The CPIDs that a CPID was made of, ascending; none of one that a change started.
    #[must_use]
    pub fn sources(&self, cpid: u32) -> &[u32] {
        self.sources.get(&cpid).map_or(&[], |sources| sources)
    }

    /// The change that carried a CPID first.
    #[must_use]
    pub fn first(&self, cpid: u32) -> Option<u32> {
        self.first.get(cpid as usize)
    }

    fn merge(&mut self, change: u32, sources: &mut Vec<u32>) -> u32 {
        sources.sort_unstable();
        sources.dedup();
        match sources.as_slice() {
            [] => return self.add(change),
            [one] => return *one,
            _ => {}
        }
        let all = sources.clone();
        sources.retain(|source| !all.iter().any(|other| self.descends(*other, *source)));
        if let [one] = sources.as_slice() {
            return *one;
        }
        let merged: Box<[u32]> = sources.as_slice().into();
        if let Some(known) = self.merges.get(&merged) {
            return *known;
        }
        let mut ancestors: Vec<u32> = sources.clone();
        for source in sources.iter() {
            ancestors.extend(self.ancestors.get(source).into_iter().flatten());
        }
        ancestors.sort_unstable_by(|left, right| right.cmp(left));
        ancestors.dedup();
        ancestors.truncate(KEPT_ANCESTORS);
        let cpid = self.add(change);
        self.sources.insert(cpid, merged.clone());
        self.ancestors.insert(cpid, ancestors.into_boxed_slice());
        self.merges.insert(merged, cpid);
        cpid
    }

    fn descends(&self, cpid: u32, ancestor: u32) -> bool {
        self.ancestors
            .get(&cpid)
            .is_some_and(|ancestors| ancestors.contains(&ancestor))
    }

    /// A new CPID, which a change carries first.
    fn add(&mut self, change: u32) -> u32 {
        // There are not more CPIDs than changes.
        let cpid = u32::try_from(self.first.len()).unwrap_or(u32::MAX);
        self.first.push(change);
        cpid
    }
}

#[cfg(test)]
mod tests {
    use super::super::evidence::{Evidence, Relation};
    use super::super::output::Edge;
    use super::*;

    fn graph(causes: &[&[u32]]) -> Graph {
        let mut graph = Graph::new(causes.len(), &Storage::default());
        for causes in causes {
            graph.begin();
            for cause in *causes {
                graph.push(Edge {
                    cause: *cause,
                    evidence: Evidence::of(Relation::Owner),
                    confidence: 1.0,
                    is_chosen: true,
                });
            }
        }
        graph
    }

    /// The authors' fixture: 3={1,2}, 5={2,4}, 6={3,5}, 8={3,7}.
    #[test]
    fn causes_that_meet_are_merged() {
        let cpids = Cpids::of(
            &graph(&[&[], &[], &[0, 1], &[], &[1, 3], &[2, 4], &[], &[2, 6]]),
            &Storage::default(),
        );
        let merge = |sources: &[u32]| CpidOrigin::Merge(sources.into());
        let origins = [
            CpidOrigin::Root(0),
            CpidOrigin::Root(1),
            merge(&[0, 1]),
            CpidOrigin::Root(3),
            merge(&[1, 3]),
            merge(&[2, 4]),
            CpidOrigin::Root(6),
            merge(&[2, 6]),
        ];
        assert!(cpids.origins().eq(origins));
    }

    #[test]
    fn an_older_cpid_is_not_merged_again() {
        // 2 merges 0 and 1; 3 meets 2 and the older 0: nothing new. 4 merges 0 and 1 again.
        let cpids = Cpids::of(
            &graph(&[&[], &[], &[0, 1], &[2, 0], &[1, 0]]),
            &Storage::default(),
        );
        assert_eq!(cpids.cpid(3), cpids.cpid(2));
        assert_eq!(cpids.cpid(4), cpids.cpid(2));
        assert_eq!(cpids.origins().count(), 3);
        assert_eq!(cpids.first(2), Some(2));
    }

    /// The crate for controllers has the same rule.
    #[test]
    fn the_rule_is_that_of_controllers() {
        use cascade_cpid::{ChangeContext, Merged, merge_with};
        let causes: &[&[u32]] = &[
            &[],
            &[],
            &[0, 1],
            &[],
            &[1, 3],
            &[2, 4],
            &[5, 0, 2],
            &[5, 3],
            &[4, 0],
        ];
        let cpids = Cpids::of(&graph(causes), &Storage::default());
        let mut contexts: Vec<ChangeContext> = Vec::new();
        for (change, causes) in (0..).zip(causes) {
            let sources = causes.iter().map(|cause| contexts[*cause as usize].clone());
            let merged = merge_with(sources, KEPT_ANCESTORS, |sources| sources.join("+"));
            let context = match merged {
                Merged::Nothing => ChangeContext {
                    cpid: format!("{change}"),
                    ancestors: Vec::new(),
                },
                Merged::Reuse(context) | Merged::New { context, .. } => context,
            };
            contexts.push(context);
        }
        for left in 0..causes.len() {
            for right in 0..causes.len() {
                let derived = cpids.cpid(left as u32) == cpids.cpid(right as u32);
                let carried = contexts[left].cpid == contexts[right].cpid;
                assert_eq!(derived, carried, "{left} {right}");
            }
        }
    }
}
