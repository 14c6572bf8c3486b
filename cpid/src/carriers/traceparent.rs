//! W3C Trace Context (section 3.2): `00-<trace id>-<parent id>-<flags>` in lowercase hexadecimal.
//! The trace id is the CPID; there are no ancestors.

use std::fmt;
use std::str::FromStr;

use super::CarrierError;
use crate::context::ChangeContext;

/// Bytes of version 00, and of what later versions begin with.
const KNOWN_BYTES: usize = 55;

/// A `traceparent`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Traceparent {
    trace_id: u128,
    parent_id: u64,
    flags: u8,
}

impl Traceparent {
    /// A `traceparent` of version 00; `None` if an id is zero, which the standard forbids.
    #[must_use]
    pub fn new(trace_id: u128, parent_id: u64, flags: u8) -> Option<Self> {
        (trace_id != 0 && parent_id != 0).then_some(Self {
            trace_id,
            parent_id,
            flags,
        })
    }

    /// 32 lowercase hexadecimal digits.
    #[must_use]
    pub fn trace_id(&self) -> String {
        format!("{:032x}", self.trace_id)
    }

    /// 16 lowercase hexadecimal digits: the id of the span that the text was written in.
    #[must_use]
    pub fn parent_id(&self) -> String {
        format!("{:016x}", self.parent_id)
    }

    /// The octet of flags; its lowest bit is "sampled".
    #[must_use]
    pub fn flags(&self) -> u8 {
        self.flags
    }
}

impl FromStr for Traceparent {
    type Err = CarrierError;

    /// Reads a `traceparent` of version 00, or what a later one has in common with it.
    fn from_str(text: &str) -> Result<Self, CarrierError> {
        parse(text).ok_or(CarrierError::NotTraceparent)
    }
}

fn parse(text: &str) -> Option<Traceparent> {
    let (known, appended) = text.split_at_checked(KNOWN_BYTES)?;
    let mut parts = known.split('-');
    let version = lowercase_hex(parts.next()?, 2)?;
    let trace_id = lowercase_hex(parts.next()?, 32)?;
    let parent_id = lowercase_hex(parts.next()?, 16)?;
    let flags = lowercase_hex(parts.next()?, 2)?;
    let well_formed = match version {
        "ff" => false,
        "00" => appended.is_empty(),
        _ => appended.is_empty() || appended.starts_with('-'),
    };
    if !well_formed {
        return None;
    }
    Traceparent::new(
        u128::from_str_radix(trace_id, 16).ok()?,
        u64::from_str_radix(parent_id, 16).ok()?,
        u8::from_str_radix(flags, 16).ok()?,
    )
}

fn lowercase_hex(text: &str, digits: usize) -> Option<&str> {
    let is_hex = |digit: u8| matches!(digit, b'0'..=b'9' | b'a'..=b'f');
    (text.len() == digits && text.bytes().all(is_hex)).then_some(text)
}

impl fmt::Display for Traceparent {
    /// Writes it in version 00.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            trace_id,
            parent_id,
            flags,
        } = self;
        write!(formatter, "00-{trace_id:032x}-{parent_id:016x}-{flags:02x}")
    }
}

/// Reads the text of an annotation; the empty text is no CPID.
///
/// # Errors
/// The text is no `traceparent`.
pub fn read(text: &str) -> Result<Option<ChangeContext>, CarrierError> {
    if text.is_empty() {
        return Ok(None);
    }
    let traceparent: Traceparent = text.parse()?;
    Ok(Some(ChangeContext {
        cpid: traceparent.trace_id(),
        ancestors: Vec::new(),
    }))
}

/// Writes the text of an annotation for a CPID that is a trace id, as [`read`] gives it, in the
/// span `parent_id`. The flag "sampled" is set.
///
/// # Errors
/// The CPID is not of 32 lowercase hexadecimal digits, or an id is zero.
pub fn write(cpid: &str, parent_id: u64) -> Result<String, CarrierError> {
    const SAMPLED: u8 = 1;
    lowercase_hex(cpid, 32)
        .and_then(|cpid| u128::from_str_radix(cpid, 16).ok())
        .and_then(|trace_id| Traceparent::new(trace_id, parent_id, SAMPLED))
        .map(|traceparent| traceparent.to_string())
        .ok_or(CarrierError::CannotHold)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const TEXT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    const TRACE_ID: &str = "0af7651916cd43dd8448eb211c80319c";

    #[test]
    fn the_trace_id_is_the_cpid() {
        let expected = ChangeContext {
            cpid: TRACE_ID.to_owned(),
            ancestors: Vec::new(),
        };
        assert_eq!(read(TEXT), Ok(Some(expected.clone())));
        let later = format!("01{}-more", &TEXT[2..]);
        assert_eq!(read(&later), Ok(Some(expected)));
        assert_eq!(read(""), Ok(None));
        assert_eq!(write(TRACE_ID, 0xb7ad_6b71_6920_3331).as_deref(), Ok(TEXT));
        let parsed: Traceparent = TEXT.parse().unwrap();
        assert_eq!(parsed.parent_id(), "b7ad6b7169203331");
        assert_eq!(parsed.flags(), 1);
    }

    #[test]
    fn anything_else_is_refused() {
        for text in [
            " ",
            "00",
            &TEXT[..54],
            &format!("{TEXT}-more"),
            &format!("{TEXT} "),
            &format!("01{}x", &TEXT[2..]),
            &format!("ff{}", &TEXT[2..]),
            &TEXT.to_uppercase(),
            &TEXT.replace(TRACE_ID, &"0".repeat(32)),
            &TEXT.replace("b7ad6b7169203331", &"0".repeat(16)),
            &TEXT.replace('-', "_"),
            "00-0af7651916cd43dd8448eb211c80319cb7ad6b7169203331--01",
            "00-0af7651916cd43dd8448eb211c80319ü-b7ad6b7169203331-01",
            "00-+af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        ] {
            assert_eq!(read(text), Err(CarrierError::NotTraceparent), "{text}");
        }
    }

    #[test]
    fn only_trace_ids_can_be_written() {
        let zeros = "0".repeat(32);
        for (cpid, parent_id) in [
            ("c", 1),
            (&*TRACE_ID.to_uppercase(), 1),
            (&zeros, 1),
            (TRACE_ID, 0),
        ] {
            assert_eq!(write(cpid, parent_id), Err(CarrierError::CannotHold));
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(trace_id in 1_u128.., parent_id in 1_u64.., flags in any::<u8>()) {
            let traceparent = Traceparent::new(trace_id, parent_id, flags).unwrap();
            prop_assert_eq!(traceparent.to_string().parse(), Ok(traceparent));
        }

        #[test]
        fn any_text_is_read_or_refused(text in prop_oneof![".*", "[0-9a-f-]{50,60}"]) {
            if let Ok(traceparent) = text.parse::<Traceparent>() {
                prop_assert_eq!(&text[3..35], traceparent.trace_id());
            }
        }
    }
}
