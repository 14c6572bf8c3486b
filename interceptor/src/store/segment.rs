//! A segment while it is written: its journal on the disk and what is not there yet.
//!
//! Bytes stay in memory until an fsync has succeeded. After a failed write or fsync nobody knows
//! what the disk holds beyond the last successful fsync (Linux marks pages clean that it could not
//! write), so the next attempt cuts the file there and writes the rest again: nothing accepted is
//! lost to a failure, and nothing is in the file twice.

use std::collections::HashMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Seek, SeekFrom};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::Instant;

use arrow::datatypes::Schema;
use arrow::error::ArrowError;
use arrow::record_batch::RecordBatch;
use cascade_proto::journal::Encoder;
use cascade_proto::tables::{Moment, SCHEMA_VERSION, metadata_keys};
use prometheus_client::metrics::histogram::Histogram;
use uuid::Uuid;

use super::files::Files;
use super::layout::{SegmentFiles, hour_of};
use super::metrics::{StoreMetrics, TableLabel};
use super::seal::SegmentContent;
use super::{Identity, Position};

/// What a new segment is to be.
pub(super) struct SegmentOrigin<'a> {
    pub(super) trace: &'a Path,
    pub(super) table: &'static str,
    pub(super) instance: &'a str,
    pub(super) producer: &'a str,
    pub(super) begun: Moment,
    pub(super) identity: Option<Identity>,
}

/// Something that cannot be written now.
#[derive(Debug)]
pub(super) enum SyncError {
    /// The system refused; the same data is tried again later.
    Io(io::Error),
    /// The journal, with durable rows in it, is not where it was.
    Vanished,
}

impl From<io::Error> for SyncError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// A table's segment that is not handed over for sealing yet.
pub(super) struct Segment {
    names: SegmentFiles,
    table: &'static str,
    hour: i64,
    /// History that the rows belong to, in tables that keep histories apart.
    identity: Option<Identity>,
    /// First message of the journal.
    header: Vec<u8>,
    file: Option<File>,
    /// Whether the name of the file is durable.
    name_is_durable: bool,
    /// Whether the file ends at `durable_bytes`.
    intact: bool,
    durable_bytes: u64,
    durable_rows: u64,
    durable_revisions: Option<(i64, i64)>,
    /// Messages of batches that no fsync has covered yet.
    unsynced: Vec<u8>,
    unsynced_rows: u64,
    unsynced_revisions: Option<(i64, i64)>,
    /// Last revision of `changes` among all rows.
    last: Option<Position>,
    /// Whether more rows may come.
    closed: bool,
    /// Calls that were lost while this segment was the open one.
    pub(super) dropped: u64,
}

impl Segment {
    /// Begins a segment in memory; the disk is first touched by [`Segment::sync`].
    pub(super) fn begin(
        origin: &SegmentOrigin<'_>,
        schema: &Schema,
        encoder: &Encoder,
    ) -> Result<Self, ArrowError> {
        let id = Uuid::now_v7();
        let mut metadata: HashMap<String, String> = [
            (metadata_keys::SCHEMA_VERSION, SCHEMA_VERSION.to_string()),
            (metadata_keys::TABLE, origin.table.to_owned()),
            (metadata_keys::PRODUCER, origin.producer.to_owned()),
            (metadata_keys::INSTANCE, origin.instance.to_owned()),
            (metadata_keys::SEGMENT, id.to_string()),
        ]
        .into_iter()
        .map(|(key, value)| (key.to_owned(), value))
        .collect();
        if let Some(identity) = &origin.identity {
            metadata.insert(
                metadata_keys::CLUSTER_ID.to_owned(),
                identity.cluster_id.clone(),
            );
        }
        let mut header = Vec::new();
        encoder.schema(
            &Schema::new_with_metadata(schema.fields().clone(), metadata),
            &mut header,
        )?;
        Ok(Self {
            names: SegmentFiles::new(
                origin.trace,
                origin.table,
                origin.instance,
                id,
                origin.begun,
            ),
            table: origin.table,
            hour: hour_of(origin.begun),
            identity: origin.identity.clone(),
            header,
            file: None,
            name_is_durable: false,
            intact: true,
            durable_bytes: 0,
            durable_rows: 0,
            durable_revisions: None,
            unsynced: Vec::new(),
            unsynced_rows: 0,
            unsynced_revisions: None,
            last: None,
            closed: false,
            dropped: 0,
        })
    }

    /// Adds a batch in memory. `revisions` are the lowest and highest among its rows.
    pub(super) fn push(
        &mut self,
        batch: &RecordBatch,
        revisions: Option<(i64, i64)>,
        last: Option<Position>,
        encoder: &mut Encoder,
    ) -> Result<(), ArrowError> {
        encoder.batch(batch, &mut self.unsynced)?;
        self.unsynced_rows += batch.num_rows() as u64;
        self.unsynced_revisions = widen(self.unsynced_revisions, revisions);
        self.last = last.or(self.last.take());
        Ok(())
    }

