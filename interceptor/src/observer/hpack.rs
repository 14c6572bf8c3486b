//! Header compression (RFC 7541) as far as an onlooker needs it: which of a few header fields a
//! block holds, at the least cost.
//!
//! A decoder that serves an endpoint must know every field and the exact size of its table. Looking
//! on allows less:
//! - Indices count from the newest entry, and only the oldest ones are ever evicted. An entry that
//!   is kept longer than the peers keep it does no harm, because nobody refers to it. So sizes may
//!   be estimated from below, and strings stay as they came: only [`Text::decode`] undoes Huffman
//!   coding, when somebody wants the value. The one case in which sizes matter is an entry larger
//!   than the whole table, which empties it: near that limit they are computed exactly.
//! - Values of fields of no interest are not kept.
//! - After an error the table is emptied and decoding goes on: new entries get the right indices, so
//!   it heals as the peers add entries. Until then a reference to an older entry is an
//!   [`Name::Unknown`].
//! - The limit that SETTINGS_HEADER_TABLE_SIZE puts on the peer needs no attention: within it, the
//!   peer announces in the block itself how large its table is, and when that takes effect.

use std::collections::VecDeque;

use thiserror::Error;

use super::huffman::{self, InvalidHuffman, LONGEST_CODE, SHORTEST_CODE};

/// The header fields that the observer reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Name {
    /// `:path`: the gRPC method.
    Path,
    /// `:status`: the HTTP status.
    Status,
    /// `content-type`.
    ContentType,
    /// `grpc-timeout`: the caller's deadline.
    GrpcTimeout,
    /// `grpc-status`: the status of a call, in its trailers.
    GrpcStatus,
    /// `traceparent` (W3C Trace Context).
    Traceparent,
    /// `baggage` (W3C Baggage).
    Baggage,
    /// Any other field.
    Other,
    /// A field whose table entry was lost: it may be any.
    Unknown,
}

impl Name {
    /// Length of the longest name of interest.
    const LONGEST: usize = 12;

    pub(super) fn of(name: &[u8]) -> Self {
        match name {
            b":path" => Self::Path,
            b":status" => Self::Status,
            b"content-type" => Self::ContentType,
            b"grpc-timeout" => Self::GrpcTimeout,
            b"grpc-status" => Self::GrpcStatus,
            b"traceparent" => Self::Traceparent,
            b"baggage" => Self::Baggage,
            _ => Self::Other,
        }
    }

    fn is_of_interest(self) -> bool {
        !matches!(self, Self::Other | Self::Unknown)
    }
}

/// A header string as it was sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Text<'a> {
    /// The bytes sent.
    pub(super) raw: &'a [u8],
    /// Whether they are Huffman-coded.
    pub(super) huffman: bool,
}

impl<'a> Text<'a> {
    /// The string itself; `scratch` is used for it if it was Huffman-coded.
    ///
    /// # Errors
    /// [`InvalidHuffman`].
    pub(super) fn decode<'s>(self, scratch: &'s mut Vec<u8>) -> Result<&'s [u8], InvalidHuffman>
    where
        'a: 's,
    {
        if !self.huffman {
            return Ok(self.raw);
        }
        scratch.clear();
        huffman::decode(self.raw, scratch)?;
        Ok(scratch)
    }

    fn length(self) -> Result<usize, InvalidHuffman> {
        if self.huffman {
            huffman::decoded_length(self.raw)
        } else {
            Ok(self.raw.len())
        }
    }

    /// A lower and an upper bound of [`Text::length`] that need no decoding.
    fn length_bounds(self) -> (usize, usize) {
        if !self.huffman {
            return (self.raw.len(), self.raw.len());
        }
        let bits = self.raw.len().saturating_mul(8);
        (bits.saturating_sub(7) / LONGEST_CODE, bits / SHORTEST_CODE)
    }
}

/// A field of a header block. The value of a field that is of no interest may be empty.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Field<'a> {
    pub(super) name: Name,
    pub(super) value: Text<'a>,
}

