//! The argument that names a change.

use std::sync::Arc;

use arrow::array::AsArray;
use arrow::compute::cast;
use arrow::datatypes::{DataType, Int64Type};
use datafusion::common::{Result as QueryResult, ScalarValue, plan_err};
use datafusion::execution::context::SessionContext;
use datafusion::logical_expr::{Expr, LogicalPlan};

use crate::error::Error;

/// A change, by its revision.
#[derive(Debug, Clone)]
pub(super) enum ChangeArgument {
    /// The revision itself.
    Revision(i64),
    /// A query for it.
    Query(Arc<LogicalPlan>),
}

impl ChangeArgument {
    /// Reads the one argument of `function`.
    pub(super) fn plan(function: &str, arguments: &[Expr]) -> QueryResult<Self> {
        let [argument] = arguments else {
            return plan_err!(
                "{function} takes one argument, the revision of a change, not {}",
                arguments.len()
            );
        };
        match argument {
            Expr::ScalarSubquery(query) if query.outer_ref_columns.is_empty() => {
                Ok(Self::Query(Arc::clone(&query.subquery)))
            }
            Expr::Literal(value, _) => match value.cast_to(&DataType::Int64) {
                Ok(ScalarValue::Int64(Some(revision))) => Ok(Self::Revision(revision)),
                _ => plan_err!("{function} takes the revision of a change, not {value}"),
            },
            other => plan_err!(
                "{function} takes a revision, or a subquery in parentheses of its own that finds it \
                without the outer query: {function}((SELECT …)), not {other}"
            ),
        }
    }

    /// The revision; `None` if the query for it has no row, or its row is NULL.
    ///
    /// # Errors
    /// When the query fails or has several rows.
    pub(super) async fn revision(&self, context: &SessionContext) -> Result<Option<i64>, Error> {
        let plan = match self {
            Self::Revision(revision) => return Ok(Some(*revision)),
            Self::Query(plan) => LogicalPlan::clone(plan),
        };
        let batches = context.execute_logical_plan(plan).await?.collect().await?;
        let mut found = Vec::new();
        for batch in &batches {
            let column = cast(batch.column(0), &DataType::Int64).map_err(|_| {
                let wrong = batch.schema().field(0).name().clone();
                Error::Usage(format!("{wrong} is no revision of a change: not a number"))
            })?;
            let revisions = column.as_primitive::<Int64Type>();
            found.extend(revisions.iter());
        }
        match found.as_slice() {
            [] => Ok(None),
            [revision] => Ok(*revision),
            several => Err(Error::Usage(format!(
                "the subquery finds {} changes where one is needed; add max(), or LIMIT 1",
                several.len()
            ))),
        }
    }
}
