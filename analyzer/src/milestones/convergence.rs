//! How each cascade ended: whether and when every object that it changed was as its spec wants it.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{ArrayRef, Int32Array, Int64Array, StringArray};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use arrow::record_batch::RecordBatch;
use async_trait::async_trait;
use datafusion::execution::context::SessionContext;
use futures::StreamExt;

use super::Timelines;
use super::timelines::{History, Object};
use crate::derive::{Chunks, Derivation, Derived};
use crate::error::Error;
use crate::report::rows::{integers, texts};

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

/// A root.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Root {
    history: usize,
    revision: i64,
    ordinal: i64,
}

/// What a root did to an object.
#[derive(Debug, Clone, Copy)]
struct Affected {
    /// Its first change, revision and ordinal.
    first: (i64, i64),
    last: (i64, i64),
    /// The newest generation among its changes.
    generation: Option<i64>,
    /// Commit of the first change.
    commit: Option<i64>,
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
    root: Root,
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
        let timelines = self.derived.timelines(context).await?;
        let endings = endings(context, &timelines).await?;
        let history = |ending: &Ending| timelines.histories.get(ending.root.history);
        let clusters = endings
            .iter()
            .map(|ending| history(ending).map_or("", |history| &history.cluster_id));
        let epochs = endings.iter().map(|ending| {
            let epoch = history(ending).map_or(0, |history| history.epoch);
            i32::try_from(epoch).unwrap_or(i32::MAX)
        });
        let numbers = |number: &dyn Fn(&Ending) -> i64| -> ArrayRef {
            Arc::new(Int64Array::from_iter_values(endings.iter().map(number)))
        };
        let converged = |part: &dyn Fn((i64, i64)) -> i64| -> ArrayRef {
            let parts = endings.iter().map(|ending| ending.converged.map(part));
            Arc::new(Int64Array::from_iter(parts))
        };
        let ordinals = endings
            .iter()
            .map(|ending| i32::try_from(ending.root.ordinal).unwrap_or(i32::MAX));
        let columns: Vec<ArrayRef> = vec![
            Arc::new(StringArray::from_iter_values(clusters)),
            Arc::new(Int32Array::from_iter_values(epochs)),
            numbers(&|ending| ending.root.revision),
            Arc::new(Int32Array::from_iter_values(ordinals)),
            numbers(&|ending| ending.objects),
            numbers(&|ending| ending.superseded),
            numbers(&|ending| ending.open),
            converged(&|(commit, _)| commit),
            converged(&|(_, since)| since),
        ];
        let batch = RecordBatch::try_new(self.schema(), columns)
            .map_err(|error| Error::Internal(error.to_string()))?;
        Ok(Arc::new(vec![batch]))
    }
}

/// The ends of all cascades that changed objects which can converge.
async fn endings(context: &SessionContext, timelines: &Timelines) -> Result<Vec<Ending>, Error> {
    let query =
        "SELECT cluster_id, epoch, root_revision, root_ordinal, revision, ordinal, since_root_ns
        FROM reach ORDER BY cluster_id, epoch, root_revision, root_ordinal, revision, ordinal";
    let mut batches = context.sql(query).await?.execute_stream().await?;
    let mut endings = Vec::new();
    let mut current: Option<Root> = None;
    let mut affected: BTreeMap<usize, Affected> = BTreeMap::new();
    let mut began = None;
    while let Some(batch) = batches.next().await.transpose()? {
        let (clusters, epochs) = (texts(&batch, "cluster_id")?, integers(&batch, "epoch")?);
        let (roots, root_ordinals) = (
            integers(&batch, "root_revision")?,
            integers(&batch, "root_ordinal")?,
        );
        let (revisions, ordinals) = (integers(&batch, "revision")?, integers(&batch, "ordinal")?);
        let since = integers(&batch, "since_root_ns")?;
        for row in 0..batch.num_rows() {
            let is_of = |history: &History| {
                *history.cluster_id == *clusters.value(row) && history.epoch == epochs.value(row)
            };
            let same = current
                .map(|root| root.history)
                .filter(|history| timelines.histories.get(*history).is_some_and(is_of));
            let found = same.or_else(|| timelines.histories.iter().position(is_of));
            let Some(number) = found else { continue };
            let root = Root {
                history: number,
                revision: roots.value(row),
                ordinal: root_ordinals.value(row),
            };
            if current != Some(root) {
                endings.extend(current.and_then(|root| ending(timelines, root, &affected, began)));
                affected.clear();
                began = None;
                current = Some(root);
            }
            let Some(history) = timelines.histories.get(number) else {
                continue;
            };
            let place = (revisions.value(row), ordinals.value(row));
            let Some(change) = history.change(place.0, place.1) else {
                continue;
            };
            began = began.or(change.commit.map(|commit| commit - since.value(row)));
            affected
                .entry(change.object)
                .and_modify(|known| {
                    known.last = place;
                    known.generation = known.generation.max(change.generation);
                })
                .or_insert(Affected {
                    first: place,
                    last: place,
                    generation: change.generation,
                    commit: change.commit,
                });
        }
    }
    endings.extend(current.and_then(|root| ending(timelines, root, &affected, began)));
    Ok(endings)
}

