//! Which milestones hold after each change: the declared conditions, evaluated for the rows of their kind alone.
//!
//! A query that told the kinds apart by CASE would copy every column that any condition asks for, once per kind.

use std::collections::BTreeSet;
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, BooleanArray, UInt32Array};
use arrow::compute::take;
use arrow::datatypes::{DataType, Schema, SchemaRef};
use arrow::record_batch::{RecordBatch, RecordBatchOptions};
use datafusion::common::{DFSchema, DataFusionError, Result as QueryResult};
use datafusion::execution::context::SessionContext;
use datafusion::logical_expr::Expr;
use datafusion::logical_expr::simplify::SimplifyContext;
use datafusion::optimizer::simplify_expressions::ExprSimplifier;
use datafusion::physical_expr::PhysicalExpr;

use crate::causality::kernel::FastMap;
use crate::derive::columns::texts;
use crate::error::Error;
use crate::milestones::declaration::{CONVERGED, Declaration};

/// The conditions of all declared kinds.
#[derive(Debug)]
pub(super) struct Evaluation {
    kinds: Vec<Kind>,
    /// Kind → groups, and the position of the declaration of each.
    by_name: FastMap<String, Vec<(String, usize)>>,
}

/// The conditions of one kind.
#[derive(Debug)]
struct Kind {
    /// The columns that they ask for.
    schema: SchemaRef,
    milestones: Vec<Arc<dyn PhysicalExpr>>,
    converged: Option<Arc<dyn PhysicalExpr>>,
}

/// What holds after a change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Held {
    /// Position of the declaration of its kind.
    pub(super) kind: Option<usize>,
    /// Milestones of that kind, as bits.
    pub(super) milestones: u64,
    /// Whether the object is as its spec wants it.
    pub(super) is_converged: bool,
}

impl Evaluation {
    /// Prepares the conditions.
    ///
    /// # Errors
    /// [`Error::Usage`] with the first that is none over the columns of `changes`.
    pub(super) async fn of(context: &SessionContext, kinds: &[Declaration]) -> Result<Self, Error> {
        let changes = context.table_provider("changes").await?.schema();
        let mut by_name: FastMap<String, Vec<(String, usize)>> = FastMap::default();
        for (position, kind) in kinds.iter().enumerate() {
            let (name, group) = kind.name_and_group();
            let groups = by_name.entry(name.to_owned()).or_default();
            groups.push((group.to_owned(), position));
        }
        let kinds = kinds
            .iter()
            .map(|kind| Kind::of(context, &changes, kind))
            .collect::<Result<_, _>>()?;
        Ok(Self { kinds, by_name })
    }

    /// The columns of `changes` that some condition asks for.
    pub(super) fn columns(&self) -> BTreeSet<&str> {
        let fields = self.kinds.iter().flat_map(|kind| kind.schema.fields());
        fields.map(|field| field.name().as_str()).collect()
    }

    /// What holds after each change of a batch with these columns, and with `kind` and `api_group`.
    pub(super) fn held(&self, batch: &RecordBatch) -> Result<Vec<Held>, Error> {
        let (names, groups) = (texts(batch, "kind")?, texts(batch, "api_group")?);
        let mut held = vec![Held::default(); batch.num_rows()];
        let mut rows: Vec<Vec<u32>> = vec![Vec::new(); self.kinds.len()];
        for ((row, held), (name, group)) in (0_u32..).zip(&mut held).zip(names.iter().zip(groups)) {
            held.kind = name.and_then(|name| self.position(name, group.unwrap_or_default()));
            if let Some(rows) = held.kind.and_then(|kind| rows.get_mut(kind)) {
                rows.push(row);
            }
        }
        for (kind, rows) in self.kinds.iter().zip(rows) {
            if !rows.is_empty() {
                kind.evaluate(batch, &UInt32Array::from(rows), &mut held)?;
            }
        }
        Ok(held)
    }

    fn position(&self, name: &str, group: &str) -> Option<usize> {
        let groups = self.by_name.get(name)?;
        let (_, position) = groups.iter().find(|(known, _)| known == group)?;
        Some(*position)
    }
}

