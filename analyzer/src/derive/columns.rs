//! Reads the answers of queries batch by batch, and their columns by name.

use arrow::array::{Array, AsArray, BooleanArray, Int32Array, Int64Array, ListArray, StringArray};
use arrow::datatypes::{Int32Type, Int64Type};
use arrow::record_batch::RecordBatch;
use datafusion::dataframe::DataFrame;
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
    read_ahead(context.sql(query).await?).await
}

/// The answer of a query whose rows come in the order of the files, read by one thread. Several would each read a part, and
/// every column of all parts would then be copied together row by row, which takes longer than it gains: this is for queries
/// that are read beside others.
pub(crate) async fn stream_in_order(
    context: &SessionContext,
    query: &str,
) -> Result<SendableRecordBatchStream, Error> {
    read_ahead(in_order(context, query).await?).await
}

async fn read_ahead(query: DataFrame) -> Result<SendableRecordBatchStream, Error> {
    let answer = query.execute_stream().await?;
    Ok(spawn_buffered(answer, READ_AHEAD))
}

/// A query that is answered by one thread.
async fn in_order(context: &SessionContext, query: &str) -> Result<DataFrame, Error> {
    let mut state = context.state();
    state.config_mut().options_mut().execution.target_partitions = 1;
    let plan = state.create_logical_plan(query).await?;
    Ok(DataFrame::new(state, plan))
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

#[cfg(test)]
mod tests {
    use datafusion::physical_plan::displayable;

    use super::*;
    use crate::session::{EngineOptions, RAW_SCHEMA, Session};

    #[tokio::test]
    async fn changes_in_the_order_of_the_files_are_not_sorted() {
        let trace = concat!(env!("CARGO_MANIFEST_DIR"), "/../testdata/traces/rollout");
        let options = EngineOptions::default();
        let session = Session::open(&[trace.to_owned()], &options).await.unwrap();
        let raw = format!("SELECT key FROM {RAW_SCHEMA}.changes");
        let derived = "SELECT key, commit_unix_nano FROM changes".to_owned();
        for (rows, order, sorts) in [
            (&raw, "epoch, revision, ordinal", false),
            (&derived, "epoch, revision, ordinal", false),
            (&derived, "cluster_id, epoch, revision, ordinal", true),
        ] {
            let query = format!("{rows} ORDER BY {order}");
            let answer = in_order(session.context(), &query).await.unwrap();
            let plan = answer.create_physical_plan().await.unwrap();
            let plan = displayable(plan.as_ref()).indent(false).to_string();
            assert_eq!(plan.contains("SortExec"), sorts, "{query}\n{plan}");
        }
    }
}