/// What became of a cascade; `None` if it changed nothing that can converge.
fn ending(
    timelines: &Timelines,
    root: Root,
    affected: &BTreeMap<usize, Affected>,
    began: Option<i64>,
) -> Option<Ending> {
    let history = timelines.histories.get(root.history)?;
    let mut ending = Ending {
        root,
        objects: 0,
        superseded: 0,
        open: 0,
        converged: None,
    };
    let mut last = None;
    for (object, affected) in affected {
        let Some(object) = history.objects.get(*object) else {
            continue;
        };
        if !object.can_converge {
            continue;
        }
        ending.objects += 1;
        match fate(object, affected) {
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

/// What became of an object.
fn fate(object: &Object, affected: &Affected) -> Fate {
    let place = |state: &super::timelines::State| (state.revision, state.ordinal);
    let after = object
        .states
        .partition_point(|state| place(state) <= affected.first);
    // What it was right after the first change, and what it became later.
    let at_first = after
        .checked_sub(1)
        .and_then(|position| object.states.get(position))
        .map(|state| super::timelines::State {
            commit: affected.commit,
            ..*state
        });
    let later = object.states.iter().skip(after).copied();
    for state in at_first.into_iter().chain(later) {
        if state.is_gone {
            let is_own = place(&state) <= affected.last;
            return match state.commit {
                Some(commit) if is_own => Fate::Converged(commit),
                _ => Fate::Superseded,
            };
        }
        if state.generation > affected.generation {
            return Fate::Superseded;
        }
        if state.is_converged && state.generation == affected.generation {
            return match state.commit {
                Some(commit) => Fate::Converged(commit),
                None => Fate::Open,
            };
        }
    }
    Fate::Open
}

#[cfg(test)]
mod tests {
    use super::super::timelines::State;
    use super::*;

    fn state(revision: i64, generation: i64, is_converged: bool) -> State {
        State {
            revision,
            ordinal: 0,
            commit: Some(revision * 100),
            generation: Some(generation),
            is_converged,
            is_gone: false,
        }
    }

    fn object(states: &[State]) -> Object {
        Object {
            can_converge: true,
            states: states.to_vec(),
            ..Object::default()
        }
    }

    fn affected(first: i64, last: i64, generation: i64) -> Affected {
        Affected {
            first: (first, 0),
            last: (last, 0),
            generation: Some(generation),
            commit: Some(first * 100),
        }
    }

    #[test]
    fn an_object_converges_when_it_first_is_as_that_generation_wants_it() {
        let rollout = object(&[
            state(1, 1, false),
            state(4, 1, true),
            state(6, 2, false),
            state(9, 2, true),
            state(12, 2, false),
            state(13, 2, true),
        ]);
        assert_eq!(fate(&rollout, &affected(1, 4, 1)), Fate::Converged(400));
        assert_eq!(fate(&rollout, &affected(6, 13, 2)), Fate::Converged(900));
        // A pod was lost, and came back.
        assert_eq!(fate(&rollout, &affected(12, 13, 2)), Fate::Converged(1300));
        // Only a label was changed, while all was well.
        assert_eq!(fate(&rollout, &affected(10, 10, 2)), Fate::Converged(1000));
    }

    #[test]
    fn a_newer_generation_or_a_foreign_deletion_comes_first() {
        let hurried = object(&[state(1, 1, false), state(3, 2, false), state(9, 2, true)]);
        assert_eq!(fate(&hurried, &affected(1, 2, 1)), Fate::Superseded);
        let gone = State {
            is_gone: true,
            is_converged: true,
            ..state(5, 1, true)
        };
        let deleted = object(&[state(1, 1, false), gone]);
        assert_eq!(fate(&deleted, &affected(1, 2, 1)), Fate::Superseded);
        assert_eq!(fate(&deleted, &affected(4, 5, 1)), Fate::Converged(500));
    }

    #[test]
    fn what_never_is_as_wanted_stays_open() {
        let stuck = object(&[state(1, 1, false)]);
        assert_eq!(fate(&stuck, &affected(1, 3, 1)), Fate::Open);
    }
}
