//! The header `baggage` of a request (W3C Baggage, section 3.3), with the CPID as member `cpid`.
//!
//! kube-apiserver passes baggage on to etcd, so a request with this header is attributed to its
//! CPID without a trace of it on the object: the only carrier that reaches deletions. It drops the
//! whole header when any member is malformed or the limits of the standard are exceeded; [`write()`]
//! therefore leaves malformed members of others out and keeps to the limits.

use std::borrow::Cow;
use std::str;

use crate::context::InvalidContext;

/// The member that holds the CPID.
pub const MEMBER: &str = "cpid";

/// Every platform propagates a header value of up to as many bytes (W3C Baggage, section 3.3.2).
pub const MAX_BYTES: usize = 8192;

/// Every platform propagates up to as many members (W3C Baggage, section 3.3.2).
pub const MAX_MEMBERS: usize = 64;

/// Why baggage has no readable CPID, or cannot take one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BaggageError {
    /// There is a key without `=`.
    #[error("baggage member cpid has no value")]
    NoValue,
    /// The value is empty.
    #[error("baggage member cpid is empty")]
    Empty,
    /// There is a character that has to be percent-encoded, or a `%` without two hexadecimal
    /// digits behind it.
    #[error("baggage member cpid is not percent-encoded")]
    NotEncoded,
    /// The octets behind the percent-encoding are not UTF-8. The standard would have them replaced
    /// by U+FFFD, but a CPID of which a part is replaced is another one.
    #[error("baggage member cpid is not UTF-8")]
    NotUtf8,
    /// There is a U+FFFD, with which somebody on the way, such as kube-apiserver, has replaced
    /// octets that are not UTF-8.
    #[error("baggage member cpid has lost octets on its way: there is a U+FFFD in it")]
    Replaced,
    /// Several members with different values; the standard leaves it open which one counts.
    #[error("baggage has several different members cpid")]
    Ambiguous,
    /// The CPID that is to be written is not valid.
    #[error(transparent)]
    Invalid(#[from] InvalidContext),
    /// What would be written is more than every platform propagates.
    #[error("baggage would have more than {MAX_BYTES} bytes or {MAX_MEMBERS} members")]
    TooLarge,
}

/// The CPID in the value of a `baggage` header, `None` if there is no such member. The values of
/// several headers are to be joined by commas first (RFC 9110, section 5.3). kube-apiserver 1.34
/// reads only the first header, so a client is to send one.
///
/// White space around keys and values and the properties behind `;` are left out. Members with
/// other keys are not looked at: malformed or not, they do not matter.
///
/// # Errors
/// There is a member `cpid`, but it is malformed; or there are several with different values.
pub fn read(header: &str) -> Result<Option<String>, BaggageError> {
    let mut found: Option<Cow<'_, str>> = None;
    for member in header.split(',').map(Member::split) {
        if member.key != MEMBER {
            continue;
        }
        let value = member.value.ok_or(BaggageError::NoValue)?;
        let value = percent_decode(value)?;
        if value.is_empty() {
            return Err(BaggageError::Empty);
        }
        if value.contains(char::REPLACEMENT_CHARACTER) {
            return Err(BaggageError::Replaced);
        }
        if found.is_some_and(|other| other != value) {
            return Err(BaggageError::Ambiguous);
        }
        found = Some(value);
    }
    Ok(found.map(Cow::into_owned))
}

/// The value of a `baggage` header with the member `cpid`, in place of any it had. Other members
/// of `header` stay as they are, in their order; malformed ones are left out.
///
/// # Errors
/// The CPID is empty or holds a U+FFFD, or the value would get larger than every platform
/// propagates.
pub fn write(header: Option<&str>, cpid: &str) -> Result<String, BaggageError> {
    if cpid.is_empty() {
        return Err(InvalidContext::EmptyCpid.into());
    }
    if cpid.contains(char::REPLACEMENT_CHARACTER) {
        return Err(BaggageError::Replaced);
    }
    let mut written = String::new();
    let mut members = 1;
    let others = header.into_iter().flat_map(|header| header.split(','));
    for text in others {
        let member = Member::split(text);
        if member.key == MEMBER || !member.is_well_formed() {
            continue;
        }
        members += 1;
        written.push_str(trim(text));
        written.push(',');
    }
    written.push_str(MEMBER);
    written.push('=');
    percent_encode(cpid, &mut written);
    if members > MAX_MEMBERS || written.len() > MAX_BYTES {
        return Err(BaggageError::TooLarge);
    }
    Ok(written)
}

