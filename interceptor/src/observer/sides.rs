//! What frames from the client and frames from the server mean for the streams of a connection.

use crate::clock::Reading;

use super::Observation;
use super::call::{End, Progress};
use super::direction::CompleteBlock;
use super::frame::{
    CONTINUATION, DATA, END_STREAM, FrameHead, FrameSink, GOAWAY, HEADERS, LostBoundary,
    PUSH_PROMISE, RST_STREAM, SETTINGS, Wanted, number_at,
};
use super::hpack::{Field, Name};
use super::metadata::Metadata;
use super::methods::Method;
use super::request::ValueHasher;
use super::streams::Streams;

/// REFUSED_STREAM: the server did nothing with the stream (RFC 9113, section 8.7).
pub(super) const REFUSED_STREAM: u32 = 0x7;

/// What the headers of a request say, as far as it is of interest.
#[derive(Debug, Default)]
struct RequestHeaders {
    /// Whether the path is known.
    has_path: bool,
    method: Option<Method>,
    /// Whether it is certainly no gRPC.
    other_content: bool,
    /// Whether a field was of unknown name.
    has_unknown: bool,
    metadata: Metadata,
}

impl RequestHeaders {
    fn read(&mut self, field: Field<'_>, scratch: &mut Vec<u8>) {
        match field.name {
            Name::Path => {
                self.has_path = true;
                self.method = Method::of_path(field.value);
            }
            Name::Unknown => self.has_unknown = true,
            // Pseudo-header fields come first, so by now the method is known.
            _ if self.method.is_none() => {}
            Name::ContentType => {
                let is_grpc = |content: &[u8]| content.starts_with(b"application/grpc");
                self.other_content = !field.value.decode(scratch).is_ok_and(is_grpc);
            }
            Name::GrpcTimeout | Name::Traceparent | Name::Baggage => {
                self.metadata.read(field.name, field.value, scratch);
            }
            Name::Status | Name::GrpcStatus | Name::Other => {}
        }
    }
}

/// Takes the frames from the client.
pub(super) struct ClientSide<'a> {
    pub(super) streams: &'a mut Streams,
    pub(super) now: Reading,
    pub(super) out: &'a mut Vec<Observation>,
}

impl FrameSink for ClientSide<'_> {
    fn begins(&mut self, head: &FrameHead) -> Result<Wanted, LostBoundary> {
        self.streams.from_client.check(head)?;
        Ok(match head.kind {
            DATA => match self.streams.calls.get(&head.stream) {
                Some(call) if call.wants_request() => Wanted::Pieces,
                _ => Wanted::Nothing,
            },
            HEADERS | CONTINUATION | SETTINGS => Wanted::Whole,
            RST_STREAM => {
                self.streams
                    .end(head.stream, End::Reset, self.now, self.out);
                Wanted::Nothing
            }
            _ => Wanted::Nothing,
        })
    }

    fn frame(&mut self, head: &FrameHead, payload: &[u8]) -> Result<(), LostBoundary> {
        let Streams {
            from_client,
            scratch,
            budget,
            ..
        } = &mut *self.streams;
        if head.kind == SETTINGS {
            from_client.settings(head, payload);
            return Ok(());
        }
        let mut headers = RequestHeaders::default();
        let read = |field: Field<'_>| headers.read(field, scratch);
        let Some(CompleteBlock { began, is_whole }) =
            from_client.header_frame(head, payload, budget, read)?
        else {
            return Ok(());
        };
        if !is_whole {
            self.streams.metrics.count_header_error("request");
        }
        if began.stream <= self.streams.highest_stream {
            return Ok(()); // trailers
        }
        self.streams.highest_stream = began.stream;
        match headers.method {
            Some(method) if !headers.other_content => {
                self.streams
                    .open(began.stream, method, headers.metadata, self.now, self.out);
            }
            None if !headers.has_path && (!is_whole || headers.has_unknown) => {
                self.streams
                    .miss("request headers lost", self.now, self.out);
            }
            _ => {}
        }
        Ok(())
    }

    fn piece(&mut self, head: &FrameHead, piece: &[u8], _last: bool) {
        let Streams {
            calls,
            budget,
            hash_key,
            hash_secrets,
            ..
        } = &mut *self.streams;
        let Some(call) = calls.get_mut(&head.stream) else {
            return;
        };
        let hasher = || ValueHasher {
            key: hash_key.get(),
            secrets: *hash_secrets,
        };
        let progress = call.request_piece(piece, self.now, hasher, budget);
        if progress == Progress::ReadOnly {
            self.streams.forget(head.stream);
        }
        self.streams.count_opaque(progress);
    }
}