impl Kind {
    fn of(
        context: &SessionContext,
        changes: &Schema,
        declaration: &Declaration,
    ) -> Result<Self, Error> {
        let wrong = |milestone: &str, error: DataFusionError| {
            Error::Usage(format!(
                "milestone {milestone} of {}: {}",
                declaration.kind,
                error.strip_backtrace()
            ))
        };
        let all = DFSchema::try_from(changes.clone())?;
        let parse = |milestone: &str, sql: &str| {
            let parsed = context.state().create_logical_expr(sql, &all);
            parsed.map_err(|error| wrong(milestone, error))
        };
        let conditions = declaration.milestones.iter();
        let converged = declaration.converged.iter();
        let parsed = conditions
            .map(|(milestone, sql)| (milestone.as_str(), sql))
            .chain(converged.map(|sql| (CONVERGED, sql)))
            .map(|(milestone, sql)| Ok((milestone, parse(milestone, sql)?)))
            .collect::<Result<Vec<_>, Error>>()?;
        let is_asked_for = |name: &str| {
            let mut conditions = parsed.iter();
            conditions.any(|(_, condition)| {
                let mut columns = condition.column_refs().into_iter();
                columns.any(|column| column.name == name)
            })
        };
        let fields = changes.fields().iter();
        let fields: Vec<_> = fields
            .filter(|field| is_asked_for(field.name()))
            .cloned()
            .collect();
        let schema = Arc::new(Schema::new(fields));
        let asked_for = DFSchema::try_from(Arc::clone(&schema))?;
        let mut prepared = Vec::with_capacity(parsed.len());
        for (milestone, condition) in parsed {
            let condition = physical(context, condition, &asked_for)
                .and_then(|condition| boolean(condition, &schema))
                .map_err(|error| wrong(milestone, error))?;
            prepared.push(condition);
        }
        let converged = declaration.converged.as_ref().and_then(|_| prepared.pop());
        Ok(Self {
            schema,
            milestones: prepared,
            converged,
        })
    }

    /// Notes what holds of some rows, all of this kind.
    fn evaluate(
        &self,
        batch: &RecordBatch,
        rows: &UInt32Array,
        held: &mut [Held],
    ) -> Result<(), Error> {
        if self.milestones.is_empty() && self.converged.is_none() {
            return Ok(());
        }
        let fields = self.schema.fields().iter();
        let columns: Vec<ArrayRef> = fields
            .map(|field| {
                let column = batch.column_by_name(field.name()).ok_or_else(|| {
                    Error::Internal(format!("no column {} of changes was read", field.name()))
                })?;
                Ok(take(column, rows, None).map_err(DataFusionError::from)?)
            })
            .collect::<Result<_, Error>>()?;
        let options = RecordBatchOptions::new().with_row_count(Some(rows.len()));
        let schema = Arc::clone(&self.schema);
        let asked = RecordBatch::try_new_with_options(schema, columns, &options)
            .map_err(DataFusionError::from)?;
        for (bit, condition) in self.milestones.iter().enumerate() {
            each_true(condition, &asked, rows, held, |held| {
                held.milestones |= 1 << bit;
            })?;
        }
        if let Some(condition) = &self.converged {
            each_true(condition, &asked, rows, held, |held| {
                held.is_converged = true;
            })?;
        }
        Ok(())
    }
}

/// Makes an expression ready to be evaluated. Some functions have to be simplified to others first.
fn physical(
    context: &SessionContext,
    expression: Expr,
    columns: &DFSchema,
) -> QueryResult<Arc<dyn PhysicalExpr>> {
    let simplifying = SimplifyContext::builder()
        .with_schema(Arc::new(columns.clone()))
        .with_current_time()
        .build();
    let simplifier = ExprSimplifier::new(simplifying);
    let coerced = simplifier.coerce(expression, columns)?;
    context.create_physical_expr(simplifier.simplify(coerced)?, columns)
}

/// An expression, if it is a condition. NULL is one that never holds.
fn boolean(
    expression: Arc<dyn PhysicalExpr>,
    schema: &Schema,
) -> QueryResult<Arc<dyn PhysicalExpr>> {
    match expression.data_type(schema)? {
        DataType::Boolean | DataType::Null => Ok(expression),
        other => Err(DataFusionError::Plan(format!(
            "this is {other}, not a condition"
        ))),
    }
}

