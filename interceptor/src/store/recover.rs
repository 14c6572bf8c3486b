//! Finds what an earlier process left in the trace folder.
//!
//! Every journal is read and checked once, and cut after its last complete batch; sealing it is
//! left to the sealing thread, so that kube-apiserver gets its etcd back at once.

use std::fs::File;
use std::io::BufReader;
use std::path::{Path, PathBuf};

use arrow::record_batch::RecordBatch;
use cascade_proto::journal::{JournalError, JournalReader};
use cascade_proto::tables::{
    Change, Moment, ReadError, SCHEMA_VERSION, Table, metadata_keys, raw_tables, read_rows,
};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

use super::files::Files;
use super::folder::{Folder, NewestChanges, modified};
use super::layout::{SegmentFile, SegmentFiles, parse};
use super::listing::table_files;
use super::seal::{SealJob, SegmentContent};
use super::{Recovered, StoreError};

/// What is to be done and known before the store goes on.
pub(super) struct Recovery {
    pub(super) recovered: Recovered,
    pub(super) newest: Option<NewestChanges>,
    /// Journals to be sealed, oldest first.
    pub(super) jobs: Vec<SealJob>,
}

/// Looks through the trace folder.
pub(super) fn recover(folder: &Folder, files: &Files) -> Result<Recovery, StoreError> {
    let mut scan = Scan {
        files,
        jobs: Vec::new(),
        sealed_changes: Vec::new(),
        leftover_changes: Vec::new(),
        last_change: None,
        last_write: folder.checkpoint_time(),
    };
    for table in raw_tables() {
        scan.table(&folder.root().join(table.name), table.name)?;
    }
    scan.jobs
        .sort_by(|one, other| one.names.segment().cmp(other.names.segment()));

    let checkpoint = folder.checkpoint()?;
    let newest = folder.newest_changes()?;
    // Sealed files that can hold the last change: the one noted as newest, and those whose journal
    // was still there. Without a usable note, any.
    let noted = newest
        .as_ref()
        .map(|newest| folder.root().join(&newest.file))
        .filter(|path| path.is_file());
    let candidates = match noted {
        Some(path) => {
            let mut candidates = scan.leftover_changes.clone();
            candidates.push(path);
            candidates
        }
        None => scan.sealed_changes.clone(),
    };
    for path in &candidates {
        scan.consider(last_sealed_change(path));
    }
    let interrupted = folder.interrupted();
    let last_alive = if interrupted {
        scan.last_write.max(folder.previous_time())
    } else {
        folder.previous_time()
    };
    Ok(Recovery {
        recovered: Recovered {
            checkpoint,
            last_change: scan.last_change,
            interrupted,
            last_alive,
        },
        newest,
        jobs: scan.jobs,
    })
}

struct Scan<'a> {
    files: &'a Files,
    jobs: Vec<SealJob>,
    sealed_changes: Vec<PathBuf>,
    /// Sealed files of `changes` whose journal had not been removed yet.
    leftover_changes: Vec<PathBuf>,
    last_change: Option<Change>,
    last_write: Option<Moment>,
}

impl Scan<'_> {
    fn table(&mut self, folder: &Path, table: &'static str) -> Result<(), StoreError> {
        let mut newest_sealed: Option<SegmentFiles> = None;
        for path in table_files(folder)? {
            match parse(&path) {
                Some(SegmentFile::Journal(names)) => self.journal(names, table)?,
                Some(SegmentFile::Sealing) => self
                    .files
                    .remove(&path)
                    .map_err(StoreError::io("remove", &path))?,
                Some(SegmentFile::Sealed(names)) => {
                    if table == Change::NAME {
                        self.sealed_changes.push(path);
                    }
                    if newest_sealed
                        .as_ref()
                        .is_none_or(|newest| newest.segment() < names.segment())
                    {
                        newest_sealed = Some(names);
                    }
                }
                None => {}
            }
        }
        match newest_sealed {
            Some(names) => check_version_of_sealed(&names.sealed()),
            None => Ok(()),
        }
    }

    fn journal(&mut self, names: SegmentFiles, table: &'static str) -> Result<(), StoreError> {
        let path = names.journal();
        self.last_write = self.last_write.max(modified(&path));
        if names.sealed().is_file() {
            if table == Change::NAME {
                self.leftover_changes.push(names.sealed());
            }
            return self
                .files
                .remove(&path)
                .map_err(StoreError::io("remove", &path));
        }
        let file = File::options()
            .read(true)
            .write(true)
            .open(&path)
            .map_err(StoreError::io("open", &path))?;
        let length = file
            .metadata()
            .map_err(StoreError::io("look at", &path))?
            .len();
        let content = match read_journal(&file, length, table, &path)? {
            Ok(content) => content,
            Err(error) => {
                let aside = names.damaged();
                tracing::error!(journal = %path.display(), %error, kept_as = %aside.display(), "a journal was written by a program this one does not know; going on without it");
                return self
                    .files
                    .rename(&path, &aside)
                    .map_err(StoreError::io("rename", &path));
            }
        };
        if content.rows == 0 {
            return self
                .files
                .remove(&path)
                .map_err(StoreError::io("remove", &path));
        }
        if content.good < length {
            tracing::info!(journal = %path.display(), kept = content.good, cut = length - content.good, "a journal ends in the middle of a write; cut after its last complete batch");
            self.files
                .cut(&file, &path, content.good)
                .and_then(|()| self.files.sync_file(&file, &path))
                .map_err(StoreError::io("cut", &path))?;
        }
        self.consider(content.last_change);
        self.jobs.push(SealJob {
            names,
            table,
            length: content.good,
            content: SegmentContent {
                rows: content.rows,
                identity: None,
                revisions: None,
            },
            dropped: None,
        });
        Ok(())
    }

    /// Keeps the later of two changes. Of different clusters the one seen later counts.
    fn consider(&mut self, change: Option<Change>) {
        let Some(change) = change else { return };
        let later = match &self.last_change {
            None => true,
            Some(last) if last.cluster_id == change.cluster_id => {
                (last.epoch, last.revision, last.ordinal)
                    < (change.epoch, change.revision, change.ordinal)
            }
            Some(last) => last.seen < change.seen,
        };
        if later {
            self.last_change = Some(change);
        }
    }
}

