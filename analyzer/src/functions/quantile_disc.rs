//! `quantile_disc(x, p)` and `quantile_disc(x, [p, …])`: exact quantiles by nearest rank.
//!
//! The quantile of n sorted values at p is the one at position ⌈n·p⌉, counted from 1: a value that
//! occurred, never one between two. ClusterLoader2 computes its percentiles the same way
//! (`sorted[ceil(n*p/100)-1]`), and DuckDB's function of this name agrees. DataFusion's own
//! `percentile_cont` interpolates.

mod groups;
mod rank;

use std::sync::Arc;

use arrow::array::{Array, AsArray};
use arrow::datatypes::{
    DataType, Date32Type, Decimal128Type, DurationMicrosecondType, DurationMillisecondType,
    DurationNanosecondType, DurationSecondType, Field, FieldRef, Float64Type, Int32Type, Int64Type,
    Schema, TimeUnit, TimestampMicrosecondType, TimestampMillisecondType, TimestampNanosecondType,
    TimestampSecondType, UInt64Type,
};
use arrow::record_batch::RecordBatch;
use datafusion::common::{Result, exec_err, not_impl_err, plan_err};
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::{
    Accumulator, AggregateUDFImpl, GroupsAccumulator, Signature, Volatility,
};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::scalar::ScalarValue;

use groups::{OneGroup, QuantileGroups};
use rank::Quantile;

/// The aggregate function.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) struct QuantileDisc {
    signature: Signature,
}

impl Default for QuantileDisc {
    fn default() -> Self {
        Self {
            signature: Signature::user_defined(Volatility::Immutable),
        }
    }
}

/// The quantiles asked for.
#[derive(Debug, Clone, PartialEq)]
enum Quantiles {
    /// One; the result is a value.
    One(Quantile),
    /// Several; the result is a list in the same order.
    Several(Vec<Quantile>),
}

/// Evaluates an expression with `groups` being [`QuantileGroups`] of the type of the values.
macro_rules! with_primitive_type {
    ($arguments:expr, |$groups:ident| $use:expr) => {{
        let (data_type, quantiles) = parse($arguments)?;
        macro_rules! of {
            ($primitive:ty) => {{
                let $groups = QuantileGroups::<$primitive>::new(data_type, quantiles);
                $use
            }};
        }
        match data_type {
            DataType::Int32 => of!(Int32Type),
            DataType::Int64 => of!(Int64Type),
            DataType::UInt64 => of!(UInt64Type),
            DataType::Float64 => of!(Float64Type),
            DataType::Decimal128(..) => of!(Decimal128Type),
            DataType::Date32 => of!(Date32Type),
            DataType::Timestamp(TimeUnit::Second, _) => of!(TimestampSecondType),
            DataType::Timestamp(TimeUnit::Millisecond, _) => of!(TimestampMillisecondType),
            DataType::Timestamp(TimeUnit::Microsecond, _) => of!(TimestampMicrosecondType),
            DataType::Timestamp(TimeUnit::Nanosecond, _) => of!(TimestampNanosecondType),
            DataType::Duration(TimeUnit::Second) => of!(DurationSecondType),
            DataType::Duration(TimeUnit::Millisecond) => of!(DurationMillisecondType),
            DataType::Duration(TimeUnit::Microsecond) => of!(DurationMicrosecondType),
            DataType::Duration(TimeUnit::Nanosecond) => of!(DurationNanosecondType),
            other => plan_err!("quantile_disc takes numbers, times and durations, not {other}"),
        }
    }};
}

impl AggregateUDFImpl for QuantileDisc {
    fn name(&self) -> &str {
        "quantile_disc"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, arguments: &[DataType]) -> Result<Vec<DataType>> {
        let [value, quantile] = arguments else {
            return plan_err!(
                "quantile_disc takes a value and a quantile or a list of quantiles, such as \
                 quantile_disc(duration_ns, [0.5, 0.99])"
            );
        };
        Ok(vec![
            value_type(value)?,
            if is_list(quantile) {
                DataType::new_list(DataType::Float64, true)
            } else {
                DataType::Float64
            },
        ])
    }

