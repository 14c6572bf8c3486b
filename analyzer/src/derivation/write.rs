//! Writes the derived tables into a folder of their own, which gets its name when it is complete.

use std::fs::{self, File};
use std::io::Write;
use std::path::Path;

use cascade_proto::tables::{SCHEMA_VERSION, metadata_keys};
use futures::StreamExt;
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::metadata::KeyValue;
use parquet::file::properties::WriterProperties;

use super::id::{LAYOUT_VERSION, RULES};
use super::manifest::{self, Manifest, WrittenTable};
use super::{WRITTEN, Written};
use crate::error::Error;
use crate::session::{EngineOptions, Session};

/// Rows of a row group: what is skipped or read at once.
const ROW_GROUP_ROWS: usize = 128 * 1024;

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
    let producer = format!("cascade {}", env!("CARGO_PKG_VERSION"));
    let mut tables = Vec::new();
    for table in WRITTEN {
        tables.push(write_table(session, table, folder, id, &producer).await?);
    }
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

async fn write_table(
    session: &Session,
    table: &Written,
    folder: &Path,
    id: &str,
    producer: &str,
) -> Result<WrittenTable, Error> {
    let name = format!("{}.parquet", table.name);
    let path = folder.join(&name);
    let query = format!(
        "SELECT * FROM {} ORDER BY {}",
        table.name,
        table.order.join(", ")
    );
    let answer = session.context().sql(&query).await?;
    let mut batches = answer.execute_stream().await?;
    let clusters: Vec<&str> = session
        .trace()
        .clusters
        .iter()
        .map(String::as_str)
        .collect();
    let metadata = [
        (metadata_keys::SCHEMA_VERSION, SCHEMA_VERSION.to_string()),
        (metadata_keys::TABLE, table.name.to_owned()),
        (metadata_keys::PRODUCER, producer.to_owned()),
        (metadata_keys::CLUSTER_ID, clusters.join(",")),
        (metadata_keys::SEGMENT, id.to_owned()),
    ];
    let metadata = metadata.map(|(key, value)| KeyValue::new(key.to_owned(), Some(value)));
    let properties = WriterProperties::builder()
        .set_compression(Compression::ZSTD(ZstdLevel::default()))
        .set_max_row_group_row_count(Some(ROW_GROUP_ROWS))
        .set_key_value_metadata(Some(metadata.to_vec()))
        .build();
    let wrong = |error: parquet::errors::ParquetError| {
        cannot_write(&path, std::io::Error::other(error.to_string()))
    };
    let file = File::create(&path).map_err(|source| cannot_write(&path, source))?;
    let mut writer =
        ArrowWriter::try_new(file, batches.schema(), Some(properties)).map_err(wrong)?;
    let mut rows = 0;
    while let Some(batch) = batches.next().await.transpose()? {
        rows += batch.num_rows() as u64;
        writer.write(&batch).map_err(wrong)?;
    }
    writer.finish().map_err(wrong)?;
    let file = writer.inner();
    let bytes = file
        .sync_all()
        .and_then(|()| file.metadata())
        .map_err(|source| cannot_write(&path, source))?
        .len();
    Ok(WrittenTable {
        name: table.name.to_owned(),
        file: name,
        rows,
        bytes,
    })
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

fn cannot_write(path: &Path, source: std::io::Error) -> Error {
    Error::io(format!("cannot write {}", path.display()), source)
}
