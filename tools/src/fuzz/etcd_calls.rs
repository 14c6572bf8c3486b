//! gRPC messages in pieces, and etcd's messages, each in a connection of one call.

use std::collections::BTreeSet;

use cascade_interceptor::decode::key_text;
use cascade_interceptor::observer::Observation;
use cascade_proto::tables::{Call, CallOutcome};
use cascade_proto::wire::etcd::{
    self, DeleteRangeRequest, PutRequest, PutResponse, TxnRequest, request_op,
};
use prost::Message;

use super::http2::{
    DATA, END_STREAM, MAX_FRAME, Turn, answer_headers, frame, observe, request_headers, start,
    trailers,
};
use super::{take_byte, take_piece};

const PUT: &str = "/etcdserverpb.KV/Put";
const DELETE_RANGE: &str = "/etcdserverpb.KV/DeleteRange";
const TXN: &str = "/etcdserverpb.KV/Txn";
/// Methods that the observer reads; an input names one by its place here.
pub(super) const METHODS: &[&str] = &[
    PUT,
    DELETE_RANGE,
    TXN,
    "/etcdserverpb.KV/Compact",
    "/etcdserverpb.Lease/LeaseGrant",
    "/etcdserverpb.Lease/LeaseRevoke",
    "/v3lockpb.Lock/Lock",
    "/v3lockpb.Lock/Unlock",
    "/v3electionpb.Election/Campaign",
    "/v3electionpb.Election/Proclaim",
    "/v3electionpb.Election/Resign",
];
/// Bytes before a message: whether it is compressed, and its length.
const PREFIX: usize = 5;

/// A message with its prefix.
pub(super) fn prefixed(message: &[u8]) -> Vec<u8> {
    let length = u32::try_from(message.len()).unwrap_or(u32::MAX);
    [&[0], length.to_be_bytes().as_slice(), message].concat()
}

/// DATA frames of at most `sizes` bytes each, over and over; the last one ends the stream if told.
fn data(stream_bytes: &[u8], sizes: &[usize], ends: bool) -> Vec<u8> {
    let mut frames = Vec::new();
    let mut sizes = sizes.iter().cycle();
    let mut rest = stream_bytes;
    loop {
        let size = sizes
            .next()
            .map_or(MAX_FRAME, |size| (*size).clamp(1, MAX_FRAME));
        let (part, after) = rest.split_at(size.min(rest.len()));
        rest = after;
        let last = rest.is_empty();
        let flags = if last && ends { END_STREAM } else { 0 };
        frames.extend(frame(DATA, flags, 1, part));
        if last {
            return frames;
        }
    }
}

/// A connection with one call, whose request and answer are these bytes of its stream.
fn call(path: &str, request: &[u8], answer: &[u8], sizes: &[usize]) -> Vec<Turn> {
    let mut turns = start().to_vec();
    turns.push(Turn {
        from_client: true,
        bytes: [request_headers(path), data(request, sizes, true)].concat(),
    });
    let answered = [answer_headers(), data(answer, sizes, false), trailers()];
    turns.push(Turn {
        from_client: false,
        bytes: answered.concat(),
    });
    turns
}

/// The rows of the only call.
///
/// # Panics
/// When there is anything else than one call.
fn rows(seen: Vec<Observation>) -> Vec<Call> {
    let mut calls = Vec::new();
    for observation in seen {
        assert!(
            matches!(observation, Observation::Call(_)),
            "of a well-formed connection: {observation:?}"
        );
        if let Observation::Call(rows) = observation {
            calls.push(rows);
        }
    }
    assert!(calls.len() <= 1, "of one call: {calls:?}");
    calls.pop().unwrap_or_default()
}

/// Input: three sizes of frames, an answer's stream (a piece), and a request's stream.
///
/// # Panics
/// When the cut into frames and chunks changes what is seen, or the message that is put together
/// is not the one that was sent.
pub(super) fn run_reassembly(mut input: &[u8]) {
    let sizes = [(); 3].map(|()| usize::from(take_byte(&mut input)));
    let answer = take_piece(&mut input);
    let request = input;
    let whole = rows(observe(&call(PUT, request, answer, &[]), &[]));
    let turns = call(PUT, request, answer, &sizes);
    assert_eq!(rows(observe(&turns, &[])), whole, "frames of {sizes:?}");
    assert_eq!(rows(observe(&turns, &sizes)), whole, "chunks of {sizes:?}");

    assert_eq!(
        whole.len(),
        1,
        "rows of a put, whatever its message is: {whole:?}"
    );
    let Some(row) = whole.first() else { return };
    let length = request
        .get(1..PREFIX)
        .and_then(|length| length.try_into().ok())
        .map(u32::from_be_bytes);
    if let Some(length) = length {
        assert_eq!(row.request_bytes, i64::from(length), "{row:?}");
    }
    let message = length.and_then(|length| {
        let end = PREFIX.checked_add(usize::try_from(length).ok()?)?;
        (*request.first()? == 0).then(|| request.get(PREFIX..end))?
    });
    if let Some(put) = message.and_then(|message| PutRequest::decode(message).ok()) {
        assert_eq!(row.key.as_deref(), Some(key_text(&put.key).as_str()));
    }
}

/// Input: a byte for the method, the message of the answer (a piece), the message of the request.
///
/// # Panics
/// When a row has a key that is not in the request, or a revision that is not in the answer.
pub(super) fn run_messages(mut input: &[u8]) {
    let method = usize::from(take_byte(&mut input)) % METHODS.len();
    let path = METHODS.get(method).copied().unwrap_or(PUT);
    let answer = take_piece(&mut input);
    let request = input;
    let turns = call(path, &prefixed(request), &prefixed(answer), &[]);
    let rows = rows(observe(&turns, &[]));

    let expected = match path {
        PUT => PutRequest::decode(request)
            .ok()
            .map(|put| BTreeSet::from([key_text(&put.key)])),
        DELETE_RANGE => DeleteRangeRequest::decode(request)
            .ok()
            .map(|delete| BTreeSet::from([key_text(&delete.key)])),
        TXN => TxnRequest::decode(request).ok().map(|txn| {
            let mut keys = BTreeSet::new();
            add_keys(&txn, &mut keys);
            keys
        }),
        _ => None,
    };
    if let Some(keys) = expected {
        for row in &rows {
            if let Some(key) = &row.key {
                assert!(keys.contains(key), "{key:?} is not in the request");
            }
        }
    }
    for row in &rows {
        assert_eq!(row.method, path);
        if row.revision.is_some() {
            assert_eq!(row.outcome, CallOutcome::Committed, "{row:?}");
        }
        // Every answer has its header in field 1, so the simplest of them reads it of all.
        if let (Some(revision), Ok(answer)) = (row.revision, PutResponse::decode(answer)) {
            let header = answer.header.unwrap_or_default();
            assert_eq!(revision, header.revision, "{row:?}");
        }
    }
}

fn add_keys(txn: &TxnRequest, keys: &mut BTreeSet<String>) {
    let operations = txn.success.iter().chain(&txn.failure);
    for etcd::RequestOp { request } in operations {
        match request {
            Some(request_op::Request::RequestPut(put)) => {
                keys.insert(key_text(&put.key));
            }
            Some(request_op::Request::RequestDeleteRange(delete)) => {
                keys.insert(key_text(&delete.key));
            }
            Some(request_op::Request::RequestTxn(inner)) => add_keys(inner, keys),
            _ => {}
        }
    }
}
