//! From a request and its answer to rows of `calls`.

use std::sync::Arc;

use cascade_proto::tables::{Branch, Call, CallOutcome, CallShape, Moment};

use crate::clock::Reading;

use super::answer::{self, Answer, Effect};
use super::budget::Budget;
use super::grpc::{Assembler, Opaque};
use super::metadata::Metadata;
use super::methods::Method;
use super::request::{self, Operation, Transaction, ValueHasher, Write, may_write};

/// gRPC status codes that etcd gives only to calls that it did not carry out: INVALID_ARGUMENT,
/// NOT_FOUND, ALREADY_EXISTS, PERMISSION_DENIED, FAILED_PRECONDITION, OUT_OF_RANGE, UNIMPLEMENTED,
/// UNAUTHENTICATED.
///
/// The others leave it open: a proposal that timed out or lost its leader may still be applied
/// (DEADLINE_EXCEEDED, UNAVAILABLE, UNKNOWN, CANCELLED), and a write that exceeds the quota may be
/// applied and refused at the same time (RESOURCE_EXHAUSTED).
const NOT_CARRIED_OUT: [i32; 8] = [3, 5, 6, 7, 9, 11, 12, 16];

/// How a stream ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// The server ended it: what it had to say is complete.
    Answered,
    /// The client or the server reset it.
    Reset,
    /// The server declared that it did not process it.
    Refused,
    /// The connection ended, or cannot be observed any further.
    Lost,
}

/// Where a call was seen.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place<'a> {
    /// See `calls.call_id`.
    pub(super) call_id: &'a str,
    pub(super) instance: &'a Arc<str>,
    pub(super) connection: i64,
    pub(super) stream: u32,
}

/// What is known of the content of a request.
#[derive(Debug)]
enum Content {
    /// The message is not complete.
    Pending,
    Known(Operation),
    Opaque,
}

/// A message of the answer that was complete.
#[derive(Debug)]
struct Answered {
    at: Reading,
    answer: Result<Answer, Opaque>,
}

/// What became of a piece of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Progress {
    /// Go on.
    Continue,
    /// The message was complete; its content is not known.
    Opaque(Opaque),
    /// The message was complete, and the call changes nothing: forget it.
    ReadOnly,
}

/// A call that has not ended.
#[derive(Debug)]
pub(super) struct OpenCall {
    method: Method,
    metadata: Metadata,
    opened: Reading,
    /// When the first byte of the request message was seen.
    began: Option<Reading>,
    request: Assembler,
    content: Content,
    response: Assembler,
    answered: Option<Answered>,
    http_status: Option<u16>,
    grpc_status: Option<i32>,
    /// Bytes of the budget that the call itself holds.
    held: usize,
}

impl OpenCall {
    /// A call whose request headers were seen at `opened`; `None` if there is no room for it.
    pub(super) fn open(
        method: Method,
        metadata: Metadata,
        opened: Reading,
        budget: &mut Budget,
    ) -> Option<Self> {
        let held = size_of::<Self>() + metadata.footprint();
        if !budget.reserve(held) {
            return None;
        }
        Some(Self {
            method,
            metadata,
            opened,
            began: None,
            request: Assembler::new(),
            content: Content::Pending,
            response: Assembler::new(),
            answered: None,
            http_status: None,
            grpc_status: None,
            held,
        })
    }

    /// Whether more of the request is of interest.
    pub(super) fn wants_request(&self) -> bool {
        matches!(self.content, Content::Pending)
    }

    /// Whether more of the answer's message is of interest.
    pub(super) fn wants_response(&self) -> bool {
        self.answered.is_none()
    }

