//! HTTP/2 frames, and all that the observer makes of a connection.

use super::http2::{Turn, observe, start};
use super::{put_piece, take_byte, take_piece};

/// Bit of the first byte: the connection begins as it should, so that what follows is frames.
const STARTED: u8 = 1;
/// Sizes of chunks that an input may give.
const SIZES: usize = 3;

/// Input: a byte of flags, three sizes of chunks, then turns: a byte whose lowest bit is set when
/// the server speaks, and a piece.
///
/// # Panics
/// When another cut into chunks makes another observation, or anything is held after the end.
pub(super) fn run(mut input: &[u8]) {
    let flags = take_byte(&mut input);
    let sizes = [(); SIZES].map(|()| usize::from(take_byte(&mut input)));
    let mut turns = Vec::new();
    if flags & STARTED != 0 {
        turns.extend(start());
    }
    while !input.is_empty() {
        let from_client = take_byte(&mut input) & 1 == 0;
        let bytes = take_piece(&mut input).to_vec();
        turns.push(Turn { from_client, bytes });
    }
    let whole = observe(&turns, &[]);
    assert_eq!(observe(&turns, &sizes), whole, "in chunks of {sizes:?}");
    assert_eq!(observe(&turns, &[1]), whole, "byte by byte");
}

/// An input of [`run`].
pub(super) fn input(sizes: [u8; SIZES], turns: &[Turn]) -> Vec<u8> {
    let mut input = vec![0];
    input.extend(sizes);
    for turn in turns {
        for piece in turn.bytes.chunks(usize::from(u16::MAX)) {
            input.push(u8::from(!turn.from_client));
            put_piece(&mut input, piece);
        }
    }
    input
}
