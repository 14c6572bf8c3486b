//! How each cascade ended: whether and when every object that it changed was as its spec wants it.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{ArrayRef, Int32Array, Int64Array, StringArray};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use arrow::record_batch::RecordBatch;
use async_trait::async_trait;
use datafusion::execution::context::SessionContext;

use super::timelines::{History, Maybe, State};
use crate::causality;
use crate::causality::kernel::NONE;
use crate::derive::{Chunks, Derivation, Derived};
use crate::error::Error;

/// How a cascade can end, with the words for people.
pub(crate) const OUTCOMES: &[(&str, &str)] = &[
    ("converged", "as the specs want it"),
    ("superseded", "overtaken by a newer spec or a deletion"),
    ("never", "settled without being as the specs want it"),
    ("truncated", "the trace ends first"),
];

/// The derivation of the table that `cascades` takes its columns from.
#[derive(Debug)]
pub(crate) struct ConvergenceDerivation {
    derived: Arc<Derived>,
}

impl ConvergenceDerivation {
    pub(crate) fn new(derived: Arc<Derived>) -> Self {
        Self { derived }
    }
}

/// What a root did to an object.
#[derive(Debug, Clone, Copy)]
struct Affected {
    /// Positions of its first and last change.
    first: u32,
    last: u32,
    /// The newest generation among its changes.
    generation: Maybe,
}

/// What became of an object after a cascade changed it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    /// It was as its spec wants it at this commit.
    Converged(i64),
    /// A newer generation came first, or a deletion that is not of this cascade.
    Superseded,
    /// Nothing of the kind in this trace.
    Open,
}

/// What became of a cascade.
#[derive(Debug)]
struct Ending {
    root: u32,
    /// Objects that can converge.
    objects: i64,
    superseded: i64,
    open: i64,
    /// The last convergence, and the same since the root.
    converged: Option<(i64, i64)>,
}

#[async_trait]
impl Derivation for ConvergenceDerivation {
    fn name(&self) -> &'static str {
        "causes.convergence"
    }

    fn schema(&self) -> SchemaRef {
        let number = |name: &str, nullable| Field::new(name, DataType::Int64, nullable);
        Arc::new(Schema::new(vec![
            Field::new("cluster_id", DataType::Utf8, false),
            Field::new("epoch", DataType::Int32, false),
            number("revision", false),
            Field::new("ordinal", DataType::Int32, false),
            number("objects", false),
            number("superseded", false),
            number("open", false),
            number("converged_unix_nano", true),
            number("converged_ns", true),
        ]))
    }

    fn order(&self) -> &'static [&'static str] {
        &["cluster_id", "epoch", "revision", "ordinal"]
    }

    async fn rows(&self, context: &SessionContext) -> Result<Arc<dyn Chunks>, Error> {
        let causes = self.derived.causes(context).await?;
        let timelines = self.derived.timelines(context).await?;
        let mut batches = Vec::new();
        for found in &causes.histories {
            if let Some(history) = timelines.history(&found.cluster_id, found.epoch) {
                let endings = endings(found, history);
                batches.push(batch(self.schema(), found, &endings)?);
            }
        }
        Ok(Arc::new(batches))
    }
}

fn batch(
    schema: SchemaRef,
    found: &causality::History,
    endings: &[Ending],
) -> Result<RecordBatch, Error> {
    let numbers = |number: &dyn Fn(&Ending) -> i64| -> ArrayRef {
        Arc::new(Int64Array::from_iter_values(endings.iter().map(number)))
    };
    let converged = |part: &dyn Fn((i64, i64)) -> i64| -> ArrayRef {
        let parts = endings.iter().map(|ending| ending.converged.map(part));
        Arc::new(Int64Array::from_iter(parts))
    };
    let roots = || endings.iter().map(|ending| found.changes.row(ending.root));
    let columns: Vec<ArrayRef> = vec![
        Arc::new(StringArray::from_iter_values(
            endings.iter().map(|_| &found.cluster_id),
        )),
        Arc::new(Int32Array::from_value(found.epoch, endings.len())),
        Arc::new(Int64Array::from_iter(
            roots().map(|root| root.map(|root| root.revision)),
        )),
        Arc::new(Int32Array::from_iter(
            roots().map(|root| root.map(|root| root.ordinal)),
        )),
        numbers(&|ending| ending.objects),
        numbers(&|ending| ending.superseded),
        numbers(&|ending| ending.open),
        converged(&|(commit, _)| commit),
        converged(&|(_, since)| since),
    ];
    RecordBatch::try_new(schema, columns).map_err(|error| Error::Internal(error.to_string()))
}

/// The ends of all cascades that changed objects which can converge, by root.
fn endings(found: &causality::History, history: &History) -> Vec<Ending> {
    let places = found.changes.rows().iter();
    let positions = history.positions(places.map(|change| (change.revision, change.ordinal)));
    let reach = found.reach();
    let mut endings = Vec::new();
    let mut affected: BTreeMap<u32, Affected> = BTreeMap::new();
    for (root, rows) in reach.by_root().iter() {
        affected.clear();
        let mut began = None;
        for row in rows
            .iter()
            .filter_map(|row| reach.rows().get(*row as usize))
        {
            let position = positions.get(row.change as usize).copied().unwrap_or(NONE);
            let Some(change) = history.change(position) else {
                continue;
            };
            let commit = change.commit.get();
            began = began.or(commit.map(|commit| commit - row.since_root()));
            affected
                .entry(change.object)
                .and_modify(|known| {
                    known.last = position;
                    known.generation = known.generation.max(change.generation);
                })
                .or_insert(Affected {
                    first: position,
                    last: position,
                    generation: change.generation,
                });
        }
        endings.extend(ending(history, root, &affected, began));
    }
    endings
}

