//! The view `changes`: the rows of `raw.changes`, each with what `writes` says about it.
//!
//! A join would hash one whole side. Both sides are in revision order, so each row looks its
//! partner up where the last one was found; the raw side is scanned as any other table, with the query's
//! projection and filters, and keeps its order and number of rows whatever `writes` holds.

use std::hash::{Hash, Hasher};
use std::sync::Arc;

use arrow::array::AsArray;
use arrow::datatypes::{DataType, Field, Int32Type, Int64Type, Schema, SchemaRef};
use async_trait::async_trait;
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::{Result, exec_err};
use datafusion::datasource::TableType;
use datafusion::logical_expr::{
    ColumnarValue, Expr, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature,
    TableProviderFilterPushDown, TypeSignature, Volatility,
};
use datafusion::physical_expr::expressions::Column;
use datafusion::physical_expr::{PhysicalExpr, ScalarFunctionExpr};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::projection::{ProjectionExec, ProjectionExpr};

use super::Writes;
use super::columns::{WRITE_COLUMNS, WriteColumn};
use super::rows::{Cursor, Row};
use crate::derive::Derived;
use crate::derive::table::{context_of, external};

/// The columns that name a change.
const KEYS: [&str; 4] = ["cluster_id", "epoch", "revision", "ordinal"];

/// Where a column of the view comes from.
#[derive(Debug, Clone, Copy)]
enum Source {
    /// A column of `raw.changes`.
    Raw(usize),
    /// A column of `writes`.
    Write(WriteColumn),
}

/// The view as a table.
#[derive(Debug)]
pub(crate) struct ChangesTable {
    raw: Arc<dyn TableProvider>,
    derived: Arc<Derived>,
    schema: SchemaRef,
    sources: Vec<Source>,
}

impl ChangesTable {
    /// The columns of `raw`, those that `writes` refines in their place, and the others of `writes`.
    pub(crate) fn new(raw: Arc<dyn TableProvider>, derived: Arc<Derived>) -> Self {
        let raw_schema = raw.schema();
        let mut fields: Vec<Arc<Field>> = Vec::new();
        let mut sources = Vec::new();
        for (index, field) in raw_schema.fields().iter().enumerate() {
            let refined = WRITE_COLUMNS
                .into_iter()
                .find(|column| column.name() == field.name());
            fields.push(Arc::clone(field));
            sources.push(refined.map_or(Source::Raw(index), Source::Write));
        }
        for column in WRITE_COLUMNS {
            if raw_schema.column_with_name(column.name()).is_none() {
                fields.push(Arc::new(Field::new(
                    column.name(),
                    column.data_type(),
                    true,
                )));
                sources.push(Source::Write(column));
            }
        }
        Self {
            raw,
            derived,
            schema: Arc::new(Schema::new(fields)),
            sources,
        }
    }

    /// Whether a filter concerns columns of `raw.changes` only.
    fn is_raw_filter(&self, filter: &Expr) -> bool {
        filter.column_refs().iter().all(|column| {
            self.schema
                .column_with_name(&column.name)
                .and_then(|(index, _)| self.sources.get(index))
                .is_some_and(|source| matches!(source, Source::Raw(_)))
        })
    }
}

#[async_trait]
impl TableProvider for ChangesTable {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    fn table_type(&self) -> TableType {
        TableType::View
    }

    fn supports_filters_pushdown(
        &self,
        filters: &[&Expr],
    ) -> Result<Vec<TableProviderFilterPushDown>> {
        let raw: Vec<&Expr> = filters
            .iter()
            .copied()
            .filter(|filter| self.is_raw_filter(filter))
            .collect();
        let mut raw = self.raw.supports_filters_pushdown(&raw)?.into_iter();
        Ok(filters
            .iter()
            .map(|filter| match self.is_raw_filter(filter) {
                true => raw.next(),
                false => None,
            })
            .map(|support| support.unwrap_or(TableProviderFilterPushDown::Unsupported))
            .collect())
    }