/// Tells those of `held` for whose rows a condition is true; the rows of `asked` are at the places `rows`.
fn each_true(
    condition: &Arc<dyn PhysicalExpr>,
    asked: &RecordBatch,
    rows: &UInt32Array,
    held: &mut [Held],
    tell: impl Fn(&mut Held),
) -> Result<(), Error> {
    let answer = condition.evaluate(asked)?.into_array(asked.num_rows())?;
    let Some(answer): Option<&BooleanArray> = answer.as_boolean_opt() else {
        return Ok(());
    };
    for (is_true, row) in answer.iter().zip(rows.values()) {
        if is_true == Some(true)
            && let Some(held) = held.get_mut(*row as usize)
        {
            tell(held);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use futures::StreamExt;

    use super::*;
    use crate::milestones::Declarations;
    use crate::session::{EngineOptions, Session};

    async fn session() -> Session {
        let trace = concat!(env!("CARGO_MANIFEST_DIR"), "/../testdata/traces/rollout");
        let options = EngineOptions::default();
        Session::open(&[trace.to_owned()], &options).await.unwrap()
    }

    async fn count(session: &Session, condition: &str) -> i64 {
        let query = format!("SELECT count(*) AS n FROM changes WHERE {condition}");
        let batches = session.query(&query).await.unwrap();
        crate::report::rows::integers(&batches[0], "n")
            .unwrap()
            .value(0)
    }

    /// How many changes each condition holds after, by kind and milestone, `converged` last.
    async fn held(session: &Session, kinds: &[Declaration]) -> Vec<Vec<i64>> {
        let evaluation = Evaluation::of(session.context(), kinds).await.unwrap();
        let query = super::super::query(&evaluation, "true");
        let answer = session.context().sql(&query).await.unwrap();
        let mut batches = answer.execute_stream().await.unwrap();
        let mut counts: Vec<Vec<i64>> = kinds
            .iter()
            .map(|kind| vec![0; kind.milestones.len() + 1])
            .collect();
        while let Some(batch) = batches.next().await {
            for held in evaluation.held(&batch.unwrap()).unwrap() {
                let Some(counts) = held.kind.map(|kind| &mut counts[kind]) else {
                    continue;
                };
                let (converged, milestones) = counts.split_last_mut().unwrap();
                *converged += i64::from(held.is_converged);
                for (bit, count) in milestones.iter_mut().enumerate() {
                    *count += i64::from(held.milestones >> bit & 1 == 1);
                }
            }
        }
        counts
    }

    #[tokio::test]
    async fn conditions_hold_where_sql_says_that_they_do() {
        let session = session().await;
        let kinds = Declarations::load(None).unwrap().kinds;
        let found = held(&session, &kinds).await;
        let mut total = 0;
        for (kind, found) in kinds.iter().zip(found) {
            let (name, group) = kind.name_and_group();
            let milestones = kind.milestones.iter().map(|(_, sql)| sql.as_str());
            let converged = kind.converged.as_deref().unwrap_or("false");
            for (condition, found) in milestones.chain([converged]).zip(found) {
                let of_kind = format!("kind = '{name}' AND api_group = '{group}'");
                let expected = count(&session, &format!("{of_kind} AND ({condition})")).await;
                assert_eq!(found, expected, "{}: {condition}", kind.kind);
                total += found;
            }
        }
        assert!(total > 100, "{total}");
    }

    #[tokio::test]
    async fn any_column_of_changes_can_be_asked_for() {
        let session = session().await;
        let pod = |condition: &str| Declaration {
            kind: "Pod".to_owned(),
            milestones: vec![("it".to_owned(), condition.to_owned())],
            converged: None,
        };
        for (condition, holds) in [
            ("true", true),
            ("NULL", false),
            ("commit_unix_nano > 0 AND \"user\" IS NULL", true),
            ("actor = 'kubelet' OR actor <> 'kubelet'", true),
        ] {
            let found = held(&session, &[pod(condition)]).await;
            let of_pods = format!("kind = 'Pod' AND ({condition})");
            let expected = count(&session, &of_pods).await;
            assert_eq!(found, [[expected, 0]], "{condition}");
            assert_eq!(expected > 0, holds, "{condition}");
        }
        for (condition, part) in [
            ("shoe_size > 4", "No field named shoe_size"),
            ("revision + 1", "Int64, not a condition"),
            ("ready AND", "milestone it of Pod: "),
            ("revision IN (SELECT 1)", "milestone it of Pod: "),
        ] {
            let error = Evaluation::of(session.context(), &[pod(condition)]).await;
            let error = error.unwrap_err();
            assert!(matches!(error, Error::Usage(_)), "{condition}: {error}");
            assert!(error.to_string().contains(part), "{condition}: {error}");
        }
    }
}
