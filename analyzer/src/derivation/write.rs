//! Writes the derived tables into a folder of their own, which gets its name when it is complete.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use arrow::datatypes::{DataType, SchemaRef};
use arrow::record_batch::RecordBatch;
use cascade_proto::tables::{SCHEMA_VERSION, metadata_keys};
use futures::StreamExt;
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, Encoding, ZstdLevel};
use parquet::errors::ParquetError;
use parquet::file::metadata::KeyValue;
use parquet::file::properties::{EnabledStatistics, WriterProperties, WriterPropertiesBuilder};
use parquet::schema::types::ColumnPath;
use tokio::task::{JoinError, JoinSet};

use super::id::{LAYOUT_VERSION, RULES};
use super::manifest::{self, Manifest, WrittenTable};
use super::pieces::Pieces;
use super::{WRITTEN, Written};
use crate::derive::{self, Chunks};
use crate::error::Error;
use crate::session::{EngineOptions, Session};

/// Rows of a row group: what is skipped or read at once.
const ROW_GROUP_ROWS: usize = 128 * 1024;
/// What is begun last: small tables, that threads become idle at the same time.
const LAST: [&str; 2] = ["path_steps", CASCADES];
/// The table that is a join.
const CASCADES: &str = "cascades";
/// The column with numbers of signatures.
const PATH_ID: &str = "path_id";
/// The column with ids of calls.
const CALL_ID: &str = "call_id";

/// Writes all tables of a session to `<folder>/<id>`; what was there is replaced.
///
/// # Errors
/// When a table cannot be derived, or the folder cannot be written.
pub(super) async fn write(
    session: &Session,
    options: &EngineOptions,
    folder: &Path,
    id: &str,
) -> Result<Manifest, Error> {
    // The dot and the process keep readers and other writers away.
    let building = folder.join(format!(".{id}.{}", std::process::id()));
    let outcome = write_tables(session, options, &building, id).await;
    let complete = outcome.and_then(|manifest| {
        let finished = folder.join(id);
        publish(&building, &finished)?;
        sync(folder)?;
        Ok(manifest)
    });
    if complete.is_err() {
        // The error says what happened; what is left behind is never read.
        drop(fs::remove_dir_all(&building));
    }
    complete
}

async fn write_tables(
    session: &Session,
    options: &EngineOptions,
    folder: &Path,
    id: &str,
) -> Result<Manifest, Error> {
    fs::create_dir_all(folder).map_err(|source| cannot_write(folder, source))?;
    session.derived().put_aside_in(folder);
    let producer = format!("cascade {}", env!("CARGO_PKG_VERSION"));
    let clusters: Vec<&str> = session
        .trace()
        .clusters
        .iter()
        .map(String::as_str)
        .collect();
    let place = Arc::new(Place {
        folder: folder.to_owned(),
        metadata: vec![
            (metadata_keys::SCHEMA_VERSION, SCHEMA_VERSION.to_string()),
            (metadata_keys::PRODUCER, producer.clone()),
            (metadata_keys::CLUSTER_ID, clusters.join(",")),
            (metadata_keys::SEGMENT, id.to_owned()),
        ],
        is_given_up: AtomicBool::new(false),
    });
    let threads = match options.threads {
        Some(threads) => threads,
        None => std::thread::available_parallelism().map_or(1, usize::from),
    };
    let tables = match write_all(session, &place, threads.max(1)).await {
        Ok(tables) => tables,
        Err(error) => {
            place.is_given_up.store(true, Ordering::Relaxed);
            return Err(error);
        }
    };
    session.derived().check_storage()?;
    let manifest = Manifest {
        schema: manifest::SCHEMA.to_owned(),
        schema_version: LAYOUT_VERSION,
        id: id.to_owned(),
        producer,
        rules: RULES.to_owned(),
        clients: options.clients.clone(),
        inputs: session.trace().inputs.clone(),
        tables,
    };
    let path = folder.join(manifest::NAME);
    let text = crate::report::json(&manifest)?;
    let written = File::create(&path).and_then(|mut file| {
        file.write_all(text.as_bytes())?;
        file.sync_all()
    });
    written.map_err(|source| cannot_write(&path, source))?;
    sync(folder)?;
    Ok(manifest)
}