    async fn scan(
        &self,
        session: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let all: Vec<usize>;
        let projection = match projection {
            Some(projection) => projection,
            None => {
                all = (0..self.sources.len()).collect();
                &all
            }
        };
        let wanted: Vec<(usize, Source)> = projection
            .iter()
            .filter_map(|index| Some((*index, *self.sources.get(*index)?)))
            .collect();
        let mut raw_columns: Vec<usize> = wanted
            .iter()
            .filter_map(|(_, source)| match source {
                Source::Raw(index) => Some(*index),
                Source::Write(_) => None,
            })
            .collect();
        if raw_columns.len() == wanted.len() {
            // Nothing derived is asked for, and nothing is computed.
            return self
                .raw
                .scan(session, Some(&raw_columns), filters, limit)
                .await;
        }
        let raw_schema = self.raw.schema();
        for name in KEYS {
            let index = raw_schema.index_of(name)?;
            if !raw_columns.contains(&index) {
                raw_columns.push(index);
            }
        }
        let writes = self
            .derived
            .writes(&context_of(session)?)
            .await
            .map_err(external)?;
        let scan = self
            .raw
            .scan(session, Some(&raw_columns), filters, limit)
            .await?;
        let scanned = scan.schema();
        let keys = KEYS
            .iter()
            .map(|name| column(&scanned, name))
            .collect::<Result<Vec<_>>>()?;
        let config = Arc::new(session.config_options().clone());
        let mut projected = Vec::with_capacity(wanted.len());
        for (index, source) in wanted {
            let name = self.schema.field(index).name();
            let expr = match source {
                Source::Raw(_) => column(&scanned, name)?,
                Source::Write(column) => {
                    let function = ScalarUDF::from(WriteOf::new(column, Arc::clone(&writes)));
                    Arc::new(ScalarFunctionExpr::try_new(
                        Arc::new(function),
                        keys.clone(),
                        &scanned,
                        Arc::clone(&config),
                    )?)
                }
            };
            projected.push(ProjectionExpr {
                expr,
                alias: name.clone(),
            });
        }
        Ok(Arc::new(ProjectionExec::try_new(projected, scan)?))
    }
}

/// A column of the scan.
fn column(schema: &Schema, name: &str) -> Result<Arc<dyn PhysicalExpr>> {
    Ok(Arc::new(Column::new_with_schema(name, schema)?))
}

/// A column of `writes`, as a function of the change's key.
#[derive(Debug)]
struct WriteOf {
    column: WriteColumn,
    writes: Arc<Writes>,
    signature: Signature,
}

impl WriteOf {
    fn new(column: WriteColumn, writes: Arc<Writes>) -> Self {
        Self {
            column,
            writes,
            signature: Signature::new(TypeSignature::Any(KEYS.len()), Volatility::Immutable),
        }
    }
}

impl PartialEq for WriteOf {
    fn eq(&self, other: &Self) -> bool {
        self.column == other.column && Arc::ptr_eq(&self.writes, &other.writes)
    }
}

impl Eq for WriteOf {}

impl Hash for WriteOf {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.column.hash(state);
        Arc::as_ptr(&self.writes).hash(state);
    }
}

impl ScalarUDFImpl for WriteOf {
    fn name(&self) -> &str {
        self.column.name()
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _arguments: &[DataType]) -> Result<DataType> {
        Ok(self.column.data_type())
    }

    fn invoke_with_args(&self, arguments: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let keys = ColumnarValue::values_to_arrays(&arguments.args)?;
        let [clusters, epochs, revisions, ordinals] = keys.as_slice() else {
            return exec_err!("{} takes the key of a change", self.name());
        };
        let (Some(clusters), Some(epochs), Some(revisions), Some(ordinals)) = (
            clusters.as_string_opt::<i32>(),
            epochs.as_primitive_opt::<Int32Type>(),
            revisions.as_primitive_opt::<Int64Type>(),
            ordinals.as_primitive_opt::<Int32Type>(),
        ) else {
            return exec_err!("the key of a change has other types than expected");
        };
        let mut cursor = Cursor::default();
        let rows: Vec<Option<&Row>> = (0..revisions.len())
            .map(|row| {
                self.writes.find(
                    &mut cursor,
                    clusters.value(row),
                    epochs.value(row),
                    revisions.value(row),
                    ordinals.value(row),
                )
            })
            .collect();
        Ok(ColumnarValue::Array(self.column.array(&self.writes, &rows)))
    }
}
