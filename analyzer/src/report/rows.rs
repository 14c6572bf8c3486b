//! Reads query results by column name.

use arrow::array::{Array, AsArray, BooleanArray, Float64Array, Int64Array, StringArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Float64Type, Int64Type};
use arrow::record_batch::RecordBatch;

use crate::error::Error;

/// One column of a batch as what the reader wants it to be, whatever the query made of it: counts
/// are signed here and unsigned there, text is text or a view of it.
fn column(
    batch: &RecordBatch,
    name: &str,
    wanted: &DataType,
) -> Result<arrow::array::ArrayRef, Error> {
    let array = batch
        .column_by_name(name)
        .ok_or_else(|| Error::Internal(format!("a report's query has no column {name}")))?;
    cast(array, wanted)
        .map_err(|error| Error::Internal(format!("column {name} of a report's query: {error}")))
}

/// An integer column.
pub(crate) fn integers(batch: &RecordBatch, name: &str) -> Result<Int64Array, Error> {
    Ok(column(batch, name, &DataType::Int64)?
        .as_primitive::<Int64Type>()
        .clone())
}

/// A column of fractions.
pub(crate) fn floats(batch: &RecordBatch, name: &str) -> Result<Float64Array, Error> {
    Ok(column(batch, name, &DataType::Float64)?
        .as_primitive::<Float64Type>()
        .clone())
}

/// A text column.
pub(crate) fn texts(batch: &RecordBatch, name: &str) -> Result<StringArray, Error> {
    Ok(column(batch, name, &DataType::Utf8)?
        .as_string::<i32>()
        .clone())
}

/// A column of truth values.
pub(crate) fn flags(batch: &RecordBatch, name: &str) -> Result<BooleanArray, Error> {
    Ok(column(batch, name, &DataType::Boolean)?
        .as_boolean()
        .clone())
}

/// The integer in a row, `None` for NULL.
pub(crate) fn integer(array: &Int64Array, row: usize) -> Option<i64> {
    array.is_valid(row).then(|| array.value(row))
}

/// The text in a row, `None` for NULL.
pub(crate) fn text(array: &StringArray, row: usize) -> Option<String> {
    array.is_valid(row).then(|| array.value(row).to_owned())
}
