//! Follows every object through the changes, once.

mod conditions;
mod evaluation;
mod follower;
mod history;
mod in_order;
mod keys;
mod names;
#[cfg(test)]
mod tests;

use datafusion::execution::context::SessionContext;
use futures::StreamExt;

use super::declaration::Declarations;
use crate::causality::Causes;
use crate::causality::kernel::NO_TIME;
use crate::derive::columns::stream_in_order;
use crate::derive::histories::{HistoryName, conditions};
use crate::error::Error;
use crate::storage::{List, Storage};
use evaluation::Evaluation;
use follower::Follower;
pub(super) use history::{History, Maybe, Object, ObjectChange, Occurrence, State};
use in_order::InOrder;
use names::Names;

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
    histories: Vec<History>,
    /// Names of milestones.
    pub(super) milestones: Names,
    /// Groups, kinds and namespaces.
    texts: Names,
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
        storage: &Storage,
    ) -> Result<Self, Error> {
        let evaluation = Evaluation::of(context, &declarations.kinds).await?;
        let mut follower = Follower::new(&declarations.kinds, storage)?;
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
            let mut commits = List::with_capacity(history.storage(), history.changes.len());
            commits.extend(history.changes.iter().map(|change| {
                let row = rows.at((change.revision, change.ordinal));
                let commit = row.map(|row| row.commit);
                Maybe::from(commit.filter(|commit| *commit != NO_TIME))
            }));
            history.commits = commits;
        }
    }

    /// The objects of a cluster and epoch.
    pub(super) fn history(&self, cluster_id: &str, epoch: i32) -> Option<&History> {
        self.histories
            .iter()
            .find(|history| *history.cluster_id == *cluster_id && history.epoch == epoch)
    }

    /// A group, kind or namespace.
    pub(super) fn text(&self, number: u32) -> Option<&str> {
        self.texts.text(number)
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
