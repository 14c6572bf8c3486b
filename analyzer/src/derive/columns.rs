//! Reads the answers of queries batch by batch, and their columns by name.

use arrow::array::{Array, AsArray, BooleanArray, Int32Array, Int64Array, ListArray, StringArray};
use arrow::datatypes::{Int32Type, Int64Type};
use arrow::record_batch::RecordBatch;
use datafusion::execution::SendableRecordBatchStream;
use datafusion::execution::context::SessionContext;
use datafusion::physical_plan::common::spawn_buffered;

use crate::error::Error;

/// Record batches that are read ahead of whoever takes them in.
const READ_AHEAD: usize = 2;

/// The answer of a query as a stream, so that it need not fit into memory. Files are decoded by another thread than the
/// one that takes the batches in.
pub(crate) async fn stream(
    context: &SessionContext,
    query: &str,
) -> Result<SendableRecordBatchStream, Error> {
    let answer = context.sql(query).await?.execute_stream().await?;
    Ok(spawn_buffered(answer, READ_AHEAD))
}

/// The column called `name`; a missing one or another type is a mistake in the query.
fn column<'a, A>(
    batch: &'a RecordBatch,
    name: &str,
    downcast: impl Fn(&'a dyn Array) -> Option<&'a A>,
) -> Result<&'a A, Error> {
    batch
        .column_by_name(name)
        .and_then(|array| downcast(array.as_ref()))
        .ok_or_else(|| Error::Internal(format!("column {name} of a query is not as expected")))
}

/// A text column.
pub(crate) fn texts<'a>(batch: &'a RecordBatch, name: &str) -> Result<&'a StringArray, Error> {
    column(batch, name, |array| array.as_string_opt())
}

/// A column of 64-bit integers.
pub(crate) fn int64s<'a>(batch: &'a RecordBatch, name: &str) -> Result<&'a Int64Array, Error> {
    column(batch, name, |array| array.as_primitive_opt::<Int64Type>())
}

/// A column of 32-bit integers.
pub(crate) fn int32s<'a>(batch: &'a RecordBatch, name: &str) -> Result<&'a Int32Array, Error> {
    column(batch, name, |array| array.as_primitive_opt::<Int32Type>())
}

/// A column of flags.
pub(crate) fn flags<'a>(batch: &'a RecordBatch, name: &str) -> Result<&'a BooleanArray, Error> {
    column(batch, name, |array| array.as_boolean_opt())
}

/// A column of lists.
pub(crate) fn lists<'a>(batch: &'a RecordBatch, name: &str) -> Result<&'a ListArray, Error> {
    column(batch, name, |array| array.as_list_opt::<i32>())
}

/// The text in a row, `None` for NULL.
pub(crate) fn text(array: &StringArray, row: usize) -> Option<&str> {
    array.is_valid(row).then(|| array.value(row))
}

/// The integer in a row, `None` for NULL.
pub(crate) fn int64(array: &Int64Array, row: usize) -> Option<i64> {
    array.is_valid(row).then(|| array.value(row))
}

/// The texts of the list in a row; empty for NULL.
pub(crate) fn list_texts(array: &ListArray, row: usize) -> Result<Vec<String>, Error> {
    if !array.is_valid(row) {
        return Ok(Vec::new());
    }
    let items = array.value(row);
    let items = items
        .as_string_opt::<i32>()
        .ok_or_else(|| Error::Internal("a list of texts holds something else".to_owned()))?;
    Ok(items.iter().flatten().map(str::to_owned).collect())
}
