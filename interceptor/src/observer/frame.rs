//! Cuts one direction of an HTTP/2 connection into frames (RFC 9113, section 4), however the bytes
//! are chunked.
//!
//! A sink says of each frame, by its header, what it wants to see of it. What it does not want is
//! skipped by length and never buffered; a frame that lies in one chunk is handed on in place.

use thiserror::Error;

/// `DATA`.
pub(super) const DATA: u8 = 0x0;
/// `HEADERS`.
pub(super) const HEADERS: u8 = 0x1;
/// `PRIORITY`.
pub(super) const PRIORITY: u8 = 0x2;
/// `RST_STREAM`.
pub(super) const RST_STREAM: u8 = 0x3;
/// `SETTINGS`.
pub(super) const SETTINGS: u8 = 0x4;
/// `PUSH_PROMISE`.
pub(super) const PUSH_PROMISE: u8 = 0x5;
/// `PING`.
pub(super) const PING: u8 = 0x6;
/// `GOAWAY`.
pub(super) const GOAWAY: u8 = 0x7;
/// `WINDOW_UPDATE`.
pub(super) const WINDOW_UPDATE: u8 = 0x8;
/// `CONTINUATION`.
pub(super) const CONTINUATION: u8 = 0x9;

/// `END_STREAM` of DATA and HEADERS: the sender's half of the stream ends here.
pub(super) const END_STREAM: u8 = 0x1;
/// `ACK` of SETTINGS and PING.
pub(super) const ACK: u8 = 0x1;
/// `END_HEADERS` of HEADERS, PUSH_PROMISE and CONTINUATION: the header block ends here.
pub(super) const END_HEADERS: u8 = 0x4;
const PADDED: u8 = 0x8;
const PRIORITISED: u8 = 0x20;

/// Frame size that every endpoint accepts without having announced more (RFC 9113, section 4.2).
const DEFAULT_MAX_LENGTH: u32 = 16 << 10;

/// Where a frame starts is not known any more, or what starts there cannot be read.
///
/// The peers themselves treat nearly all of these as a connection error.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub(super) enum LostBoundary {
    /// A frame is longer than its receiver ever announced to accept.
    #[error("frame of {length} bytes where at most {limit} are allowed")]
    TooLong {
        /// Length in the frame header.
        length: u32,
        /// Largest length announced so far.
        limit: u32,
    },
    /// The length is not the one that this type of frame has.
    #[error("frame of type {kind} with a length of {length} bytes")]
    WrongLength {
        /// Type of the frame.
        kind: u8,
        /// Length in the frame header.
        length: u32,
    },
    /// A frame that belongs to a stream is on stream 0, or one that does not is on another.
    #[error("frame of type {kind} on stream {stream}")]
    WrongStream {
        /// Type of the frame.
        kind: u8,
        /// Stream in the frame header.
        stream: u32,
    },
    /// The frame must be read as a whole and is longer than any that is sent in earnest.
    #[error("frame of type {kind} with {length} bytes, more than are read at once")]
    TooMuch {
        /// Type of the frame.
        kind: u8,
        /// Length in the frame header.
        length: u32,
    },
    /// There is more padding than frame.
    #[error("padding longer than its frame")]
    Padding,
    /// A header block is interrupted by another frame, or continued without having begun.
    #[error("frame of type {kind} where a header block {}", if *.open { "goes on" } else { "has not begun" })]
    HeaderBlock {
        /// Type of the frame.
        kind: u8,
        /// Whether a header block was open.
        open: bool,
    },
    /// The first frame is not SETTINGS.
    #[error("frame of type {kind} where the first one must be SETTINGS")]
    NoSettings {
        /// Type of the frame.
        kind: u8,
    },
}

/// The header of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct FrameHead {
    /// Bytes that follow.
    pub(super) length: u32,
    /// Type.
    pub(super) kind: u8,
    /// Flags; their meaning depends on the type.
    pub(super) flags: u8,
    /// Stream, 0 for the connection.
    pub(super) stream: u32,
}

impl FrameHead {
    const LENGTH: usize = 9;

    fn parse(bytes: [u8; Self::LENGTH]) -> Self {
        let [l0, l1, l2, kind, flags, s0, s1, s2, s3] = bytes;
        Self {
            length: u32::from_be_bytes([0, l0, l1, l2]),
            kind,
            flags,
            stream: u32::from_be_bytes([s0, s1, s2, s3]) & 0x7fff_ffff,
        }
    }

    /// Whether `flag` is set.
    pub(super) fn has(&self, flag: u8) -> bool {
        self.flags & flag != 0
    }