/// A member of a list, not decoded and not checked.
struct Member<'a> {
    key: &'a str,
    value: Option<&'a str>,
    properties: Option<&'a str>,
}

impl<'a> Member<'a> {
    fn split(text: &'a str) -> Self {
        let (pair, properties) = match text.split_once(';') {
            Some((pair, properties)) => (pair, Some(properties)),
            None => (text, None),
        };
        let (key, value) = split_pair(pair);
        Self {
            key,
            value,
            properties,
        }
    }

    fn is_well_formed(&self) -> bool {
        let is_property = |text: &str| {
            let (key, value) = split_pair(text);
            is_token(key) && value.is_none_or(is_value)
        };
        is_token(self.key)
            && self.value.is_some_and(is_value)
            && self
                .properties
                .is_none_or(|properties| properties.split(';').all(is_property))
    }
}

/// Key and value, trimmed.
fn split_pair(text: &str) -> (&str, Option<&str>) {
    match text.split_once('=') {
        Some((key, value)) => (trim(key), Some(trim(value))),
        None => (trim(text), None),
    }
}

fn trim(text: &str) -> &str {
    text.trim_matches([' ', '\t'])
}

/// `token` of RFC 9110, section 5.6.2.
fn is_token(text: &str) -> bool {
    let is_token_character =
        |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    !text.is_empty() && text.bytes().all(is_token_character)
}

fn is_value(text: &str) -> bool {
    percent_octets(text).all(|octet| octet.is_some())
}

/// `baggage-octet`: printable ASCII but white space, `"`, `,`, `;` and `\`.
fn is_baggage_octet(byte: u8) -> bool {
    byte.is_ascii_graphic() && !matches!(byte, b'"' | b',' | b';' | b'\\')
}

/// The octets behind the percent-encoding; `None` stands for what is malformed.
fn percent_octets(text: &str) -> impl Iterator<Item = Option<u8>> {
    let digit = |byte: u8| {
        char::from(byte)
            .to_digit(16)
            .and_then(|digit| u8::try_from(digit).ok())
    };
    let mut bytes = text.bytes();
    std::iter::from_fn(move || {
        let octet = match bytes.next()? {
            b'%' => bytes
                .next()
                .and_then(digit)
                .zip(bytes.next().and_then(digit))
                .map(|(high, low)| high * 16 + low),
            byte => Some(byte).filter(|byte| is_baggage_octet(*byte)),
        };
        Some(octet)
    })
}

fn percent_decode(text: &str) -> Result<Cow<'_, str>, BaggageError> {
    if text
        .bytes()
        .all(|byte| is_baggage_octet(byte) && byte != b'%')
    {
        return Ok(Cow::Borrowed(text));
    }
    let octets: Option<Vec<u8>> = percent_octets(text).collect();
    let octets = octets.ok_or(BaggageError::NotEncoded)?;
    String::from_utf8(octets)
        .map(Cow::Owned)
        .map_err(|_| BaggageError::NotUtf8)
}

