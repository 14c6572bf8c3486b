//! A text of another format inside JSON, at a JSON pointer (RFC 6901).
//!
//! Tekton and agent-sandbox annotate objects with the headers of a request as a JSON object:
//! `{"traceparent":"00-…"}`; the pointer to the text is then [`TRACEPARENT_POINTER`].

use std::fmt;
use std::str::FromStr;

use serde_json::Value;

use super::CarrierError;

/// To the `traceparent` in a JSON object of headers.
pub const TRACEPARENT_POINTER: &str = "/traceparent";

/// A JSON pointer (RFC 6901), well-formed.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct JsonPointer(String);

/// A text is not a JSON pointer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a JSON pointer: it is empty, or begins with `/`; `~` is written `~0` and `/` `~1`")]
pub struct NotAPointer;

impl JsonPointer {
    /// As it was given.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for JsonPointer {
    type Err = NotAPointer;

    fn from_str(text: &str) -> Result<Self, NotAPointer> {
        let begins = text.is_empty() || text.starts_with('/');
        let escapes = text.split('~').skip(1);
        let well_formed = |escape: &str| escape.starts_with(['0', '1']);
        if !begins || !escapes.into_iter().all(well_formed) {
            return Err(NotAPointer);
        }
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Display for JsonPointer {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

/// The text at `pointer` in the JSON `text`. `None` if there is nothing, null, or the empty text.
///
/// # Errors
/// The text is not JSON, or there is something else than a text at the pointer.
pub fn read(text: &str, pointer: &JsonPointer) -> Result<Option<String>, CarrierError> {
    let mut json: Value = serde_json::from_str(text).map_err(|_| CarrierError::NotJson)?;
    match json.pointer_mut(pointer.as_str()).map(Value::take) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(found)) => Ok(Some(found).filter(|found| !found.is_empty())),
        Some(_) => Err(CarrierError::PointsToNoText),
    }
}

/// Writes a JSON object of headers with a `traceparent`, as Tekton and agent-sandbox do.
#[must_use]
pub fn write_traceparent(traceparent: &super::traceparent::Traceparent) -> String {
    // Hexadecimal digits and dashes need no escapes.
    format!(r#"{{"traceparent":"{traceparent}"}}"#)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::carriers::traceparent::Traceparent;

    #[test]
    fn the_text_at_the_pointer() {
        let found = |text: &str, pointer: &str| read(text, &pointer.parse().unwrap());
        let tekton = r#"{"traceparent":"00-x","tracestate":""}"#;
        assert_eq!(
            found(tekton, TRACEPARENT_POINTER),
            Ok(Some("00-x".to_owned()))
        );
        assert_eq!(found(tekton, "/tracestate"), Ok(None));
        assert_eq!(found(tekton, "/other"), Ok(None));
        assert_eq!(found("{}", TRACEPARENT_POINTER), Ok(None));
        assert_eq!(found("null", ""), Ok(None));
        assert_eq!(found(r#""x""#, ""), Ok(Some("x".to_owned())));
        let nested = r#"{"a":[{"b/c~":"x"}]}"#;
        assert_eq!(found(nested, "/a/0/b~1c~0"), Ok(Some("x".to_owned())));
        assert_eq!(found(nested, "/a/0"), Err(CarrierError::PointsToNoText));
        assert_eq!(found("x", ""), Err(CarrierError::NotJson));
        assert_eq!(found("", ""), Err(CarrierError::NotJson));
    }

    #[test]
    fn pointers_are_checked() {
        for text in ["traceparent", "/a~", "/a~2"] {
            assert_eq!(text.parse::<JsonPointer>(), Err(NotAPointer));
        }
        for text in ["", "/", "/a~0~1/b"] {
            assert_eq!(text.parse::<JsonPointer>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn headers_with_a_traceparent() {
        let traceparent = Traceparent::new(1, 2, 3).unwrap();
        let text = write_traceparent(&traceparent);
        let found = read(&text, &TRACEPARENT_POINTER.parse().unwrap());
        assert_eq!(found, Ok(Some(traceparent.to_string())));
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(
            text in prop_oneof![".*", "[\\[\\]{}\":,a-c ]*"],
            pointer in "(/[a-c]?)*",
        ) {
            let _ = read(&text, &pointer.parse().unwrap());
        }
    }
}
