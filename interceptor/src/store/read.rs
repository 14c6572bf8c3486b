//! Reads a table back, also while it is written and sealed.

use std::collections::BTreeMap;
use std::error::Error;
use std::fmt;
use std::fs::File;
use std::io::{self, BufReader};
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;

use arrow::array::{AsArray, BooleanArray};
use arrow::compute::filter_record_batch;
use arrow::error::ArrowError;
use arrow::record_batch::RecordBatch;
use cascade_proto::journal::JournalReader;
use cascade_proto::tables::{Table, read_rows};
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{ArrowPredicateFn, ParquetRecordBatchReaderBuilder, RowFilter};

use super::StoreError;
use super::layout::{SegmentFile, SegmentFiles, parse};
use super::listing::table_files;

/// Rows of a sealed file that are in memory at a time.
const BATCH_ROWS: usize = 4096;

type Failure = Box<dyn Error + Send + Sync>;

/// Which rows are wanted: those with certain text in one column.
#[derive(Clone)]
pub struct Wanted {
    /// The column, of text that is never NULL.
    pub column: &'static str,
    /// Whether rows with this text are wanted.
    pub keep: Arc<dyn Fn(&str) -> bool + Send + Sync>,
}

impl fmt::Debug for Wanted {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Wanted")
            .field("column", &self.column)
            .finish_non_exhaustive()
    }
}

impl Wanted {
    fn of(&self, batch: &RecordBatch) -> Result<BooleanArray, ArrowError> {
        let column = batch
            .column_by_name(self.column)
            .and_then(|column| column.as_string_opt::<i32>())
            .ok_or_else(|| ArrowError::SchemaError(format!("no text column {}", self.column)))?;
        let keep = |text: Option<&str>| Some(text.is_some_and(|text| (self.keep)(text)));
        Ok(column.iter().map(keep).collect())
    }
}

/// Shows `visit` all rows of a table that are on the disk, in the order in which their segments were
/// begun and, within one, in which they were stored, until it breaks. A row that became durable
/// before the call is among them; one that becomes durable meanwhile may be.
///
/// # Errors
/// [`StoreError::Unreadable`] names the first file that could not be read. The others were all the
/// same.
pub fn read_table<T: Table>(
    trace_dir: &Path,
    wanted: Option<&Wanted>,
    mut visit: impl FnMut(T) -> ControlFlow<()>,
) -> Result<(), StoreError> {
    let mut segments: BTreeMap<String, SegmentFiles> = BTreeMap::new();
    for path in table_files(&trace_dir.join(T::NAME))? {
        match parse(&path) {
            Some(SegmentFile::Journal(names) | SegmentFile::Sealed(names)) => {
                segments.insert(names.segment().to_owned(), names);
            }
            Some(SegmentFile::Sealing) | None => {}
        }
    }
    let mut unreadable = None;
    for names in segments.values() {
        match read_segment(names, wanted, &mut visit) {
            Ok(ControlFlow::Continue(())) => {}
            Ok(ControlFlow::Break(())) => return Ok(()),
            Err(error) => unreadable = unreadable.or(Some(error)),
        }
    }
    match unreadable {
        None => Ok(()),
        Some(error) => Err(error),
    }
}

fn read_segment<T: Table>(
    names: &SegmentFiles,
    wanted: Option<&Wanted>,
    visit: &mut impl FnMut(T) -> ControlFlow<()>,
) -> Result<ControlFlow<()>, StoreError> {
    let sealed = names.sealed();
    if let Some(file) = open(&sealed)? {
        return read_sealed(file, wanted, visit).map_err(unreadable(&sealed));
    }
    let journal = names.journal();
    if let Some(file) = open(&journal)? {
        return read_journal(&file, wanted, visit).map_err(unreadable(&journal));
    }
    // The journal was sealed between the two looks.
    match open(&sealed)? {
        Some(file) => read_sealed(file, wanted, visit).map_err(unreadable(&sealed)),
        None => Ok(ControlFlow::Continue(())),
    }
}

fn open(path: &Path) -> Result<Option<File>, StoreError> {
    match File::open(path) {
        Ok(file) => Ok(Some(file)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(unreadable(path)(error.into())),
    }
}

fn unreadable(path: &Path) -> impl FnOnce(Failure) -> StoreError {
    move |error| StoreError::Unreadable {
        path: path.to_path_buf(),
        reason: error.to_string().into(),
    }
}

fn read_sealed<T: Table>(
    file: File,
    wanted: Option<&Wanted>,
    visit: &mut impl FnMut(T) -> ControlFlow<()>,
) -> Result<ControlFlow<()>, Failure> {
    let mut builder = ParquetRecordBatchReaderBuilder::try_new(file)?.with_batch_size(BATCH_ROWS);
    if let Some(wanted) = wanted.cloned() {
        // Only this column is read of rows that are not wanted.
        let column = ProjectionMask::columns(builder.parquet_schema(), [wanted.column]);
        let predicate = ArrowPredicateFn::new(column, move |batch| wanted.of(&batch));
        builder = builder.with_row_filter(RowFilter::new(vec![Box::new(predicate)]));
    }
    for batch in builder.build()? {
        if show(&batch?, visit)?.is_break() {
            return Ok(ControlFlow::Break(()));
        }
    }
    Ok(ControlFlow::Continue(()))
}

fn read_journal<T: Table>(
    file: &File,
    wanted: Option<&Wanted>,
    visit: &mut impl FnMut(T) -> ControlFlow<()>,
) -> Result<ControlFlow<()>, Failure> {
    let length = file.metadata()?.len();
    let mut journal = JournalReader::open(BufReader::new(file), length)?;
    while let Some(batch) = journal.next_batch()? {
        let batch = match wanted {
            Some(wanted) => filter_record_batch(&batch, &wanted.of(&batch)?)?,
            None => batch,
        };
        if show(&batch, visit)?.is_break() {
            return Ok(ControlFlow::Break(()));
        }
    }
    Ok(ControlFlow::Continue(()))
}

fn show<T: Table>(
    batch: &RecordBatch,
    visit: &mut impl FnMut(T) -> ControlFlow<()>,
) -> Result<ControlFlow<()>, Failure> {
    for row in read_rows::<T>(batch)? {
        if visit(row).is_break() {
            return Ok(ControlFlow::Break(()));
        }
    }
    Ok(ControlFlow::Continue(()))
}