    /// Whether a frame of this type and length may exist on this stream.
    fn check(&self, limit: u32) -> Result<(), LostBoundary> {
        let Self {
            length,
            kind,
            stream,
            ..
        } = *self;
        if length > limit {
            return Err(LostBoundary::TooLong { length, limit });
        }
        let right_length = match kind {
            PRIORITY => length == 5,
            RST_STREAM | WINDOW_UPDATE => length == 4,
            PING => length == 8,
            SETTINGS => length % 6 == 0 && (length == 0 || !self.has(ACK)),
            GOAWAY => length >= 8,
            _ => true,
        };
        if !right_length {
            return Err(LostBoundary::WrongLength { kind, length });
        }
        let right_stream = match kind {
            DATA | HEADERS | PRIORITY | RST_STREAM | PUSH_PROMISE | CONTINUATION => stream != 0,
            SETTINGS | PING | GOAWAY => stream == 0,
            _ => true,
        };
        if right_stream {
            Ok(())
        } else {
            Err(LostBoundary::WrongStream { kind, stream })
        }
    }
}

/// What a sink wants to see of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wanted {
    /// The payload in one piece; it is buffered if it comes in several chunks.
    Whole,
    /// The payload of DATA as it comes, without padding.
    Pieces,
    /// Nothing.
    Nothing,
}

/// Takes the frames of one direction.
pub(super) trait FrameSink {
    /// A frame begins: how much of it is wanted?
    ///
    /// # Errors
    /// [`LostBoundary`] if no frame of this kind can begin here.
    fn begins(&mut self, head: &FrameHead) -> Result<Wanted, LostBoundary>;

    /// A frame of which [`Wanted::Whole`] was said.
    ///
    /// # Errors
    /// [`LostBoundary`] if the payload cannot be one of this kind.
    fn frame(&mut self, head: &FrameHead, payload: &[u8]) -> Result<(), LostBoundary>;

    /// A part of a frame of which [`Wanted::Pieces`] was said; at least one with `last`.
    fn piece(&mut self, head: &FrameHead, piece: &[u8], last: bool);
}

#[derive(Debug)]
enum State {
    /// Within the header of a frame.
    Head {
        bytes: [u8; FrameHead::LENGTH],
        have: usize,
    },
    /// Within a payload of which `missing` bytes are still to come.
    Skip {
        missing: u32,
    },
    Whole {
        head: FrameHead,
        missing: u32,
    },
    /// Before the first byte of a padded frame, which says how much padding there is.
    PadLength {
        head: FrameHead,
    },
    Pieces {
        head: FrameHead,
        missing: u32,
        padding: u32,
    },
}

impl State {
    const START: Self = Self::Head {
        bytes: [0; FrameHead::LENGTH],
        have: 0,
    };
}

/// Longest frame that is put together in one piece, bytes: of headers and settings. Their senders
/// cut header blocks into frames of 16 KiB.
const MAX_WHOLE: u32 = 1 << 20;
/// Capacity that the buffer of [`Wanted::Whole`] frames keeps between frames, so that thousands of
/// idle connections stay small.
const KEPT_CAPACITY: usize = 1024;

/// Cuts one direction into frames.
#[derive(Debug)]
pub(super) struct FrameReader {
    state: State,
    max_length: u32,
    /// What has come of a `Whole` frame.
    gathered: Vec<u8>,
}

impl Default for FrameReader {
    fn default() -> Self {
        Self {
            state: State::START,
            max_length: DEFAULT_MAX_LENGTH,
            gathered: Vec::new(),
        }
    }
}

impl FrameReader {
    /// The receiver announced to accept frames of `length` bytes. What was allowed before stays
    /// allowed: when the sender learns of it is not known.
    pub(super) fn allow_length(&mut self, length: u32) {
        self.max_length = self.max_length.max(length);
    }

    /// Reads the next bytes of the direction.
    ///
    /// # Errors
    /// [`LostBoundary`]; nothing more can be read then.
    pub(super) fn read(
        &mut self,
        mut input: &[u8],
        sink: &mut impl FrameSink,
    ) -> Result<(), LostBoundary> {
        // A payload may be empty, so a turn may be needed with no input left.
        while let Some(rest) = self.step(input, sink)? {
            input = rest;
        }
        Ok(())
    }

