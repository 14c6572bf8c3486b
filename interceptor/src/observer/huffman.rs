//! Huffman coding of header strings (RFC 7541, section 5.2 and appendix B).
//!
//! The code is canonical: codes of one length count upwards in symbol order, and each length goes
//! on where the shorter one ended. So the lengths say everything; codes and the decoding automaton
//! are computed from them at compile time.

use thiserror::Error;

/// A string that is not the Huffman coding of anything: the end-of-string symbol occurs in it, or
/// it is padded with something other than the first bits of that symbol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("invalid Huffman coding")]
pub(super) struct InvalidHuffman;

/// Bits of the code of each octet, and of the end-of-string symbol at last (RFC 7541, appendix B).
#[rustfmt::skip]
const CODE_LENGTHS: [u8; 257] = [
    13, 23, 28, 28, 28, 28, 28, 28, 28, 24, 30, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 28,
    6, 10, 10, 12, 13, 6, 8, 11, 10, 10, 8, 11, 8, 6, 6, 6, 5, 5, 5, 6, 6, 6, 6, 6, 6, 6, 7, 8, 15, 6, 12, 10,
    13, 6, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 8, 7, 8, 13, 19, 13, 14, 6,
    15, 5, 6, 5, 6, 5, 6, 6, 6, 5, 7, 7, 6, 6, 6, 5, 6, 7, 6, 5, 5, 6, 7, 7, 7, 7, 7, 15, 11, 14, 13, 28,
    20, 22, 20, 20, 22, 22, 22, 23, 22, 23, 23, 23, 23, 23, 24, 23, 24, 24, 22, 23, 24, 23, 23, 23, 23, 21, 22, 23, 22, 23, 23, 24,
    22, 21, 20, 22, 22, 23, 23, 21, 23, 22, 22, 24, 21, 22, 23, 23, 21, 21, 22, 21, 23, 22, 23, 23, 20, 22, 22, 22, 23, 22, 22, 23,
    26, 26, 20, 19, 22, 23, 22, 25, 26, 26, 26, 27, 27, 26, 24, 25, 19, 21, 26, 27, 27, 26, 27, 24, 21, 21, 26, 26, 28, 27, 27, 27,
    20, 24, 20, 21, 22, 21, 21, 23, 22, 22, 25, 25, 24, 24, 26, 23, 26, 27, 26, 26, 27, 27, 27, 27, 27, 28, 27, 27, 27, 27, 27, 26,
    30,
];

/// Shortest code in bits: an upper bound of the decoded length follows from it.
pub(super) const SHORTEST_CODE: usize = 5;
/// Longest code in bits: a lower bound of the decoded length follows from it.
pub(super) const LONGEST_CODE: usize = 30;

const END_OF_STRING: usize = 256;

/// The code of each symbol, right-aligned.
const CODES: [u32; 257] = {
    let mut codes = [0; 257];
    let mut next = 0;
    let mut length = SHORTEST_CODE;
    while length <= LONGEST_CODE {
        let mut symbol = 0;
        while symbol < codes.len() {
            if CODE_LENGTHS[symbol] as usize == length {
                codes[symbol] = next;
                next += 1;
            }
            symbol += 1;
        }
        next <<= 1;
        length += 1;
    }
    codes
};

/// The code as a binary tree: for each inner node what a 0 and what a 1 leads to: the number of an
/// inner node, or `LEAF` plus a symbol. 257 leaves make exactly 256 inner nodes, the root is 0.
const TREE: [[u16; 2]; 256] = {
    let mut tree = [[0; 2]; 256];
    let mut nodes = 1;
    let mut symbol = 0;
    while symbol < CODES.len() {
        let mut node = 0;
        let mut bit = CODE_LENGTHS[symbol] as usize;
        while bit > 0 {
            bit -= 1;
            let branch = (CODES[symbol] >> bit & 1) as usize;
            if bit == 0 {
                tree[node][branch] = LEAF + symbol as u16;
            } else {
                if tree[node][branch] == 0 {
                    tree[node][branch] = nodes;
                    nodes += 1;
                }
                node = tree[node][branch] as usize;
            }
        }
        symbol += 1;
    }
    tree
};
const LEAF: u16 = 256;

