//! Reads every page of every sealed file: what a damaged file holds is not there, whatever its footer says.

use std::panic::{AssertUnwindSafe, catch_unwind};

use bytes::Bytes;
use datafusion::execution::object_store::ObjectStoreUrl;
use object_store::ObjectStoreExt;
use object_store::path::Path;
use parquet::errors::ParquetError;
use parquet::file::reader::{FileReader, SerializedFileReader};

use crate::catalog::TraceError;
use crate::error::Error;
use crate::session::Session;

/// Reads all sealed files of a session, one after the other, each once and whole.
///
/// # Errors
/// [`TraceError::Damaged`] with the first file that cannot be read, [`TraceError::Unreadable`] when the
/// store refuses.
pub(super) async fn check(session: &Session) -> Result<(), Error> {
    let runtime = session.context().runtime_env();
    let trace = session.trace();
    for location in &trace.locations {
        let url: &ObjectStoreUrl = &location.store;
        let store = runtime.object_store(url)?;
        for input in trace.inputs.iter().filter(|input| input.digest.is_some()) {
            let unreadable = |reason: String| TraceError::Unreadable {
                location: format!("{}/{}", location.given, input.file),
                reason,
            };
            let path = Path::parse(format!("{}/{}", location.prefix, input.file))
                .map_err(|error| unreadable(error.to_string()))?;
            let bytes = match store.get(&path).await {
                Ok(found) => found.bytes().await,
                // One of another location.
                Err(object_store::Error::NotFound { .. }) => continue,
                Err(error) => Err(error),
            };
            let bytes = bytes.map_err(|error| unreadable(error.to_string()))?;
            if let Err(reason) = read_pages(bytes) {
                let file = location.name_of(&path);
                return Err(TraceError::Damaged { file, reason }.into());
            }
        }
    }
    Ok(())
}

/// Decompresses every page; what is wrong with the first that cannot be.
fn read_pages(file: Bytes) -> Result<(), String> {
    let read = || -> Result<(), ParquetError> {
        let file = SerializedFileReader::new(file)?;
        for index in 0..file.num_row_groups() {
            let group = file.get_row_group(index)?;
            for column in 0..group.num_columns() {
                let mut pages = group.get_column_page_reader(column)?;
                while pages.get_next_page()?.is_some() {}
            }
        }
        Ok(())
    };
    // The reader panics on some damaged pages.
    match catch_unwind(AssertUnwindSafe(read)) {
        Ok(read) => read.map_err(|error| error.to_string()),
        Err(_) => Err("the Parquet reader panicked".to_owned()),
    }
}
