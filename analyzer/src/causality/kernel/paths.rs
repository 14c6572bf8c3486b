//! Signatures of critical paths: what happened in which order, without which objects.

use bytemuck::{Pod, Zeroable};

use super::change::{Aspect, Change, Op};
use super::changes::Changes;
use super::hash::FastMap;
use super::intern::NONE;
use crate::storage::{List, Storage};

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
#[derive(Debug)]
pub(crate) struct Trails {
    entries: List<Trail>,
    /// Per row: the begin of its list.
    first: List<u32>,
}

/// A change on a critical path.
#[derive(Debug, Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct Trail {
    object: u32,
    step: u32,
    older: u32,
}

impl Trails {
    /// Of no rows yet.
    pub(crate) fn new(storage: &Storage) -> Self {
        Self {
            entries: List::new(storage),
            first: List::new(storage),
        }
    }

    fn push(&mut self, trail: Trail) -> u32 {
        let entry = u32::try_from(self.entries.len()).unwrap_or(NONE);
        self.entries.push(trail);
        entry
    }

    /// The list from an entry on.
    fn list(&self, from: u32) -> impl Iterator<Item = Trail> + '_ {
        let mut next = from;
        std::iter::from_fn(move || {
            let entry = self.entries.get(next as usize)?;
            next = entry.older;
            Some(entry)
        })
    }
}

impl Paths {
    /// The signature of the critical path that ends with a change, of the next row after those in `trails`, from the row
    /// before it on that path and the signature of that. Where an
    /// object passes through the same aspect more than once, the last counts.
    pub(crate) fn extend(
        &mut self,
        change: &Change,
        before: Option<(u32, u32)>,
        trails: &mut Trails,
    ) -> u32 {
        let (object, aspect) = (change.object, change.aspect());
        let step = self.step(change, aspect);
        let older = before.and_then(|(row, _)| trails.first.get(row as usize));
        let older = older.unwrap_or(NONE);
        let is_same = |entry: &Trail| {
            let step = self.steps.get(entry.step as usize);
            entry.object == object && step.is_some_and(|step| step.aspect == aspect)
        };
        let passed = trails
            .list(older)
            .take(MAX_STEPS)
            .position(|entry| is_same(&entry));
        let Some(passed) = passed else {
            let entry = trails.push(Trail {
                object,
                step,
                older,
            });
            trails.first.push(entry);
            return self.longer(before.map(|(_, path)| path), step);
        };
        let newer: Vec<Trail> = trails.list(older).take(passed).collect();
        let mut list = trails
            .list(older)
            .nth(passed)
            .map_or(NONE, |entry| entry.older);
        for entry in newer.into_iter().rev() {
            list = trails.push(Trail {
                older: list,
                ..entry
            });
        }
        let entry = trails.push(Trail {
            object,
            step,
            older: list,
        });
        trails.first.push(entry);
        let mut steps: Vec<u32> = trails
            .list(entry)
            .take(MAX_STEPS)
            .map(|entry| entry.step)
            .collect();
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
