//! What a sealed file's footer says, and whether this program may read the file.

use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use cascade_proto::tables::{SCHEMA_VERSION, metadata_keys};
use datafusion::common::Statistics;
use datafusion::datasource::physical_plan::parquet::metadata::{
    DFParquetMetadata, ordering_from_parquet_metadata,
};
use datafusion::execution::context::SessionContext;
use datafusion::physical_expr::LexOrdering;
use object_store::{ObjectMeta, ObjectStore};
use parquet::file::metadata::ParquetMetaData;

use super::{Location, TraceError, input};

/// What is needed of a footer.
#[derive(Debug)]
pub(super) struct Footer {
    /// Row count, minima and maxima of the columns in the table's schema.
    pub(super) statistics: Arc<Statistics>,
    /// Order of the rows, if the writer declared one.
    pub(super) ordering: Option<LexOrdering>,
    /// Number of rows.
    pub(super) rows: u64,
    /// Hash of what it says about the content.
    pub(super) digest: String,
    /// Interceptor instance.
    pub(super) instance: Option<String>,
    /// etcd cluster id.
    pub(super) cluster_id: Option<String>,
    /// Segments that this file, a compacted one, replaces.
    pub(super) replaces: Vec<String>,
}

/// Reads and checks the footer of a file of `table`.
pub(super) async fn read(
    context: &SessionContext,
    store: &dyn ObjectStore,
    location: &Location,
    meta: &ObjectMeta,
    table: &str,
    schema: &SchemaRef,
) -> Result<Footer, TraceError> {
    let file = || location.name_of(&meta.location);
    // The same cache that scans use: each footer is read once per session.
    let cache = context
        .runtime_env()
        .cache_manager
        .get_file_metadata_cache();
    let metadata = DFParquetMetadata::new(store, meta)
        .with_file_metadata_cache(Some(cache))
        .fetch_metadata()
        .await
        .map_err(|error| TraceError::Damaged {
            file: file(),
            reason: error.strip_backtrace(),
        })?;
    check(&metadata, table, &file)?;
    let damaged = |error: datafusion::error::DataFusionError| TraceError::Damaged {
        file: file(),
        reason: error.strip_backtrace(),
    };
    let statistics =
        DFParquetMetadata::statistics_from_parquet_metadata(&metadata, schema).map_err(damaged)?;
    let ordering = ordering_from_parquet_metadata(&metadata, schema).map_err(damaged)?;
    let replaces = value(&metadata, metadata_keys::REPLACES).unwrap_or_default();
    Ok(Footer {
        statistics: Arc::new(statistics),
        ordering,
        rows: u64::try_from(metadata.file_metadata().num_rows()).unwrap_or(0),
        digest: input::digest(&metadata),
        instance: value(&metadata, metadata_keys::INSTANCE).map(str::to_owned),
        cluster_id: value(&metadata, metadata_keys::CLUSTER_ID)
            .filter(|id| !id.is_empty())
            .map(str::to_owned),
        replaces: replaces
            .split(',')
            .map(|segment| segment.trim().to_owned())
            .filter(|segment| !segment.is_empty())
            .collect(),
    })
}

fn check(
    metadata: &ParquetMetaData,
    table: &str,
    file: &dyn Fn() -> String,
) -> Result<(), TraceError> {
    let Some(version) = value(metadata, metadata_keys::SCHEMA_VERSION) else {
        return Err(TraceError::ForeignFile {
            file: file(),
            reason: format!("its footer has no {}", metadata_keys::SCHEMA_VERSION),
        });
    };
    check_version(version, file)?;
    match value(metadata, metadata_keys::TABLE) {
        Some(name) if name == table => Ok(()),
        name => Err(TraceError::ForeignFile {
            file: file(),
            reason: format!(
                "its footer says table {}, its folder {table}",
                name.unwrap_or("nothing")
            ),
        }),
    }
}

/// Checks the version of a sealed file or a journal.
pub(super) fn check_version(version: &str, file: &dyn Fn() -> String) -> Result<(), TraceError> {
    match version.parse::<u32>() {
        Ok(version) if version > SCHEMA_VERSION => Err(TraceError::NewerSchema {
            file: file(),
            version,
        }),
        Ok(_) => Ok(()),
        Err(_) => Err(TraceError::ForeignFile {
            file: file(),
            reason: format!("{} is {version:?}", metadata_keys::SCHEMA_VERSION),
        }),
    }
}

fn value<'a>(metadata: &'a ParquetMetaData, key: &str) -> Option<&'a str> {
    metadata
        .file_metadata()
        .key_value_metadata()?
        .iter()
        .find(|pair| pair.key == key)?
        .value
        .as_deref()
}
