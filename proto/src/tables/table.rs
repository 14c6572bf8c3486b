//! Tables as a whole: names, schemas, batches of rows.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use arrow::error::ArrowError;
use arrow::record_batch::RecordBatch;
use thiserror::Error;

use super::{
    Call, Change, ColumnDefinition, Columns, Gap, Mergelog, Request, RequestCall, Span, State,
};

/// Version of the tables in this crate, written to every file. It is raised when a reader of the
/// old version would misread a file of the new one; added columns do not raise it.
pub const SCHEMA_VERSION: u32 = 1;

/// Keys of the metadata in the footer of every Parquet file of a trace.
pub mod metadata_keys {
    /// [`SCHEMA_VERSION`](super::SCHEMA_VERSION) of the writer, decimal.
    pub const SCHEMA_VERSION: &str = "cascade.schema_version";
    /// Name of the table.
    pub const TABLE: &str = "cascade.table";
    /// Name and version of the program that wrote the file.
    pub const PRODUCER: &str = "cascade.producer";
    /// Interceptor instance.
    pub const INSTANCE: &str = "cascade.instance";
    /// etcd cluster id, lowercase hex.
    pub const CLUSTER_ID: &str = "cascade.cluster_id";
    /// Segment id (UUID version 7) that the file's name also holds.
    pub const SEGMENT: &str = "cascade.segment";
    /// Lowest revision in the file, decimal; absent in tables without revisions.
    pub const FIRST_REVISION: &str = "cascade.first_revision";
    /// Highest revision in the file, decimal; absent in tables without revisions.
    pub const LAST_REVISION: &str = "cascade.last_revision";
    /// Segments that a compacted file replaces, separated by commas.
    pub const REPLACES: &str = "cascade.replaces";
    /// In `calls`: number of calls that were seen but not recorded while the file was open.
    pub const DROPPED: &str = "cascade.dropped";
}

/// One raw table of a trace.
pub trait Table: Columns {
    /// Name of the table and of its folder.
    const NAME: &'static str;
    /// What one row is, for people.
    const DOCUMENTATION: &'static str;

    /// The revision this row is about, for the file's footer; `None` where it has none.
    fn revision(&self) -> Option<i64>;
}

/// A table as listed by [`raw_tables`].
#[derive(Debug, Clone)]
pub struct TableInfo {
    /// Name of the table and of its folder.
    pub name: &'static str,
    /// What one row is.
    pub documentation: &'static str,
    /// Its columns in order.
    pub columns: Vec<ColumnDefinition>,
}

impl TableInfo {
    fn of<T: Table>() -> Self {
        Self {
            name: T::NAME,
            documentation: T::DOCUMENTATION,
            columns: columns_of::<T>(),
        }
    }

    /// The Arrow schema of the table's files.
    #[must_use]
    pub fn schema(&self) -> SchemaRef {
        schema_of_columns(&self.columns)
    }
}

/// Every raw table of a trace, in the order of the documentation.
#[must_use]
pub fn raw_tables() -> Vec<TableInfo> {
    vec![
        TableInfo::of::<Change>(),
        TableInfo::of::<State>(),
        TableInfo::of::<Call>(),
        TableInfo::of::<Request>(),
        TableInfo::of::<RequestCall>(),
        TableInfo::of::<Mergelog>(),
        TableInfo::of::<Span>(),
        TableInfo::of::<Gap>(),
    ]
}

/// The columns of table `T` in order.
#[must_use]
pub fn columns_of<T: Columns>() -> Vec<ColumnDefinition> {
    let mut columns = Vec::new();
    T::describe("", "", &mut columns);
    columns
}

fn schema_of_columns(columns: &[ColumnDefinition]) -> SchemaRef {
    let fields: Vec<Field> = columns
        .iter()
        .map(|column| Field::new(&column.name, column.data_type.clone(), column.nullable))
        .collect();
    Arc::new(Schema::new(fields))
}

/// Collects rows of table `T` into record batches.
#[allow(missing_debug_implementations)] // Arrow's builders would print megabytes
pub struct BatchBuilder<T: Table> {
    schema: SchemaRef,
    builder: T::Builder,
    rows: usize,
}

impl<T: Table> Default for BatchBuilder<T> {
    fn default() -> Self {
        Self {
            schema: schema_of_columns(&columns_of::<T>()),
            builder: T::Builder::default(),
            rows: 0,
        }
    }
}

impl<T: Table> BatchBuilder<T> {
    /// The schema of every batch this makes.
    #[must_use]
    pub fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    /// Adds a row.
    pub fn push(&mut self, row: &T) {
        row.push_row(&mut self.builder);
        self.rows += 1;
    }

    /// Number of rows in the batch under construction.
    #[must_use]
    pub fn len(&self) -> usize {
        self.rows
    }

    /// Whether the batch under construction has no rows.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rows == 0
    }

    /// Ends the batch and starts the next.
    ///
    /// # Errors
    /// When Arrow refuses the columns, which would be a mistake in the table's definition.
    pub fn finish(&mut self) -> Result<RecordBatch, ArrowError> {
        let mut arrays = Vec::with_capacity(self.schema.fields().len());
        T::finish_columns(&mut self.builder, &mut arrays);
        self.rows = 0;
        RecordBatch::try_new(self.schema(), arrays)
    }
}

/// Why a batch could not be read as rows of a table.
#[derive(Debug, Error)]
pub enum ReadError {
    /// A column that may not be NULL is not there: the file is of another table or damaged.
    #[error("column {column} is missing")]
    MissingColumn {
        /// Name of the column.
        column: String,
    },
    /// A column has another type than the table's definition says.
    #[error("column {column} has type {found}, expected {expected}")]
    ColumnType {
        /// Name of the column.
        column: String,
        /// Type in the definition.
        expected: DataType,
        /// Type in the file.
        found: DataType,
    },
}

/// Reads all rows of a batch. Columns that the batch lacks read as NULL; unknown ones are ignored.
///
/// # Errors
/// [`ReadError`] when the batch is not of this table.
pub fn read_rows<T: Table>(batch: &RecordBatch) -> Result<Vec<T>, ReadError> {
    let view = T::view_columns("", batch)?;
    Ok((0..batch.num_rows())
        .map(|row| T::read_row(&view, row))
        .collect())
}
