//! How much of the disk the trace takes.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::{Registry, Unit};

/// Time between two looks; a look reads the folders of all tables and hours.
const LOOK_INTERVAL: Duration = Duration::from_secs(30);
/// A block of `stat(2)`, whatever the file system's are.
const BLOCK_BYTES: u64 = 512;

/// Keeps a metric of what the files below `trace` take. Never ends.
pub(super) async fn keep_measuring(trace: PathBuf, bytes: Gauge) {
    loop {
        let trace = trace.clone();
        match tokio::task::spawn_blocking(move || used(&trace)).await {
            Ok(Ok(used)) => {
                bytes.set(i64::try_from(used).unwrap_or(i64::MAX));
            }
            Ok(Err(error)) => tracing::debug!(%error, "cannot measure the trace"),
            Err(error) => tracing::debug!(%error, "measuring the trace was cut short"),
        }
        tokio::time::sleep(LOOK_INTERVAL).await;
    }
}

/// Adds the metric to `registry`.
pub(super) fn register(registry: &mut Registry) -> Gauge {
    let bytes = Gauge::default();
    registry.register_with_unit(
        "cascade_trace_disk",
        "Disk that the trace folder takes, all instances together, looked at every 30 seconds",
        Unit::Bytes,
        bytes.clone(),
    );
    bytes
}

/// Bytes that the files below a folder take. What goes away meanwhile counts nothing.
fn used(folder: &Path) -> io::Result<u64> {
    let mut total = 0;
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        let entries = match fs::read_dir(&folder) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            entries => entries?,
        };
        for entry in entries {
            // Links are not followed: they may lead out of the trace.
            let (path, metadata) =
                match entry.and_then(|entry| Ok((entry.path(), entry.metadata()?))) {
                    Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                    found => found?,
                };
            if metadata.is_dir() {
                folders.push(path);
            }
            total += metadata.blocks() * BLOCK_BYTES;
        }
    }
    Ok(total)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_in_all_folders_count_and_links_do_not() {
        let folder = tempfile::TempDir::new().unwrap();
        let elsewhere = tempfile::TempDir::new().unwrap();
        fs::write(elsewhere.path().join("large"), vec![1; 8 << 20]).unwrap();
        let before = used(folder.path()).unwrap();
        let deep = folder.path().join("a/b/c");
        fs::create_dir_all(&deep).unwrap();
        fs::write(deep.join("one"), vec![1; 1 << 20]).unwrap();
        fs::write(folder.path().join("two"), vec![1; 2 << 20]).unwrap();
        std::os::unix::fs::symlink(elsewhere.path(), deep.join("link")).unwrap();
        for file in [deep.join("one"), folder.path().join("two")] {
            fs::File::open(file).unwrap().sync_all().unwrap();
        }
        let grown = used(folder.path()).unwrap() - before;
        assert!((3 << 20..4 << 20).contains(&grown), "{grown}");
        assert_eq!(used(&folder.path().join("gone")).unwrap(), 0);
    }
}
