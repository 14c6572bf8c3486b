//! Makes the bytes that tests show to the observer.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use cascade_proto::tables::{Call, Moment};
use prost::Message;

use super::frame::{ACK, CONTINUATION, DATA, END_HEADERS, END_STREAM, HEADERS, SETTINGS};
use super::huffman;
use super::{ConnectionObserver, Observation, ObserverMetrics};
use crate::clock::Reading;
use crate::decode::SharedHashKey;

pub(super) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

pub(super) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let mut frame = length[1..].to_vec();
    frame.extend([kind, flags]);
    frame.extend(stream.to_be_bytes());
    frame.extend(payload);
    frame
}

pub(super) fn settings() -> Vec<u8> {
    frame(SETTINGS, 0, 0, &[])
}

/// Preface and SETTINGS of a client.
pub(super) fn client_start() -> Vec<u8> {
    let mut bytes = PREFACE.to_vec();
    bytes.extend(settings());
    bytes.extend(frame(SETTINGS, ACK, 0, &[]));
    bytes
}

/// A gRPC message in a DATA frame.
pub(super) fn data(stream: u32, flags: u8, message: &impl Message) -> Vec<u8> {
    frame(DATA, flags, stream, &grpc(&message.encode_to_vec()))
}

/// A message with its gRPC prefix.
pub(super) fn grpc(message: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0];
    bytes.extend(u32::try_from(message.len()).unwrap().to_be_bytes());
    bytes.extend(message);
    bytes
}

/// How a field is written into a header block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Indexing {
    /// As an index if the table holds it, else it is added to the table.
    Incremental,
    Without,
    Never,
}

/// An HPACK encoder that can be told how to write each field.
#[derive(Debug)]
pub(super) struct Encoder {
    /// Newest first, with exact sizes.
    table: VecDeque<(Vec<u8>, Vec<u8>)>,
    limit: usize,
}

impl Default for Encoder {
    fn default() -> Self {
        Self {
            table: VecDeque::new(),
            limit: 4096,
        }
    }
}

impl Encoder {
    pub(super) fn field(
        &mut self,
        block: &mut Vec<u8>,
        name: &[u8],
        value: &[u8],
        indexing: Indexing,
        huffman: bool,
    ) {
        let exact = self.table.iter().position(|(n, v)| n == name && v == value);
        if indexing == Indexing::Incremental
            && let Some(index) = exact
        {
            integer(block, 0x80, 7, 62 + index);
            return;
        }
        let (pattern, bits) = match indexing {
            Indexing::Incremental => (0x40, 6),
            Indexing::Without => (0x00, 4),
            Indexing::Never => (0x10, 4),
        };
        let static_name = match name {
            b":path" => Some(4),
            b":status" => Some(8),
            b"content-type" => Some(31),
            b"user-agent" => Some(58),
            _ => None,
        };
        let named =
            static_name.or_else(|| Some(62 + self.table.iter().position(|(n, _)| n == name)?));
        integer(block, pattern, bits, named.unwrap_or(0));
        if named.is_none() {
            string(block, name, huffman);
        }
        string(block, value, huffman);
        if indexing == Indexing::Incremental {
            self.table.push_front((name.to_vec(), value.to_vec()));
            self.evict();
        }
    }

    /// Announces another table size.
    pub(super) fn resize(&mut self, block: &mut Vec<u8>, limit: usize) {
        integer(block, 0x20, 5, limit);
        self.limit = limit;
        self.evict();
    }

    fn evict(&mut self) {
        let size = |table: &VecDeque<(Vec<u8>, Vec<u8>)>| -> usize {
            table
                .iter()
                .map(|(name, value)| name.len() + value.len() + 32)
                .sum()
        };
        while size(&self.table) > self.limit {
            self.table.pop_back();
        }
    }

    /// A block of `fields`, as grpc-go writes them.
    pub(super) fn block(&mut self, fields: &[(&str, &str)]) -> Vec<u8> {
        let mut block = Vec::new();
        for (name, value) in fields {
            self.field(
                &mut block,
                name.as_bytes(),
                value.as_bytes(),
                Indexing::Incremental,
                true,
            );
        }
        block
    }
}

fn integer(block: &mut Vec<u8>, pattern: u8, bits: u32, value: usize) {
    let mask = (1 << bits) - 1;
    if value < mask {
        block.push(pattern | value as u8);
        return;
    }
    block.push(pattern | mask as u8);
    let mut rest = value - mask;
    while rest >= 0x80 {
        block.push(rest as u8 | 0x80);
        rest >>= 7;
    }
    block.push(rest as u8);
}

fn string(block: &mut Vec<u8>, text: &[u8], huffman: bool) {
    if huffman {
        let coded = huffman::encode(text);
        integer(block, 0x80, 7, coded.len());
        block.extend(coded);
    } else {
        integer(block, 0, 7, text.len());
        block.extend(text);
    }
}

