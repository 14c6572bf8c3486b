//! Opens traces: lists, checks, reads journals, and registers the tables.

use std::collections::BTreeSet;
use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use cascade_proto::tables::{Change, Table, TableInfo, raw_tables};
use datafusion::catalog::TableProvider;
use datafusion::common::ScalarValue;
use datafusion::common::stats::Precision;
use datafusion::datasource::listing::PartitionedFile;
use datafusion::execution::context::SessionContext;
use futures::{StreamExt, TryStreamExt, stream};
use object_store::ObjectStore;
use tracing::warn;

use super::footer::{self, Footer};
use super::input::InputFile;
use super::journal::{self, Journal};
use super::layout::{FoundFile, TableFiles, table_files};
use super::merge::merged_query;
use super::stored::{JournalRows, StoreFiles, StoredTable};
use super::{Location, TraceError};
use crate::error::Error;
use crate::session::{RAW_SCHEMA, STORED_SCHEMA};

/// Footers that are read at the same time.
const FOOTERS_AT_ONCE: usize = 16;
/// How often a trace is listed anew when journals vanish while they are being read.
const MAX_TRIES: usize = 5;
/// How many names a message about a folder shows.
const SHOWN_NAMES: usize = 5;

/// What was opened.
#[derive(Debug, Clone)]
pub struct Trace {
    /// The places, in the order given.
    pub locations: Vec<Location>,
    /// Every raw table, in the order of the documentation.
    pub tables: Vec<OpenedTable>,
    /// etcd cluster ids that sealed files name.
    pub clusters: BTreeSet<String>,
    /// What the rows were read from, sorted.
    pub inputs: Vec<InputFile>,
}

impl Trace {
    /// The table called `name`.
    #[must_use]
    pub fn table(&self, name: &str) -> Option<&OpenedTable> {
        self.tables.iter().find(|table| table.name == name)
    }

    /// Number of journals that were read: more than 0 in a live or crashed trace.
    #[must_use]
    pub fn journals(&self) -> usize {
        self.tables.iter().map(|table| table.journals).sum()
    }
}

/// One table of an opened trace.
#[derive(Debug, Clone)]
pub struct OpenedTable {
    /// Name of the table.
    pub name: &'static str,
    /// Sealed files.
    pub files: usize,
    /// Journals without a sealed file.
    pub journals: usize,
    /// Rows as stored, before merging.
    pub rows: u64,
    /// Whether rows of several recordings are merged.
    pub merged: bool,
}

/// Opens traces as one and registers the schemas `stored` and `raw`.
pub(crate) async fn open(context: &SessionContext, traces: &[String]) -> Result<Trace, Error> {
    if traces.is_empty() {
        return Err(Error::Usage("no trace given".to_owned()));
    }
    let mut locations: Vec<Location> = Vec::new();
    for given in traces {
        let location = Location::parse(given)?;
        let known =
            |known: &Location| known.store == location.store && known.prefix == location.prefix;
        if locations.iter().any(known) {
            return Err(TraceError::GivenTwice {
                location: given.clone(),
            }
            .into());
        }
        locations.push(location);
    }
    let tables = raw_tables();
    let mut contents: Vec<TableContents> = Vec::new();
    contents.resize_with(tables.len(), TableContents::default);
    let mut clusters = BTreeSet::new();
    let mut inputs = Vec::new();
    for location in &locations {
        let read = read_location(context, location, &tables).await?;
        for (all, mut one) in contents.iter_mut().zip(read) {
            clusters.extend(one.clusters.iter().cloned());
            inputs.append(&mut one.inputs);
            all.add(location, one);
        }
    }
    if clusters.len() > 1 {
        let clusters = clusters.iter().cloned().collect::<Vec<_>>().join(" ");
        warn!(
            clusters,
            "the traces are of several clusters: group by cluster_id"
        );
    }
    inputs.sort_unstable();
    let mut opened = Vec::with_capacity(tables.len());
    for (info, contents) in tables.iter().zip(contents) {
        opened.push(register(context, info, contents).await?);
    }
    Ok(Trace {
        locations,
        tables: opened,
        clusters,
        inputs,
    })
}

/// What one location holds of one table.
#[derive(Default)]
struct LocationTable {
    files: Vec<PartitionedFile>,
    journals: Vec<JournalRows>,
    rows: u64,
    instances: BTreeSet<String>,
    clusters: BTreeSet<String>,
    has_replaced_files: bool,
    /// Files of one recording hold the same revisions.
    has_repeated_files: bool,
    inputs: Vec<InputFile>,
}

