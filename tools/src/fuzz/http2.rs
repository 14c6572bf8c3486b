//! Connections to show to the observer, and what it says of them.

use std::time::Instant;

use cascade_interceptor::clock::Reading;
use cascade_interceptor::decode::{HashKey, SharedHashKey};
use cascade_interceptor::observer::fuzzing::held;
use cascade_interceptor::observer::{ConnectionObserver, Observation, ObserverMetrics};
use cascade_proto::tables::Moment;

pub(super) const DATA: u8 = 0x0;
pub(super) const HEADERS: u8 = 0x1;
const SETTINGS: u8 = 0x4;
pub(super) const END_STREAM: u8 = 0x1;
pub(super) const END_HEADERS: u8 = 0x4;
/// Longest frame that needs no announcement (RFC 9113, section 6.5.2).
pub(super) const MAX_FRAME: usize = 16_384;

/// Bytes of one direction.
#[derive(Debug, Clone)]
pub(super) struct Turn {
    pub(super) from_client: bool,
    pub(super) bytes: Vec<u8>,
}

/// A frame. A payload that is longer than a length can say is cut.
pub(super) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len())
        .unwrap_or(u32::MAX)
        .min(0x00ff_ffff);
    let [_, l0, l1, l2] = length.to_be_bytes();
    let mut frame = vec![l0, l1, l2, kind, flags];
    frame.extend(stream.to_be_bytes());
    frame.extend(payload.iter().take(length as usize));
    frame
}

/// What a client and a server begin with.
pub(super) fn start() -> [Turn; 2] {
    let settings = frame(SETTINGS, 0, 0, &[]);
    let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
    [
        Turn {
            from_client: true,
            bytes: [preface, settings.clone()].concat(),
        },
        Turn {
            from_client: false,
            bytes: settings,
        },
    ]
}

/// A literal field that enters no table, with a name from the static table or its own, not
/// Huffman-coded.
fn literal(block: &mut Vec<u8>, name: Result<u8, &str>, value: &str) {
    const FOUR_BITS: u8 = 15;
    match name {
        Ok(index) if index < FOUR_BITS => block.push(index),
        Ok(index) => block.extend([FOUR_BITS, index - FOUR_BITS]),
        Err(name) => {
            block.push(0);
            string(block, name);
        }
    }
    string(block, value);
}

/// A string; one longer than its length's single octet can say is cut.
fn string(block: &mut Vec<u8>, text: &str) {
    let length = u8::try_from(text.len()).unwrap_or(126).min(126);
    block.push(length);
    block.extend(text.bytes().take(usize::from(length)));
}

/// The headers of a gRPC call.
pub(super) fn request_headers(path: &str) -> Vec<u8> {
    let mut block = vec![0x83, 0x86]; // POST, http
    literal(&mut block, Ok(4), path);
    literal(&mut block, Ok(31), "application/grpc");
    frame(HEADERS, END_HEADERS, 1, &block)
}

/// The headers of its answer.
pub(super) fn answer_headers() -> Vec<u8> {
    let mut block = vec![0x88]; // 200
    literal(&mut block, Ok(31), "application/grpc");
    frame(HEADERS, END_HEADERS, 1, &block)
}

/// The end of its answer.
pub(super) fn trailers() -> Vec<u8> {
    let mut block = Vec::new();
    literal(&mut block, Err("grpc-status"), "0");
    frame(HEADERS, END_HEADERS | END_STREAM, 1, &block)
}

/// Shows a connection to an observer, cut into chunks of `sizes` over and over; whole turns
/// without sizes. All at one moment, so that what is seen depends on the bytes alone.
///
/// # Panics
/// When the observer keeps calls or memory after the end.
pub(super) fn observe(turns: &[Turn], sizes: &[usize]) -> Vec<Observation> {
    let hash_key = SharedHashKey::default();
    hash_key.set(HashKey::from_cluster_id(1));
    let metrics = ObserverMetrics::default();
    let mut observer = ConnectionObserver::new(1, "fuzz".into(), hash_key, metrics.clone());
    let now = Reading {
        moment: Moment { unix_nano: 1 },
        instant: Instant::now(),
    };
    let mut seen = Vec::new();
    let mut sizes = sizes.iter().cycle();
    for turn in turns {
        let mut rest = turn.bytes.as_slice();
        while !rest.is_empty() {
            let size = sizes.next().map_or(usize::MAX, |size| (*size).max(1));
            let (chunk, after) = rest.split_at(size.min(rest.len()));
            rest = after;
            if turn.from_client {
                observer.request_bytes(chunk, now, &mut seen);
            } else {
                observer.response_bytes(chunk, now, &mut seen);
            }
        }
    }
    observer.closed(now, &mut seen);
    assert_eq!(held(&metrics), (0, 0), "open calls and bytes after the end");
    for observation in &mut seen {
        if let Observation::Call(rows) = observation {
            for row in rows {
                // The same but for the part that is random for each connection.
                row.call_id = row
                    .call_id
                    .rsplit('-')
                    .next()
                    .unwrap_or_default()
                    .to_owned();
            }
        }
    }
    seen
}