/// One end of a connection: writes calls as grpc-go does.
#[derive(Debug, Default)]
pub(super) struct Peer {
    pub(super) encoder: Encoder,
}

impl Peer {
    pub(super) fn headers(&mut self, stream: u32, flags: u8, fields: &[(&str, &str)]) -> Vec<u8> {
        frame(
            HEADERS,
            END_HEADERS | flags,
            stream,
            &self.encoder.block(fields),
        )
    }

    /// The headers of a call.
    pub(super) fn call(&mut self, stream: u32, path: &str) -> Vec<u8> {
        self.call_with(stream, path, &[])
    }

    pub(super) fn call_with(&mut self, stream: u32, path: &str, more: &[(&str, &str)]) -> Vec<u8> {
        let mut fields = vec![
            (":method", "POST"),
            (":scheme", "http"),
            (":path", path),
            (":authority", "127.0.0.1:2379"),
            ("content-type", "application/grpc"),
            ("user-agent", "grpc-go/1.72.2"),
            ("te", "trailers"),
        ];
        fields.extend(more);
        self.headers(stream, 0, &fields)
    }

    /// A whole request.
    pub(super) fn request(&mut self, stream: u32, path: &str, message: &impl Message) -> Vec<u8> {
        let mut bytes = self.call(stream, path);
        bytes.extend(data(stream, END_STREAM, message));
        bytes
    }

    /// The headers of an answer.
    pub(super) fn answer_headers(&mut self, stream: u32) -> Vec<u8> {
        self.headers(
            stream,
            0,
            &[(":status", "200"), ("content-type", "application/grpc")],
        )
    }

    pub(super) fn trailers(&mut self, stream: u32, status: &str) -> Vec<u8> {
        self.headers(
            stream,
            END_STREAM,
            &[("grpc-status", status), ("grpc-message", "")],
        )
    }

    /// A whole answer.
    pub(super) fn answer(&mut self, stream: u32, message: &impl Message) -> Vec<u8> {
        let mut bytes = self.answer_headers(stream);
        bytes.extend(data(stream, 0, message));
        bytes.extend(self.trailers(stream, "0"));
        bytes
    }

    /// A trailers-only answer.
    pub(super) fn error(&mut self, stream: u32, status: &str, message: &str) -> Vec<u8> {
        let fields = [
            (":status", "200"),
            ("content-type", "application/grpc"),
            ("grpc-status", status),
            ("grpc-message", message),
        ];
        self.headers(stream, END_STREAM, &fields)
    }
}

/// Cuts a header block into a HEADERS frame and CONTINUATION frames.
pub(super) fn in_continuations(
    kind: u8,
    flags: u8,
    stream: u32,
    prefix: &[u8],
    block: &[u8],
    size: usize,
) -> Vec<u8> {
    let parts: Vec<&[u8]> = block.chunks(size).collect();
    let mut bytes = Vec::new();
    for (index, part) in parts.iter().enumerate() {
        let end = if index + 1 == parts.len() {
            END_HEADERS
        } else {
            0
        };
        if index == 0 {
            bytes.extend(frame(kind, flags | end, stream, &[prefix, part].concat()));
        } else {
            bytes.extend(frame(CONTINUATION, end, stream, part));
        }
    }
    bytes
}

/// A connection under test. Every use of the clock is a millisecond later.
pub(super) struct Watched {
    pub(super) observer: ConnectionObserver,
    pub(super) seen: Vec<Observation>,
    pub(super) client: Peer,
    pub(super) server: Peer,
    pub(super) metrics: ObserverMetrics,
    start: Instant,
    millis: u64,
}

impl Watched {
    /// A connection before its first byte.
    pub(super) fn new() -> Self {
        Self::with_key(SharedHashKey::default())
    }

    pub(super) fn with_key(hash_key: SharedHashKey) -> Self {
        let metrics = ObserverMetrics::default();
        Self {
            observer: ConnectionObserver::new(7, Arc::from("test"), hash_key, metrics.clone()),
            seen: Vec::new(),
            client: Peer::default(),
            server: Peer::default(),
            metrics,
            start: Instant::now(),
            millis: 0,
        }
    }

    /// A connection after preface and settings.
    pub(super) fn started() -> Self {
        let mut watched = Self::new();
        watched.request(&client_start());
        watched.response(&settings());
        watched
    }

    pub(super) fn now(&mut self) -> Reading {
        self.millis += 1;
        Reading {
            moment: Moment {
                unix_nano: 1_000_000 * i64::try_from(self.millis).unwrap(),
            },
            instant: self.start + Duration::from_millis(self.millis),
        }
    }

    pub(super) fn wait(&mut self, duration: Duration) {
        self.millis += u64::try_from(duration.as_millis()).unwrap();
    }

    pub(super) fn request(&mut self, bytes: &[u8]) {
        let now = self.now();
        self.observer.request_bytes(bytes, now, &mut self.seen);
    }

