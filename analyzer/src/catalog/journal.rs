//! Journals: what an interceptor has recorded but not yet sealed.
//!
//! A journal can end anywhere, in the middle of a batch too: the interceptor may be writing it now, or
//! may have been killed. What comes before the first incomplete batch is good
//! ([`cascade_proto::journal`]); batches end at revision boundaries.

use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatchOptions, new_null_array};
use arrow::datatypes::SchemaRef;
use arrow::record_batch::RecordBatch;
use bytes::{Buf, Bytes};
use cascade_proto::journal::{JournalError, JournalReader};
use cascade_proto::tables::metadata_keys;
use object_store::{ObjectStore, ObjectStoreExt};
use tracing::debug;

use super::footer::check_version;
use super::layout::FoundFile;
use super::{Location, TraceError};

/// What a journal gave.
#[derive(Debug)]
pub(super) enum Journal {
    /// Its complete batches in the schema of the table.
    Batches(Vec<RecordBatch>),
    /// It is gone: sealed since it was listed.
    Gone,
}

/// Reads the complete batches of a journal.
pub(super) async fn read(
    store: &dyn ObjectStore,
    location: &Location,
    journal: &FoundFile,
    schema: &SchemaRef,
) -> Result<Journal, TraceError> {
    let file = || location.name_of(&journal.meta.location);
    let unreadable = |error: object_store::Error| TraceError::Unreadable {
        location: file(),
        reason: error.to_string(),
    };
    let content = match store.get(&journal.meta.location).await {
        Ok(content) => content.bytes().await.map_err(unreadable)?,
        Err(object_store::Error::NotFound { .. }) => return Ok(Journal::Gone),
        Err(error) => return Err(unreadable(error)),
    };
    parse(content, schema, &file).map(Journal::Batches)
}

fn parse(
    content: Bytes,
    schema: &SchemaRef,
    file: &dyn Fn() -> String,
) -> Result<Vec<RecordBatch>, TraceError> {
    let foreign = |error: JournalError| TraceError::ForeignFile {
        file: file(),
        reason: error.to_string(),
    };
    let length = content.len() as u64;
    let mut reader = JournalReader::open(content.reader(), length).map_err(foreign)?;
    let Some(written_schema) = reader.schema() else {
        // Not even the schema has been written completely.
        return Ok(Vec::new());
    };
    if let Some(version) = written_schema.metadata().get(metadata_keys::SCHEMA_VERSION) {
        check_version(version, file)?;
    }
    let mut batches = Vec::new();
    while let Some(batch) = reader.next_batch().map_err(foreign)? {
        batches.push(with_schema(&batch, schema, file)?);
    }
    debug!(
        file = file(),
        batches = batches.len(),
        incomplete_bytes = length - reader.good(),
        "journal read"
    );
    Ok(batches)
}

/// The columns of `schema`, those that the batch lacks as NULL.
fn with_schema(
    batch: &RecordBatch,
    schema: &SchemaRef,
    file: &dyn Fn() -> String,
) -> Result<RecordBatch, TraceError> {
    let foreign = |reason: String| TraceError::ForeignFile {
        file: file(),
        reason,
    };
    let mut columns: Vec<ArrayRef> = Vec::with_capacity(schema.fields().len());
    for field in schema.fields() {
        match batch.column_by_name(field.name()) {
            Some(column) if column.data_type() == field.data_type() => {
                columns.push(Arc::clone(column));
            }
            Some(column) => {
                return Err(foreign(format!(
                    "column {} has type {}, expected {}",
                    field.name(),
                    column.data_type(),
                    field.data_type()
                )));
            }
            None => columns.push(new_null_array(field.data_type(), batch.num_rows())),
        }
    }
    let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    RecordBatch::try_new_with_options(Arc::clone(schema), columns, &options)
        .map_err(|error| foreign(error.to_string()))
}
