//! A table with the rows of `raw.changes`, each with what is derived about it beside it.
//!
//! A join would hash one whole side. What is derived can be looked up by the key of a change, so the raw side is
//! scanned as any other table, with the query's projection and filters, and keeps its order and number of rows
//! whatever was derived.

use std::fmt::Debug;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, Int32Array, Int64Array, StringArray};
use arrow::datatypes::{DataType, Field, FieldRef, Int32Type, Int64Type, Schema, SchemaRef};
use async_trait::async_trait;
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::{Result, exec_err};
use datafusion::datasource::TableType;
use datafusion::execution::context::SessionContext;
use datafusion::logical_expr::{
    ColumnarValue, Expr, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature,
    TableProviderFilterPushDown, TypeSignature, Volatility,
};
use datafusion::physical_expr::expressions::Column;
use datafusion::physical_expr::{PhysicalExpr, ScalarFunctionExpr};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::projection::{ProjectionExec, ProjectionExpr};

use super::table::{context_of, external};
use crate::error::Error;

/// The columns that name a change.
const KEYS: [&str; 4] = ["cluster_id", "epoch", "revision", "ordinal"];

/// What is derived about changes.
#[async_trait]
pub(crate) trait Beside: Debug + Send + Sync {
    /// Its columns.
    fn fields(&self) -> Vec<Field>;

    /// Derives it, unless that has been done.
    ///
    /// # Errors
    /// When the trace cannot be read.
    async fn lookup(&self, context: &SessionContext) -> Result<Arc<dyn Lookup>, Error>;
}

/// Columns whose values are found by the key of a change.
pub(crate) trait Lookup: Debug + Send + Sync {
    /// The column at `column` of [`Beside::fields`], a value per key; NULL where there is no such change.
    fn array(&self, column: usize, keys: &ChangeKeys<'_>) -> ArrayRef;
}

/// Keys of changes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ChangeKeys<'a> {
    clusters: &'a StringArray,
    epochs: &'a Int32Array,
    revisions: &'a Int64Array,
    ordinals: &'a Int32Array,
}

impl<'a> ChangeKeys<'a> {
    fn of(arrays: &'a [ArrayRef]) -> Option<Self> {
        let [clusters, epochs, revisions, ordinals] = arrays else {
            return None;
        };
        Some(Self {
            clusters: clusters.as_string_opt::<i32>()?,
            epochs: epochs.as_primitive_opt::<Int32Type>()?,
            revisions: revisions.as_primitive_opt::<Int64Type>()?,
            ordinals: ordinals.as_primitive_opt::<Int32Type>()?,
        })
    }

    /// Cluster, epoch, revision and ordinal of each.
    pub(crate) fn iter(self) -> impl Iterator<Item = (&'a str, i32, i64, i32)> {
        (0..self.revisions.len()).map(move |row| {
            (
                self.clusters.value(row),
                self.epochs.value(row),
                self.revisions.value(row),
                self.ordinals.value(row),
            )
        })
    }
}

/// Where a column of the table comes from.
#[derive(Debug, Clone, Copy)]
enum Source {
    /// A column of `raw.changes`.
    Raw(usize),
    /// A column of what is derived.
    Beside(usize),
}

/// The table.
#[derive(Debug)]
pub(crate) struct BesideTable {
    raw: Arc<dyn TableProvider>,
    beside: Arc<dyn Beside>,
    schema: SchemaRef,
    sources: Vec<Source>,
}

impl BesideTable {
    /// All columns of `raw`, those that are derived anew in their place, and the other derived ones.
    pub(crate) fn with_all(raw: Arc<dyn TableProvider>, beside: Arc<dyn Beside>) -> Self {
        let columns: Vec<usize> = (0..raw.schema().fields().len()).collect();
        Self::with(raw, &columns, beside)
    }

