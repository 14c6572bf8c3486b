//! `descendants(cpid)` and `ancestors(cpid)`: what came of a change, and what it came from, by the
//! reported mergelogs.

use std::sync::Arc;

use arrow::array::{Int64Array, StringArray};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use arrow::record_batch::RecordBatch;
use async_trait::async_trait;
use datafusion::catalog::{TableFunctionArgs, TableFunctionImpl, TableProvider};
use datafusion::common::{Result as QueryResult, ScalarValue, plan_err};
use datafusion::execution::context::SessionContext;
use datafusion::logical_expr::Expr;

use super::{Chunks, Derivation, Derived, DerivedTable};
use crate::error::Error;

/// Which way the graph is followed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Direction {
    Descendants,
    Ancestors,
}

impl Direction {
    const fn name(self) -> &'static str {
        match self {
            Self::Descendants => "descendants",
            Self::Ancestors => "ancestors",
        }
    }
}

/// Registers both functions. They answer with one row per CPID, breadth first: `cpid`, and `depth`, the
/// number of merges between. The CPID asked for is always there, at depth 0: one that no mergelog
/// mentions came of nothing else, and nothing came of it.
pub(super) fn register(context: &SessionContext, derived: &Arc<Derived>) {
    for direction in [Direction::Descendants, Direction::Ancestors] {
        let function = CpidFunction {
            direction,
            derived: Arc::clone(derived),
        };
        context.register_udtf(direction.name(), Arc::new(function));
    }
}

#[derive(Debug)]
struct CpidFunction {
    direction: Direction,
    derived: Arc<Derived>,
}

impl TableFunctionImpl for CpidFunction {
    fn call_with_args(
        &self,
        arguments: TableFunctionArgs<'_, '_>,
    ) -> QueryResult<Arc<dyn TableProvider>> {
        let name = self.direction.name();
        let cpid = match arguments.exprs() {
            [Expr::Literal(value, _)] => value,
            [_] => {
                return plan_err!(
                    "{name} takes a CPID that is known before the query runs, as a text"
                );
            }
            others => return plan_err!("{name} takes one argument, a CPID, not {}", others.len()),
        };
        let (ScalarValue::Utf8(Some(cpid))
        | ScalarValue::Utf8View(Some(cpid))
        | ScalarValue::LargeUtf8(Some(cpid))) = cpid
        else {
            return plan_err!("{name} takes a CPID as a text, not {cpid}");
        };
        let relatives = Relatives {
            direction: self.direction,
            cpid: cpid.clone(),
            derived: Arc::clone(&self.derived),
        };
        Ok(Arc::new(DerivedTable::new(Arc::new(relatives))))
    }
}

/// The relatives of one CPID.
#[derive(Debug)]
struct Relatives {
    direction: Direction,
    cpid: String,
    derived: Arc<Derived>,
}

#[async_trait]
impl Derivation for Relatives {
    fn name(&self) -> &'static str {
        self.direction.name()
    }

    fn schema(&self) -> SchemaRef {
        Arc::new(Schema::new(vec![
            Field::new("cpid", DataType::Utf8, false),
            Field::new("depth", DataType::Int64, false),
        ]))
    }

    async fn rows(&self, context: &SessionContext) -> Result<Arc<dyn Chunks>, Error> {
        let mergelogs = self.derived.mergelogs(context).await?;
        let found = match self.direction {
            Direction::Descendants => mergelogs.descendants(&self.cpid),
            Direction::Ancestors => mergelogs.ancestors(&self.cpid),
        };
        let cpids = StringArray::from_iter_values(found.iter().map(|(cpid, _)| cpid));
        let depths = Int64Array::from_iter_values(found.iter().map(|(_, depth)| *depth));
        let batch = RecordBatch::try_new(self.schema(), vec![Arc::new(cpids), Arc::new(depths)])
            .map_err(|error| Error::Internal(error.to_string()))?;
        Ok(Arc::new(vec![batch]))
    }
}
