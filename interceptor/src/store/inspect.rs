//! A look at a trace folder that changes nothing in it.

use std::fs;
use std::io;
use std::path::Path;

use cascade_proto::tables::SCHEMA_VERSION;

use super::StoreError;
use super::folder::{Holder, Marker, refuse_foreign};
use super::layout::STATE_FOLDER;

/// What a trace folder is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct FolderFacts {
    /// Whether it is there.
    pub exists: bool,
    /// The process that opened it last and did not close it; it may be gone.
    pub opened_by: Option<u32>,
}

/// Looks at a trace folder without creating, locking or changing anything.
///
/// # Errors
/// What would keep an interceptor from using it: it holds something else, is of a newer version, or
/// cannot be read.
pub fn inspect(root: &Path) -> Result<FolderFacts, StoreError> {
    let entries = match fs::read_dir(root) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(FolderFacts::default()),
        Err(error) => return Err(StoreError::io("list", root)(error)),
    };
    refuse_foreign(root, entries)?;
    let marker_path = root.join(STATE_FOLDER).join("trace.json");
    let marker: Option<Marker> = content(&marker_path)?;
    if let Some(found) = marker.map(|marker| marker.schema_version)
        && found > SCHEMA_VERSION
    {
        return Err(StoreError::NewerSchema {
            path: marker_path,
            found,
            supported: SCHEMA_VERSION,
        });
    }
    let holder: Option<Holder> = content(&root.join(STATE_FOLDER).join("lock"))?;
    let open = holder.filter(|holder| holder.closed_unix_nano.is_none());
    Ok(FolderFacts {
        exists: true,
        opened_by: open.map(|holder| holder.pid),
    })
}

/// What a state file holds; one that cannot be understood counts as none, as it does at a start.
fn content<T: serde::de::DeserializeOwned>(path: &Path) -> Result<Option<T>, StoreError> {
    match fs::read(path) {
        Ok(content) => Ok(serde_json::from_slice(&content).ok()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(StoreError::io("read", path)(error)),
    }
}
