//! Makes the sequence of mutating calls out of recorded connections.
//!
//! This parses HTTP/2 a second time, apart from the interceptor's observer and with another HPACK
//! decoder, on purpose: it reads whole connections at leisure, and so it is what the observer's
//! results are compared with.

use std::collections::{BTreeMap, HashMap};

use anyhow::{Context, bail, ensure};
use bytes::{Buf, Bytes, BytesMut};
use cascade_proto::wire::etcd;
use prost::Message;

use crate::recording::{Chunk, ChunkKind, RecordedCall};
use crate::truth::Revision;

/// Time to live of a lease in a replay: it must not expire by itself, since expiries are replayed.
const REPLAY_LEASE_TTL_S: i64 = 365 * 24 * 3600;

/// What opens an HTTP/2 connection (RFC 9113, section 3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// Length of a frame's header (RFC 9113, section 4.1).
const FRAME_HEADER_BYTES: usize = 9;

const FRAME_DATA: u8 = 0;
const FRAME_HEADERS: u8 = 1;
const FRAME_CONTINUATION: u8 = 9;
const FLAG_END_HEADERS: u8 = 0x4;
const FLAG_PADDED: u8 = 0x8;
const FLAG_PRIORITY: u8 = 0x20;

/// Orders every mutating call of the recording as etcd committed them, and adds each lease expiry
/// as a LeaseRevoke.
///
/// # Errors
/// When a connection cannot be parsed, or a revision of `truth` was made by no recorded call: then
/// something else wrote to etcd, and the recording could not be replayed.
pub fn extract_calls(
    chunks: impl IntoIterator<Item = Chunk>,
    truth: &BTreeMap<i64, Revision>,
) -> anyhow::Result<Vec<RecordedCall>> {
    let mut connections = BTreeMap::<i64, Recorded>::new();
    for chunk in chunks {
        let connection = connections.entry(chunk.connection).or_default();
        match chunk.kind() {
            ChunkKind::Request => connection.request.push(&chunk),
            ChunkKind::Response => connection.response.push(&chunk),
            _ => {}
        }
    }
    let mut calls = Vec::new();
    for (number, connection) in &connections {
        connection
            .calls(*number, &mut calls)
            .with_context(|| format!("connection {number} of the recording"))?;
    }
    add_lease_expiries(&mut calls, truth)?;
    // What was answered at a revision without making it came after the call that did.
    calls.sort_by_key(|call| (call.revision, !call.committed, call.offset_ns));
    Ok(calls)
}

/// Checks that every revision has the call that made it; those without are lease expiries.
fn add_lease_expiries(
    calls: &mut Vec<RecordedCall>,
    truth: &BTreeMap<i64, Revision>,
) -> anyhow::Result<()> {
    let mut made = HashMap::<i64, usize>::new();
    for call in calls.iter().filter(|call| call.committed) {
        *made.entry(call.revision).or_default() += 1;
    }
    for (revision, count) in &made {
        ensure!(*count == 1, "{count} calls claim revision {revision}");
    }
    for (revision, stored) in truth {
        if made.contains_key(revision) {
            continue;
        }
        let Some(lease) = stored.deleted_leases.first().copied() else {
            bail!("revision {revision} was made by no recorded call and is no lease expiry");
        };
        ensure!(
            stored.deleted_leases.len() == stored.keys
                && stored.deleted_leases.iter().all(|other| *other == lease),
            "revision {revision} was made by no recorded call and is not the expiry of one lease"
        );
        calls.push(RecordedCall {
            offset_ns: stored.offset_ns,
            method: "/etcdserverpb.Lease/LeaseRevoke".to_owned(),
            request: etcd::LeaseRevokeRequest { id: lease }
                .encode_to_vec()
                .into(),
            revision: *revision,
            committed: true,
            lease_expiry: true,
            ..RecordedCall::default()
        });
    }
    Ok(())
}

/// One direction of a connection: all bytes, and when each of them was seen.
#[derive(Default)]
struct Direction {
    bytes: BytesMut,
    /// (end of the chunk in `bytes`, time), ascending.
    times: Vec<(usize, i64)>,
}

impl Direction {
    fn push(&mut self, chunk: &Chunk) {
        self.bytes.extend_from_slice(&chunk.bytes);
        self.times.push((self.bytes.len(), chunk.offset_ns));
    }

