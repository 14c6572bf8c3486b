//! The graph of causes, and from which roots each change comes.

use super::evidence::{Evidence, Relation};
use super::intern::NONE;
use super::root_sets::RootSets;

/// Why a change has no cause in the trace.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum RootClass {
    /// A client program wrote it.
    Client,
    /// It was time.
    Timer,
    /// An etcd lease ran out.
    Lease,
    /// Started before the trace.
    Preexisting,
    /// Set off from outside of what etcd shows, such as a program that starts.
    External,
    /// A cause must exist but was not found.
    Orphan,
}

impl RootClass {
    /// The name in `roots.root_class`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Client => "client",
            Self::Timer => "timer",
            Self::Lease => "lease",
            Self::Preexisting => "preexisting",
            Self::External => "external",
            Self::Orphan => "orphan",
        }
    }
}

/// A possible cause of a change.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Edge {
    /// Index of the causing change.
    pub cause: u32,
    /// What speaks for it.
    pub evidence: Evidence,
    /// Of the edges with this confidence, this share is right.
    pub confidence: f32,
    /// Whether it is part of the graph; the others are kept to calibrate the confidence.
    pub is_chosen: bool,
}

/// Edges by effect, in the order of the changes.
#[derive(Debug)]
pub struct Graph {
    edges: Vec<Edge>,
    /// Per change: where its edges begin.
    starts: Vec<u32>,
    classes: Vec<Option<RootClass>>,
    /// Per change: the change of the same object before it.
    bases: Vec<u32>,
}

impl Graph {
    pub(crate) fn new(changes: usize) -> Self {
        Self {
            edges: Vec::with_capacity(changes * 2),
            starts: Vec::with_capacity(changes),
            classes: vec![None; changes],
            bases: Vec::new(),
        }
    }

    /// The edges that follow belong to the next change.
    pub(crate) fn begin(&mut self, _index: u32) {
        self.starts
            .push(u32::try_from(self.edges.len()).unwrap_or(u32::MAX));
    }

    pub(crate) fn push(&mut self, edge: Edge) {
        self.edges.push(edge);
    }

    /// Adds an edge of the current change, or replaces the one with the same cause.
    pub(crate) fn set(&mut self, edge: Edge) {
        let start = self.starts.last().map_or(0, |start| *start as usize);
        let known = self
            .edges
            .get_mut(start..)
            .and_then(|edges| edges.iter_mut().find(|known| known.cause == edge.cause));
        match known {
            Some(known) => {
                *known = Edge {
                    evidence: known.evidence.with(edge.evidence),
                    ..edge
                };
            }
            None => self.push(edge),
        }
    }

    /// The edges of the current change so far.
    pub(crate) fn open(&self) -> &[Edge] {
        let start = self.starts.last().map_or(0, |start| *start as usize);
        self.edges.get(start..).unwrap_or(&[])
    }

    pub(crate) fn root(&mut self, index: u32, class: RootClass) {
        if let Some(slot) = self.classes.get_mut(index as usize) {
            *slot = Some(class);
        }
    }

    /// The causes of `other` are the causes of the current change too; if `other` has none, it is itself.
    pub(crate) fn copy_causes(&mut self, _index: u32, other: u32, confidence: f64) {
        let causes: Vec<Edge> = self.chosen(other).copied().collect();
        if causes.is_empty() {
            self.push(Edge {
                cause: other,
                evidence: Evidence::of(Relation::SameReconcile),
                confidence: confidence as f32,
                is_chosen: true,
            });
        }
        self.copy_edges(&causes, confidence);
    }

    /// The causes of another write of the same reconcile are those of the current change.
    pub(crate) fn copy_edges(&mut self, causes: &[Edge], confidence: f64) {
        for edge in causes {
            self.push(Edge {
                evidence: Evidence::of(Relation::SameReconcile),
                confidence: edge.confidence.min(confidence as f32),
                ..*edge
            });
        }
    }

    /// All edges of a change, rejected ones too.
    #[must_use]
    pub fn edges(&self, effect: u32) -> &[Edge] {
        let index = effect as usize;
        let Some(start) = self.starts.get(index) else {
            return &[];
        };
        let end = self
            .starts
            .get(index + 1)
            .map_or(self.edges.len(), |end| *end as usize);
        self.edges.get(*start as usize..end).unwrap_or(&[])
    }

    /// The causes of a change.
    pub fn chosen(&self, effect: u32) -> impl Iterator<Item = &Edge> {
        self.edges(effect).iter().filter(|edge| edge.is_chosen)
    }

    /// Gives changes other causes than those found at first.
    pub(crate) fn replace_causes(&mut self, mut late: Vec<(u32, Edge)>) {
        if late.is_empty() {
            return;
        }
        late.sort_by_key(|(effect, edge)| (*effect, edge.cause));
        let mut edges = Vec::with_capacity(self.edges.len());
        let mut starts = Vec::with_capacity(self.starts.len());
        let mut rest = late.as_slice();
        for effect in 0..self.len() {
            // The kernel counts changes with 32 bits.
            let effect = u32::try_from(effect).unwrap_or(NONE);
            starts.push(u32::try_from(edges.len()).unwrap_or(NONE));
            let replaced = rest
                .iter()
                .take_while(|(other, _)| *other == effect)
                .count();
            let (now, later) = rest.split_at(replaced);
            rest = later;
            if now.is_empty() {
                edges.extend_from_slice(self.edges(effect));
                continue;
            }
            if let Some(class) = self.classes.get_mut(effect as usize) {
                *class = None;
            }
            edges.extend(now.iter().map(|(_, edge)| *edge));
            let mut all: Vec<Edge> =
                edges.split_off(starts.last().map_or(0, |start| *start as usize));
            all.dedup_by_key(|edge| edge.cause);
            edges.append(&mut all);
        }
        self.edges = edges;
        self.starts = starts;
    }

    pub(crate) fn set_bases(&mut self, bases: Vec<u32>) {
        self.bases = bases;
    }

    /// The change of the same object that a change overwrote; [`NONE`] if it created the object, or
    /// if the overwritten one is not in the trace.
    #[must_use]
    pub fn base(&self, change: u32) -> u32 {
        self.bases.get(change as usize).copied().unwrap_or(NONE)
    }

    /// Why a change has no cause; `None` for those that have one.
    #[must_use]
    pub fn root_class(&self, change: u32) -> Option<RootClass> {
        self.classes.get(change as usize).copied().flatten()
    }

    /// Number of changes.
    #[must_use]
    pub fn len(&self) -> usize {
        self.classes.len()
    }

    /// Whether there are no changes.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.classes.is_empty()
    }

    /// The roots of every change.
    #[must_use]
    pub fn roots(&self) -> RootSets {
        let mut sets = RootSets::default();
        for change in 0..self.len() {
            let Ok(change) = u32::try_from(change) else {
                break;
            };
            sets.add(change, self.chosen(change).map(|edge| edge.cause));
        }
        sets.shrink();
        sets
    }
}
