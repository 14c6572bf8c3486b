//! Turns finished journals into Parquet, on a thread of its own.
//!
//! The order of steps makes every moment safe: the Parquet file is complete and durable before it
//! gets its name, and has its name before the journal goes. Where both exist, the sealed file wins.

use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use arrow::array::{Array, AsArray};
use arrow::datatypes::{Int32Type, Int64Type, SchemaRef};
use arrow::record_batch::RecordBatch;
use cascade_proto::tables::{Change, Gap, GapKind, Table, metadata_keys};
use parquet::arrow::ArrowWriter;
use parquet::errors::ParquetError;
use parquet::file::metadata::KeyValue;
use thiserror::Error;

use super::columns::{order_columns, revision_column, writer_properties};
use super::files::{Files, NewFile};
use super::folder::{NewestChanges, write_newest_changes};
use super::journal::{JournalError, JournalReader, plain_schema};
use super::layout::SegmentFiles;
use super::losses::Losses;
use super::metrics::StoreMetrics;
use super::segment::{Timer, widen};

/// Pause after a failed attempt.
const RETRY_AFTER: Duration = Duration::from_secs(10);
/// Pause between log lines about failing attempts.
const LOG_AGAIN_AFTER: Duration = Duration::from_secs(300);

/// A journal to be sealed.
#[derive(Debug, Clone)]
pub(super) struct SealJob {
    pub(super) names: SegmentFiles,
    pub(super) table: &'static str,
    /// Bytes of the journal that are durable; nothing after them counts.
    pub(super) length: u64,
    /// Rows in them, where it is known.
    pub(super) rows: Option<u64>,
    /// Calls that were lost while the segment was open, where it is known.
    pub(super) dropped: Option<u64>,
}

