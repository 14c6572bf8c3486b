//! Follows every object through the changes, once.

mod conditions;
mod evaluation;
mod follower;

use std::iter::Peekable;
use std::sync::Arc;

use datafusion::execution::context::SessionContext;
use futures::StreamExt;

use super::declaration::Declarations;
use crate::causality::Causes;
use crate::causality::kernel::{Interner, NO_TIME, NONE};
use crate::derive::columns::stream_in_order;
use crate::derive::histories::{HistoryName, conditions};
use crate::error::Error;
use evaluation::Evaluation;
use follower::Follower;

/// What is needed of every change.
const COLUMNS: [&str; 15] = [
    "cluster_id",
    "epoch",
    "revision",
    "ordinal",
    "op",
    "key",
    "version",
    "generation",
    "observed_generation",
    "api_group",
    "kind",
    "namespace",
    "name",
    "uid",
    "conditions",
];
/// Milestones that one kind may have: bits of a number.
const MOST_MILESTONES: usize = 60;

/// Every object of every history.
#[derive(Debug, Default)]
pub(crate) struct Timelines {
    pub(super) histories: Vec<History>,
    /// Names of milestones by number.
    pub(super) milestones: Vec<Arc<str>>,
    /// The texts that objects have.
    texts: Interner,
}

/// The objects of one cluster between two restores.
#[derive(Debug, Default)]
pub(super) struct History {
    pub(super) cluster_id: Arc<str>,
    pub(super) epoch: i32,
    pub(super) objects: Vec<Object>,
    /// The changes of these objects, in order.
    pub(super) changes: Vec<ObjectChange>,
}

/// A number that may be unknown: half the size of an `Option<i64>`. What is unknown is before all others.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Maybe(i64);

impl Maybe {
    pub(super) const UNKNOWN: Self = Self(i64::MIN);

    pub(super) fn get(self) -> Option<i64> {
        (self != Self::UNKNOWN).then_some(self.0)
    }
}

impl From<Option<i64>> for Maybe {
    fn from(number: Option<i64>) -> Self {
        number.map_or(Self::UNKNOWN, Self)
    }
}

/// A change of an object.
#[derive(Debug, Clone, Copy)]
pub(super) struct ObjectChange {
    pub(super) revision: i64,
    pub(super) ordinal: i32,
    /// Position among the objects.
    pub(super) object: u32,
    pub(super) generation: Maybe,
    /// Unknown until [`Timelines::date`].
    pub(super) commit: Maybe,
}

/// One object, from its creation to its deletion. Texts are numbers, see [`Timelines::text`]; changes are positions
/// among those of the history.
#[derive(Debug)]
pub(super) struct Object {
    pub(super) api_group: u32,
    pub(super) kind: u32,
    pub(super) namespace: u32,
    pub(super) name: u32,
    pub(super) uid: u32,
    pub(super) key: u32,
    /// The change that created it, [`NONE`] if that is not in the trace.
    pub(super) created: u32,
    /// Whether it is known when it is as its spec wants it.
    pub(super) can_converge: bool,
    /// What it was, from each change on that made a difference.
    pub(super) states: Vec<State>,
    pub(super) occurrences: Vec<Occurrence>,
}

/// What an object is from one change on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct State {
    pub(super) change: u32,
    /// It is as the spec of this generation wants it; if its deletion was asked for, it is gone.
    pub(super) is_converged: bool,
    pub(super) is_gone: bool,
}

/// A milestone that an object reached in a generation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Occurrence {
    /// Number of its name.
    pub(super) milestone: u32,
    pub(super) change: u32,
    /// The last change with which it was reached again.
    pub(super) last: u32,
    /// The first change with this generation, [`NONE`] if that is not in the trace.
    pub(super) generation_began: u32,
}