    pub(super) fn response(&mut self, bytes: &[u8]) {
        let now = self.now();
        self.observer.response_bytes(bytes, now, &mut self.seen);
    }

    pub(super) fn close(&mut self) {
        let now = self.now();
        self.observer.closed(now, &mut self.seen);
    }

    /// The rows of the calls seen since the last time; anything else is a failure.
    pub(super) fn calls(&mut self) -> Vec<Vec<Call>> {
        let calls =
            std::mem::take(&mut self.seen)
                .into_iter()
                .map(|observation| match observation {
                    Observation::Call(rows) => rows,
                    other => panic!("not a call: {other:?}"),
                });
        calls.collect()
    }

    /// The rows of the only call seen since the last time.
    pub(super) fn call(&mut self) -> Vec<Call> {
        let mut calls = self.calls();
        assert_eq!(calls.len(), 1, "{calls:?}");
        calls.remove(0)
    }

    /// The only row of the only call seen since the last time.
    pub(super) fn row(&mut self) -> Call {
        let mut rows = self.call();
        assert_eq!(rows.len(), 1, "{rows:?}");
        rows.remove(0)
    }
}

pub(super) mod messages {
    //! Messages of etcd, as short as they can be written.

    use cascade_proto::wire::etcd::{
        Compare, DeleteRangeRequest, DeleteRangeResponse, PutRequest, PutResponse, RangeRequest,
        RangeResponse, RequestOp, ResponseHeader, ResponseOp, TxnRequest, TxnResponse, compare,
        request_op, response_op,
    };

    pub(crate) const CLUSTER: u64 = 0xcdf8_181e_3227_2efa;

    pub(crate) fn put(key: &str, value: &str) -> PutRequest {
        PutRequest {
            key: key.to_owned().into(),
            value: value.to_owned().into(),
            ..PutRequest::default()
        }
    }

    pub(crate) fn delete(key: &str) -> DeleteRangeRequest {
        DeleteRangeRequest {
            key: key.to_owned().into(),
            ..DeleteRangeRequest::default()
        }
    }

    pub(crate) fn header(revision: i64) -> Option<ResponseHeader> {
        Some(ResponseHeader {
            cluster_id: CLUSTER,
            member_id: 1,
            revision,
            raft_term: 2,
        })
    }

    pub(crate) fn put_answer(revision: i64) -> PutResponse {
        PutResponse {
            header: header(revision),
        }
    }

    pub(crate) fn op_put(key: &str, value: &str) -> RequestOp {
        RequestOp {
            request: Some(request_op::Request::RequestPut(put(key, value))),
        }
    }

    pub(crate) fn op_delete(key: &str) -> RequestOp {
        RequestOp {
            request: Some(request_op::Request::RequestDeleteRange(delete(key))),
        }
    }

    pub(crate) fn op_range(key: &str) -> RequestOp {
        let range = RangeRequest {
            key: key.to_owned().into(),
            ..RangeRequest::default()
        };
        RequestOp {
            request: Some(request_op::Request::RequestRange(range)),
        }
    }

    pub(crate) fn op_txn(txn: TxnRequest) -> RequestOp {
        RequestOp {
            request: Some(request_op::Request::RequestTxn(txn)),
        }
    }

    pub(crate) fn mod_equal(key: &str, revision: i64) -> Compare {
        Compare {
            result: compare::CompareResult::Equal.into(),
            target: compare::CompareTarget::Mod.into(),
            key: key.to_owned().into(),
            target_union: Some(compare::TargetUnion::ModRevision(revision)),
            ..Compare::default()
        }
    }

    pub(crate) fn txn(
        compare: Vec<Compare>,
        success: Vec<RequestOp>,
        failure: Vec<RequestOp>,
    ) -> TxnRequest {
        TxnRequest {
            compare,
            success,
            failure,
        }
    }

    pub(crate) fn did_put() -> ResponseOp {
        ResponseOp {
            response: Some(response_op::Response::ResponsePut(PutResponse::default())),
        }
    }

    pub(crate) fn did_delete(deleted: i64) -> ResponseOp {
        let response = DeleteRangeResponse {
            header: None,
            deleted,
        };
        ResponseOp {
            response: Some(response_op::Response::ResponseDeleteRange(response)),
        }
    }

    pub(crate) fn did_range() -> ResponseOp {
        ResponseOp {
            response: Some(response_op::Response::ResponseRange(
                RangeResponse::default(),
            )),
        }
    }

    pub(crate) fn did_txn(succeeded: bool, responses: Vec<ResponseOp>) -> ResponseOp {
        let response = TxnResponse {
            header: None,
            succeeded,
            responses,
        };
        ResponseOp {
            response: Some(response_op::Response::ResponseTxn(response)),
        }
    }

    pub(crate) fn txn_answer(
        revision: i64,
        succeeded: bool,
        responses: Vec<ResponseOp>,
    ) -> TxnResponse {
        TxnResponse {
            header: header(revision),
            succeeded,
            responses,
        }
    }
}