/// Takes the frames from the server.
pub(super) struct ServerSide<'a> {
    pub(super) streams: &'a mut Streams,
    pub(super) now: Reading,
    pub(super) out: &'a mut Vec<Observation>,
}

impl FrameSink for ServerSide<'_> {
    fn begins(&mut self, head: &FrameHead) -> Result<Wanted, LostBoundary> {
        self.streams.from_server.check(head)?;
        let call = || self.streams.calls.get(&head.stream);
        Ok(match head.kind {
            DATA if call().is_some_and(|call| call.wants_response() || head.has(END_STREAM)) => {
                Wanted::Pieces
            }
            HEADERS | CONTINUATION | PUSH_PROMISE | SETTINGS => Wanted::Whole,
            RST_STREAM if call().is_some() => Wanted::Whole,
            GOAWAY if !self.streams.calls.is_empty() => Wanted::Whole,
            _ => Wanted::Nothing,
        })
    }

    fn frame(&mut self, head: &FrameHead, payload: &[u8]) -> Result<(), LostBoundary> {
        match head.kind {
            SETTINGS => self.streams.from_server.settings(head, payload),
            RST_STREAM => {
                let refused = number_at(payload, 0) == Some(REFUSED_STREAM);
                let end = if refused { End::Refused } else { End::Reset };
                self.streams.end(head.stream, end, self.now, self.out);
            }
            GOAWAY => {
                // Streams above the last one it names are not processed, now or later.
                let last = number_at(payload, 0).unwrap_or(u32::MAX) & 0x7fff_ffff;
                let refused = self.streams.calls.range(last.saturating_add(1)..);
                let refused: Vec<u32> = refused.map(|(stream, _)| *stream).collect();
                for stream in refused {
                    self.streams.end(stream, End::Refused, self.now, self.out);
                }
            }
            _ => self.headers(head, payload)?,
        }
        Ok(())
    }

    fn piece(&mut self, head: &FrameHead, piece: &[u8], last: bool) {
        let Streams { calls, budget, .. } = &mut *self.streams;
        let Some(call) = calls.get_mut(&head.stream) else {
            return;
        };
        if call.wants_response() {
            let progress = call.response_piece(piece, self.now, budget);
            self.streams.count_opaque(progress);
        }
        if last && head.has(END_STREAM) {
            self.streams
                .end(head.stream, End::Answered, self.now, self.out);
        }
    }
}

impl ServerSide<'_> {
    fn headers(&mut self, head: &FrameHead, payload: &[u8]) -> Result<(), LostBoundary> {
        let Streams {
            from_server,
            calls,
            scratch,
            budget,
            ..
        } = &mut *self.streams;
        let stream = from_server
            .block
            .open
            .map_or(head.stream, |began| began.stream);
        let is_followed = calls.contains_key(&stream);
        let (mut http_status, mut grpc_status) = (None, None);
        let read = |field: Field<'_>| {
            if !is_followed {
                return;
            }
            match field.name {
                Name::Status => http_status = field.value.decode(scratch).ok().and_then(number),
                Name::GrpcStatus => grpc_status = field.value.decode(scratch).ok().and_then(number),
                _ => {}
            }
        };
        let Some(CompleteBlock { began, is_whole }) =
            from_server.header_frame(head, payload, budget, read)?
        else {
            return Ok(());
        };
        if !is_whole {
            self.streams.metrics.count_header_error("response");
        }
        if began.kind != HEADERS {
            return Ok(()); // a promised stream: its headers are a request of the server's making
        }
        if let Some(call) = self.streams.calls.get_mut(&stream) {
            call.response_headers(http_status, grpc_status);
        }
        if began.has(END_STREAM) {
            self.streams.end(stream, End::Answered, self.now, self.out);
        }
        Ok(())
    }
}

/// A status: a small number in decimal digits.
fn number<T: std::str::FromStr>(digits: &[u8]) -> Option<T> {
    if !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(digits).ok()?.parse().ok()
}
