//! Just enough of HTTP/2 framing (RFC 9113) to end a connection in an orderly way: where frames end,
//! which streams are open, and which were seen.
//!
//! Header blocks are not decoded. Whether a call is a stream that never ends by itself (a watch, a
//! lease keep-alive) follows from its shape: see [`Frames::calls_in_flight`].

/// What a client sends first (RFC 9113, section 3.4).
const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// Length of a frame header (section 4.1).
const HEADER_LENGTH: usize = 9;
/// Beyond this many open streams the scanner stops following them, so that its memory is bounded.
const MAXIMUM_TRACKED_STREAMS: usize = 65_536;

const DATA: u8 = 0x0;
const HEADERS: u8 = 0x1;
const RST_STREAM: u8 = 0x3;
const PUSH_PROMISE: u8 = 0x5;
const GOAWAY: u8 = 0x7;
const CONTINUATION: u8 = 0x9;

const END_STREAM: u8 = 0x1;
const END_HEADERS: u8 = 0x4;

/// A frame without its payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct FrameHeader {
    length: u32,
    kind: u8,
    flags: u8,
    stream: u32,
}

impl FrameHeader {
    fn parse(bytes: &[u8; HEADER_LENGTH]) -> Self {
        let [l0, l1, l2, kind, flags, s0, s1, s2, s3] = *bytes;
        Self {
            length: u32::from_be_bytes([0, l0, l1, l2]),
            kind,
            flags,
            // The highest bit is reserved and ignored.
            stream: u32::from_be_bytes([s0 & 0x7f, s1, s2, s3]),
        }
    }

    fn has(self, flag: u8) -> bool {
        self.flags & flag != 0
    }
}

/// A position in a sequence of frames.
#[derive(Debug, Default)]
struct Cursor {
    header: [u8; HEADER_LENGTH],
    header_length: usize,
    payload_left: u32,
}

impl Cursor {
    /// Moves over the rest of the current payload; returns what is left of `bytes`.
    fn skip_payload<'a>(&mut self, bytes: &'a [u8]) -> &'a [u8] {
        let wanted = usize::try_from(self.payload_left).unwrap_or(usize::MAX);
        let (skipped, rest) = bytes.split_at(wanted.min(bytes.len()));
        // A payload is shorter than 2^24 bytes.
        self.payload_left -= u32::try_from(skipped.len()).unwrap_or(self.payload_left);
        rest
    }

    /// Moves over bytes of a frame header; returns what is left, and the header if it is complete.
    fn take_header<'a>(&mut self, bytes: &'a [u8]) -> (&'a [u8], Option<FrameHeader>) {
        let wanted = HEADER_LENGTH - self.header_length;
        let (taken, rest) = bytes.split_at(wanted.min(bytes.len()));
        for (to, from) in self.header.iter_mut().skip(self.header_length).zip(taken) {
            *to = *from;
        }
        self.header_length += taken.len();
        if self.header_length < HEADER_LENGTH {
            return (rest, None);
        }
        self.header_length = 0;
        let frame = FrameHeader::parse(&self.header);
        self.payload_left = frame.length;
        (rest, Some(frame))
    }

    /// Whether a frame has ended and the next has not begun.
    fn between_frames(&self) -> bool {
        self.header_length == 0 && self.payload_left == 0
    }
}

/// What a connection turned out to speak.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Protocol {
    /// Fewer bytes than a preface were seen, all of them as in a preface.
    Undecided {
        /// How many.
        matched: usize,
    },
    /// HTTP/2 with prior knowledge.
    Http2,
    /// Anything else, such as HTTP/1.1.
    Other,
}

#[derive(Debug, Clone, Copy)]
struct OpenStream {
    id: u32,
    /// The client has sent everything.
    request_ended: bool,
    /// The server has begun to answer.
    answered: bool,
}

