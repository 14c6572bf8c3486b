//! How each cascade ended: whether and when every object that it changed was as its spec wants it.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use arrow::array::{ArrayRef, Int32Array, Int64Array, StringArray};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use arrow::record_batch::{RecordBatch, RecordBatchOptions};
use async_trait::async_trait;
use bytemuck::{CheckedBitPattern, NoUninit};
use datafusion::common::{Result as QueryResult, exec_datafusion_err};
use datafusion::execution::context::SessionContext;

use super::Timelines;
use super::timelines::{History, Maybe};
use crate::causality::kernel::NONE;
use crate::causality::{self, Causes};
use crate::derive::{Chunks, Derivation, Derived};
use crate::error::Error;
use crate::storage::List;

/// Cascades whose rows make one record batch.
const CHUNK_CASCADES: usize = 8192;

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
    /// Position of what it was after the first.
    state: u32,
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
#[derive(Debug, Clone, Copy, NoUninit, CheckedBitPattern)]
#[repr(C)]
struct Ending {
    /// The last convergence, and the same since the root.
    converged: Maybe,
    since_root: Maybe,
    root: u32,
    /// Objects that can converge.
    objects: u32,
    superseded: u32,
    open: u32,
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
        Ok(Arc::new(Endings::new(causes, &timelines, self.schema())))
    }
}

/// The rows, made as they are read.
#[derive(Debug)]
pub(super) struct Endings {
    causes: Arc<Causes>,
    /// Positions among the histories of the causes, and the ends of their cascades.
    histories: Vec<(usize, List<Ending>)>,
    /// Positions among the histories here, and the cascades.
    chunks: Vec<(usize, Range<usize>)>,
    schema: SchemaRef,
}

impl Endings {
    pub(super) fn new(causes: Arc<Causes>, timelines: &Timelines, schema: SchemaRef) -> Self {
        let mut histories = Vec::new();
        let mut chunks = Vec::new();
        for (number, found) in causes.histories.iter().enumerate() {
            let Some(history) = timelines.history(&found.cluster_id, found.epoch) else {
                continue;
            };
            let endings = endings(found, history);
            let starts = (0..endings.len()).step_by(CHUNK_CASCADES);
            let ranges = starts.map(|start| start..endings.len().min(start + CHUNK_CASCADES));
            chunks.extend(ranges.map(|range| (histories.len(), range)));
            histories.push((number, endings));
        }
        Self {
            causes,
            histories,
            chunks,
            schema,
        }
    }

    /// The history of a chunk, and its cascades.
    fn of_chunk(&self, index: usize) -> Option<(&causality::History, Vec<Ending>)> {
        let (position, range) = self.chunks.get(index)?;
        let (history, endings) = self.histories.get(*position)?;
        let found = self.causes.histories.get(*history)?;
        Some((found, endings.slice(range.clone()).into_owned()))
    }
}

impl Chunks for Endings {
    fn count(&self) -> usize {
        self.chunks.len()
    }

    fn chunk(&self, index: usize, projection: &[usize]) -> QueryResult<RecordBatch> {
        let (history, endings) = self
            .of_chunk(index)
            .ok_or_else(|| exec_datafusion_err!("no chunk {index} of how cascades ended"))?;
        let columns: Vec<ArrayRef> = projection
            .iter()
            .map(|column| column_of(self.schema.field(*column).name(), history, &endings))
            .collect();
        history.changes.storage.check()?;
        let schema = Arc::new(self.schema.project(projection)?);
        let options = RecordBatchOptions::new().with_row_count(Some(endings.len()));
        Ok(RecordBatch::try_new_with_options(
            schema, columns, &options,
        )?)
    }
}

fn column_of(name: &str, found: &causality::History, endings: &[Ending]) -> ArrayRef {
    let numbers = |number: &dyn Fn(&Ending) -> Option<i64>| -> ArrayRef {
        Arc::new(Int64Array::from_iter(endings.iter().map(number)))
    };
    match name {
        "cluster_id" => {
            let clusters = endings.iter().map(|_| &found.cluster_id);
            Arc::new(StringArray::from_iter_values(clusters))
        }
        "epoch" => Arc::new(Int32Array::from_value(found.epoch, endings.len())),
        "revision" => numbers(&|ending| Some(found.changes.row(ending.root)?.revision)),
        "ordinal" => {
            let roots = endings.iter().map(|ending| found.changes.row(ending.root));
            Arc::new(Int32Array::from_iter(
                roots.map(|root| root.map(|root| root.ordinal)),
            ))
        }
        "objects" => numbers(&|ending| Some(ending.objects.into())),
        "superseded" => numbers(&|ending| Some(ending.superseded.into())),
        "open" => numbers(&|ending| Some(ending.open.into())),
        "converged_unix_nano" => numbers(&|ending| ending.converged.get()),
        // `converged_ns`, the only one that is left.
        _ => numbers(&|ending| ending.since_root.get()),
    }
}

