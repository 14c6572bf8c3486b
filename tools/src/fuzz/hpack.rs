//! Header blocks, against another decoder.

use cascade_interceptor::observer::fuzzing::HeaderBlocks;

use super::take_piece;

/// Size of the table that both ends begin with (RFC 9113, section 6.5.2): the other decoder refuses
/// a larger one, for the observer keeps less of a large table than it.
const TABLE_SIZE: usize = 4096;

/// Input: header blocks of one direction, pieces.
///
/// # Panics
/// When both decoders accept a block and read different fields of interest from it.
pub(super) fn run(mut input: &[u8]) {
    let mut ours = HeaderBlocks::default();
    let mut theirs = loona_hpack::Decoder::new();
    theirs.set_max_allowed_table_size(TABLE_SIZE);
    let mut comparable = true;
    while !input.is_empty() {
        let block = take_piece(&mut input);
        let read = ours.read(block);
        if !comparable {
            continue; // the tables differ, but no block may be a panic
        }
        let (Ok(read), Ok(expected)) = (read, theirs.decode(block)) else {
            comparable = false;
            continue;
        };
        let of_interest = |(name, _): &(Vec<u8>, Vec<u8>)| HeaderBlocks::reads(name);
        let expected: Vec<_> = expected.into_iter().filter(of_interest).collect();
        let read: Vec<_> = read
            .into_iter()
            .map(|field| field.map(|(name, value)| (name.as_bytes().to_vec(), value)))
            .collect();
        let expected: Vec<_> = expected.into_iter().map(Some).collect();
        assert_eq!(read, expected, "block {block:02x?}");
    }
}