    /// The named columns of `raw` alone, and the derived ones.
    ///
    /// # Errors
    /// When `raw` has no such column, which would be a mistake here.
    pub(crate) fn with_some(
        raw: Arc<dyn TableProvider>,
        names: &[&str],
        beside: Arc<dyn Beside>,
    ) -> Result<Self, Error> {
        let schema = raw.schema();
        let columns = names
            .iter()
            .map(|name| Ok(schema.index_of(name)?))
            .collect::<Result<Vec<_>>>()?;
        Ok(Self::with(raw, &columns, beside))
    }

    fn with(raw: Arc<dyn TableProvider>, columns: &[usize], beside: Arc<dyn Beside>) -> Self {
        let raw_schema = raw.schema();
        let derived = beside.fields();
        let mut fields: Vec<FieldRef> = Vec::new();
        let mut sources = Vec::new();
        for index in columns {
            let Some(field) = raw_schema.fields().get(*index) else {
                continue;
            };
            let refined = derived
                .iter()
                .position(|column| column.name() == field.name());
            fields.push(Arc::clone(field));
            sources.push(refined.map_or(Source::Raw(*index), Source::Beside));
        }
        for (index, field) in derived.into_iter().enumerate() {
            if !fields.iter().any(|known| known.name() == field.name()) {
                fields.push(Arc::new(field));
                sources.push(Source::Beside(index));
            }
        }
        Self {
            raw,
            beside,
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
impl TableProvider for BesideTable {
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
                Source::Beside(_) => None,
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
        let lookup = self
            .beside
            .lookup(&context_of(session)?)
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
            let field = Arc::new(self.schema.field(index).clone());
            let alias = field.name().clone();
            let expr = match source {
                Source::Raw(_) => column(&scanned, &alias)?,
                Source::Beside(column) => {
                    let function = ScalarUDF::from(LookedUp::new(field, column, &lookup));
                    Arc::new(ScalarFunctionExpr::try_new(
                        Arc::new(function),
                        keys.clone(),
                        &scanned,
                        Arc::clone(&config),
                    )?)
                }
            };
            projected.push(ProjectionExpr { expr, alias });
        }
        Ok(Arc::new(ProjectionExec::try_new(projected, scan)?))
    }
}

/// A column of the scan.
fn column(schema: &Schema, name: &str) -> Result<Arc<dyn PhysicalExpr>> {
    Ok(Arc::new(Column::new_with_schema(name, schema)?))
}

/// A derived column, as a function of the change's key.
#[derive(Debug)]
struct LookedUp {
    field: FieldRef,
    column: usize,
    lookup: Arc<dyn Lookup>,
    signature: Signature,
}

impl LookedUp {
    fn new(field: FieldRef, column: usize, lookup: &Arc<dyn Lookup>) -> Self {
        Self {
            field,
            column,
            lookup: Arc::clone(lookup),
            signature: Signature::new(TypeSignature::Any(KEYS.len()), Volatility::Immutable),
        }
    }
}

impl PartialEq for LookedUp {
    fn eq(&self, other: &Self) -> bool {
        self.column == other.column && Arc::ptr_eq(&self.lookup, &other.lookup)
    }
}

impl Eq for LookedUp {}

impl Hash for LookedUp {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.column.hash(state);
        Arc::as_ptr(&self.lookup).cast::<()>().hash(state);
    }
}

impl ScalarUDFImpl for LookedUp {
    fn name(&self) -> &str {
        self.field.name()
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _arguments: &[DataType]) -> Result<DataType> {
        Ok(self.field.data_type().clone())
    }

    fn return_field_from_args(&self, _arguments: ReturnFieldArgs<'_>) -> Result<FieldRef> {
        Ok(Arc::clone(&self.field))
    }

    fn invoke_with_args(&self, arguments: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let arrays = ColumnarValue::values_to_arrays(&arguments.args)?;
        let Some(keys) = ChangeKeys::of(&arrays) else {
            return exec_err!("{} takes the key of a change", self.name());
        };
        Ok(ColumnarValue::Array(self.lookup.array(self.column, &keys)))
    }
}
