//! The tables that people query: the raw tables under their plain names.

use datafusion::execution::context::SessionContext;

use crate::catalog::Trace;
use crate::error::Error;
use crate::session::RAW_SCHEMA;

/// Registers the raw tables in the default schema; `changes`, which has more columns there, is
/// registered with the derived tables.
///
/// # Errors
/// [`Error::Query`] when a table is refused, which would be a mistake here.
pub async fn register(context: &SessionContext, trace: &Trace) -> Result<(), Error> {
    for table in trace.tables.iter().filter(|table| table.name != "changes") {
        let raw = format!("{RAW_SCHEMA}.{}", table.name);
        let provider = context.table_provider(raw.as_str()).await?;
        context.register_table(table.name, provider)?;
    }
    Ok(())
}
