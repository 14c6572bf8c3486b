//! Names of spans in 16 bytes instead of 48 characters.

use std::hash::{BuildHasher, RandomState};

/// Spreads the number of a span over all bits; odd, so that different numbers stay different.
const SPREAD: u64 = 0x9e37_79b9_7f4a_7c15;

/// Names a span, within and among traces.
///
/// Both ids are numbers in hexadecimal, which kube-apiserver draws at random: put together they tell two spans of one trace
/// apart for certain, and take two of different traces for one in less than one of 10^20 recordings. What is written in another
/// way is hashed, which is as good.
pub(super) type SpanKey = (u64, u64);

/// Makes the names. Clones make the same ones.
#[derive(Debug, Default, Clone)]
pub(super) struct Spans {
    hashers: (RandomState, RandomState),
}

impl Spans {
    /// The name of a span.
    pub(super) fn key(&self, trace_id: &str, span_id: &str) -> SpanKey {
        numbers(trace_id, span_id).unwrap_or_else(|| {
            let span = (trace_id, span_id);
            (self.hashers.0.hash_one(span), self.hashers.1.hash_one(span))
        })
    }
}

/// The ids as W3C writes them, 32 and 16 lowercase hexadecimal digits.
fn numbers(trace_id: &str, span_id: &str) -> Option<SpanKey> {
    let (high, low) = trace_id.split_at_checked(16)?;
    let span = number(span_id)?.wrapping_mul(SPREAD);
    Some((number(high)? ^ span, number(low)? ^ span.rotate_left(32)))
}

/// Sixteen digits as a number. There are five such numbers for each change, so they are read eight digits at a time.
fn number(digits: &str) -> Option<u64> {
    let digits: &[u8; 16] = digits.as_bytes().try_into().ok()?;
    let (halves, _) = digits.as_chunks::<8>();
    halves.iter().try_fold(0, |number, half| {
        Some(number << 32 | eight_digits(u64::from_be_bytes(*half))?)
    })
}

/// Eight lowercase hexadecimal digits, a byte each, as a number of 32 bits; `None` if one of them is no digit.
fn eight_digits(digits: u64) -> Option<u64> {
    const EACH: u64 = 0x0101_0101_0101_0101;
    const HIGH: u64 = 0x80 * EACH;
    if digits & HIGH != 0 {
        return None;
    }
    // The high bit of a byte tells whether it is at least `least`: no byte carries into the next one, since none has its high bit.
    let at_least = |least: u8| digits + u64::from(0x80 - least) * EACH;
    let is_decimal = at_least(b'0') & !at_least(b'9' + 1) & HIGH;
    let is_letter = at_least(b'a') & !at_least(b'f' + 1) & HIGH;
    if is_decimal | is_letter != HIGH {
        return None;
    }
    // '0' is 0x30 and 'a' 0x61: the low half of a letter lacks nine.
    let halves = (digits & (0x0f * EACH)) + (is_letter >> 7) * 9;
    let pairs = (halves | halves >> 4) & 0x00ff_00ff_00ff_00ff;
    let fours = (pairs | pairs >> 8) & 0x0000_ffff_0000_ffff;
    Some((fours | fours >> 16) & 0xffff_ffff)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
    const SPAN: &str = "00f067aa0ba902b7";

    #[test]
    fn spans_of_one_trace_differ() {
        let spans = Spans::default();
        let key = spans.key(TRACE, SPAN);
        assert_eq!(key, spans.key(TRACE, SPAN));
        assert_ne!(key, spans.key(TRACE, "00f067aa0ba902b6"));
        assert_ne!(key, spans.key("4bf92f3577b34da6a3ce929d0e0e4737", SPAN));
    }

    #[test]
    fn digits_are_read_as_the_library_reads_them() {
        for byte in 0..=u8::MAX {
            for place in 0..8 {
                let mut digits = *b"0189afbe";
                digits[place] = byte;
                let is_digit = matches!(byte, b'0'..=b'9' | b'a'..=b'f');
                let expected = std::str::from_utf8(&digits)
                    .ok()
                    .filter(|_| is_digit)
                    .map(|text| u64::from_str_radix(text, 16).unwrap());
                assert_eq!(
                    eight_digits(u64::from_be_bytes(digits)),
                    expected,
                    "{digits:?}"
                );
            }
        }
        let expected = u64::from_str_radix("00f067aa0ba902b7", 16).unwrap();
        assert_eq!(number(SPAN), Some(expected));
    }

    #[test]
    fn ids_in_another_form_have_names_too() {
        let spans = Spans::default();
        for (trace, span) in [
            ("", ""),
            (TRACE, "00F067AA0BA902B7"),
            (TRACE, "00f067aa0ba902b"),
            ("4bf92f3577b34da6a3ce929d0e0e473é", SPAN),
            ("4bf92f3577b34da6a3ce929d0e0e47", SPAN),
        ] {
            assert_eq!(numbers(trace, span), None, "{trace} {span}");
            assert_eq!(spans.key(trace, span), spans.key(trace, span));
            assert_ne!(spans.key(trace, span), spans.key(TRACE, SPAN));
        }
    }
}
