//! The changes of a cascade as lines of a tree: the critical path in full, what branches off it as deep as is asked
//! for, and changes alike as one line.

use std::collections::{HashMap, HashSet};

use super::cascade_model::{CascadeTrace, ReachedChange};
use crate::causality::SIDE_KINDS;

/// So many lines are shown unless more are asked for.
const FITTING_LINES: usize = 40;
/// Branches are shown at most so deep unless more is asked for.
const FITTING_DEPTH: usize = 6;
/// So many changes alike are one line.
const FOLDED_FROM: usize = 3;

/// How much is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Extent {
    /// As deep as fits on a page; everything, if that does.
    Fitting,
    /// Branches of the critical path so many levels deep.
    Depth(usize),
    /// Every change, Events and Leases too.
    Everything,
}

/// A line of the tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Line {
    /// A change, by its position.
    Change {
        position: usize,
        depth: usize,
        /// What came of it and is not shown.
        below: Below,
    },
    /// Changes alike.
    Alike { depth: usize, alike: Alike },
}

/// Changes that are only counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Below {
    pub(super) changes: i64,
    /// Since the root, of the last of them.
    pub(super) last_ns: i64,
}

/// Changes of one kind by one actor, with the same trigger.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Alike {
    /// Position of the first.
    pub(super) first: usize,
    pub(super) count: usize,
    /// What the names of their objects have in common.
    pub(super) object: String,
    /// Since the root.
    pub(super) min_ns: i64,
    pub(super) p50_ns: i64,
    pub(super) max_ns: i64,
    pub(super) below: Below,
}

/// The changes as a tree, by their triggers.
pub(super) struct Tree<'a> {
    pub(super) changes: &'a [ReachedChange],
    children: HashMap<usize, Vec<usize>>,
    pub(super) critical: HashSet<usize>,
    /// What is shown at and below each one; itself included.
    below: Vec<Below>,
    hidden: Vec<bool>,
}

impl Below {
    fn add(&mut self, other: Self) {
        self.changes += other.changes;
        self.last_ns = self.last_ns.max(other.last_ns);
    }
}

impl<'a> Tree<'a> {
    pub(super) fn new(trace: &'a CascadeTrace, has_side_kinds: bool) -> Self {
        let changes = trace.changes.as_slice();
        let critical: HashSet<usize> = trace.critical_path.iter().copied().collect();
        let mut children: HashMap<usize, Vec<usize>> = HashMap::new();
        let mut hidden: Vec<bool> = changes
            .iter()
            .enumerate()
            .map(|(position, change)| {
                let is_side = SIDE_KINDS.contains(&change.kind.as_str());
                !has_side_kinds && is_side && position > 0 && !critical.contains(&position)
            })
            .collect();
        for (position, change) in changes.iter().enumerate() {
            if let Some(trigger) = change.trigger {
                children.entry(trigger).or_default().push(position);
            }
        }
        let mut below = vec![Below::default(); changes.len()];
        // What is below is complete before it is added to what is above: triggers come first.
        for (position, change) in changes.iter().enumerate().rev() {
            let is_shown = hidden.get(position).is_some_and(|hidden| !hidden);
            let Some(own) = below.get_mut(position) else {
                continue;
            };
            if is_shown {
                own.add(Below {
                    changes: 1,
                    last_ns: change.since_root_ns,
                });
            }
            let own = *own;
            let Some(trigger) = change.trigger else {
                continue;
            };
            if let Some(above) = below.get_mut(trigger) {
                above.add(own);
            }
            // What leads to something that is shown is shown.
            if let Some(hidden) = hidden.get_mut(trigger).filter(|_| is_shown) {
                *hidden = false;
            }
        }
        Self {
            changes,
            children,
            critical,
            below,
            hidden,
        }
    }

    /// Number of changes that are not shown, being Events and Leases.
    pub(super) fn side_changes(&self) -> usize {
        self.hidden.iter().filter(|hidden| **hidden).count()
    }

    /// The lines, and how deep branches are shown; `None` if everything is.
    pub(super) fn lines(&self, extent: Extent) -> (Vec<Line>, Option<usize>) {
        let everything = || self.lines_to(usize::MAX, false);
        match extent {
            Extent::Everything => (everything(), None),
            Extent::Depth(depth) => (self.lines_to(depth, true), Some(depth)),
            Extent::Fitting => {
                let all = everything();
                if all.len() <= FITTING_LINES {
                    return (all, None);
                }
                for depth in (2..=FITTING_DEPTH).rev() {
                    let lines = self.lines_to(depth, true);
                    if lines.len() <= FITTING_LINES {
                        return (lines, Some(depth));
                    }
                }
                (self.lines_to(1, true), Some(1))
            }
        }
    }

