//! Finds the derivation of a trace, and makes tables of its files.

use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use datafusion::common::config::TableParquetOptions;
use datafusion::datasource::TableProvider;
use datafusion::datasource::file_format::parquet::ParquetFormat;
use datafusion::datasource::listing::{
    ListingOptions, ListingTable, ListingTableConfig, ListingTableUrl,
};
use datafusion::execution::context::SessionContext;
use datafusion::prelude::col;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};
use tracing::warn;

use super::manifest::{self, Manifest};
use super::{FOLDER, WRITTEN, id};
use crate::catalog::{Location, Trace};
use crate::error::Error;
use crate::milestones::Declarations;
use crate::session::EngineOptions;

/// The derivation of a trace, if there is one.
#[derive(Debug, Default)]
pub(crate) struct Found {
    /// The folder and what is in it.
    files: Option<(Location, Manifest)>,
    /// Number of derivations of other states of the trace, by other rules, or with other settings.
    pub(crate) others: usize,
}

/// Looks for the derivation of a trace: where the options say, else beside each part of the trace.
///
/// # Errors
/// When a folder that was named is not there, or a manifest is damaged.
pub(crate) async fn find(
    context: &SessionContext,
    trace: &Trace,
    options: &EngineOptions,
    declarations: &Declarations,
) -> Result<Found, Error> {
    let mut found = Found::default();
    if options.derive_anew {
        return Ok(found);
    }
    let id = id(trace, options, declarations);
    let folders = match &options.derived {
        Some(folder) => {
            let given = folder.to_string_lossy();
            vec![Location::parse(&given)?]
        }
        None => {
            let beside = trace.locations.iter();
            beside.map(|location| within(location, FOLDER)).collect()
        }
    };
    for folder in folders {
        let store = context.runtime_env().object_store(&folder.store)?;
        let of_id = within(&folder, &id);
        if let Some(manifest) = read_manifest(store.as_ref(), &of_id).await?
            && manifest.id == id
        {
            match damaged_file(store.as_ref(), &of_id, &manifest).await {
                None => {
                    found.files = Some((of_id, manifest));
                    return Ok(found);
                }
                // A file that is not there would read as a table without rows.
                Some(file) => warn!(
                    file,
                    "a derived table is missing or damaged: deriving anew; cascade derive writes it"
                ),
            }
        }
        // A folder that is not there has nothing in it.
        if let Ok(list) = store.list_with_delimiter(Some(&folder.prefix)).await {
            let names = list
                .common_prefixes
                .iter()
                .filter_map(|path| path.filename());
            found.others += names
                .filter(|name| !name.starts_with('.') && *name != id)
                .count();
        }
    }
    Ok(found)
}

/// A folder in a location.
fn within(location: &Location, folder: &str) -> Location {
    Location {
        given: format!("{}/{folder}", location.given.trim_end_matches('/')),
        prefix: location.prefix.clone().join(folder),
        store: location.store.clone(),
    }
}

/// The name of a file that a derivation should have and has not, or not in the size in which it was written.
async fn damaged_file(
    store: &dyn ObjectStore,
    folder: &Location,
    manifest: &Manifest,
) -> Option<String> {
    for table in &manifest.tables {
        let path = folder.prefix.clone().join(table.file.as_str());
        match store.head(&path).await {
            Ok(found) if found.size == table.bytes => {}
            _ => return Some(folder.name_of(&path)),
        }
    }
    None
}

async fn read_manifest(
    store: &dyn ObjectStore,
    folder: &Location,
) -> Result<Option<Manifest>, Error> {
    let path = folder.prefix.clone().join(manifest::NAME);
    let name = folder.name_of(&path);
    let unreadable = |error: object_store::Error| {
        Error::io(format!("cannot read {name}"), std::io::Error::other(error))
    };
    let bytes = match store.get(&path).await {
        Ok(found) => found.bytes().await.map_err(unreadable)?,
        Err(object_store::Error::NotFound { .. }) => return Ok(None),
        Err(error) => return Err(unreadable(error)),
    };
    Manifest::parse(&bytes, &name).map(Some)
}

/// A path as it stands in a URL. What a URL would read as something else (an escape, a query) is escaped; the
/// rest is by the URL itself.
fn in_url(path: &Path) -> String {
    let mut escaped = String::new();
    for character in path.as_ref().chars() {
        match character {
            '%' => escaped.push_str("%25"),
            '?' => escaped.push_str("%3F"),
            '#' => escaped.push_str("%23"),
            '\\' => escaped.push_str("%5C"),
            other => escaped.push(other),
        }
    }
    escaped
}

impl Found {
    /// The table called `name` as it was written; `None` if it was not.
    ///
    /// # Errors
    /// [`Error::Query`] when the place cannot be made a table, which would be a mistake here.
    pub(crate) fn table(
        &self,
        context: &SessionContext,
        name: &str,
        schema: &SchemaRef,
    ) -> Result<Option<Arc<dyn TableProvider>>, Error> {
        let Some((folder, manifest)) = &self.files else {
            return Ok(None);
        };
        let Some(written) = manifest.tables.iter().find(|table| table.name == name) else {
            return Ok(None);
        };
        let path = folder.prefix.clone().join(written.file.as_str());
        let url = ListingTableUrl::parse(format!("{}{}", folder.store.as_str(), in_url(&path)))?;
        let order = WRITTEN
            .iter()
            .find(|table| table.name == name)
            .map_or(&[][..], |table| table.order);
        let order = order.iter().map(|column| col(*column).sort(true, false));
        let format = ParquetFormat::default().with_options(TableParquetOptions {
            global: context.copied_config().options().execution.parquet.clone(),
            ..TableParquetOptions::default()
        });
        let options = ListingOptions::new(Arc::new(format))
            .with_file_extension(".parquet")
            .with_file_sort_order(vec![order.collect()]);
        let config = ListingTableConfig::new(url)
            .with_listing_options(options)
            .with_schema(Arc::clone(schema));
        Ok(Some(Arc::new(ListingTable::try_new(config)?)))
    }
}