/// Writes the tables. Those whose rows are in memory are encoded by threads of their own, while the next ones are
/// derived.
async fn write_all(
    session: &Session,
    place: &Arc<Place>,
    threads: usize,
) -> Result<Vec<WrittenTable>, Error> {
    let context = session.context();
    let mut writing: JoinSet<Result<WrittenTable, Error>> = JoinSet::new();
    let mut tables = Vec::with_capacity(WRITTEN.len());
    session.derived().follow_objects(context);
    let mut order: Vec<&Written> = WRITTEN.iter().collect();
    order.sort_by_key(|table| LAST.contains(&table.name));
    for table in order {
        let found = derive::computed(context, table.name, table.order).await?;
        let Some((chunks, schema)) = found else {
            let is_in_pieces = table.name == CASCADES && session.derived().is_short_of_memory();
            let pieces = if is_in_pieces {
                Pieces::of(context).await?
            } else {
                None
            };
            tables.push(match pieces {
                Some(pieces) => write_pieces(pieces, table, place).await?,
                None => write_answer(session, table, place).await?,
            });
            continue;
        };
        while writing.len() >= threads
            && let Some(done) = writing.join_next().await
        {
            tables.push(joined(done)?);
        }
        let place = Arc::clone(place);
        writing.spawn_blocking(move || write_chunks(chunks.as_ref(), &schema, table, &place));
    }
    while let Some(done) = writing.join_next().await {
        tables.push(joined(done)?);
    }
    let number = |written: &WrittenTable| {
        let mut names = WRITTEN.iter().map(|table| table.name);
        names.position(|name| name == written.name)
    };
    tables.sort_by_key(number);
    Ok(tables)
}

fn joined(done: Result<Result<WrittenTable, Error>, JoinError>) -> Result<WrittenTable, Error> {
    done.map_err(Error::task)?
}

/// Where tables are written to.
struct Place {
    folder: PathBuf,
    /// What every file's footer says.
    metadata: Vec<(&'static str, String)>,
    /// Whether what is being written will not be used.
    is_given_up: AtomicBool,
}

/// A table that is being written.
struct Writing {
    writer: ArrowWriter<File>,
    name: &'static str,
    file: String,
    path: PathBuf,
    rows: u64,
}

impl Writing {
    fn open(table: &Written, schema: SchemaRef, place: &Place) -> Result<Self, Error> {
        let file = format!("{}.parquet", table.name);
        let path = place.folder.join(&file);
        let metadata = place
            .metadata
            .iter()
            .map(|(key, value)| (*key, value.as_str()))
            .chain([(metadata_keys::TABLE, table.name)])
            .map(|(key, value)| KeyValue::new(key.to_owned(), value.to_owned()));
        let properties = encodings(&schema)
            .set_compression(Compression::ZSTD(ZstdLevel::default()))
            .set_max_row_group_row_count(Some(ROW_GROUP_ROWS))
            .set_key_value_metadata(Some(metadata.collect()))
            .build();
        let opened = File::create(&path).map_err(|source| cannot_write(&path, source))?;
        let writer = ArrowWriter::try_new(opened, schema, Some(properties))
            .map_err(|error| cannot_encode(&path, &error))?;
        Ok(Self {
            writer,
            name: table.name,
            file,
            path,
            rows: 0,
        })
    }

    fn add(&mut self, batch: &RecordBatch) -> Result<(), Error> {
        self.rows += batch.num_rows() as u64;
        self.writer
            .write(batch)
            .map_err(|error| cannot_encode(&self.path, &error))
    }

