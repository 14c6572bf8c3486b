//! Reads the sealed files of a trace folder.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use cascade_proto::tables::{Change, Gap, State, Table, read_rows};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

/// All rows of a table, in no particular order.
pub(crate) fn rows<T: Table>(trace: &Path) -> Vec<T> {
    let mut rows = Vec::new();
    for file in files(&trace.join(T::NAME)) {
        let hidden = file
            .file_name()
            .is_some_and(|name| name.to_string_lossy().starts_with('.'));
        assert!(!hidden, "{} was not sealed", file.display());
        let file = File::open(file).expect("a file of the trace");
        let reader = ParquetRecordBatchReaderBuilder::try_new(file)
            .and_then(ParquetRecordBatchReaderBuilder::build)
            .expect("a Parquet file");
        for batch in reader {
            rows.extend(read_rows::<T>(&batch.expect("a batch")).expect("rows of the table"));
        }
    }
    rows
}

/// All changes by epoch, revision and ordinal.
pub(crate) fn changes(trace: &Path) -> Vec<Change> {
    let mut changes = rows::<Change>(trace);
    changes.sort_by_key(|change| (change.epoch, change.revision, change.ordinal));
    changes
}

/// All states by epoch, snapshot and key.
pub(crate) fn states(trace: &Path) -> Vec<State> {
    let mut states = rows::<State>(trace);
    states.sort_by_key(|state| (state.epoch, state.snapshot_revision, state.key.clone()));
    states
}

/// All gaps by epoch and first revision.
pub(crate) fn gaps(trace: &Path) -> Vec<Gap> {
    let mut gaps = rows::<Gap>(trace);
    gaps.sort_by_key(|gap| (gap.epoch, gap.from_revision, gap.kind));
    gaps
}

/// All files below a folder; none if there is no such folder.
pub(crate) fn files(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(folder) else {
        return Vec::new(); // a table without rows
    };
    let mut found = Vec::new();
    for entry in entries {
        let path = entry.expect("an entry of a folder").path();
        if path.is_dir() {
            found.extend(files(&path));
        } else {
            found.push(path);
        }
    }
    found
}