    /// Makes everything pushed so far durable.
    pub(super) fn sync(&mut self, files: &Files, metrics: &StoreMetrics) -> Result<(), SyncError> {
        if self.unsynced.is_empty() {
            return Ok(());
        }
        let _timer = Timer::start(&metrics.sync_seconds);
        let path = self.names.journal();
        if self.name_is_durable && !self.is_in_place(&path)? {
            return Err(SyncError::Vanished);
        }
        if !self.name_is_durable {
            files.create_folders(self.names.folder())?;
            self.file = Some(files.create_or_empty(&path)?);
            files.sync_folder(self.names.folder())?;
            self.name_is_durable = true;
        }
        let Some(file) = &mut self.file else {
            return Err(SyncError::Vanished); // not reached: a durable name has an open file
        };
        if !self.intact {
            files.cut(file, &path, self.durable_bytes)?;
            file.seek(SeekFrom::Start(self.durable_bytes))?;
        }
        self.intact = false;
        let mut written = self.unsynced.len() as u64;
        if self.durable_bytes == 0 {
            files.write(file, &path, &self.header)?;
            written += self.header.len() as u64;
        }
        files.write(file, &path, &self.unsynced)?;
        files.sync_file(file, &path)?;
        self.intact = true;

        self.durable_bytes += written;
        self.durable_rows += self.unsynced_rows;
        self.durable_revisions = widen(self.durable_revisions, self.unsynced_revisions);
        metrics.journal_bytes.inc_by(written);
        metrics
            .rows
            .get_or_create(&TableLabel { table: self.table })
            .inc_by(self.unsynced_rows);
        self.unsynced.clear();
        self.unsynced_rows = 0;
        self.unsynced_revisions = None;
        Ok(())
    }

    /// Whether the name still leads to the open file. An open file can be written to, and synced,
    /// long after somebody has removed it.
    fn is_in_place(&mut self, path: &Path) -> io::Result<bool> {
        let there = match fs::metadata(path) {
            Ok(there) => there,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
            Err(error) => return Err(error),
        };
        if let Some(file) = &self.file {
            let open = file.metadata()?;
            if (open.dev(), open.ino()) == (there.dev(), there.ino()) {
                return Ok(true);
            }
        }
        // The volume was mounted again: the same file, if it holds what was synced.
        if there.len() < self.durable_bytes {
            return Ok(false);
        }
        self.file = Some(OpenOptions::new().read(true).write(true).open(path)?);
        self.intact = false;
        Ok(true)
    }

    /// Gives the segment, whose journal has vanished, a new journal for what is still in memory.
    /// Returns what is lost.
    pub(super) fn replace_journal(&mut self, mut new: Self) -> SegmentContent {
        new.unsynced = std::mem::take(&mut self.unsynced);
        new.unsynced_rows = self.unsynced_rows;
        new.unsynced_revisions = self.unsynced_revisions;
        new.last = self.last.take();
        new.closed = self.closed;
        new.dropped = self.dropped;
        let lost = self.content();
        *self = new;
        lost
    }

    /// Ends the segment: no more rows.
    pub(super) fn close(&mut self) {
        self.closed = true;
    }

    pub(super) fn is_closed(&self) -> bool {
        self.closed
    }

    /// Whether the segment takes rows of this history at this time.
    pub(super) fn takes(&self, identity: Option<&Identity>, hour: i64) -> bool {
        !self.closed && self.hour == hour && self.identity.as_ref() == identity
    }

    pub(super) fn identity(&self) -> Option<&Identity> {
        self.identity.as_ref()
    }

    pub(super) fn hour(&self) -> i64 {
        self.hour
    }

    pub(super) fn names(&self) -> &SegmentFiles {
        &self.names
    }

    /// Rows, durable or not.
    pub(super) fn rows(&self) -> u64 {
        self.durable_rows + self.unsynced_rows
    }

    /// Bytes of batches, durable or not.
    pub(super) fn bytes(&self) -> u64 {
        self.durable_bytes + self.unsynced.len() as u64
    }

    /// Bytes of batches that are not durable.
    pub(super) fn unsynced_bytes(&self) -> usize {
        self.unsynced.len()
    }

    /// Length of the journal that is durable.
    pub(super) fn durable_bytes(&self) -> u64 {
        self.durable_bytes
    }

    /// What is durable.
    pub(super) fn content(&self) -> SegmentContent {
        SegmentContent {
            rows: self.durable_rows,
            identity: self.identity.clone(),
            revisions: self.durable_revisions,
        }
    }

    /// Last revision of `changes`; durable if everything is.
    pub(super) fn last(&self) -> Option<&Position> {
        self.last.as_ref()
    }
}

/// The smallest range that holds both.
pub(super) fn widen(one: Option<(i64, i64)>, other: Option<(i64, i64)>) -> Option<(i64, i64)> {
    match (one, other) {
        (Some((low, high)), Some((other_low, other_high))) => {
            Some((low.min(other_low), high.max(other_high)))
        }
        (range, None) | (None, range) => range,
    }
}

/// Observes the time until it is dropped.
pub(super) struct Timer {
    histogram: Histogram,
    start: Instant,
}

impl Timer {
    pub(super) fn start(histogram: &Histogram) -> Self {
        Self {
            histogram: histogram.clone(),
            start: Instant::now(),
        }
    }
}

impl Drop for Timer {
    fn drop(&mut self) {
        self.histogram.observe(self.start.elapsed().as_secs_f64());
    }
}