/// A header block that cannot be decoded; what follows in it is lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub(super) enum HpackError {
    /// The block ends in the middle of a field.
    #[error("header block ends within a field")]
    Truncated,
    /// An integer does not fit into 32 bits.
    #[error("integer too large in a header block")]
    Integer,
    /// A reference to entry 0, which does not exist.
    #[error("reference to table entry 0")]
    IndexZero,
    /// See [`InvalidHuffman`].
    #[error(transparent)]
    Huffman(#[from] InvalidHuffman),
}

/// Table size both ends start with (RFC 9113, section 6.5.2), bytes.
const INITIAL_TABLE_SIZE: usize = 4096;
/// What is kept at most per table, in the same measure, bytes. If the peers agree on more, entries
/// older than that are forgotten early.
const KEPT_TABLE_SIZE: usize = 64 << 10;
/// What an entry counts beyond its strings (RFC 7541, section 4.1).
const ENTRY_OVERHEAD: usize = 32;
const STATIC_ENTRIES: usize = 61;

#[derive(Debug)]
struct Entry {
    name: Name,
    huffman: bool,
    /// Octets of the name; 0 if the name is not known.
    name_length: u32,
    /// Where in `Table::values` the value is kept, and how many bytes of it: 0 unless the field is
    /// of interest.
    start: u64,
    kept: u32,
    /// Estimated from below.
    size: u32,
}

/// The dynamic table of one direction.
#[derive(Debug)]
struct Table {
    /// Newest first.
    entries: VecDeque<Entry>,
    /// Values that are kept, oldest first, so that both ends move like `entries`.
    values: ByteQueue,
    /// Sum of the sizes of `entries`, estimated from below.
    size: usize,
    /// The size the peers keep to.
    agreed_size: usize,
}

impl Table {
    fn capacity(&self) -> usize {
        self.agreed_size.min(KEPT_TABLE_SIZE)
    }

    fn get(&self, index: usize) -> Option<(&Entry, Text<'_>)> {
        let entry = self.entries.get(index)?;
        let raw = self.values.get(entry.start, entry.kept as usize);
        Some((
            entry,
            Text {
                raw,
                huffman: entry.huffman,
            },
        ))
    }

    fn evict_down_to(&mut self, size: usize) {
        while self.size > size {
            let Some(oldest) = self.entries.pop_back() else {
                self.size = 0;
                break;
            };
            self.size = self.size.saturating_sub(oldest.size as usize);
            self.values.drop_front(oldest.kept as usize);
        }
    }

    fn resize(&mut self, size: usize) {
        self.agreed_size = size;
        self.evict_down_to(self.capacity());
    }

    fn insert(
        &mut self,
        name: Name,
        name_length: usize,
        value: Text<'_>,
    ) -> Result<(), InvalidHuffman> {
        let (least, most) = value.length_bounds();
        let mut size = ENTRY_OVERHEAD + name_length + least;
        if ENTRY_OVERHEAD + name_length + most > self.capacity() {
            size = ENTRY_OVERHEAD + name_length + value.length()?;
            if size > self.agreed_size {
                self.evict_down_to(0);
                return Ok(());
            }
        }
        // An entry that only the peers have room for still takes its place, without its value.
        let fits = size <= self.capacity();
        let size = if fits { size } else { ENTRY_OVERHEAD };
        self.evict_down_to(self.capacity().saturating_sub(size));
        let kept = if fits && name.is_of_interest() {
            value.raw
        } else {
            &[]
        };
        let start = self.values.push(kept);
        self.size += size;
        self.entries.push_front(Entry {
            name: if fits || !name.is_of_interest() {
                name
            } else {
                Name::Unknown
            },
            huffman: value.huffman,
            name_length: clamp(name_length),
            start,
            kept: clamp(kept.len()),
            size: clamp(size),
        });
        Ok(())
    }
}

/// Sizes in a table are bounded by `KEPT_TABLE_SIZE`, or by the 32 bits of an HPACK integer.
fn clamp(size: usize) -> u32 {
    u32::try_from(size).unwrap_or(u32::MAX)
}

/// Decodes the header blocks of one direction of a connection, in order.
#[derive(Debug)]
pub(super) struct HpackDecoder {
    table: Table,
}

