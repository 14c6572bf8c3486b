//! The histories of a trace: what one cluster stored between two restores.

use std::sync::Arc;

use datafusion::execution::context::SessionContext;

use super::columns::{int32s, texts};
use crate::error::Error;
use crate::session::STORED_SCHEMA;

/// Names a history.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct HistoryName {
    pub(crate) cluster_id: Arc<str>,
    pub(crate) epoch: i32,
}

/// The histories that changes are of, in order.
///
/// # Errors
/// When the changes cannot be read.
pub(super) async fn read(context: &SessionContext) -> Result<Vec<HistoryName>, Error> {
    let query = format!(
        "SELECT DISTINCT cluster_id, epoch FROM {STORED_SCHEMA}.changes ORDER BY cluster_id, epoch"
    );
    let mut names = Vec::new();
    for batch in context.sql(&query).await?.collect().await? {
        let (clusters, epochs) = (texts(&batch, "cluster_id")?, int32s(&batch, "epoch")?);
        for row in 0..batch.num_rows() {
            names.push(HistoryName {
                cluster_id: clusters.value(row).into(),
                epoch: epochs.value(row),
            });
        }
    }
    Ok(names)
}

/// Conditions on `changes` in SQL that select one history after the other. Whoever wants the changes in their order asks for
/// each history by `epoch, revision, ordinal`, which is the order of the files: to ask for all at once would sort every column
/// of the trace.
pub(crate) fn conditions(names: &[HistoryName]) -> Vec<String> {
    match names {
        // Of one only, no row need be compared.
        [_] => vec!["true".to_owned()],
        names => names.iter().map(HistoryName::condition).collect(),
    }
}

impl HistoryName {
    /// The condition that selects its rows in any raw table.
    pub(crate) fn condition(&self) -> String {
        format!(
            "cluster_id = '{}' AND epoch = {}",
            self.cluster_id.replace('\'', "''"),
            self.epoch
        )
    }
}