    /// The next piece of the request.
    pub(super) fn request_piece(
        &mut self,
        piece: &[u8],
        now: Reading,
        hasher: impl FnOnce() -> ValueHasher,
        budget: &mut Budget,
    ) -> Progress {
        if self.began.is_none() && !piece.is_empty() {
            self.began = Some(now);
        }
        let Some(message) = self.request.push(piece, budget) else {
            return Progress::Continue;
        };
        let decoded = message.and_then(|message| {
            request::decode(self.method, message, &hasher()).map_err(|_| Opaque::Malformed)
        });
        self.request.release(budget);
        let progress = match decoded {
            Ok(operation) if !operation.may_write() => return Progress::ReadOnly,
            Ok(operation) => {
                let footprint = operation.footprint();
                if budget.reserve(footprint) {
                    self.held += footprint;
                    self.content = Content::Known(operation);
                    return Progress::Continue;
                }
                Progress::Opaque(Opaque::NoRoom)
            }
            Err(opaque) => Progress::Opaque(opaque),
        };
        self.content = Content::Opaque;
        progress
    }

    /// The next piece of the answer's message.
    pub(super) fn response_piece(
        &mut self,
        piece: &[u8],
        now: Reading,
        budget: &mut Budget,
    ) -> Progress {
        let Some(message) = self.response.push(piece, budget) else {
            return Progress::Continue;
        };
        let answer = message.and_then(|message| {
            answer::decode(self.method, message).map_err(|_| Opaque::Malformed)
        });
        self.response.release(budget);
        let opaque = answer.as_ref().err().copied();
        self.answered = Some(Answered { at: now, answer });
        opaque.map_or(Progress::Continue, Progress::Opaque)
    }

    /// What the headers or trailers of the answer say.
    pub(super) fn response_headers(&mut self, http_status: Option<u16>, grpc_status: Option<i32>) {
        self.http_status = http_status.or(self.http_status);
        self.grpc_status = grpc_status.or(self.grpc_status);
    }

    /// Gives back what the call held.
    pub(super) fn release(&mut self, budget: &mut Budget) {
        self.request.release(budget);
        self.response.release(budget);
        budget.release(std::mem::take(&mut self.held));
    }

    /// The rows of the call that ended at `now`; none if nothing can have been carried out or is
    /// known of it.
    pub(super) fn into_rows(self, end: End, now: Reading, place: Place<'_>) -> Vec<Call> {
        if self.wants_request() && end != End::Answered {
            return Vec::new(); // etcd never had the whole request, so it did not carry it out
        }
        let request = self.began.unwrap_or(self.opened);
        let answered_at = match (&self.answered, end) {
            (Some(answered), _) => Some(answered.at),
            (None, End::Answered | End::Refused) => Some(now),
            (None, End::Reset | End::Lost) => None,
        };
        let cluster_id = self.known_answer().and_then(|answer| answer.cluster_id);
        // What is malformed has been counted when the call began.
        let cpid = self.metadata.cpid().unwrap_or_default();
        let (trace_id, span_id, trace_flags) = match &self.metadata.trace {
            Some(trace) => (
                Some(trace.trace_id()),
                Some(trace.parent_id()),
                Some(i32::from(trace.flags())),
            ),
            None => (None, None, None),
        };
        let common = Call {
            call_id: place.call_id.to_owned(),
            op_index: 0,
            cluster_id: cluster_id.map(|id| format!("{id:x}")),
            epoch: None,
            instance: place.instance.to_string(),
            connection: place.connection,
            stream: i64::from(place.stream),
            method: self.method.path().to_owned(),
            shape: CallShape::Other,
            branch: None,
            key: None,
            range_end: None,
            deleted: None,
            compare_revision: None,
            outcome: CallOutcome::Unknown,
            grpc_status: self.grpc_status,
            revision: None,
            value_hash: None,
            request: request.moment,
            response: answered_at.map(|at: Reading| -> Moment { at.moment }),
            duration_ns: answered_at.map(|at| at.nanos_since(&request)),
            request_bytes: self.request.length().map_or(0, i64::from),
            deadline_ns: self.metadata.deadline_ns,
            trace_id,
            span_id,
            trace_flags,
            baggage: self.metadata.baggage.clone(),
            cpid,
            lease_id: None,
            lease_ttl: None,
        };
        let mut rows = self.settle(end);
        let Some(last) = rows.pop() else {
            return Vec::new();
        };
        let mut calls: Vec<Call> = rows
            .into_iter()
            .map(|row| row.fill(common.clone()))
            .collect();
        calls.push(last.fill(common));
        for (index, call) in (0..).zip(&mut calls) {
            call.op_index = index;
        }
        calls
    }

