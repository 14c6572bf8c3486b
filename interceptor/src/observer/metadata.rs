//! What the headers of a call say: deadline, trace context, baggage.

use std::str;

use cascade_cpid::carriers::baggage::{self, BaggageError};
use cascade_cpid::carriers::traceparent::Traceparent;

use super::hpack::{Name, Text};

/// Header fields of a request that end up in `calls`.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(super) struct Metadata {
    /// `grpc-timeout`, nanoseconds.
    pub(super) deadline_ns: Option<i64>,
    /// `traceparent`: of the caller's span.
    pub(super) trace: Option<Traceparent>,
    /// `baggage` as sent; several header fields joined by commas.
    pub(super) baggage: Option<String>,
    /// Fields that were there but could not be read; no column holds anything of them.
    pub(super) malformed: Vec<Name>,
}

impl Metadata {
    /// Takes a header field that is of interest.
    pub(super) fn read(&mut self, name: Name, value: Text<'_>, scratch: &mut Vec<u8>) {
        let read = match value.decode(scratch) {
            Ok(value) => self.read_decoded(name, value),
            Err(_) => None,
        };
        if read.is_none() {
            self.malformed.push(name);
        }
    }

    fn read_decoded(&mut self, name: Name, value: &[u8]) -> Option<()> {
        match name {
            Name::GrpcTimeout => self.deadline_ns = Some(timeout_ns(value)?),
            Name::Traceparent => {
                if self.trace.take().is_some() || self.malformed.contains(&Name::Traceparent) {
                    return None; // more than one: which is right cannot be told
                }
                self.trace = Some(str::from_utf8(value).ok()?.parse().ok()?);
            }
            Name::Baggage => {
                let before = self.baggage.take();
                if self.malformed.contains(&Name::Baggage) {
                    return None; // a part of it is lost, so the rest is not what was sent
                }
                let value = str::from_utf8(value).ok()?;
                let whole = match before {
                    Some(before) => format!("{before},{value}"),
                    None => value.to_owned(),
                };
                if whole.len() > baggage::MAX_BYTES {
                    return None;
                }
                self.baggage = Some(whole);
            }
            _ => {}
        }
        Some(())
    }

    /// Bytes it takes in memory beyond itself.
    pub(super) fn footprint(&self) -> usize {
        self.malformed.len() + self.baggage.as_ref().map_or(0, String::len)
    }

    /// The baggage member `cpid`, if there is one.
    ///
    /// # Errors
    /// It is there but not readable.
    pub(super) fn cpid(&self) -> Result<Option<String>, BaggageError> {
        self.baggage.as_deref().map_or(Ok(None), baggage::read)
    }
}

