//! Turns finished journals into Parquet, on a thread of its own.
//!
//! The order of steps makes every moment safe: the Parquet file is complete and durable before it
//! gets its name, and has its name before the journal goes. Where both exist, the sealed file wins.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use arrow::record_batch::RecordBatch;
use parquet::arrow::ArrowWriter;
use parquet::errors::ParquetError;
use thiserror::Error;

use super::Identity;
use super::columns::{order_columns, writer_properties};
use super::files::{Files, NewFile};
use super::folder::{NewestChanges, write_newest_changes};
use super::layout::SegmentFiles;
use super::losses::{Losses, lost_rows};
use super::metrics::StoreMetrics;
use super::segment::Timer;
use super::summary::{Summary, open_journal};
use super::table::Settings;
use cascade_proto::journal::JournalError;

/// Pause after a failed attempt.
const RETRY_AFTER: Duration = Duration::from_secs(10);
/// Pause between log lines about failing attempts.
const LOG_AGAIN_AFTER: Duration = Duration::from_secs(300);

/// Niceness of the sealing thread, where 0 is normal and 19 the lowest priority.
const SEALING_NICENESS: i32 = 10;

/// A journal to be sealed.
#[derive(Debug, Clone)]
pub(super) struct SealJob {
    pub(super) names: SegmentFiles,
    pub(super) table: &'static str,
    /// Bytes of the journal that are durable; nothing after them counts.
    pub(super) length: u64,
    /// What is in them, as far as it is known.
    pub(super) content: SegmentContent,
    /// Calls that were lost while the segment was open, where it is known.
    pub(super) dropped: Option<u64>,
}

/// What a segment was given to keep.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct SegmentContent {
    pub(super) rows: u64,
    pub(super) identity: Option<Identity>,
    /// Lowest and highest.
    pub(super) revisions: Option<(i64, i64)>,
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
    /// Starts the thread. `newest` is what is noted of the newest sealed changes.
    pub(super) fn start(
        settings: &Settings,
        newest: Option<NewestChanges>,
        losses: Arc<Losses>,
    ) -> io::Result<Self> {
        let (jobs, receiver) = channel();
        let worker = Worker {
            files: settings.files.clone(),
            root: settings.trace.clone(),
            instance: settings.instance.clone(),
            losses,
            metrics: settings.metrics.clone(),
            newest,
            last_logged: None,
        };
        let thread = std::thread::Builder::new()
            .name("cascade-seal".to_owned())
            .spawn(move || {
                yield_to_traffic();
                worker.run(&receiver)
            })?;
        Ok(Self {
            jobs,
            thread,
            metrics: settings.metrics.clone(),
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

/// Lets everything else go first: sealing is never urgent, and compression takes a whole core for
/// seconds, which traffic may need. On Linux this concerns the calling thread only.
fn yield_to_traffic() {
    if let Err(error) = rustix::process::setpriority_process(None, SEALING_NICENESS) {
        tracing::debug!(%error, "sealing runs at normal priority");
    }
}

struct Worker {
    files: Files,
    root: PathBuf,
    instance: String,
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
        let Some(summary) = Summary::read(&names.journal(), job.length, job.table)? else {
            if !names.sealed().is_file() {
                self.report_loss(job, None);
            }
            return Ok(());
        };
        // An earlier attempt may have got as far as giving the file its name.
        if summary.rows > 0 && !names.sealed().is_file() {
            self.write(job, &summary).inspect_err(|_| {
                // The disk may be full; what is of no use must not keep it so.
                let _ = self.files.remove(&names.sealing());
            })?;
        }
        self.note_newest(job, &summary)?;
        if summary.rows == job.content.rows {
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
        let Some(mut journal) = open_journal(&names.journal(), job.length)? else {
            return Err(io::Error::from(io::ErrorKind::NotFound).into());
        };
        while let Some(batch) = journal.next_batch()? {
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
        let content = &job.content;
        let rows = content
            .rows
            .saturating_sub(read.map_or(0, |summary| summary.rows));
        tracing::error!(journal = %job.names.journal().display(), rows, "rows of a journal cannot be read any more");
        // What was read is a prefix.
        let revisions = content.revisions.map(|(first, last)| {
            let read_to = read.and_then(|summary| summary.revisions);
            let after = read_to.map_or(first, |(_, read_to)| read_to.saturating_add(1));
            (after, last)
        });
        self.losses.segment(lost_rows(
            job.table,
            &self.instance,
            content.identity.as_ref(),
            rows,
            revisions,
        ));
    }
}
