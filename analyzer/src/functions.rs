//! SQL functions that DataFusion lacks.

mod newest_writer;
mod quantile_disc;

use datafusion::execution::context::SessionContext;
use datafusion::logical_expr::{AggregateUDF, ScalarUDF};

use crate::error::Error;

/// Registers all functions of this module, and JSON's `->` and `->>`.
///
/// # Errors
/// [`Error::Query`] when DataFusion refuses one, which would be a mistake here.
pub fn register(context: &mut SessionContext) -> Result<(), Error> {
    datafusion_functions_json::register_all(context)?;
    context.register_udf(ScalarUDF::from(newest_writer::NewestWriter::default()));
    context.register_udaf(AggregateUDF::from(quantile_disc::QuantileDisc::default()));
    Ok(())
}
