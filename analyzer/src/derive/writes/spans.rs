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

/// Makes the names.
#[derive(Debug, Default)]
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

fn number(digits: &str) -> Option<u64> {
    let digits: &[u8; 16] = digits.as_bytes().try_into().ok()?;
    digits.iter().try_fold(0, |number, digit| {
        let digit = match digit {
            b'0'..=b'9' => digit - b'0',
            b'a'..=b'f' => digit - b'a' + 10,
            _ => return None,
        };
        Some(number << 4 | u64::from(digit))
    })
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