impl Timelines {
    /// Follows the objects of the kinds that are declared, and all that have conditions. Who wrote what and when
    /// need not be known yet: see [`Self::date`].
    ///
    /// # Errors
    /// When a declared condition is none, or the changes cannot be read.
    pub(crate) async fn follow(
        context: &SessionContext,
        declarations: &Declarations,
        names: &[HistoryName],
    ) -> Result<Self, Error> {
        let evaluation = Evaluation::of(context, &declarations.kinds).await?;
        let mut follower = Follower::new(&declarations.kinds)?;
        for condition in conditions(names) {
            let query = query(&evaluation, &condition);
            let mut batches = stream_in_order(context, &query).await?;
            while let Some(batch) = batches.next().await.transpose()? {
                follower.add(&batch, &evaluation.held(&batch)?)?;
            }
        }
        Ok(follower.finish())
    }

    /// Says when every change was committed, which causes tell.
    pub(crate) fn date(&mut self, causes: &Causes) {
        for history in &mut self.histories {
            let Some(found) = causes.history(&history.cluster_id, history.epoch) else {
                continue;
            };
            let mut rows = InOrder::of(found.changes.rows().iter(), |row| {
                (row.revision, row.ordinal)
            });
            for change in &mut history.changes {
                let row = rows.at((change.revision, change.ordinal));
                change.commit = row
                    .map(|row| row.commit)
                    .filter(|commit| *commit != NO_TIME)
                    .into();
            }
        }
    }

    /// The objects of a cluster and epoch.
    pub(super) fn history(&self, cluster_id: &str, epoch: i32) -> Option<&History> {
        self.histories
            .iter()
            .find(|history| *history.cluster_id == *cluster_id && history.epoch == epoch)
    }

    /// A text of an object.
    pub(super) fn text(&self, number: u32) -> Option<&str> {
        self.texts.text(number)
    }
}

impl History {
    /// A change by its position.
    pub(super) fn change(&self, position: u32) -> Option<&ObjectChange> {
        self.changes.get(position as usize)
    }

    /// When the change at a position was committed.
    pub(super) fn commit(&self, position: u32) -> Option<i64> {
        self.change(position)?.commit.get()
    }

    /// For each of some places, revision and ordinal in ascending order: the position of the change there, [`NONE`] if it
    /// is of no object that is followed.
    pub(super) fn positions(&self, places: impl Iterator<Item = (i64, i32)>) -> Vec<u32> {
        let mut followed = InOrder::of((0_u32..).zip(&self.changes), |(_, change)| {
            (change.revision, change.ordinal)
        });
        let positions =
            places.map(|place| followed.at(place).map_or(NONE, |(position, _)| *position));
        positions.collect()
    }
}

/// Items in the order of their changes, looked for in that order.
struct InOrder<I: Iterator, P> {
    items: Peekable<I>,
    place: P,
}

impl<I: Iterator, P: Fn(&I::Item) -> (i64, i32)> InOrder<I, P> {
    /// `place` tells revision and ordinal of an item.
    fn of(items: I, place: P) -> Self {
        Self {
            items: items.peekable(),
            place,
        }
    }

    /// The item at a place that is not before those asked for so far.
    fn at(&mut self, wanted: (i64, i32)) -> Option<&I::Item> {
        let Self { items, place } = self;
        while items.next_if(|item| place(item) < wanted).is_some() {}
        items.peek().filter(|item| place(item) == wanted)
    }
}

/// The changes of the history that a condition selects. What is of no concern is left out by who reads it: a filter would copy
/// all columns of the other rows.
fn query(evaluation: &Evaluation, condition: &str) -> String {
    let mut columns = evaluation.columns();
    columns.extend(COLUMNS);
    let columns: Vec<String> = columns.iter().map(|name| format!("\"{name}\"")).collect();
    format!(
        "SELECT {}, deletion_time IS NOT NULL AS deleting FROM changes WHERE {condition}
        ORDER BY epoch, revision, ordinal",
        columns.join(", ")
    )
}
