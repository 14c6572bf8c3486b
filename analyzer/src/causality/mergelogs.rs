//! Reads the mergelogs for the kernel: which CPIDs were made of which.

use datafusion::execution::context::SessionContext;
use futures::StreamExt;

use super::kernel::Builder;
use crate::derive::columns::{list_texts, lists, stream, text, texts};
use crate::error::Error;
use crate::session::STORED_SCHEMA;

/// The mergelogs of a trace that name sources, in the order in which they were received. CPIDs are unique, so they
/// belong to no cluster.
#[derive(Debug, Default)]
pub(super) struct Mergelogs(Vec<(String, Vec<String>)>);

impl Mergelogs {
    /// Reads all.
    ///
    /// # Errors
    /// [`Error::Query`] when the table cannot be read.
    pub(super) async fn read(context: &SessionContext) -> Result<Self, Error> {
        let query = format!(
            "SELECT new_cpid, source_cpids FROM {STORED_SCHEMA}.mergelogs
            WHERE cardinality(source_cpids) > 0 ORDER BY received_unix_nano, new_cpid"
        );
        let mut found = Vec::new();
        let mut batches = stream(context, &query).await?;
        while let Some(batch) = batches.next().await.transpose()? {
            let (made, sources) = (texts(&batch, "new_cpid")?, lists(&batch, "source_cpids")?);
            for row in 0..batch.num_rows() {
                if let Some(made) = text(made, row) {
                    found.push((made.to_owned(), list_texts(sources, row)?));
                }
            }
        }
        Ok(Self(found))
    }

    /// Tells them to the kernel.
    pub(super) fn tell(&self, builder: &mut Builder) {
        for (made, sources) in &self.0 {
            builder.push_mergelog(made, sources.iter().map(String::as_str));
        }
    }
}