    /// The lines with branches so many levels deep.
    fn lines_to(&self, most: usize, folds: bool) -> Vec<Line> {
        let mut lines = Vec::new();
        // What is still to be shown, the next one last: position, depth, levels left.
        let mut open: Vec<(Item, usize, usize)> = vec![(Item::Change(0), 0, most)];
        while let Some((item, depth, levels)) = open.pop() {
            let position = match item {
                Item::Change(position) => position,
                Item::Alike(group) => {
                    lines.extend(self.alike(&group).map(|alike| Line::Alike { depth, alike }));
                    continue;
                }
            };
            let mut below = Below::default();
            for item in self.items(position, folds).into_iter().rev() {
                let is_critical =
                    matches!(&item, Item::Change(child) if self.critical.contains(child));
                if is_critical {
                    open.push((item, depth + 1, most));
                } else if levels > 0 {
                    open.push((item, depth + 1, levels - 1));
                } else {
                    below.add(self.sum(&item));
                }
            }
            lines.push(Line::Change {
                position,
                depth,
                below,
            });
        }
        lines
    }

    fn sum(&self, item: &Item) -> Below {
        let mut sum = Below::default();
        let positions = match item {
            Item::Change(position) => std::slice::from_ref(position),
            Item::Alike(group) => group.as_slice(),
        };
        for position in positions {
            sum.add(self.below.get(*position).copied().unwrap_or_default());
        }
        sum
    }

    /// What a change triggered, in order; the critical one is never among those alike.
    fn items(&self, position: usize, folds: bool) -> Vec<Item> {
        let mut groups: Vec<Vec<usize>> = Vec::new();
        let mut places: HashMap<(&str, &str, Option<&str>), usize> = HashMap::new();
        let mut items = Vec::new();
        for child in self.children.get(&position).into_iter().flatten().copied() {
            let Some(change) = self.changes.get(child) else {
                continue;
            };
            if self.hidden.get(child).is_none_or(|hidden| *hidden) {
                continue;
            }
            if !folds || self.critical.contains(&child) {
                items.push(Item::Change(child));
                continue;
            }
            let alike = (
                change.kind.as_str(),
                change.op.as_str(),
                change.actor.as_deref(),
            );
            let place = *places.entry(alike).or_insert(groups.len());
            match groups.get_mut(place) {
                Some(group) => group.push(child),
                None => groups.push(vec![child]),
            }
        }
        for group in groups {
            if group.len() < FOLDED_FROM {
                items.extend(group.into_iter().map(Item::Change));
            } else {
                items.push(Item::Alike(group));
            }
        }
        items.sort_by_key(Item::first);
        items
    }

    fn alike(&self, group: &[usize]) -> Option<Alike> {
        let changes: Vec<&ReachedChange> = group
            .iter()
            .filter_map(|position| self.changes.get(*position))
            .collect();
        let mut times: Vec<i64> = changes.iter().map(|change| change.since_root_ns).collect();
        times.sort_unstable();
        let mut below = self.sum(&Item::Alike(group.to_vec()));
        below.changes -= i64::try_from(group.len()).unwrap_or(0);
        Some(Alike {
            first: *group.first()?,
            count: group.len(),
            object: common(changes.iter().map(|change| change.object.as_str())),
            min_ns: *times.first()?,
            // The nearest rank.
            p50_ns: *times.get((times.len() - 1) / 2)?,
            max_ns: *times.last()?,
            below,
        })
    }
}

/// Something that a change triggered.
enum Item {
    Change(usize),
    Alike(Vec<usize>),
}

impl Item {
    fn first(&self) -> usize {
        match self {
            Self::Change(position) => *position,
            Self::Alike(group) => group.first().copied().unwrap_or(usize::MAX),
        }
    }
}