impl Default for HpackDecoder {
    fn default() -> Self {
        Self {
            table: Table {
                entries: VecDeque::new(),
                values: ByteQueue::default(),
                size: 0,
                agreed_size: INITIAL_TABLE_SIZE,
            },
        }
    }
}

impl HpackDecoder {
    /// Decodes one complete header block, handing on its fields in order.
    ///
    /// # Errors
    /// [`HpackError`]: the rest of the block is lost, and the table is emptied.
    pub(super) fn decode(
        &mut self,
        block: &[u8],
        field: impl FnMut(Field<'_>),
    ) -> Result<(), HpackError> {
        let decoded = self.decode_fields(block, field);
        if decoded.is_err() {
            self.forget();
        }
        decoded
    }

    /// Empties the table: a header block was lost, so indices of older entries are not known.
    pub(super) fn forget(&mut self) {
        self.table.evict_down_to(0);
    }

    fn decode_fields(
        &mut self,
        block: &[u8],
        mut field: impl FnMut(Field<'_>),
    ) -> Result<(), HpackError> {
        let mut input = Input(block);
        while let Some(first) = input.peek() {
            if first & 0x80 != 0 {
                let index = input.integer(7)?;
                field(self.indexed(index)?);
            } else if first & 0xe0 == 0x20 {
                let size = input.integer(5)?;
                self.table.resize(size);
            } else {
                let indexing = first & 0x40 != 0;
                let index = input.integer(if indexing { 6 } else { 4 })?;
                let (name, name_length) = if index == 0 {
                    literal_name(input.string()?)?
                } else {
                    self.name(index)
                };
                let value = input.string()?;
                field(Field { name, value });
                if indexing {
                    self.table.insert(name, name_length, value)?;
                }
            }
        }
        Ok(())
    }

    fn indexed(&self, index: usize) -> Result<Field<'_>, HpackError> {
        if index == 0 {
            return Err(HpackError::IndexZero);
        }
        if let Some((name, value)) = static_field(index) {
            return Ok(Field {
                name,
                value: Text {
                    raw: value,
                    huffman: false,
                },
            });
        }
        let lost = Field {
            name: Name::Unknown,
            value: Text {
                raw: &[],
                huffman: false,
            },
        };
        Ok(self
            .table
            .get(index - STATIC_ENTRIES - 1) // index > 61: `static_field` knows the others
            .map_or(lost, |(entry, value)| Field {
                name: entry.name,
                value,
            }))
    }

    /// Name of the entry `index` (not 0), and its length.
    fn name(&self, index: usize) -> (Name, usize) {
        if let Some((name, _)) = static_field(index) {
            let length = STATIC_NAMES.get(index - 1).map_or(0, |name| name.len());
            return (name, length);
        }
        self.table
            .entries
            .get(index - STATIC_ENTRIES - 1) // as above
            .map_or((Name::Unknown, 0), |entry| {
                (entry.name, entry.name_length as usize)
            })
    }
}

fn literal_name(text: Text<'_>) -> Result<(Name, usize), InvalidHuffman> {
    if !text.huffman {
        return Ok((Name::of(text.raw), text.raw.len()));
    }
    let (least, _) = text.length_bounds();
    if least > Name::LONGEST {
        return Ok((Name::Other, text.length()?));
    }
    let mut decoded = Vec::new();
    huffman::decode(text.raw, &mut decoded)?;
    Ok((Name::of(&decoded), decoded.len()))
}

/// What is left of a header block.
struct Input<'a>(&'a [u8]);

impl<'a> Input<'a> {
    fn peek(&self) -> Option<u8> {
        self.0.first().copied()
    }

    fn byte(&mut self) -> Result<u8, HpackError> {
        let (byte, rest) = self.0.split_first().ok_or(HpackError::Truncated)?;
        self.0 = rest;
        Ok(*byte)
    }