/// The ends of all cascades that changed objects which can converge, by root.
fn endings(found: &causality::History, history: &History) -> List<Ending> {
    let places = found.changes.rows().iter();
    let positions = history.positions(places.map(|change| (change.revision, change.ordinal)));
    let reach = found.reach();
    let mut endings = List::new(history.storage());
    let mut affected: BTreeMap<u32, Affected> = BTreeMap::new();
    for (root, rows) in reach.by_root().iter() {
        affected.clear();
        let mut began = None;
        for row in rows
            .iter()
            .filter_map(|row| reach.rows().get(*row as usize))
        {
            let position = positions.get(row.change as usize).unwrap_or(NONE);
            let Some((number, state)) = history.state_after(position) else {
                continue;
            };
            began = began.or_else(|| Some(history.commit(position)? - row.since_root()));
            affected
                .entry(state.object)
                .and_modify(|known| {
                    known.last = position;
                    known.generation = known.generation.max(state.generation);
                })
                .or_insert(Affected {
                    first: position,
                    last: position,
                    state: number,
                    generation: state.generation,
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
        converged: Maybe::UNKNOWN,
        since_root: Maybe::UNKNOWN,
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
        match fate(history, affected) {
            Fate::Converged(commit) => last = last.max(Some(commit)),
            Fate::Superseded => ending.superseded += 1,
            Fate::Open => ending.open += 1,
        }
    }
    if ending.open + ending.superseded == 0
        && let Some((last, began)) = last.zip(began)
    {
        ending.converged = Some(last).into();
        ending.since_root = Some(last.saturating_sub(began)).into();
    }
    (ending.objects > 0).then_some(ending)
}

/// What became of an object.
fn fate(history: &History, affected: &Affected) -> Fate {
    // What it was right after the first change, and what it became later.
    let mut next = affected.state;
    while let Some(state) = history.states.get(next as usize) {
        next = state.next;
        let generation = state.generation;
        let commit = || history.commit(state.change.max(affected.first));
        if state.is_gone {
            let is_own = state.change <= affected.last;
            return match commit() {
                Some(commit) if is_own => Fate::Converged(commit),
                _ => Fate::Superseded,
            };
        }
        if generation > affected.generation {
            return Fate::Superseded;
        }
        if state.is_converged && generation == affected.generation {
            return match commit() {
                Some(commit) => Fate::Converged(commit),
                None => Fate::Open,
            };
        }
    }
    Fate::Open
}

#[cfg(test)]
mod tests {
    use super::super::timelines::{ObjectChange, State};
    use super::*;
    use crate::storage::Storage;

    /// An object of which every given state, revision, generation and whether it is converged, is a change; between
    /// them are changes that make no difference.
    fn object(states: &[(i64, i64, bool)]) -> History {
        let mut history = History::new("", 0, &Storage::default());
        let end = states.last().map_or(0, |(revision, _, _)| *revision + 1);
        let mut current = NONE;
        for revision in 0..=end {
            if let Some((_, generation, is_converged)) =
                states.iter().find(|state| state.0 == revision)
            {
                let change = u32::try_from(revision).unwrap();
                let generation = Some(*generation).into();
                let state = State::new(0, change, generation, *is_converged, false);
                current = history.enter(current, state);
            }
            history.changes.push(ObjectChange {
                revision,
                ordinal: 0,
                state: current,
            });
            history.commits.push(Some(revision * 100).into());
        }
        history
    }

    fn fate_of(history: &History, first: u32, last: u32, generation: i64) -> Fate {
        let affected = Affected {
            first,
            last,
            state: history.state_after(first).unwrap().0,
            generation: Some(generation).into(),
        };
        fate(history, &affected)
    }

    #[test]
    fn an_object_converges_when_it_first_is_as_that_generation_wants_it() {
        let history = object(&[
            (1, 1, false),
            (4, 1, true),
            (6, 2, false),
            (9, 2, true),
            (12, 2, false),
            (13, 2, true),
        ]);
        let fate = |first, last, generation| fate_of(&history, first, last, generation);
        assert_eq!(fate(1, 4, 1), Fate::Converged(400));
        assert_eq!(fate(6, 13, 2), Fate::Converged(900));
        // A pod was lost, and came back.
        assert_eq!(fate(12, 13, 2), Fate::Converged(1300));
        // Only a label was changed, while all was well.
        assert_eq!(fate(10, 10, 2), Fate::Converged(1000));
    }

    #[test]
    fn a_newer_generation_or_a_foreign_deletion_comes_first() {
        let history = object(&[(1, 1, false), (3, 2, false), (9, 2, true)]);
        let hurried = fate_of(&history, 1, 2, 1);
        assert_eq!(hurried, Fate::Superseded);
        let mut history = object(&[(1, 1, false), (5, 1, true)]);
        history.states.update(1, |state| state.is_gone = true);
        assert_eq!(fate_of(&history, 1, 2, 1), Fate::Superseded);
        assert_eq!(fate_of(&history, 4, 5, 1), Fate::Converged(500));
    }

    #[test]
    fn what_never_is_as_wanted_stays_open() {
        let history = object(&[(1, 1, false)]);
        let stuck = fate_of(&history, 1, 3, 1);
        assert_eq!(stuck, Fate::Open);
    }
}