/// What names have in common: themselves if they are the same, else how they begin, up to a part of the name.
fn common<'a>(mut names: impl Iterator<Item = &'a str>) -> String {
    let Some(first) = names.next() else {
        return String::new();
    };
    let mut begin = first;
    let mut are_same = true;
    for name in names {
        are_same &= name == first;
        let length: usize = begin
            .chars()
            .zip(name.chars())
            .take_while(|(left, right)| left == right)
            .map(|(same, _)| same.len_utf8())
            .sum();
        begin = begin.get(..length).unwrap_or_default();
    }
    if are_same {
        return first.to_owned();
    }
    let end = begin.rfind(['-', '/', '.', ' ']).map_or(0, |at| at + 1);
    format!("{}…", begin.get(..end).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn change(trigger: Option<usize>, kind: &str, name: &str, since: i64) -> ReachedChange {
        ReachedChange {
            revision: since,
            ordinal: 0,
            op: "create".to_owned(),
            kind: kind.to_owned(),
            object: format!("{kind} ns/{name}"),
            actor: None,
            changed: Vec::new(),
            trigger,
            confidence: None,
            since_root_ns: since,
            hop_ns: 0,
            reaction_ns: None,
            api_ns: None,
            storage_ns: None,
        }
    }

    /// A ReplicaSet with `pods` Pods, each with a Binding below it and an Event; the last Pod is critical.
    fn trace(pods: usize) -> CascadeTrace {
        let mut changes = vec![change(None, "ReplicaSet", "web", 0)];
        for pod in 0..pods {
            let at = i64::try_from(pod).unwrap() + 1;
            let position = changes.len();
            changes.push(change(Some(0), "Pod", &format!("web-{pod}"), at));
            changes.push(change(Some(position), "Binding", "b", at + 100));
            changes.push(change(Some(position), "Event", "e", at + 200));
        }
        let last = changes.len() - 2;
        CascadeTrace {
            schema: "",
            schema_version: 1,
            cluster_id: String::new(),
            epoch: 0,
            asked: String::new(),
            root_class: String::new(),
            outcome: None,
            converged_ns: None,
            settled_ns: None,
            critical_path: vec![0, last - 1, last],
            total_ns: 0,
            changes,
            other_roots: Vec::new(),
        }
    }

    #[test]
    fn small_cascades_are_shown_whole() {
        let trace = trace(3);
        let tree = Tree::new(&trace, false);
        let (lines, depth) = tree.lines(Extent::Fitting);
        assert_eq!((lines.len(), depth), (7, None));
        assert_eq!(tree.side_changes(), 3);
        assert_eq!(
            Tree::new(&trace, true).lines(Extent::Everything).0.len(),
            10
        );
    }

    #[test]
    fn changes_alike_are_one_line_with_their_times() {
        let trace = trace(50);
        let (lines, depth) = Tree::new(&trace, false).lines(Extent::Fitting);
        assert_eq!(depth, Some(FITTING_DEPTH));
        let [
            _,
            Line::Alike { alike, .. },
            Line::Change { position, .. },
            _,
        ] = lines.as_slice()
        else {
            panic!("{lines:?}");
        };
        assert_eq!(*position, trace.critical_path[1]);
        assert_eq!(alike.object, "Pod ns/web-…");
        assert_eq!(
            (alike.count, alike.min_ns, alike.p50_ns, alike.max_ns),
            (49, 1, 25, 49)
        );
        assert_eq!((alike.below.changes, alike.below.last_ns), (49, 149));
    }

    #[test]
    fn what_is_too_deep_is_counted() {
        let trace = trace(2);
        let (lines, _) = Tree::new(&trace, false).lines(Extent::Depth(1));
        let Line::Change { below, .. } = &lines[1] else {
            panic!("{lines:?}");
        };
        assert_eq!((below.changes, below.last_ns), (1, 101));
        let (lines, _) = Tree::new(&trace, false).lines(Extent::Depth(0));
        let Line::Change { below, .. } = &lines[0] else {
            panic!("{lines:?}");
        };
        assert_eq!((lines.len(), below.changes), (3, 2));
    }

    #[test]
    fn names_in_common_end_with_a_part() {
        for (names, expected) in [
            (vec!["Pod a/web-1", "Pod a/web-1"], "Pod a/web-1"),
            (vec!["Pod a/web-x1", "Pod a/web-x2"], "Pod a/web-…"),
            (vec!["Pod a/web", "Pod a/web-1"], "Pod a/…"),
            (vec!["Pod a/web-1", "Pod a/web"], "Pod a/…"),
            (vec!["Pod ä/x", "Pod ö/x"], "Pod …"),
        ] {
            assert_eq!(common(names.iter().copied()), expected);
        }
    }
}
