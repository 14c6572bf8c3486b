//! The tables that people query: the raw tables under their plain names.

use datafusion::execution::context::SessionContext;

use crate::catalog::Trace;
use crate::error::Error;
use crate::session::{JUDGED_GAPS, RAW_SCHEMA};

/// The rows of `gaps`, with `is_filled`: whether another recording has all revisions that one of them lacks.
/// `gaps` says what one ledger missed; of several that were recorded together another may have seen it.
const JUDGED_GAPS_SQL: &str = include_str!("views/judged_gaps.sql");

/// Registers the raw tables in the default schema, and `JUDGED_GAPS`; `changes`, which has more columns
/// there, is registered with the derived tables.
///
/// # Errors
/// [`Error::Query`] when a table is refused, which would be a mistake here.
pub async fn register(context: &SessionContext, trace: &Trace) -> Result<(), Error> {
    for table in trace.tables.iter().filter(|table| table.name != "changes") {
        let raw = format!("{RAW_SCHEMA}.{}", table.name);
        let provider = context.table_provider(raw.as_str()).await?;
        context.register_table(table.name, provider)?;
    }
    let judged = context.sql(JUDGED_GAPS_SQL).await?.into_view();
    context.register_table(JUDGED_GAPS, judged)?;
    Ok(())
}