struct JournalContent {
    rows: u64,
    good: u64,
    last_change: Option<Change>,
}

/// Reads a journal to its end, or to where it is torn. The inner error is that of a journal which
/// is whole and makes no sense.
fn read_journal(
    file: &File,
    length: u64,
    table: &str,
    path: &Path,
) -> Result<Result<JournalContent, JournalError>, StoreError> {
    let read = || {
        let mut journal = JournalReader::open(BufReader::new(file), length)?;
        let version = journal.schema().and_then(|schema| {
            schema
                .metadata()
                .get(metadata_keys::SCHEMA_VERSION)
                .cloned()
        });
        let mut content = JournalContent {
            rows: 0,
            good: 0,
            last_change: None,
        };
        let mut last = None;
        while let Some(batch) = journal.next_batch()? {
            content.rows += batch.num_rows() as u64;
            last = Some(batch);
        }
        if table == Change::NAME
            && let Some(batch) = last
        {
            content.last_change = last_row(&batch)?;
        }
        content.good = journal.good();
        Ok((version, content))
    };
    match read() {
        Ok((version, content)) => {
            check_version(path, version.as_deref())?;
            Ok(Ok(content))
        }
        Err(JournalError::Io(error)) => Err(StoreError::io("read", path)(error)),
        Err(error) => Ok(Err(error)),
    }
}

fn last_row(batch: &RecordBatch) -> Result<Option<Change>, ReadError> {
    let Some(last) = batch.num_rows().checked_sub(1) else {
        return Ok(None);
    };
    Ok(read_rows::<Change>(&batch.slice(last, 1))?
        .into_iter()
        .next())
}

/// The last row of a sealed file. One that cannot be read is left out: it was complete when it got
/// its name, so the disk is damaged, and `cascade verify` tells.
fn last_sealed_change(path: &Path) -> Option<Change> {
    let read = || match read_last_row(path)? {
        Some(batch) => Ok(last_row(&batch)?),
        None => Ok::<_, Box<dyn std::error::Error>>(None),
    };
    read().unwrap_or_else(|error| {
        tracing::error!(file = %path.display(), %error, "cannot read a sealed file");
        None
    })
}

fn read_last_row(path: &Path) -> Result<Option<RecordBatch>, Box<dyn std::error::Error>> {
    let builder = ParquetRecordBatchReaderBuilder::try_new(File::open(path)?)?;
    let groups = builder.metadata().row_groups();
    let Some((last, group)) = groups.iter().enumerate().next_back() else {
        return Ok(None);
    };
    let rows = usize::try_from(group.num_rows())?;
    let reader = builder
        .with_row_groups(vec![last])
        .with_offset(rows.saturating_sub(1))
        .build()?;
    Ok(reader.last().transpose()?)
}

fn check_version_of_sealed(path: &Path) -> Result<(), StoreError> {
    let file = File::open(path).map_err(StoreError::io("open", path))?;
    let builder = match ParquetRecordBatchReaderBuilder::try_new(file) {
        Ok(builder) => builder,
        Err(error) => {
            tracing::error!(file = %path.display(), %error, "cannot read a sealed file");
            return Ok(());
        }
    };
    let version = builder
        .metadata()
        .file_metadata()
        .key_value_metadata()
        .and_then(|entries| {
            entries
                .iter()
                .find(|entry| entry.key == metadata_keys::SCHEMA_VERSION)
        })
        .and_then(|entry| entry.value.as_deref());
    check_version(path, version)
}

fn check_version(path: &Path, version: Option<&str>) -> Result<(), StoreError> {
    match version.and_then(|version| version.parse().ok()) {
        Some(found) if found > SCHEMA_VERSION => Err(StoreError::NewerSchema {
            path: path.to_path_buf(),
            found,
            supported: SCHEMA_VERSION,
        }),
        _ => Ok(()),
    }
}
