//! One connection, seen from the relay.

use std::sync::Arc;

use crate::clock::Reading;
use crate::decode::SharedHashKey;

use super::frame::FrameReader;
use super::sides::{ClientSide, ServerSide};
use super::streams::Streams;
use super::{Observation, ObserverMetrics};

/// What a client sends first (RFC 9113, section 3.4).
const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// Watches one connection between a client and etcd.
///
/// Synchronous, without I/O, and never the cause of a panic; one task feeds it both directions.
/// Bytes must be shown before they are passed on, or an answer could be seen before its request.
#[derive(Debug)]
pub struct ConnectionObserver {
    protocol: Protocol,
    request: FrameReader,
    response: FrameReader,
    streams: Streams,
}

/// What the connection speaks, as far as is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Protocol {
    /// So many bytes of the preface were seen.
    Undecided {
        matched: usize,
    },
    Http2,
    /// Not HTTP/2, or not any more.
    Other,
}

impl ConnectionObserver {
    /// An observer of a connection that has not carried a byte yet. `connection` is its number
    /// within `instance`; `hash_key` is asked for each value, so it may be set later.
    #[must_use]
    pub fn new(
        connection: i64,
        instance: Arc<str>,
        hash_key: SharedHashKey,
        metrics: ObserverMetrics,
    ) -> Self {
        Self {
            protocol: Protocol::Undecided { matched: 0 },
            request: FrameReader::default(),
            response: FrameReader::default(),
            streams: Streams::new(connection, instance, hash_key, metrics),
        }
    }

    /// Whether values of Secrets are hashed too: only with a hash key that is itself a secret.
    /// They are not unless this is called.
    #[must_use]
    pub fn hash_secrets(mut self, hash_secrets: bool) -> Self {
        self.streams.hash_secrets = hash_secrets;
        self
    }

    /// Most memory, in bytes, that all observers with the same metrics may hold together for what is
    /// not complete; to be the same for all of them. 256 MiB unless this is called.
    #[must_use]
    pub fn memory_limit(mut self, bytes: usize) -> Self {
        self.streams.budget.limit(bytes);
        self
    }

    /// Bytes from the client, however they are chunked. What they complete is added to `out`.
    pub fn request_bytes(&mut self, bytes: &[u8], now: Reading, out: &mut Vec<Observation>) {
        let mut rest = bytes;
        if let Protocol::Undecided { matched } = self.protocol {
            let expected = PREFACE.get(matched..).unwrap_or_default();
            let length = expected.len().min(rest.len());
            let (begin, after) = rest.split_at_checked(length).unwrap_or((rest, &[]));
            if !expected.starts_with(begin) {
                let first = if matched == 0 {
                    begin.first().copied()
                } else {
                    Some(PREFACE[0])
                };
                self.stop(not_http2(first), now, out);
                return;
            }
            let matched = matched + length;
            if matched < PREFACE.len() {
                self.protocol = Protocol::Undecided { matched };
                return;
            }
            self.protocol = Protocol::Http2;
            rest = after;
        }
        if self.protocol != Protocol::Http2 {
            return;
        }
        self.request
            .allow_length(self.streams.from_server.max_frame);
        let mut side = ClientSide {
            streams: &mut self.streams,
            now,
            out,
        };
        if let Err(lost) = self.request.read(rest, &mut side) {
            self.stop(
                ("lost_frame_boundary", format!("from the client: {lost}")),
                now,
                out,
            );
        }
    }

    /// Bytes from the server, however they are chunked. What they complete is added to `out`.
    pub fn response_bytes(&mut self, bytes: &[u8], now: Reading, out: &mut Vec<Observation>) {
        if self.protocol == Protocol::Other {
            return;
        }
        self.response
            .allow_length(self.streams.from_client.max_frame);
        let mut side = ServerSide {
            streams: &mut self.streams,
            now,
            out,
        };
        if let Err(lost) = self.response.read(bytes, &mut side) {
            self.stop(
                ("lost_frame_boundary", format!("from the server: {lost}")),
                now,
                out,
            );
        }
    }

    /// The connection ended: what happened to open calls is unknown.
    pub fn closed(&mut self, now: Reading, out: &mut Vec<Observation>) {
        self.streams.end_all(now, out);
        self.protocol = Protocol::Other;
    }

    /// Whether there is any use in showing it more bytes.
    #[must_use]
    pub fn is_observing(&self) -> bool {
        self.protocol != Protocol::Other
    }

    fn stop(&mut self, reason: (&'static str, String), now: Reading, out: &mut Vec<Observation>) {
        let (label, reason) = reason;
        self.streams.end_all(now, out);
        self.streams.metrics.count_unparsed(label);
        self.protocol = Protocol::Other;
        out.push(Observation::Unparsed {
            reason,
            moment: now.moment,
        });
    }
}

/// What begins with `first` instead of the preface: for metrics, and for people. Only the first
/// byte counts, since more of it may not have come.
fn not_http2(first: Option<u8>) -> (&'static str, String) {
    match first {
        Some(0x16) => ("tls", "TLS where plain HTTP/2 was expected".to_owned()),
        Some(b'A'..=b'Z') => (
            "http1",
            "not HTTP/2, but HTTP/1.x by its first letter".to_owned(),
        ),
        Some(byte) => (
            "not_http2",
            format!("not HTTP/2: it begins with the byte 0x{byte:02x}"),
        ),
        None => ("not_http2", "not HTTP/2".to_owned()),
    }
}

#[cfg(test)]
#[path = "connection_tests.rs"]
mod tests;

#[cfg(test)]
#[path = "trouble_tests.rs"]
mod trouble_tests;
