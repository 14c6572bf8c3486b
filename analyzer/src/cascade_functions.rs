//! Table functions over causes, for larger queries: `cascade(change)`, `critical_path(change)` and
//! `paths(from, to)`.
//!
//! They read the derived tables as any query does, so it makes no difference whether these are derived or
//! were written by `cascade derive`. A change is named by its revision: a number, or a subquery that finds it,
//! as in `cascade((SELECT max(revision) FROM roots))`.

mod argument;
mod critical_path;
mod descendants;
mod endpoint;
mod paths;
mod rows;
mod sums;

use std::sync::Arc;

use datafusion::catalog::{TableFunctionArgs, TableFunctionImpl, TableProvider};
use datafusion::common::Result as QueryResult;
use datafusion::execution::context::SessionContext;
use datafusion::logical_expr::Expr;

use crate::derive::{Derivation, DerivedTable};
use critical_path::CriticalPath;
use descendants::Descendants;
use paths::PathsBetween;

/// Makes a derivation of a function's arguments.
type Plan = fn(&[Expr]) -> QueryResult<Arc<dyn Derivation>>;

/// A table function.
#[derive(Debug)]
struct Function {
    plan: Plan,
}

impl TableFunctionImpl for Function {
    fn call_with_args(
        &self,
        arguments: TableFunctionArgs<'_, '_>,
    ) -> QueryResult<Arc<dyn TableProvider>> {
        let derivation = (self.plan)(arguments.exprs())?;
        Ok(Arc::new(DerivedTable::new(derivation)))
    }
}

/// Adds the functions to a session that has the derived tables.
pub(crate) fn register(context: &SessionContext) {
    let functions: [(&str, Plan); 3] = [
        ("cascade", |arguments| {
            Ok(Arc::new(Descendants::plan(arguments)?))
        }),
        ("critical_path", |arguments| {
            Ok(Arc::new(CriticalPath::plan(arguments)?))
        }),
        ("paths", |arguments| {
            Ok(Arc::new(PathsBetween::plan(arguments)?))
        }),
    ];
    for (name, plan) in functions {
        context.register_udtf(name, Arc::new(Function { plan }));
    }
}
