//! Where a trace is: a folder, later also a prefix in an object store.

use std::io;
use std::path::{Path as FilePath, PathBuf};

use datafusion::execution::object_store::ObjectStoreUrl;
use object_store::path::Path;

use super::TraceError;

/// A place that holds a trace, as a store and a prefix in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Location {
    /// As the user wrote it, for messages.
    pub given: String,
    /// The store.
    pub store: ObjectStoreUrl,
    /// The trace's folder in that store.
    pub prefix: Path,
}

impl Location {
    /// Finds the place that `given` names: a folder, or a URL.
    ///
    /// # Errors
    /// [`TraceError`] when there is no such folder, or its kind of store is not built in.
    pub fn parse(given: &str) -> Result<Self, TraceError> {
        let location = given.to_owned();
        let path = match given.split_once("://") {
            None => given,
            Some(("file", path)) => path,
            // Further stores come in here: an ObjectStoreUrl registered with the context.
            Some((scheme, _)) => {
                return Err(TraceError::UnsupportedStore {
                    scheme: scheme.to_owned(),
                    location,
                });
            }
        };
        let folder = FilePath::new(path).canonicalize().map_err(|error| {
            let location = location.clone();
            match error.kind() {
                io::ErrorKind::NotFound => TraceError::NotFound { location },
                _ => TraceError::Unreadable {
                    location,
                    reason: error.to_string(),
                },
            }
        })?;
        if !folder.is_dir() {
            return Err(TraceError::NotAFolder { location });
        }
        let prefix = Path::from_absolute_path(&folder).map_err(|error| TraceError::Unreadable {
            location: location.clone(),
            reason: error.to_string(),
        })?;
        Ok(Self {
            given: location,
            store: ObjectStoreUrl::local_filesystem(),
            prefix,
        })
    }

    /// The folder on this machine.
    #[must_use]
    pub fn folder(&self) -> PathBuf {
        PathBuf::from(self.given.strip_prefix("file://").unwrap_or(&self.given))
    }

    /// The name of a file in this trace, for messages.
    #[must_use]
    pub fn name_of(&self, path: &Path) -> String {
        match path.prefix_match(&self.prefix) {
            Some(parts) => {
                let parts: Vec<String> = parts.map(|part| part.as_ref().to_owned()).collect();
                format!("{}/{}", self.given.trim_end_matches('/'), parts.join("/"))
            }
            None => path.to_string(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_found_with_and_without_scheme() {
        let folder = tempfile::tempdir().unwrap();
        let plain = folder.path().to_str().unwrap();
        let parsed = Location::parse(plain).unwrap();
        let with_scheme = Location::parse(&format!("file://{plain}")).unwrap();
        assert_eq!(parsed.prefix, with_scheme.prefix);
        let file = parsed.prefix.clone().join("changes").join("a.parquet");
        assert_eq!(parsed.name_of(&file), format!("{plain}/changes/a.parquet"));
    }

    #[test]
    fn what_is_no_folder_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        std::fs::write(&file, "x").unwrap();
        let missing = folder.path().join("missing");
        let parse = |path: &FilePath| Location::parse(path.to_str().unwrap()).unwrap_err();
        assert!(matches!(parse(&file), TraceError::NotAFolder { .. }));
        assert!(matches!(parse(&missing), TraceError::NotFound { .. }));
        assert!(matches!(
            Location::parse("s3://bucket/trace").unwrap_err(),
            TraceError::UnsupportedStore { scheme, .. } if scheme == "s3"
        ));
    }
}