/// Why a journal could not be sealed now; it stays, and is tried again.
#[derive(Debug, Error)]
enum SealError {
    #[error("{0}")]
    Io(#[from] io::Error),
    #[error("{0}")]
    Journal(#[from] JournalError),
    #[error("cannot write Parquet: {0}")]
    Parquet(#[from] ParquetError),
}

/// The thread that seals.
pub(super) struct Sealer {
    jobs: Sender<SealJob>,
    thread: JoinHandle<usize>,
    metrics: StoreMetrics,
}

impl Sealer {
    /// Starts the thread.
    pub(super) fn start(
        files: Files,
        root: PathBuf,
        newest: Option<NewestChanges>,
        losses: Arc<Losses>,
        metrics: StoreMetrics,
    ) -> io::Result<Self> {
        let (jobs, receiver) = channel();
        let worker = Worker {
            files,
            root,
            losses,
            metrics: metrics.clone(),
            newest,
            last_logged: None,
        };
        let thread = std::thread::Builder::new()
            .name("cascade-seal".to_owned())
            .spawn(move || worker.run(&receiver))?;
        Ok(Self {
            jobs,
            thread,
            metrics,
        })
    }

    /// Hands over a journal; jobs are done in this order unless one fails.
    pub(super) fn submit(&self, job: SealJob) {
        self.metrics.unsealed_segments.inc();
        if self.jobs.send(job).is_err() {
            // The journal stays where it is and is sealed at the next start.
            tracing::error!("the sealing thread is gone; journals are sealed at the next start");
        }
    }

    /// Waits until everything handed over was tried at least once; returns how many journals could
    /// not be sealed. They are sealed at the next start.
    pub(super) fn finish(self) -> usize {
        drop(self.jobs);
        self.thread.join().unwrap_or(1)
    }
}

struct Worker {
    files: Files,
    root: PathBuf,
    losses: Arc<Losses>,
    metrics: StoreMetrics,
    newest: Option<NewestChanges>,
    last_logged: Option<Instant>,
}

impl Worker {
    fn run(mut self, jobs: &Receiver<SealJob>) -> usize {
        let mut failed: Vec<SealJob> = Vec::new();
        loop {
            let received = if failed.is_empty() {
                jobs.recv().map_err(|_| RecvTimeoutError::Disconnected)
            } else {
                jobs.recv_timeout(RETRY_AFTER)
            };
            match received {
                Ok(job) => {
                    if !self.attempt(&job) {
                        failed.push(job);
                    }
                }
                Err(RecvTimeoutError::Timeout) => failed.retain(|job| !self.attempt(job)),
                Err(RecvTimeoutError::Disconnected) => {
                    failed.retain(|job| !self.attempt(job));
                    return failed.len();
                }
            }
        }
    }

    /// Whether the job is done.
    fn attempt(&mut self, job: &SealJob) -> bool {
        let _timer = Timer::start(&self.metrics.seal_seconds);
        match self.seal(job) {
            Ok(()) => {
                self.metrics.unsealed_segments.dec();
                true
            }
            Err(error) => {
                self.metrics.failed("seal");
                if self
                    .last_logged
                    .is_none_or(|last| last.elapsed() >= LOG_AGAIN_AFTER)
                {
                    self.last_logged = Some(Instant::now());
                    tracing::error!(journal = %job.names.journal().display(), %error, "cannot seal a journal; it is kept and tried again");
                }
                false
            }
        }
    }

    fn seal(&mut self, job: &SealJob) -> Result<(), SealError> {
        let names = &job.names;
        let Some(summary) = Summary::read(job)? else {
            if !names.sealed().is_file() {
                self.report_loss(job, None);
            }
            return Ok(());
        };
        // An earlier attempt may have got as far as giving the file its name.
        if summary.rows > 0 && !names.sealed().is_file() {
            self.write(job, &summary)?;
        }
        self.note_newest(job, &summary)?;
        if job.rows.is_none_or(|rows| rows == summary.rows) {
            self.files.remove(&names.journal())?;
        } else {
            self.files.rename(&names.journal(), &names.damaged())?;
            self.report_loss(job, Some(&summary));
        }
        Ok(())
    }

    fn write(&self, job: &SealJob, summary: &Summary) -> Result<(), SealError> {
        let names = &job.names;
        let sorted_by = if summary.sorted {
            order_columns(job.table)
        } else {
            &[]
        };
        let properties = writer_properties(
            &summary.schema,
            sorted_by,
            summary.footer(job.table, job.dropped),
        )?;
        let file = NewFile::create(&self.files, names.sealing())?;
        let mut writer = ArrowWriter::try_new(file, Arc::clone(&summary.schema), Some(properties))?;
        let Some(mut journal) = open_journal(job)? else {
            return Err(io::Error::from(io::ErrorKind::NotFound).into());
        };
        while let Some(batch) = journal.next()? {
            let plain = RecordBatch::try_new(Arc::clone(&summary.schema), batch.columns().to_vec())
                .map_err(JournalError::from)?;
            writer.write(&plain)?;
        }
        let file = writer.into_inner()?;
        file.publish(&names.sealed())?;
        if let Ok(metadata) = names.sealed().metadata() {
            self.metrics.sealed_bytes.inc_by(metadata.len());
        }
        Ok(())
    }

    /// Notes the newest sealed changes, before the journal that leads to them goes.
    fn note_newest(&mut self, job: &SealJob, summary: &Summary) -> io::Result<()> {
        let (Some(cluster_id), Some((epoch, revision))) = (&summary.cluster_id, summary.newest)
        else {
            return Ok(());
        };
        let sealed = job.names.sealed();
        let newest = NewestChanges {
            file: sealed
                .strip_prefix(&self.root)
                .unwrap_or(&sealed)
                .to_owned(),
            cluster_id: cluster_id.clone(),
            epoch,
            revision,
        };
        // Journals are not always sealed in the order in which they were written.
        if self
            .newest
            .as_ref()
            .is_some_and(|noted| noted.is_after(&newest))
        {
            return Ok(());
        }
        write_newest_changes(&self.files, &self.root, &newest)?;
        self.newest = Some(newest);
        Ok(())
    }

    /// Tells of rows that were durable and cannot be read any more.
    fn report_loss(&self, job: &SealJob, read: Option<&Summary>) {
        let Some(rows) = job.rows else { return };
        let lost = rows.saturating_sub(read.map_or(0, |summary| summary.rows));
        tracing::error!(journal = %job.names.journal().display(), lost, "rows of a journal cannot be read any more");
        let after = read.and_then(|summary| summary.revisions);
        self.losses.segment(Gap {
            cluster_id: read.and_then(|summary| summary.cluster_id.clone()),
            epoch: None,
            instance: String::new(),
            kind: GapKind::Storage,
            covers_revisions: job.table == Change::NAME,
            from_revision: after.map(|(_, last)| last + 1),
            to_revision: None,
            count: Some(i64::try_from(lost).unwrap_or(i64::MAX)),
            from: None,
            to: None,
            detail: Some(format!(
                "{lost} rows of {} in segment {} were removed or damaged on the disk",
                job.table,
                job.names.segment()
            )),
        });
    }
}

/// Opens the durable part of a journal; `None` when there is no such file.
fn open_journal(job: &SealJob) -> Result<Option<JournalReader<impl Read>>, JournalError> {
    match File::open(job.names.journal()) {
        Ok(file) => JournalReader::open(BufReader::new(file), job.length).map(Some),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// What has to be known before the first row is written.
struct Summary {
    schema: SchemaRef,
    metadata: Vec<(String, String)>,
    rows: u64,
    revisions: Option<(i64, i64)>,
    /// The one cluster that all rows are of.
    cluster_id: Option<String>,
    several_clusters: bool,
    /// Whether the rows are in the order that the table promises.
    sorted: bool,
    last: Option<(i32, i64, i32)>,
    /// In `changes`: the highest epoch and revision.
    newest: Option<(i32, i64)>,
}

impl Summary {
    /// Reads the journal once, without copying; `None` when there is no such file.
    fn read(job: &SealJob) -> Result<Option<Self>, SealError> {
        let Some(mut journal) = open_journal(job)? else {
            return Ok(None);
        };
        let schema = journal
            .schema()
            .unwrap_or_else(|| Arc::new(arrow::datatypes::Schema::empty()));
        let mut metadata: Vec<(String, String)> = schema.metadata().clone().into_iter().collect();
        metadata.sort();
        let mut summary = Self {
            schema: plain_schema(&schema),
            metadata,
            rows: 0,
            revisions: None,
            cluster_id: None,
            several_clusters: false,
            sorted: !order_columns(job.table).is_empty(),
            last: None,
            newest: None,
        };
        while let Some(batch) = journal.next()? {
            summary.add(job.table, &batch);
        }
        Ok(Some(summary))
    }

    fn add(&mut self, table: &str, batch: &RecordBatch) {
        self.rows += batch.num_rows() as u64;
        if let Some(revisions) = revision_column(table)
            .and_then(|name| batch.column_by_name(name))
            .and_then(|column| column.as_primitive_opt::<Int64Type>().cloned())
        {
            let low = arrow::compute::min(&revisions);
            let high = arrow::compute::max(&revisions);
            self.revisions = widen(self.revisions, low.zip(high));
        }
        if let Some(clusters) = batch
            .column_by_name("cluster_id")
            .and_then(|column| column.as_string_opt::<i32>())
        {
            for cluster in clusters.iter().flatten() {
                match &self.cluster_id {
                    None => self.cluster_id = Some(cluster.to_owned()),
                    Some(known) => self.several_clusters |= known != cluster,
                }
            }
        }
        if table == Change::NAME {
            self.sorted &= self.continues_in_order(batch);
        }
    }

    /// Whether epoch, revision and ordinal rise from row to row.
    fn continues_in_order(&mut self, batch: &RecordBatch) -> bool {
        let int32 = |name| {
            batch
                .column_by_name(name)
                .and_then(|column| column.as_primitive_opt::<Int32Type>())
        };
        let revision = batch
            .column_by_name("revision")
            .and_then(|column| column.as_primitive_opt::<Int64Type>());
        let (Some(epoch), Some(revision), Some(ordinal)) =
            (int32("epoch"), revision, int32("ordinal"))
        else {
            return false;
        };
        if epoch.null_count() + revision.null_count() + ordinal.null_count() > 0 {
            return false;
        }
        let mut rises = true;
        let rows = epoch.values().iter().zip(revision.values().iter());
        for ((epoch, revision), ordinal) in rows.zip(ordinal.values().iter()) {
            let place = (*epoch, *revision, *ordinal);
            rises &= self.last.is_none_or(|last| last < place);
            self.last = Some(place);
            self.newest = self.newest.max(Some((*epoch, *revision)));
        }
        rises
    }

    /// The footer's metadata: the journal's, and what is known only now.
    fn footer(&self, table: &str, dropped: Option<u64>) -> Vec<KeyValue> {
        let mut footer: Vec<KeyValue> = self
            .metadata
            .iter()
            .filter(|(key, _)| key != metadata_keys::CLUSTER_ID)
            .map(|(key, value)| KeyValue::new(key.clone(), value.clone()))
            .collect();
        let mut add = |key: &str, value: Option<String>| {
            if let Some(value) = value {
                footer.push(KeyValue::new(key.to_owned(), value));
            }
        };
        let cluster_id = self.cluster_id.clone().filter(|_| !self.several_clusters);
        add(metadata_keys::CLUSTER_ID, cluster_id);
        add(
            metadata_keys::FIRST_REVISION,
            self.revisions.map(|(first, _)| first.to_string()),
        );
        add(
            metadata_keys::LAST_REVISION,
            self.revisions.map(|(_, last)| last.to_string()),
        );
        if table == cascade_proto::tables::Call::NAME {
            add(
                metadata_keys::DROPPED,
                dropped.map(|dropped| dropped.to_string()),
            );
        }
        footer
    }
}
