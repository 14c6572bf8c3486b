//! How the columns of each table are laid down in Parquet.

use arrow::datatypes::{DataType, Schema};
use cascade_proto::tables::{Call, Change, Gap, State, Table};
use parquet::basic::{Compression, Encoding, ZstdLevel};
use parquet::errors::ParquetError;
use parquet::file::metadata::{KeyValue, SortingColumn};
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use parquet::schema::types::ColumnPath;

/// Rows of a row group: what others use for telemetry (DuckDB 122,880, Quickwit 131,072).
const ROW_GROUP_ROWS: usize = 128 * 1024;
/// Encoded bytes of a row group, which the writer holds in memory.
const ROW_GROUP_BYTES: usize = 64 << 20;
/// zstd level; higher ones cost much more time for a few per cent.
const ZSTD_LEVEL: i32 = 3;

/// Numbers that mostly rise, or vary too much for a dictionary: stored as differences.
const DELTA_COLUMNS: &[&str] = &[
    "revision",
    "snapshot_revision",
    "prev_revision",
    "create_revision",
    "compare_revision",
    "from_revision",
    "to_revision",
    "stream",
];
/// Moments and durations, by the end of their names.
const DELTA_SUFFIXES: &[&str] = &["time", "unix_nano", "_ns"];
/// Text that differs in every row, often with a common begin.
const UNIQUE_TEXT_COLUMNS: &[&str] = &[
    "call_id",
    "span_id",
    "call_span_id",
    "request_span_id",
    "audit_id",
    "new_cpid",
];
/// Numbers without any order that differ in almost every row.
const UNIQUE_NUMBER_COLUMNS: &[&str] = &["value_hash"];
/// Ids that people look up one of, where ranges say nothing about which row group has it.
const LOOKED_UP_COLUMNS: &[&str] = &["uid", "cpid", "new_cpid"];

/// Column of the revision that the footer's range is about.
pub(super) fn revision_column(table: &str) -> Option<&'static str> {
    match table {
        Change::NAME | Call::NAME => Some("revision"),
        State::NAME => Some("snapshot_revision"),
        Gap::NAME => Some("from_revision"),
        _ => None,
    }
}

/// Columns that the rows of a table are in the order of, if all went well.
pub(super) fn order_columns(table: &str) -> &'static [&'static str] {
    match table {
        Change::NAME => &["epoch", "revision", "ordinal"],
        _ => &[],
    }
}

/// How to write one file of `table`.
pub(super) fn writer_properties(
    schema: &Schema,
    sorted_by: &[&str],
    metadata: Vec<KeyValue>,
) -> Result<WriterProperties, ParquetError> {
    let mut properties = WriterProperties::builder()
        .set_created_by(concat!("cascade ", env!("CARGO_PKG_VERSION")).to_owned())
        .set_compression(Compression::ZSTD(ZstdLevel::try_new(ZSTD_LEVEL)?))
        .set_max_row_group_row_count(Some(ROW_GROUP_ROWS))
        .set_max_row_group_bytes(Some(ROW_GROUP_BYTES))
        .set_statistics_enabled(EnabledStatistics::Page)
        .set_key_value_metadata(Some(metadata));
    for field in schema.fields() {
        let name = field.name().as_str();
        let path = || ColumnPath::from(name);
        let number = matches!(
            field.data_type(),
            DataType::Int64 | DataType::Int32 | DataType::Timestamp(_, _)
        );
        let rising =
            DELTA_COLUMNS.contains(&name) || DELTA_SUFFIXES.iter().any(|end| name.ends_with(end));
        if number && rising {
            properties = properties
                .set_column_dictionary_enabled(path(), false)
                .set_column_encoding(path(), Encoding::DELTA_BINARY_PACKED);
        } else if UNIQUE_TEXT_COLUMNS.contains(&name) {
            properties = properties
                .set_column_dictionary_enabled(path(), false)
                .set_column_encoding(path(), Encoding::DELTA_BYTE_ARRAY);
        } else if UNIQUE_NUMBER_COLUMNS.contains(&name) {
            properties = properties.set_column_dictionary_enabled(path(), false);
        }
        if LOOKED_UP_COLUMNS.contains(&name) {
            properties = properties.set_column_bloom_filter_enabled(path(), true);
        }
    }
    let sorting = sorted_by
        .iter()
        .filter_map(|name| schema.index_of(name).ok())
        .map(|index| leaf_index(schema, index))
        .collect::<Option<Vec<_>>>();
    if let Some(sorting) = sorting.filter(|sorting| !sorting.is_empty()) {
        properties = properties.set_sorting_columns(Some(sorting));
    }
    Ok(properties.build())
}

/// The sorting entry of a field. It counts leaves, of which a field before it may have several.
fn leaf_index(schema: &Schema, field: usize) -> Option<SortingColumn> {
    let before: usize = schema
        .fields()
        .iter()
        .take(field)
        .map(|field| leaves(field.data_type()))
        .sum();
    Some(SortingColumn {
        column_idx: i32::try_from(before).ok()?,
        descending: false,
        nulls_first: false,
    })
}

fn leaves(data_type: &DataType) -> usize {
    match data_type {
        DataType::List(item) => leaves(item.data_type()),
        DataType::Struct(fields) => fields.iter().map(|field| leaves(field.data_type())).sum(),
        _ => 1,
    }
}