    fn return_type(&self, arguments: &[DataType]) -> Result<DataType> {
        match arguments {
            [value, quantile] if is_list(quantile) => Ok(DataType::new_list(value.clone(), true)),
            [value, _] => Ok(value.clone()),
            _ => plan_err!("quantile_disc takes two arguments"),
        }
    }

    fn state_fields(&self, arguments: StateFieldsArgs<'_>) -> Result<Vec<FieldRef>> {
        let Some(value) = arguments.input_fields.first() else {
            return plan_err!("quantile_disc takes two arguments");
        };
        let state = DataType::new_list(value.data_type().clone(), true);
        let name = format!("{}[values]", arguments.name);
        Ok(vec![Arc::new(Field::new(name, state, true))])
    }

    fn accumulator(&self, arguments: AccumulatorArgs<'_>) -> Result<Box<dyn Accumulator>> {
        with_primitive_type!(&arguments, |groups| Ok(Box::new(OneGroup::new(groups))))
    }

    fn groups_accumulator_supported(&self, _arguments: AccumulatorArgs<'_>) -> bool {
        true
    }

    fn create_groups_accumulator(
        &self,
        arguments: AccumulatorArgs<'_>,
    ) -> Result<Box<dyn GroupsAccumulator>> {
        with_primitive_type!(&arguments, |groups| Ok(Box::new(groups)))
    }
}

fn is_list(data_type: &DataType) -> bool {
    matches!(
        data_type,
        DataType::List(_) | DataType::LargeList(_) | DataType::FixedSizeList(..)
    )
}

/// The type in which values are collected and returned.
fn value_type(data_type: &DataType) -> Result<DataType> {
    match data_type {
        DataType::Int32
        | DataType::Int64
        | DataType::UInt64
        | DataType::Float64
        | DataType::Decimal128(..)
        | DataType::Date32
        | DataType::Timestamp(..)
        | DataType::Duration(_) => Ok(data_type.clone()),
        DataType::Int8 | DataType::Int16 | DataType::UInt8 | DataType::UInt16 => {
            Ok(DataType::Int32)
        }
        DataType::UInt32 | DataType::Null => Ok(DataType::Int64),
        DataType::Float16 | DataType::Float32 => Ok(DataType::Float64),
        other => plan_err!("quantile_disc takes numbers, times and durations, not {other}"),
    }
}

/// What is asked for, and of values of which type.
fn parse(arguments: &AccumulatorArgs<'_>) -> Result<(DataType, Quantiles)> {
    if arguments.is_distinct {
        return not_impl_err!("quantile_disc(DISTINCT …); select the distinct values first");
    }
    let (Some(value), Some(quantile)) = (arguments.expr_fields.first(), arguments.exprs.get(1))
    else {
        return plan_err!("quantile_disc takes two arguments");
    };
    let quantiles = constant_quantiles(quantile.as_ref())?;
    Ok((value.data_type().clone(), quantiles))
}

/// The second argument, which must not depend on a row.
fn constant_quantiles(expression: &dyn PhysicalExpr) -> Result<Quantiles> {
    let nothing = RecordBatch::new_empty(Arc::new(Schema::empty()));
    let Ok(value) = expression
        .evaluate(&nothing)
        .and_then(|value| value.into_array(1))
        .and_then(|array| ScalarValue::try_from_array(&array, 0))
    else {
        return plan_err!("the quantile in quantile_disc must be a constant");
    };
    match value {
        ScalarValue::Float64(Some(quantile)) => Quantile::new(quantile).map(Quantiles::One),
        ScalarValue::List(list) if list.is_valid(0) => {
            let items = list.value(0);
            let Some(items) = items.as_primitive_opt::<Float64Type>() else {
                return exec_err!("quantiles have type {}", items.data_type());
            };
            let quantiles: Result<Vec<Quantile>> = items
                .iter()
                .map(|item| match item {
                    Some(quantile) => Quantile::new(quantile),
                    None => plan_err!("a quantile in quantile_disc is NULL"),
                })
                .collect();
            quantiles.map(Quantiles::Several)
        }
        _ => plan_err!("the quantile in quantile_disc is NULL"),
    }
}

#[cfg(test)]
mod tests;