    fn known_answer(&self) -> Option<&Answer> {
        self.answered.as_ref()?.answer.as_ref().ok()
    }

    /// What became of each operation.
    fn settle(self, end: End) -> Vec<Row> {
        let outcome = self.outcome_without_message(end);
        let answer = self.answered.and_then(|answered| answered.answer.ok());
        let mut rows = Vec::new();
        match (self.content, answer) {
            (Content::Known(operation), Some(answer)) => {
                settle_operation(operation, answer.effect, answer.revision, None, &mut rows);
            }
            (Content::Known(operation), None) => {
                // Without a message it is not known which branch of a transaction ran.
                let outcome = match (&operation, outcome) {
                    (Operation::Transaction(_), CallOutcome::Committed) => CallOutcome::Unknown,
                    (_, outcome) => outcome,
                };
                unsettled(operation, outcome, None, &mut rows);
            }
            (Content::Opaque | Content::Pending, Some(answer)) => {
                rows.extend(settle_opaque(self.method, &answer));
            }
            (Content::Opaque | Content::Pending, None) => {
                let outcome = match (self.method, outcome) {
                    (Method::Txn, CallOutcome::Committed) => CallOutcome::Unknown,
                    (_, outcome) => outcome,
                };
                rows.push(Row::new(
                    Write::of_shape(opaque_shape(self.method)),
                    outcome,
                ));
            }
        }
        rows
    }

    /// The outcome as far as the end of the stream tells.
    fn outcome_without_message(&self, end: End) -> CallOutcome {
        match end {
            End::Refused => CallOutcome::Error,
            End::Reset => CallOutcome::Cancelled,
            End::Lost => CallOutcome::Unknown,
            End::Answered => match (self.grpc_status, self.http_status) {
                // A message, if only an unreadable one, is what a call that was carried out has.
                (Some(0) | None, _) if self.answered.is_some() => CallOutcome::Committed,
                (Some(status), _) if NOT_CARRIED_OUT.contains(&status) => CallOutcome::Error,
                (Some(_), _) => CallOutcome::Unknown,
                // Refused before it came to gRPC.
                (None, Some(http_status)) if http_status != 200 => CallOutcome::Error,
                (None, _) => CallOutcome::Unknown,
            },
        }
    }
}

/// An operation and what became of it.
#[derive(Debug)]
struct Row {
    write: Write,
    outcome: CallOutcome,
    branch: Option<Branch>,
    deleted: Option<i64>,
    revision: Option<i64>,
}

impl Row {
    fn new(write: Write, outcome: CallOutcome) -> Self {
        Self {
            write,
            outcome,
            branch: None,
            deleted: None,
            revision: None,
        }
    }

    fn fill(self, call: Call) -> Call {
        Call {
            shape: self.write.shape,
            branch: self.branch,
            key: self.write.key,
            range_end: self.write.range_end,
            deleted: self.deleted,
            compare_revision: self.write.compare_revision,
            outcome: self.outcome,
            revision: self.revision,
            value_hash: self.write.value_hash,
            lease_id: self.write.lease_id,
            lease_ttl: self.write.lease_ttl,
            ..call
        }
    }
}

/// Rows of an operation that was answered. `revision` is that of the answer's header: of the commit
/// if anything was written.
fn settle_operation(
    operation: Operation,
    effect: Effect,
    revision: Option<i64>,
    branch: Option<Branch>,
    rows: &mut Vec<Row>,
) {
    match (operation, effect) {
        (Operation::Read, _) => {}
        (
            Operation::Transaction(Transaction { success, failure }),
            Effect::Transaction { succeeded, results },
        ) => {
            let (ran, other, branch) = if succeeded {
                (success, failure, Branch::Success)
            } else {
                (failure, success, Branch::Failure)
            };
            if !may_write(&ran) {
                // Nothing was written, because the compares turned out as they did.
                for operation in other {
                    unsettled(operation, CallOutcome::Conflict, Some(branch), rows);
                }
                return;
            }
            let mut results = results.into_iter();
            for operation in ran {
                match results.next() {
                    Some(effect) => {
                        settle_operation(operation, effect, revision, Some(branch), rows)
                    }
                    None => unsettled(operation, CallOutcome::Unknown, Some(branch), rows),
                }
            }
        }
        (Operation::Write(write), effect) => {
            rows.push(settle_write(write, effect, revision, branch))
        }
        (operation @ Operation::Transaction(_), _) => {
            unsettled(operation, CallOutcome::Unknown, branch, rows);
        }
    }
}