/// What four bits lead to.
#[derive(Clone, Copy)]
struct Step {
    /// Inner node reached.
    next: u8,
    /// The octet that was completed, if `EMITS`.
    octet: u8,
    flags: u8,
}

/// The four bits complete an octet (never two: the shortest code has five bits).
const EMITS: u8 = 1;
/// The four bits complete the end-of-string symbol.
const FAILS: u8 = 2;
/// The string may end here: only padding, up to seven ones, came since the last octet.
const MAY_END: u8 = 4;

/// For each inner node and each four bits.
static STEPS: [[Step; 16]; 256] = {
    let mut may_end = [false; 256];
    let mut node = 0;
    let mut ones = 0;
    while ones < 8 {
        may_end[node] = true;
        node = TREE[node][1] as usize;
        ones += 1;
    }

    let mut steps = [[Step {
        next: 0,
        octet: 0,
        flags: 0,
    }; 16]; 256];
    let mut start = 0;
    while start < steps.len() {
        let mut nibble = 0;
        while nibble < 16 {
            let mut node = start;
            let mut step = Step {
                next: 0,
                octet: 0,
                flags: 0,
            };
            let mut bit = 4;
            while bit > 0 {
                bit -= 1;
                let target = TREE[node][nibble >> bit & 1];
                if target < LEAF {
                    node = target as usize;
                } else {
                    let symbol = (target - LEAF) as usize;
                    if symbol == END_OF_STRING {
                        step.flags |= FAILS;
                    } else {
                        step.flags |= EMITS;
                        step.octet = symbol as u8;
                    }
                    node = 0;
                }
            }
            step.next = node as u8;
            if may_end[node] {
                step.flags |= MAY_END;
            }
            steps[start][nibble] = step;
            nibble += 1;
        }
        start += 1;
    }
    steps
};

/// Decodes `coded`, handing on one octet after the other.
fn octets(coded: &[u8], mut octet: impl FnMut(u8)) -> Result<(), InvalidHuffman> {
    let mut node = 0_u8;
    let mut flags = MAY_END;
    for byte in coded {
        for nibble in [byte >> 4, byte & 0xf] {
            // Cannot be out of bounds: a u8 in 256 rows, four bits in 16 columns.
            let step = STEPS[usize::from(node)][usize::from(nibble)];
            if step.flags & EMITS != 0 {
                octet(step.octet);
            }
            if step.flags & FAILS != 0 {
                return Err(InvalidHuffman);
            }
            node = step.next;
            flags = step.flags;
        }
    }
    if flags & MAY_END == 0 {
        return Err(InvalidHuffman);
    }
    Ok(())
}

/// Appends the decoded string to `out`.
///
/// # Errors
/// [`InvalidHuffman`]; what was decoded up to the fault is in `out` then.
pub(super) fn decode(coded: &[u8], out: &mut Vec<u8>) -> Result<(), InvalidHuffman> {
    octets(coded, |octet| out.push(octet))
}

/// Octets of the decoded string.
///
/// # Errors
/// [`InvalidHuffman`].
pub(super) fn decoded_length(coded: &[u8]) -> Result<usize, InvalidHuffman> {
    let mut length = 0;
    octets(coded, |_| length += 1)?;
    Ok(length)
}

