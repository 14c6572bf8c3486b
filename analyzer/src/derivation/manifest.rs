//! The manifest of a derivation: written last, so a folder that has one is complete.

use std::io::ErrorKind;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::catalog::InputFile;
use crate::error::Error;

/// Name of the file.
pub(super) const NAME: &str = "manifest.json";

/// Value of `schema` in the JSON.
pub(super) const SCHEMA: &str = "cascade.derivation";

/// What was derived of what.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Manifest {
    pub(super) schema: String,
    /// Version of the layout.
    pub(super) schema_version: u32,
    /// Name of the folder, see [`super::id`].
    pub(super) id: String,
    /// Program and version.
    pub(super) producer: String,
    /// Hash of the sources of the rules.
    pub(super) rules: String,
    /// Client actors that the user named.
    pub(super) clients: Vec<String>,
    /// The files that were read.
    pub(super) inputs: Vec<InputFile>,
    /// What was written.
    pub(super) tables: Vec<WrittenTable>,
}

/// A table in a derivation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct WrittenTable {
    pub(super) name: String,
    /// Name of the file beside the manifest.
    pub(super) file: String,
    pub(super) rows: u64,
    pub(super) bytes: u64,
}

impl Manifest {
    /// Reads the manifest in a folder; `None` if there is none.
    ///
    /// # Errors
    /// When it is there but cannot be read.
    pub(super) fn read(folder: &Path) -> Result<Option<Self>, Error> {
        let path = folder.join(NAME);
        match std::fs::read(&path) {
            Ok(bytes) => Self::parse(&bytes, &path.display().to_string()).map(Some),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(source) => Err(Error::io(format!("cannot read {}", path.display()), source)),
        }
    }

    /// Whether every table is in the folder, in the size in which it was written.
    pub(super) fn is_whole(&self, folder: &Path) -> bool {
        self.tables.iter().all(|table| {
            std::fs::metadata(folder.join(&table.file))
                .is_ok_and(|found| found.len() == table.bytes)
        })
    }

    /// Reads a manifest's bytes; `name` is told where it is wrong.
    ///
    /// # Errors
    /// [`Error::Usage`] when it is no manifest.
    pub(super) fn parse(bytes: &[u8], name: &str) -> Result<Self, Error> {
        serde_json::from_slice(bytes).map_err(|error| {
            Error::Usage(format!(
                "{name} is no manifest of derived tables: {error}; remove its folder and derive again"
            ))
        })
    }
}
