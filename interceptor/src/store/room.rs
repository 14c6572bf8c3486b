//! Room in the queue of rows that wait for the writer.

use std::sync::Arc;

use prometheus_client::metrics::gauge::Gauge;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Room for rows in the queue, so many of them and so many bytes.
#[derive(Debug, Clone)]
pub(super) struct Room {
    pub(super) free: Arc<Semaphore>,
    size: u32,
    /// Bytes that go with one permit.
    unit: usize,
}

impl Room {
    pub(super) fn new(rows: u32, bytes: usize) -> Self {
        let size = rows.max(1);
        Self {
            free: Arc::new(Semaphore::new(size as usize)),
            size,
            unit: (bytes / size as usize).max(1),
        }
    }

    /// Permits for rows: one for each, or more where they are large. An append larger than the
    /// queue takes all of it.
    pub(super) fn permits(&self, rows: usize, bytes: usize) -> u32 {
        let permits = rows.max(bytes.div_ceil(self.unit));
        u32::try_from(permits).unwrap_or(u32::MAX).min(self.size)
    }

    /// Whether half of it is free.
    pub(super) fn is_half_free(&self) -> bool {
        self.free.available_permits() >= self.size as usize / 2
    }
}

/// A place in the queue; free again when it is dropped.
#[derive(Debug)]
pub(super) struct Place {
    pub(super) bytes: usize,
    queued_bytes: Gauge,
    _permit: OwnedSemaphorePermit,
}

impl Place {
    pub(super) fn new(bytes: usize, queued_bytes: Gauge, permit: OwnedSemaphorePermit) -> Self {
        queued_bytes.inc_by(gauge(bytes));
        Self {
            bytes,
            queued_bytes,
            _permit: permit,
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.queued_bytes.dec_by(gauge(self.bytes));
    }
}

/// A number of rows or bytes as gauges count.
pub(super) fn gauge(number: usize) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}