/// What all locations hold of one table.
#[derive(Default)]
struct TableContents {
    stores: Vec<StoreFiles>,
    journals: Vec<JournalRows>,
    rows: u64,
    /// Recordings: instances, told apart by location.
    recordings: usize,
    has_replaced_files: bool,
    has_repeated_files: bool,
}

impl TableContents {
    fn add(&mut self, location: &Location, table: LocationTable) {
        match self
            .stores
            .iter_mut()
            .find(|store| store.store == location.store)
        {
            Some(store) => store.files.extend(table.files),
            None => self.stores.push(StoreFiles {
                store: location.store.clone(),
                files: table.files,
            }),
        }
        self.journals.extend(table.journals);
        self.rows += table.rows;
        self.recordings += table.instances.len();
        self.has_replaced_files |= table.has_replaced_files;
        self.has_repeated_files |= table.has_repeated_files;
    }
}

async fn read_location(
    context: &SessionContext,
    location: &Location,
    tables: &[TableInfo],
) -> Result<Vec<LocationTable>, Error> {
    let store = context.runtime_env().object_store(&location.store)?;
    let mut contents = Vec::with_capacity(tables.len());
    let mut found_journals = 0;
    for info in tables {
        let (table, journals) = read_table(context, store.as_ref(), location, info).await?;
        found_journals += journals;
        contents.push(table);
    }
    let is_readable = contents
        .iter()
        .any(|table| !table.files.is_empty() || !table.journals.is_empty());
    if is_readable {
        return Ok(contents);
    }
    Err(
        explain_nothing(store.as_ref(), location, tables, found_journals)
            .await
            .into(),
    )
}

/// Reads one table's folder, again when journals vanish meanwhile.
async fn read_table(
    context: &SessionContext,
    store: &dyn ObjectStore,
    location: &Location,
    info: &TableInfo,
) -> Result<(LocationTable, usize), TraceError> {
    for _ in 0..MAX_TRIES {
        let files = table_files(store, location, info.name).await?;
        let found_journals = files.journals.len();
        if let Some(table) = read_files(context, store, location, info, files).await? {
            return Ok((table, found_journals));
        }
    }
    Err(TraceError::Unstable {
        location: location.given.clone(),
    })
}

/// Reads footers and journals; `None` when a journal was sealed meanwhile.
async fn read_files(
    context: &SessionContext,
    store: &dyn ObjectStore,
    location: &Location,
    info: &TableInfo,
    files: TableFiles,
) -> Result<Option<LocationTable>, TraceError> {
    let schema = info.schema();
    let mut table = LocationTable::default();
    for found in &files.journals {
        match journal::read(store, location, found, &schema).await? {
            Journal::Gone => return Ok(None),
            Journal::Batches(batches) => {
                let rows: usize = batches
                    .iter()
                    .map(arrow::array::RecordBatch::num_rows)
                    .sum();
                if rows == 0 {
                    continue;
                }
                table.rows += rows as u64;
                let path = &found.meta.location;
                let input = InputFile::new(location, path, rows as u64, None);
                table.inputs.push(input);
                table.instances.insert(found.instance.clone());
                table.journals.push(JournalRows {
                    partition: found.partition.clone(),
                    batches,
                });
            }
        }
    }
    let schema = &schema;
    let footers: Vec<(FoundFile, Footer)> = stream::iter(files.sealed)
        .map(|found| async move {
            let footer =
                footer::read(context, store, location, &found.meta, info.name, schema).await?;
            Ok::<_, TraceError>((found, footer))
        })
        .buffered(FOOTERS_AT_ONCE)
        .try_collect()
        .await?;
    let segments: BTreeSet<&str> = footers
        .iter()
        .map(|(found, _)| found.segment.as_str())
        .collect();
    table.has_replaced_files = footers.iter().any(|(_, footer)| {
        footer
            .replaces
            .iter()
            .any(|segment| segments.contains(segment.as_str()))
    });
    table.has_repeated_files = repeats_revisions(info.name, schema, &footers);
    for (found, footer) in footers {
        table.rows += footer.rows;
        let (path, digest) = (&found.meta.location, Some(footer.digest));
        let input = InputFile::new(location, path, footer.rows, digest);
        table.inputs.push(input);
        table
            .instances
            .insert(footer.instance.unwrap_or(found.instance));
        table.clusters.extend(footer.cluster_id);
        table.files.push(
            PartitionedFile::new_from_meta(found.meta)
                .with_partition_values(found.partition)
                .with_statistics(footer.statistics)
                .with_ordering(footer.ordering),
        );
    }
    Ok(Some(table))
}