    fn finish(mut self) -> Result<WrittenTable, Error> {
        self.writer
            .finish()
            .map_err(|error| cannot_encode(&self.path, &error))?;
        let file = self.writer.inner();
        let bytes = file
            .sync_all()
            .and_then(|()| file.metadata())
            .map_err(|source| cannot_write(&self.path, source))?
            .len();
        Ok(WrittenTable {
            name: self.name.to_owned(),
            file: self.file,
            rows: self.rows,
            bytes,
        })
    }
}

/// How columns are encoded. A dictionary of values that are all different, as revisions, times and ids of calls are, costs a
/// search per value and saves nothing; their differences are small. Texts come in no order, so no reader could skip a group of
/// rows by the smallest and largest of them, and to find these would compare every text with two others.
fn encodings(schema: &SchemaRef) -> WriterPropertiesBuilder {
    let mut builder = WriterProperties::builder();
    for field in schema.fields() {
        let column = ColumnPath::from(field.name().as_str());
        if *field.data_type() == DataType::Utf8 {
            builder =
                builder.set_column_statistics_enabled(column.clone(), EnabledStatistics::None);
        }
        let differences = match field.data_type() {
            // The numbers of signatures are few, and far apart.
            DataType::Int32 | DataType::Int64 | DataType::Timestamp(_, _)
                if field.name() != PATH_ID =>
            {
                Encoding::DELTA_BINARY_PACKED
            }
            DataType::Utf8 if field.name() == CALL_ID => Encoding::DELTA_BYTE_ARRAY,
            _ => continue,
        };
        builder = builder
            .set_column_dictionary_enabled(column.clone(), false)
            .set_column_encoding(column, differences);
    }
    builder
}

/// Writes a table whose rows are in memory, in their order.
fn write_chunks(
    chunks: &dyn Chunks,
    schema: &SchemaRef,
    table: &Written,
    place: &Place,
) -> Result<WrittenTable, Error> {
    let mut writing = Writing::open(table, Arc::clone(schema), place)?;
    let columns: Vec<usize> = (0..schema.fields().len()).collect();
    for index in 0..chunks.count() {
        if place.is_given_up.load(Ordering::Relaxed) {
            break;
        }
        writing.add(&chunks.chunk(index, &columns)?)?;
    }
    writing.finish()
}

/// Writes a table that is the answer of a query.
async fn write_answer(
    session: &Session,
    table: &Written,
    place: &Place,
) -> Result<WrittenTable, Error> {
    let trace = session.trace();
    let mut order = table.order;
    // Within a cluster that is the order of the files; to ask for that of the clusters as well would sort every column.
    if trace.clusters.len() == 1
        && trace.journals() == 0
        && let ["cluster_id", rest @ ..] = order
    {
        order = rest;
    }
    let query = format!("SELECT * FROM {} ORDER BY {}", table.name, order.join(", "));
    let answer = session.context().sql(&query).await?;
    let mut batches = answer.execute_stream().await?;
    let mut writing = Writing::open(table, batches.schema(), place)?;
    while let Some(batch) = batches.next().await.transpose()? {
        writing.add(&batch)?;
    }
    writing.finish()
}

/// Writes a table that is joined in pieces.
async fn write_pieces(
    mut pieces: Pieces,
    table: &Written,
    place: &Place,
) -> Result<WrittenTable, Error> {
    let mut writing = Writing::open(table, pieces.schema().await?, place)?;
    while let Some(batches) = pieces.next().await? {
        for batch in batches {
            writing.add(&batch)?;
        }
    }
    writing.finish()
}

/// Gives the complete folder its name.
fn publish(building: &Path, finished: &Path) -> Result<(), Error> {
    match fs::remove_dir_all(finished) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            return Err(cannot_write(finished, error));
        }
        _ => {}
    }
    fs::rename(building, finished).map_err(|source| cannot_write(finished, source))
}

/// Makes the names in a folder durable.
fn sync(folder: &Path) -> Result<(), Error> {
    File::open(folder)
        .and_then(|folder| folder.sync_all())
        .map_err(|source| cannot_write(folder, source))
}

fn cannot_encode(path: &Path, error: &ParquetError) -> Error {
    cannot_write(path, std::io::Error::other(error.to_string()))
}

fn cannot_write(path: &Path, source: std::io::Error) -> Error {
    Error::io(format!("cannot write {}", path.display()), source)
}