/// Follows the frames of one connection in both directions.
#[derive(Debug)]
pub(super) struct Frames {
    protocol: Protocol,
    request: Cursor,
    response: Cursor,
    /// A frame of the server has ended: its SETTINGS, which nothing may precede.
    response_began: bool,
    /// Between a HEADERS frame and the end of its header block no other frame may come.
    response_in_header_block: bool,
    /// Sorted by id, because clients open streams in order.
    streams: Vec<OpenStream>,
    highest_stream: u32,
    too_many_streams: bool,
    server_said_goaway: bool,
}

impl Frames {
    pub(super) fn new() -> Self {
        Self {
            protocol: Protocol::Undecided { matched: 0 },
            request: Cursor::default(),
            response: Cursor::default(),
            response_began: false,
            response_in_header_block: false,
            streams: Vec::new(),
            highest_stream: 0,
            too_many_streams: false,
            server_said_goaway: false,
        }
    }

    pub(super) fn protocol(&self) -> Protocol {
        self.protocol
    }

    /// Whether the server itself has announced the end of the connection.
    pub(super) fn server_said_goaway(&self) -> bool {
        self.server_said_goaway
    }

    /// Follows bytes from the client.
    pub(super) fn request_bytes(&mut self, bytes: &[u8]) {
        let mut rest = bytes;
        if let Protocol::Undecided { matched } = self.protocol {
            rest = self.match_preface(matched, rest);
        }
        if self.protocol != Protocol::Http2 {
            return;
        }
        while !rest.is_empty() {
            rest = self.request.skip_payload(rest);
            let (after, frame) = self.request.take_header(rest);
            rest = after;
            if let Some(frame) = frame {
                self.request_frame(frame);
            }
        }
    }

