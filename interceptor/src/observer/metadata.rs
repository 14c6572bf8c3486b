//! What the headers of a call say: deadline, trace context, baggage.

use super::hpack::{Name, Text};

/// Baggage of more bytes than this is not kept (W3C Baggage, section 3.3.2, asks for at least as
/// much to be passed on).
const MAX_BAGGAGE: usize = 8192;

/// W3C Trace Context of the caller's span.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct TraceContext {
    /// 32 lowercase hex digits.
    pub(super) trace_id: String,
    /// 16 lowercase hex digits.
    pub(super) span_id: String,
    /// The flags octet; 1 is "sampled".
    pub(super) flags: u8,
}

/// Header fields of a request that end up in `calls`.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(super) struct Metadata {
    /// `grpc-timeout`, nanoseconds.
    pub(super) deadline_ns: Option<i64>,
    /// `traceparent`.
    pub(super) trace: Option<TraceContext>,
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
                self.trace = Some(traceparent(value)?);
            }
            Name::Baggage => {
                let before = self.baggage.take();
                if self.malformed.contains(&Name::Baggage) {
                    return None; // a part of it is lost, so the rest is not what was sent
                }
                let value = std::str::from_utf8(value).ok()?;
                let whole = match before {
                    Some(before) => format!("{before},{value}"),
                    None => value.to_owned(),
                };
                if whole.len() > MAX_BAGGAGE {
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
        const TRACE_CONTEXT: usize = 32 + 16;
        self.malformed.len() + self.baggage.as_ref().map_or(0, String::len) + TRACE_CONTEXT
    }

    /// The baggage member `cpid`. An error if it is there but not readable.
    pub(super) fn cpid(&self) -> Option<Result<String, MalformedCpid>> {
        member(self.baggage.as_deref()?, "cpid")
    }
}

/// A baggage member whose value is empty or no percent-encoded UTF-8.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct MalformedCpid;

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

/// A `traceparent` value (W3C Trace Context, section 3.2.2). Later versions may append fields.
fn traceparent(value: &[u8]) -> Option<TraceContext> {
    let value = std::str::from_utf8(value).ok()?;
    let (known, appended) = value.split_at_checked(55)?;
    let mut parts = known.split('-');
    let version = lowercase_hex(parts.next()?, 2)?;
    let trace_id = lowercase_hex(parts.next()?, 32)?;
    let span_id = lowercase_hex(parts.next()?, 16)?;
    let flags = lowercase_hex(parts.next()?, 2)?;
    let form = match version {
        "ff" => false,
        "00" => appended.is_empty(),
        _ => appended.is_empty() || appended.starts_with('-'),
    };
    let is_zero = |id: &str| id.bytes().all(|digit| digit == b'0');
    if !form || is_zero(trace_id) || is_zero(span_id) {
        return None;
    }
    Some(TraceContext {
        trace_id: trace_id.to_owned(),
        span_id: span_id.to_owned(),
        flags: u8::from_str_radix(flags, 16).ok()?,
    })
}

fn lowercase_hex(text: &str, digits: usize) -> Option<&str> {
    let is_hex = |digit: u8| matches!(digit, b'0'..=b'9' | b'a'..=b'f');
    (text.len() == digits && text.bytes().all(is_hex)).then_some(text)
}

/// The value of the first member `key` of a `baggage` header (W3C Baggage, section 3.3), its
/// properties left out.
fn member(baggage: &str, key: &str) -> Option<Result<String, MalformedCpid>> {
    let is_space = |character| matches!(character, ' ' | '\t');
    let value = baggage.split(',').find_map(|member| {
        let (name, value) = member.split_once('=')?;
        (name.trim_matches(is_space) == key).then_some(value)
    })?;
    let value = value
        .split_once(';')
        .map_or(value, |(value, _properties)| value);
    Some(percent_decode(value.trim_matches(is_space)).ok_or(MalformedCpid))
}

fn percent_decode(text: &str) -> Option<String> {
    let mut decoded = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        rest = after;
        if *first != b'%' {
            decoded.push(*first);
            continue;
        }
        let (digits, after) = rest.split_first_chunk::<2>()?;
        rest = after;
        let digit = |digit: u8| char::from(digit).to_digit(16);
        let octet = digit(digits[0])? * 16 + digit(digits[1])?; // an array of two
        decoded.push(u8::try_from(octet).ok()?);
    }
    String::from_utf8(decoded)
        .ok()
        .filter(|decoded| !decoded.is_empty())
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
    fn trace_context_of_this_and_later_versions() {
        let expected = TraceContext {
            trace_id: "0af7651916cd43dd8448eb211c80319c".to_owned(),
            span_id: "b7ad6b7169203331".to_owned(),
            flags: 1,
        };
        assert_eq!(traceparent(TRACEPARENT.as_bytes()), Some(expected.clone()));
        let later = format!("01{}-more", &TRACEPARENT[2..]);
        assert_eq!(traceparent(later.as_bytes()), Some(expected));
    }

    #[test]
    fn broken_trace_context_is_no_trace_context() {
        for text in [
            "",
            "00",
            &TRACEPARENT[..54],
            &format!("{TRACEPARENT}-more"),
            &format!("{TRACEPARENT} "),
            &format!("ff{}", &TRACEPARENT[2..]),
            &TRACEPARENT.to_uppercase(),
            &TRACEPARENT.replace("0af7651916cd43dd8448eb211c80319c", &"0".repeat(32)),
            &TRACEPARENT.replace("b7ad6b7169203331", &"0".repeat(16)),
            &TRACEPARENT.replace('-', "_"),
            "00-0af7651916cd43dd8448eb211c80319cb7ad6b7169203331--01",
            "00-0af7651916cd43dd8448eb211c80319ü-b7ad6b7169203331-01",
        ] {
            assert_eq!(traceparent(text.as_bytes()), None, "{text}");
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
            ("cpid=abc", Some(Ok("abc"))),
            ("a=1,cpid = x%2Fy%20z ;p=1;q,b=2", Some(Ok("x/y z"))),
            ("cpid=", Some(Err(MalformedCpid))),
            ("cpid=%zz", Some(Err(MalformedCpid))),
            ("cpid=%c3", Some(Err(MalformedCpid))),
            ("cpid=%4", Some(Err(MalformedCpid))),
            ("cpid=%+4", Some(Err(MalformedCpid))),
            ("cpid=a=b", Some(Ok("a=b"))),
            ("cpid=one,cpid=two", Some(Ok("one"))),
            ("xcpid=1,CPID=2,p;cpid=3", None),
            ("", None),
        ] {
            let metadata = read(&[(Name::Baggage, baggage.as_bytes())]);
            assert_eq!(
                metadata.cpid(),
                cpid.map(|cpid| cpid.map(str::to_owned)),
                "{baggage}"
            );
            assert_eq!(metadata.baggage.as_deref(), Some(baggage));
        }
    }

    #[test]
    fn several_baggage_fields_are_one_list() {
        let metadata = read(&[(Name::Baggage, b"a=1"), (Name::Baggage, b"cpid=2")]);
        assert_eq!(metadata.baggage.as_deref(), Some("a=1,cpid=2"));
        assert_eq!(metadata.cpid(), Some(Ok("2".to_owned())));
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