/// What became of a cascade; `None` if it changed nothing that can converge.
fn ending(
    history: &History,
    root: u32,
    affected: &BTreeMap<u32, Affected>,
    began: Option<i64>,
) -> Option<Ending> {
    let mut ending = Ending {
        root,
        objects: 0,
        superseded: 0,
        open: 0,
        converged: None,
    };
    let mut last = None;
    for (object, affected) in affected {
        let Some(object) = history.objects.get(*object as usize) else {
            continue;
        };
        if !object.can_converge {
            continue;
        }
        ending.objects += 1;
        match fate(history, &object.states, affected) {
            Fate::Converged(commit) => last = last.max(Some(commit)),
            Fate::Superseded => ending.superseded += 1,
            Fate::Open => ending.open += 1,
        }
    }
    if ending.open + ending.superseded == 0 {
        ending.converged = last
            .zip(began)
            .map(|(last, began)| (last, last.saturating_sub(began)));
    }
    (ending.objects > 0).then_some(ending)
}

/// What became of an object with these states.
fn fate(history: &History, states: &[State], affected: &Affected) -> Fate {
    let after = states.partition_point(|state| state.change <= affected.first);
    // What it was right after the first change, and what it became later.
    let at_first = after
        .checked_sub(1)
        .and_then(|position| states.get(position))
        .map(|state| (state, affected.first));
    let later = states.iter().skip(after).map(|state| (state, state.change));
    for (state, since) in at_first.into_iter().chain(later) {
        let Some(generation) = history.change(state.change).map(|change| change.generation) else {
            continue;
        };
        let commit = history.commit(since);
        if state.is_gone {
            let is_own = state.change <= affected.last;
            return match commit {
                Some(commit) if is_own => Fate::Converged(commit),
                _ => Fate::Superseded,
            };
        }
        if generation > affected.generation {
            return Fate::Superseded;
        }
        if state.is_converged && generation == affected.generation {
            return match commit {
                Some(commit) => Fate::Converged(commit),
                None => Fate::Open,
            };
        }
    }
    Fate::Open
}

#[cfg(test)]
mod tests {
    use super::super::timelines::ObjectChange;
    use super::*;

    /// An object of which every given state, revision, generation and whether it is converged, is a change; between
    /// them are changes that make no difference.
    fn object(states: &[(i64, i64, bool)]) -> (History, Vec<State>) {
        let mut history = History::default();
        let end = states.last().map_or(0, |(revision, _, _)| *revision + 1);
        let mut current = 0;
        for revision in 0..=end {
            let state = states.iter().find(|state| state.0 == revision);
            current = state.map_or(current, |state| state.1);
            history.changes.push(ObjectChange {
                revision,
                ordinal: 0,
                object: 0,
                generation: Some(current).into(),
                commit: Some(revision * 100).into(),
            });
        }
        let states = states
            .iter()
            .map(|(revision, _, is_converged)| State {
                change: u32::try_from(*revision).unwrap(),
                is_converged: *is_converged,
                is_gone: false,
            })
            .collect();
        (history, states)
    }

    fn affected(first: u32, last: u32, generation: i64) -> Affected {
        Affected {
            first,
            last,
            generation: Some(generation).into(),
        }
    }

    #[test]
    fn an_object_converges_when_it_first_is_as_that_generation_wants_it() {
        let (history, states) = object(&[
            (1, 1, false),
            (4, 1, true),
            (6, 2, false),
            (9, 2, true),
            (12, 2, false),
            (13, 2, true),
        ]);
        let fate = |affected| fate(&history, &states, &affected);
        assert_eq!(fate(affected(1, 4, 1)), Fate::Converged(400));
        assert_eq!(fate(affected(6, 13, 2)), Fate::Converged(900));
        // A pod was lost, and came back.
        assert_eq!(fate(affected(12, 13, 2)), Fate::Converged(1300));
        // Only a label was changed, while all was well.
        assert_eq!(fate(affected(10, 10, 2)), Fate::Converged(1000));
    }

    #[test]
    fn a_newer_generation_or_a_foreign_deletion_comes_first() {
        let (history, states) = object(&[(1, 1, false), (3, 2, false), (9, 2, true)]);
        let hurried = fate(&history, &states, &affected(1, 2, 1));
        assert_eq!(hurried, Fate::Superseded);
        let (history, mut states) = object(&[(1, 1, false), (5, 1, true)]);
        states[1].is_gone = true;
        let deleted = |affected| fate(&history, &states, &affected);
        assert_eq!(deleted(affected(1, 2, 1)), Fate::Superseded);
        assert_eq!(deleted(affected(4, 5, 1)), Fate::Converged(500));
    }

    #[test]
    fn what_never_is_as_wanted_stays_open() {
        let (history, states) = object(&[(1, 1, false)]);
        let stuck = fate(&history, &states, &affected(1, 3, 1));
        assert_eq!(stuck, Fate::Open);
    }
}