fn settle_write(
    write: Write,
    effect: Effect,
    revision: Option<i64>,
    branch: Option<Branch>,
) -> Row {
    let mut row = Row {
        branch,
        ..Row::new(write, CallOutcome::Committed)
    };
    match (row.write.shape, effect) {
        (CallShape::Create | CallShape::Update, Effect::Put) => row.revision = revision,
        (CallShape::Delete | CallShape::DeleteRange, Effect::Delete { deleted }) => {
            row.deleted = Some(deleted);
            // Without deleting anything there is no new revision.
            row.revision = revision.filter(|_| deleted > 0);
        }
        (CallShape::LeaseGrant, Effect::Lease { failed: true, .. }) => {
            row.outcome = CallOutcome::Error
        }
        (CallShape::LeaseGrant, Effect::Lease { id, ttl, .. }) => {
            row.write.lease_id = id.or(row.write.lease_id);
            row.write.lease_ttl = ttl.or(row.write.lease_ttl);
        }
        (CallShape::Other, Effect::Key(key)) => row.write.key = key.or(row.write.key),
        // Neither has a revision of its own: a lease's keys are deleted in one, if there are any,
        // which the answer does not tell.
        (CallShape::Compact | CallShape::LeaseRevoke, Effect::Done) => {}
        _ => row.outcome = CallOutcome::Unknown, // an answer to something else
    }
    row
}

/// Rows of an operation of which it is not known in detail what became of it, or that did not run.
fn unsettled(
    operation: Operation,
    outcome: CallOutcome,
    branch: Option<Branch>,
    rows: &mut Vec<Row>,
) {
    let mut writes = Vec::new();
    operation.into_writes(&mut writes);
    rows.extend(writes.into_iter().map(|write| Row {
        branch,
        ..Row::new(write, outcome)
    }));
}

/// The row of a call whose request is not known but whose answer is; `None` if it turned out to be
/// a read.
fn settle_opaque(method: Method, answer: &Answer) -> Option<Row> {
    let mut row = Row::new(
        Write::of_shape(opaque_shape(method)),
        CallOutcome::Committed,
    );
    match &answer.effect {
        Effect::Transaction { succeeded, .. } if !answer.effect.wrote() => {
            if *succeeded {
                return None;
            }
            row.branch = Some(Branch::Failure);
            row.outcome = CallOutcome::Conflict;
        }
        Effect::Transaction { succeeded, .. } => {
            row.branch = Some(if *succeeded {
                Branch::Success
            } else {
                Branch::Failure
            });
            row.revision = answer.revision;
        }
        Effect::Put => row.revision = answer.revision,
        Effect::Delete { deleted } => {
            row.deleted = Some(*deleted);
            row.revision = answer.revision.filter(|_| *deleted > 0);
        }
        Effect::Lease { id, ttl, failed } => {
            row.write.lease_id = *id;
            row.write.lease_ttl = *ttl;
            if *failed {
                row.outcome = CallOutcome::Error;
            }
        }
        Effect::Key(key) => row.write.key.clone_from(key),
        Effect::Read | Effect::Done => {}
    }
    Some(row)
}

/// The shape of a call whose content is not known.
fn opaque_shape(method: Method) -> CallShape {
    match method {
        Method::Put => CallShape::Update,
        Method::Compact => CallShape::Compact,
        Method::LeaseGrant => CallShape::LeaseGrant,
        Method::LeaseRevoke => CallShape::LeaseRevoke,
        Method::DeleteRange // of one key or of many
        | Method::Txn
        | Method::Lock
        | Method::Unlock
        | Method::Campaign
        | Method::Proclaim
        | Method::Resign => CallShape::Other,
    }
}

#[cfg(test)]
#[path = "call_tests.rs"]
mod tests;
