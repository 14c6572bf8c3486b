//! Follows every object through the changes, once.

mod conditions;
mod follower;

use std::sync::Arc;

use datafusion::execution::context::SessionContext;
use futures::StreamExt;

use super::declaration::{Declaration, Declarations};
use crate::causality::kernel::{Interner, NONE};
use crate::derive::columns::stream_in_order;
use crate::error::Error;
use follower::Follower;

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
    /// Commit of its creation, if that is in the trace.
    pub(super) created: Maybe,
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
    /// Commit of the first change with this generation, if that is in the trace.
    pub(super) generation_began: Maybe,
}

impl Timelines {
    /// Follows the objects of the kinds that are declared, and all that have conditions. `histories` are the conditions
    /// that select one after the other.
    ///
    /// # Errors
    /// When a declared condition is none, or the changes cannot be read.
    pub(crate) async fn compute(
        context: &SessionContext,
        declarations: &Declarations,
        histories: &[String],
    ) -> Result<Self, Error> {
        declarations.check(context).await?;
        let mut follower = Follower::new(&declarations.kinds)?;
        for history in histories {
            let query = query(&declarations.kinds, history);
            let mut batches = stream_in_order(context, &query).await?;
            while let Some(batch) = batches.next().await.transpose()? {
                follower.add(&batch)?;
            }
        }
        Ok(follower.finish())
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

    /// For each of some places, revision and ordinal in ascending order: the position of the change there, [`NONE`] if it
    /// is of no object that is followed.
    pub(super) fn positions(&self, places: impl Iterator<Item = (i64, i32)>) -> Vec<u32> {
        let mut followed = (0_u32..).zip(&self.changes).peekable();
        let positions = places.map(|place| {
            let is_before = |change: &ObjectChange| (change.revision, change.ordinal) < place;
            while followed.next_if(|(_, change)| is_before(change)).is_some() {}
            let found = followed
                .peek()
                .filter(|(_, change)| (change.revision, change.ordinal) == place);
            found.map_or(NONE, |(position, _)| *position)
        });
        positions.collect()
    }
}

/// The changes of a history, each with the number of its declaration, the milestones that hold after it as bits, and whether it
/// is as its spec wants it.
fn query(kinds: &[Declaration], history: &str) -> String {
    let mut declared = String::new();
    let mut held = String::new();
    let mut converged = String::new();
    for (number, kind) in kinds.iter().enumerate() {
        let is_kind = kind.is_kind();
        let bits = kind.milestones.iter().enumerate().map(|(bit, (_, sql))| {
            format!(" + CASE WHEN ({sql}) THEN {} ELSE 0 END", 1_i64 << bit)
        });
        let bits: String = bits.collect();
        let is_converged = kind.converged.as_deref().unwrap_or("false");
        declared.push_str(&format!(" WHEN {is_kind} THEN {number}"));
        held.push_str(&format!(" WHEN {number} THEN 0{bits}"));
        converged.push_str(&format!(
            " WHEN {number} THEN coalesce(({is_converged}), false)"
        ));
    }
    let case = |of: &str, branches: &str, other: &str| {
        if branches.is_empty() {
            other.to_owned()
        } else {
            format!("CASE {of}{branches} ELSE {other} END")
        }
    };
    format!(
        "SELECT cluster_id, epoch, revision, ordinal, op, key, version, generation, observed_generation,
            commit_unix_nano, api_group, kind, namespace, name, uid, deletion_time IS NOT NULL AS deleting,
            conditions, declared, {} AS held, {} AS converged
        FROM (SELECT *, {} AS declared FROM changes WHERE {history})
        WHERE declared >= 0 OR cardinality(conditions) > 0
        ORDER BY epoch, revision, ordinal",
        case("declared", &held, "0"),
        case("declared", &converged, "false"),
        case("", &declared, "-1"),
    )
}