/// A gRPC timeout: up to eight digits and a unit ("PROTOCOL-HTTP2" of gRPC). What is beyond 292
/// years counts as 292 years, as in grpc-go.
fn timeout_ns(value: &[u8]) -> Option<i64> {
    let (unit, digits) = value.split_last()?;
    if digits.is_empty() || digits.len() > 8 || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let count = digits
        .iter()
        .fold(0_i64, |count, digit| count * 10 + i64::from(digit - b'0'));
    let nanos: i64 = match unit {
        b'n' => 1,
        b'u' => 1_000,
        b'm' => 1_000_000,
        b'S' => 1_000_000_000,
        b'M' => 60_000_000_000,
        b'H' => 3_600_000_000_000,
        _ => return None,
    };
    Some(count.saturating_mul(nanos))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(fields: &[(Name, &[u8])]) -> Metadata {
        let mut metadata = Metadata::default();
        for (name, value) in fields {
            metadata.read(
                *name,
                Text {
                    raw: value,
                    huffman: false,
                },
                &mut Vec::new(),
            );
        }
        metadata
    }

    #[test]
    fn timeouts_in_every_unit() {
        for (text, nanos) in [
            ("1n", Some(1)),
            ("4999957u", Some(4_999_957_000)),
            ("0m", Some(0)),
            ("34S", Some(34_000_000_000)),
            ("5M", Some(300_000_000_000)),
            ("2H", Some(7_200_000_000_000)),
            ("99999999H", Some(i64::MAX)),
            ("99999999M", Some(5_999_999_940_000_000_000)),
            ("123456789S", None),
            ("S", None),
            ("", None),
            ("5", None),
            ("5s", None),
            ("-5S", None),
            ("+5S", None),
            ("1.5S", None),
        ] {
            assert_eq!(timeout_ns(text.as_bytes()), nanos, "{text}");
        }
    }

    const TRACEPARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    #[test]
    fn trace_context_is_read_or_refused() {
        let metadata = read(&[(Name::Traceparent, TRACEPARENT.as_bytes())]);
        let trace = metadata.trace.unwrap();
        assert_eq!(trace.trace_id(), "0af7651916cd43dd8448eb211c80319c");
        assert_eq!(trace.parent_id(), "b7ad6b7169203331");
        assert_eq!(trace.flags(), 1);
        for value in [b"".as_slice(), b"00", b"\xff", &TRACEPARENT.as_bytes()[1..]] {
            let metadata = read(&[(Name::Traceparent, value)]);
            assert_eq!(metadata.trace, None);
            assert_eq!(metadata.malformed, [Name::Traceparent]);
        }
    }

    #[test]
    fn two_trace_contexts_are_none() {
        let field = (Name::Traceparent, TRACEPARENT.as_bytes());
        let metadata = read(&[field, field, field]);
        assert_eq!(metadata.trace, None);
        assert_eq!(metadata.malformed, [Name::Traceparent; 2]);
    }

    #[test]
    fn cpid_is_found_among_members_and_decoded() {
        for (baggage, cpid) in [
            ("cpid=abc", Ok(Some("abc"))),
            ("a=1,cpid = x%2Fy%20z ;p=1;q,b=2", Ok(Some("x/y z"))),
            ("garbage,cpid=a=b", Ok(Some("a=b"))),
            ("xcpid=1,CPID=2,p;cpid=3", Ok(None)),
            ("", Ok(None)),
            ("cpid=", Err(BaggageError::Empty)),
            ("cpid=a b", Err(BaggageError::NotEncoded)),
            ("cpid=%zz", Err(BaggageError::NotEncoded)),
            ("cpid=%c3", Err(BaggageError::NotUtf8)),
            ("cpid=one,cpid=two", Err(BaggageError::Ambiguous)),
        ] {
            let metadata = read(&[(Name::Baggage, baggage.as_bytes())]);
            let expected = cpid.map(|cpid| cpid.map(str::to_owned));
            assert_eq!(metadata.cpid(), expected, "{baggage}");
            assert_eq!(metadata.baggage.as_deref(), Some(baggage));
        }
        assert_eq!(Metadata::default().cpid(), Ok(None));
    }

    #[test]
    fn several_baggage_fields_are_one_list() {
        let metadata = read(&[(Name::Baggage, b"a=1"), (Name::Baggage, b"cpid=2")]);
        assert_eq!(metadata.baggage.as_deref(), Some("a=1,cpid=2"));
        assert_eq!(metadata.cpid(), Ok(Some("2".to_owned())));
        let metadata = read(&[(Name::Baggage, b"cpid=1"), (Name::Baggage, b"cpid=2")]);
        assert_eq!(metadata.cpid(), Err(BaggageError::Ambiguous));
    }

    #[test]
    fn unreadable_fields_are_left_out_and_named() {
        let metadata = read(&[
            (Name::GrpcTimeout, b"soon"),
            (Name::Traceparent, b"00-zz"),
            (Name::Baggage, &[0xff]),
            (Name::Baggage, "a".repeat(9000).as_bytes()),
            (Name::Baggage, b"a=1"),
        ]);
        let malformed = vec![
            Name::GrpcTimeout,
            Name::Traceparent,
            Name::Baggage,
            Name::Baggage,
            Name::Baggage,
        ];
        assert_eq!(
            metadata,
            Metadata {
                malformed,
                ..Metadata::default()
            }
        );
    }

    proptest! {
        #[test]
        fn any_value_is_read_or_refused(value in proptest::collection::vec(any::<u8>(), 0..80)) {
            let metadata = read(&[
                (Name::GrpcTimeout, &value),
                (Name::Traceparent, &value),
                (Name::Baggage, &value),
            ]);
            let _ = metadata.cpid();
        }

        #[test]
        fn text_baggage_is_kept_as_sent(value in "[ -~]{0,80}") {
            let metadata = read(&[(Name::Baggage, value.as_bytes())]);
            let _ = metadata.cpid();
            prop_assert_eq!(metadata.baggage, Some(value));
        }
    }
}