fn percent_encode(text: &str, encoded: &mut String) {
    const DIGITS: [char; 16] = [
        '0', '1', '2', '3', '4', '5', '6', '7', '8', '9', 'A', 'B', 'C', 'D', 'E', 'F',
    ];
    for byte in text.bytes() {
        if is_baggage_octet(byte) && byte != b'%' {
            encoded.push(char::from(byte));
            continue;
        }
        // A half byte is always below 16.
        let digit = |half: u8| DIGITS.get(usize::from(half)).copied().unwrap_or_default();
        encoded.extend(['%', digit(byte >> 4), digit(byte & 0xf)]);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_cpid_is_found_among_members_and_decoded() {
        for (header, cpid) in [
            ("cpid=abc", Ok(Some("abc"))),
            ("a=1,cpid = x%2Fy%20z ;p=1;q,b=2", Ok(Some("x/y z"))),
            ("\t cpid\t=\tc \t", Ok(Some("c"))),
            ("cpid=a=b", Ok(Some("a=b"))),
            ("cpid=%e2%82%AC+%2B%25", Ok(Some("€++%"))),
            ("garbage,=,;,\",cpid=c,%", Ok(Some("c"))),
            ("cpid=c;\"not=a;token", Ok(Some("c"))),
            ("cpid=c,cpid=%63;p", Ok(Some("c"))),
            ("xcpid=1,CPID=2,cpid2=3,p;cpid=4", Ok(None)),
            ("", Ok(None)),
            (",,", Ok(None)),
            ("cpid", Err(BaggageError::NoValue)),
            ("cpid;p=1", Err(BaggageError::NoValue)),
            ("cpid=", Err(BaggageError::Empty)),
            ("cpid= ;p", Err(BaggageError::Empty)),
            ("cpid=%zz", Err(BaggageError::NotEncoded)),
            ("cpid=%4", Err(BaggageError::NotEncoded)),
            ("cpid=%", Err(BaggageError::NotEncoded)),
            ("cpid=%+4", Err(BaggageError::NotEncoded)),
            ("cpid=%€", Err(BaggageError::NotEncoded)),
            ("cpid=a b", Err(BaggageError::NotEncoded)),
            ("cpid=\"c\"", Err(BaggageError::NotEncoded)),
            ("cpid=a\\b", Err(BaggageError::NotEncoded)),
            ("cpid=ü", Err(BaggageError::NotEncoded)),
            ("cpid=%c3", Err(BaggageError::NotUtf8)),
            ("cpid=%ed%a0%80", Err(BaggageError::NotUtf8)),
            ("cpid=a%EF%BF%BD", Err(BaggageError::Replaced)),
            ("cpid=one,cpid=two", Err(BaggageError::Ambiguous)),
        ] {
            let expected = cpid.map(|cpid| cpid.map(str::to_owned));
            assert_eq!(read(header), expected, "{header}");
        }
    }

    #[test]
    fn the_cpid_is_added_or_replaced() {
        for (header, expected) in [
            (None, "cpid=c%20d"),
            (Some(""), "cpid=c%20d"),
            (Some("cpid=old;p,cpid"), "cpid=c%20d"),
            (
                Some("a=1; p;q = %20 , cpid=old, b = 2"),
                "a=1; p;q = %20,b = 2,cpid=c%20d",
            ),
            (Some("garbage,a=1,b=\",c=1;,=1,d=%"), "a=1,cpid=c%20d"),
        ] {
            assert_eq!(write(header, "c d").as_deref(), Ok(expected));
        }
        assert_eq!(write(None, ""), Err(InvalidContext::EmptyCpid.into()));
        assert_eq!(write(None, "a\u{fffd}"), Err(BaggageError::Replaced));
    }

    #[test]
    fn the_limits_of_the_standard_are_kept() {
        let value = "x".repeat(MAX_BYTES - "cpid=".len());
        assert!(write(None, &value).is_ok());
        assert_eq!(write(Some("a=1"), &value), Err(BaggageError::TooLarge));
        let members = |count| vec!["a=1"; count].join(",");
        assert!(write(Some(&members(63)), "c").is_ok());
        assert_eq!(write(Some(&members(64)), "c"), Err(BaggageError::TooLarge));
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(header in "[ -~]{0,80}", cpid in ".+") {
            prop_assume!(!cpid.contains(char::REPLACEMENT_CHARACTER));
            let written = write(Some(&header), &cpid).unwrap();
            prop_assert_eq!(read(&written), Ok(Some(cpid)));
            prop_assert!(written.split(',').all(|member| Member::split(member).is_well_formed()));
            prop_assert!(written.is_ascii());
        }

        #[test]
        fn any_text_is_read_or_refused(header in prop_oneof![".*", "(cpid|[=,;% \t\"a-f0-9é])*"]) {
            if let Ok(Some(cpid)) = read(&header) {
                prop_assert!(!cpid.is_empty());
            }
            if let Ok(written) = write(Some(&header), "c") {
                prop_assert_eq!(read(&written), Ok(Some("c".to_owned())));
            }
        }
    }
}
