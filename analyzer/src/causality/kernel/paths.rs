//! Signatures of critical paths: what happened in which order, without which objects.

use super::builder::Changes;
use super::change::{Aspect, Change, Op};
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
}

impl Paths {
    /// The signature of the critical path that ends in row `row`. Where an object passes through the
    /// same aspect more than once, the last counts.
    pub(crate) fn extend(&mut self, changes: &Changes, rows: &[Reached], row: u32) -> u32 {
        let mut steps: Vec<u32> = Vec::new();
        let mut passed: Vec<(u32, Aspect)> = Vec::new();
        let mut next = row;
        while let Some(reached) = rows.get(next as usize)
            && steps.len() < MAX_STEPS
        {
            next = reached.predecessor;
            let Some(change) = changes.row(reached.change) else {
                break;
            };
            let aspect = change.aspect();
            if !passed.contains(&(change.object, aspect)) {
                passed.push((change.object, aspect));
                steps.push(self.step(change, aspect));
            }
        }
        steps.reverse();
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