    /// When the byte at `position` was seen.
    fn time_at(&self, position: usize) -> i64 {
        let index = self.times.partition_point(|(end, _)| *end <= position);
        self.times.get(index).map_or(0, |(_, time)| *time)
    }
}

#[derive(Default)]
struct Recorded {
    request: Direction,
    response: Direction,
}

/// What one stream carried in one direction.
#[derive(Default)]
struct Stream {
    headers: Vec<(String, String)>,
    data: BytesMut,
    data_begun_ns: i64,
}

impl Stream {
    fn header(&self, name: &str) -> String {
        let found = self.headers.iter().find(|(other, _)| other == name);
        found.map_or_else(String::new, |(_, value)| value.clone())
    }

    /// The first message of the stream, if it is complete and not compressed.
    fn message(&self) -> Option<Bytes> {
        let mut data = self.data.clone().freeze();
        if data.len() < 5 || data.get_u8() != 0 {
            return None;
        }
        let length = usize::try_from(data.get_u32()).ok()?;
        (data.len() >= length).then(|| data.slice(..length))
    }
}

impl Recorded {
    /// Adds the mutating calls of this connection that etcd answered.
    fn calls(&self, connection: i64, out: &mut Vec<RecordedCall>) -> anyhow::Result<()> {
        let bytes = &self.request.bytes;
        if !bytes.starts_with(PREFACE) {
            // A health check over HTTP/1.1, or a connection that was opened and never used.
            return Ok(());
        }
        let requests = streams(&self.request, PREFACE.len()).context("requests")?;
        let mut responses = streams(&self.response, 0).context("responses")?;
        for (id, request) in requests {
            let Some(message) = request.message() else {
                continue;
            };
            let Some(answer) = responses.remove(&id).and_then(|stream| stream.message()) else {
                continue;
            };
            let method = request.header(":path");
            let Some(done) = Done::of(&method, &message, &answer)
                .with_context(|| format!("stream {id}, {method}"))?
            else {
                continue;
            };
            out.push(RecordedCall {
                offset_ns: request.data_begun_ns,
                connection,
                request: done.request,
                revision: done.revision,
                committed: done.committed,
                traceparent: request.header("traceparent"),
                baggage: request.header("baggage"),
                lease_expiry: false,
                method,
            });
        }
        Ok(())
    }
}

/// All streams of one direction, by id.
fn streams(direction: &Direction, start: usize) -> anyhow::Result<BTreeMap<u32, Stream>> {
    let mut hpack = loona_hpack::Decoder::new();
    let mut streams = BTreeMap::<u32, Stream>::new();
    let mut block = BytesMut::new();
    let bytes = &direction.bytes;
    let mut position = start;
    // A frame cut off by the end of the recording is left out.
    while let Some(header) = bytes.get(position..position + FRAME_HEADER_BYTES) {
        let mut header = header;
        let length = usize::try_from(header.get_uint(3))?;
        let (kind, flags, id) = (
            header.get_u8(),
            header.get_u8(),
            header.get_u32() & 0x7fff_ffff,
        );
        let begin = position + FRAME_HEADER_BYTES;
        let Some(payload) = bytes.get(begin..begin + length) else {
            break;
        };
        match kind {
            FRAME_DATA => {
                let stream = streams.entry(id).or_default();
                if stream.data.is_empty() {
                    stream.data_begun_ns = direction.time_at(begin);
                }
                stream.data.extend_from_slice(unpadded(payload, flags)?);
            }
            FRAME_HEADERS | FRAME_CONTINUATION => {
                let mut fragment = payload;
                if kind == FRAME_HEADERS {
                    fragment = unpadded(payload, flags)?;
                    if flags & FLAG_PRIORITY != 0 {
                        fragment = fragment.get(5..).context("a priority that is cut short")?;
                    }
                }
                block.extend_from_slice(fragment);
                if flags & FLAG_END_HEADERS != 0 {
                    let headers = hpack
                        .decode(&block)
                        .map_err(|error| anyhow::anyhow!("header block: {error:?}"))?;
                    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
                    streams.entry(id).or_default().headers.extend(
                        headers
                            .into_iter()
                            .map(|(name, value)| (text(name), text(value))),
                    );
                    block.clear();
                }
            }
            _ => {}
        }
        position = begin + length;
    }
    Ok(streams)
}

