//! Signatures of critical paths: what happened in which order, without which objects.

use super::change::{Aspect, Change, Op};
use super::changes::Changes;
use super::hash::FastMap;
use super::intern::NONE;
use super::reach::Reached;

/// Steps of a path that its signature tells; of longer ones it tells the last.
pub(crate) const MAX_STEPS: usize = 32;

/// A kind of step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Step {
    /// Kind, with its group.
    pub kind: u32,
    /// What happened to it.
    pub aspect: Aspect,
    /// Who did it.
    pub actor: u32,
}

/// All signatures.
#[derive(Debug, Default)]
pub struct Paths {
    steps: Vec<Step>,
    step_numbers: FastMap<Step, u32>,
    paths: Vec<Box<[u32]>>,
    path_numbers: FastMap<Box<[u32]>, u32>,
    /// (path, step) → the path with this step at its end: most rows have a signature known from others.
    longer: FastMap<(u32, u32), u32>,
}

/// The rows that signatures are made of: per row a list of those before it on its critical path, newest first,
/// without those whose object passes through the same aspect again within the next [`MAX_STEPS`]. Lists share
/// their ends, so a path through thousands of changes of one object is as short as its signature.
#[derive(Debug, Default)]
pub(crate) struct Trails {
    entries: Vec<Trail>,
    /// Per row: the begin of its list.
    first: Vec<u32>,
}

#[derive(Debug, Clone, Copy)]
struct Trail {
    row: u32,
    older: u32,
}

impl Trails {
    fn push(&mut self, row: u32, older: u32) -> u32 {
        let entry = u32::try_from(self.entries.len()).unwrap_or(NONE);
        self.entries.push(Trail { row, older });
        entry
    }

    /// The list from an entry on.
    fn list(&self, from: u32) -> impl Iterator<Item = Trail> + '_ {
        let mut next = from;
        std::iter::from_fn(move || {
            let entry = self.entries.get(next as usize).copied()?;
            next = entry.older;
            Some(entry)
        })
    }
}

impl Paths {
    /// The signature of the critical path that ends in row `row`, the next one after those in `trails`. Where an
    /// object passes through the same aspect more than once, the last counts.
    pub(crate) fn extend(
        &mut self,
        changes: &Changes,
        rows: &[Reached],
        row: u32,
        trails: &mut Trails,
    ) -> u32 {
        let found = rows.get(row as usize).and_then(|reached| {
            let change = changes.row(reached.change)?;
            Some((reached, change, change.aspect()))
        });
        let Some((reached, change, aspect)) = found else {
            trails.first.push(NONE);
            return NONE;
        };
        let step = self.step(change, aspect);
        let before = trails.first.get(reached.predecessor as usize).copied();
        let older = before.unwrap_or(NONE);
        let is_same = |entry: &Trail| {
            rows.get(entry.row as usize)
                .and_then(|reached| changes.row(reached.change))
                .is_some_and(|other| other.object == change.object && other.aspect() == aspect)
        };
        // An object that the cascade changes for the first time is not on the path yet.
        let passed = if reached.arrival > 1 {
            trails
                .list(older)
                .take(MAX_STEPS)
                .position(|entry| is_same(&entry))
        } else {
            None
        };
        let Some(passed) = passed else {
            let entry = trails.push(row, older);
            trails.first.push(entry);
            let path = rows
                .get(reached.predecessor as usize)
                .map(|before| before.path);
            return self.longer(path, step);
        };
        let newer: Vec<u32> = trails
            .list(older)
            .take(passed)
            .map(|entry| entry.row)
            .collect();
        let mut list = trails
            .list(older)
            .nth(passed)
            .map_or(NONE, |entry| entry.older);
        for row in newer.into_iter().rev() {
            list = trails.push(row, list);
        }
        let entry = trails.push(row, list);
        trails.first.push(entry);
        let mut steps: Vec<u32> = Vec::with_capacity(MAX_STEPS);
        for entry in trails.list(entry).take(MAX_STEPS) {
            let reached = rows.get(entry.row as usize);
            if let Some(change) = reached.and_then(|reached| changes.row(reached.change)) {
                steps.push(self.step(change, change.aspect()));
            }
        }
        steps.reverse();
        self.number(steps)
    }

