//! The graph of causes, and from which roots each change comes.

use bytemuck::{CheckedBitPattern, NoUninit};

use super::evidence::{Evidence, Relation};
use super::intern::NONE;
use super::root_sets::RootSets;
use crate::storage::{List, Storage};

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
    /// All of them.
    const ALL: [Self; 6] = [
        Self::Client,
        Self::Timer,
        Self::Lease,
        Self::Preexisting,
        Self::External,
        Self::Orphan,
    ];

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

/// An edge in a list.
#[derive(Debug, Clone, Copy, NoUninit, CheckedBitPattern)]
#[repr(C)]
struct StoredEdge {
    cause: u32,
    confidence: f32,
    evidence: Evidence,
    is_chosen: bool,
    unused: u8,
}

impl From<Edge> for StoredEdge {
    fn from(edge: Edge) -> Self {
        Self {
            cause: edge.cause,
            confidence: edge.confidence,
            evidence: edge.evidence,
            is_chosen: edge.is_chosen,
            unused: 0,
        }
    }
}

impl From<StoredEdge> for Edge {
    fn from(edge: StoredEdge) -> Self {
        Self {
            cause: edge.cause,
            evidence: edge.evidence,
            confidence: edge.confidence,
            is_chosen: edge.is_chosen,
        }
    }
}

/// Stands for no class among their numbers.
const NO_CLASS: u8 = u8::MAX;

/// Edges by effect, in the order of the changes.
#[derive(Debug)]
pub struct Graph {
    /// Of all changes but the current one.
    edges: List<StoredEdge>,
    /// Per change: where its edges begin.
    starts: List<u32>,
    /// Of the current change.
    open: Vec<Edge>,
    /// Number of changes that have edges or could have.
    begun: u32,
    /// Per change: place of its class among all.
    classes: List<u8>,
    /// Per change: the change of the same object before it.
    bases: List<u32>,
    storage: Storage,
}

impl Graph {
    pub(crate) fn new(changes: usize, storage: &Storage) -> Self {
        Self {
            edges: List::with_capacity(storage, changes * 2),
            starts: List::with_capacity(storage, changes),
            open: Vec::new(),
            begun: 0,
            classes: List::filled(storage, NO_CLASS, changes),
            bases: List::default(),
            storage: storage.clone(),
        }
    }

    /// Begins with the edges of the next change.
    pub(crate) fn begin(&mut self) {
        self.close();
        let start = u32::try_from(self.edges.len()).unwrap_or(u32::MAX);
        self.starts.push(start);
        self.begun += 1;
    }

    /// Ends with the edges of the current change.
    pub(crate) fn close(&mut self) {
        self.edges.extend(self.open.drain(..).map(StoredEdge::from));
    }

    pub(crate) fn push(&mut self, edge: Edge) {
        self.open.push(edge);
    }

    /// Adds an edge of the current change, or replaces the one with the same cause.
    pub(crate) fn set(&mut self, edge: Edge) {
        let mut edges = self.open.iter_mut();
        match edges.find(|known| known.cause == edge.cause) {
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
        &self.open
    }

    pub(crate) fn root(&mut self, index: u32, class: RootClass) {
        let place = RootClass::ALL.iter().position(|known| *known == class);
        let number = place.and_then(|place| u8::try_from(place).ok());
        self.classes.set(index as usize, number.unwrap_or(NO_CLASS));
    }

    /// The causes of `other` are the causes of the current change too; if `other` has none, it is itself.
    pub(crate) fn copy_causes(&mut self, other: u32, confidence: f64) {
        let causes: Vec<Edge> = self.chosen(other).collect();
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
    pub fn edges(&self, effect: u32) -> impl Iterator<Item = Edge> + '_ {
        let index = effect as usize;
        let start = self.starts.get(index).map_or(0, |start| start as usize);
        let end = match self.starts.get(index + 1) {
            Some(end) => end as usize,
            None if effect < self.begun => self.edges.len(),
            None => start,
        };
        let is_current = effect.checked_add(1) == Some(self.begun);
        let open = if is_current { &*self.open } else { &[] };
        let stored = self.edges.range(start..end).map(Edge::from);
        stored.chain(open.iter().copied())
    }

    /// The causes of a change.
    pub fn chosen(&self, effect: u32) -> impl Iterator<Item = Edge> + '_ {
        self.edges(effect).filter(|edge| edge.is_chosen)
    }

    /// Gives changes other causes than those found at first.
    pub(crate) fn replace_causes(&mut self, mut late: Vec<(u32, Edge)>) {
        if late.is_empty() {
            return;
        }
        late.sort_by_key(|(effect, edge)| (*effect, edge.cause));
        late.dedup_by_key(|(effect, edge)| (*effect, edge.cause));
        let mut edges = List::with_capacity(&self.storage, self.edges.len());
        let mut starts = List::with_capacity(&self.storage, self.starts.len());
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
                edges.extend(self.edges(effect).map(StoredEdge::from));
                continue;
            }
            self.classes.set(effect as usize, NO_CLASS);
            edges.extend(now.iter().map(|(_, edge)| StoredEdge::from(*edge)));
        }
        self.edges = edges;
        self.starts = starts;
    }

    pub(crate) fn set_bases(&mut self, bases: List<u32>) {
        self.bases = bases;
    }

    /// The change of the same object that a change overwrote; [`NONE`] if it created the object, or
    /// if the overwritten one is not in the trace.
    #[must_use]
    pub fn base(&self, change: u32) -> u32 {
        self.bases.get(change as usize).unwrap_or(NONE)
    }

    /// Why a change has no cause; `None` for those that have one.
    #[must_use]
    pub fn root_class(&self, change: u32) -> Option<RootClass> {
        let number = self.classes.get(change as usize)?;
        RootClass::ALL.get(usize::from(number)).copied()
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
        let mut sets = RootSets::new(&self.storage);
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
