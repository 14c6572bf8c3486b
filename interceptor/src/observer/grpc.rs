//! Reassembles gRPC messages from DATA frames: five bytes of prefix (compressed or not, length),
//! then the message. Unary calls carry one message each way; anything after it is ignored.

use super::budget::Budget;

/// Longest message that is put together from several pieces, bytes. etcd's own limit for requests
/// is 2 MiB by default (`--max-request-bytes` plus 512 KiB).
const MAX_MESSAGE: usize = 8 << 20;

/// Why the content of a message is not known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Opaque {
    /// It is compressed.
    Compressed,
    /// It is longer than what is put together.
    TooLong,
    /// Too much is buffered already, on this connection or in all.
    NoRoom,
    /// It is not the message that this method has.
    Malformed,
}

impl Opaque {
    /// For metrics.
    pub(super) fn label(self) -> &'static str {
        match self {
            Self::Compressed => "compressed",
            Self::TooLong => "too_long",
            Self::NoRoom => "no_room",
            Self::Malformed => "malformed",
        }
    }
}

#[derive(Debug)]
enum State {
    Prefix {
        bytes: [u8; Assembler::PREFIX],
        have: usize,
    },
    Body,
    /// All that matters was seen.
    Done,
}

/// Puts the first message of one direction of a stream together.
#[derive(Debug)]
pub(super) struct Assembler {
    state: State,
    /// Length in the prefix; `None` until it is complete.
    length: Option<u32>,
    gathered: Vec<u8>,
    /// Bytes of the budget that are held for `gathered`.
    reserved: usize,
}

impl Assembler {
    const PREFIX: usize = 5;

    /// Before the first byte.
    pub(super) fn new() -> Self {
        Self {
            state: State::Prefix {
                bytes: [0; Self::PREFIX],
                have: 0,
            },
            length: None,
            gathered: Vec::new(),
            reserved: 0,
        }
    }

    /// Length of the message in bytes, without prefix; `None` if it was not seen yet.
    pub(super) fn length(&self) -> Option<u32> {
        self.length
    }

    /// Takes the next piece. Gives the message as soon as it is complete, once; or at once why it
    /// will not be known.
    pub(super) fn push<'a>(
        &'a mut self,
        piece: &'a [u8],
        budget: &mut Budget,
    ) -> Option<Result<&'a [u8], Opaque>> {
        let mut body = piece;
        if let State::Prefix { bytes, have } = &mut self.state {
            for byte in bytes.iter_mut().skip(*have) {
                let Some((first, rest)) = body.split_first() else {
                    *have += piece.len();
                    return None;
                };
                *byte = *first;
                body = rest;
            }
            let [compressed, l0, l1, l2, l3] = *bytes;
            let length = u32::from_be_bytes([l0, l1, l2, l3]);
            self.length = Some(length);
            self.state = State::Done;
            if compressed != 0 {
                return Some(Err(Opaque::Compressed));
            }
            let length = length as usize;
            if let Some(message) = body.get(..length) {
                return Some(Ok(message));
            }
            if length > MAX_MESSAGE {
                return Some(Err(Opaque::TooLong));
            }
            if !budget.reserve(length) {
                return Some(Err(Opaque::NoRoom));
            }
            self.reserved = length;
            self.gathered.reserve_exact(length);
            self.state = State::Body;
        }
        if !matches!(self.state, State::Body) {
            return None;
        }
        let missing = self.reserved - self.gathered.len();
        self.gathered
            .extend_from_slice(body.get(..missing).unwrap_or(body));
        if self.gathered.len() < self.reserved {
            return None;
        }
        self.state = State::Done;
        Some(Ok(&self.gathered))
    }

    /// Gives the buffer back.
    pub(super) fn release(&mut self, budget: &mut Budget) {
        self.gathered = Vec::new();
        budget.release(std::mem::take(&mut self.reserved));
        if matches!(self.state, State::Body) {
            self.state = State::Done;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observer::ObserverMetrics;

    fn message(length: usize) -> Vec<u8> {
        let mut bytes = vec![0];
        bytes.extend((length as u32).to_be_bytes());
        bytes.extend((0..length).map(|position| position as u8));
        bytes
    }

    #[test]
    fn a_message_in_one_piece_is_not_copied() {
        let mut budget = Budget::new(ObserverMetrics::default());
        let mut assembler = Assembler::new();
        let bytes = message(100);
        let got = assembler.push(&bytes, &mut budget).unwrap().unwrap();
        assert_eq!(got.as_ptr(), bytes[5..].as_ptr());
        assert_eq!(got.len(), 100);
        assert_eq!(budget.used(), 0);
        assert_eq!(assembler.push(&message(3), &mut budget), None);
    }

    #[test]
    fn a_message_in_many_pieces_is_put_together_once() {
        let mut budget = Budget::new(ObserverMetrics::default());
        for size in 1..=12 {
            let mut assembler = Assembler::new();
            let mut bytes = message(20);
            bytes.extend(message(7)); // a second one is ignored
            let mut got = Vec::new();
            for piece in bytes.chunks(size) {
                if let Some(complete) = assembler.push(piece, &mut budget) {
                    got.push(complete.unwrap().to_vec());
                }
            }
            assert_eq!(got, [bytes[5..25].to_vec()], "pieces of {size}");
            assembler.release(&mut budget);
            assert_eq!(budget.used(), 0);
        }
    }

    #[test]
    fn compressed_and_oversized_messages_are_reported_at_their_prefix() {
        let mut budget = Budget::new(ObserverMetrics::default());
        let mut assembler = Assembler::new();
        assert_eq!(assembler.push(&[1, 0, 0], &mut budget), None);
        assert_eq!(
            assembler.push(&[0, 9, 1], &mut budget),
            Some(Err(Opaque::Compressed))
        );
        assert_eq!(assembler.length(), Some(9));
        assert_eq!(assembler.push(&[1; 20], &mut budget), None);

        let mut assembler = Assembler::new();
        assert_eq!(
            assembler.push(&[0, 0xff, 0, 0, 0], &mut budget),
            Some(Err(Opaque::TooLong))
        );
        assert_eq!(budget.used(), 0);
    }
}