    /// The signature of a path that goes on with one more step.
    fn longer(&mut self, path: Option<u32>, step: u32) -> u32 {
        let key = (path.unwrap_or(NONE), step);
        if let Some(known) = self.longer.get(&key) {
            return *known;
        }
        let before = path.and_then(|path| self.paths.get(path as usize));
        let before = before.map_or(&[][..], |steps| steps);
        let told = before.len().saturating_sub(MAX_STEPS - 1);
        let mut steps: Vec<u32> = before.get(told..).unwrap_or(&[]).to_vec();
        steps.push(step);
        let number = self.number(steps);
        self.longer.insert(key, number);
        number
    }

    fn number(&mut self, steps: Vec<u32>) -> u32 {
        let steps = steps.into_boxed_slice();
        if let Some(known) = self.path_numbers.get(&steps) {
            return *known;
        }
        let number = u32::try_from(self.paths.len()).unwrap_or(NONE);
        self.paths.push(steps.clone());
        self.path_numbers.insert(steps, number);
        number
    }

    fn step(&mut self, change: &Change, aspect: Aspect) -> u32 {
        let step = Step {
            kind: change.kind,
            aspect,
            actor: change.actor,
        };
        if let Some(known) = self.step_numbers.get(&step) {
            return *known;
        }
        let number = u32::try_from(self.steps.len()).unwrap_or(NONE);
        self.steps.push(step);
        self.step_numbers.insert(step, number);
        number
    }

    /// Number of signatures.
    #[must_use]
    pub fn len(&self) -> u32 {
        u32::try_from(self.paths.len()).unwrap_or(NONE)
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.paths.is_empty()
    }

    /// The steps of a signature, the root first.
    pub fn steps(&self, path: u32) -> impl Iterator<Item = Step> + '_ {
        self.paths
            .get(path as usize)
            .into_iter()
            .flat_map(|steps| steps.iter())
            .filter_map(|step| self.steps.get(*step as usize).copied())
    }

    /// A signature as text: `Kind.group/op[facet]@actor` joined by ` > `.
    #[must_use]
    pub fn text(&self, changes: &Changes, path: u32) -> String {
        let steps: Vec<String> = self
            .steps(path)
            .map(|step| step_text(changes, step))
            .collect();
        steps.join(" > ")
    }
}

/// `Kind.group/op[facet]@actor`.
#[must_use]
pub fn step_text(changes: &Changes, step: Step) -> String {
    let kind = changes.kind(step.kind);
    let (op, facet) = op_and_facet(step.aspect);
    let actor = changes.actor(step.actor).unwrap_or("unknown");
    match facet {
        Some(facet) => format!("{kind}/{op}[{facet}]@{actor}"),
        None => format!("{kind}/{op}@{actor}"),
    }
}

/// The operation and the facet that an aspect stands for.
#[must_use]
pub const fn op_and_facet(aspect: Aspect) -> (&'static str, Option<&'static str>) {
    match aspect {
        Aspect::Created => ("create", None),
        Aspect::Deleted => ("delete", None),
        Aspect::DeletionRequested => ("update", Some("deletion")),
        Aspect::Spec => ("update", Some("spec")),
        Aspect::Data => ("update", Some("data")),
        Aspect::Readiness => ("update", Some("ready")),
        Aspect::Condition => ("update", Some("condition")),
        Aspect::Status => ("update", Some("status")),
        Aspect::Metadata => ("update", Some("metadata")),
    }
}

impl Op {
    /// The name in `changes.op`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Create => "create",
            Self::Update => "update",
            Self::Delete => "delete",
        }
    }
}