/// The Huffman coding of `text`: the only valid one, so strings can be compared in coded form.
pub(super) fn encode(text: &[u8]) -> Vec<u8> {
    let mut coded = Vec::with_capacity(text.len());
    let mut bits = 0_u64;
    let mut pending = 0_u32;
    for octet in text {
        let length = CODE_LENGTHS[usize::from(*octet)]; // 257 entries: no u8 is out of bounds
        bits = bits << length | u64::from(CODES[usize::from(*octet)]);
        pending += u32::from(length);
        while pending >= 8 {
            pending -= 8;
            coded.push((bits >> pending & 0xff) as u8);
        }
    }
    if pending > 0 {
        let padding = 8 - pending;
        coded.push((bits << padding & 0xff) as u8 | ((1_u16 << padding) - 1) as u8);
    }
    coded
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn decoded(coded: &[u8]) -> Result<Vec<u8>, InvalidHuffman> {
        let mut out = Vec::new();
        decode(coded, &mut out).map(|()| out)
    }

    fn hex(text: &str) -> Vec<u8> {
        let digits: Vec<u32> = text
            .chars()
            .filter_map(|digit| digit.to_digit(16))
            .collect();
        digits
            .chunks(2)
            .map(|pair| (pair[0] * 16 + pair[1]) as u8)
            .collect()
    }

    #[test]
    fn agrees_with_the_examples_of_rfc_7541_appendix_c() {
        for (coded, text) in [
            ("f1e3 c2e5 f23a 6ba0 ab90 f4ff", "www.example.com"),
            ("a8eb 1064 9cbf", "no-cache"),
            ("25a8 49e9 5ba9 7d7f", "custom-key"),
            ("25a8 49e9 5bb8 e8b4 bf", "custom-value"),
            ("6402", "302"),
            ("640e ff", "307"),
            ("aec3 771a 4b", "private"),
            (
                "d07a be94 1054 d444 a820 0595 040b 8166 e082 a62d 1bff",
                "Mon, 21 Oct 2013 20:13:21 GMT",
            ),
            (
                "9d29 ad17 1863 c78f 0b97 c8e9 ae82 ae43 d3",
                "https://www.example.com",
            ),
            ("9bd9 ab", "gzip"),
            (
                "94e7 821d d7f2 e6c7 b335 dfdf cd5b 3960 d5af 2708 7f36 72c1 ab27 0fb5 291f 9587 3160 65c0 03ed 4ee5 b106 3d50 07",
                "foo=ASDJKHQKBZXOQWEOPIUAXQWEOIU; max-age=3600; version=1",
            ),
        ] {
            assert_eq!(
                decoded(&hex(coded)).as_deref(),
                Ok(text.as_bytes()),
                "{text}"
            );
            assert_eq!(encode(text.as_bytes()), hex(coded), "{text}");
        }
    }

    #[test]
    fn codes_at_the_ends_of_the_table_are_those_of_appendix_b() {
        for (symbol, code) in [
            (b'0' as usize, 0x0),
            (b' ' as usize, 0x14),
            (0, 0x1ff8),
            (255, 0x3ff_ffee),
            (256, 0x3fff_ffff),
        ] {
            assert_eq!(CODES[symbol], code, "symbol {symbol}");
        }
    }

    #[test]
    fn wrong_padding_and_the_end_of_string_symbol_are_refused() {
        assert_eq!(decoded(&[]), Ok(Vec::new()));
        assert_eq!(decoded(&[0b0001_1111]), Ok(b"a".to_vec())); // "a" is 00011, padded with ones
        assert_eq!(decoded(&[0b0001_1110]), Err(InvalidHuffman)); // padded with a zero
        assert_eq!(decoded(&[0xff]), Err(InvalidHuffman)); // more than seven bits of padding
        assert_eq!(decoded(&[0xff, 0xff, 0xff, 0xff]), Err(InvalidHuffman)); // end of string
    }

    proptest! {
        #[test]
        fn decoding_undoes_encoding(text in proptest::collection::vec(any::<u8>(), 0..200)) {
            let coded = encode(&text);
            prop_assert_eq!(decoded_length(&coded), Ok(text.len()));
            prop_assert!(text.len() * LONGEST_CODE >= (coded.len().saturating_sub(1)) * 8);
            prop_assert!(text.len() * SHORTEST_CODE <= coded.len() * 8);
            prop_assert_eq!(decoded(&coded), Ok(text));
        }

        #[test]
        fn what_decodes_encodes_to_the_same_bytes(coded in proptest::collection::vec(any::<u8>(), 0..40)) {
            if let Ok(text) = decoded(&coded) {
                prop_assert_eq!(encode(&text), coded);
            }
        }
    }
}