    /// One step: a frame header, or as much of a payload as there is. `None` when nothing more can
    /// be done without more input, else what is left of `input`.
    fn step<'i>(
        &mut self,
        input: &'i [u8],
        sink: &mut impl FrameSink,
    ) -> Result<Option<&'i [u8]>, LostBoundary> {
        match &mut self.state {
            State::Head { bytes, have } => {
                let mut rest = input;
                for byte in bytes.iter_mut().skip(*have) {
                    let Some((first, after)) = rest.split_first() else {
                        *have += input.len();
                        return Ok(None);
                    };
                    *byte = *first;
                    rest = after;
                }
                let head = FrameHead::parse(*bytes);
                self.state = self.begin(head, sink)?;
                Ok(Some(rest))
            }
            State::Skip { missing } => {
                let (skipped, rest) = split(input, *missing);
                *missing -= length(skipped);
                if *missing > 0 {
                    return Ok(None);
                }
                self.state = State::START;
                Ok(Some(rest))
            }
            State::Whole { head, missing } => {
                let (part, rest) = split(input, *missing);
                *missing -= length(part);
                if *missing > 0 {
                    self.gathered.extend_from_slice(part);
                    return Ok(None);
                }
                let head = *head;
                self.state = State::START;
                if self.gathered.is_empty() {
                    sink.frame(&head, part)?;
                } else {
                    self.gathered.extend_from_slice(part);
                    sink.frame(&head, &self.gathered)?;
                    self.gathered.clear();
                    self.gathered.shrink_to(KEPT_CAPACITY);
                }
                Ok(Some(rest))
            }
            State::PadLength { head } => {
                let Some((padding, rest)) = input.split_first() else {
                    return Ok(None);
                };
                let padding = u32::from(*padding);
                let missing = head
                    .length
                    .checked_sub(1 + padding)
                    .ok_or(LostBoundary::Padding)?;
                self.state = State::Pieces {
                    head: *head,
                    missing,
                    padding,
                };
                Ok(Some(rest))
            }
            State::Pieces {
                head,
                missing,
                padding,
            } => {
                let (part, rest) = split(input, *missing);
                *missing -= length(part);
                let last = *missing == 0;
                if last || !part.is_empty() {
                    sink.piece(head, part, last);
                }
                if !last {
                    return Ok(None);
                }
                self.state = State::Skip { missing: *padding };
                Ok(Some(rest))
            }
        }
    }

    fn begin(&self, head: FrameHead, sink: &mut impl FrameSink) -> Result<State, LostBoundary> {
        head.check(self.max_length)?;
        let missing = head.length;
        Ok(match sink.begins(&head)? {
            Wanted::Nothing => State::Skip { missing },
            Wanted::Whole if missing > MAX_WHOLE => {
                return Err(LostBoundary::TooMuch {
                    kind: head.kind,
                    length: missing,
                });
            }
            Wanted::Whole => State::Whole { head, missing },
            Wanted::Pieces if head.has(PADDED) && missing == 0 => {
                return Err(LostBoundary::Padding);
            }
            Wanted::Pieces if head.has(PADDED) => State::PadLength { head },
            Wanted::Pieces => State::Pieces {
                head,
                missing,
                padding: 0,
            },
        })
    }
}

/// The first `count` bytes of `input`, or all if it is shorter, and the rest.
fn split(input: &[u8], count: u32) -> (&[u8], &[u8]) {
    input
        .split_at_checked(count as usize)
        .unwrap_or((input, &[]))
}

/// Length of a part of a frame: at most the length of the frame, which has 24 bits.
fn length(part: &[u8]) -> u32 {
    u32::try_from(part.len()).unwrap_or(u32::MAX)
}

/// The header block fragment of a HEADERS or PUSH_PROMISE frame: its payload without padding,
/// priority and promised stream.
///
/// # Errors
/// [`LostBoundary::Padding`] if these do not fit into the payload.
pub(super) fn header_fragment<'p>(
    head: &FrameHead,
    payload: &'p [u8],
) -> Result<&'p [u8], LostBoundary> {
    let mut fragment = payload;
    // CONTINUATION has neither padding nor priority.
    if head.has(PADDED) && head.kind != CONTINUATION {
        let (padding, rest) = fragment.split_first().ok_or(LostBoundary::Padding)?;
        let end = rest
            .len()
            .checked_sub(usize::from(*padding))
            .ok_or(LostBoundary::Padding)?;
        fragment = rest.get(..end).unwrap_or_default();
    }
    let prefix = match head.kind {
        HEADERS if head.has(PRIORITISED) => 5,
        PUSH_PROMISE => 4,
        _ => 0,
    };
    fragment.get(prefix..).ok_or(LostBoundary::Padding)
}

/// The setting `identifier` in the payload of a SETTINGS frame; the last one counts.
pub(super) fn setting(payload: &[u8], identifier: u16) -> Option<u32> {
    let (settings, _) = payload.as_chunks::<6>();
    settings.iter().rev().find_map(|[i0, i1, v0, v1, v2, v3]| {
        let is_wanted = u16::from_be_bytes([*i0, *i1]) == identifier;
        is_wanted.then(|| u32::from_be_bytes([*v0, *v1, *v2, *v3]))
    })
}

/// SETTINGS_MAX_FRAME_SIZE.
pub(super) const MAX_FRAME_SIZE: u16 = 0x5;

/// The 32-bit number at `offset` in a payload: error code or last stream.
pub(super) fn number_at(payload: &[u8], offset: usize) -> Option<u32> {
    payload
        .get(offset..)?
        .first_chunk::<4>()
        .map(|bytes| u32::from_be_bytes(*bytes))
}

#[cfg(test)]
#[path = "frame_tests.rs"]
mod tests;
