//! The streams of one connection: mutating calls that have not ended.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use uuid::Uuid;

use crate::clock::Reading;
use crate::decode::SharedHashKey;

use super::budget::Budget;
use super::call::{End, OpenCall, Place, Progress};
use super::direction::Direction;
use super::hpack::Name;
use super::metadata::Metadata;
use super::methods::Method;
use super::{Observation, ObserverMetrics};

/// Mutating calls that are followed at the same time on one connection; more are missed.
pub(super) const MAX_OPEN_CALLS: usize = 10_000;
/// Missed calls are reported at once, then at most this often.
const MISSED_INTERVAL: Duration = Duration::from_secs(10);

/// Capacity for decoding header strings that is kept between calls, bytes.
const KEPT_SCRATCH: usize = 1024;

/// Calls that were missed since the last report.
#[derive(Debug, Clone, Copy)]
struct Missed {
    count: i64,
    reason: &'static str,
    from: Reading,
    to: Reading,
}

/// What both directions share.
#[derive(Debug)]
pub(super) struct Streams {
    connection: i64,
    instance: Arc<str>,
    pub(super) hash_key: SharedHashKey,
    pub(super) hash_secrets: bool,
    /// Makes call ids unique over connections and restarts; made when the first is needed.
    id: Option<Uuid>,
    pub(super) budget: Budget,
    pub(super) metrics: ObserverMetrics,
    pub(super) from_client: Direction,
    pub(super) from_server: Direction,
    /// Highest stream the client opened: a HEADERS frame above it opens another.
    pub(super) highest_stream: u32,
    /// Open calls of mutating methods, by stream.
    pub(super) calls: BTreeMap<u32, Box<OpenCall>>,
    /// For decoding header strings.
    pub(super) scratch: Vec<u8>,
    missed: Option<Missed>,
    missed_reported: Option<Reading>,
}

impl Streams {
    /// No stream yet.
    pub(super) fn new(
        connection: i64,
        instance: Arc<str>,
        hash_key: SharedHashKey,
        metrics: ObserverMetrics,
    ) -> Self {
        Self {
            connection,
            instance,
            hash_key,
            hash_secrets: false,
            id: None,
            budget: Budget::new(metrics.clone()),
            metrics,
            from_client: Direction::default(),
            from_server: Direction::default(),
            highest_stream: 0,
            calls: BTreeMap::new(),
            scratch: Vec::new(),
            missed: None,
            missed_reported: None,
        }
    }

    /// A call begins.
    pub(super) fn open(
        &mut self,
        stream: u32,
        method: Method,
        metadata: Metadata,
        now: Reading,
        out: &mut Vec<Observation>,
    ) {
        self.scratch.shrink_to(KEPT_SCRATCH); // a no-op unless a value was very long
        for name in &metadata.malformed {
            self.metrics.count_malformed(match name {
                Name::GrpcTimeout => "grpc-timeout",
                Name::Traceparent => "traceparent",
                _ => "baggage",
            });
        }
        if metadata.cpid().is_err() {
            self.metrics.count_malformed("cpid");
        }
        if self.calls.len() >= MAX_OPEN_CALLS {
            self.miss("too many open calls", now, out);
            return;
        }
        let Some(call) = OpenCall::open(method, metadata, now, &mut self.budget) else {
            self.miss("open calls take too much memory", now, out);
            return;
        };
        self.metrics.open_calls.inc();
        self.calls.insert(stream, Box::new(call));
    }

    /// Leaves a call without a row.
    pub(super) fn forget(&mut self, stream: u32) -> Option<Box<OpenCall>> {
        let mut call = self.calls.remove(&stream)?;
        call.release(&mut self.budget);
        self.metrics.open_calls.dec();
        Some(call)
    }

    /// A call ended.
    pub(super) fn end(&mut self, stream: u32, end: End, now: Reading, out: &mut Vec<Observation>) {
        let Some(call) = self.forget(stream) else {
            return;
        };
        let id = self.id.get_or_insert_with(Uuid::now_v7);
        let place = Place {
            call_id: &format!("{id}-{stream}"),
            instance: &self.instance,
            connection: self.connection,
            stream,
        };
        let rows = call.into_rows(end, now, place);
        if let Some(last) = rows.last() {
            self.metrics.count_call(last);
            out.push(Observation::Call(rows));
        }
    }

    /// Nothing more will be seen of any call.
    pub(super) fn end_all(&mut self, now: Reading, out: &mut Vec<Observation>) {
        while let Some((stream, _)) = self.calls.first_key_value() {
            self.end(*stream, End::Lost, now, out);
        }
        self.from_client.give_up_block(&mut self.budget);
        self.from_server.give_up_block(&mut self.budget);
        self.report_missed(now, out);
    }

    /// Counts a call that may have been mutating and cannot be followed.
    pub(super) fn miss(&mut self, reason: &'static str, now: Reading, out: &mut Vec<Observation>) {
        self.metrics.count_missed(reason);
        let missed = self.missed.get_or_insert(Missed {
            count: 0,
            reason,
            from: now,
            to: now,
        });
        missed.count += 1;
        missed.to = now;
        let since_report = self
            .missed_reported
            .map(|reported| now.instant.saturating_duration_since(reported.instant));
        if since_report.is_none_or(|since| since >= MISSED_INTERVAL) {
            self.report_missed(now, out);
        }
    }

    fn report_missed(&mut self, now: Reading, out: &mut Vec<Observation>) {
        let Some(Missed {
            count,
            reason,
            from,
            to,
        }) = self.missed.take()
        else {
            return;
        };
        self.missed_reported = Some(now);
        out.push(Observation::Missed {
            count,
            reason,
            from: from.moment,
            to: to.moment,
        });
    }

    /// Counts a message that could not be read.
    pub(super) fn count_opaque(&self, progress: Progress) {
        if let Progress::Opaque(opaque) = progress {
            self.metrics.count_opaque(opaque.label());
        }
    }
}

impl Drop for Streams {
    fn drop(&mut self) {
        self.metrics
            .open_calls
            .dec_by(i64::try_from(self.calls.len()).unwrap_or(i64::MAX));
    }
}