fn unpadded(payload: &[u8], flags: u8) -> anyhow::Result<&[u8]> {
    if flags & FLAG_PADDED == 0 {
        return Ok(payload);
    }
    let (padding, rest) = payload
        .split_first()
        .context("a padded frame without its length")?;
    let end = rest
        .len()
        .checked_sub(usize::from(*padding))
        .context("more padding than frame")?;
    Ok(&rest[..end])
}

/// A mutating call that was answered.
struct Done {
    request: Bytes,
    revision: i64,
    committed: bool,
}

impl Done {
    /// `None` for calls that write nothing by their nature.
    fn of(method: &str, request: &Bytes, answer: &Bytes) -> anyhow::Result<Option<Self>> {
        let revision = |header: Option<etcd::ResponseHeader>| {
            header
                .map(|header| header.revision)
                .context("an answer without a header")
        };
        let request = request.clone();
        let answer = answer.clone();
        let done = match method {
            "/etcdserverpb.KV/Put" => {
                let answer = etcd::PutResponse::decode(answer)?;
                Self {
                    request,
                    revision: revision(answer.header)?,
                    committed: true,
                }
            }
            "/etcdserverpb.KV/DeleteRange" => {
                let answer = etcd::DeleteRangeResponse::decode(answer)?;
                Self {
                    request,
                    revision: revision(answer.header)?,
                    committed: answer.deleted > 0,
                }
            }
            "/etcdserverpb.KV/Txn" => {
                let transaction = etcd::TxnRequest::decode(request.clone())?;
                if !writes(&transaction.success) && !writes(&transaction.failure) {
                    return Ok(None);
                }
                let answer = etcd::TxnResponse::decode(answer)?;
                let committed = wrote(&answer.responses);
                Self {
                    request,
                    revision: revision(answer.header)?,
                    committed,
                }
            }
            "/etcdserverpb.KV/Compact" => {
                let answer = etcd::CompactionResponse::decode(answer)?;
                Self {
                    request,
                    revision: revision(answer.header)?,
                    committed: false,
                }
            }
            "/etcdserverpb.Lease/LeaseGrant" => {
                let answer = etcd::LeaseGrantResponse::decode(answer)?;
                let request = etcd::LeaseGrantRequest {
                    ttl: REPLAY_LEASE_TTL_S,
                    id: answer.id,
                };
                Self {
                    request: request.encode_to_vec().into(),
                    revision: revision(answer.header)?,
                    committed: false,
                }
            }
            "/etcdserverpb.Lease/LeaseRevoke" => {
                bail!("the recording holds a LeaseRevoke, which kube-apiserver never sends")
            }
            _ => return Ok(None),
        };
        Ok(Some(done))
    }
}

fn writes(operations: &[etcd::RequestOp]) -> bool {
    use etcd::request_op::Request;
    operations.iter().any(|operation| match &operation.request {
        Some(Request::RequestPut(_) | Request::RequestDeleteRange(_)) => true,
        Some(Request::RequestTxn(nested)) => writes(&nested.success) || writes(&nested.failure),
        Some(Request::RequestRange(_)) | None => false,
    })
}

fn wrote(results: &[etcd::ResponseOp]) -> bool {
    use etcd::response_op::Response;
    results.iter().any(|result| match &result.response {
        Some(Response::ResponsePut(_)) => true,
        Some(Response::ResponseDeleteRange(deletion)) => deletion.deleted > 0,
        Some(Response::ResponseTxn(nested)) => wrote(&nested.responses),
        Some(Response::ResponseRange(_)) | None => false,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn truth(revision: i64, keys: usize, deleted_leases: Vec<i64>) -> BTreeMap<i64, Revision> {
        BTreeMap::from([(
            revision,
            Revision {
                offset_ns: 5,
                keys,
                deleted_leases,
            },
        )])
    }

    #[test]
    fn a_revision_without_a_call_is_the_expiry_of_its_lease() {
        let calls = extract_calls([], &truth(9, 2, vec![77, 77])).unwrap();
        assert_eq!(calls.len(), 1);
        assert!(calls[0].lease_expiry && calls[0].committed);
        assert_eq!(
            etcd::LeaseRevokeRequest::decode(calls[0].request.clone())
                .unwrap()
                .id,
            77
        );
    }

    #[test]
    fn a_revision_that_nothing_explains_is_an_error() {
        for (keys, leases) in [(1, vec![]), (2, vec![77]), (2, vec![77, 78])] {
            let error = extract_calls([], &truth(9, keys, leases))
                .unwrap_err()
                .to_string();
            assert!(error.contains("revision 9"), "{error}");
        }
    }
}
