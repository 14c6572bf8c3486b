//! Lists what is in a table's folder.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::StoreError;

/// Everything in the hour folders of a table, by hour and then by name; nothing when the folder is
/// not there.
pub(super) fn table_files(folder: &Path) -> Result<Vec<PathBuf>, StoreError> {
    let mut found = Vec::new();
    for date in folders(folder, "date=")? {
        for hour in folders(&date, "hour=")? {
            found.extend(entries(&hour)?);
        }
    }
    Ok(found)
}

/// Folders in `folder` whose names begin with `prefix`; none when `folder` is not there.
fn folders(folder: &Path, prefix: &str) -> Result<Vec<PathBuf>, StoreError> {
    let mut found = entries(folder)?;
    found.retain(|path| {
        path.file_name()
            .and_then(|name| name.to_str())
            .is_some_and(|name| name.starts_with(prefix))
            && path.is_dir()
    });
    Ok(found)
}

/// Entries of a folder in order of name; none when it is not there.
fn entries(folder: &Path) -> Result<Vec<PathBuf>, StoreError> {
    let listing = match fs::read_dir(folder) {
        Ok(listing) => listing,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(StoreError::io("list", folder)(error)),
    };
    let mut found = listing
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<io::Result<Vec<_>>>()
        .map_err(StoreError::io("list", folder))?;
    found.sort();
    Ok(found)
}
