//! What a trace was read from: enough to notice that anything was added, removed or written anew.

use object_store::path::Path;
use parquet::file::metadata::ParquetMetaData;
use parquet::file::statistics::Statistics;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::Location;

/// One sealed file or journal.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct InputFile {
    /// Its path within the trace.
    pub file: String,
    /// Rows that were read.
    pub rows: u64,
    /// Of a sealed file: a hash of what its footer says about the content. Nothing of a journal, which only
    /// grows.
    pub digest: Option<String>,
}

impl InputFile {
    pub(super) fn new(location: &Location, path: &Path, rows: u64, digest: Option<String>) -> Self {
        let parts = path.prefix_match(&location.prefix);
        let file = parts.map_or_else(
            || path.to_string(),
            |parts| {
                let parts: Vec<String> = parts.map(|part| part.as_ref().to_owned()).collect();
                parts.join("/")
            },
        );
        Self { file, rows, digest }
    }
}

/// A hash of what a footer says about the content: sizes, places and extremes of every column chunk. The times
/// of the file are no part of it, so that a copied trace counts as the same.
pub(super) fn digest(metadata: &ParquetMetaData) -> String {
    let mut told: Vec<u8> = Vec::new();
    for group in metadata.row_groups() {
        told.extend(group.num_rows().to_le_bytes());
        for column in group.columns() {
            for number in [
                column.data_page_offset(),
                column.compressed_size(),
                column.uncompressed_size(),
                column.num_values(),
            ] {
                told.extend(number.to_le_bytes());
            }
            let extremes = |statistics: &Statistics| {
                [
                    statistics.min_bytes_opt().map(<[u8]>::to_vec),
                    statistics.max_bytes_opt().map(<[u8]>::to_vec),
                ]
            };
            for extreme in column.statistics().map(extremes).into_iter().flatten() {
                told.extend(extreme.unwrap_or_default());
                told.push(0);
            }
        }
    }
    Uuid::new_v5(&Uuid::NAMESPACE_OID, &told).to_string()
}