    /// An integer with a prefix of `bits` bits (RFC 7541, section 5.1).
    fn integer(&mut self, bits: u32) -> Result<usize, HpackError> {
        let mask = (1_u32 << bits) - 1;
        let prefix = u32::from(self.byte()?) & mask;
        if prefix < mask {
            return Ok(prefix as usize);
        }
        let mut value = u64::from(prefix);
        // 32 bits take five octets; more of them are refused even if they are zeros.
        for shift in [0, 7, 14, 21, 28] {
            let byte = self.byte()?;
            value += u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                let value = u32::try_from(value).map_err(|_| HpackError::Integer)?;
                return Ok(value as usize);
            }
        }
        Err(HpackError::Integer)
    }

    /// A string literal (RFC 7541, section 5.2).
    fn string(&mut self) -> Result<Text<'a>, HpackError> {
        let huffman = self.peek().ok_or(HpackError::Truncated)? & 0x80 != 0;
        let length = self.integer(7)?;
        let (raw, rest) = self
            .0
            .split_at_checked(length)
            .ok_or(HpackError::Truncated)?;
        self.0 = rest;
        Ok(Text { raw, huffman })
    }
}

/// Bytes that enter at one end and leave at the other, in one piece of memory.
#[derive(Debug, Default)]
struct ByteQueue {
    bytes: Vec<u8>,
    /// Bytes at the front of `bytes` that have left.
    gone: usize,
    /// All bytes that ever entered.
    entered: u64,
}

impl ByteQueue {
    /// Adds `bytes`; gives the position by which [`ByteQueue::get`] finds them.
    fn push(&mut self, bytes: &[u8]) -> u64 {
        // Moving what is left is paid for by the bytes that left since the last time.
        if self.gone > 512 && self.gone * 2 > self.bytes.len() {
            self.bytes.drain(..self.gone.min(self.bytes.len()));
            self.gone = 0;
        }
        let start = self.entered;
        self.bytes.extend_from_slice(bytes);
        self.entered += bytes.len() as u64;
        start
    }

    fn drop_front(&mut self, count: usize) {
        self.gone += count;
        if self.gone >= self.bytes.len() {
            self.bytes.clear();
            self.gone = 0;
        }
    }

    /// `length` bytes from the position `start`; nothing if they have left.
    fn get(&self, start: u64, length: usize) -> &[u8] {
        let from_end = usize::try_from(self.entered - start).unwrap_or(usize::MAX);
        let Some(begin) = self.bytes.len().checked_sub(from_end) else {
            return &[];
        };
        self.bytes.get(begin..begin + length).unwrap_or_default()
    }
}

/// Name and, as far as it is of interest, value of an entry of the static table.
fn static_field(index: usize) -> Option<(Name, &'static [u8])> {
    let field: (Name, &[u8]) = match index {
        4 => (Name::Path, b"/"),
        5 => (Name::Path, b"/index.html"),
        8 => (Name::Status, b"200"),
        9 => (Name::Status, b"204"),
        10 => (Name::Status, b"206"),
        11 => (Name::Status, b"304"),
        12 => (Name::Status, b"400"),
        13 => (Name::Status, b"404"),
        14 => (Name::Status, b"500"),
        31 => (Name::ContentType, b""),
        1..=STATIC_ENTRIES => (Name::Other, b""),
        _ => return None,
    };
    Some(field)
}

/// Names of the static table (RFC 7541, appendix A); their lengths count in sizes.
#[rustfmt::skip]
const STATIC_NAMES: [&str; STATIC_ENTRIES] = [
    ":authority", ":method", ":method", ":path", ":path", ":scheme", ":scheme", ":status", ":status",
    ":status", ":status", ":status", ":status", ":status", "accept-charset", "accept-encoding",
    "accept-language", "accept-ranges", "accept", "access-control-allow-origin", "age", "allow",
    "authorization", "cache-control", "content-disposition", "content-encoding", "content-language",
    "content-length", "content-location", "content-range", "content-type", "cookie", "date", "etag",
    "expect", "expires", "from", "host", "if-match", "if-modified-since", "if-none-match", "if-range",
    "if-unmodified-since", "last-modified", "link", "location", "max-forwards", "proxy-authenticate",
    "proxy-authorization", "range", "referer", "refresh", "retry-after", "server", "set-cookie",
    "strict-transport-security", "transfer-encoding", "user-agent", "vary", "via", "www-authenticate",
];

#[cfg(test)]
#[path = "hpack_tests.rs"]
mod tests;