/// Whether two files of changes by one ledger reach over the same revisions, as after copying a file beside
/// itself: a ledger writes each revision once, in order.
fn repeats_revisions(table: &str, schema: &SchemaRef, footers: &[(FoundFile, Footer)]) -> bool {
    if table != Change::NAME {
        return false;
    }
    let range = |footer: &Footer, name: &str| -> Option<(i64, i64)> {
        let column = schema.index_of(name).ok()?;
        let statistics = footer.statistics.column_statistics.get(column)?;
        let number = |value: &Precision<ScalarValue>| match value.get_value()? {
            ScalarValue::Int32(number) => number.map(i64::from),
            ScalarValue::Int64(number) => *number,
            _ => None,
        };
        number(&statistics.min_value).zip(number(&statistics.max_value))
    };
    // What is not known to overlap is taken not to.
    let mut spans: Vec<_> = footers
        .iter()
        .filter_map(|(_, footer)| {
            let recording = (&footer.instance, &footer.cluster_id);
            let (first_epoch, last_epoch) = range(footer, "epoch")?;
            let (first, last) = range(footer, "revision")?;
            Some((recording, first_epoch, first, last_epoch, last))
        })
        .collect();
    spans.sort_unstable();
    spans.windows(2).any(|pair| match pair {
        [
            (recording, _, _, last_epoch, last),
            (next, epoch, first, _, _),
        ] => recording == next && (epoch, first) <= (last_epoch, last),
        _ => false,
    })
}

/// Why a location without a readable row is not a trace.
async fn explain_nothing(
    store: &dyn ObjectStore,
    location: &Location,
    tables: &[TableInfo],
    journals: usize,
) -> TraceError {
    let given = location.given.clone();
    let list = match store.list_with_delimiter(Some(&location.prefix)).await {
        Ok(list) => list,
        Err(error) => {
            return TraceError::Unreadable {
                location: given,
                reason: error.to_string(),
            };
        }
    };
    let folders = list.common_prefixes.iter();
    let files = list.objects.iter().map(|object| &object.location);
    let names: Vec<&str> = folders
        .chain(files)
        .filter_map(|path| path.filename())
        .collect();
    let is_trace = names
        .iter()
        .any(|name| *name == ".cascade" || tables.iter().any(|table| table.name == *name));
    if is_trace {
        return TraceError::NothingReadable {
            location: given,
            journals,
        };
    }
    if names.is_empty() {
        return TraceError::Empty { location: given };
    }
    let mut found = names
        .iter()
        .take(SHOWN_NAMES)
        .copied()
        .collect::<Vec<_>>()
        .join(", ");
    if names.len() > SHOWN_NAMES {
        found.push_str(", …");
    }
    TraceError::NotATrace {
        location: given,
        found,
    }
}

/// Makes the tables `stored.<name>` and `raw.<name>`.
async fn register(
    context: &SessionContext,
    info: &TableInfo,
    contents: TableContents,
) -> Result<OpenedTable, Error> {
    let files = contents.stores.iter().map(|store| store.files.len()).sum();
    let journals = contents.journals.len();
    let stored_name = format!("{STORED_SCHEMA}.{}", info.name);
    let raw_name = format!("{RAW_SCHEMA}.{}", info.name);
    let stored: Arc<dyn TableProvider> = Arc::new(StoredTable::new(
        info.schema(),
        contents.stores,
        contents.journals,
    ));
    context.register_table(stored_name.as_str(), Arc::clone(&stored))?;
    let columns: Vec<String> = stored
        .schema()
        .fields()
        .iter()
        .map(|field| field.name().clone())
        .collect();
    let needs_merge =
        contents.recordings > 1 || contents.has_replaced_files || contents.has_repeated_files;
    let merge = needs_merge
        .then(|| merged_query(info.name, &stored_name, &columns))
        .flatten();
    let merged = merge.is_some();
    let raw = match merge {
        Some(query) => context.sql(&query).await?.into_view(),
        None => stored,
    };
    context.register_table(raw_name.as_str(), raw)?;
    Ok(OpenedTable {
        name: info.name,
        files,
        journals,
        rows: contents.rows,
        merged,
    })
}