    fn match_preface<'a>(&mut self, matched: usize, bytes: &'a [u8]) -> &'a [u8] {
        let expected = PREFACE.get(matched..).unwrap_or_default();
        let (begin, rest) = bytes.split_at(expected.len().min(bytes.len()));
        self.protocol = if !expected.starts_with(begin) {
            Protocol::Other
        } else if begin.len() == expected.len() {
            Protocol::Http2
        } else {
            Protocol::Undecided {
                matched: matched + begin.len(),
            }
        };
        rest
    }

    fn request_frame(&mut self, frame: FrameHeader) {
        match frame.kind {
            HEADERS if frame.stream > self.highest_stream => {
                self.highest_stream = frame.stream;
                if self.streams.len() >= MAXIMUM_TRACKED_STREAMS {
                    self.too_many_streams = true;
                    return;
                }
                self.streams.push(OpenStream {
                    id: frame.stream,
                    request_ended: frame.has(END_STREAM),
                    answered: false,
                });
            }
            HEADERS | DATA if frame.has(END_STREAM) => {
                if let Some(stream) = self.stream(frame.stream) {
                    stream.request_ended = true;
                }
            }
            RST_STREAM => self.end_stream(frame.stream),
            _ => {}
        }
    }

    /// Follows bytes from the server. With `until_boundary` it stops at the first place where a
    /// frame could be inserted. Returns how many bytes were followed.
    pub(super) fn response_bytes(&mut self, bytes: &[u8], until_boundary: bool) -> usize {
        if self.protocol == Protocol::Other {
            return bytes.len();
        }
        let mut rest = bytes;
        while !rest.is_empty() {
            rest = self.response.skip_payload(rest);
            if self.response.between_frames() {
                // The only way here with `response_began` unset is before the very first header,
                // or at the end of the payload of the first frame.
                if until_boundary && self.insertion_point() {
                    return bytes.len() - rest.len();
                }
            }
            let (after, frame) = self.response.take_header(rest);
            rest = after;
            if let Some(frame) = frame {
                self.response_frame(frame);
            }
        }
        bytes.len()
    }

    fn response_frame(&mut self, frame: FrameHeader) {
        self.response_began = true;
        match frame.kind {
            HEADERS => {
                self.response_in_header_block = !frame.has(END_HEADERS);
                if frame.has(END_STREAM) {
                    self.end_stream(frame.stream);
                } else if let Some(stream) = self.stream(frame.stream) {
                    stream.answered = true;
                }
            }
            PUSH_PROMISE | CONTINUATION => {
                self.response_in_header_block = !frame.has(END_HEADERS);
            }
            DATA if frame.has(END_STREAM) => self.end_stream(frame.stream),
            RST_STREAM => self.end_stream(frame.stream),
            GOAWAY => self.server_said_goaway = true,
            _ => {}
        }
    }

    fn position(&self, id: u32) -> Option<usize> {
        self.streams.binary_search_by_key(&id, |open| open.id).ok()
    }

    fn stream(&mut self, id: u32) -> Option<&mut OpenStream> {
        let position = self.position(id)?;
        self.streams.get_mut(position)
    }

    fn end_stream(&mut self, id: u32) {
        if let Some(position) = self.position(id) {
            self.streams.remove(position);
        }
    }

    /// Whether a frame may be inserted after the response bytes followed so far.
    fn insertion_point(&self) -> bool {
        self.response_began && self.response.between_frames() && !self.response_in_header_block
    }

    /// The GOAWAY to send after the response bytes followed so far, and the filter that must see
    /// every request byte from then on; `None` when this is not the moment.
    ///
    /// It is the moment when the connection speaks HTTP/2, the server has not said it already, a
    /// frame may be inserted, and no request frame header has been forwarded in part: the stream
    /// that it belongs to could not be told.
    pub(super) fn goaway(&self) -> Option<(GoawayFrame, StreamFilter)> {
        let possible = self.protocol == Protocol::Http2
            && !self.server_said_goaway
            && self.insertion_point()
            && self.request.header_length == 0;
        if !possible {
            return None;
        }
        let [l0, l1, l2, l3] = self.highest_stream.to_be_bytes();
        // Eight bytes of payload: the last stream, and the error code 0 (NO_ERROR).
        let frame = [0, 0, 8, GOAWAY, 0, 0, 0, 0, 0, l0, l1, l2, l3, 0, 0, 0, 0];
        let filter = StreamFilter {
            cursor: Cursor {
                payload_left: self.request.payload_left,
                ..Cursor::default()
            },
            keep: true,
            last_stream: self.highest_stream,
        };
        Some((frame, filter))
    }

    /// Whether everything the server sent so far is whole frames.
    pub(super) fn response_is_whole(&self) -> bool {
        self.response.between_frames() && !self.response_in_header_block
    }

    /// Whether a call may be waiting for its answer.
    ///
    /// A call is a stream whose request has ended, or which has no answer yet (its request may
    /// still be on its way). What remains is a stream in both directions that the server has begun
    /// to answer: a watch or a lease keep-alive, which clients open again elsewhere.
    pub(super) fn calls_in_flight(&self) -> bool {
        self.too_many_streams
            || self
                .streams
                .iter()
                .any(|stream| stream.request_ended || !stream.answered)
    }
}

/// A GOAWAY frame (section 6.8) without debug data.
pub(super) type GoawayFrame = [u8; HEADER_LENGTH + 8];

/// Keeps back the streams that a GOAWAY has declared unprocessed: the client is free to repeat
/// those calls elsewhere, so the server must never see them.
///
/// The server's header compression state lacks the header blocks that are kept back. That would
/// only matter for trailers sent by the client, which gRPC does not have.
#[derive(Debug)]
pub(super) struct StreamFilter {
    cursor: Cursor,
    /// Whether the current frame passes.
    keep: bool,
    last_stream: u32,
}

impl StreamFilter {
    /// What of `bytes` goes on to the server.
    pub(super) fn filter(&mut self, bytes: &[u8]) -> Vec<u8> {
        let mut kept = Vec::with_capacity(bytes.len());
        let mut rest = bytes;
        while !rest.is_empty() {
            let after = self.cursor.skip_payload(rest);
            if self.keep {
                let payload = rest.len() - after.len();
                kept.extend(rest.iter().take(payload));
            }
            let (after, frame) = self.cursor.take_header(after);
            rest = after;
            if let Some(frame) = frame {
                self.keep = frame.stream <= self.last_stream;
                if self.keep {
                    kept.extend_from_slice(&self.cursor.header);
                }
            }
        }
        kept
    }
}
